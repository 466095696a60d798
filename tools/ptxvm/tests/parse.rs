//! What is accepted and what is refused, side by side with ptxas; and malformed text of all kinds.

mod common;

use std::io::Write;
use std::process::Command;

use common::{HEADER, Rng};
use ptxvm::{Error, Launch, Machine, Module};

/// `statement` in a kernel that declares two registers of most types.
fn module(statement: &str) -> String {
    format!(
        "{HEADER}.extern .shared .align 16 .b8 dyn[];
.const .f32 table[4] = {{1.0, 2.0, 3.0, 4.0}};
.visible .entry k(.param .u64 p, .param .f32 x) {{
    .shared .align 16 .b8 s[64];
    .reg .pred %p, %q; .reg .b16 %h, %i; .reg .u16 %uh; .reg .s16 %sh; .reg .b32 %r<6>; .reg .u32 %u, %v; .reg .s32 %s, %t;
    .reg .f32 %f<6>; .reg .b64 %d, %e; .reg .u64 %ud, %ue; .reg .s64 %sd; .reg .f64 %g, %j; .reg .f16 %x, %y; .reg .f16x2 %xx, %yy;
    {statement}
    ret;
}}"
    )
}

fn ptxas_accepts(text: &str) -> Option<bool> {
    let program = std::env::var("PTXAS").unwrap_or_else(|_| "ptxas".into());
    let mut file = tempfile::NamedTempFile::with_suffix(".ptx").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let out = tempfile::NamedTempFile::new().unwrap();
    let run = Command::new(program).arg("-arch=sm_80").arg(file.path()).arg("-o").arg(out.path()).output();
    run.ok().map(|run| run.status.success())
}

