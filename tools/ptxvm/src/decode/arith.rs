//! Arithmetic and logic.

use super::{Ctx, Mods, Refusal, row32};
use crate::isa::{FloatOp, FloatUnary, Half, IntOp, IntTy, IntUnary, Op, Reg};
use crate::parse::Type;

/// Decodes `head` with its modifiers.
pub fn decode(head: &str, mods: &mut Mods<'_>, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let ty = mods.ty()?;
    match head {
        "lop3" => lop3(ty, ctx),
        "prmt" | "shf" | "bfe" | "bfi" => bits(head, mods, ty, ctx),
        "and" | "or" | "xor" | "not" if ty == Type::Pred => predicates(head, ctx),
        "add" | "sub" | "mul" | "div" | "min" | "max" if ty.float() => float_binary(head, mods, ty, ctx),
        "fma" | "mad" if ty.float() => float_fma(mods, ty, ctx),
        "neg" | "abs" | "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "tanh" | "sin" | "cos" if ty.float() => {
            float_unary(head, mods, ty, ctx)
        }
        "mul" | "mad" => multiply(head, mods, ty, ctx),
        "not" | "neg" | "abs" | "popc" | "clz" | "brev" | "cnot" => int_unary(head, ty, ctx),
        "fma" | "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "tanh" | "sin" | "cos" => {
            Err(format!("{head} has no type {ty:?}"))
        }
        _ => int_binary(head, ty, ctx),
    }
}

fn int_ty(ty: Type) -> Result<IntTy, Refusal> {
    Ok(match ty {
        Type::B16 | Type::U16 => IntTy::U16,
        Type::S16 => IntTy::S16,
        Type::B32 | Type::U32 => IntTy::U32,
        Type::S32 => IntTy::S32,
        Type::B64 | Type::U64 => IntTy::U64,
        Type::S64 => IntTy::S64,
        _ => return Err(format!("no integer form for type {ty:?}")),
    })
}

fn untyped(ty: Type) -> bool {
    matches!(ty, Type::B16 | Type::B32 | Type::B64)
}

fn int_binary(head: &str, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let (op, logic) = match head {
        "add" => (IntOp::Add, false),
        "sub" => (IntOp::Sub, false),
        "div" => (IntOp::Div, false),
        "rem" => (IntOp::Rem, false),
        "min" => (IntOp::Min, false),
        "max" => (IntOp::Max, false),
        "and" => (IntOp::And, true),
        "or" => (IntOp::Or, true),
        "xor" => (IntOp::Xor, true),
        "shl" => (IntOp::Shl, true),
        "shr" => (IntOp::Shr, false),
        _ => return Err(format!("unknown instruction {head}")),
    };
    if (logic && !untyped(ty)) || (!logic && head != "shr" && untyped(ty)) {
        return Err(format!("{head} has no type {ty:?}"));
    }
    ctx.arity(3..=3)?;
    let int = int_ty(ty)?;
    let shift = matches!(op, IntOp::Shl | IntOp::Shr);
    if ty.bits() == 64 {
        let (d, a) = (ctx.dst64(0, ty)?, ctx.src64(1, ty)?);
        if shift {
            return Ok(Op::Shift64 { op, signed: ty.signed(), d, a, b: ctx.src32(2, Type::U32)? });
        }
        return Ok(Op::Int64 { op, signed: ty.signed(), d, a, b: ctx.src64(2, ty)? });
    }
    let (d, a) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?);
    let b = ctx.src32(2, if shift { Type::U32 } else { ty })?;
    Ok(Op::Int { op, ty: int, d, a, b })
}

fn int_unary(head: &str, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let (op, wants_untyped) = match head {
        "not" => (IntUnary::Not, true),
        "neg" => (IntUnary::Neg, false),
        "abs" => (IntUnary::Abs, false),
        "popc" => (IntUnary::Popc, true),
        "clz" => (IntUnary::Clz, true),
        "brev" => (IntUnary::Brev, true),
        _ => (IntUnary::Cnot, true),
    };
    if untyped(ty) != wants_untyped || (!wants_untyped && !ty.signed()) {
        return Err(format!("{head} has no type {ty:?}"));
    }
    ctx.arity(2..=2)?;
    let count = matches!(op, IntUnary::Popc | IntUnary::Clz);
    if (count || op == IntUnary::Brev) && ty.bits() == 16 {
        return Err(format!("{head} has no type {ty:?}"));
    }
    if ty.bits() == 64 {
        let a = ctx.src64(1, ty)?;
        if count {
            return Ok(Op::Count64 { op, d: ctx.dst32(0, Type::U32)?, a });
        }
        return Ok(Op::IntUn64 { op, d: ctx.dst64(0, ty)?, a });
    }
    Ok(Op::IntUn { op, ty: int_ty(ty)?, d: ctx.dst32(0, ty)?, a: ctx.src32(1, ty)? })
}

