//! Control flow, exchanges within a warp, barriers within a CTA.

mod common;

use common::{HEADER, check, line, run};
use ptxvm::Launch;

fn lanes(n: u32) -> Vec<[u32; 3]> {
    (0..n).map(|i| [i, i.wrapping_mul(2_654_435_761) >> 7, 3 * i]).collect()
}

#[test]
fn shuffles() {
    let v = lanes(64);
    let r = ".reg .pred %p;";
    let of = |base: u32, lane: u32| (base & !31 | lane).wrapping_mul(2_654_435_761) >> 7;
    check(r, "shfl.sync.bfly.b32 %d|%p, %b, 5, 0x1f, -1; selp.u32 %e, 1, 0, %p;", &v, |[i, ..]| {
        [of(i, (i ^ 5) & 31), 1]
    });
    check(r, "shfl.sync.up.b32 %d|%p, %b, 3, 0, 0xffffffff; selp.u32 %e, 1, 0, %p;", &v, |[i, ..]| {
        let l = i & 31;
        if l >= 3 { [of(i, l - 3), 1] } else { [of(i, l), 0] }
    });
    check(r, "shfl.sync.down.b32 %d|%p, %b, 4, 0x1f, -1; selp.u32 %e, 1, 0, %p;", &v, |[i, ..]| {
        let l = i & 31;
        if l + 4 < 32 { [of(i, l + 4), 1] } else { [of(i, l), 0] }
    });
    check(r, "shfl.sync.idx.b32 %d|%p, %b, %c, 0x1f, -1; selp.u32 %e, 1, 0, %p;", &v, |[i, ..]| {
        [of(i, (3 * i) & 31), 1]
    });
    // Segments of eight lanes: c = (0x18 << 8) | 0x1f.
    check(r, "shfl.sync.down.b32 %d|%p, %b, 2, 0x181f, -1; selp.u32 %e, 1, 0, %p;", &v, |[i, ..]| {
        let l = i & 31;
        if l % 8 + 2 < 8 { [of(i, l + 2), 1] } else { [of(i, l), 0] }
    });
    check(r, "shfl.sync.idx.b32 %d, %b, 0, 0x1c1f, -1;", &v, |[i, ..]| [of(i, i & 28), 0]);
}

#[test]
fn votes_and_reductions() {
    let v = lanes(32);
    let r = ".reg .pred %p, %q; .reg .s32 %s;";
    check(r, "setp.lt.u32 %p, %a, 5; vote.sync.ballot.b32 %d, %p, -1; activemask.b32 %e;", &v, |_| [0x1f, u32::MAX]);
    check(
        r,
        "setp.lt.u32 %p, %a, 5; vote.sync.any.pred %q, %p, -1; selp.u32 %d, 1, 0, %q; vote.sync.all.pred %q, !%p, -1; selp.u32 %e, 1, 0, %q;",
        &v,
        |_| [1, 0],
    );
    check(r, "setp.lt.u32 %p, %a, 99; vote.sync.uni.pred %q, %p, -1; selp.u32 %d, 1, 0, %q;", &v, |_| [1, 0]);
    let (sum, xor) = v.iter().fold((0u32, 0), |(s, x), v| (s.wrapping_add(v[1]), x ^ v[1]));
    check(r, "redux.sync.add.u32 %d, %b, -1; redux.sync.xor.b32 %e, %b, -1;", &v, |_| [sum, xor]);
    check(r, "sub.s32 %s, %a, 10; redux.sync.min.s32 %d, %s, -1; redux.sync.max.u32 %e, %a, -1;", &v, |_| {
        [-10i32 as u32, 31]
    });
}

#[test]
fn nested_divergence_joins_again() {
    // The Collatz length of each lane, then a ballot over all lanes again.
    let v: Vec<[u32; 3]> = (0..64).map(|i| [i + 1, 0, 0]).collect();
    let body = "
LOOP:
        setp.eq.u32 %p, %a, 1;
        @%p bra DONE;
        and.b32 %b, %a, 1;
        setp.eq.u32 %q, %b, 0;
        @%q bra EVEN;
        mad.lo.u32 %a, %a, 3, 1;
        bra NEXT;
EVEN:
        shr.u32 %a, %a, 1;
NEXT:
        add.u32 %d, %d, 1;
        bra.uni LOOP;
DONE:
        vote.sync.ballot.b32 %e, %p, -1;";
    // `bra.uni` is uniform among the lanes that are still in the loop.
    check(".reg .pred %p, %q;", body, &v, |[n, ..]| {
        let (mut n, mut steps) = (n, 0);
        while n != 1 {
            n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        [steps, u32::MAX]
    });
}

#[test]
fn lanes_that_exit_early_leave_the_others() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .reg .u64 %o; .reg .u32 %t, %m; .reg .pred %p;
    ld.param.u64 %o, [pout];
    mov.u32 %t, %tid.x;
    mad.wide.u32 %o, %t, 4, %o;
    st.global.u32 [%o], 1;
    and.b32 %m, %t, 3;
    setp.eq.u32 %p, %m, 1;
    @%p ret;
    setp.eq.u32 %p, %m, 2;
    @%p bra OTHER;
    activemask.b32 %m;
    st.global.u32 [%o], %m;
    exit;
OTHER:
    st.global.u32 [%o], 3;
}}"
    );
    let text = text.replace("    st.global.u32 [%o], 3;\n}", "    st.global.u32 [%o], 3;\n    ret;\n}");
    let out = run(&text, line(1, 40), &[0], 40).unwrap();
    for (i, v) in out.into_iter().enumerate() {
        let mask = if i < 32 { 0x9999_9999 } else { 0x99 };
        assert_eq!(v, [mask, 1, 3, mask][i % 4], "thread {i}");
    }
}

