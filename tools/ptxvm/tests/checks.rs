//! Every rule of the checker: a small kernel with the bug, and its corrected twin.

mod common;

use common::{HEADER, fault, line, run};
use ptxvm::{Checks, Error, FaultKind, Launch, Machine, Module};

/// A kernel with the usual registers: `%in`, `%out` (pointers), `%t` (thread), `%w` (warp), `%a` (address of this
/// thread's word in `s`, a static array of 4 KiB).
fn kernel(body: &str) -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .shared .align 1024 .b8 s[4096];
    .reg .u64 %in, %out, %x; .reg .u32 %t, %w, %a, %b, %i; .reg .b32 %r<8>; .reg .f32 %f<8>; .reg .pred %p, %q; .reg .b16 %h;
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    mov.u32 %t, %tid.x;
    shr.u32 %w, %t, 5;
    mov.u32 %a, s;
    mad.lo.u32 %a, %t, 4, %a;
    {body}
    ret;
}}"
    )
}

/// Runs both; the fault of the first is returned, the second must pass.
fn twins(launch: Launch, faulty: &str, correct: &str) -> FaultKind {
    let input: Vec<u32> = (0..256).collect();
    run(&kernel(correct), launch, &input, 256).unwrap_or_else(|e| panic!("the corrected kernel fails: {e}"));
    fault(run(&kernel(faulty), launch, &input, 256))
}

#[test]
fn global_bounds() {
    let kind = twins(
        line(1, 64),
        "mad.wide.u32 %x, %t, 20, %in; ld.global.u32 %r0, [%x];",
        "mad.wide.u32 %x, %t, 16, %in; ld.global.u32 %r0, [%x];",
    );
    let FaultKind::OutOfBounds { access, bytes: 4, nearest, .. } = kind else { panic!("{kind:?}") };
    assert!(
        access == "load from global" && nearest.contains("1040 bytes after the start of a buffer of 1024"),
        "{nearest}"
    );
    let store = twins(line(1, 32), "st.global.u32 [%out+-4], %t;", "st.global.u32 [%out], 7;");
    assert!(matches!(store, FaultKind::OutOfBounds { access: "store to global", .. }));
    // The whole access must lie in the buffer, not only its first byte.
    let tail = twins(
        line(1, 1),
        "ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [%in+1024];",
        "ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [%in+1008];",
    );
    assert!(matches!(tail, FaultKind::OutOfBounds { bytes: 16, .. }));
}

#[test]
fn shared_and_param_bounds() {
    let kind = twins(line(1, 32), "st.shared.u32 [%a+4096], 1;", "st.shared.u32 [%a+3968], 1;");
    assert!(matches!(kind, FaultKind::OutOfBounds { access: "store to shared", .. }));
    let zero = twins(
        line(1, 32),
        "mov.u32 %a, 0; ld.shared.u32 %r0, [%a];",
        "st.shared.u32 [%a], %t; ld.shared.u32 %r0, [%a];",
    );
    assert!(matches!(zero, FaultKind::OutOfBounds { access: "load from shared", .. }));
    let param = twins(line(1, 1), "ld.param.u64 %x, [pout+8];", "ld.param.u64 %x, [pin+8];");
    assert!(matches!(param, FaultKind::OutOfBounds { access: "load from param", .. }));
}

#[test]
fn alignment() {
    let kind = twins(line(1, 1), "ld.global.u32 %r0, [%in+2];", "ld.global.u16 %r0, [%in+2];");
    assert!(matches!(kind, FaultKind::Misaligned { align: 4, .. }));
    let v4 = twins(line(1, 1), "ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [%in+8];", "ld.global.v2.u32 {%r0,%r1}, [%in+8];");
    assert!(matches!(v4, FaultKind::Misaligned { align: 16, .. }));
    let copy = twins(
        line(1, 1),
        "cp.async.cg.shared.global [%a], [%in+8], 16; cp.async.wait_all;",
        "cp.async.ca.shared.global [%a], [%in+8], 8; cp.async.wait_all;",
    );
    assert!(matches!(copy, FaultKind::Misaligned { access: "cp.async from global", align: 16, .. }));
    let copy = twins(
        line(1, 1),
        "cp.async.cg.shared.global [%a+4], [%in], 16; cp.async.wait_all;",
        "cp.async.cg.shared.global [%a+16], [%in], 16; cp.async.wait_all;",
    );
    assert!(matches!(copy, FaultKind::Misaligned { access: "cp.async to shared", align: 16, .. }));
    let rows = "mov.u32 %a, s; mad.lo.u32 %b, %t, 16, %a; st.shared.v4.u32 [%b], {%t, %t, %t, %t}; bar.sync 0;";
    let matrix = twins(
        line(1, 32),
        &format!("{rows} mad.lo.u32 %b, %t, 8, %a; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r0}}, [%b];"),
        &format!("{rows} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r0}}, [%b];"),
    );
    assert!(matches!(matrix, FaultKind::Misaligned { access: "ldmatrix from shared", align: 16, .. }));
}

