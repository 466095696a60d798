//! Row of `kernels/gate.ptx.j2`.

use super::Kernel;
use super::Type::{Pointer, U32};

/// The gate of the experts.
pub const KERNELS: &[Kernel] = &[Kernel {
    entry: "gate",
    template: "gate",
    constants: &[],
    params: &[
        ("mean", Pointer),
        ("context", Pointer),
        ("organ_embed_0", Pointer),
        ("organ_embed_1", Pointer),
        ("organ_embed_2", Pointer),
        ("organ_embed_3", Pointer),
        ("task_embed", Pointer),
        ("modal_embed", Pointer),
        ("organ_weight", Pointer),
        ("organ_bias", Pointer),
        ("input_weight", Pointer),
        ("input_bias", Pointer),
        ("gate_weight", Pointer),
        ("gate_bias", Pointer),
        ("out", Pointer),
        ("width", U32),
        ("embedding", U32),
        ("experts", U32),
    ],
    tile: "one slice",
    threads: 256,
    shared: 0,
    bound: "latency",
}];
