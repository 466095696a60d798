//! Rows of TinyViT's kernels: `convolution`, `depthwise`, `window_attention`.

use super::Kernel;

/// Inputs of a tile, f32: `rows` that 64 outputs read at `stride`, of `channels`.
const fn inputs(rows: u32, stride: u32, channels: u32) -> u32 {
    rows * (63 * stride + rows) * channels * 4
}

const fn convolution(entry: &'static str, constants: &'static [(&'static str, i64)], shared: u32) -> Kernel {
    Kernel {
        entry,
        template: "convolution",
        constants,
        tile: "64 outputs of a row, all channels",
        threads: 128,
        shared,
        bound: "latency",
    }
}

const fn depthwise(entry: &'static str, constants: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "depthwise",
        constants,
        tile: "256 times 4 channels of 4 outputs",
        threads: 256,
        shared: 0,
        bound: "memory",
    }
}

/// Keys, values, queries, offsets of the slots and the table of biases.
const fn shared(slots: u32, side: u32, queries: u32) -> u32 {
    let span = 2 * side - 1;
    let table = (span * span).next_multiple_of(8) + 2 * (side * span).next_multiple_of(8);
    slots * 128 + queries * 64 + slots * 4 + 4 * table
}

const fn windows(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    tile: &'static str,
    threads: u32,
    shared: u32,
) -> Kernel {
    Kernel { entry, template: "window_attention", constants, tile, threads, shared, bound: "tensor cores and ex2" }
}

/// One for pixels, and for tokens one a size of tile, since less room a block is more blocks at once where a kernel is
/// 1 x 1; one a stride, with GELU as it stands in a bottleneck, and one for what stands
/// between attention and MLP; one a size of window.
pub const KERNELS: &[Kernel] = &[
    convolution("convolution_u8_f32", &[("pixels", 1), ("outputs", 64)], inputs(3, 2, 3)),
    convolution("convolution_f32_f32_row", &[("pixels", 0), ("outputs", 64)], inputs(1, 1, 32)),
    convolution("convolution_f32_f32_rows", &[("pixels", 0), ("outputs", 64)], inputs(3, 2, 32)),
    depthwise("depthwise_f16_gelu_1", &[("stride", 1), ("half", 1), ("gelu", 1)]),
    depthwise("depthwise_f16_gelu_2", &[("stride", 2), ("half", 1), ("gelu", 1)]),
    depthwise("depthwise_f32", &[("stride", 1), ("half", 0), ("gelu", 0)]),
    windows(
        "window_attention_64",
        &[("slots", 64), ("side", 7), ("queries", 64), ("blocks", 4)],
        "64 queries x 64 keys, head dim 32",
        128,
        shared(64, 7, 64),
    ),
    windows(
        "window_attention_256",
        &[("slots", 256), ("side", 15), ("queries", 128), ("blocks", 2)],
        "128 queries x 256 keys, head dim 32",
        256,
        shared(256, 15, 128),
    ),
];
