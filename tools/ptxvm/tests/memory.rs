//! Loads, stores, variables, parameters, atomics, asynchronous copies.

mod common;

use common::{HEADER, bytes, check, line, run, words};
use ptxvm::{Arg, Error, Launch, Machine, Module};

/// `k(in, out)` with the thread number in `%i` and both pointers already moved by `step` bytes a thread.
fn kernel(vars: &str, declare: &str, step: (u32, u32), body: &str) -> String {
    format!(
        "{HEADER}{vars}
.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .reg .u64 %in, %out; .reg .u32 %i;
    {declare}
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    cvta.to.global.u64 %in, %in;
    cvta.to.global.u64 %out, %out;
    mov.u32 %i, %tid.x;
    mad.wide.u32 %in, %i, {}, %in;
    mad.wide.u32 %out, %i, {}, %out;
    {body}
    ret;
}}",
        step.0, step.1
    )
}

#[test]
fn every_width_of_global_memory() {
    let input: Vec<u32> = (0..256u32).map(|i| i.wrapping_mul(0x9e37_79b9) ^ 0x8421_1248).collect();
    let copy = |declare: &str, step: u32, body: &str| {
        let out = run(&kernel("", declare, (step, step), body), line(1, 64), &input, 16 * step as usize).unwrap();
        assert_eq!(out, input[..16 * step as usize], "{body}");
    };
    copy(".reg .b32 %r;", 4, "ld.global.u32 %r, [%in]; st.global.u32 [%out], %r;");
    copy(".reg .b64 %r;", 8, "ld.global.b64 %r, [%in+0]; st.global.b64 [%out], %r;");
    copy(
        ".reg .f32 %r<4>;",
        16,
        "ld.global.nc.v4.f32 {%r0,%r1,%r2,%r3}, [%in]; st.global.v4.f32 [%out], {%r0,%r1,%r2,%r3};",
    );
    copy(
        ".reg .b64 %r<2>;",
        16,
        "ld.global.L1::no_allocate.v2.u64 {%r0,%r1}, [%in]; st.global.v2.u64 [%out], {%r0,%r1};",
    );
    copy(
        ".reg .b32 %r<2>;",
        8,
        "ld.global.ca.L2::128B.v2.b32 {%r0,%r1}, [%in]; st.global.cs.v2.b32 [%out], {%r0,%r1};",
    );
    copy(
        ".reg .b16 %r<2>;",
        4,
        "ld.global.v2.b16 {%r0,%r1}, [%in]; st.global.b16 [%out], %r0; st.global.b16 [%out+2], %r1;",
    );
    copy(
        ".reg .b16 %r<4>;",
        8,
        "ld.global.v4.u16 {%r0,%r1,%r2,%r3}, [%in]; st.global.v4.u16 [%out], {%r0,%r1,%r2,%r3};",
    );
    copy(".reg .b16 %r<4>;", 4, "ld.global.v4.u8 {%r0,%r1,%r2,%r3}, [%in]; st.global.v4.u8 [%out], {%r0,%r1,%r2,%r3};");
    copy(
        ".reg .b32 %r<2>;",
        4,
        "ld.global.u16 %r0, [%in+2]; ld.global.u16 %r1, [%in]; st.global.u16 [%out+2], %r0; st.u16 [%out], %r1;",
    );
    copy(
        ".reg .b32 %r<4>;",
        4,
        "ld.u8 %r0, [%in]; ld.u8 %r1, [%in+1]; ld.global.u8 %r2, [%in+2]; ld.global.u8 %r3, [%in+3];
        st.global.u8 [%out], %r0; st.global.u8 [%out+1], %r1; st.global.u8 [%out+2], %r2; st.global.u8 [%out+3], %r3;",
    );
}

#[test]
fn narrow_loads_extend() {
    let input = [0x80ff_7f01u32, 0x7fff_8000];
    let body =
        "ld.global.s8 %a, [%in+2]; ld.global.u8 %b, [%in+2]; ld.global.s16 %c, [%in+4]; ld.global.u16 %d, [%in+4];
        ld.global.s8 %q, [%in+1]; ld.global.s32 %r, [%in];
        st.global.v4.u32 [%out], {%a, %b, %c, %d}; st.global.v2.u64 [%out+16], {%q, %r};";
    let text = kernel("", ".reg .b32 %a, %b, %c, %d; .reg .b64 %q, %r;", (8, 32), body);
    let out = run(&text, line(1, 1), &input, 8).unwrap();
    assert_eq!(out, [0xffff_ffff, 0xff, 0xffff_8000, 0x8000, 0x7f, 0, 0x80ff_7f01, 0xffff_ffff]);
}

