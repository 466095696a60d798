//! Integer arithmetic, logic and moves.

use super::{map1, map2, map3, wide1, wide2};
use crate::isa::{BoolOp, IntOp, IntTy, IntUnary, Op, R32};
use crate::machine::SHARED_WINDOW;
use crate::machine::warp::{LANES, Row, Warp};

/// Executes integer instructions, moves and selections.
pub fn exec(op: &Op, w: &mut Warp, mask: u32) {
    match *op {
        Op::Mov32 { d, a } => {
            let v = w.get(a);
            w.put(d, mask, &v);
        }
        Op::Int { op, ty, d, a, b } => {
            let v = binary(op, ty, w.get(a), w.get(b));
            w.put(d, mask, &v);
        }
        Op::Mad { ty, hi, d, a, b, c } => mad(w, mask, ty, hi, [d, a, b, c]),
        Op::MulWide { signed, d, a, b, c } => {
            let (a, b) = (w.get(a), w.get(b));
            let add = c.map_or([0; LANES], |c| w.get64(c));
            let mut out = [0; LANES];
            for l in 0..LANES {
                let product = if signed {
                    (i64::from(a[l] as i32) * i64::from(b[l] as i32)) as u64
                } else {
                    u64::from(a[l]) * u64::from(b[l])
                };
                out[l] = product.wrapping_add(add[l]);
            }
            w.put64(d, mask, &out);
        }
        Op::MulWide16 { signed, d, a, b, c } => {
            let add = c.map_or([0; LANES], |c| w.get(c));
            let v = map3(w.get(a), w.get(b), add, |x, y, z| {
                let product = if signed { (sx(x) * sx(y)) as u32 } else { (x & 0xffff) * (y & 0xffff) };
                product.wrapping_add(z)
            });
            w.put(d, mask, &v);
        }
        Op::IntUn { op, ty, d, a } => {
            let v = unary(op, ty, w.get(a));
            w.put(d, mask, &v);
        }
        Op::Selp32 { d, a, b, p } => {
            let (a, b, p) = (w.get(a), w.get(b), w.pred(p));
            let mut out = b;
            for l in 0..LANES {
                out[l] = if p >> l & 1 == 1 { a[l] } else { b[l] };
            }
            w.put(d, mask, &out);
        }
        Op::Combine { op, d, a, b } => {
            let bits = combine(op, w.pred(a), w.pred(b));
            w.put_pred(d, mask, bits);
        }
        Op::MovPred { d, a } => w.put_pred(d, mask, w.pred(a)),
        Op::Pack32 { .. } | Op::Unpack32 { .. } | Op::Pack64 { .. } | Op::Unpack64 { .. } => packs(op, w, mask),
        Op::PackQuad { .. } | Op::UnpackQuad { .. } => packs(op, w, mask),
        Op::Bfe { .. } | Op::Bfi { .. } | Op::Lop3 { .. } | Op::Prmt { .. } | Op::Shf { .. } => bits(op, w, mask),
        Op::Slct { d, a, b, c, float } => {
            let v = map3(w.get(a), w.get(b), w.get(c), |x, y, z| {
                let pick = if float { f32::from_bits(z) >= 0.0 } else { z as i32 >= 0 };
                if pick { x } else { y }
            });
            w.put(d, mask, &v);
        }
        _ => exec64(op, w, mask),
    }
}

/// A boolean operation on predicate bits.
pub fn combine(op: BoolOp, a: u32, b: u32) -> u32 {
    match op {
        BoolOp::And => a & b,
        BoolOp::Or => a | b,
        BoolOp::Xor => a ^ b,
    }
}

/// Sign-extends 16 bits.
#[inline(always)]
fn sx(v: u32) -> i32 {
    i32::from(v as u16 as i16)
}

