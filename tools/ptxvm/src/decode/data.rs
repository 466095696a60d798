//! Moves, conversions, comparisons, loads, stores and atomics.

use super::{Ctx, Mods, Refusal, row32, row64};
use crate::isa::{
    Access, Atom, AtomOp, AtomTy, BoolOp, Cmp, CmpTy, Cvt, Half, MemSpace, Num, Op, PredSrc, Reg, Round, Setp, Strong,
};
use crate::parse::{Operand, Type};

/// Decodes `head` with its modifiers.
pub fn decode(head: &str, mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    match head {
        "mov" => mov(mods, ctx),
        "cvt" => cvt(mods, ctx),
        "cvta" => cvta(mods, ctx),
        "ld" => load(mods, ctx),
        "st" => store(mods, ctx),
        "setp" => Ok(Op::Setp(Box::new(setp(mods, ctx)?))),
        "set" => set(mods, ctx),
        "selp" => selp(mods, ctx),
        "slct" => slct(mods, ctx),
        "atom" => atom(mods, ctx, true),
        "red" => atom(mods, ctx, false),
        _ => prefetch(mods, ctx),
    }
}

fn mov(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    ctx.arity(2..=2)?;
    if let Operand::Vector(parts) = ctx.operand(0)? {
        return unpack(ty, parts.clone(), ctx);
    }
    if let Operand::Vector(parts) = ctx.operand(1)? {
        return pack(ty, parts.clone(), ctx);
    }
    if ty == Type::Pred {
        let Reg::Pred(d) = ctx.dst(0, ty)? else { return Err("a predicate is expected".into()) };
        return Ok(Op::MovPred { d, a: ctx.pred(1)? });
    }
    match ctx.dst(0, ty)? {
        Reg::R32(d) => Ok(Op::Mov32 { d, a: ctx.src32(1, ty)? }),
        Reg::R64(d) => Ok(Op::Mov64 { d, a: ctx.src64(1, ty)? }),
        Reg::Pred(_) => Err("mov.pred is needed for predicates".into()),
    }
}

fn part_type(ty: Type, parts: usize) -> Result<Type, Refusal> {
    match (ty.bits(), parts) {
        (32, 2) | (64, 4) => Ok(Type::B16),
        (64, 2) => Ok(Type::B32),
        _ => Err(format!("{ty:?} does not hold {parts} parts")),
    }
}

fn pack<'a>(ty: Type, parts: Vec<Operand<'a>>, ctx: &mut Ctx<'_, 'a>) -> Result<Op, Refusal> {
    let part = part_type(ty, parts.len())?;
    let mut rows = Vec::new();
    for p in &parts {
        rows.push(row32(ctx.names.source(p, part, false)?)?);
    }
    match (ctx.dst(0, ty)?, rows.as_slice()) {
        (Reg::R32(d), &[lo, hi]) => Ok(Op::Pack32 { d, lo, hi }),
        (Reg::R64(d), &[lo, hi]) => Ok(Op::Pack64 { d, lo, hi }),
        (Reg::R64(d), &[a, b, c, e]) => Ok(Op::PackQuad { d, parts: [a, b, c, e] }),
        _ => Err("parts do not fit the register".into()),
    }
}

fn unpack<'a>(ty: Type, parts: Vec<Operand<'a>>, ctx: &mut Ctx<'_, 'a>) -> Result<Op, Refusal> {
    let part = part_type(ty, parts.len())?;
    let mut rows = Vec::new();
    for p in &parts {
        rows.push(match ctx.names.destination(p, part, false)? {
            Some(reg) => Some(row32(reg)?),
            None => None,
        });
    }
    match (ctx.src(1, ty)?, rows.as_slice()) {
        (Reg::R32(a), &[lo, hi]) => Ok(Op::Unpack32 { lo, hi, a }),
        (Reg::R64(a), &[lo, hi]) => Ok(Op::Unpack64 { lo, hi, a }),
        (Reg::R64(a), &[p, q, r, s]) => Ok(Op::UnpackQuad { parts: [p, q, r, s], a }),
        _ => Err("parts do not fit the register".into()),
    }
}