#[test]
fn accepted_forms() {
    let mut disagree = Vec::new();
    for statement in [
        "mov.u32 %u, %tid.x;",
        "mov.b32 %r0, %f0;",
        "mov.b32 %r0, 0f3F800000;",
        "mov.u32 %u, dyn;",
        "mov.u64 %ud, s;",
        "mov.pred %p, %q;",
        "mov.f32 %f0, 1.5;",
        "mov.f32 %f0, -0.5;",
        "mov.f32 %f0, 1e-6;",
        "mov.u32 %u, 0x1F; mov.u32 %u, 017; mov.u32 %u, 0b101; mov.u32 %u, 5U;",
        "mov.u32 %u, WARP_SZ;",
        "@!%p bra L; @%p bra.uni L; L: mov.u32 %u, 1;",
        "add.u32 %u, %u, -1; add.s32 %s, %u, %r0;",
        "cvta.to.global.u64 %ud, %ud;",
        "ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%f0, %f1, %f2, %f3}, [%ud+16];",
        "ld.global.v2.f32 {%f0, _}, [%d];",
        "ld.shared.v4.b32 {%r0, %r1, %r2, %r3}, [%u+-16];",
        "ld.shared.u8 %u, [s+3]; ld.shared.b8 %h, [dyn];",
        "st.global.cs.b16 [%ud], %x; st.shared.b32 [%u], %xx;",
        "ld.const.f32 %f0, [table+4];",
        "ld.param.f32 %f0, [x];",
        "ld.relaxed.gpu.global.u32 %u, [%ud]; st.release.gpu.global.u32 [%ud], %u; ld.acquire.gpu.global.u32 %u, [%ud];",
        "ld.volatile.global.u32 %u, [%ud];",
        "setp.ge.and.s32 %p, %s, 3, %q; setp.ne.b32 %p|%q, %r0, %r1; setp.eq.b64 %p, %d, %e; setp.gtu.f32 %p, %f0, %f1;",
        "setp.lt.f16 %p, %x, %y;",
        "selp.f32 %f0, %f1, 0f00000000, %p; selp.b64 %d, %d, %e, %p; selp.u32 %u, 1, 0, %p;",
        "fma.rn.f16x2 %xx, %xx, %yy, %xx; fma.rn.f16x2 %r0, %r1, %r2, %r3; fma.rn.bf16x2 %r0, %r1, %r2, %r3;",
        "max.f16x2 %r0, %r1, %r2; max.bf16x2 %r0, %r1, %r2; min.f16 %x, %x, %y;",
        "ex2.approx.f16x2 %r0, %r1; tanh.approx.f16x2 %r0, %r1; ex2.approx.ftz.f32 %f0, %f1;",
        "div.full.ftz.f32 %f0, %f1, %f2; rcp.approx.ftz.f32 %f0, %f1; sqrt.rn.f32 %f0, %f1; rsqrt.approx.ftz.f32 %f0, %f1;",
        "cvt.rn.f16x2.f32 %r0, %f0, %f1; cvt.rn.relu.bf16x2.f32 %r0, %f0, %f1; cvt.rn.f16.f32 %h, %f0;",
        "cvt.f32.f16 %f0, %h; cvt.rni.sat.u8.f32 %u, %f0; cvt.rzi.s32.f32 %s, %f0; cvt.u64.u32 %ud, %u; cvt.s64.s32 %d, %s;",
        "mul.wide.u16 %u, %uh, %uh; mad.wide.s32 %sd, %s, %t, %sd; mad.lo.u64 %ud, %ud, %ue, %ud;",
        "lop3.b32 %r0, %r1, %r2, %r3, 0xE8; prmt.b32 %r0, %r1, %r2, 0x5410; bfe.u32 %u, %v, 3, 4; bfi.b32 %r0, %r1, %r2, 4, 5;",
        "shf.l.wrap.b32 %r0, %r1, %r2, 7; shf.r.clamp.b32 %r0, %r1, %r2, %r3; popc.b32 %u, %r0; clz.b64 %u, %d;",
        "shfl.sync.bfly.b32 %f0|%p, %f1, 16, 0x1f, 0xffffffff; shfl.sync.idx.b32 %r0, %r1, %u, 31, -1;",
        "vote.sync.ballot.b32 %r0, !%p, -1; vote.sync.any.pred %p, %q, %u; redux.sync.max.s32 %s, %t, -1; activemask.b32 %r0;",
        "bar.sync 0; bar.sync %u, 64; bar.arrive 1, 64; barrier.sync 3; barrier.sync.aligned 2, 32; bar.warp.sync -1;",
        "membar.gl; fence.acq_rel.gpu; fence.sc.cta;",
        "cp.async.ca.shared.global [%u], [%ud], 4; cp.async.cg.shared.global.L2::256B [%u+16], [%ud+32], 16, %v;",
        "cp.async.commit_group; cp.async.wait_group 2; cp.async.wait_all;",
        "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r0, %r1}, [%u+32]; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%u];",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};",
        "atom.global.add.f32 %f0, [%ud], %f1; red.global.add.f32 [%ud+4], %f1; atom.shared.cas.b32 %r0, [%u], %r1, %r2;",
        "red.global.add.noftz.f16x2 [%ud], %r0; atom.global.max.u64 %ud, [%ue], %ud; red.relaxed.gpu.global.add.u32 [%ud], 1;",
        "mov.b64 %d, {%r0, %r1}; mov.b64 {_, %r1}, %d; mov.b32 {%h, %i}, %r0; mov.b64 %d, {%h, %i, %h, %i};",
        "prefetch.global.L2 [%ud]; nanosleep.u32 100; trap; exit;",
        "set.gt.u32.f32 %u, %f0, %f1; slct.f32.s32 %f0, %f1, %f2, %s; not.pred %p, %q; xor.pred %p, %p, %q;",
        "{ .reg .u32 %u; mov.u32 %u, 3; } .pragma \"nounroll\";",
        "neg.s32 %s, %t; abs.f32 %f0, %f1; neg.f16x2 %xx, %yy; min.NaN.f32 %f0, %f1, %f2;",
        "div.u32 %u, %u, 3; rem.s32 %s, %t, %s; div.rn.f64 %g, %g, %j; fma.rn.f64 %g, %g, %j, %g;",
        ".loc 1 2 3\n    mov.u32 %u, 1;",
    ] {
        let text = module(statement);
        if let Err(error) = Module::parse(&text) {
            panic!("{error}\nin {statement}");
        }
        if ptxas_accepts(&text) == Some(false) {
            disagree.push(statement);
        }
    }
    assert!(disagree.is_empty(), "ptxas refuses {disagree:#?}");
    if ptxas_accepts(&module("")).is_none() {
        println!("SKIPPED: ptxas cross-check, no ptxas");
    }
}

