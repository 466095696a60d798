//! Comparisons and conversions.

use std::cmp::Ordering;

use super::float::flush;
use super::half_float::{narrow, widen};
use super::int::combine;
use super::{lanes, map1, map2};
use crate::isa::{Cmp, CmpTy, Cvt, Half, Num, R32, Reg, Round, Setp};
use crate::machine::warp::{LANES, Row, Row64, Warp};

/// `setp`
pub fn setp(w: &mut Warp, mask: u32, s: &Setp) {
    let holds = compare(w, s);
    let (p, q) = match s.combine {
        None => (holds, !holds),
        Some((op, c)) => {
            let c = w.pred(c);
            (combine(op, holds, c), combine(op, !holds, c))
        }
    };
    s.p.into_iter().for_each(|d| w.put_pred(d, mask, p));
    s.q.into_iter().for_each(|d| w.put_pred(d, mask, q));
}

/// `set`
pub fn set(w: &mut Warp, mask: u32, s: &Setp, float: bool, d: R32) {
    let mut holds = compare(w, s);
    if let Some((op, c)) = s.combine {
        holds = combine(op, holds, w.pred(c));
    }
    let one = if float { 1f32.to_bits() } else { u32::MAX };
    let v = std::array::from_fn(|l| if holds >> l & 1 == 1 { one } else { 0 });
    w.put(d, mask, &v);
}

fn bits(f: impl Fn(usize) -> bool) -> u32 {
    let mut out = 0;
    for l in 0..LANES {
        out |= u32::from(f(l)) << l;
    }
    out
}

#[inline(always)]
fn ordered<T: PartialOrd>(cmp: Cmp, f: impl Fn(usize) -> (T, T)) -> u32 {
    match cmp {
        Cmp::Eq => bits(|l| {
            let (a, b) = f(l);
            a == b
        }),
        Cmp::Ne => bits(|l| {
            let (a, b) = f(l);
            matches!(a.partial_cmp(&b), Some(Ordering::Less | Ordering::Greater))
        }),
        Cmp::Lt => bits(|l| {
            let (a, b) = f(l);
            a < b
        }),
        Cmp::Le => bits(|l| {
            let (a, b) = f(l);
            a <= b
        }),
        Cmp::Gt => bits(|l| {
            let (a, b) = f(l);
            a > b
        }),
        Cmp::Ge => bits(|l| {
            let (a, b) = f(l);
            a >= b
        }),
        Cmp::Num => bits(|l| {
            let (a, b) = f(l);
            a.partial_cmp(&b).is_some()
        }),
        Cmp::EqU => !ordered(Cmp::Ne, f),
        Cmp::NeU => !ordered(Cmp::Eq, f),
        Cmp::LtU => !ordered(Cmp::Ge, f),
        Cmp::LeU => !ordered(Cmp::Gt, f),
        Cmp::GtU => !ordered(Cmp::Le, f),
        Cmp::GeU => !ordered(Cmp::Lt, f),
        Cmp::Nan => !ordered(Cmp::Num, f),
    }
}

fn compare(w: &Warp, s: &Setp) -> u32 {
    match (s.a, s.b) {
        (Reg::R32(a), Reg::R32(b)) => compare32(s, w.get(a), w.get(b)),
        (Reg::R64(a), Reg::R64(b)) => compare64(s, w.get64(a), w.get64(b)),
        _ => 0,
    }
}

fn compare32(s: &Setp, a: Row, b: Row) -> u32 {
    let (a, b) = if s.ftz { (map1(a, flush), map1(b, flush)) } else { (a, b) };
    let half = |half: Half| ordered(s.cmp, |l| (widen(half, a[l] & 0xffff), widen(half, b[l] & 0xffff)));
    match s.ty {
        CmpTy::U32 => ordered(s.cmp, |l| (a[l], b[l])),
        CmpTy::S32 => ordered(s.cmp, |l| (a[l] as i32, b[l] as i32)),
        CmpTy::U16 => ordered(s.cmp, |l| (a[l] as u16, b[l] as u16)),
        CmpTy::S16 => ordered(s.cmp, |l| (a[l] as i16, b[l] as i16)),
        CmpTy::F16 => half(Half::F16),
        CmpTy::BF16 => half(Half::BF16),
        _ => ordered(s.cmp, |l| (f32::from_bits(a[l]), f32::from_bits(b[l]))),
    }
}

