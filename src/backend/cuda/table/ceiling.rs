//! Rows of `kernels/ceiling_mma.ptx.j2` and `kernels/ceiling_copy.ptx.j2`.

use super::Kernel;

/// The two rates that benches compare with.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        entry: "ceiling_mma",
        template: "ceiling_mma",
        constants: &[("sums", 8)],
        tile: "4 warps of 8 accumulators",
        threads: 128,
        shared: 0,
        bound: "tensor cores",
    },
    Kernel {
        entry: "ceiling_copy",
        template: "ceiling_copy",
        constants: &[("vectors", 4)],
        tile: "16 KiB",
        threads: 256,
        shared: 0,
        bound: "memory",
    },
];