#[test]
fn uninitialised_registers() {
    let kind = twins(line(1, 32), "add.u32 %r0, %r1, 1;", "mov.b32 %r1, 0; add.u32 %r0, %r1, 1;");
    assert_eq!(kind, FaultKind::UninitialisedRegister { register: "%r1".into() });
    // Written in some lanes only.
    let kind = twins(
        line(1, 32),
        "setp.lt.u32 %p, %t, 7; @%p mov.b32 %r1, 0; add.u32 %r0, %r1, 1;",
        "setp.lt.u32 %p, %t, 7; @%p mov.b32 %r1, 0; @%p add.u32 %r0, %r1, 1;",
    );
    assert_eq!(kind, FaultKind::UninitialisedRegister { register: "%r1".into() });
    let kind = twins(line(1, 32), "@%p mov.b32 %r1, 0;", "setp.eq.u32 %p, %t, 0; @%p mov.b32 %r1, 0;");
    assert_eq!(kind, FaultKind::UninitialisedRegister { register: "%p".into() });
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};";
    let zero: String = (0..6).map(|i| format!("mov.b32 %r{i}, 0; ")).collect();
    let acc = "mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0;";
    let kind = twins(line(1, 32), &format!("{zero}{acc}{mma}"), &format!("{zero}{acc} mov.f32 %f3, %f0; {mma}"));
    assert_eq!(kind, FaultKind::UninitialisedRegister { register: "%f3".into() });
}

#[test]
fn uninitialised_memory() {
    let kind = twins(line(1, 32), "ld.global.u32 %r0, [%out];", "st.global.u32 [%out], 1; ld.global.u32 %r0, [%out];");
    assert!(matches!(kind, FaultKind::UninitialisedMemory { access: "load from global", .. }));
    let kind = twins(line(1, 32), "ld.shared.u32 %r0, [%a];", "st.shared.u32 [%a], %t; ld.shared.u32 %r0, [%a];");
    assert!(matches!(kind, FaultKind::UninitialisedMemory { access: "load from shared", .. }));
    // Byte by byte: three of four bytes are not enough.
    let three = "mov.b16 %h, 1; st.shared.b8 [%a], %h; st.shared.b16 [%a+2], %h;";
    let kind = twins(
        line(1, 32),
        &format!("{three} ld.shared.u32 %r0, [%a];"),
        &format!("{three} st.shared.b8 [%a+1], %h; ld.shared.u32 %r0, [%a];"),
    );
    assert!(matches!(kind, FaultKind::UninitialisedMemory { bytes: 4, .. }));
    let kind = twins(
        line(1, 1),
        "cp.async.cg.shared.global [%a], [%out], 16; cp.async.wait_all;",
        "cp.async.cg.shared.global [%a], [%in], 16; cp.async.wait_all;",
    );
    assert!(matches!(kind, FaultKind::UninitialisedMemory { access: "cp.async from global", .. }));
    let kind =
        twins(line(1, 1), "red.global.add.u32 [%out], 1;", "st.global.u32 [%out], 0; red.global.add.u32 [%out], 1;");
    assert!(matches!(kind, FaultKind::UninitialisedMemory { access: "atomic on global", .. }));
}

