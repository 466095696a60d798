//! Rows of `kernels/layer_norm.ptx.j2`.

use super::Kernel;

const fn layer_norm(entry: &'static str, constants: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "layer_norm",
        constants,
        tile: "8 rows, one a warp",
        threads: 256,
        shared: 0,
        bound: "memory",
    }
}

/// With the mean over the tokens and the gate of the experts; the warps' rows of `vectors` vectors meet in shared
/// memory.
const fn gated(entry: &'static str, constants: &'static [(&'static str, i64)], vectors: u32) -> Kernel {
    Kernel {
        entry,
        template: "layer_norm",
        constants,
        tile: "8 rows of a slice, one a warp",
        threads: 256,
        shared: 8 * 512 * vectors,
        bound: "memory",
    }
}

/// One kernel a width class, output type and task: a warp holds its row in `4 * vectors` registers a lane.
pub const KERNELS: &[Kernel] = &[
    layer_norm("layer_norm_256_f16", &[("vectors", 2), ("half_out", 1), ("gated", 0)]),
    layer_norm("layer_norm_256_f32", &[("vectors", 2), ("half_out", 0), ("gated", 0)]),
    layer_norm("layer_norm_768_f16", &[("vectors", 6), ("half_out", 1), ("gated", 0)]),
    layer_norm("layer_norm_768_f32", &[("vectors", 6), ("half_out", 0), ("gated", 0)]),
    layer_norm("layer_norm_1280_f16", &[("vectors", 10), ("half_out", 1), ("gated", 0)]),
    layer_norm("layer_norm_1280_f32", &[("vectors", 10), ("half_out", 0), ("gated", 0)]),
    gated("layer_norm_256_f16_gate", &[("vectors", 2), ("half_out", 1), ("gated", 1)], 2),
    gated("layer_norm_256_f32_gate", &[("vectors", 2), ("half_out", 0), ("gated", 1)], 2),
    gated("layer_norm_768_f16_gate", &[("vectors", 6), ("half_out", 1), ("gated", 1)], 6),
    gated("layer_norm_768_f32_gate", &[("vectors", 6), ("half_out", 0), ("gated", 1)], 6),
    gated("layer_norm_1280_f16_gate", &[("vectors", 10), ("half_out", 1), ("gated", 1)], 10),
    gated("layer_norm_1280_f32_gate", &[("vectors", 10), ("half_out", 0), ("gated", 1)], 10),
];
