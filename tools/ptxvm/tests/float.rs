//! Floating-point instructions against f64 arithmetic.

mod common;

use common::{check, each, triples};
use half::{bf16, f16};

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

const EDGES: [u32; 14] = [
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x4b00_0001,
    0x7f7f_ffff,
    0x0080_0000,
    0x0040_0001,
    0x8000_0001,
    0x7f80_0000,
    0xff80_0000,
    0x3eaa_aaab,
    0x4049_0fdb,
];

/// f32 triples without NaN.
fn vectors() -> Vec<[u32; 3]> {
    triples(&EDGES).into_iter().filter(|v| v.iter().all(|&x| !f(x).is_nan())).collect()
}

/// Equal bits, or both NaN.
fn same(got: u32, want: f32) -> bool {
    got == want.to_bits() || (f(got).is_nan() && want.is_nan())
}

fn check_f32(body: &str, v: &[[u32; 3]], want: impl Fn(f32, f32, f32) -> f32) {
    for (v, [d, _]) in v.iter().zip(each("", body, v)) {
        let w = want(f(v[0]), f(v[1]), f(v[2]));
        assert!(same(d, w), "{body} on {:?}: {:?} instead of {w:?}", v.map(f), f(d));
    }
}

#[test]
fn f32_arithmetic_rounds_once() {
    let v = vectors();
    // Sums, products and quotients of f32 rounded in f64 and again in f32 round as if once.
    check_f32("add.rn.f32 %d, %a, %b;", &v, |a, b, _| (f64::from(a) + f64::from(b)) as f32);
    check_f32("add.f32 %d, %a, 0f3F800000;", &v, |a, _, _| (f64::from(a) + 1.0) as f32);
    check_f32("sub.f32 %d, %a, %b;", &v, |a, b, _| (f64::from(a) - f64::from(b)) as f32);
    check_f32("mul.rn.f32 %d, %a, %b;", &v, |a, b, _| (f64::from(a) * f64::from(b)) as f32);
    check_f32("div.rn.f32 %d, %a, %b;", &v, |a, b, _| (f64::from(a) / f64::from(b)) as f32);
    check_f32("rcp.rn.f32 %d, %a;", &v, |a, _, _| (1.0 / f64::from(a)) as f32);
    check_f32("sqrt.rn.f32 %d, %a;", &v, |a, _, _| f64::from(a).sqrt() as f32);
    check_f32("fma.rn.f32 %d, %a, %b, %c;", &v, f32::mul_add);
    check_f32("neg.f32 %d, %a;", &v, |a, _, _| f(a.to_bits() ^ 1 << 31));
    check_f32("abs.f32 %d, %a;", &v, |a, _, _| a.abs());
}

#[test]
fn fma_is_exact_where_two_roundings_differ() {
    // 1 + 2^-12 squared is 1 + 2^-11 + 2^-24: a tie of f32 that the third operand breaks.
    let x = 0x3f80_0800;
    let tiny = 2f32.powi(-100).to_bits();
    let v = [[x, x, tiny], [x, x, tiny | 1 << 31], [x, x, 0]];
    check_f32("fma.rn.f32 %d, %a, %b, %c;", &v, f32::mul_add);
    let got = each("", "fma.rn.f32 %d, %a, %b, %c;", &v);
    assert_eq!([got[0][0], got[1][0], got[2][0]], [0x3f80_1001, 0x3f80_1000, 0x3f80_1000]);
    let mut rng = common::Rng(11);
    // Exponents near each other, where cancellation and ties are frequent.
    let near: Vec<[u32; 3]> = (0..4096)
        .map(|_| [0; 3].map(|_: u32| rng.bits() & 0x80ff_f000 | (0x3f00_0000 + (rng.bits() & 0x0f80_0000))))
        .collect();
    check_f32("fma.rn.f32 %d, %a, %b, %c;", &near, f32::mul_add);
}

#[test]
fn minimum_and_maximum() {
    let mut v = vectors();
    v.extend([[0x7fc0_0000, 0x3f80_0000, 0], [0x3f80_0000, 0x7fc0_0000, 0], [0x7fc0_0000, 0x7fc0_0000, 0]]);
    let order = |x: f32| if x == 0.0 && x.is_sign_negative() { -1e-60 } else { f64::from(x) };
    let pick = move |a: f32, b: f32, less: bool| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if (order(a) < order(b)) == less => a,
        _ => b,
    };
    check_f32("min.f32 %d, %a, %b;", &v, |a, b, _| pick(a, b, true));
    check_f32("max.f32 %d, %a, %b;", &v, |a, b, _| pick(a, b, false));
    check_f32(
        "max.NaN.f32 %d, %a, %b;",
        &v,
        |a, b, _| {
            if a.is_nan() || b.is_nan() { f32::NAN } else { pick(a, b, false) }
        },
    );
}

