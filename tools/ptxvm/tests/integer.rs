//! Integer instructions against wide arithmetic.

mod common;

use common::{check, each, triples};

const EDGES: [u32; 12] = [0, 1, 2, 7, 31, 32, 33, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

fn s(v: u32) -> i128 {
    i128::from(v as i32)
}

fn u(v: u32) -> i128 {
    i128::from(v)
}

#[test]
fn sums_and_products() {
    let v = triples(&EDGES);
    check("", "add.u32 %d, %a, %b; add.s32 %e, %a, %b;", &v, |[a, b, _]| [(u(a) + u(b)) as u32, (s(a) + s(b)) as u32]);
    check("", "sub.u32 %d, %a, %b; sub.s32 %e, %a, 5;", &v, |[a, b, _]| [(u(a) - u(b)) as u32, (s(a) - 5) as u32]);
    check("", "mul.lo.s32 %d, %a, %b; mul.lo.u32 %e, %a, -3;", &v, |[a, b, _]| {
        [(s(a) * s(b)) as u32, (u(a) * 0xffff_fffd) as u32]
    });
    check("", "mul.hi.s32 %d, %a, %b; mul.hi.u32 %e, %a, %b;", &v, |[a, b, _]| {
        [((s(a) * s(b)) >> 32) as u32, ((u(a) * u(b)) >> 32) as u32]
    });
    check("", "mad.lo.s32 %d, %a, %b, %c; mad.hi.u32 %e, %a, %b, %c;", &v, |[a, b, c]| {
        [(s(a) * s(b) + s(c)) as u32, (((u(a) * u(b)) >> 32) + u(c)) as u32]
    });
}

#[test]
fn wide_products_and_64_bits() {
    let v = triples(&EDGES);
    let r = ".reg .u64 %x, %y, %z;";
    let out = "mov.b64 {%d, %e}, %z;";
    let halves = |v: i128| [v as u32, (v >> 32) as u32];
    check(r, &format!("mul.wide.u32 %z, %a, %b; {out}"), &v, |[a, b, _]| halves(u(a) * u(b)));
    check(r, &format!("mul.wide.s32 %z, %a, %b; {out}"), &v, |[a, b, _]| halves(s(a) * s(b)));
    check(r, &format!("cvt.s64.s32 %x, %c; mad.wide.s32 %z, %a, %b, %x; {out}"), &v, |[a, b, c]| {
        halves(s(a) * s(b) + s(c))
    });
    let pair = "mov.b64 %x, {%a, %b}; mov.b64 %y, {%b, %c};";
    let x = |[a, b, _]: [u32; 3]| u(b) << 32 | u(a);
    let y = |[_, b, c]: [u32; 3]| u(c) << 32 | u(b);
    let sx = move |v| i128::from(x(v) as i64);
    let sy = move |v| i128::from(y(v) as i64);
    check(r, &format!("{pair} add.u64 %z, %x, %y; {out}"), &v, |v| halves(x(v) + y(v)));
    check(r, &format!("{pair} sub.s64 %z, %x, %y; {out}"), &v, |v| halves(x(v) - y(v)));
    check(r, &format!("{pair} mul.lo.u64 %z, %x, %y; {out}"), &v, |v| halves(x(v).wrapping_mul(y(v))));
    check(r, &format!("{pair} mul.hi.s64 %z, %x, %y; {out}"), &v, |v| halves((sx(v) * sy(v)) >> 64));
    check(r, &format!("{pair} mad.lo.s64 %z, %x, %y, %x; {out}"), &v, |v| halves(x(v).wrapping_mul(y(v)) + x(v)));
    check(r, &format!("{pair} min.s64 %z, %x, %y; {out}"), &v, |v| halves(sx(v).min(sy(v))));
    check(r, &format!("{pair} max.u64 %z, %x, %y; {out}"), &v, |v| halves(x(v).max(y(v))));
    check(r, &format!("{pair} xor.b64 %z, %x, %y; not.b64 %z, %z; {out}"), &v, |v| halves(!(x(v) ^ y(v))));
    check(
        r,
        &format!("{pair} shl.b64 %z, %x, %c; {out}"),
        &v,
        |v| {
            if v[2] > 63 { [0, 0] } else { halves(x(v) << v[2]) }
        },
    );
    check(r, &format!("{pair} shr.s64 %z, %x, %c; {out}"), &v, |v| halves(sx(v) >> v[2].min(63)));
    check(r, &format!("{pair} shr.u64 %z, %x, 9; {out}"), &v, |v| halves(x(v) >> 9));
    check(r, &format!("{pair} popc.b64 %d, %x; clz.b64 %e, %x;"), &v, |v| {
        let text = format!("{:064b}", x(v));
        [text.matches('1').count() as u32, text.find('1').unwrap_or(64) as u32]
    });
    let nonzero: Vec<[u32; 3]> = v.iter().copied().filter(|v| y(*v) != 0 && sy(*v) != -1).collect();
    check(r, &format!("{pair} div.u64 %z, %x, %y; {out}"), &nonzero, |v| halves(x(v) / y(v)));
    check(r, &format!("{pair} rem.s64 %z, %x, %y; {out}"), &nonzero, |v| halves(sx(v) % sy(v)));
    check(r, "mov.b64 %x, {%a, %b}; cvt.u32.u64 %d, %x; cvt.u64.u32 %y, %c; mov.b64 {_, %e}, %y;", &v, |v| [v[0], 0]);
}

#[test]
fn division() {
    let v: Vec<[u32; 3]> =
        triples(&EDGES).into_iter().filter(|v| v[1] != 0 && (v[0] != 0x8000_0000 || v[1] != u32::MAX)).collect();
    check("", "div.u32 %d, %a, %b; rem.u32 %e, %a, %b;", &v, |[a, b, _]| [(u(a) / u(b)) as u32, (u(a) % u(b)) as u32]);
    check("", "div.s32 %d, %a, %b; rem.s32 %e, %a, %b;", &v, |[a, b, _]| [(s(a) / s(b)) as u32, (s(a) % s(b)) as u32]);
}

#[test]
fn order_and_sign() {
    let v = triples(&EDGES);
    check("", "min.s32 %d, %a, %b; max.s32 %e, %a, %b;", &v, |[a, b, _]| {
        [s(a).min(s(b)) as u32, s(a).max(s(b)) as u32]
    });
    check("", "min.u32 %d, %a, %b; max.u32 %e, %a, %b;", &v, |[a, b, _]| {
        [u(a).min(u(b)) as u32, u(a).max(u(b)) as u32]
    });
    check("", "neg.s32 %d, %a; abs.s32 %e, %a;", &v, |[a, _, _]| [-s(a) as u32, s(a).unsigned_abs() as u32]);
}

#[test]
fn logic_and_shifts() {
    let v = triples(&EDGES);
    check("", "and.b32 %d, %a, %b; or.b32 %e, %a, %b;", &v, |[a, b, _]| [a & b, a | b]);
    check("", "xor.b32 %d, %a, %b; not.b32 %e, %a;", &v, |[a, b, _]| [a ^ b, !a]);
    check("", "shl.b32 %d, %a, %b; shr.u32 %e, %a, %b;", &v, |[a, b, _]| {
        [if b > 31 { 0 } else { a << b }, if b > 31 { 0 } else { a >> b }]
    });
    check("", "shr.s32 %d, %a, %b; shr.b32 %e, %a, 4;", &v, |[a, b, _]| [(s(a) >> b.min(100)) as u32, a / 16]);
    check("", "popc.b32 %d, %a; clz.b32 %e, %a;", &v, |[a, _, _]| {
        let text = format!("{a:032b}");
        [text.matches('1').count() as u32, text.find('1').unwrap_or(32) as u32]
    });
    check("", "brev.b32 %d, %a; cnot.b32 %e, %a;", &v, |[a, _, _]| {
        let reversed: String = format!("{a:032b}").chars().rev().collect();
        [u32::from_str_radix(&reversed, 2).unwrap(), u32::from(a == 0)]
    });
    for lut in [0xc0u32, 0xfc, 0x96, 0xe8, 0x1b, 0x80, 0x01] {
        check("", &format!("lop3.b32 %d, %a, %b, %c, {lut};"), &v, |[a, b, c]| {
            let bit = |i: u32| lut >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1;
            [(0..32).map(|i| bit(i) << i).sum(), 0]
        });
    }
}

#[test]
fn bit_fields() {
    let mut v = triples(&[0, 1, 5, 8, 31, 32, 40, 0x8000_0001, 0xf0f0_1234]);
    v.iter_mut().skip(40).for_each(|v| {
        v[1] %= 36;
        v[2] %= 36;
    });
    check("", "bfe.u32 %d, %a, %b, %c; bfe.s32 %e, %a, %b, %c;", &v, |[a, b, c]| {
        let (pos, len) = (b & 0xff, c & 0xff);
        let bit = |i: u32, beyond: u32| if i < 32 { a >> i & 1 } else { beyond };
        let top = a >> 31;
        let sign = if len == 0 { 0 } else { bit((pos + len - 1).min(31), top) };
        let field = |fill: u32, beyond: u32| {
            (0..32).map(|i| (if i < len { bit(pos + i, beyond) } else { fill }) << i).sum::<u32>()
        };
        [field(0, 0), field(sign, sign)]
    });
    check("", "bfi.b32 %d, %a, %b, %c, 7; bfi.b32 %e, %a, %b, 3, %c;", &v, |[a, b, c]| {
        let put = |pos: u32, len: u32| {
            (0..32).map(|i| (if i >= pos && i < pos + len { a >> (i - pos) & 1 } else { b >> i & 1 }) << i).sum::<u32>()
        };
        [put(c & 0xff, 7), put(3, c & 0xff)]
    });
    check("", "prmt.b32 %d, %a, %b, %c; prmt.b32 %e, %a, %b, 0x5410;", &v, |[a, b, c]| {
        let bytes: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
        let pick = |sel: u32| {
            let byte = bytes[(sel & 7) as usize];
            if sel & 8 == 0 {
                byte
            } else if byte > 127 {
                255
            } else {
                0
            }
        };
        let [w, x, y, z] = [0, 4, 8, 12].map(|s| pick(c >> s & 15));
        [u32::from_le_bytes([w, x, y, z]), a & 0xffff | b << 16]
    });
    check("", "shf.l.wrap.b32 %d, %a, %b, %c; shf.r.clamp.b32 %e, %a, %b, %c;", &v, |[a, b, c]| {
        let both = u(b) << 32 | u(a);
        [((both << (c & 31)) >> 32) as u32, (both >> c.min(32)) as u32]
    });
}

#[test]
fn sixteen_bits() {
    let v = triples(&EDGES);
    let r = ".reg .u16 %x, %y; .reg .s16 %p, %q; .reg .b16 %h, %l;";
    let lo = |v: u32| i128::from(v as u16);
    let sg = |v: u32| i128::from(v as i16);
    let load = "mov.b32 {%x, _}, %a; mov.b32 {_, %y}, %b; mov.b32 {%p, %q}, %a;";
    check(r, &format!("{load} add.u16 %x, %x, %y; cvt.u32.u16 %d, %x;"), &v, |[a, b, _]| {
        [(lo(a) + lo(b >> 16)) as u16 as u32, 0]
    });
    check(r, &format!("{load} mul.lo.s16 %p, %p, %q; cvt.s32.s16 %d, %p;"), &v, |[a, _, _]| {
        [(sg(a) * sg(a >> 16)) as i16 as i32 as u32, 0]
    });
    check(r, &format!("{load} mul.wide.s16 %d, %p, %q; mul.wide.u16 %e, %x, %y;"), &v, |[a, b, _]| {
        [(sg(a) * sg(a >> 16)) as u32, (lo(a) * lo(b >> 16)) as u32]
    });
    check(r, &format!("{load} shr.s16 %p, %p, 3; min.s16 %p, %p, %q; cvt.s32.s16 %d, %p;"), &v, |[a, _, _]| {
        [(sg(a) >> 3).min(sg(a >> 16)) as u32, 0]
    });
    check(r, "mov.b32 {%l, %h}, %a; mov.b32 %d, {%h, %l}; xor.b16 %l, %l, %h; cvt.u32.u16 %e, %l;", &v, |[a, _, _]| {
        [a.rotate_left(16), (a ^ a >> 16) & 0xffff]
    });
}

#[test]
fn compares_and_selections() {
    let v = triples(&EDGES);
    let r = ".reg .pred %p, %q, %r;";
    for (name, f) in [
        ("eq.u32", (|a, b| a == b) as fn(u32, u32) -> bool),
        ("ne.s32", |a, b| a != b),
        ("lt.s32", |a, b| (a as i32) < (b as i32)),
        ("lt.u32", |a, b| a < b),
        ("le.s32", |a, b| a as i32 <= b as i32),
        ("gt.u32", |a, b| a > b),
        ("ge.s32", |a, b| a as i32 >= b as i32),
        ("lo.u32", |a, b| a < b),
        ("hs.u32", |a, b| a >= b),
    ] {
        let body = format!("setp.{name} %p|%q, %a, %b; selp.b32 %d, %a, %c, %p; selp.u32 %e, 1, 0, %q;");
        check(r, &body, &v, |[a, b, c]| if f(a, b) { [a, 0] } else { [c, 1] });
    }
    let body =
        "setp.lt.s32 %r, %c, 0; setp.gt.and.u32 %p|%q, %a, %b, !%r; selp.u32 %d, 1, 0, %p; selp.u32 %e, 1, 0, %q;";
    check(r, body, &v, |[a, b, c]| [u32::from(a > b && c < 1 << 31), u32::from(a <= b && c < 1 << 31)]);
    let body = "setp.lt.s32 %p, %a, 0; setp.lt.s32 %q, %b, 0; xor.pred %r, %p, %q; not.pred %r, %r;
        selp.u32 %d, 1, 0, %r; or.pred %r, %p, !%q; selp.u32 %e, 1, 0, %r;";
    let body = body.replace("!%q", "%q");
    check(r, &body, &v, |[a, b, _]| [u32::from(a >> 31 == b >> 31), a >> 31 | b >> 31]);
    check("", "set.lt.u32.s32 %d, %a, %b; slct.b32.s32 %e, %a, %b, %c;", &v, |[a, b, c]| {
        [if (a as i32) < b as i32 { u32::MAX } else { 0 }, if c as i32 >= 0 { a } else { b }]
    });
}

#[test]
fn guards_keep_old_values() {
    let v = triples(&EDGES);
    let body = "setp.lt.s32 %p, %a, %b; mov.b32 %d, %c; @%p mov.b32 %d, %a; @!%p add.u32 %d, %d, 1;";
    check(".reg .pred %p;", body, &v, |[a, b, c]| [if (a as i32) < b as i32 { a } else { c.wrapping_add(1) }, 0]);
}

#[test]
fn special_registers() {
    let v: Vec<[u32; 3]> = (0..70).map(|i| [i, 0, 0]).collect();
    let body = "mov.u32 %d, %laneid; mov.u32 %e, %lanemask_lt; mov.u32 %a, %nctaid.x; add.u32 %d, %d, %a;
        mov.u32 %a, %ntid.x; add.u32 %d, %d, %a; mov.u32 %a, %warpid; add.u32 %d, %d, %a; add.u32 %d, %d, WARP_SZ;";
    check("", body, &v, |[i, _, _]| [i % 32 + 3 + 32 + 32, (1 << (i % 32)) - 1]);
    assert_eq!(each("", "mov.u32 %d, %clock; mov.u32 %d, %ctaid.x;", &v)[65], [2, 0]);
}
