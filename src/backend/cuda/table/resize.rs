//! Rows of `kernels/resize.ptx.j2` and `kernels/measure.ptx.j2`: what follows the decoder.

use super::Kernel;
use super::Type::{Pointer, U32};

const fn resize(entry: &'static str, mask: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "resize",
        constants: mask,
        params: &[
            ("source", Pointer),
            ("row_first", Pointer),
            ("row_weights", Pointer),
            ("column_first", Pointer),
            ("column_weights", Pointer),
            ("out", Pointer),
            ("count", Pointer),
            ("source_plane", U32),
            ("source_row", U32),
            ("source_last", U32),
            ("column_last", U32),
            ("row_taps", U32),
            ("column_taps", U32),
            ("height", U32),
            ("width", U32),
            ("column_pitch", U32),
        ],
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
        params: &[("logits", Pointer), ("boxes", Pointer), ("out", Pointer), ("side", U32), ("rows", U32)],
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