fn multiply(head: &str, mods: &mut Mods<'_>, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let int = int_ty(ty)?;
    if untyped(ty) {
        return Err(format!("{head} has no type {ty:?}"));
    }
    let mad = head == "mad";
    ctx.arity(if mad { 4..=4 } else { 3..=3 })?;
    let signed = ty.signed();
    if mods.take("wide") {
        return wide(mad, ty, ctx);
    }
    let hi = mods.must("part (.lo, .hi, .wide)", &[("lo", false), ("hi", true)])?;
    if ty.bits() == 64 {
        let (d, a, b) = (ctx.dst64(0, ty)?, ctx.src64(1, ty)?, ctx.src64(2, ty)?);
        return match (mad, hi) {
            (false, _) => Ok(Op::Int64 { op: if hi { IntOp::MulHi } else { IntOp::MulLo }, signed, d, a, b }),
            (true, false) => Ok(Op::Mad64 { d, a, b, c: ctx.src64(3, ty)? }),
            (true, true) => Err("mad.hi of 64 bits is unknown".into()),
        };
    }
    let (d, a, b) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?);
    if mad {
        return Ok(Op::Mad { ty: int, hi, d, a, b, c: ctx.src32(3, ty)? });
    }
    Ok(Op::Int { op: if hi { IntOp::MulHi } else { IntOp::MulLo }, ty: int, d, a, b })
}

fn wide(mad: bool, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    let signed = ty.signed();
    match ty {
        Type::U16 | Type::S16 => {
            let sum = if signed { Type::S32 } else { Type::U32 };
            let (d, a, b) = (ctx.dst32(0, sum)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?);
            let c = if mad { Some(ctx.src32(3, sum)?) } else { None };
            Ok(Op::MulWide16 { signed, d, a, b, c })
        }
        Type::U32 | Type::S32 => {
            let sum = if signed { Type::S64 } else { Type::U64 };
            let (d, a, b) = (ctx.dst64(0, sum)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?);
            let c = if mad { Some(ctx.src64(3, sum)?) } else { None };
            Ok(Op::MulWide { signed, d, a, b, c })
        }
        _ => Err(format!(".wide has no type {ty:?}")),
    }
}

fn predicates(head: &str, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(if head == "not" { 2..=2 } else { 3..=3 })?;
    let Reg::Pred(d) = ctx.dst(0, Type::Pred)? else { return Err("a predicate is expected".into()) };
    let mut a = ctx.pred(1)?;
    if head == "not" {
        a.negated = !a.negated;
        return Ok(Op::MovPred { d, a });
    }
    let op = crate::isa::BoolOp::from_name(head).ok_or("unknown boolean operation")?;
    Ok(Op::Combine { op, d, a, b: ctx.pred(2)? })
}

fn lop3(ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    if ty != Type::B32 {
        return Err(format!("lop3 has no type {ty:?}"));
    }
    ctx.arity(5..=5)?;
    let lut = match ctx.operand(4)? {
        crate::parse::Operand::Int(v @ 0..=255) => *v as u8,
        _ => return Err("lop3 takes an immediate from 0 to 255".into()),
    };
    Ok(Op::Lop3 { lut, d: ctx.dst32(0, ty)?, a: ctx.src32(1, ty)?, b: ctx.src32(2, ty)?, c: ctx.src32(3, ty)? })
}

fn bits(head: &str, mods: &mut Mods<'_>, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    if ty.bits() != 32 || ty.float() || ((head != "bfe") != (ty == Type::B32)) {
        return Err(format!("{head} has no type {ty:?}"));
    }
    ctx.arity(if head == "bfi" { 5..=5 } else { 4..=4 })?;
    let (d, a) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?);
    let second = if matches!(head, "bfe") { Type::U32 } else { Type::B32 };
    let (b, c) = (ctx.src32(2, second)?, ctx.src32(3, Type::B32)?);
    Ok(match head {
        "bfe" => Op::Bfe { signed: ty.signed(), d, a, b, c },
        "bfi" => Op::Bfi { d, a, b, c, e: ctx.src32(4, Type::B32)? },
        "prmt" => Op::Prmt { d, a, b, c },
        _ => {
            let left = mods.must("direction (.l, .r)", &[("l", true), ("r", false)])?;
            let wrap = mods.must("mode (.wrap, .clamp)", &[("wrap", true), ("clamp", false)])?;
            Op::Shf { left, wrap, d, a, b, c }
        }
    })
}

/// Format and packing of a 16-bit floating-point type.
fn half(ty: Type) -> Option<(Half, bool)> {
    Some(match ty {
        Type::F16 => (Half::F16, false),
        Type::F16x2 => (Half::F16, true),
        Type::BF16 => (Half::BF16, false),
        Type::BF16x2 => (Half::BF16, true),
        _ => return None,
    })
}

