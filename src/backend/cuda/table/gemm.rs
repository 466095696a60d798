//! Rows of `kernels/gemm.ptx.j2`, and of `conv3x3.ptx.j2` and `patch_embed.ptx.j2`, which extend it.

use super::Kernel;

/// Tile for full batches: 64 x 64 a warp, the most products for each fragment read.
macro_rules! large {
    ($template:literal, $suffix:literal, $half_in:literal, $half_out:literal, $plain:literal, $gelu:literal) => {
        Kernel {
            entry: concat!($template, "_128x128", $suffix),
            template: $template,
            constants: &[
                ("tile_m", 128),
                ("tile_n", 128),
                ("warps_m", 2),
                ("warps_n", 2),
                ("warps_k", 1),
                ("teams", 1),
                ("stages", 3),
                ("half_in", $half_in),
                ("half_out", $half_out),
                ("plain", $plain),
                ("gelu", $gelu),
                ("wgmma", 0),
            ],
            tile: "128 x 128, warps 64 x 64",
            threads: 128,
            shared: 3 * (128 + 128) * 128,
            bound: "tensor cores",
        }
    };
}

/// The same tile by `wgmma`: four warps, each of 16 rows of every 64, which need no fragments in registers.
macro_rules! warpgroup {
    ($suffix:literal, $half_out:literal, $plain:literal, $gelu:literal) => {
        Kernel {
            entry: concat!("gemm_128x128wgmma", $suffix),
            template: "gemm",
            constants: &[
                ("tile_m", 128),
                ("tile_n", 128),
                ("warps_m", 4),
                ("warps_n", 1),
                ("warps_k", 1),
                ("teams", 1),
                ("stages", 3),
                ("half_in", 1),
                ("half_out", $half_out),
                ("plain", $plain),
                ("gelu", $gelu),
                ("wgmma", 1),
            ],
            tile: "128 x 128, a warpgroup",
            threads: 128,
            shared: 3 * (128 + 128) * 128,
            bound: "tensor cores",
        }
    };
}

/// Tile for batch 1, where blocks are few and short: k is split over the warps of a block.
macro_rules! small {
    ($template:literal, $suffix:literal, $half_in:literal, $half_out:literal, $plain:literal, $gelu:literal) => {
        Kernel {
            entry: concat!($template, "_64x32", $suffix),
            template: $template,
            constants: &[
                ("tile_m", 64),
                ("tile_n", 32),
                ("warps_m", 1),
                ("warps_n", 1),
                ("warps_k", 4),
                ("teams", 1),
                ("stages", 4),
                ("half_in", $half_in),
                ("half_out", $half_out),
                ("plain", $plain),
                ("gelu", $gelu),
                ("wgmma", 0),
            ],
            tile: "64 x 32, k split over 4 warps",
            threads: 128,
            shared: 4 * (64 + 32) * 128,
            bound: "latency",
        }
    };
}

/// As the small tile, for products of few columns, whose tiles are hardly more than multiprocessors: two teams of warps
/// a block.
macro_rules! deep {
    ($template:literal, $suffix:literal, $half_in:literal, $half_out:literal, $plain:literal) => {
        Kernel {
            entry: concat!($template, "_64x32k8", $suffix),
            template: $template,
            constants: &[
                ("tile_m", 64),
                ("tile_n", 32),
                ("warps_m", 1),
                ("warps_n", 1),
                ("warps_k", 8),
                ("teams", 2),
                ("stages", 4),
                ("half_in", $half_in),
                ("half_out", $half_out),
                ("plain", $plain),
                ("gelu", 0),
                ("wgmma", 0),
            ],
            tile: "64 x 32, k split over 8 warps",
            threads: 256,
            shared: 2 * 4 * (64 + 32) * 128,
            bound: "latency",
        }
    };
}

/// f16 and f32 input, f16 and f32 output, with GELU and without, of the product or of its sum with the residual; both
/// tiles of each, and some also with two teams. f16 without GELU is of the product and a row of biases, but for `_sum`.
pub const KERNELS: &[Kernel] = &[
    large!("gemm", "_f16_f16", 1, 1, 1, 0),
    large!("gemm", "_f16_f32", 1, 0, 0, 0),
    large!("gemm", "_f32_f16", 0, 1, 1, 0),
    large!("gemm", "_f32_f32", 0, 0, 0, 0),
    large!("gemm", "_f16_f16_gelu", 1, 1, 0, 1),
    large!("gemm", "_f16_f32_gelu", 1, 0, 0, 1),
    large!("gemm", "_f32_f16_gelu", 0, 1, 0, 1),
    large!("gemm", "_f16_f32_sum_gelu", 1, 0, 0, 2),
    small!("gemm", "_f16_f16", 1, 1, 1, 0),
    small!("gemm", "_f16_f32", 1, 0, 0, 0),
    small!("gemm", "_f32_f16", 0, 1, 1, 0),
    small!("gemm", "_f32_f32", 0, 0, 0, 0),
    small!("gemm", "_f16_f16_gelu", 1, 1, 0, 1),
    small!("gemm", "_f16_f32_gelu", 1, 0, 0, 1),
    small!("gemm", "_f32_f16_gelu", 0, 1, 0, 1),
    small!("gemm", "_f16_f32_sum_gelu", 1, 0, 0, 2),
    large!("gemm", "_f16_f16_sum", 1, 1, 0, 0),
    small!("gemm", "_f16_f16_sum", 1, 1, 0, 0),
    warpgroup!("_f16_f16", 1, 1, 0),
    warpgroup!("_f16_f32", 0, 0, 0),
    warpgroup!("_f16_f16_gelu", 1, 0, 1),
    warpgroup!("_f16_f16_sum", 1, 0, 0),
    deep!("gemm", "_f16_f16_sum", 1, 1, 0),
    deep!("gemm", "_f16_f32", 1, 0, 0),
    deep!("gemm", "_f32_f32", 0, 0, 0),
    large!("conv3x3", "", 1, 0, 1, 0),
    small!("conv3x3", "", 1, 0, 1, 0),
    deep!("conv3x3", "", 1, 0, 1),
    large!("patch_embed", "", 0, 0, 0, 0),
    small!("patch_embed", "", 0, 0, 0, 0),
];