fn num(ty: Type) -> Result<Num, Refusal> {
    Ok(match ty {
        Type::U8 | Type::B8 => Num::U8,
        Type::S8 => Num::S8,
        Type::U16 => Num::U16,
        Type::S16 => Num::S16,
        Type::U32 => Num::U32,
        Type::S32 => Num::S32,
        Type::U64 => Num::U64,
        Type::S64 => Num::S64,
        Type::F16 => Num::F16,
        Type::BF16 => Num::BF16,
        Type::F32 => Num::F32,
        Type::F64 => Num::F64,
        _ => return Err(format!("cvt has no type {ty:?}")),
    })
}

const ROUNDS: &[(&str, Round)] = &[
    ("rn", Round::Rn),
    ("rz", Round::Rz),
    ("rm", Round::Rm),
    ("rp", Round::Rp),
    ("rni", Round::Rni),
    ("rzi", Round::Rzi),
    ("rmi", Round::Rmi),
    ("rpi", Round::Rpi),
];

fn cvt(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let from = mods.ty()?;
    let to = mods.ty()?;
    let round = mods.choose(ROUNDS).unwrap_or(Round::None);
    let (ftz, sat) = (mods.take("ftz"), mods.take("sat"));
    let (satfinite, relu) = (mods.take("satfinite"), mods.take("relu"));
    if matches!(to, Type::F16x2 | Type::BF16x2) {
        ctx.arity(3..=3)?;
        if from != Type::F32 || round != Round::Rn || ftz || sat || satfinite {
            return Err("only cvt.rn[.relu] from two f32 is known for packed types".into());
        }
        let half = if to == Type::F16x2 { Half::F16 } else { Half::BF16 };
        return Ok(Op::CvtPack { half, relu, d: ctx.dst32(0, to)?, hi: ctx.src32(1, from)?, lo: ctx.src32(2, from)? });
    }
    ctx.arity(2..=2)?;
    check_rounding(to, from, round)?;
    if ((satfinite || relu) && !matches!(to, Type::F16 | Type::BF16)) || (sat && satfinite) {
        return Err("this saturation does not go with the type".into());
    }
    let d = ctx.names.destination(&ctx.operands[0], to, true)?.ok_or("`_` is not allowed here")?;
    let a = ctx.src_wide(1, from)?;
    Ok(Op::Cvt(Box::new(Cvt { to: num(to)?, from: num(from)?, round, ftz, sat, satfinite, relu, d, a })))
}

/// PTX demands a rounding exactly where precision can be lost.
fn check_rounding(to: Type, from: Type, round: Round) -> Result<(), Refusal> {
    let integral = matches!(round, Round::Rni | Round::Rzi | Round::Rmi | Round::Rpi);
    let ok = match (from.float(), to.float()) {
        (false, false) => round == Round::None,
        (true, false) => integral,
        (false, true) => round != Round::None && !integral,
        (true, true) if to.bits() < from.bits() => round != Round::None && !integral,
        (true, true) => round == Round::None || (integral && to == from),
    };
    if ok { Ok(()) } else { Err(format!("rounding {round:?} does not go with cvt from {from:?} to {to:?}")) }
}

fn cvta(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(2..=2)?;
    let to = mods.take("to");
    let shared = mods.must("state space", &[("global", false), ("const", false), ("shared", true)])?;
    let ty = mods.ty()?;
    if ty != Type::U64 {
        return Err("cvta takes .u64".into());
    }
    let (d, a) = (ctx.dst64(0, ty)?, ctx.src64(1, ty)?);
    if shared { Ok(Op::CvtaShared { into: !to, d, a }) } else { Ok(Op::Mov64 { d, a }) }
}

const SPACES: &[(&str, MemSpace)] = &[
    ("global", MemSpace::Global),
    ("shared", MemSpace::Shared),
    ("shared::cta", MemSpace::Shared),
    ("const", MemSpace::Const),
    ("param", MemSpace::Param),
];

/// Hints about caches do not change what an access means.
fn cache_hints(mods: &mut Mods<'_>) {
    for hint in [
        "ca",
        "cg",
        "cs",
        "lu",
        "cv",
        "wb",
        "wt",
        "L1::evict_normal",
        "L1::evict_unchanged",
        "L1::evict_first",
        "L1::evict_last",
        "L1::no_allocate",
        "L2::64B",
        "L2::128B",
        "L2::256B",
    ] {
        mods.take(hint);
    }
}