#[test]
fn refused_forms() {
    let mut disagree = Vec::new();
    for (statement, why) in [
        ("frob.u32 %u, %u;", "unknown instruction frob"),
        ("add.u33 %u, %u, 1;", "unknown type .u33"),
        ("add.frob.u32 %u, %u, 1;", "unknown or misplaced modifier .frob"),
        ("add.u32 %u, %nope, 1;", "unknown name %nope"),
        ("add.u32 %u, %r9, 1;", "unknown name %r9"),
        ("add.u32 %u, %f0, 1;", "register %f0 is F32"),
        ("mov.u32 %h, 1;", "register %h is B16"),
        ("add.f32 %f0, %f1, 1;", "does not fit type F32"),
        ("add.u32 %u, %u, 0f3F800000;", "does not fit type U32"),
        ("add.u32 %u, %u;", "2 operands"),
        ("add.u32 %u, %tid.x, 1;", "%tid.x can be read by mov"),
        ("and.u32 %u, %u, 1;", "and has no type U32"),
        ("add.b32 %u, %u, 1;", "add has no type B32"),
        ("mul.u32 %u, %u, 3;", "no part"),
        ("fma.f32 %f0, %f1, %f2, %f3;", "no rounding"),
        ("sqrt.f32 %f0, %f1;", "no rounding"),
        ("ex2.f32 %f0, %f1;", "no rounding"),
        ("div.approx.f64 %g, %g, %j;", "no rounding"),
        ("ld.global.v3.f32 {%f0, %f1, %f2}, [%ud];", "3 elements where 1"),
        ("ld.global.v4.f32 {%f0, %f1}, [%ud];", "2 elements where 4"),
        ("ld.global.v4.b64 {%d, %e, %d, %e}, [%ud];", "at most 16 bytes"),
        ("ld.global.u32 %u, %ud;", "address in brackets"),
        ("ld.global.u32 %u, [%f0];", "cannot hold an address"),
        ("st.const.u32 [%ud], %u;", "read-only"),
        ("cvt.f16.f32 %h, %f0;", "rounding"),
        ("cvt.rn.f32.f16 %f0, %h;", "rounding"),
        ("cvt.rn.s32.f32 %s, %f0;", "rounding"),
        ("cvt.rn.f16x2.f32 %r0, %f0;", "2 operands"),
        ("setp.lo.f32 %p, %f0, %f1;", ""),
        ("setp.lt.b32 %p, %r0, %r1;", "this comparison has no type"),
        ("setp.equ.u32 %p, %u, %v;", "this comparison has no type"),
        ("bra NOWHERE;", "unknown label NOWHERE"),
        ("A: A: mov.u32 %u, 1;", "label A is defined twice"),
        (".reg .u32 %u;", "register %u is declared twice"),
        (".reg .u32 %n0; .reg .u32 %n<3>;", "register %n is declared twice"),
        (".reg .u32 %n<3>; .reg .u32 %n2;", "register %n2 is declared twice"),
        ("cp.async.cg.shared.global [%u], [%ud], 8;", "copies 16 bytes"),
        ("cp.async.wait_group %u;", "takes an immediate"),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1}, [%u];", "list of 4"),
        ("ldmatrix.aligned.m8n8.x1.shared.b16 {%r0}, [%u];", ".sync.aligned is missing"),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1}, {%r4,%r5}, {%f0,%f1,%f2,%f3};",
            "list of 4",
        ),
        (
            "mma.sync.aligned.m16n8k16.col.row.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};",
            "",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};",
            "is unknown",
        ),
        ("atom.global.add.b32 %r0, [%ud], 1;", "no such type"),
        ("red.global.cas.b32 [%ud], 1, 2;", ""),
        ("red.global.add.f16x2 [%ud], %r0;", "noftz"),
        ("vote.sync.ballot.pred %p, %q, -1;", "vote.ballot writes .b32"),
        ("lop3.b32 %r0, %r1, %r2, %r3, 256;", "0 to 255"),
        ("mov.u32 %u, 4294967296;", "does not fit 32 bits"),
        ("mov.u32 %u %v;", "expected `,`"),
        ("mov.u32 %u, %v", "expected"),
        ("ld.param.u32 [p], %u;", ""),
        ("shl.b64 %d, %d, %ud;", "register %ud is U64"),
    ] {
        let text = module(statement);
        let error = Module::parse(&text).expect_err(statement);
        assert!(error.to_string().contains(why), "{statement}: {error}");
        let Error::Parse { line, text: shown, .. } = &error else { panic!("{error:?}") };
        assert_eq!(text.lines().nth(*line as usize - 1).map(str::trim), Some(shown.as_str()));
        // Numbers that do not fit are cut silently by ptxas, and a register behind which its name's family comes is
        // shared.
        let stricter = ["256;", "4294967296", "%n0; .reg .u32 %n<3>"].iter().any(|form| statement.contains(form));
        if !stricter && ptxas_accepts(&text) == Some(true) {
            disagree.push(statement);
        }
    }
    assert!(disagree.is_empty(), "ptxas accepts {disagree:#?}");
}

