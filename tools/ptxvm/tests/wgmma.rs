//! `wgmma` against f64, and its rules: a small kernel, and for each rule the same with one line changed.

mod common;

use common::{Rng, fault, line, run};
use half::f16;
use ptxvm::FaultKind;

const COLUMNS: usize = 24;
const DEPTH: usize = 32;

/// Thread t copies row t of A `[64][32]` (the first 64 threads) or row t - 64 of B `[24][32]` to shared memory, rows of
/// 128 bytes in the 128-byte swizzle, and the warpgroup makes A B^T of two k16. `replaced` lines are put in the place
/// of others.
fn kernel(replaced: &[(&str, &str)]) -> String {
    let sums = (0..COLUMNS / 2).map(|i| format!("%d{i}")).collect::<Vec<_>>().join(", ");
    let zeros: String = (0..COLUMNS / 2).map(|i| format!("mov.f32 %d{i}, 0f00000000;\n")).collect();
    let copies: String = (0..4)
        .map(|chunk| {
            format!(
                "xor.b32 %u, %swizzle, {chunk};\nshl.b32 %u, %u, 4;\nadd.u32 %u, %u, %to;\n\
                 @%copies cp.async.cg.shared.global [%u], [%in+{}], 16;\n",
                16 * chunk
            )
        })
        .collect();
    let stores: String = (0..COLUMNS / 8)
        .flat_map(|tile| (0..2).map(move |half| (tile, half)))
        .map(|(tile, half)| {
            let (at, sum) = (4 * (8 * half * COLUMNS + 8 * tile), 4 * tile + 2 * half);
            format!("st.global.v2.f32 [%out+{at}], {{%d{sum}, %d{}}};\n", sum + 1)
        })
        .collect();
    let text = format!(
        ".version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 pin, .param .u64 pout)
.reqntid 128, 1, 1
{{
    .shared .align 1024 .b8 s[16384];
    .reg .u64 %in, %out, %a, %b;
    .reg .u32 %t, %u, %to, %swizzle, %row;
    .reg .f32 %d<{}>;
    .reg .pred %copies, %adds;
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    mov.u32 %t, %tid.x;
    mad.wide.u32 %in, %t, 64, %in;
    and.b32 %swizzle, %t, 7;
    mov.u32 %to, s;
    mad.lo.u32 %to, %t, 128, %to;
    setp.lt.u32 %copies, %t, {};
    {copies}
    cp.async.wait_all;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    setp.eq.u32 %adds, 0, 0;
    mov.u32 %u, s;
    shr.u32 %u, %u, 4;
    cvt.u64.u32 %a, %u;
    add.u64 %a, %a, 0x4000004000010000;
    add.u64 %b, %a, 512;
    {zeros}
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n{COLUMNS}k16.f32.f16.f16 {{{sums}}}, %a, %b, %adds, 1, 1, 0, 0;
    add.u64 %a, %a, 2;
    add.u64 %b, %b, 2;
    wgmma.mma_async.sync.aligned.m64n{COLUMNS}k16.f32.f16.f16 {{{sums}}}, %a, %b, %adds, 1, 1, 0, 0;
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    bar.sync 0;
    st.shared.u32 [%to], %t;
    shr.u32 %row, %t, 2;
    and.b32 %u, %row, 7;
    shr.u32 %row, %t, 5;
    mad.lo.u32 %row, %row, 16, %u;
    mad.wide.u32 %out, %row, {}, %out;
    and.b32 %u, %t, 3;
    mad.wide.u32 %out, %u, 8, %out;
    {stores}
    ret;
}}",
        COLUMNS / 2,
        64 + COLUMNS,
        4 * COLUMNS
    );
    replaced.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    })
}

/// Rows of A, then of B.
fn numbers() -> Vec<f16> {
    let mut rng = Rng(0x3141_5926_5358_9793);
    (0..(64 + COLUMNS) * DEPTH).map(|_| f16::from_f32(rng.unit())).collect()
}

fn outcome(replaced: &[(&str, &str)]) -> Result<Vec<u32>, ptxvm::Error> {
    let input: Vec<u32> =
        numbers().chunks(2).map(|pair| u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16).collect();
    run(&kernel(replaced), line(1, 128), &input, 64 * COLUMNS)
}

/// The largest difference from A B^T.
fn off(out: &[u32]) -> f64 {
    let numbers = numbers();
    let row = |row: usize| &numbers[row * DEPTH..][..DEPTH];
    let pairs = (0..64).flat_map(|i| (0..COLUMNS).map(move |j| (i, j)));
    let differences = pairs.map(|(i, j)| {
        let exact: f64 = row(i).iter().zip(row(64 + j)).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
        (f64::from(f32::from_bits(out[i * COLUMNS + j])) - exact).abs()
    });
    differences.fold(0.0, f64::max)
}

#[test]
fn a_product_of_a_warpgroup() {
    let out = outcome(&[]).unwrap_or_else(|e| panic!("{e}"));
    let worst = off(&out);
    assert!(worst < 4e-6, "{worst}");
}