fn binary(op: IntOp, ty: IntTy, a: Row, b: Row) -> Row {
    let signed = matches!(ty, IntTy::S16 | IntTy::S32);
    if matches!(ty, IntTy::U16 | IntTy::S16) {
        return binary16(op, signed, a, b);
    }
    let s = |f: fn(i32, i32) -> i32| map2(a, b, |x, y| f(x as i32, y as i32) as u32);
    match op {
        IntOp::Add => map2(a, b, u32::wrapping_add),
        IntOp::Sub => map2(a, b, u32::wrapping_sub),
        IntOp::MulLo => map2(a, b, u32::wrapping_mul),
        IntOp::MulHi => map2(a, b, |x, y| mul_hi(signed, x, y)),
        // The hardware's answer to a division by zero is all ones; PTX leaves it open.
        IntOp::Div if signed => s(|x, y| if y == 0 { -1 } else { x.wrapping_div(y) }),
        IntOp::Div => map2(a, b, |x, y| x.checked_div(y).unwrap_or(u32::MAX)),
        IntOp::Rem if signed => s(|x, y| if y == 0 { x } else { x.wrapping_rem(y) }),
        IntOp::Rem => map2(a, b, |x, y| x.checked_rem(y).unwrap_or(x)),
        IntOp::Min if signed => map2(a, b, |x, y| (x as i32).min(y as i32) as u32),
        IntOp::Min => map2(a, b, |x, y| x.min(y)),
        IntOp::Max if signed => map2(a, b, |x, y| (x as i32).max(y as i32) as u32),
        IntOp::Max => map2(a, b, |x, y| x.max(y)),
        IntOp::And => map2(a, b, |x, y| x & y),
        IntOp::Or => map2(a, b, |x, y| x | y),
        IntOp::Xor => map2(a, b, |x, y| x ^ y),
        IntOp::Shl => map2(a, b, |x, y| if y > 31 { 0 } else { x << y }),
        IntOp::Shr if signed => map2(a, b, |x, y| ((x as i32) >> y.min(31)) as u32),
        IntOp::Shr => map2(a, b, |x, y| if y > 31 { 0 } else { x >> y }),
    }
}

fn mul_hi(signed: bool, x: u32, y: u32) -> u32 {
    if signed {
        ((i64::from(x as i32) * i64::from(y as i32)) >> 32) as u32
    } else {
        ((u64::from(x) * u64::from(y)) >> 32) as u32
    }
}

/// 16-bit forms: extend, compute in 32 bits, cut.
fn binary16(op: IntOp, signed: bool, a: Row, b: Row) -> Row {
    let ty = if signed { IntTy::S32 } else { IntTy::U32 };
    let shift = matches!(op, IntOp::Shl | IntOp::Shr);
    let extend = |v: u32| if signed { sx(v) as u32 } else { v & 0xffff };
    let a = map1(a, extend);
    let b = if shift { b } else { map1(b, extend) };
    let v = if op == IntOp::MulHi { map2(a, b, |x, y| x.wrapping_mul(y) >> 16) } else { binary(op, ty, a, b) };
    map1(v, |x| x & 0xffff)
}

fn unary(op: IntUnary, ty: IntTy, a: Row) -> Row {
    let narrow = matches!(ty, IntTy::U16 | IntTy::S16);
    let v = match op {
        IntUnary::Not => map1(a, |x| !x),
        IntUnary::Neg => map1(a, u32::wrapping_neg),
        IntUnary::Abs if narrow => map1(a, |x| sx(x).unsigned_abs()),
        IntUnary::Abs => map1(a, |x| (x as i32).unsigned_abs()),
        IntUnary::Popc => map1(a, u32::count_ones),
        IntUnary::Clz => map1(a, u32::leading_zeros),
        IntUnary::Brev => map1(a, u32::reverse_bits),
        IntUnary::Cnot => map1(a, |x| u32::from(x == 0)),
    };
    if narrow { map1(v, |x| x & 0xffff) } else { v }
}