#[test]
fn races_between_warps() {
    // Write, then read another warp's word.
    let store = "st.shared.u32 [%a], %t;";
    let read = "xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b];";
    let kind = twins(line(1, 64), &format!("{store} {read}"), &format!("{store} bar.sync 0; {read}"));
    assert!(matches!(kind, FaultKind::UninitialisedMemory { .. }), "warp 0 reads before warp 1 has written: {kind:?}");
    let zero = "st.shared.u32 [%a], 0; bar.sync 0;";
    let kind = twins(line(1, 64), &format!("{zero} {store} {read}"), &format!("{zero} {store} bar.sync 0; {read}"));
    let FaultKind::Race { space: "shared", this, other, line: at, thread, .. } = kind else { panic!("{kind:?}") };
    assert_eq!((this, other), ("write", "read"));
    assert!(thread < 64);
    assert!(at > 0);
    // Read, then another warp writes: the barrier after the reads is missing.
    let kind = twins(
        line(1, 64),
        &format!("{store} bar.sync 0; {read} st.shared.u32 [%a], 5;"),
        &format!("{store} bar.sync 0; {read} bar.sync 0; st.shared.u32 [%a], 5;"),
    );
    assert!(matches!(kind, FaultKind::Race { .. }), "{kind:?}");
    // Both write, different values; equal values do no harm.
    let kind = twins(line(1, 64), "st.shared.u32 [s], %w;", "st.shared.u32 [s], 3;");
    assert!(matches!(kind, FaultKind::Race { this: "write", other: "write", .. }));
    // Halves of one word by different threads are no race.
    let half = "mov.u32 %b, s; mad.lo.u32 %b, %t, 2, %b; mov.b16 %h, 1; st.shared.b16 [%b], %h;";
    twins(line(1, 64), "ld.shared.u32 %r0, [%a];", half);
}

#[test]
fn races_within_a_warp() {
    let kind = twins(
        line(1, 32),
        "st.shared.u32 [%a], %t; xor.b32 %b, %a, 4; ld.shared.u32 %r0, [%b];",
        "st.shared.u32 [%a], %t; bar.warp.sync -1; xor.b32 %b, %a, 4; ld.shared.u32 %r0, [%b];",
    );
    assert!(matches!(kind, FaultKind::Race { this: "read", other: "write", .. }));
    let kind = twins(line(1, 32), "st.shared.u32 [s], %t;", "st.shared.u32 [%a], %t;");
    assert!(matches!(kind, FaultKind::Race { this: "write", other: "write", .. }));
}

#[test]
fn races_with_partial_barriers() {
    // Three warps. 0 and 1 meet at barrier 1; 2 has met nobody, so what 1 wrote is not safe for it.
    let body = |third: &str| {
        format!(
            "st.shared.u32 [%a], 0; bar.sync 0; setp.eq.u32 %p, %w, 2; @%p bra THIRD;
            st.shared.u32 [%a], %t; bar.sync 1, 64; bar.arrive 2, 96; bra END;
            THIRD: {third} ld.shared.u32 %r0, [%a+-128]; END:"
        )
    };
    let kind = twins(line(1, 96), &body("bar.arrive 2, 96;"), &body("bar.sync 2, 96;"));
    assert!(matches!(kind, FaultKind::Race { .. }));
}

#[test]
fn atomics_race_with_plain_accesses_only() {
    let zero = "setp.eq.u32 %p, %t, 0; @%p st.shared.u32 [s], 0; bar.sync 0;";
    let kind = twins(
        line(1, 64),
        &format!("{zero} red.shared.add.u32 [s], 1; ld.shared.u32 %r0, [s];"),
        &format!("{zero} red.shared.add.u32 [s], 1; bar.sync 0; ld.shared.u32 %r0, [s];"),
    );
    assert!(matches!(kind, FaultKind::Race { .. }));
}

