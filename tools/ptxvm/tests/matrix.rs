//! ldmatrix, stmatrix and mma against their definitions, element by element.

mod common;

use common::{HEADER, Rng, line, run};
use half::{bf16, f16};

/// A kernel that copies `n` words of input to shared memory and leaves the lane's number in `%l`.
fn staged(target: &str, declare: &str, body: &str) -> String {
    let header = HEADER.replace(".version 7.4\n.target sm_80", target);
    format!(
        "{header}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .shared .align 128 .b8 s[2048];
    .reg .u64 %in, %out, %q; .reg .u32 %l, %s, %x, %y;
    .reg .b32 %r<4>;
    {declare}
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    mov.u32 %l, %tid.x;
    mov.u32 %s, s;
    mad.wide.u32 %in, %l, 16, %in;
    mad.lo.u32 %x, %l, 16, %s;
    ld.global.v4.u32 {{%r0, %r1, %r2, %r3}}, [%in];
    st.shared.v4.u32 [%x], {{%r0, %r1, %r2, %r3}};
    bar.warp.sync -1;
    {body}
    ret;
}}"
    )
}

/// 32 rows of 8 elements, element (r, c) of matrix m being 100 (8 m + r) + c.
fn numbered() -> Vec<u32> {
    (0..32).flat_map(|row| (0..4).map(move |w| (100 * row + 2 * w) | (100 * row + 2 * w + 1) << 16)).collect()
}

#[test]
fn ldmatrix_gives_each_lane_its_pair() {
    for (n, trans) in [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)] {
        let list = ["%a0", "%a1", "%a2", "%a3"][..n].join(", ");
        let t = if trans { ".trans" } else { "" };
        let stores: String = (0..n).map(|i| format!("st.global.b32 [%out+{}], %a{i};", 4 * i)).collect();
        let body = format!(
            "ldmatrix.sync.aligned.m8n8.x{n}{t}.shared.b16 {{{list}}}, [%x];
            mad.wide.u32 %out, %l, {}, %out; {stores}",
            4 * n
        );
        let out =
            run(&staged(".version 7.4\n.target sm_80", ".reg .b32 %a<4>;", &body), line(1, 32), &numbered(), 32 * n)
                .unwrap();
        for l in 0..32 {
            for m in 0..n {
                let (g, p) = (l / 4, 2 * (l % 4));
                let at = |r: usize, c: usize| (100 * (8 * m + r) + c) as u32;
                let want = if trans { at(p, g) | at(p + 1, g) << 16 } else { at(g, p) | at(g, p + 1) << 16 };
                assert_eq!(out[l * n + m], want, "x{n}{t}, lane {l}, matrix {m}");
            }
        }
    }
}

#[test]
fn stmatrix_is_the_inverse() {
    for t in ["", ".trans"] {
        let body = format!(
            "ldmatrix.sync.aligned.m8n8.x4{t}.shared.b16 {{%a0, %a1, %a2, %a3}}, [%x];
            bar.warp.sync -1;
            add.u32 %x, %x, 512;
            stmatrix.sync.aligned.m8n8.x4{t}.shared.b16 [%x], {{%a0, %a1, %a2, %a3}};
            bar.warp.sync -1;
            ld.shared.v4.u32 {{%r0, %r1, %r2, %r3}}, [%x];
            mad.wide.u32 %out, %l, 16, %out; st.global.v4.u32 [%out], {{%r0, %r1, %r2, %r3}};"
        );
        let text = staged(".version 7.8\n.target sm_90", ".reg .b32 %a<4>;", &body);
        assert_eq!(run(&text, line(1, 32), &numbered(), 128).unwrap(), numbered(), "{t}");
    }
}

/// One mma with operands straight from memory: `a`, `b` and `c` registers of each lane in this order.
fn mma(name: &str, na: usize, nb: usize, nc: usize, float: bool, input: &[u32]) -> Vec<u32> {
    let list = |r: &str, n: usize| (0..n).map(|i| format!("%{r}{i}")).collect::<Vec<_>>().join(", ");
    let load = |r: &str, n: usize, at: usize| {
        (0..n).map(|i| format!("ld.global.b32 %{r}{i}, [%in+{}];\n", 4 * (at + i))).collect::<String>()
    };
    let store: String = (0..nc).map(|i| format!("st.global.b32 [%out+{}], %d{i};\n", 4 * i)).collect();
    let acc = if float { "f32" } else { "b32" };
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .reg .u64 %in, %out; .reg .u32 %l; .reg .b32 %a<4>, %b<2>; .reg .{acc} %c<4>, %d<4>;
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    mov.u32 %l, %tid.x;
    mad.wide.u32 %in, %l, {}, %in;
    mad.wide.u32 %out, %l, {}, %out;
    {}{}{}
    mma.sync.aligned.{name} {{{}}}, {{{}}}, {{{}}}, {{{}}};
    {store}ret;
}}",
        4 * (na + nb + nc),
        4 * nc,
        load("a", na, 0),
        load("b", nb, na),
        load("c", nc, na + nb),
        list("d", nc),
        list("a", na),
        list("b", nb),
        list("c", nc)
    );
    run(&text, line(1, 32), input, 32 * nc).unwrap()
}