#[test]
fn flushing_and_saturation() {
    let v = vectors();
    let z = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    check_f32("add.ftz.f32 %d, %a, %b;", &v, |a, b, _| z(z(a) + z(b)));
    check_f32("mul.rn.ftz.f32 %d, %a, %b;", &v, |a, b, _| z(z(a) * z(b)));
    check_f32("fma.rn.ftz.f32 %d, %a, %b, %c;", &v, |a, b, c| z(z(a).mul_add(z(b), z(c))));
    check_f32("add.sat.f32 %d, %a, %b;", &v, |a, b, _| {
        let s = a + b;
        if s >= 1.0 {
            1.0
        } else if s > 0.0 {
            s
        } else {
            0.0
        }
    });
}

#[test]
fn approximations_are_within_their_documented_error() {
    let v: Vec<[u32; 3]> = (0..512).map(|i| [((i as f32 - 255.5) / 13.0).to_bits(), 0, 0]).collect();
    let positive: Vec<[u32; 3]> = (1..512).map(|i| [(i as f32 * 0.37).to_bits(), 0, 0]).collect();
    let near = |body: &str, v: &[[u32; 3]], want: fn(f64) -> f64, relative: f64| {
        for (v, [d, _]) in v.iter().zip(each("", body, v)) {
            let (x, got) = (f64::from(f(v[0])), f64::from(f(d)));
            assert!((got - want(x)).abs() <= relative * want(x).abs().max(1e-30), "{body} {x}: {got}, {}", want(x));
        }
    };
    near("ex2.approx.f32 %d, %a;", &v, f64::exp2, 2f64.powi(-22));
    near("ex2.approx.ftz.f32 %d, %a;", &v, f64::exp2, 2f64.powi(-22));
    near("tanh.approx.f32 %d, %a;", &v, f64::tanh, 2f64.powi(-11));
    near("lg2.approx.f32 %d, %a;", &positive, f64::log2, 2f64.powi(-22));
    near("rcp.approx.ftz.f32 %d, %a;", &v, |x| 1.0 / x, 2f64.powi(-23));
    near("rsqrt.approx.f32 %d, %a;", &positive, |x| 1.0 / x.sqrt(), 2f64.powi(-22));
    near("sqrt.approx.f32 %d, %a;", &positive, f64::sqrt, 2f64.powi(-23));
    near("sin.approx.f32 %d, %a;", &v[200..300], f64::sin, 2f64.powi(-20));
    near("cos.approx.f32 %d, %a;", &v[200..300], f64::cos, 2f64.powi(-20));
    near("div.full.f32 %d, 0f40400000, %a;", &v, |x| 3.0 / x, 2f64.powi(-22));
    near("div.approx.f32 %d, 0f40400000, %a;", &v, |x| 3.0 / x, 2f64.powi(-22));
}

#[test]
fn packed_halves() {
    let mut v = triples(&[0x3c00_3c00, 0xc000_0001, 0x7bff_fbff, 0x0001_8001, 0x3555_b800, 0x0400_83ff]);
    v.retain(|v| v.iter().all(|&x| [x, x >> 16].iter().all(|&h| h & 0x7c00 != 0x7c00)));
    let h = |bits: u32, hi: bool| f16::from_bits((bits >> if hi { 16 } else { 0 }) as u16).to_f64();
    let put = |lo: f64, hi: f64| {
        // Rounded by the definition: the f16 nearest in f64.
        let r = |x: f64| u32::from(nearest_f16(x));
        r(lo) | r(hi) << 16
    };
    let each_half = |f: fn(f64, f64, f64) -> f64| {
        move |[a, b, c]: [u32; 3]| {
            let at = |hi| f(h(a, hi), h(b, hi), h(c, hi));
            [put(at(false), at(true)), 0]
        }
    };
    check("", "add.rn.f16x2 %d, %a, %b;", &v, each_half(|a, b, _| a + b));
    check("", "sub.f16x2 %d, %a, %b;", &v, each_half(|a, b, _| a - b));
    check("", "mul.f16x2 %d, %a, %b;", &v, each_half(|a, b, _| a * b));
    check("", "fma.rn.f16x2 %d, %a, %b, %c;", &v, each_half(|a, b, c| a * b + c));
    check("", "fma.rn.relu.f16x2 %d, %a, %b, %c;", &v, each_half(|a, b, c| (a * b + c).max(0.0) + 0.0));
    check("", "neg.f16x2 %d, %a; abs.f16x2 %e, %a;", &v, |[a, _, _]| [a ^ 0x8000_8000, a & 0x7fff_7fff]);
    check("", "max.f16x2 %d, %a, %b; min.f16x2 %e, %a, %b;", &v, |[a, b, _]| {
        let pick = |hi: bool, max: bool| {
            let bits = |x: u32| if hi { x >> 16 } else { x & 0xffff };
            let less = h(a, hi) < h(b, hi) || (h(a, hi) == h(b, hi) && bits(a) > bits(b));
            bits(if less == max { b } else { a })
        };
        [pick(false, true) | pick(true, true) << 16, pick(false, false) | pick(true, false) << 16]
    });
    check(".reg .f16 %x, %y;", "mov.b32 {%x, %y}, %a; add.f16 %x, %x, %y; mov.b32 %d, {%x, %x};", &v, |[a, _, _]| {
        let s = h(a, false) + h(a, true);
        [put(s, s), 0]
    });
}