#[test]
fn races_between_ctas() {
    let pointer = "mov.u32 %i, %ctaid.x; mad.lo.u32 %b, %i, 64, %t; mad.wide.u32 %x, %b, 4, %out;";
    // The second CTA overwrites what the first has written.
    let kind = twins(
        line(2, 64),
        "mov.u32 %i, %ctaid.x; mad.wide.u32 %x, %t, 4, %out; st.global.u32 [%x], %i;",
        &format!("{pointer} st.global.u32 [%x], %i;"),
    );
    let FaultKind::CtaRace { this: "write", other: "write", by, .. } = kind else { panic!("{kind:?}") };
    assert_eq!(by, "CTA 0");
    // A CTA reads what the one before it has written, and one after it will write.
    let own = format!("{pointer} st.global.u32 [%x], %i; ld.global.u32 %r0, [%x];");
    let before = own.replace("ld.global", "setp.gt.u32 %p, %i, 0; @%p ld.global").replace("[%x];", "[%x+-256];");
    let kind = twins(line(3, 64), &before, &own);
    assert!(matches!(kind, FaultKind::CtaRace { this: "read", other: "write", .. }), "{kind:?}");
    let next = "setp.lt.u32 %p, %i, 2; @%p ld.global.u32 %r0, [%y+256];";
    let y = "mad.wide.u32 %y, %b, 4, %in;";
    let update = format!(".reg .u64 %y; {pointer} {y} {{}} st.global.u32 [%y], %i;");
    let kind = twins(line(3, 64), &update.replace("{}", next), &update.replace("{}", "ld.global.u32 %r0, [%y];"));
    assert!(matches!(kind, FaultKind::CtaRace { this: "write", other: "read", .. }), "{kind:?}");
    // Halves of one word by different CTAs are no race; equal values harm nobody.
    let half = "mov.u32 %i, %ctaid.x; mad.lo.u32 %b, %t, 2, %i; mad.wide.u32 %x, %b, 2, %out; mov.b16 %h, 1; st.global.b16 [%x], %h;";
    twins(line(2, 64), "mad.wide.u32 %x, %t, 4, %in; mov.u32 %i, %ctaid.x; st.global.u32 [%x], %i;", half);
    // `.nc` promises that nobody writes, not even this CTA.
    let kind = twins(
        line(2, 64),
        &format!("{pointer} st.global.u32 [%x], %i; bar.sync 0; ld.global.nc.u32 %r0, [%x];"),
        &format!("{pointer} st.global.u32 [%x], %i; bar.sync 0; ld.global.u32 %r0, [%x];"),
    );
    assert!(matches!(kind, FaultKind::CtaRace { this: "read", other: "write", .. }), "{kind:?}");
}

/// Three CTAs write 64 words each, count themselves, and the last one adds up all of them: `before` and `behind` stand
/// around the count by thread 0, `last` before the sums.
fn last_cta(before: &str, count: &str, behind: &str, last: &str) -> String {
    format!(
        ".reg .u64 %y;
    mov.u32 %i, %ctaid.x;
    mad.lo.u32 %b, %i, 64, %t;
    mad.wide.u32 %x, %b, 4, %out;
    st.global.u32 [%x], %b;
    {before}
    setp.ne.u32 %p, %t, 0;
    @%p bra COUNTED;
    {count}
    st.shared.u32 [%a], %r0;
COUNTED:
    {behind}
    ld.shared.u32 %r0, [s];
    setp.ne.u32 %p, %r0, 2;
    @%p bra END;
    {last}
    mad.wide.u32 %y, %t, 4, %out;
    ld.global.u32 %r1, [%y];
    ld.global.u32 %r2, [%y+256];
    ld.global.u32 %r3, [%y+512];
    add.u32 %r1, %r1, %r2;
    add.u32 %r1, %r1, %r3;
    st.global.u32 [%y+768], %r1;
END:"
    )
}

