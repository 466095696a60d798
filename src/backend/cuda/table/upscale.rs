//! Rows of `kernels/upscale.ptx.j2` and `kernels/upscale_small.ptx.j2`.

use super::Kernel;
use super::Type::{self, F32, Pointer, U32};

const TWO: &[(&str, Type)] = &[
    ("input", Pointer),
    ("hyper", Pointer),
    ("w1", Pointer),
    ("b1", Pointer),
    ("g1", Pointer),
    ("s1", Pointer),
    ("w2", Pointer),
    ("b2", Pointer),
    ("out", Pointer),
    ("tokens", U32),
    ("grid", U32),
    ("masks", U32),
    ("eps", F32),
];

const FOUR: &[(&str, Type)] = &[
    ("input", Pointer),
    ("hyper", Pointer),
    ("w1", Pointer),
    ("b1", Pointer),
    ("g1", Pointer),
    ("s1", Pointer),
    ("w2", Pointer),
    ("b2", Pointer),
    ("g2", Pointer),
    ("s2", Pointer),
    ("w3", Pointer),
    ("b3", Pointer),
    ("g3", Pointer),
    ("s3", Pointer),
    ("w4", Pointer),
    ("b4", Pointer),
    ("out", Pointer),
    ("tokens", U32),
    ("grid", U32),
    ("masks", U32),
    ("eps", F32),
];

const TENSOR_TWO: &[(&str, Type)] = &[
    ("input", Pointer),
    ("hyper", Pointer),
    ("w1", Pointer),
    ("b1", Pointer),
    ("g1", Pointer),
    ("s1", Pointer),
    ("w2", Pointer),
    ("b2", Pointer),
    ("out", Pointer),
    ("saturated", Pointer),
    ("tokens", U32),
    ("grid", U32),
    ("masks", U32),
    ("eps", F32),
];

const TENSOR_FOUR: &[(&str, Type)] = &[
    ("input", Pointer),
    ("hyper", Pointer),
    ("w1", Pointer),
    ("b1", Pointer),
    ("g1", Pointer),
    ("s1", Pointer),
    ("w2", Pointer),
    ("b2", Pointer),
    ("g2", Pointer),
    ("s2", Pointer),
    ("w3", Pointer),
    ("b3", Pointer),
    ("g3", Pointer),
    ("s3", Pointer),
    ("w4", Pointer),
    ("b4", Pointer),
    ("out", Pointer),
    ("saturated", Pointer),
    ("tokens", U32),
    ("grid", U32),
    ("masks", U32),
    ("eps", F32),
];

/// Input tile of 16 tokens and output tile of at most 4 masks, padded against bank conflicts.
const fn tensor(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    params: &'static [(&'static str, Type)],
    tile: &'static str,
    mask_words: u32,
) -> Kernel {
    Kernel {
        entry,
        template: "upscale",
        constants,
        params,
        tile,
        threads: 128,
        shared: 16 * 528 + 4 * 4 * mask_words,
        bound: "GELU",
    }
}

/// Levels of tokens that are `width` channels wide together.
const fn small(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    params: &'static [(&'static str, Type)],
    tile: &'static str,
    width: u32,
) -> Kernel {
    Kernel {
        entry,
        template: "upscale_small",
        constants,
        params,
        tile,
        threads: 256,
        shared: 48 * width + 512,
        bound: "latency",
    }
}

/// One kernel a prompt width and number of doublings.
pub const KERNELS: &[Kernel] = &[
    tensor("upscale_2", &[("levels", 2)], TENSOR_TWO, "16 image tokens", 257),
    tensor("upscale_4", &[("levels", 4)], TENSOR_FOUR, "a quarter of 16 image tokens", 1089),
    small("upscale_small_64_2", &[("p", 64), ("levels", 2)], TWO, "two image tokens", 2 * 64),
    small("upscale_small_64_4", &[("p", 64), ("levels", 4)], FOUR, "one image token", 64),
    small("upscale_small_128_2", &[("p", 128), ("levels", 2)], TWO, "two image tokens", 2 * 128),
    small("upscale_small_128_4", &[("p", 128), ("levels", 4)], FOUR, "one image token", 128),
];
