//! Programmatic dependent launch.
#![allow(unsafe_code, reason = "the driver's interface is C")]

use std::ffi::c_void;

use cudarc::driver::{DriverError, sys};

use crate::backend::cuda::kernels::Kernel;

/// Launches the `function` loaded of `kernel`, which may be brought to the multiprocessors while the launch before in
/// `stream` still runs.
///
/// # Safety
/// As for `Driver::launch`; `pointers` has one for each parameter, to a value of its type.
pub(super) unsafe fn launch_dependent(
    function: sys::CUfunction,
    kernel: &Kernel,
    [x, y, z]: [u32; 3],
    stream: sys::CUstream,
    pointers: &mut [*mut c_void],
) -> std::result::Result<(), DriverError> {
    let mut attribute = sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = sys::CUlaunchConfig {
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: kernel.threads,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: kernel.shared,
        hStream: stream,
        attrs: &mut attribute,
        numAttrs: 1,
    };
    // SAFETY: the attribute outlives the call; the rest is the caller's promise.
    unsafe { sys::cuLaunchKernelEx(&config, function, pointers.as_mut_ptr(), std::ptr::null_mut()) }.result()
}
