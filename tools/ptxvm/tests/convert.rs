//! `cvt` against conversions in f64 and i128.

mod common;

use common::{check, triples};
use half::{bf16, f16};

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn floats() -> Vec<[u32; 3]> {
    let edges = [
        0.0f32,
        -0.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        254.5,
        255.5,
        256.0,
        -1.0,
        65504.0,
        65519.9,
        65520.0,
        7e4,
        1e-7,
        3e-8,
        2.98e-8,
        6.0e-8,
        3e9,
        -3e9,
        2147483648.0,
        4294967296.0,
        1e20,
        0.999,
        1.001,
    ];
    let mut v: Vec<[u32; 3]> = edges.iter().map(|x| [x.to_bits(), (-x).to_bits(), 0]).collect();
    v.extend([[f32::INFINITY.to_bits(), 0, 0], [f32::NEG_INFINITY.to_bits(), 0, 0]]);
    let mut rng = common::Rng(5);
    v.extend((0..200).map(|_| [(rng.unit() * 300.0).to_bits(), (rng.unit() * 1e-5).to_bits(), 0]));
    v
}

#[test]
fn f32_to_halves_and_back() {
    let v = floats();
    let r = ".reg .b16 %h, %l;";
    check(r, "cvt.rn.f16.f32 %h, %a; mov.b32 %d, {%h, %h}; cvt.f32.f16 %e, %h;", &v, |[a, _, _]| {
        let h = f16::from_f32(f(a));
        [u32::from(h.to_bits()) * 0x1_0001, h.to_f32().to_bits()]
    });
    check(r, "cvt.rn.bf16.f32 %h, %a; mov.b32 %d, {%h, %h};", &v, |[a, _, _]| {
        [u32::from(bf16::from_f32(f(a)).to_bits()) * 0x1_0001, 0]
    });
    // The first source goes to the high half.
    check("", "cvt.rn.f16x2.f32 %d, %a, %b; cvt.rn.bf16x2.f32 %e, %a, %b;", &v, |[a, b, _]| {
        let h = |x| u32::from(f16::from_f32(f(x)).to_bits());
        let b16 = |x| u32::from(bf16::from_f32(f(x)).to_bits());
        [h(a) << 16 | h(b), b16(a) << 16 | b16(b)]
    });
    check("", "cvt.rn.relu.f16x2.f32 %d, %a, %b;", &v, |[a, b, _]| {
        let h = |x| if f(x) > 0.0 { u32::from(f16::from_f32(f(x)).to_bits()) } else { 0 };
        [h(a) << 16 | h(b), 0]
    });
    check(r, "cvt.rz.f16.f32 %h, %a; mov.b32 %d, {%h, %h};", &v, |[a, _, _]| {
        let near = f16::from_f32(f(a));
        let over = near.to_f32().abs() > f(a).abs();
        [u32::from(near.to_bits() - u16::from(over)) * 0x1_0001, 0]
    });
}

#[test]
fn every_half_widens_exactly() {
    let v: Vec<[u32; 3]> =
        (0..0x1_0000u32).filter(|h| h & 0x7c00 != 0x7c00 || h & 0x3ff == 0).map(|h| [h, 0, 0]).collect();
    check(
        ".reg .b16 %h;",
        "mov.b32 {%h, _}, %a; cvt.f32.f16 %d, %h; cvt.rn.f16.f32 %h, %d; cvt.u32.u16 %e, %h;",
        &v,
        |v| [f16::from_bits(v[0] as u16).to_f32().to_bits(), v[0]],
    );
}