#[test]
fn sums_that_are_replaced_need_not_be_there() {
    // The first product takes the sums' place, whatever they hold; then the second adds.
    let zero = "mov.f32 %d3, 0f00000000;";
    let first = "setp.eq.u32 %adds, 0, 0;";
    let second = "add.u64 %b, %b, 2;";
    let out = outcome(&[
        (zero, ""),
        (first, "setp.ne.u32 %adds, 0, 0;"),
        (second, "add.u64 %b, %b, 2; setp.eq.u32 %adds, 0, 0;"),
    ]);
    let worst = off(&out.unwrap_or_else(|e| panic!("{e}")));
    assert!(worst < 4e-6, "{worst}");
    assert!(matches!(fault(outcome(&[(zero, "")])), FaultKind::BadWgmma { what } if what.contains("sum 3")));
}

#[test]
fn what_was_written_is_fenced_before_the_barrier() {
    let fence = "fence.proxy.async.shared::cta;";
    let barrier = "bar.sync 0;\n    setp.eq";
    let missing = fault(outcome(&[(fence, "")]));
    assert!(matches!(missing, FaultKind::NoProxyFence { line, .. } if line > 0), "{missing:?}");
    // Behind the barrier the other warps do not know of it.
    let late = fault(outcome(&[(fence, ""), (barrier, "bar.sync 0; fence.proxy.async.shared::cta;\n    setp.eq")]));
    assert!(matches!(late, FaultKind::NoProxyFence { .. }), "{late:?}");
    // Ahead of the copies' arrival it does not cover them.
    let wait = "cp.async.wait_all;\n    fence.proxy.async.shared::cta;";
    let early = fault(outcome(&[(wait, "fence.proxy.async.shared::cta; cp.async.wait_all;")]));
    assert!(matches!(early, FaultKind::NoProxyFence { .. }), "{early:?}");
}

#[test]
fn sums_and_operands_are_left_alone_until_the_wait() {
    let wait = "wgmma.wait_group.sync.aligned 0;";
    let read = fault(outcome(&[(wait, "add.f32 %d1, %d0, %d0; wgmma.wait_group.sync.aligned 0;")]));
    assert!(matches!(&read, FaultKind::WgmmaInFlight { register } if register == "%d0"), "{read:?}");
    let write = fault(outcome(&[(wait, "mov.f32 %d2, 0f00000000; wgmma.wait_group.sync.aligned 0;")]));
    assert!(matches!(&write, FaultKind::WgmmaInFlight { register } if register == "%d2"), "{write:?}");
    // A group that may still be under way.
    let kept = fault(outcome(&[(wait, "wgmma.wait_group.sync.aligned 1;")]));
    assert!(matches!(kept, FaultKind::WgmmaInFlight { .. }), "{kept:?}");
    // Other warps read a row until their own wait.
    let barrier = "wgmma.wait_group.sync.aligned 0;\n    bar.sync 0;\n    st.shared.u32 [%to], %t;";
    let race = fault(outcome(&[(barrier, "wgmma.wait_group.sync.aligned 0;\n    st.shared.u32 [%to], %t;")]));
    assert!(matches!(race, FaultKind::Race { .. }), "{race:?}");
    let early = "bar.sync 0; st.shared.u32 [%to], %t; wgmma.wait_group.sync.aligned 0;";
    let race = fault(outcome(&[(barrier, early)]));
    assert!(matches!(race, FaultKind::Race { .. } | FaultKind::NoProxyFence { .. }), "{race:?}");
}

#[test]
fn a_product_that_hardware_would_not_do_as_meant() {
    let said = |replaced: &[(&str, &str)], expected: &str| match fault(outcome(replaced)) {
        FaultKind::BadWgmma { what } => assert!(what.contains(expected), "{what}"),
        other => panic!("{expected}: {other:?}"),
    };
    said(&[("wgmma.fence.sync.aligned;", "")], "no wgmma.fence");
    said(&[("0x4000004000010000", "0x8000004000010000")], "128-byte swizzle");
    said(&[("0x4000004000010000", "0x4002004000010000")], "base offset");
    let alone = "setp.lt.u32 %copies, %t, 96; @!%copies bra.uni WAITED; wgmma.fence.sync.aligned;";
    let wait = "wgmma.wait_group.sync.aligned 0;";
    said(&[("wgmma.fence.sync.aligned;", alone), (wait, "wgmma.wait_group.sync.aligned 0; WAITED:")], "all four warps");
    let commit = "wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n    bar.sync 0;\n    st.shared.u32 [%to], %t;";
    said(&[(commit, "bar.sync 0; ret;")], "ends before");
    // Eight rows 2048 bytes apart in place of 1024: behind what was written.
    let strides = fault(outcome(&[("0x4000004000010000", "0x4000008000010000")]));
    assert!(matches!(strides, FaultKind::UninitialisedMemory { access: "wgmma from shared", .. }), "{strides:?}");
}
