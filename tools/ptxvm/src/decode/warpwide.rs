//! Control flow, barriers, warp-wide exchanges, asynchronous copies and matrices.

use std::sync::Arc;

use super::data::optional_pred;
use super::{Ctx, Mods, Refusal};
use crate::isa::{BoolOp, CpAsync, Half, Matrix, Mma, Op, R32, ReduxOp, Reg, Shfl, ShflMode, VoteMode, Wgmma};
use crate::parse::{Operand, Type};

impl BoolOp {
    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<BoolOp> {
        Some(match name {
            "and" => BoolOp::And,
            "or" => BoolOp::Or,
            "xor" => BoolOp::Xor,
            _ => return None,
        })
    }
}

/// Decodes `head` with its modifiers.
pub fn decode(head: &str, mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    match head {
        "bra" => branch(mods, ctx),
        "ret" | "exit" => {
            mods.take("uni");
            ctx.arity(0..=0)?;
            Ok(Op::Exit)
        }
        "trap" => Ok(Op::Trap),
        "bar" | "barrier" => barrier(mods, ctx),
        "membar" | "fence" => fence(head, mods, ctx),
        "nanosleep" => {
            mods.ty()?;
            ctx.src32(0, Type::U32)?;
            Ok(Op::Nop)
        }
        "griddepcontrol" => {
            ctx.arity(0..=0)?;
            let wait = mods.must("action", &[("launch_dependents", false), ("wait", true)])?;
            Ok(if wait { Op::GridWait } else { Op::Nop })
        }
        "cp" => cp_async(mods, ctx),
        "ldmatrix" => matrix(mods, ctx, true),
        "stmatrix" => matrix(mods, ctx, false),
        "mma" => mma(mods, ctx),
        "wgmma" => wgmma(mods, ctx),
        "shfl" => shfl(mods, ctx),
        "vote" => vote(mods, ctx),
        "redux" => redux(mods, ctx),
        "activemask" => {
            ctx.arity(1..=1)?;
            let ty = mods.ty()?;
            Ok(Op::ActiveMask { d: ctx.dst32(0, ty)? })
        }
        _ => Err(format!("unknown instruction {head}")),
    }
}

fn branch(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(1..=1)?;
    let uniform = mods.take("uni");
    match ctx.operand(0)? {
        Operand::Name(label) => Ok(Op::Branch { target: ctx.names.target(label)?, uniform }),
        _ => Err("bra takes a label".into()),
    }
}

/// `membar` is `fence.sc`.
fn fence(head: &str, mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(0..=0)?;
    if mods.take("proxy") {
        mods.must("proxy (.async)", &[("async", ())])?;
        mods.must("state space (.shared::cta)", &[("shared::cta", ())])?;
        return Ok(Op::ProxyFence);
    }
    let sc = mods.take("sc") || (head == "membar" && !mods.take("acq_rel"));
    mods.take("acq_rel");
    let scopes = [("cta", false), ("gpu", true), ("gl", true), ("sys", true), ("cluster", false)];
    let device = mods.must("scope", &scopes)?;
    Ok(if device { Op::Fence { sc } } else { Op::Nop })
}

fn barrier(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    if mods.take("warp") {
        ctx.arity(1..=1)?;
        mods.must("action", &[("sync", ())])?;
        return Ok(Op::BarWarp { members: ctx.src32(0, Type::B32)? });
    }
    mods.take("cta");
    let arrive = mods.must("action (.sync, .arrive)", &[("sync", false), ("arrive", true)])?;
    // Without `.aligned` a warp may arrive in parts; here it must arrive whole, as kernels that mean well do.
    mods.take("aligned");
    ctx.arity(if arrive { 2..=2 } else { 1..=2 })?;
    let id = ctx.src32(0, Type::U32)?;
    let count = if ctx.operands.len() == 2 { Some(ctx.src32(1, Type::U32)?) } else { None };
    Ok(Op::Bar { id, count, arrive })
}

fn cp_async(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    if !mods.take("async") {
        return Err("only cp.async is known".into());
    }
    if mods.take("commit_group") {
        ctx.arity(0..=0)?;
        return Ok(Op::CpCommit);
    }
    if mods.take("wait_all") {
        ctx.arity(0..=0)?;
        return Ok(Op::CpWait { groups: 0, all: true });
    }
    if mods.take("wait_group") {
        ctx.arity(1..=1)?;
        return match ctx.operand(0)? {
            Operand::Int(n @ 0..=1023) => Ok(Op::CpWait { groups: *n as u32, all: false }),
            _ => Err("cp.async.wait_group takes an immediate".into()),
        };
    }
    cp_copy(mods, ctx)
}