#[test]
fn floats_to_integers() {
    let v = floats();
    let clamp = |x: f64, lo: f64, hi: f64| x.clamp(lo, hi);
    let (imin, imax, umax) = (f64::from(i32::MIN), f64::from(i32::MAX), f64::from(u32::MAX));
    let d = |x: u32| f64::from(f(x));
    check("", "cvt.rzi.s32.f32 %d, %a; cvt.rzi.u32.f32 %e, %a;", &v, |[a, _, _]| {
        [clamp(d(a).trunc(), imin, imax) as i64 as u32, clamp(d(a).trunc(), 0.0, umax) as i64 as u32]
    });
    check("", "cvt.rni.s32.f32 %d, %a; cvt.rni.u32.f32 %e, %a;", &v, |[a, _, _]| {
        let even = d(a).round_ties_even();
        [clamp(even, imin, imax) as i64 as u32, clamp(even, 0.0, umax) as i64 as u32]
    });
    check("", "cvt.rmi.s32.f32 %d, %a; cvt.rpi.s32.f32 %e, %a;", &v, |[a, _, _]| {
        [clamp(d(a).floor(), imin, imax) as i64 as u32, clamp(d(a).ceil(), imin, imax) as i64 as u32]
    });
    check("", "cvt.rni.f32.f32 %d, %a; cvt.rzi.f32.f32 %e, %a;", &v, |[a, _, _]| {
        [f(a).round_ties_even().to_bits(), f(a).trunc().to_bits()]
    });
    let r = ".reg .u16 %h; .reg .s16 %s;";
    check(r, "cvt.rni.sat.u8.f32 %d, %a; cvt.rzi.s16.f32 %s, %a; cvt.s32.s16 %e, %s;", &v, |[a, _, _]| {
        [clamp(d(a).round_ties_even(), 0.0, 255.0) as u32, clamp(d(a).trunc(), -32768.0, 32767.0) as i32 as u32]
    });
    check("", "cvt.sat.f32.f32 %d, %a;", &v, |[a, _, _]| [(if f(a) > 0.0 { f(a).min(1.0) } else { 0.0 }).to_bits(), 0]);
}

#[test]
fn integers_to_floats() {
    let v = triples(&[0, 1, 0xff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0100_0001, 0x0100_0003]);
    check("", "cvt.rn.f32.u32 %d, %a; cvt.rn.f32.s32 %e, %a;", &v, |[a, _, _]| {
        [(f64::from(a) as f32).to_bits(), (f64::from(a as i32) as f32).to_bits()]
    });
    check("", "cvt.rz.f32.u32 %d, %a; cvt.rp.f32.s32 %e, %a;", &v, |[a, _, _]| {
        // Directed rounding by hand: cut, or go up, after 24 digits.
        let cut = |m: u64| if m == 0 { 0 } else { m & !0u64 << (64 - 24u32).saturating_sub(m.leading_zeros()) };
        let x = i64::from(a as i32);
        let m = x.unsigned_abs();
        let up = if x > 0 && cut(m) != m {
            cut(m) as f32 + 2f32.powi(8 - m.leading_zeros() as i32 + 32)
        } else {
            cut(m) as f32
        };
        [(cut(u64::from(a)) as f32).to_bits(), (if x < 0 { -up } else { up }).to_bits()]
    });
    let r = ".reg .u16 %h; .reg .f16 %x;";
    check(r, "cvt.u16.u32 %h, %a; cvt.rn.f32.u16 %d, %h; cvt.rn.f32.u8 %e, %h;", &v, |[a, _, _]| {
        [(a as u16 as f32).to_bits(), (a as u8 as f32).to_bits()]
    });
    check(r, "cvt.rn.f16.u32 %x, %a; cvt.f32.f16 %d, %x;", &v, |[a, _, _]| {
        [f16::from_f64(f64::from(a)).to_f32().to_bits(), 0]
    });
}

#[test]
fn integers_to_integers() {
    let v = triples(&[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
    check("", "cvt.u32.u8 %d, %a; cvt.s32.s8 %e, %a;", &v, |[a, _, _]| [u32::from(a as u8), a as i8 as u32]);
    check("", "cvt.u32.u16 %d, %a; cvt.s32.s16 %e, %a;", &v, |[a, _, _]| [u32::from(a as u16), a as i16 as u32]);
    check("", "cvt.sat.u8.s32 %d, %a; cvt.sat.s8.s32 %e, %a;", &v, |[a, _, _]| {
        let x = a as i32;
        [x.clamp(0, 255) as u32, x.clamp(-128, 127) as u32]
    });
    let r = ".reg .s64 %x; .reg .u64 %y;";
    check(r, "cvt.s64.s32 %x, %a; mov.b64 {%d, %e}, %x;", &v, |[a, _, _]| [a, if a >> 31 == 1 { u32::MAX } else { 0 }]);
    check(
        r,
        "mov.b64 %x, {%a, %b}; cvt.sat.s32.s64 %d, %x; cvt.u64.u32 %y, %a; cvt.u32.u64 %e, %y;",
        &v,
        |[a, b, _]| {
            let x = (u64::from(b) << 32 | u64::from(a)) as i64;
            [x.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32, a]
        },
    );
}
