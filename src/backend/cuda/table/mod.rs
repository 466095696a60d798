//! The launch table: every kernel with the constants that its template is expanded with and the facts that its launch
//! must agree with. Read by the library and by build.rs, so it uses nothing but the standard library.

mod attention;
mod ceiling;
mod decoder;
mod gemm;
mod layer_norm;
mod picture;
mod resize;
mod upscale;

/// One kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// `.entry` name, and stem of the file that `medsegx kernels --dump` writes.
    pub entry: &'static str,
    /// Stem of the template: `kernels/{template}.ptx.j2`, launched by `src/backend/cuda/{template}.rs`.
    pub template: &'static str,
    /// Named constants of the template; it also sees `entry`, `threads` and `shared`.
    pub constants: &'static [(&'static str, i64)],
    /// What one block computes.
    pub tile: &'static str,
    /// Threads of a block: `.reqntid`.
    pub threads: u32,
    /// Bytes of dynamic shared memory a block is launched with.
    pub shared: u32,
    /// What the kernel waits for when it runs well: `tensor cores`, `memory`, `latency`.
    pub bound: &'static str,
}

/// All kernels, one list a template.
pub const KERNELS: &[&[Kernel]] = &[
    attention::KERNELS,
    ceiling::KERNELS,
    decoder::KERNELS,
    gemm::KERNELS,
    layer_norm::KERNELS,
    picture::KERNELS,
    resize::KERNELS,
    upscale::KERNELS,
];