fn float_binary(head: &str, mods: &mut Mods<'_>, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(3..=3)?;
    let (ftz, sat) = (mods.take("ftz"), mods.take("sat"));
    let op = match head {
        "add" => FloatOp::Add,
        "sub" => FloatOp::Sub,
        "mul" => FloatOp::Mul,
        "div" => FloatOp::Div,
        "min" if mods.take("NaN") => FloatOp::MinNan,
        "min" => FloatOp::Min,
        _ if mods.take("NaN") => FloatOp::MaxNan,
        _ => FloatOp::Max,
    };
    let minmax = matches!(op, FloatOp::Min | FloatOp::Max | FloatOp::MinNan | FloatOp::MaxNan);
    if op == FloatOp::Div {
        let known: &[(&str, ())] =
            if ty == Type::F32 { &[("rn", ()), ("approx", ()), ("full", ())] } else { &[("rn", ())] };
        mods.must("rounding", known)?;
    } else if !minmax {
        mods.take("rn");
    }
    if (sat && (minmax || op == FloatOp::Div)) || (ty == Type::F64 && (ftz || sat)) {
        return Err("this modifier does not go with the instruction".into());
    }
    if ty == Type::F64 {
        return Ok(Op::F64 { op, d: ctx.dst64(0, ty)?, a: ctx.src64(1, ty)?, b: ctx.src64(2, ty)? });
    }
    let (d, a, b) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?);
    match half(ty) {
        None => Ok(Op::F32 { op, ftz, sat, d, a, b }),
        Some(_) if op == FloatOp::Div => Err(format!("div has no type {ty:?}")),
        Some((half, packed)) => Ok(Op::Half { op, half, packed, ftz, sat, d, a, b }),
    }
}

fn float_fma(mods: &mut Mods<'_>, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(4..=4)?;
    mods.must("rounding", &[("rn", ())])?;
    let (ftz, sat, relu) = (mods.take("ftz"), mods.take("sat"), mods.take("relu"));
    if ty == Type::F64 {
        if ftz || sat || relu {
            return Err("this modifier does not go with f64".into());
        }
        return Ok(Op::F64Fma {
            d: ctx.dst64(0, ty)?,
            a: ctx.src64(1, ty)?,
            b: ctx.src64(2, ty)?,
            c: ctx.src64(3, ty)?,
        });
    }
    let (d, a, b, c) = (ctx.dst32(0, ty)?, ctx.src32(1, ty)?, ctx.src32(2, ty)?, ctx.src32(3, ty)?);
    match half(ty) {
        None if relu => Err(".relu goes with 16-bit types only".into()),
        None => Ok(Op::F32Fma { ftz, sat, d, a, b, c }),
        Some((half, packed)) => Ok(Op::HalfFma { half, packed, ftz, sat, relu, d, a, b, c }),
    }
}

fn float_unary(head: &str, mods: &mut Mods<'_>, ty: Type, ctx: &mut Ctx<'_, '_>) -> Result<Op, Refusal> {
    ctx.arity(2..=2)?;
    let ftz = mods.take("ftz");
    let op = match head {
        "neg" => FloatUnary::Neg,
        "abs" => FloatUnary::Abs,
        "rcp" => FloatUnary::Rcp,
        "sqrt" => FloatUnary::Sqrt,
        "rsqrt" => FloatUnary::Rsqrt,
        "ex2" => FloatUnary::Ex2,
        "lg2" => FloatUnary::Lg2,
        "tanh" => FloatUnary::Tanh,
        "sin" => FloatUnary::Sin,
        _ => FloatUnary::Cos,
    };
    let half = half(ty);
    match op {
        FloatUnary::Neg | FloatUnary::Abs => {}
        FloatUnary::Rcp | FloatUnary::Sqrt => mods.must("rounding (.rn, .approx)", &[("rn", ()), ("approx", ())])?,
        _ => mods.must("rounding (.approx)", &[("approx", ())])?,
    }
    let simple = matches!(op, FloatUnary::Neg | FloatUnary::Abs);
    if half.is_some() && !simple && !matches!(op, FloatUnary::Ex2 | FloatUnary::Tanh) {
        return Err(format!("{head} has no type {ty:?}"));
    }
    if ty == Type::F64 {
        if ftz || !(simple || matches!(op, FloatUnary::Rcp | FloatUnary::Sqrt)) {
            return Err(format!("{head} has no such form for f64"));
        }
        return Ok(Op::F64Un { op, d: ctx.dst64(0, ty)?, a: ctx.src64(1, ty)? });
    }
    let (d, a) = (row32(ctx.dst(0, ty)?)?, ctx.src32(1, ty)?);
    match half {
        None => Ok(Op::F32Un { op, ftz, d, a }),
        Some((half, packed)) => Ok(Op::HalfUn { op, half, packed, ftz, d, a }),
    }
}
