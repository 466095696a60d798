//! The text of a small GEMM.

use super::HEADER;

/// C[M,N] = A[M,K] B[N,K]^T in f16 with f32 accumulation. A CTA of two warps has a tile of 32 x 16; warp w its rows
/// 16 w..16 w + 16. K goes by 64: rows of 128 bytes, 16-byte chunks swizzled by the row's low three bits.
pub fn kernel() -> String {
    let mut ks = String::new();
    for step in 0..4 {
        ks += &format!(
            "
    xor.b32 %a, %achunk, {chunk};
    xor.b32 %a, %a, %aswz;
    shl.b32 %a, %a, 4;
    add.u32 %a, %a, %arow;
    add.u32 %a, %a, %stage;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%f0, %f1, %f2, %f3}}, [%a];
    xor.b32 %b, %bchunk, {chunk};
    xor.b32 %b, %b, %bswz;
    shl.b32 %b, %b, 4;
    add.u32 %b, %b, %brow;
    add.u32 %b, %b, %stage;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%g0, %g1, %g2, %g3}}, [%b];
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%c0, %c1, %c2, %c3}}, {{%f0, %f1, %f2, %f3}}, {{%g0, %g1}},
        {{%c0, %c1, %c2, %c3}};
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%d0, %d1, %d2, %d3}}, {{%f0, %f1, %f2, %f3}}, {{%g2, %g3}},
        {{%d0, %d1, %d2, %d3}};",
            chunk = 2 * step
        );
    }
    format!(
        "{HEADER}
.extern .shared .align 128 .b8 smem[];
.visible .entry gemm(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn, .param .u32 pk)
.maxntid 64, 1, 1
{{
    .reg .pred %p<4>;
    .reg .b32 %f<4>, %g<4>;
    .reg .f32 %c<4>, %d<4>;
    .reg .u32 %t, %lane, %warp, %n, %k, %left, %row, %chunk, %dst, %base, %stage, %i, %m0, %n0, %x, %y;
    .reg .b32 %a, %b, %arow, %achunk, %aswz, %brow, %bchunk, %bswz;
    .reg .u64 %A, %B, %C, %src, %ka, %kb;
    ld.param.u64 %A, [pa];
    ld.param.u64 %B, [pb];
    ld.param.u64 %C, [pc];
    ld.param.u32 %n, [pn];
    ld.param.u32 %k, [pk];
    mov.u32 %t, %tid.x;
    and.b32 %lane, %t, 31;
    shr.u32 %warp, %t, 5;
    mov.u32 %m0, %ctaid.y;
    shl.b32 %m0, %m0, 5;
    mov.u32 %n0, %ctaid.x;
    shl.b32 %n0, %n0, 4;
    mov.u32 %base, smem;
    mov.f32 %c0, 0f00000000; mov.f32 %c1, %c0; mov.f32 %c2, %c0; mov.f32 %c3, %c0;
    mov.f32 %d0, %c0; mov.f32 %d1, %c0; mov.f32 %d2, %c0; mov.f32 %d3, %c0;
    // ldmatrix addresses. A: lane -> row l % 16, chunk l / 16. B: two n8 tiles, lane -> row l % 8 + 8 (l / 16), chunk l
    // / 8 % 2.
    and.b32 %a, %lane, 15;
    shl.b32 %x, %warp, 4;
    add.u32 %a, %a, %x;
    and.b32 %aswz, %a, 7;
    shl.b32 %arow, %a, 7;
    shr.u32 %achunk, %lane, 4;
    and.b32 %b, %lane, 7;
    shr.u32 %x, %lane, 4;
    shl.b32 %x, %x, 3;
    or.b32 %b, %b, %x;
    and.b32 %bswz, %b, 7;
    shl.b32 %brow, %b, 7;
    add.u32 %brow, %brow, 4096;
    shr.u32 %bchunk, %lane, 3;
    and.b32 %bchunk, %bchunk, 1;
    mov.u32 %left, %k;
    mov.u32 %stage, %base;
    mov.u64 %ka, %A;
    mov.u64 %kb, %B;
    mov.u32 %y, 0;
    bra.uni LOAD;
AGAIN:
    // The next stage is loaded while this one is computed.
    xor.b32 %y, %y, 1;
LOAD:
    mad.lo.u32 %x, %y, 6144, %base;
    setp.eq.u32 %p0, %left, 0;
    @%p0 bra LOADED;
    mov.u32 %i, %t;
ROWS:
    // 48 rows of 8 chunks: 32 rows of A, 16 of B.
    shr.u32 %row, %i, 3;
    and.b32 %chunk, %i, 7;
    and.b32 %dst, %row, 7;
    xor.b32 %dst, %dst, %chunk;
    shl.b32 %dst, %dst, 4;
    mad.lo.u32 %dst, %row, 128, %dst;
    add.u32 %dst, %dst, %x;
    setp.lt.u32 %p1, %row, 32;
    @!%p1 sub.u32 %row, %row, 32;
    @%p1 add.u32 %row, %row, %m0;
    @!%p1 add.u32 %row, %row, %n0;
    selp.b64 %src, %ka, %kb, %p1;
    mul.lo.u32 %row, %row, %k;
    mad.lo.u32 %row, %chunk, 8, %row;
    mad.wide.u32 %src, %row, 2, %src;
    cp.async.cg.shared.global.L2::128B [%dst], [%src], 16;
    add.u32 %i, %i, 64;
    setp.lt.u32 %p2, %i, 384;
    @%p2 bra ROWS;
    add.u64 %ka, %ka, 128;
    add.u64 %kb, %kb, 128;
LOADED:
    cp.async.commit_group;
    setp.eq.u32 %p3, %left, %k;
    @%p3 bra FIRST;
    cp.async.wait_group 1;
    bar.sync 0;
    {ks}
    bar.sync 0;
    setp.eq.u32 %p0, %left, 0;
    @%p0 bra DONE;
FIRST:
    mov.u32 %stage, %x;
    sub.u32 %left, %left, 64;
    bra.uni AGAIN;
DONE:
    shr.u32 %row, %lane, 2;
    shl.b32 %x, %warp, 4;
    add.u32 %row, %row, %x;
    add.u32 %row, %row, %m0;
    and.b32 %x, %lane, 3;
    shl.b32 %x, %x, 1;
    add.u32 %x, %x, %n0;
    mad.lo.u32 %x, %row, %n, %x;
    mad.wide.u32 %src, %x, 4, %C;
    st.global.v2.f32 [%src], {{%c0, %c1}};
    st.global.v2.f32 [%src+32], {{%d0, %d1}};
    shl.b32 %n, %n, 5;
    cvt.u64.u32 %ka, %n;
    add.u64 %src, %src, %ka;
    st.global.v2.f32 [%src], {{%c2, %c3}};
    st.global.v2.f32 [%src+32], {{%d2, %d3}};
    ret;
}}
"
    )
}
