//! What the driver's codes mean.

use cudarc::driver::DriverError;
use cudarc::driver::sys::cudaError_enum as Code;

use crate::error::Error;

/// An error that names the device, what was attempted and what the driver said.
pub(super) fn failure(device: &str, operation: impl Into<String>, code: DriverError) -> Error {
    let (device, operation, message) = (device.into(), operation.into(), describe(code));
    if is_sticky(code.0) {
        return Error::DeviceLost { device, operation, message };
    }
    Error::Device { device, operation, message }
}

/// The driver's name and words for a code.
pub(super) fn describe(code: DriverError) -> String {
    let text = |found: std::result::Result<&std::ffi::CStr, DriverError>| {
        found.map(|text| text.to_string_lossy().into_owned()).unwrap_or_else(|_| format!("code {}", code.0 as u32))
    };
    format!("{} ({})", text(code.error_string()), text(code.error_name()))
}

/// Whether the code ends the context: what a kernel did wrong, reported by whatever call comes next.
fn is_sticky(code: Code) -> bool {
    matches!(
        code,
        Code::CUDA_ERROR_ILLEGAL_ADDRESS
            | Code::CUDA_ERROR_LAUNCH_TIMEOUT
            | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Code::CUDA_ERROR_MISALIGNED_ADDRESS
            | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Code::CUDA_ERROR_INVALID_PC
            | Code::CUDA_ERROR_LAUNCH_FAILED
            | Code::CUDA_ERROR_ECC_UNCORRECTABLE
    )
}