/// The f16 nearest to `x`, ties to even, by bisection over all magnitudes.
fn nearest_f16(x: f64) -> u16 {
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let m = x.abs();
    let value = |b: u16| if b == 0x7c00 { 65536.0 } else { f16::from_bits(b).to_f64() };
    let low = (0..0x7c00u16).rev().find(|&b| value(b) <= m).unwrap_or(0);
    if m >= 65536.0 {
        return sign | 0x7c00;
    }
    let (below, above) = (m - value(low), value(low + 1) - m);
    sign | if below < above || (below == above && low % 2 == 0) { low } else { low + 1 }
}

#[test]
fn packed_bfloats() {
    let mut v = triples(&[0x3f80_3f80, 0xc000_0001, 0x7f7f_ff7f, 0x3f01_bf81, 0x4049_3eaa]);
    v.retain(|v| v.iter().all(|&x| [x, x >> 16].iter().all(|&h| h & 0x7f80 != 0x7f80)));
    let h = |bits: u32, hi: bool| bf16::from_bits((bits >> if hi { 16 } else { 0 }) as u16).to_f32();
    let want = |[a, b, c]: [u32; 3]| {
        let one = |hi| u32::from(bf16::from_f32(h(a, hi).mul_add(h(b, hi), h(c, hi))).to_bits());
        [one(false) | one(true) << 16, 0]
    };
    check("", "fma.rn.bf16x2 %d, %a, %b, %c;", &v, want);
}

#[test]
fn float_compares_know_nan() {
    let mut v = vectors();
    v.extend([[0x7fc0_0000, 0x3f80_0000, 0], [0x3f80_0000, 0x7fc0_0000, 0], [0, 0x8000_0000, 0]]);
    let bit = |p: bool| u32::from(p);
    for (lt, ltu, plain) in [
        ("lt", "ltu", (|a, b| a < b) as fn(f32, f32) -> bool),
        ("le", "leu", |a, b| a <= b),
        ("gt", "gtu", |a, b| a > b),
        ("ge", "geu", |a, b| a >= b),
        ("eq", "equ", |a, b| a == b),
        ("ne", "neu", |a, b| a < b || b < a),
    ] {
        let body = format!(
            "setp.{lt}.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p; setp.{ltu}.f32 %p, %a, %b; selp.u32 %e, 1, 0, %p;"
        );
        check(".reg .pred %p;", &body, &v, |[a, b, _]| {
            let nan = f(a).is_nan() || f(b).is_nan();
            [bit(plain(f(a), f(b))), bit(nan || plain(f(a), f(b)))]
        });
    }
    let body = "setp.nan.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p; setp.num.f32 %p, %a, %b; selp.u32 %e, 1, 0, %p;";
    check(".reg .pred %p;", body, &v, |[a, b, _]| {
        let nan = f(a).is_nan() || f(b).is_nan();
        [bit(nan), bit(!nan)]
    });
}

#[test]
fn double_precision() {
    let v = triples(&EDGES).into_iter().filter(|v| v.iter().all(|&x| f(x).is_finite())).collect::<Vec<_>>();
    let r = ".reg .f64 %x, %y, %z;";
    let load = "cvt.f64.f32 %x, %a; cvt.f64.f32 %y, %b; cvt.f64.f32 %z, %c;";
    let out = "mov.b64 {%d, %e}, %x;";
    let halves = |x: f64| [x.to_bits() as u32, (x.to_bits() >> 32) as u32];
    let d = |x: u32| f64::from(f(x));
    check(r, &format!("{load} fma.rn.f64 %x, %x, %y, %z; {out}"), &v, |[a, b, c]| halves(d(a).mul_add(d(b), d(c))));
    check(r, &format!("{load} add.f64 %x, %x, %y; sub.f64 %x, %x, %z; {out}"), &v, |[a, b, c]| {
        halves(d(a) + d(b) - d(c))
    });
    check(r, &format!("{load} mul.f64 %x, %x, %y; neg.f64 %x, %x; {out}"), &v, |[a, b, _]| halves(-(d(a) * d(b))));
}