fn compare64(s: &Setp, a: Row64, b: Row64) -> u32 {
    match s.ty {
        CmpTy::S64 => ordered(s.cmp, |l| (a[l] as i64, b[l] as i64)),
        CmpTy::F64 => ordered(s.cmp, |l| (f64::from_bits(a[l]), f64::from_bits(b[l]))),
        _ => ordered(s.cmp, |l| (a[l], b[l])),
    }
}

/// `cvt.rn.f16x2.f32` and its kin: the first source goes to the high half.
pub fn pack(w: &mut Warp, mask: u32, half: Half, relu: bool, d: R32, hi: R32, lo: R32) {
    let one = |x: u32| {
        let h = narrow(half, f32::from_bits(x)) & 0xffff;
        if relu && h & 0x8000 != 0 && !f32::from_bits(x).is_nan() { 0 } else { h }
    };
    let v = map2(w.get(hi), w.get(lo), |h, l| one(h) << 16 | one(l));
    w.put(d, mask, &v);
}

/// `cvt`
pub fn cvt(w: &mut Warp, mask: u32, c: &Cvt) {
    if let (Reg::R32(d), Reg::R32(a)) = (c.d, c.a)
        && let Some(v) = common(c, w.get(a))
    {
        w.put(d, mask, &v);
        return;
    }
    let source: Row64 = match c.a {
        Reg::R32(a) => w.get(a).map(u64::from),
        Reg::R64(a) => w.get64(a),
        Reg::Pred(_) => return,
    };
    let mut out = [0; LANES];
    for l in lanes(mask) {
        out[l] = convert(c, source[l]);
    }
    match c.d {
        Reg::R32(d) => w.put(d, mask, &out.map(|v| v as u32)),
        Reg::R64(d) => w.put64(d, mask, &out),
        Reg::Pred(_) => {}
    }
}

/// The conversions that kernels are full of, without modifiers.
fn common(c: &Cvt, a: Row) -> Option<Row> {
    if c.ftz || c.sat || c.satfinite || c.relu {
        return None;
    }
    Some(match (c.to, c.from, c.round) {
        (Num::F32, Num::F16, Round::None) => map1(a, |x| widen(Half::F16, x & 0xffff).to_bits()),
        (Num::F32, Num::BF16, Round::None) => map1(a, |x| x << 16),
        (Num::F16, Num::F32, Round::Rn) => map1(a, |x| narrow(Half::F16, f32::from_bits(x))),
        (Num::BF16, Num::F32, Round::Rn) => map1(a, |x| narrow(Half::BF16, f32::from_bits(x))),
        (Num::F32, Num::U32, Round::Rn) => map1(a, |x| (x as f32).to_bits()),
        (Num::F32, Num::S32, Round::Rn) => map1(a, |x| (x as i32 as f32).to_bits()),
        (Num::S32, Num::F32, Round::Rzi) => map1(a, |x| f32::from_bits(x) as i32 as u32),
        (Num::U32, Num::F32, Round::Rzi) => map1(a, |x| f32::from_bits(x) as u32),
        _ => return None,
    })
}

/// A value between its two formats.
enum Value {
    Int(i128),
    Float(f64),
}

/// One conversion, in general.
fn convert(c: &Cvt, bits: u64) -> u64 {
    let value = match read(c, bits) {
        Value::Float(v) if integral(c.round) => Value::Float(to_integral(c.round, v)),
        value => value,
    };
    match (value, float(c.to)) {
        (Value::Int(v), false) => cut(c.to, if c.sat { clamp(c.to, v) } else { v }),
        (Value::Float(v), false) => cut(c.to, float_to_int(c.to, v)),
        (Value::Int(v), true) => write_float(c, v as f64, v as f32),
        (Value::Float(v), true) => write_float(c, v, v as f32),
    }
}

fn float(n: Num) -> bool {
    matches!(n, Num::F16 | Num::BF16 | Num::F32 | Num::F64)
}

fn integral(round: Round) -> bool {
    matches!(round, Round::Rni | Round::Rzi | Round::Rmi | Round::Rpi)
}

fn to_integral(round: Round, v: f64) -> f64 {
    match round {
        Round::Rni => v.round_ties_even(),
        Round::Rzi => v.trunc(),
        Round::Rmi => v.floor(),
        _ => v.ceil(),
    }
}

