//! Rows of `kernels/layer_norm.ptx.j2` and `kernels/token_mean.ptx.j2`.

use super::Kernel;
use super::Type::{F32, Pointer, U32};

const fn layer_norm(entry: &'static str, constants: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "layer_norm",
        constants,
        params: &[
            ("input", Pointer),
            ("gain", Pointer),
            ("bias", Pointer),
            ("out", Pointer),
            ("saturated", Pointer),
            ("rows", U32),
            ("channels", U32),
            ("eps", F32),
        ],
        tile: "8 rows, one a warp",
        threads: 256,
        shared: 0,
        bound: "memory",
    }
}

const fn token_mean(entry: &'static str, half: &'static [(&'static str, i64)]) -> Kernel {
    Kernel {
        entry,
        template: "token_mean",
        constants: half,
        params: &[("input", Pointer), ("out", Pointer), ("tokens", U32), ("channels", U32)],
        tile: "32 channels of one slice",
        threads: 256,
        shared: 0,
        bound: "latency",
    }
}

/// One kernel a width class and output type: a warp holds its row in `4 * vectors` registers a lane.
pub const KERNELS: &[Kernel] = &[
    layer_norm("layer_norm_256_f16", &[("vectors", 2), ("half_out", 1)]),
    layer_norm("layer_norm_256_f32", &[("vectors", 2), ("half_out", 0)]),
    layer_norm("layer_norm_768_f16", &[("vectors", 6), ("half_out", 1)]),
    layer_norm("layer_norm_768_f32", &[("vectors", 6), ("half_out", 0)]),
    layer_norm("layer_norm_1280_f16", &[("vectors", 10), ("half_out", 1)]),
    layer_norm("layer_norm_1280_f32", &[("vectors", 10), ("half_out", 0)]),
    token_mean("token_mean_f16", &[("half_in", 1)]),
    token_mean("token_mean_f32", &[("half_in", 0)]),
];