/// Memory order and scope. The machine is sequentially consistent, so they change no result; the check of races between
/// CTAs goes by them.
fn order(mods: &mut Mods<'_>) -> Option<Strong> {
    mods.take("weak");
    let (none, acquire, release, both) = ((false, false), (true, false), (false, true), (true, true));
    let orders = [("relaxed", none), ("acquire", acquire), ("release", release), ("acq_rel", both), ("volatile", none)];
    let order = mods.choose(&orders);
    let scopes = [("cta", false), ("gpu", true), ("sys", true), ("cluster", false)];
    let device = mods.choose(&scopes).unwrap_or(true);
    order.map(|(acquire, release)| Strong { acquire, release, device })
}

/// Atomics are relaxed unless they say more, and then need not say so; their scope counts even so.
fn atomic_order(mods: &mut Mods<'_>) -> Strong {
    let narrow = mods.has("cta") || mods.has("cluster");
    order(mods).unwrap_or(Strong { acquire: false, release: false, device: !narrow })
}

struct Shape {
    space: MemSpace,
    n: usize,
    ty: Type,
    constant: bool,
    strong: Option<Strong>,
}

fn access_shape(mods: &mut Mods<'_>, load: bool) -> Result<Shape, Refusal> {
    let ty = mods.ty()?;
    if matches!(ty, Type::Pred | Type::F16x2 | Type::BF16x2 | Type::F16 | Type::BF16) {
        return Err(format!("ld and st have no type {ty:?}; use .b16 or .b32"));
    }
    let space = mods.choose(SPACES).unwrap_or(MemSpace::Generic);
    let n = mods.choose(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    let constant = load && space == MemSpace::Global && mods.take("nc");
    cache_hints(mods);
    let strong = order(mods);
    if n as u32 * ty.bytes() > 16 {
        return Err("an access has at most 16 bytes".into());
    }
    Ok(Shape { space, n, ty, constant, strong })
}

fn load(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(2..=2)?;
    let Shape { space, n, ty, constant, strong } = access_shape(mods, true)?;
    let mut regs = Vec::with_capacity(n);
    for element in elements(ctx.operand(0)?, n)? {
        regs.push(ctx.names.destination(&element, ty, true)?);
    }
    let address = ctx.names.address(&ctx.operands[1])?;
    Ok(Op::Load(Box::new(Access { space, size: ty.bytes(), constant, strong, signed: ty.signed(), regs, address })))
}

fn store(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(2..=2)?;
    let Shape { space, n, ty, strong, .. } = access_shape(mods, false)?;
    if matches!(space, MemSpace::Const | MemSpace::Param) {
        return Err("this state space is read-only".into());
    }
    let mut regs = Vec::with_capacity(n);
    for element in elements(ctx.operand(1)?, n)? {
        regs.push(Some(ctx.names.source(&element, ty, true)?));
    }
    let address = ctx.names.address(&ctx.operands[0])?;
    Ok(Op::Store(Box::new(Access { space, size: ty.bytes(), constant: false, strong, signed: false, regs, address })))
}

fn elements<'a>(operand: &Operand<'a>, n: usize) -> Result<Vec<Operand<'a>>, Refusal> {
    match operand {
        Operand::Vector(list) if list.len() == n => Ok(list.clone()),
        Operand::Vector(list) => Err(format!("{} elements where {n} are expected", list.len())),
        _ if n == 1 => Ok(vec![operand.clone()]),
        _ => Err(format!("a list of {n} registers is expected")),
    }
}

const COMPARES: &[(&str, Cmp)] = &[
    ("eq", Cmp::Eq),
    ("ne", Cmp::Ne),
    ("lt", Cmp::Lt),
    ("le", Cmp::Le),
    ("gt", Cmp::Gt),
    ("ge", Cmp::Ge),
    ("equ", Cmp::EqU),
    ("neu", Cmp::NeU),
    ("ltu", Cmp::LtU),
    ("leu", Cmp::LeU),
    ("gtu", Cmp::GtU),
    ("geu", Cmp::GeU),
    ("num", Cmp::Num),
    ("nan", Cmp::Nan),
];