fn read(c: &Cvt, bits: u64) -> Value {
    let low = bits as u32;
    match c.from {
        Num::U8 => Value::Int(i128::from(bits as u8)),
        Num::S8 => Value::Int(i128::from(bits as i8)),
        Num::U16 => Value::Int(i128::from(bits as u16)),
        Num::S16 => Value::Int(i128::from(bits as i16)),
        Num::U32 => Value::Int(i128::from(low)),
        Num::S32 => Value::Int(i128::from(low as i32)),
        Num::U64 => Value::Int(i128::from(bits)),
        Num::S64 => Value::Int(i128::from(bits as i64)),
        Num::F16 => Value::Float(f64::from(widen(Half::F16, low & 0xffff))),
        Num::BF16 => Value::Float(f64::from(widen(Half::BF16, low & 0xffff))),
        Num::F32 => Value::Float(f64::from(f32::from_bits(if c.ftz { flush(low) } else { low }))),
        Num::F64 => Value::Float(f64::from_bits(bits)),
    }
}

fn range(n: Num) -> (i128, i128) {
    match n {
        Num::U8 => (0, 0xff),
        Num::S8 => (-0x80, 0x7f),
        Num::U16 => (0, 0xffff),
        Num::S16 => (-0x8000, 0x7fff),
        Num::U32 => (0, i128::from(u32::MAX)),
        Num::S32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        Num::U64 => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    }
}

fn clamp(n: Num, v: i128) -> i128 {
    let (low, high) = range(n);
    v.clamp(low, high)
}

/// Floats clamp to the integer's range; NaN becomes 0, or the lowest number of 64-bit integers' top bit.
fn float_to_int(n: Num, v: f64) -> i128 {
    match (v.is_nan(), n) {
        (true, Num::U64 | Num::S64) => 1 << 63,
        (true, _) => 0,
        (false, _) => clamp(n, v as i128),
    }
}

/// The low bits of an integer; narrow results are extended to the whole register as `cvt` demands.
fn cut(n: Num, v: i128) -> u64 {
    match n {
        Num::U8 => u64::from(v as u8),
        Num::S8 => v as i8 as u64,
        Num::U16 => u64::from(v as u16),
        Num::S16 => v as i16 as u64,
        Num::U32 => u64::from(v as u32),
        Num::S32 => v as i32 as u64,
        _ => v as u64,
    }
}

/// Rounds to the destination. `single` is the value rounded once to f32 (from an integer `wide` may be rounded).
fn write_float(c: &Cvt, wide: f64, single: f32) -> u64 {
    let mut v = match c.to {
        Num::F64 => return wide.to_bits(),
        Num::F32 => u64::from(round_to(c.round, wide, single.to_bits(), |b| f64::from(f32::from_bits(b)), 31)),
        n => {
            let half = if n == Num::F16 { Half::F16 } else { Half::BF16 };
            let near = narrow(half, super::half_float::to_f32_odd(wide));
            u64::from(round_to(c.round, wide, near, |b| f64::from(widen(half, b)), 15))
        }
    };
    let (sign, max) = match c.to {
        Num::F32 => (31, 0x7f7f_ffff),
        Num::F16 => (15, 0x7bff),
        _ => (15, 0x7f7f),
    };
    if c.to == Num::F32 && c.ftz {
        v = u64::from(flush(v as u32));
    }
    if c.satfinite && !wide.is_nan() && v & !(1 << sign) > max {
        v = max | v & 1 << sign;
    }
    let negative = v >> sign & 1 == 1;
    if c.relu && negative && !wide.is_nan() {
        v = 0;
    }
    if c.sat {
        v = saturate(c, v, wide, negative);
    }
    v
}

/// Clamps to [0, 1], NaN to 0.
fn saturate(c: &Cvt, v: u64, wide: f64, negative: bool) -> u64 {
    if wide.is_nan() || negative {
        return 0;
    }
    let one = match c.to {
        Num::F32 => u64::from(1f32.to_bits()),
        Num::F16 => 0x3c00,
        _ => 0x3f80,
    };
    v.min(one)
}

/// Moves the nearest value one step where the directed rounding wants another neighbour.
fn round_to(round: Round, exact: f64, near: u32, value: impl Fn(u32) -> f64, sign: u32) -> u32 {
    let got = value(near);
    if exact.is_nan() || got == exact {
        return near;
    }
    let too_large = got > exact;
    let step = match round {
        Round::Rz => (too_large && exact > 0.0) || (!too_large && exact < 0.0),
        Round::Rm => too_large,
        Round::Rp => !too_large,
        _ => false,
    };
    if !step {
        return near;
    }
    let negative = near >> sign & 1 == 1;
    let magnitude = near & !(1 << sign);
    match (too_large, negative, magnitude) {
        // Zero steps across to the smallest number of the other sign when it has to.
        (true, false, 0) => 1 | 1 << sign,
        (false, true, 0) => 1,
        (true, false, _) | (false, true, _) => near - 1,
        _ => near + 1,
    }
}