fn mad(w: &mut Warp, mask: u32, ty: IntTy, hi: bool, [d, a, b, c]: [R32; 4]) {
    let (a, b, c) = (w.get(a), w.get(b), w.get(c));
    let v = match (ty, hi) {
        (IntTy::U32 | IntTy::S32, false) => map3(a, b, c, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        _ => {
            let op = if hi { IntOp::MulHi } else { IntOp::MulLo };
            let product = binary(op, ty, a, b);
            binary(IntOp::Add, ty, product, c)
        }
    };
    w.put(d, mask, &v);
}

fn bits(op: &Op, w: &mut Warp, mask: u32) {
    let (d, v) = match *op {
        Op::Bfe { signed, d, a, b, c } => (d, map3(w.get(a), w.get(b), w.get(c), |x, y, z| bfe(signed, x, y, z))),
        Op::Lop3 { lut, d, a, b, c } => (d, map3(w.get(a), w.get(b), w.get(c), |x, y, z| lop3(lut, x, y, z))),
        Op::Prmt { d, a, b, c } => (d, map3(w.get(a), w.get(b), w.get(c), prmt)),
        Op::Shf { left, wrap, d, a, b, c } => {
            (d, map3(w.get(a), w.get(b), w.get(c), |lo, hi, n| funnel(left, wrap, lo, hi, n)))
        }
        Op::Bfi { d, a, b, c, e } => {
            let (a, b, c, e) = (w.get(a), w.get(b), w.get(c), w.get(e));
            let mut out = [0; LANES];
            for l in 0..LANES {
                out[l] = bfi(a[l], b[l], c[l], e[l]);
            }
            (d, out)
        }
        _ => return,
    };
    w.put(d, mask, &v);
}

/// The field of `len` bits at `pos`; the signed form fills with its top bit, or with the value's beyond bit 31.
fn bfe(signed: bool, a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let field = u64::from(a) >> pos.min(63);
    let mask = if len >= 32 { u64::from(u32::MAX) } else { (1 << len) - 1 };
    let top = (pos + len).saturating_sub(1).min(31);
    if !signed || len == 0 || a >> top & 1 == 0 {
        return (field & mask) as u32;
    }
    // Bits of the value above 31 count as sign bits.
    let extended = (i64::from(a as i32) >> pos.min(63)) as u64;
    ((extended & mask) | !mask) as u32
}

/// `a`'s low `len` bits put into `b` at `pos`.
fn bfi(a: u32, b: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos > 31 {
        return b;
    }
    let mask = (if len >= 32 { u32::MAX } else { (1 << len) - 1 }) << pos;
    (b & !mask) | ((a << pos) & mask)
}

fn lop3(lut: u8, a: u32, b: u32, c: u32) -> u32 {
    (0..8).filter(|i| lut >> i & 1 == 1).fold(0, |out, i| {
        let pick = |bit: u32, v: u32| if i >> bit & 1 == 1 { v } else { !v };
        out | (pick(2, a) & pick(1, b) & pick(0, c))
    })
}

/// Bytes of `{b, a}` by the four selectors of `c`; bit 3 of one spreads the byte's sign.
fn prmt(a: u32, b: u32, c: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let pick = |i: u32| {
        let select = c >> (4 * i) & 0xf;
        let byte = bytes[(select & 7) as usize];
        u32::from(if select & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }) << (8 * i)
    };
    pick(0) | pick(1) | pick(2) | pick(3)
}

fn funnel(left: bool, wrap: bool, lo: u32, hi: u32, n: u32) -> u32 {
    let n = if wrap { n & 31 } else { n.min(32) };
    let both = u64::from(hi) << 32 | u64::from(lo);
    if left { ((both << n) >> 32) as u32 } else { (both >> n) as u32 }
}

fn packs(op: &Op, w: &mut Warp, mask: u32) {
    match *op {
        Op::Pack32 { d, lo, hi } => {
            let v = map2(w.get(lo), w.get(hi), |x, y| (x & 0xffff) | y << 16);
            w.put(d, mask, &v);
        }
        Op::Unpack32 { lo, hi, a } => {
            let a = w.get(a);
            lo.into_iter().for_each(|d| w.put(d, mask, &map1(a, |x| x & 0xffff)));
            hi.into_iter().for_each(|d| w.put(d, mask, &map1(a, |x| x >> 16)));
        }
        Op::Pack64 { d, lo, hi } => {
            let (lo, hi) = (w.get(lo), w.get(hi));
            let v = std::array::from_fn(|l| u64::from(hi[l]) << 32 | u64::from(lo[l]));
            w.put64(d, mask, &v);
        }
        Op::Unpack64 { lo, hi, a } => {
            let a = w.get64(a);
            lo.into_iter().for_each(|d| w.put(d, mask, &a.map(|x| x as u32)));
            hi.into_iter().for_each(|d| w.put(d, mask, &a.map(|x| (x >> 32) as u32)));
        }
        Op::PackQuad { d, parts } => {
            let p = parts.map(|r| w.get(r));
            let v = std::array::from_fn(|l| (0..4).fold(0, |all, i| all | u64::from(p[i][l] & 0xffff) << (16 * i)));
            w.put64(d, mask, &v);
        }
        Op::UnpackQuad { parts, a } => {
            let a = w.get64(a);
            for (i, part) in parts.into_iter().enumerate() {
                part.into_iter().for_each(|d| w.put(d, mask, &a.map(|x| (x >> (16 * i)) as u32 & 0xffff)));
            }
        }
        _ => {}
    }
}

