//! Rows of `kernels/resize.ptx.j2` and `kernels/measure.ptx.j2`: what follows the decoder.

use super::Kernel;

const fn resize(entry: &'static str, mask: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "resize",
        constants: mask,
        tile: "128 pixels of each of 4 rows",
        threads: 128,
        shared: 4 * 512 * 4,
        bound: "memory",
    }
}

const fn measure(entry: &'static str, maps: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "measure",
        constants: maps,
        tile: "some rows of all maps of one prompt",
        threads: 256,
        shared: 0,
        bound: "memory",
    }
}

/// Counts of one and of three maps; to a mask, and to f32 for the first of two stages.
pub const KERNELS: &[Kernel] = &[
    measure("measure_1", &[("maps", 1)]),
    measure("measure_3", &[("maps", 3)]),
    resize("resize_mask", &[("mask", 1)]),
    resize("resize_plane", &[("mask", 0)]),
];