/// Runs an m16n8kK on random matrices whose fragments are laid out by the formulas of the PTX ISA.
fn product(name: &str, k: usize, bfloat: bool, acc_f16: bool) {
    let mut rng = Rng(k as u64 * 77 + u64::from(bfloat));
    let pack = |x: f32| u32::from(if bfloat { bf16::from_f32(x).to_bits() } else { f16::from_f32(x).to_bits() });
    let value = |h: u32| if bfloat { bf16::from_bits(h as u16).to_f32() } else { f16::from_bits(h as u16).to_f32() };
    let mut a = vec![[0u32; 16]; 16];
    let mut b = vec![[0u32; 8]; 16];
    let mut c = [[0f32; 8]; 16];
    a.iter_mut().flatten().chain(b.iter_mut().flatten()).for_each(|x| *x = pack(rng.unit()));
    c.iter_mut().flatten().for_each(|x| *x = f16::from_f32(rng.unit()).to_f32());
    // A subnormal f16 must count.
    if !bfloat {
        a[3][1] = 0x0001;
    }
    let (na, nb, nc) = (k / 4, k / 8, if acc_f16 { 2 } else { 4 });
    let mut input = Vec::new();
    for l in 0..32 {
        let (g, t) = (l / 4, l % 4);
        for i in 0..na {
            let (row, col) = (g + 8 * (i % 2), 2 * t + 8 * (i / 2));
            input.push(a[row][col] | a[row][col + 1] << 16);
        }
        for i in 0..nb {
            input.push(b[2 * t + 8 * i][g] | b[2 * t + 1 + 8 * i][g] << 16);
        }
        for i in 0..nc {
            if acc_f16 {
                let half = |x: f32| u32::from(f16::from_f32(x).to_bits());
                input.push(half(c[g + 8 * i][2 * t]) | half(c[g + 8 * i][2 * t + 1]) << 16);
            } else {
                input.push(c[g + 8 * (i / 2)][2 * t + i % 2].to_bits());
            }
        }
    }
    let out = mma(name, na, nb, nc, !acc_f16, &input);
    for l in 0..32 {
        let (g, t) = (l / 4, l % 4);
        for i in 0..4 {
            let (row, col) = (g + 8 * (i / 2), 2 * t + i % 2);
            let exact: f64 = f64::from(c[row][col])
                + (0..k).map(|p| f64::from(value(a[row][p])) * f64::from(value(b[p][col]))).sum::<f64>();
            let (got, tolerance) = if acc_f16 {
                (f16::from_bits((out[l * 2 + i / 2] >> (16 * (i % 2))) as u16).to_f64(), 2e-3)
            } else {
                (f64::from(f32::from_bits(out[l * 4 + i])), 2e-6)
            };
            assert!((got - exact).abs() < tolerance, "{name} D[{row},{col}]: {got} instead of {exact}");
        }
    }
}

#[test]
fn mma_of_all_shapes() {
    product("m16n8k16.row.col.f32.f16.f16.f32", 16, false, false);
    product("m16n8k16.row.col.f32.bf16.bf16.f32", 16, true, false);
    product("m16n8k8.row.col.f32.f16.f16.f32", 8, false, false);
    product("m16n8k8.row.col.f32.bf16.bf16.f32", 8, true, false);
    product("m16n8k16.row.col.f16.f16.f16.f16", 16, false, true);
    product("m16n8k8.row.col.f16.f16.f16.f16", 8, false, true);
}

#[test]
fn mma_keeps_subnormals_and_infinities() {
    // A is zero but for A[0][0], B but for B[0][0].
    let one = |a: u16, b: u16| {
        let mut input = vec![0u32; 32 * 10];
        input[0] = u32::from(a);
        input[4] = u32::from(b);
        f32::from_bits(mma("m16n8k16.row.col.f32.f16.f16.f32", 4, 2, 4, true, &input)[0])
    };
    assert_eq!(one(0x0001, 0x0001), 2f32.powi(-48));
    assert_eq!(one(0x83ff, 0x7bff), -1023.0 * 2f32.powi(-24) * 65504.0);
    assert_eq!(one(0x7c00, 0x3c00), f32::INFINITY);
    assert!(one(0x7c00, 0x0000).is_nan());
}