fn exec64(op: &Op, w: &mut Warp, mask: u32) {
    let (d, v) = match *op {
        Op::Mov64 { d, a } => (d, w.get64(a)),
        Op::CvtaShared { into, d, a } => {
            (d, wide1(w.get64(a), |x| if into { x.wrapping_add(SHARED_WINDOW) } else { x.wrapping_sub(SHARED_WINDOW) }))
        }
        Op::Int64 { op, signed, d, a, b } => {
            let (a, b) = (w.get64(a), w.get64(b));
            (d, wide2(a, b, |x, y| binary64(op, signed, x, y)))
        }
        Op::Shift64 { op, signed, d, a, b } => {
            let (a, b) = (w.get64(a), w.get(b));
            (d, std::array::from_fn(|l| shift64(op, signed, a[l], b[l])))
        }
        Op::IntUn64 { op, d, a } => (
            d,
            wide1(w.get64(a), |x| match op {
                IntUnary::Not => !x,
                IntUnary::Neg => x.wrapping_neg(),
                IntUnary::Abs => (x as i64).unsigned_abs(),
                IntUnary::Brev => x.reverse_bits(),
                IntUnary::Cnot => u64::from(x == 0),
                IntUnary::Popc => u64::from(x.count_ones()),
                IntUnary::Clz => u64::from(x.leading_zeros()),
            }),
        ),
        Op::Mad64 { d, a, b, c } => {
            let product = wide2(w.get64(a), w.get64(b), u64::wrapping_mul);
            (d, wide2(product, w.get64(c), u64::wrapping_add))
        }
        Op::Selp64 { d, a, b, p } => {
            let (a, b, p) = (w.get64(a), w.get64(b), w.pred(p));
            (d, std::array::from_fn(|l| if p >> l & 1 == 1 { a[l] } else { b[l] }))
        }
        Op::Count64 { op, d, a } => {
            let clz = op == IntUnary::Clz;
            let v = w.get64(a).map(|x| if clz { x.leading_zeros() } else { x.count_ones() });
            w.put(d, mask, &v);
            return;
        }
        _ => return,
    };
    w.put64(d, mask, &v);
}

#[inline(always)]
fn binary64(op: IntOp, signed: bool, x: u64, y: u64) -> u64 {
    let (p, q) = (x as i64, y as i64);
    match op {
        IntOp::Add => x.wrapping_add(y),
        IntOp::Sub => x.wrapping_sub(y),
        IntOp::MulLo => x.wrapping_mul(y),
        IntOp::MulHi if signed => ((i128::from(p) * i128::from(q)) >> 64) as u64,
        IntOp::MulHi => ((u128::from(x) * u128::from(y)) >> 64) as u64,
        IntOp::Div if signed => {
            if q == 0 {
                u64::MAX
            } else {
                p.wrapping_div(q) as u64
            }
        }
        IntOp::Div => x.checked_div(y).unwrap_or(u64::MAX),
        IntOp::Rem if signed => {
            if q == 0 {
                x
            } else {
                p.wrapping_rem(q) as u64
            }
        }
        IntOp::Rem => x.checked_rem(y).unwrap_or(x),
        IntOp::Min if signed => p.min(q) as u64,
        IntOp::Min => x.min(y),
        IntOp::Max if signed => p.max(q) as u64,
        IntOp::Max => x.max(y),
        IntOp::And => x & y,
        IntOp::Or => x | y,
        IntOp::Xor => x ^ y,
        IntOp::Shl | IntOp::Shr => shift64(op, signed, x, y as u32),
    }
}

fn shift64(op: IntOp, signed: bool, x: u64, n: u32) -> u64 {
    match (op, signed) {
        (IntOp::Shl, _) => x.checked_shl(n).unwrap_or(0),
        (_, true) => (x as i64 >> n.min(63)) as u64,
        (_, false) => x.checked_shr(n).unwrap_or(0),
    }
}
