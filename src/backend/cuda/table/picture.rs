//! Rows of `kernels/grey_level.ptx.j2` and `kernels/picture.ptx.j2`: what goes ahead of the encoder.

use super::Kernel;

/// Threads of a block.
const THREADS: u32 = 256;

const fn grey_level(entry: &'static str, constants: &'static [(&'static str, i64)], shared: u32) -> Kernel {
    Kernel {
        entry,
        template: "grey_level",
        constants,
        tile: "1024 pieces of 16 bytes of a slice",
        threads: THREADS,
        shared,
        bound: "latency",
    }
}

const fn picture(entry: &'static str, channels: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "picture",
        constants: channels,
        tile: "128 pixels of each of 4 rows",
        threads: 128,
        shared: 0,
        bound: "memory",
    }
}

/// 256 thresholds of 4 and of 8 bytes for each lane of a warp.
const TABLE: [u32; 2] = [32 << 10, 64 << 10];

/// One a size of stored values, floats apart; one a number of channels.
pub const KERNELS: &[Kernel] = &[
    grey_level("grey_level_1", &[("bytes", 1), ("floating", 0)], TABLE[0]),
    grey_level("grey_level_2", &[("bytes", 2), ("floating", 0)], TABLE[0]),
    grey_level("grey_level_4", &[("bytes", 4), ("floating", 0)], TABLE[0]),
    grey_level("grey_level_8", &[("bytes", 8), ("floating", 0)], TABLE[1]),
    grey_level("grey_level_f32", &[("bytes", 4), ("floating", 1)], TABLE[0]),
    grey_level("grey_level_f64", &[("bytes", 8), ("floating", 1)], TABLE[1]),
    picture("picture_1", &[("channels", 1)]),
    picture("picture_3", &[("channels", 3)]),
];