fn cp_copy(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let cg = mods.must("cache level (.ca, .cg)", &[("cg", true), ("ca", false)])?;
    if !(mods.take("shared") || mods.take("shared::cta")) || !mods.take("global") {
        return Err("cp.async goes from .global to .shared".into());
    }
    mods.choose(&[("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())]);
    ctx.arity(3..=4)?;
    let (dst, src) = (ctx.names.address(&ctx.operands[0])?, ctx.names.address(&ctx.operands[1])?);
    let size = match ctx.operand(2)? {
        Operand::Int(16) => 16,
        Operand::Int(n @ (4 | 8)) if !cg => *n as u32,
        _ => return Err("cp.async copies 16 bytes, with .ca also 4 or 8".into()),
    };
    let mut copy = CpAsync { dst, src, size, src_size: None, ignore: None };
    if ctx.operands.len() == 4 {
        copy.ignore = optional_pred(ctx, 3);
        if copy.ignore.is_none() {
            copy.src_size = Some(ctx.src32(3, Type::U32)?);
        }
    }
    Ok(Op::CpAsync(Box::new(copy)))
}

fn matrix(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>, load: bool) -> Result<Op, Refusal> {
    aligned(mods)?;
    mods.must("shape m8n8", &[("m8n8", ())])?;
    let n = mods.must("count (.x1, .x2, .x4)", &[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let trans = mods.take("trans");
    mods.must("state space .shared", &[("shared", ()), ("shared::cta", ())])?;
    mods.must("type .b16", &[("b16", ())])?;
    ctx.arity(2..=2)?;
    if load {
        let regs = ctx.dst_list(0, n, Type::B32)?;
        let address = ctx.names.address(&ctx.operands[1])?;
        return Ok(Op::Ldmatrix(Box::new(Matrix { regs, address, trans })));
    }
    let regs = ctx.src_list(1, n, Type::B32)?;
    let address = ctx.names.address(&ctx.operands[0])?;
    Ok(Op::Stmatrix(Box::new(Matrix { regs, address, trans })))
}

/// `.sync.aligned`
fn aligned(mods: &mut Mods<'_>) -> Result<(), Refusal> {
    if mods.take("sync") && mods.take("aligned") {
        return Ok(());
    }
    Err(".sync.aligned is missing".into())
}

fn mma(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    aligned(mods)?;
    let k = mods.must("shape (.m16n8k16, .m16n8k8)", &[("m16n8k16", 16), ("m16n8k8", 8)])?;
    if !mods.take_pair("row", "col") {
        return Err("mma needs .row.col".into());
    }
    let (c_ty, b_ty, a_ty, d_ty) = (mods.ty()?, mods.ty()?, mods.ty()?, mods.ty()?);
    let half = match (a_ty, b_ty) {
        (Type::F16, Type::F16) => Half::F16,
        (Type::BF16, Type::BF16) => Half::BF16,
        _ => return Err(format!("mma of {a_ty:?} and {b_ty:?} is unknown")),
    };
    let acc_f16 = match (d_ty, c_ty, half) {
        (Type::F32, Type::F32, _) => false,
        (Type::F16, Type::F16, Half::F16) => true,
        _ => return Err(format!("mma with accumulators {c_ty:?} and {d_ty:?} is unknown")),
    };
    ctx.arity(4..=4)?;
    let (acc_n, acc_ty) = if acc_f16 { (2, Type::B32) } else { (4, Type::F32) };
    let d = ctx.dst_list(0, acc_n, acc_ty)?;
    let a = ctx.src_list(1, k / 4, Type::B32)?;
    let b = ctx.src_list(2, k / 8, Type::B32)?;
    let c = ctx.src_list(3, acc_n, acc_ty)?;
    Ok(Op::Mma(Box::new(Mma { k, half, acc_f16, d, a, b, c })))
}

fn wgmma(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let action = mods.must(
        "action (.fence, .mma_async, .commit_group, .wait_group)",
        &[("fence", 0), ("mma_async", 1), ("commit_group", 2), ("wait_group", 3)],
    )?;
    aligned(mods)?;
    if action != 1 {
        ctx.arity(if action == 3 { 1..=1 } else { 0..=0 })?;
        return match (action, ctx.operands.first()) {
            (0, _) => Ok(Op::WgmmaFence),
            (2, _) => Ok(Op::WgmmaCommit),
            (_, Some(Operand::Int(n @ 0..=7))) => Ok(Op::WgmmaWait { groups: *n as u32 }),
            _ => Err("wgmma.wait_group takes an immediate from 0 to 7".into()),
        };
    }
    let (b_ty, a_ty, d_ty) = (mods.ty()?, mods.ty()?, mods.ty()?);
    let half = match (d_ty, a_ty, b_ty) {
        (Type::F32, Type::F16, Type::F16) => Half::F16,
        (Type::F32, Type::BF16, Type::BF16) => Half::BF16,
        _ => return Err(format!("wgmma of {a_ty:?} and {b_ty:?} to {d_ty:?} is unknown")),
    };
    let shape = mods.0.pop().unwrap_or_default();
    let columns = shape.strip_prefix("m64n").and_then(|rest| rest.strip_suffix("k16")).and_then(|n| n.parse().ok());
    let Some(n) = columns.filter(|n: &usize| n.is_multiple_of(8) && (8..=256).contains(n)) else {
        return Err(format!("no shape m64nNk16, but .{shape}"));
    };
    ctx.arity(8..=8)?;
    let d = ctx.dst_list(0, n / 2, Type::F32)?;
    let (a, b) = (ctx.src64(1, Type::B64)?, ctx.src64(2, Type::B64)?);
    let adds = ctx.pred(3)?;
    if !matches!(ctx.operands[4..], [Operand::Int(1), Operand::Int(1), Operand::Int(0), Operand::Int(0)]) {
        return Err("of wgmma only 1, 1, 0, 0 is known: nothing negated, rows along k".into());
    }
    Ok(Op::Wgmma(Arc::new(Wgmma { n, half, d, a, b, adds })))
}

fn shfl(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    if !mods.take("sync") || mods.ty()? != Type::B32 {
        return Err("shfl.sync....b32 is needed".into());
    }
    let modes = [("up", ShflMode::Up), ("down", ShflMode::Down), ("bfly", ShflMode::Bfly), ("idx", ShflMode::Idx)];
    let mode = mods.must("mode", &modes)?;
    ctx.arity(5..=5)?;
    let (d, p) = match ctx.operand(0)? {
        Operand::Pair(d, p) => {
            let (d, p) = (*d, *p);
            let p = ctx.names.pred_def(p)?;
            let d = ctx.names.destination(&Operand::Name(d), Type::B32, false)?;
            (super::row32(d.ok_or("`_` is not allowed here")?)?, p)
        }
        _ => (ctx.dst32(0, Type::B32)?, None),
    };
    let a = ctx.src32(1, Type::B32)?;
    let (b, c, members) = (ctx.src32(2, Type::B32)?, ctx.src32(3, Type::B32)?, ctx.src32(4, Type::B32)?);
    Ok(Op::Shfl(Box::new(Shfl { mode, d, p, a, b, c, members })))
}

fn vote(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    if !mods.take("sync") {
        return Err("vote.sync is needed".into());
    }
    ctx.arity(3..=3)?;
    let modes = [("all", VoteMode::All), ("any", VoteMode::Any), ("uni", VoteMode::Uni), ("ballot", VoteMode::Ballot)];
    let mode = mods.must("mode", &modes)?;
    if (mode == VoteMode::Ballot) != (ty == Type::B32) || (mode != VoteMode::Ballot) != (ty == Type::Pred) {
        return Err("vote.ballot writes .b32, the others .pred".into());
    }
    let d: Reg = ctx.dst(0, ty)?;
    Ok(Op::Vote { mode, d, a: ctx.pred(1)?, members: ctx.src32(2, Type::B32)? })
}

fn redux(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    if !mods.take("sync") {
        return Err("redux.sync is needed".into());
    }
    let signed = ty == Type::S32;
    let (op, untyped) = mods.must(
        "operation",
        &[
            ("add", (ReduxOp::Add, false)),
            ("min", (if signed { ReduxOp::MinS } else { ReduxOp::MinU }, false)),
            ("max", (if signed { ReduxOp::MaxS } else { ReduxOp::MaxU }, false)),
            ("and", (ReduxOp::And, true)),
            ("or", (ReduxOp::Or, true)),
            ("xor", (ReduxOp::Xor, true)),
        ],
    )?;
    if !matches!(ty, Type::U32 | Type::S32 | Type::B32) || untyped != (ty == Type::B32) {
        return Err(format!("this redux.sync has no type {ty:?}"));
    }
    ctx.arity(3..=3)?;
    let (d, a): (R32, R32) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?);
    Ok(Op::Redux { op, d, a, members: ctx.src32(2, Type::B32)? })
}
