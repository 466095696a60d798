//! f32 and f64 arithmetic. Approximate instructions are computed exactly or to the host's last bit: their documented
//! error on a GPU is not imitated.

use super::{map1, map2, map3, wide1, wide2};
use crate::isa::{FloatOp, FloatUnary, Op};
use crate::machine::warp::{Row, Warp};

/// Flushes a subnormal f32 to zero of its sign.
#[inline(always)]
pub fn flush(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

fn flush_row(a: Row, ftz: bool) -> Row {
    if ftz { map1(a, flush) } else { a }
}

/// Clamps to [0, 1]; NaN becomes 0.
#[inline(always)]
fn saturate(bits: u32) -> u32 {
    f32::from_bits(bits).clamp(0.0, 1.0).max(0.0).to_bits()
}

fn finish(v: Row, ftz: bool, sat: bool) -> Row {
    let v = flush_row(v, ftz);
    if sat { map1(v, saturate) } else { v }
}

#[inline(always)]
fn f2(a: Row, b: Row, f: impl Fn(f32, f32) -> f32) -> Row {
    map2(a, b, |x, y| f(f32::from_bits(x), f32::from_bits(y)).to_bits())
}

#[inline(always)]
fn f1(a: Row, f: impl Fn(f32) -> f32) -> Row {
    map1(a, |x| f(f32::from_bits(x)).to_bits())
}

/// The smaller number; a NaN gives way to a number, -0 is below +0.
#[inline(always)]
pub fn min(x: f32, y: f32) -> f32 {
    if x.is_nan() {
        return y;
    }
    if x == y {
        return f32::from_bits(x.to_bits() | y.to_bits());
    }
    if y < x { y } else { x }
}

/// The larger number; a NaN gives way to a number, +0 is above -0.
#[inline(always)]
pub fn max(x: f32, y: f32) -> f32 {
    if x.is_nan() {
        return y;
    }
    if x == y {
        return f32::from_bits(x.to_bits() & y.to_bits());
    }
    if y > x { y } else { x }
}

/// `f` unless an argument is NaN.
#[inline(always)]
pub fn or_nan(x: f32, y: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    if x.is_nan() || y.is_nan() { f32::NAN } else { f(x, y) }
}

/// Executes f32 instructions.
pub fn exec32(op: &Op, w: &mut Warp, mask: u32) {
    match *op {
        Op::F32 { op, ftz, sat, d, a, b } => {
            let (a, b) = (flush_row(w.get(a), ftz), flush_row(w.get(b), ftz));
            let v = match op {
                FloatOp::Add => f2(a, b, |x, y| x + y),
                FloatOp::Sub => f2(a, b, |x, y| x - y),
                FloatOp::Mul => f2(a, b, |x, y| x * y),
                FloatOp::Div => f2(a, b, |x, y| x / y),
                FloatOp::Min => f2(a, b, min),
                FloatOp::Max => f2(a, b, max),
                FloatOp::MinNan => f2(a, b, |x, y| or_nan(x, y, min)),
                FloatOp::MaxNan => f2(a, b, |x, y| or_nan(x, y, max)),
            };
            w.put(d, mask, &finish(v, ftz, sat));
        }
        Op::F32Fma { ftz, sat, d, a, b, c } => {
            let (a, b, c) = (flush_row(w.get(a), ftz), flush_row(w.get(b), ftz), flush_row(w.get(c), ftz));
            let v = map3(a, b, c, |x, y, z| fma(f32::from_bits(x), f32::from_bits(y), f32::from_bits(z)).to_bits());
            w.put(d, mask, &finish(v, ftz, sat));
        }
        Op::F32Un { op, ftz, d, a } => {
            let a = flush_row(w.get(a), ftz);
            let v = match op {
                FloatUnary::Neg => map1(a, |x| x ^ 0x8000_0000),
                FloatUnary::Abs => map1(a, |x| x & 0x7fff_ffff),
                FloatUnary::Rcp => f1(a, |x| 1.0 / x),
                FloatUnary::Sqrt => f1(a, f32::sqrt),
                FloatUnary::Rsqrt => f1(a, |x| (1.0 / f64::from(x).sqrt()) as f32),
                FloatUnary::Ex2 => f1(a, f32::exp2),
                FloatUnary::Lg2 => f1(a, f32::log2),
                FloatUnary::Tanh => f1(a, f32::tanh),
                FloatUnary::Sin => f1(a, f32::sin),
                FloatUnary::Cos => f1(a, f32::cos),
            };
            w.put(d, mask, &flush_row(v, ftz));
        }
        _ => {}
    }
}

/// `x * y + z` with one rounding. The product is exact in f64; the sum is rounded to odd there, so that the second
/// rounding to f32 is that of the exact value.
#[inline(always)]
pub fn fma(x: f32, y: f32, z: f32) -> f32 {
    fma_odd(f64::from(x), f64::from(y), f64::from(z)) as f32
}

/// `x * y + z` in f64, rounded to odd; the product must be exact.
#[inline(always)]
pub fn fma_odd(x: f64, y: f64, z: f64) -> f64 {
    let p = x * y;
    let s = p + z;
    let t = s - p;
    let error = (p - (s - t)) + (z - t);
    let bits = s.to_bits();
    // An inexact sum with an even last bit moves one step towards the exact value.
    let inexact = error != 0.0 && error.is_finite() && bits & 1 == 0;
    let away = (error > 0.0) == (s > 0.0);
    let step = if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact { step } else { bits })
}

fn d1(f: impl Fn(f64) -> f64) -> impl Fn(u64) -> u64 {
    move |x| f(f64::from_bits(x)).to_bits()
}

/// Executes f64 instructions.
pub fn exec64(op: &Op, w: &mut Warp, mask: u32) {
    let (d, v) = match *op {
        Op::F64 { op, d, a, b } => {
            let f = |x: f64, y: f64| match op {
                FloatOp::Add => x + y,
                FloatOp::Sub => x - y,
                FloatOp::Mul => x * y,
                FloatOp::Div => x / y,
                FloatOp::Min | FloatOp::MinNan => x.min(y),
                FloatOp::Max | FloatOp::MaxNan => x.max(y),
            };
            (d, wide2(w.get64(a), w.get64(b), |x, y| f(f64::from_bits(x), f64::from_bits(y)).to_bits()))
        }
        Op::F64Fma { d, a, b, c } => {
            let (a, b, c) = (w.get64(a), w.get64(b), w.get64(c));
            let f = |l: usize| f64::from_bits(a[l]).mul_add(f64::from_bits(b[l]), f64::from_bits(c[l])).to_bits();
            (d, std::array::from_fn(f))
        }
        Op::F64Un { op, d, a } => {
            let a = w.get64(a);
            let v = match op {
                FloatUnary::Neg => wide1(a, |x| x ^ 1 << 63),
                FloatUnary::Abs => wide1(a, |x| x & !(1 << 63)),
                FloatUnary::Rcp => wide1(a, d1(|x| 1.0 / x)),
                _ => wide1(a, d1(f64::sqrt)),
            };
            (d, v)
        }
        _ => return,
    };
    w.put64(d, mask, &v);
}