#[test]
fn named_barriers_hand_over_between_warps() {
    // Warps 0 and 1 produce, warps 2 and 3 consume, over barriers 1 (full) and 2 (empty), four rounds.
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) {{
    .shared .u32 s[64];
    .reg .u64 %o; .reg .u32 %t, %i, %v, %a, %w; .reg .pred %p;
    ld.param.u64 %o, [pout];
    mov.u32 %t, %tid.x;
    and.b32 %w, %t, 63;
    mov.u32 %a, s;
    mad.lo.u32 %a, %w, 4, %a;
    mad.wide.u32 %o, %w, 4, %o;
    mov.u32 %i, 0;
    setp.ge.u32 %p, %t, 64;
    @%p bra CONSUME;
PRODUCE:
    mad.lo.u32 %v, %i, 1000, %t;
    st.shared.u32 [%a], %v;
    bar.arrive 1, 128;
    add.u32 %i, %i, 1;
    setp.lt.u32 %p, %i, 4;
    @!%p bra END;
    bar.sync 2, 128;
    bra.uni PRODUCE;
CONSUME:
    bar.sync 1, 128;
    xor.b32 %v, %w, 63;
    sub.u32 %v, %v, %w;
    mad.lo.u32 %v, %v, 4, %a;
    ld.shared.u32 %v, [%v];
    st.global.u32 [%o], %v;
    add.u64 %o, %o, 256;
    add.u32 %i, %i, 1;
    setp.lt.u32 %p, %i, 4;
    @!%p bra END;
    bar.arrive 2, 128;
    bra.uni CONSUME;
END:
    ret;
}}"
    );
    let out = run(&text, line(1, 128), &[0], 256).unwrap();
    for (i, v) in out.into_iter().enumerate() {
        assert_eq!(v as usize, i / 64 * 1000 + 63 - i % 64);
    }
}

#[test]
fn grids_and_blocks_of_three_dimensions() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout) .reqntid 4, 2, 3 {{
    .reg .u64 %o; .reg .u32 %r, %s, %t, %n;
    ld.param.u64 %o, [pout];
    mov.u32 %r, %ctaid.z; mov.u32 %n, %nctaid.y; mov.u32 %s, %ctaid.y; mad.lo.u32 %r, %r, %n, %s;
    mov.u32 %n, %nctaid.x; mov.u32 %s, %ctaid.x; mad.lo.u32 %r, %r, %n, %s;
    mov.u32 %n, %ntid.z; mov.u32 %s, %tid.z; mad.lo.u32 %r, %r, %n, %s;
    mov.u32 %n, %ntid.y; mov.u32 %s, %tid.y; mad.lo.u32 %r, %r, %n, %s;
    mov.u32 %n, %ntid.x; mov.u32 %s, %tid.x; mad.lo.u32 %r, %r, %n, %s;
    mad.wide.u32 %o, %r, 4, %o;
    st.global.u32 [%o], %r;
    ret;
}}"
    );
    let launch = Launch { grid: [3, 2, 2], block: [4, 2, 3], shared_bytes: 0 };
    assert_eq!(run(&text, launch, &[0], 288).unwrap(), (0..288).collect::<Vec<u32>>());
}

#[test]
fn inner_scopes_hide_outer_names() {
    let body = "{ .reg .u32 %d; mov.u32 %d, 5; bra OUT; OUT: add.u32 %e, %d, %a; } { .reg .u32 %z; mov.u32 %z, 9; OUT: add.u32 %d, %z, %a; }";
    check("", body, &[[1, 0, 0], [2, 0, 0]], |[a, ..]| [9 + a, 5 + a]);
}

#[test]
fn counters_of_special_instructions_exist() {
    let body = "membar.cta; fence.acq_rel.gpu; prefetch.global.L2 [%in]; bar.warp.sync -1; nanosleep.u32 20; add.u32 %d, %a, 1;";
    check("", body, &lanes(32), |[a, ..]| [a + 1, 0]);
}