#[test]
fn data_handed_over_between_ctas() {
    const COUNT: &str = "atom.global.inc.u32 %r0, [%in], 2;";
    let all = ["membar.gl; bar.sync 0;", COUNT, "bar.sync 0;", "membar.gl;"];
    let passes = |[before, count, behind, last]: [&str; 4]| {
        let input: Vec<u32> = (0..256).collect();
        let text = kernel(&last_cta(before, count, behind, last));
        let out =
            run(&text, line(3, 64), &input, 256).unwrap_or_else(|e| panic!("{before} {count} {behind} {last}: {e}"));
        assert!((0..64).all(|t| out[192 + t as usize] == 3 * t + 192));
    };
    passes(all);
    // One thread fences for all, behind a barrier and before the next one.
    let fence = "fence.acq_rel.gpu;";
    passes(["bar.sync 0;", &format!("{fence} {COUNT} {fence}"), "bar.sync 0;", ""]);
    passes(["bar.sync 0;", "atom.acq_rel.gpu.global.inc.u32 %r0, [%in], 2;", "bar.sync 0;", ""]);

    let fails = |what: &str, parts: [&str; 4]| {
        let [before, count, behind, last] = parts;
        let kind =
            twins(line(3, 64), &last_cta(before, count, behind, last), &last_cta(all[0], all[1], all[2], all[3]));
        let FaultKind::CtaRace { this: "read", other: "write", .. } = kind else { panic!("{what}: {kind:?}") };
    };
    let [before, count, behind, last] = all;
    fails("no fence before the count", ["bar.sync 0;", count, behind, last]);
    fails("no fence behind the count", [before, count, behind, ""]);
    fails("no barrier before the count", ["membar.gl;", count, behind, last]);
    fails("fences of the CTA alone", ["membar.cta; bar.sync 0;", count, behind, last]);
    fails("a count of the CTA alone", [before, "atom.cta.global.inc.u32 %r0, [%in], 2;", behind, last]);
    fails("a write behind the fence", ["membar.gl; st.global.u32 [%x], %t; bar.sync 0;", count, behind, last]);
    fails(
        "an atomic that only releases",
        ["bar.sync 0;", "atom.release.gpu.global.inc.u32 %r0, [%in], 2;", behind, ""],
    );
    fails("a fence that serves its own thread only", ["fence.acq_rel.gpu; bar.sync 0;", count, behind, last]);
}

#[test]
fn flags_between_ctas() {
    // CTA 0 writes words and raises a flag, CTA 1 sees it and reads them; they run in this order here.
    let hand_over = |write: &str, read: &str| {
        format!(
            "mov.u32 %i, %ctaid.x;
    mad.wide.u32 %x, %t, 4, %out;
    setp.ne.u32 %p, %i, 0;
    @%p bra READ;
    st.global.u32 [%x], %t;
    bar.sync 0;
    setp.ne.u32 %p, %t, 0;
    @%p bra END;
    {write}
    bra END;
READ:
    {read}
    ld.global.u32 %r1, [%x];
END:"
        )
    };
    let (release, acquire) = ("st.release.gpu.global.u32 [%in], 1;", "ld.acquire.gpu.global.u32 %r0, [%in];");
    let (set, look) = ("st.relaxed.gpu.global.u32 [%in], 1;", "ld.relaxed.gpu.global.u32 %r0, [%in];");
    let right = hand_over(release, acquire);
    for wrong in
        [hand_over(set, acquire), hand_over(release, look), hand_over(set, "ld.volatile.global.u32 %r0, [%in];")]
    {
        let kind = twins(line(2, 64), &wrong, &right);
        assert!(matches!(kind, FaultKind::CtaRace { this: "read", other: "write", .. }), "{kind:?}");
    }
    let fences = hand_over(&format!("fence.sc.gpu; {set}"), &format!("{look} fence.sc.gpu;"));
    twins(line(2, 64), &hand_over(set, look), &fences);
    // A later write to the flag that releases nothing hides the first one.
    let again = format!("{release} {set}");
    twins(line(2, 64), &hand_over(&again, acquire), &right);
}