const UNSIGNED_COMPARES: &[(&str, Cmp)] = &[("lo", Cmp::Lt), ("ls", Cmp::Le), ("hi", Cmp::Gt), ("hs", Cmp::Ge)];

fn cmp_ty(ty: Type) -> Result<CmpTy, Refusal> {
    Ok(match ty {
        Type::B16 | Type::U16 => CmpTy::U16,
        Type::S16 => CmpTy::S16,
        Type::B32 | Type::U32 => CmpTy::U32,
        Type::S32 => CmpTy::S32,
        Type::B64 | Type::U64 => CmpTy::U64,
        Type::S64 => CmpTy::S64,
        Type::F16 => CmpTy::F16,
        Type::BF16 => CmpTy::BF16,
        Type::F32 => CmpTy::F32,
        Type::F64 => CmpTy::F64,
        _ => return Err(format!("comparisons have no type {ty:?}")),
    })
}

/// Compare, its type and the boolean operation that follows it, out of the modifiers.
fn compare(mods: &mut Mods<'_>, ty: Type) -> Result<(Cmp, CmpTy, Option<BoolOp>, bool), Refusal> {
    let cmp = match mods.choose(UNSIGNED_COMPARES) {
        Some(_) if !matches!(ty, Type::U16 | Type::U32 | Type::U64) => {
            return Err(format!("this comparison has no type {ty:?}"));
        }
        Some(cmp) => cmp,
        None => mods.must("comparison", COMPARES)?,
    };
    let unordered = !matches!(cmp, Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le | Cmp::Gt | Cmp::Ge);
    let untyped = matches!(ty, Type::B16 | Type::B32 | Type::B64);
    if (unordered && !ty.float()) || (untyped && !matches!(cmp, Cmp::Eq | Cmp::Ne)) {
        return Err(format!("this comparison has no type {ty:?}"));
    }
    let combine = mods.choose(&[("and", BoolOp::And), ("or", BoolOp::Or), ("xor", BoolOp::Xor)]);
    Ok((cmp, cmp_ty(ty)?, combine, mods.take("ftz")))
}

fn setp(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Setp, Refusal> {
    let ty = mods.ty()?;
    let (cmp, cmp_ty, combine, ftz) = compare(mods, ty)?;
    ctx.arity(if combine.is_some() { 4..=4 } else { 3..=3 })?;
    let (p, q) = match ctx.operand(0)? {
        Operand::Name(p) => (*p, "_"),
        Operand::Pair(p, q) => (*p, *q),
        _ => return Err("setp writes predicates".into()),
    };
    let (p, q) = (ctx.names.pred_def(p)?, ctx.names.pred_def(q)?);
    let (a, b) = (ctx.src(1, ty)?, ctx.src(2, ty)?);
    let combine = match combine {
        Some(op) => Some((op, ctx.pred(3)?)),
        None => None,
    };
    Ok(Setp { cmp, ty: cmp_ty, ftz, combine, p, q, a, b })
}

fn set(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    let result = mods.ty()?;
    if !matches!(result, Type::U32 | Type::S32 | Type::F32) {
        return Err("set writes u32, s32 or f32".into());
    }
    let (cmp, cmp_ty, combine, ftz) = compare(mods, ty)?;
    ctx.arity(if combine.is_some() { 4..=4 } else { 3..=3 })?;
    let d = ctx.dst32(0, result)?;
    let (a, b) = (ctx.src(1, ty)?, ctx.src(2, ty)?);
    let combine = match combine {
        Some(op) => Some((op, ctx.pred(3)?)),
        None => None,
    };
    let setp = Box::new(Setp { cmp, ty: cmp_ty, ftz, combine, p: None, q: None, a, b });
    Ok(Op::Set { setp, float: result == Type::F32, d })
}

fn selp(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    ctx.arity(4..=4)?;
    match ctx.dst(0, ty)? {
        Reg::R32(d) => Ok(Op::Selp32 { d, a: ctx.src32(1, ty)?, b: ctx.src32(2, ty)?, p: ctx.pred(3)? }),
        Reg::R64(d) => Ok(Op::Selp64 { d, a: ctx.src64(1, ty)?, b: ctx.src64(2, ty)?, p: ctx.pred(3)? }),
        Reg::Pred(_) => Err("selp has no type Pred".into()),
    }
}

fn slct(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let by = mods.ty()?;
    let ty = mods.ty()?;
    if !matches!(by, Type::S32 | Type::F32) || ty.bits() != 32 {
        return Err("slct is known for 32-bit types only".into());
    }
    ctx.arity(4..=4)?;
    let (d, a, b, c) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?, ctx.src32(3, by)?);
    Ok(Op::Slct { d, a, b, c, float: by == Type::F32 })
}

