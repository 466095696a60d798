//! f16 and bf16: conversions to and from f32, scalar and packed arithmetic.

use super::float::{fma_odd, max, min, or_nan};
use super::{map1, map2, map3};
use crate::isa::{FloatOp, FloatUnary, Half, Op};
use crate::machine::warp::Warp;

/// The f32 of an f16's bits, exactly; branch-free, so that loops over it vectorise.
#[inline(always)]
pub fn f16_to_f32(h: u32) -> f32 {
    let magnitude = (h & 0x7fff) << 13;
    // The exponent's bias is corrected by a multiplication, which also normalises subnormals.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled | special | (h & 0x8000) << 16)
}

/// The f32 of a bf16's bits.
#[inline(always)]
pub fn bf16_to_f32(h: u32) -> f32 {
    f32::from_bits(h << 16)
}

/// The nearest f16, ties to even; subnormals kept, overflow to infinity.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u32 {
    u32::from(half::f16::from_f32_const(x).to_bits())
}

/// The nearest bf16, ties to even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff;
    }
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// The f32 of a 16-bit float.
#[inline(always)]
pub fn widen(half: Half, h: u32) -> f32 {
    match half {
        Half::F16 => f16_to_f32(h),
        Half::BF16 => bf16_to_f32(h),
    }
}

/// The nearest 16-bit float.
#[inline(always)]
pub fn narrow(half: Half, x: f32) -> u32 {
    match half {
        Half::F16 => f32_to_f16(x),
        Half::BF16 => f32_to_bf16(x),
    }
}

/// An f64 as f32 rounded to odd, so that narrowing it further rounds once.
pub fn to_f32_odd(v: f64) -> f32 {
    let f = v as f32;
    if f64::from(f) == v || !f.is_finite() || f.to_bits() & 1 == 1 {
        return f;
    }
    f32::from_bits(if v.abs() > f64::from(f).abs() { f.to_bits() + 1 } else { f.to_bits() - 1 })
}

/// Applies `f` to the low half, or to both.
#[inline(always)]
fn halves(packed: bool, x: u32, f: impl Fn(u32) -> u32) -> u32 {
    let lo = f(x & 0xffff) & 0xffff;
    if packed { lo | f(x >> 16) << 16 } else { lo }
}

fn flush16(half: Half, h: u32) -> u32 {
    let exponent = if half == Half::F16 { 0x7c00 } else { 0x7f80 };
    if h & exponent == 0 { h & 0x8000 } else { h }
}

/// Executes f16 and bf16 instructions. Sums and products of 16-bit floats rounded in f32 and then again round as if
/// once, because f32 has more than twice their digits; `fma` goes through f64 rounded to odd.
pub fn exec(op: &Op, w: &mut Warp, mask: u32) {
    match *op {
        Op::Half { op, half, packed, ftz, sat, d, a, b } => {
            let one = |x: u32, y: u32| {
                let (x, y) = if ftz { (flush16(half, x), flush16(half, y)) } else { (x, y) };
                let v = narrow(half, binary(op, widen(half, x), widen(half, y)));
                finish(half, ftz, sat, v)
            };
            let v = map2(w.get(a), w.get(b), |x, y| {
                let lo = one(x & 0xffff, y & 0xffff);
                if packed { lo | one(x >> 16, y >> 16) << 16 } else { lo }
            });
            w.put(d, mask, &v);
        }
        Op::HalfFma { half, packed, ftz, sat, relu, d, a, b, c } => {
            let one = |x: u32, y: u32, z: u32| {
                let [x, y, z] = [x, y, z].map(|v| if ftz { flush16(half, v) } else { v });
                let [x, y, z] = [x, y, z].map(|v| f64::from(widen(half, v)));
                let v = narrow(half, to_f32_odd(fma_odd(x, y, z)));
                let v = if relu && v & 0x8000 != 0 && !widen(half, v).is_nan() { 0 } else { v };
                finish(half, ftz, sat, v)
            };
            let v = map3(w.get(a), w.get(b), w.get(c), |x, y, z| {
                let lo = one(x & 0xffff, y & 0xffff, z & 0xffff);
                if packed { lo | one(x >> 16, y >> 16, z >> 16) << 16 } else { lo }
            });
            w.put(d, mask, &v);
        }
        Op::HalfUn { op, half, packed, ftz, d, a } => {
            let v = map1(w.get(a), |x| halves(packed, x, |h| unary(op, half, if ftz { flush16(half, h) } else { h })));
            w.put(d, mask, &v);
        }
        _ => {}
    }
}

fn finish(half: Half, ftz: bool, sat: bool, v: u32) -> u32 {
    let v = if ftz { flush16(half, v) } else { v };
    if !sat {
        return v;
    }
    let x = widen(half, v);
    if x > 1.0 {
        narrow(half, 1.0)
    } else if x > 0.0 {
        v
    } else {
        0
    }
}

fn binary(op: FloatOp, x: f32, y: f32) -> f32 {
    match op {
        FloatOp::Add => x + y,
        FloatOp::Sub => x - y,
        FloatOp::Mul => x * y,
        FloatOp::Div => x / y,
        FloatOp::Min => min(x, y),
        FloatOp::Max => max(x, y),
        FloatOp::MinNan => or_nan(x, y, min),
        FloatOp::MaxNan => or_nan(x, y, max),
    }
}

fn unary(op: FloatUnary, half: Half, h: u32) -> u32 {
    match op {
        FloatUnary::Neg => h ^ 0x8000,
        FloatUnary::Abs => h & 0x7fff,
        FloatUnary::Tanh => narrow(half, widen(half, h).tanh()),
        _ => narrow(half, widen(half, h).exp2()),
    }
}