#[test]
fn missing_waits_of_cp_async() {
    let issue = "cp.async.ca.shared.global [%a], [%in], 4; cp.async.commit_group;";
    let kind = twins(
        line(1, 32),
        &format!("{issue} ld.shared.u32 %r0, [%a];"),
        &format!("{issue} cp.async.wait_group 0; ld.shared.u32 %r0, [%a];"),
    );
    assert!(matches!(kind, FaultKind::AsyncInFlight { access: "load from shared", .. }));
    // One group too many stays in flight.
    let two = format!("{issue} cp.async.ca.shared.global [%a+1024], [%in], 4; cp.async.commit_group;");
    let kind = twins(
        line(1, 32),
        &format!("{two} cp.async.wait_group 1; ld.shared.u32 %r0, [%a+1024];"),
        &format!("{two} cp.async.wait_group 1; ld.shared.u32 %r0, [%a];"),
    );
    assert!(matches!(kind, FaultKind::AsyncInFlight { .. }));
    // Without a commit the copy belongs to no group.
    let kind = twins(
        line(1, 32),
        "cp.async.ca.shared.global [%a], [%in], 4; cp.async.wait_group 0; ld.shared.u32 %r0, [%a];",
        "cp.async.ca.shared.global [%a], [%in], 4; cp.async.wait_all; ld.shared.u32 %r0, [%a];",
    );
    assert!(matches!(kind, FaultKind::AsyncInFlight { .. }));
    // A store meets a copy in flight.
    let kind = twins(
        line(1, 32),
        &format!("{issue} st.shared.u32 [%a], 1;"),
        &format!("{issue} cp.async.wait_all; st.shared.u32 [%a], 1;"),
    );
    assert!(matches!(kind, FaultKind::AsyncInFlight { access: "store to shared", .. }));
    // The wait covers the thread's own copies only: others need the barrier too.
    let wait = format!("{issue} cp.async.wait_all;");
    let read = "xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b];";
    let kind = twins(line(1, 64), &format!("{wait} {read}"), &format!("{wait} bar.sync 0; {read}"));
    assert!(matches!(kind, FaultKind::UninitialisedMemory { .. } | FaultKind::Race { .. }), "{kind:?}");
    let before = format!("st.shared.u32 [%a], 0; bar.sync 0; {wait}");
    let kind = twins(line(1, 64), &format!("{before} {read}"), &format!("{before} bar.sync 0; {read}"));
    assert!(matches!(kind, FaultKind::Race { .. }), "{kind:?}");
    // A ring slot refilled while others may still read it.
    let ring = format!("st.shared.u32 [%a], 0; bar.sync 0; {read}");
    let kind = twins(line(1, 64), &format!("{ring} {wait}"), &format!("{ring} bar.sync 0; {wait}"));
    assert!(matches!(kind, FaultKind::Race { .. } | FaultKind::AsyncInFlight { .. }), "{kind:?}");
}

#[test]
fn divergent_barriers() {
    let kind = twins(
        line(1, 64),
        "setp.lt.u32 %p, %t, 16; @%p bra SKIP; bar.sync 0; SKIP:",
        "setp.lt.u32 %p, %t, 16; @%p bra SKIP; mov.b32 %r0, 0; SKIP: bar.sync 0;",
    );
    assert!(matches!(kind, FaultKind::Divergent { instruction: "bar", mask: 0xffff_0000, .. }));
    let kind =
        twins(line(1, 64), "setp.lt.u32 %p, %t, 16; @%p bar.sync 0;", "setp.lt.u32 %p, %t, 32; @%p bar.sync 1, 32;");
    assert!(matches!(kind, FaultKind::Divergent { instruction: "bar", mask: 0xffff, .. }));
}

#[test]
fn barriers_that_never_complete() {
    let kind = twins(
        line(1, 64),
        "setp.eq.u32 %p, %w, 1; @%p ret; bar.sync 0;",
        "setp.eq.u32 %p, %w, 1; @%p ret; bar.sync 0, 32;",
    );
    let FaultKind::BarrierHang { barrier: 0, expected: 64, arrived: 32, why } = kind else { panic!("{kind:?}") };
    assert!(why.contains("warps 1 have exited"), "{why}");
    let kind = twins(line(1, 64), "bar.sync %w;", "mov.u32 %b, 3; bar.sync %b;");
    assert!(matches!(kind, FaultKind::BarrierHang { .. }));
    let kind = twins(line(1, 64), "bar.sync 1, 96;", "bar.sync 1, 64;");
    assert!(matches!(kind, FaultKind::BarrierHang { expected: 96, arrived: 64, .. }));
}

#[test]
fn misused_barriers() {
    let kind = twins(line(1, 64), "bar.sync %t;", "bar.sync 15;");
    assert!(matches!(kind, FaultKind::BadBarrier { .. }));
    let kind = twins(line(1, 64), "mov.u32 %b, 40; bar.sync 0, %b;", "mov.u32 %b, 64; bar.sync 0, %b;");
    assert!(matches!(kind, FaultKind::BadBarrier { .. }));
    let kind = twins(line(1, 64), "mad.lo.u32 %b, %w, 32, 64; bar.sync 0, %b;", "mov.u32 %b, 32; bar.sync %w, %b;");
    assert!(matches!(kind, FaultKind::BadBarrier { .. }));
}

