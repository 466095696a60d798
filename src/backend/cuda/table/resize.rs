//! Rows of `kernels/resize.ptx.j2`.

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
            ("source_row", U32),
            ("source_last", U32),
            ("column_last", U32),
            ("row_taps", U32),
            ("column_taps", U32),
            ("width", U32),
        ],
        tile: "128 pixels of a row",
        threads: 128,
        shared: 0,
        bound: "memory",
    }
}

/// To a mask, and to f32 for the first of two stages.
pub const KERNELS: &[Kernel] = &[resize("resize_mask", &[("mask", 1)]), resize("resize_plane", &[("mask", 0)])];