#[test]
fn shared_arrays_static_and_dynamic() {
    // Reverses 64 words through two static arrays and the dynamic one.
    let vars = ".extern .shared .align 16 .b8 dyn[];\n.shared .align 8 .b32 front[64];";
    let body = "shl.b32 %o, %i, 2;
        mov.u32 %f, front; add.u32 %f, %f, %o;
        mov.u32 %y, dyn; add.u32 %y, %y, %o;
        ld.global.u32 %v, [%in];
        st.shared.u32 [%f], %v;
        bar.sync 0;
        sub.u32 %z, 252, %o;
        add.u32 %w, %z, %f; sub.u32 %w, %w, %o;
        ld.shared.u32 %v, [%w];
        st.shared.u32 [%y], %v;
        st.volatile.shared.u32 [own+4], 7;
        barrier.sync.aligned 0;
        ld.shared.u32 %v, [%y];
        ld.shared.u32 %z, [own+4];
        ld.shared.u32 %w, [dyn+252];
        add.u32 %v, %v, %z;
        add.u32 %v, %v, %w;
        st.global.u32 [%out], %v;";
    let declare = ".reg .u32 %o, %f, %y, %v, %z, %w; .shared .u32 own[2];";
    let input: Vec<u32> = (0..64).map(|i| i * i + 3).collect();
    let launch = Launch { shared_bytes: 256, ..line(1, 64) };
    let out = run(&kernel(vars, declare, (4, 4), body), launch, &input, 64).unwrap();
    let want: Vec<u32> = (0..64).map(|i| input[63 - i] + 7 + input[0]).collect();
    assert_eq!(out, want);
}

#[test]
fn generic_addresses_reach_both_spaces() {
    let body = "mov.u64 %g, s; cvta.shared.u64 %g, %g; mad.wide.u32 %g, %i, 4, %g;
        ld.u32 %v, [%in]; st.u32 [%g], %v; ld.u32 %w, [%g]; add.u32 %w, %w, 1; st.u32 [%out], %w;
        cvta.to.shared.u64 %g, %g; ld.shared.u32 %v, [%g]; st.global.u32 [%out+128], %v;";
    let input: Vec<u32> = (100..132).collect();
    let text = kernel(".shared .b32 s[32];", ".reg .u64 %g; .reg .u32 %v, %w;", (4, 4), body);
    let out = run(&text, line(1, 32), &input, 64).unwrap();
    assert_eq!(out, (101..133).chain(100..132).collect::<Vec<u32>>());
}

#[test]
fn module_variables() {
    let vars = ".const .align 4 .f32 table[4] = { 1.5, 0f40000000, -2.5, 3.0 };
.global .align 8 .u16 halves[2][2] = { {1, 2}, {3, 0xffff} };
.global .u32 counter;";
    let body = "mov.u64 %t, table; mad.wide.u32 %t, %i, 4, %t; ld.const.f32 %x, [%t];
        ld.const.f32 %y, [table+8]; add.f32 %x, %x, %y;
        mov.u64 %h, halves; mad.wide.u32 %h, %i, 2, %h; ld.global.u16 %v, [%h];
        atom.global.add.u32 %w, [counter], 1;
        st.global.b32 [%out], %x; st.global.b32 [%out+4], %v; st.global.u32 [%out+8], %w;";
    let declare = ".reg .u64 %t, %h; .reg .b32 %v, %w; .reg .b32 %x, %y;";
    let declare = declare.replace(".reg .b32 %x, %y;", ".reg .f32 %y; .reg .b32 %x;");
    let body = body.replace("ld.const.f32 %x", "ld.const.b32 %x");
    let out = run(&kernel(vars, &declare, (0, 12), &body), line(1, 4), &[0], 12).unwrap();
    let want = [-1.0f32, -0.5, -5.0, 0.5];
    for i in 0..4 {
        assert_eq!(out[3 * i], want[i].to_bits());
        assert_eq!(out[3 * i + 1], [1, 2, 3, 0xffff][i]);
        assert_eq!(out[3 * i + 2], i as u32);
    }
}