#[test]
fn aligned_instructions_need_the_whole_warp() {
    let stage = "st.shared.v4.u32 [s], {%t, %t, %t, %t};".replace("[s]", "[%b]");
    let rows = format!("mov.u32 %b, s; mad.lo.u32 %b, %t, 16, %b; {stage} bar.warp.sync -1;");
    let load = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%b];";
    let kind = twins(
        line(1, 32),
        &format!("{rows} setp.lt.u32 %p, %t, 30; @!%p bra OUT; {load} OUT:"),
        &format!("{rows} setp.lt.u32 %p, %t, 32; @!%p bra OUT; {load} OUT:"),
    );
    assert!(matches!(kind, FaultKind::Divergent { instruction: "ldmatrix", mask: 0x3fff_ffff, .. }));
    let zero: String = (0..6).map(|i| format!("mov.b32 %r{i}, 0; ")).collect();
    let acc = "mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;";
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};";
    let guarded = format!("{zero}{acc} setp.lt.u32 %p, %t, 40; @%p {mma}");
    let plain = format!("{zero}{acc} {mma}");
    let kind = twins(line(1, 64), &guarded, &plain);
    assert!(matches!(kind, FaultKind::Divergent { instruction: "mma", mask: 0xff, .. }));
    // A warp that the block does not fill.
    let partial = fault(run(&kernel(&plain), line(1, 48), &[0], 1));
    assert!(matches!(partial, FaultKind::Divergent { instruction: "mma", mask: 0xffff, .. }));
    let kind = twins(
        line(1, 32),
        "setp.lt.u32 %p, %t, 16; @%p bra.uni UP; UP:",
        "setp.lt.u32 %p, %t, 32; @%p bra.uni UP; UP:",
    );
    assert!(matches!(kind, FaultKind::Divergent { instruction: "bra.uni", .. }));
}

#[test]
fn member_masks_must_match() {
    let kind = twins(
        line(1, 32),
        "setp.lt.u32 %p, %t, 16; @%p shfl.sync.bfly.b32 %r0, %t, 1, 0x1f, -1;",
        "setp.lt.u32 %p, %t, 16; @%p shfl.sync.bfly.b32 %r0, %t, 1, 0x1f, 0xffff;",
    );
    assert_eq!(kind, FaultKind::MemberMask { instruction: "shfl", members: u32::MAX, mask: 0xffff });
    let kind = twins(
        line(1, 32),
        "shfl.sync.bfly.b32 %r0, %t, 1, 0x1f, 0xffff;",
        "shfl.sync.bfly.b32 %r0, %t, 1, 0x1f, 0xffffffff;",
    );
    assert!(matches!(kind, FaultKind::MemberMask { .. }));
    let kind = twins(
        line(1, 32),
        "setp.lt.u32 %p, %t, 16; @%p shfl.sync.bfly.b32 %r0, %t, 16, 0x1f, 0xffff;",
        "setp.lt.u32 %p, %t, 16; @%p shfl.sync.bfly.b32 %r0, %t, 8, 0x1f, 0xffff;",
    );
    assert_eq!(kind, FaultKind::ShuffleSource { source_lane: 16 });
}

#[test]
fn endless_loops_and_missing_ends() {
    let kind = twins(line(1, 32), "UP: bra UP;", "bra UP; UP:");
    assert_eq!(kind, FaultKind::Budget { budget: 1 << 20 });
    let text = format!("{HEADER}.visible .entry k(.param .u64 a, .param .u64 b) {{ .reg .u32 %r; mov.u32 %r, 0; }}");
    assert_eq!(fault(run(&text, line(1, 32), &[0], 1)), FaultKind::NoReturn);
    assert_eq!(twins(line(1, 32), "trap;", "bra UP; trap; UP:"), FaultKind::Trap);
}

#[test]
fn constants_are_read_only() {
    let text = |space: &str| {
        format!(
            "{HEADER}.{space} .align 4 .u32 v[4] = {{1, 2, 3, 4}};
.visible .entry k(.param .u64 a, .param .u64 b) {{ .reg .u64 %x; mov.u64 %x, v; st.global.u32 [%x], 5; ret; }}"
        )
    };
    run(&text("global"), line(1, 1), &[0], 1).unwrap();
    assert!(matches!(fault(run(&text("const"), line(1, 1), &[0], 1)), FaultKind::ReadOnly { .. }));
}