const ATOM_OPS: &[(&str, AtomOp)] = &[
    ("add", AtomOp::Add),
    ("min", AtomOp::Min),
    ("max", AtomOp::Max),
    ("and", AtomOp::And),
    ("or", AtomOp::Or),
    ("xor", AtomOp::Xor),
    ("exch", AtomOp::Exch),
    ("cas", AtomOp::Cas),
    ("inc", AtomOp::Inc),
    ("dec", AtomOp::Dec),
];

fn atom_ty(op: AtomOp, ty: Type) -> Result<AtomTy, Refusal> {
    use AtomOp::{Add, And, Cas, Dec, Exch, Inc, Max, Min, Or, Xor};
    let (ty, ok) = match ty {
        Type::U32 => (AtomTy::U32, matches!(op, Add | Min | Max | Inc | Dec)),
        Type::S32 => (AtomTy::S32, matches!(op, Add | Min | Max)),
        Type::B32 => (AtomTy::B32, matches!(op, And | Or | Xor | Exch | Cas)),
        Type::U64 => (AtomTy::U64, matches!(op, Add | Min | Max)),
        Type::S64 => (AtomTy::S64, matches!(op, Min | Max)),
        Type::B64 => (AtomTy::B64, matches!(op, And | Or | Xor | Exch | Cas)),
        Type::F32 => (AtomTy::F32, op == Add),
        Type::F16x2 => (AtomTy::F16x2, op == Add),
        Type::BF16x2 => (AtomTy::BF16x2, op == Add),
        _ => return Err(format!("atomics have no type {ty:?}")),
    };
    if ok { Ok(ty) } else { Err("this atomic operation has no such type".into()) }
}

fn atom(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>, returns: bool) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    let space = mods.choose(&SPACES[..3]).unwrap_or(MemSpace::Generic);
    let strong = atomic_order(mods);
    let op = mods.must("atomic operation", ATOM_OPS)?;
    let noftz = mods.take("noftz");
    let atom_ty = atom_ty(op, ty)?;
    let packed = matches!(atom_ty, AtomTy::F16x2 | AtomTy::BF16x2);
    if noftz != packed {
        return Err(".noftz goes with 16-bit additions, and they need it".into());
    }
    let first = usize::from(returns);
    let operands = 2 + first + usize::from(op == AtomOp::Cas);
    ctx.arity(operands..=operands)?;
    let d = if returns { ctx.names.destination(&ctx.operands[0], ty, false)? } else { None };
    let address = ctx.names.address(&ctx.operands[first])?;
    let b = ctx.src(first + 1, ty)?;
    let c = if op == AtomOp::Cas { Some(ctx.src(first + 2, ty)?) } else { None };
    if op == AtomOp::Cas && !returns {
        return Err("red has no cas".into());
    }
    if ty.bits() == 64 {
        row64(b)?;
    }
    Ok(Op::Atom(Box::new(Atom { space, op, ty: atom_ty, strong, d, address, b, c })))
}

fn prefetch(mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(1..=1)?;
    mods.take("global");
    mods.must("level", &[("L1", ()), ("L2", ()), ("L2::evict_last", ()), ("L2::evict_normal", ())])?;
    ctx.names.address(&ctx.operands[0])?;
    Ok(Op::Nop)
}

/// A guard-like predicate as the fourth operand of `cp.async`.
pub fn optional_pred(ctx: &mut Ctx<'_, '_>, i: usize) -> Option<PredSrc> {
    ctx.pred(i).ok()
}