#[test]
fn malformed_modules() {
    for (text, why) in [
        ("", "starts with .version"),
        (".version 7.4", ".target expected"),
        (".version 7.4\n.target sm_80\n.address_size 32", "must be 64"),
        (".version 7.4\n.target sm_80\n.func f() { ret; }", "unknown directive .func"),
        (".version 7.4\n.target sm_80\n.entry k() { ret;", "no closing brace"),
        (".version 7.4\n.target sm_80\n/* no end", "comment without an end"),
        (".version 7.4\n.target sm_80\n.entry k(.param .u32 a[99999]) { ret; }", "bytes"),
        (".version 7.4\n.target sm_80\n.shared .b8 s[99999999999];", "too large"),
        (".version 7.4\n.target sm_80\n.global .b8 a[4] = {1, 2, 3, 4, 5};", "do not fit"),
        (".version 7.4\n.target sm_80\n.global .b8 a[];", "no size"),
        (".version 7.4\n.target sm_80\n.global .align 3 .b8 a[4];", "power of two"),
        (".version 7.4\n.target sm_80\n.entry k() { ret; } .entry k() { ret; }", "defined twice"),
        (".version 7.4\n.target sm_80\n.entry k() { \u{e9} }", "unexpected byte"),
        (".version 7.4\n.target sm_80\n.entry k() { mov.u32 %r, 0xZZ; }", "malformed number"),
        (".version 7.4\n.target sm_80\n.entry k() { .local .b8 x[4]; ret; }", "unknown directive .local"),
    ] {
        let error = Module::parse(text).expect_err(text);
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

/// Damaged text must be refused or run, within its budget and without a panic.
#[test]
fn mutations_never_panic() {
    let seeds = [
        common::gemm::kernel(),
        module("add.u32 %u, 1, 2; st.shared.u32 [s], %u; ld.shared.v4.b32 {%r0,%r1,%r2,%r3}, [s];"),
    ];
    let pieces = [
        "4294967295",
        "0",
        "-1",
        "[",
        "]",
        "{",
        "}",
        ";",
        ",",
        "%p0",
        "%t",
        "smem",
        ".b64",
        ".v4",
        ".shared",
        "@",
        "0f",
        "0x",
        "9223372036854775807",
        ".align 4096",
        "<99999999999>",
        "bra ",
        "\"",
        "/*",
        "\u{0}",
        "%laneid",
        "s",
        ".reg .pred %z;",
    ];
    let mut rng = Rng(2026);
    let (mut parsed, mut ran) = (0, 0);
    for round in 0..3000 {
        let mut text = seeds[round % 2].clone();
        for _ in 0..=rng.bits() % 3 {
            let mut at = rng.bits() as usize % text.len();
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let mut end = (at + rng.bits() as usize % 12).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            match rng.bits() % 12 {
                0 => text.replace_range(at..end, ""),
                1 => text.insert_str(at, pieces[rng.bits() as usize % pieces.len()]),
                2 => text.replace_range(at..end, pieces[rng.bits() as usize % pieces.len()]),
                _ => {
                    // A random number in place of another.
                    if let Some(digit) = text[at..].find(|c: char| c.is_ascii_digit()).map(|d| d + at) {
                        text.replace_range(
                            digit..=digit,
                            ["0", "1", "2", "3", "16", "32", "255"][rng.bits() as usize % 7],
                        );
                    }
                }
            }
        }
        let Ok(module) = Module::parse(&text) else { continue };
        parsed += 1;
        let mut gpu = Machine::new().budget(3000);
        let buffers = [0; 8].map(|_| gpu.alloc(1 << 16).unwrap());
        buffers.iter().for_each(|&b| gpu.write(b, &[1; 1 << 16]).unwrap());
        for entry in module.entries() {
            let mut params = vec![0; entry.param_bytes as usize];
            for (p, buffer) in entry.params.iter().filter(|p| p.bytes == 8).zip(buffers) {
                params[p.offset as usize..][..8].copy_from_slice(&buffer.to_le_bytes());
            }
            for p in entry.params.iter().filter(|p| p.bytes == 4) {
                params[p.offset as usize..][..4].copy_from_slice(&64u32.to_le_bytes());
            }
            let shared_bytes = if entry.dynamic_shared { 2 * 6144 } else { 0 };
            let launch = Launch { grid: [2, 1, 1], block: [64, 1, 1], shared_bytes };
            ran += usize::from(gpu.launch(&module, &entry.name, launch, &params).is_ok());
        }
    }
    // Both sides of the coin must have come up often.
    assert!(parsed > 200 && ran > 100 && parsed < 2900, "{parsed} parsed, {ran} ran");
}
