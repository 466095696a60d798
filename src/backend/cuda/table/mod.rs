//! The launch table: every kernel with the constants that its template is expanded with and the facts that its launch
//! must agree with. Read by the library and by build.rs, so it uses nothing but the standard library.

mod attention;
mod ceiling;
mod decoder;
mod gemm;
mod kernel;
mod layer_norm;
mod picture;
mod resize;
mod tiny_vit;
mod upscale;

pub use kernel::Kernel;

/// All kernels, one list a template.
pub const KERNELS: &[&[Kernel]] = &[
    attention::KERNELS,
    ceiling::KERNELS,
    decoder::KERNELS,
    gemm::KERNELS,
    layer_norm::KERNELS,
    picture::KERNELS,
    resize::KERNELS,
    tiny_vit::KERNELS,
    upscale::KERNELS,
];
