//! Bank conflicts and sectors, counted by hand.

mod common;

use common::{HEADER, line, run_report};
use ptxvm::Class;

/// Wavefronts (counted, ideal) of the access to shared memory at the address in `%x` (from the lane's number in `%t`).
fn wavefronts(address: &str, access: &str) -> (u64, u64) {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .shared .align 1024 .b8 s[16384];
    .reg .u32 %t, %x, %s; .reg .b32 %r<4>;
    mov.u32 %t, %tid.x;
    mov.u32 %s, s;
    {address}
    add.u32 %x, %x, %s;
    mov.b32 %r0, 1; mov.b32 %r1, 1; mov.b32 %r2, 1; mov.b32 %r3, 1;
    st.shared.v4.b32 [%s], {{%r0, %r1, %r2, %r3}};
    {access}
    ret;
}}"
    );
    let (_, report) = run_report(&text, line(1, 32), &[0], 1).unwrap_or_else(|e| panic!("{e}"));
    let c = &report.counters;
    let last = c.lines.iter().rev().find(|l| l.wavefronts > 0).unwrap();
    (last.wavefronts, last.wavefronts_ideal)
}

#[test]
fn bank_conflicts() {
    let word = "st.shared.b32 [%x], %r0;";
    assert_eq!(wavefronts("shl.b32 %x, %t, 2;", word), (1, 1));
    assert_eq!(wavefronts("shl.b32 %x, %t, 3;", word), (2, 1));
    assert_eq!(wavefronts("shl.b32 %x, %t, 7;", word), (32, 1));
    assert_eq!(wavefronts("mul.lo.u32 %x, %t, 132;", word), (1, 1));
    // One word for all lanes is a broadcast.
    assert_eq!(wavefronts("mov.u32 %x, 64;", word), (1, 1));
    // 8 bytes go by half warps, 16 bytes by quarters.
    assert_eq!(wavefronts("shl.b32 %x, %t, 3;", "st.shared.v2.b32 [%x], {%r0, %r1};"), (2, 2));
    assert_eq!(wavefronts("shl.b32 %x, %t, 4;", "st.shared.v4.b32 [%x], {%r0, %r1, %r2, %r3};"), (4, 4));
    assert_eq!(wavefronts("shl.b32 %x, %t, 7;", "st.shared.v4.b32 [%x], {%r0, %r1, %r2, %r3};"), (32, 4));
    // Rows of 144 bytes are free of conflicts, rows of 128 bytes are not unless swizzled.
    assert_eq!(wavefronts("mul.lo.u32 %x, %t, 144;", "st.shared.v4.b32 [%x], {%r0, %r1, %r2, %r3};"), (4, 4));
    let swizzle = "shl.b32 %x, %t, 7; and.b32 %r0, %t, 7; shl.b32 %r0, %r0, 4; xor.b32 %x, %x, %r0;";
    assert_eq!(wavefronts(swizzle, "st.shared.v4.b32 [%x], {%r0, %r1, %r2, %r3};"), (4, 4));
}

#[test]
fn ldmatrix_counts_eight_rows_a_phase() {
    let fill = |address: &str| {
        format!("{address} add.u32 %r0, %x, %s; st.shared.v4.b32 [%r0], {{%t, %t, %t, %t}}; bar.warp.sync -1;")
    };
    let load = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%x];";
    let first = |address: &str| {
        let text = format!(
            "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .shared .align 1024 .b8 s[16384];
    .reg .u32 %t, %x, %s; .reg .b32 %r<4>;
    mov.u32 %t, %tid.x; mov.u32 %s, s;
    {}
    add.u32 %x, %x, %s;
    {load}
    ret;
}}",
            fill(address)
        );
        let (_, report) = run_report(&text, line(1, 32), &[0], 1).unwrap_or_else(|e| panic!("{e}"));
        let l = report.counters.lines.iter().find(|l| l.class == Class::Ldmatrix).unwrap().clone();
        (l.wavefronts, l.wavefronts_ideal)
    };
    assert_eq!(first("shl.b32 %x, %t, 4;"), (4, 4));
    assert_eq!(first("shl.b32 %x, %t, 7;"), (32, 4));
    assert_eq!(first("mul.lo.u32 %x, %t, 80;"), (4, 4));
}

#[test]
fn sectors() {
    let count = |address: &str, access: &str| {
        let text = format!(
            "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .reg .u64 %in, %x; .reg .u32 %t, %o; .reg .b32 %r<4>;
    ld.param.u64 %in, [pin];
    mov.u32 %t, %tid.x;
    {address}
    cvt.u64.u32 %x, %o;
    add.u64 %x, %x, %in;
    {access}
    ret;
}}"
        );
        let (_, report) = run_report(&text, line(2, 32), &[1; 4096], 1).unwrap_or_else(|e| panic!("{e}"));
        (report.counters.sectors, report.counters.sectors_ideal)
    };
    let word = "ld.global.u32 %r0, [%x];";
    // Two CTAs of one warp each.
    assert_eq!(count("shl.b32 %o, %t, 2;", word), (8, 8));
    assert_eq!(count("shl.b32 %o, %t, 3;", word), (16, 8));
    assert_eq!(count("shl.b32 %o, %t, 8;", word), (64, 8));
    assert_eq!(count("mad.lo.u32 %o, %t, 4, 16;", word), (10, 8));
    assert_eq!(count("mov.u32 %o, 4;", word), (2, 2));
    assert_eq!(count("shl.b32 %o, %t, 4;", "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%x];"), (32, 32));
    assert_eq!(count("sub.u32 %o, 31, %t; shl.b32 %o, %o, 1;", "ld.global.u16 %r0, [%x];"), (4, 4));
}

#[test]
fn classes_and_guards() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .reg .u32 %t; .reg .f32 %f; .reg .pred %p;
    mov.u32 %t, %tid.x;
    setp.lt.u32 %p, %t, 8;
    cvt.rn.f32.u32 %f, %t;
    @%p ex2.approx.f32 %f, %f;
    @%p fma.rn.f32 %f, %f, %f, %f;
    bar.sync 0;
    ret;
}}"
    );
    let (_, report) = run_report(&text, line(3, 64), &[0], 1).unwrap();
    let c = &report.counters;
    assert_eq!((report.ctas, report.warps), (3, 2));
    assert_eq!((c.issued, c.threads), (6 * 7, 3 * (5 * 64 + 2 * 8)));
    for class in [Class::Move, Class::Compare, Class::Convert, Class::Mufu, Class::Float, Class::Barrier, Class::Branch]
    {
        assert_eq!(c.class(class), 6, "{class:?}");
    }
    let table = report.to_string();
    assert!(
        table.contains("3 CTAs of 2 warps, 42 instructions") && table.contains("ex2.approx.f32 %f, %f;"),
        "{table}"
    );
}
