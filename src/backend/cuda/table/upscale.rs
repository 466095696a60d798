//! Rows of `kernels/upscale.ptx.j2` and `kernels/upscale_small.ptx.j2`.

use super::Kernel;

/// Input tile of 16 tokens and output tile of at most 4 masks, padded against bank conflicts.
const fn tensor(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    tile: &'static str,
    mask_words: u32,
) -> Kernel {
    Kernel {
        entry,
        template: "upscale",
        constants,
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
    tile: &'static str,
    width: u32,
) -> Kernel {
    Kernel {
        entry,
        template: "upscale_small",
        constants,
        tile,
        threads: 256,
        shared: 48 * width + 512,
        bound: "latency",
    }
}

/// One kernel a prompt width and number of doublings.
pub const KERNELS: &[Kernel] = &[
    tensor("upscale_2", &[("levels", 2)], "16 image tokens", 257),
    tensor("upscale_4", &[("levels", 4)], "a quarter of 16 image tokens", 1089),
    small("upscale_small_64_2", &[("p", 64), ("levels", 2)], "two image tokens", 2 * 64),
    small("upscale_small_64_4", &[("p", 64), ("levels", 4)], "one image token", 64),
    small("upscale_small_128_2", &[("p", 128), ("levels", 2)], "two image tokens", 2 * 128),
    small("upscale_small_128_4", &[("p", 128), ("levels", 4)], "one image token", 128),
];