#[test]
fn parameters_of_all_kinds() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u8 a, .param .f32 b, .param .align 8 .b8 c[12], .param .u64 out) {{
    .reg .u64 %o, %p; .reg .u32 %a, %c; .reg .f32 %b; .reg .u16 %h;
    ld.param.u64 %o, [out];
    ld.param.u8 %a, [a];
    ld.param.f32 %b, [b];
    mov.b64 %p, c;
    ld.param.u32 %c, [%p+8];
    st.global.u32 [%o], %a; st.global.f32 [%o+4], %b; st.global.u32 [%o+8], %c;
    ld.param.v2.u32 {{%a, %c}}, [c];
    st.global.v2.u32 [%o+16], {{%a, %c}};
    ret;
}}"
    );
    common::ptxas(&text);
    let module = Module::parse(&text).unwrap();
    let entry = module.entry("k").unwrap();
    assert_eq!(
        entry.params.iter().map(|p| (p.offset, p.bytes)).collect::<Vec<_>>(),
        [(0, 1), (4, 4), (8, 12), (24, 8)]
    );
    let mut gpu = Machine::new();
    let out = gpu.alloc(24).unwrap();
    let mut params = vec![0u8; 32];
    params[0] = 200;
    params[4..8].copy_from_slice(&1.25f32.to_le_bytes());
    params[8..20].copy_from_slice(&bytes(&[11, 12, 13]));
    params[24..].copy_from_slice(&out.to_le_bytes());
    gpu.launch(&module, "k", line(1, 1), &params).unwrap();
    let mut got = [0; 24];
    gpu.read(out, &mut got).unwrap();
    assert_eq!(words(&got), [200, 1.25f32.to_bits(), 13, u32::MAX, 11, 12]);
    assert_eq!(gpu.first_unwritten(out, 24), Ok(Some(12)));
}

#[test]
fn atomics_on_both_spaces() {
    // 128 threads over 4 words: sums, extremes, a float sum and a compare-and-swap chain.
    let vars = ".shared .u32 s[2];";
    let declare = ".reg .u32 %v, %w; .reg .f32 %x; .reg .pred %p; .reg .u64 %big;";
    let body = "setp.eq.u32 %p, %i, 0;
        @%p st.shared.u32 [s], 0;
        @%p st.shared.u32 [s+4], 1000;
        @%p st.global.v4.u32 [%out], {0, 0, 0, 0};
        @%p st.global.v2.u32 [%out+16], {0, 0};
        bar.sync 0;
        add.u32 %v, %i, 1;
        red.shared.add.u32 [s], %v;
        atom.shared.min.u32 %w, [s+4], %v;
        red.global.max.u32 [%out+4], %v;
        cvt.rn.f32.u32 %x, %v;
        red.global.add.f32 [%out+8], %x;
        atom.global.inc.u32 %w, [%out+12], 99;
        cvt.u64.u32 %big, %v; shl.b64 %big, %big, 32;
        red.relaxed.gpu.global.add.u64 [%out+16], %big;
        bar.sync 0;
        ld.shared.u32 %w, [s];
        @%p st.global.u32 [%out], %w;";
    let out = run(&kernel(vars, declare, (0, 0), body), line(1, 128), &[0], 6).unwrap();
    assert_eq!(out, [8256, 128, 8256f32.to_bits(), 28, 0, 8256]);
    check(
        ".reg .u64 %g;",
        "atom.global.cas.b32 %d, [%in], %a, %b; atom.global.exch.b32 %e, [%in+4], %c;",
        &[[7, 8, 9]],
        |v| [v[0], v[1]],
    );
    // Sums of f32 over many CTAs on several host threads.
    let text = kernel("", ".reg .f32 %x;", (0, 0), "mov.f32 %x, 0f3F000000; red.global.add.f32 [%out], %x;");
    let module = Module::parse(&text).unwrap();
    let mut gpu = Machine::new().threads(4);
    let a = gpu.alloc(4).unwrap();
    gpu.write(a, &[0; 4]).unwrap();
    let params = [a.to_le_bytes(), a.to_le_bytes()].concat();
    gpu.launch(&module, "k", line(64, 64), &params).unwrap();
    let mut sum = [0; 4];
    gpu.read(a, &mut sum).unwrap();
    assert_eq!(f32::from_le_bytes(sum), 2048.0);
}

