//! `medsegx_model`: loaded weights, immutable, shared by threads.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use super::boundary::{Outcome, array, guard, required, required_mut, text};
use super::status::{ErrorObject, Status, c_string};
use super::structs::{self, DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA, ModelInfo, ModelOptions};
use crate::backend::cpu::{CpuOptions, Precision};
use crate::model::Kind;
use crate::segment::{self, Device};
use crate::weights::{Access, Weights};

/// Information, for [`ModelOptions::log`].
const LOG_INFORMATION: i32 = 3;

/// A loaded model behind the C ABI.
pub struct ModelHandle {
    pub(super) model: Arc<segment::Model>,
    device: CString,
}

/// `medsegx_model_open`: loads a weights file. On failure `*out` is NULL.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_open(
    path: *const c_char,
    options: *const ModelOptions,
    out: *mut *mut ModelHandle,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let path = Path::new(text("path", path)?);
            *out = load(&Weights::open(path, Access::Read)?, &structs::read(options)?)?;
            Ok(())
        })
    }
}

/// `medsegx_model_open_memory`: loads weights from memory, which is copied. On failure `*out` is NULL.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_open_memory(
    data: *const c_void,
    size: usize,
    options: *const ModelOptions,
    out: *mut *mut ModelHandle,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let bytes = array("data", data.cast::<u8>(), size)?;
            let mut copy = Vec::new();
            let memory = |_| crate::Error::Memory { what: "weights".into(), bytes: size as u64 };
            copy.try_reserve_exact(size).map_err(memory)?;
            copy.extend_from_slice(bytes);
            *out = load(&Weights::from_bytes(copy, "<memory>")?, &structs::read(options)?)?;
            Ok(())
        })
    }
}

/// `medsegx_model_free`: frees a model; sessions made from it stay valid. NULL is allowed.
///
/// # Safety
/// `model` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_free(model: *mut ModelHandle) {
    // SAFETY: it came from Box::into_raw and the caller gives it back once.
    unsafe { super::boundary::free(model) };
}

/// `medsegx_model_describe`: sizes and kind.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_describe(
    model: *const ModelHandle,
    info: *mut ModelInfo,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let config = required("model", model)?.model.config();
            let mut answer = structs::initial::<ModelInfo>();
            answer.kind = match config.kind {
                Kind::MedSegX => 0,
                Kind::Sam => 1,
                Kind::MedSam => 2,
            };
            answer.image_size = config.image_size as u32;
            answer.logits_size = config.logits_size() as u32;
            answer.needs_context = i32::from(config.adapters.is_some());
            answer.depth = config.depth() as u32;
            answer.width = config.width as u32;
            structs::write(info, &answer)
        })
    }
}

/// `medsegx_model_device`: what it runs on, as `cpu` or `cuda:0`; valid while the model is. NULL for NULL.
///
/// # Safety
/// `model` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_device(model: *const ModelHandle) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.device.as_ptr())
}

/// Sets an out-pointer to NULL, so that it has a value whatever happens.
///
/// # Safety
/// `out` is NULL or valid for a write.
pub(super) unsafe fn cleared<'a, T>(out: *mut *mut T) -> Outcome<&'a mut *mut T> {
    // SAFETY: the caller's promise.
    let out = unsafe { required_mut("out", out) }?;
    *out = std::ptr::null_mut();
    Ok(out)
}

fn load(weights: &Weights, options: &ModelOptions) -> Outcome<*mut ModelHandle> {
    let device = match options.device {
        DEVICE_AUTO => Device::Auto,
        DEVICE_CPU => Device::Cpu,
        DEVICE_CUDA => Device::Cuda(options.device_index as usize),
        other => return Err(ErrorObject::argument("device", "0 auto, 1 cpu or 2 cuda", &other.to_string())),
    };
    let precision = match options.precision {
        0 => Precision::F32,
        1 => Precision::Bf16,
        other => return Err(ErrorObject::argument("precision", "0 (f32) or 1 (bf16)", &other.to_string())),
    };
    let threads = (options.threads > 0).then_some(options.threads as usize);
    let cpu = CpuOptions { threads, precision, ..CpuOptions::default() };
    let model = segment::Model::load(weights, &segment::ModelOptions { device, cpu })?;
    if let (Some(reason), Some(log)) = (model.fallback(), options.log) {
        let message = c_string(&format!("on the CPU: {reason}"));
        // SAFETY: the host gave this function for messages; the message lives until it returns.
        unsafe { log(options.log_user, LOG_INFORMATION, message.as_ptr()) };
    }
    let device = c_string(model.device());
    Ok(Box::into_raw(Box::new(ModelHandle { model: Arc::new(model), device })))
}
