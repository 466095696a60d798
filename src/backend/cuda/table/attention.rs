//! Rows of `kernels/attention.ptx.j2`.

use super::Kernel;

/// Two stages of keys and values of 64 slots, then the warps' scratch; a row is `2 d + 16` bytes.
const fn shared(d: u32, row: u32, threads: u32) -> u32 {
    let stride = 2 * d + 16;
    let (queries, relative) = (16 * stride, 64 * if row == 16 { 24 } else { 72 });
    256 * stride + threads / 32 * if queries > relative { queries } else { relative }
}

const fn attention(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    tile: &'static str,
    threads: u32,
    shared: u32,
) -> Kernel {
    Kernel { entry, template: "attention", constants, tile, threads, shared, bound: "tensor cores and ex2" }
}

/// One kernel a head dim and row of key slots: 16 for windows and small grids, 64 for the grid of 1024 px.
pub const KERNELS: &[Kernel] = &[
    attention(
        "attention_d64_row16",
        &[("d", 64), ("row", 16), ("blocks", 3)],
        "64 queries x 64 keys, head dim 64",
        128,
        shared(64, 16, 128),
    ),
    attention(
        "attention_d64_row64",
        &[("d", 64), ("row", 64), ("blocks", 1)],
        "128 queries x 64 keys, head dim 64",
        256,
        shared(64, 64, 256),
    ),
    attention(
        "attention_d80_row16",
        &[("d", 80), ("row", 16), ("blocks", 2)],
        "64 queries x 64 keys, head dim 80",
        128,
        shared(80, 16, 128),
    ),
    attention(
        "attention_d80_row64",
        &[("d", 80), ("row", 64), ("blocks", 1)],
        "128 queries x 64 keys, head dim 80",
        256,
        shared(80, 64, 256),
    ),
];