#[test]
fn asynchronous_copies_of_all_sizes() {
    let vars = ".shared .align 16 .b8 s[2048];";
    let declare = ".reg .u32 %o, %n, %v<4>; .reg .pred %odd;";
    let read = "ld.shared.v4.u32 {%v0,%v1,%v2,%v3}, [%o]; st.global.v4.u32 [%out], {%v0,%v1,%v2,%v3};";
    let input: Vec<u32> = (0..128).map(|i| 0x0101_0101 * (i + 1)).collect();
    let go = |body: &str| {
        let body = format!("mad.lo.u32 %o, %i, 16, s; {body} {read}")
            .replace("mad.lo.u32 %o, %i, 16, s;", "mov.u32 %o, s; mad.lo.u32 %o, %i, 16, %o;");
        run(&kernel(vars, declare, (16, 16), &body), line(1, 32), &input, 128).unwrap()
    };
    assert_eq!(go("cp.async.cg.shared.global [%o], [%in], 16; cp.async.commit_group; cp.async.wait_group 0;"), input);
    let split = "cp.async.ca.shared.global [%o], [%in], 4; cp.async.ca.shared.global [%o+4], [%in+4], 4;
        cp.async.ca.shared.global.L2::64B [%o+8], [%in+8], 8; cp.async.wait_all;";
    assert_eq!(go(split), input);
    // 6 bytes of each 16 for odd threads, none for even ones.
    let part = "and.b32 %n, %i, 1; mul.lo.u32 %n, %n, 6;
        cp.async.cg.shared.global [%o], [%in], 16, %n; cp.async.commit_group; cp.async.wait_group 0;";
    let want: Vec<u32> = (0..32)
        .flat_map(|i| match i % 2 {
            0 => [0; 4],
            _ => [input[4 * i], input[4 * i + 1] & 0xffff, 0, 0],
        })
        .collect();
    assert_eq!(go(part), want);
}

#[test]
fn host_memory_calls_are_checked() {
    let mut gpu = Machine::new();
    let a = gpu.alloc(100).unwrap();
    let b = gpu.alloc(7).unwrap();
    assert!(b >= a + 100 + 4096 && a.is_multiple_of(256) && b.is_multiple_of(256));
    gpu.write(a + 1, &[1, 2, 3, 4, 5, 6]).unwrap();
    let mut out = [0; 8];
    gpu.read(a, &mut out).unwrap();
    assert_eq!(out, [0xff, 1, 2, 3, 4, 5, 6, 0xff]);
    assert!(matches!(gpu.write(a + 98, &[0; 3]), Err(Error::Memory { call: "write", bytes: 3, .. })));
    assert!(matches!(gpu.read(b, &mut out), Err(Error::Memory { call: "read", .. })));
    assert!(matches!(gpu.alloc(0), Err(Error::Memory { .. })));
    assert!(matches!(gpu.alloc(u64::MAX), Err(Error::Memory { .. })));
    gpu.forget(a + 2, 2).unwrap();
    assert_eq!(gpu.first_unwritten(a + 1, 6), Ok(Some(1)));
    assert!(matches!(gpu.free(a + 4), Err(Error::Memory { call: "free", .. })));
    gpu.free(a).unwrap();
    let error = gpu.read(a, &mut out).unwrap_err().to_string();
    assert!(error.contains("freed"), "{error}");
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u32 n) .maxntid 64 {{ ret; }}
.visible .entry r(.param .u32 n) .reqntid 32, 2 {{ .shared .b8 s[40000]; .reg .u32 %r; mov.u32 %r, s; ret; }}
.extern .shared .b8 dyn[];
.visible .entry d() {{ .reg .u32 %r; mov.u32 %r, dyn; ret; }}"
    );
    common::ptxas(&text);
    let module = Module::parse(&text).unwrap();
    let mut gpu = Machine::new();
    let mut what = |entry: &str, launch: Launch, params: &[u8]| match gpu.launch(&module, entry, launch, params) {
        Ok(_) => "fine",
        Err(Error::Launch { what, .. }) => what,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(what("k", line(1, 64), &[0; 4]), "fine");
    assert_eq!(what("k", line(1, 65), &[0; 4]), "threads of a CTA");
    assert_eq!(what("k", line(1, 0), &[0; 4]), "threads of a CTA");
    assert_eq!(what("k", line(0, 32), &[0; 4]), "grid");
    assert_eq!(what("k", line(1, 32), &[0; 8]), "bytes of parameters");
    assert_eq!(what("k", Launch { shared_bytes: 16, ..line(1, 32) }, &[0; 4]), "dynamic shared memory");
    assert_eq!(what("r", line(1, 64), &[0; 4]), "block");
    assert_eq!(what("r", Launch { block: [32, 2, 1], ..line(1, 64) }, &[0; 4]), "fine");
    assert_eq!(what("d", Launch { shared_bytes: 227 * 1024, ..line(1, 32) }, &[]), "fine");
    assert_eq!(what("d", Launch { shared_bytes: 227 * 1024 + 1, ..line(1, 32) }, &[]), "bytes of shared memory");
    assert_eq!(what("none", line(1, 32), &[]), "entry");
    assert!(matches!(module.pack("k", &[Arg::U64(1)]), Err(Error::Launch { .. })));
    assert!(matches!(module.pack("k", &[]), Err(Error::Launch { .. })));
}