#[test]
fn a_fault_says_where_it_happened() {
    let text = kernel(
        "mov.u32 %b, %ctaid.y; mad.lo.u32 %b, %b, 1020, %t; mad.wide.u32 %x, %b, 4, %in;\n    ld.global.u32 %r0, [%x]; // here",
    );
    let module = Module::parse(&text).unwrap();
    for threads in [1, 4] {
        let mut gpu = Machine::new().threads(threads);
        let a = gpu.alloc(4096).unwrap();
        gpu.write(a, &[0; 4096]).unwrap();
        let launch = Launch { grid: [1, 9, 2], block: [8, 8, 1], shared_bytes: 0 };
        let params = [a.to_le_bytes(), a.to_le_bytes()].concat();
        let Err(Error::Fault(fault)) = gpu.launch(&module, "k", launch, &params) else { panic!("no fault") };
        // Of all CTAs that fail, the first one is reported, whatever the number of host threads.
        assert_eq!((fault.cta, fault.thread, fault.entry.as_str()), ([0, 1, 0], [4, 0, 0], "k"));
        assert_eq!(fault.text, "ld.global.u32 %r0, [%x]; // here");
        let at = text.lines().position(|l| l.contains("// here")).unwrap() + 1;
        assert_eq!(fault.line as usize, at);
        let message = fault.to_string();
        assert!(
            message.starts_with(&format!("k, line {at}, CTA (0,1,0), thread (4,0,0): load from global of 4 bytes")),
            "{message}"
        );
    }
}

#[test]
fn fast_mode_still_checks_bounds() {
    let module = Module::parse(&kernel("ld.global.u32 %r0, [%in+4096];")).unwrap();
    let mut gpu = Machine::new().checks(Checks::Fast);
    let a = gpu.alloc(4096).unwrap();
    let params = [a.to_le_bytes(), a.to_le_bytes()].concat();
    let result = gpu.launch(&module, "k", line(1, 32), &params);
    assert!(matches!(result, Err(Error::Fault(f)) if matches!(f.kind, FaultKind::OutOfBounds { .. })));
}

/// A grid may start before those ahead have ended: what they write is there behind the wait, for each thread its own.
#[test]
fn grids_ahead_are_waited_for() {
    let wait = "griddepcontrol.wait; griddepcontrol.launch_dependents;";
    let uses = [
        ("load from global", "ld.global.u32 %r0, [%in];"),
        ("store to global", "st.global.u32 [%out], 7;"),
        ("atomic on global", "st.global.u32 [%out], 7; red.global.add.u32 [%out], 1;"),
        ("cp.async from global", "cp.async.ca.shared.global [%a], [%in], 4; cp.async.wait_all;"),
    ];
    let run = |body: &str| {
        let text = kernel(body).replace("7.4", "7.8").replace("sm_80", "sm_90");
        run(&text, line(1, 32), &(0..256).collect::<Vec<u32>>(), 256)
    };
    for (access, body) in uses {
        run(&format!("{wait} {body}")).unwrap_or_else(|e| panic!("{body}: {e}"));
        // The first access of the atomic's kernel is its store.
        let first = if access.starts_with("atomic") { "store to global" } else { access };
        let kind = fault(run(&format!("{body} {wait}")));
        assert!(matches!(kind, FaultKind::BeforeGridWait { access, .. } if access == first), "{body}: {kind:?}");
        // Half of the warp has waited.
        let kind = fault(run(&format!("setp.lt.u32 %p, %t, 16; @%p griddepcontrol.wait; {body}")));
        assert!(matches!(kind, FaultKind::BeforeGridWait { .. }), "{body}: {kind:?}");
    }
    let kind = fault(run(&format!("red.global.add.u32 [%in], 1; {wait}")));
    assert!(matches!(kind, FaultKind::BeforeGridWait { access: "atomic on global", .. }), "{kind:?}");
    // Shared memory is the block's own.
    run(&format!("st.shared.u32 [%a], %t; ld.shared.u32 %r0, [%a]; {wait} ld.global.u32 %r1, [%in];")).unwrap();
}
