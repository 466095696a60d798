//! `medsegx_model`: loaded weights, immutable, shared by threads.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use super::boundary::{Outcome, array, cleared, guard, null, required, text};
use super::codes::{medsegx_device, medsegx_instructions, medsegx_kind, medsegx_log, medsegx_precision};
use super::panics::free;
use super::status::{c_string, medsegx_error, medsegx_status};
use super::structs::{medsegx_model_info, medsegx_model_options, medsegx_read_callback};
use super::versioned::{self, Versioned};
use crate::Error;
use crate::backend::Launches;
use crate::backend::cpu::{CpuOptions, Level, Precision};
use crate::memory::copied;
use crate::model::Kind;
use crate::segment::{self, Device};
use crate::weights::tuned::Tuned;
use crate::weights::{Access, Hashing, Weights};

/// Most bytes that a read callback is asked for at once.
const PIECE: usize = 4 << 20;

/// Loaded weights on a device. Immutable: any number of threads may use one.
pub struct medsegx_model {
    pub(super) model: Arc<segment::Model>,
    device: CString,
    /// SHA-256 of the weights file, in hexadecimal.
    sha256: CString,
}

impl medsegx_model {
    /// `sha256` is that of the weights' file.
    pub(super) fn new(model: segment::Model, sha256: &str) -> Self {
        let (device, sha256) = (c_string(model.device()), c_string(sha256));
        medsegx_model { model: Arc::new(model), device, sha256 }
    }

    /// The same model with tensors over its own.
    pub(super) fn tuned(&self, model: segment::Model) -> Self {
        medsegx_model { model: Arc::new(model), device: self.device.clone(), sha256: self.sha256.clone() }
    }
}

/// Loads a weights file, which is read and not mapped: it may be replaced meanwhile, and is not needed afterwards.
///
/// `path` is UTF-8 and required (on Windows too, where it becomes UTF-16). `options` may be NULL: defaults. `out` is
/// required; it is set to NULL at once, and on success to a model that medsegx_model_free frees. Any thread. Fails with
/// MEDSEGX_STATUS_IO, _BAD_FILE, _BAD_WEIGHTS, _OUT_OF_MEMORY, _DEVICE and _INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_open(
    path: *const c_char,
    options: *const medsegx_model_options,
    out: *mut *mut medsegx_model,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let path = Path::new(text("path", path)?);
            let options = versioned::read(options)?;
            *out = load(Weights::open(path, Access::Read)?, &options)?;
            Ok(())
        })
    }
}

/// As medsegx_model_open, from `size` bytes at `data`, which are copied and may go after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_open_memory(
    data: *const c_void,
    size: usize,
    options: *const medsegx_model_options,
    out: *mut *mut medsegx_model,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let options = versioned::read(options)?;
            let bytes = array("data", data.cast::<u8>(), size)?;
            *out = load(Weights::from_bytes(copied(bytes, "weights")?, "<memory>")?, &options)?;
            Ok(())
        })
    }
}

/// As medsegx_model_open, from a file of `size` bytes that `read` hands over piece by piece. `read` is required and gets
/// `user`, which may be NULL. An answer of `read` other than 0 is MEDSEGX_STATUS_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_open_callbacks(
    read: medsegx_read_callback,
    user: *mut c_void,
    size: u64,
    options: *const medsegx_model_options,
    out: *mut *mut medsegx_model,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    const NAME: &str = "<read callback>";
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let options = versioned::read(options)?;
            let read = read.ok_or_else(|| null("read"))?;
            let weights = Weights::from_reader(NAME, size, |start, bytes| {
                for (index, piece) in bytes.chunks_mut(PIECE).enumerate() {
                    let offset = start + (index * PIECE) as u64;
                    let answer = read(user, offset, piece.as_mut_ptr().cast(), piece.len());
                    if answer != 0 {
                        let words = format!("it answered {answer} for {} bytes at {offset}", piece.len());
                        return Err(Error::io(NAME, "read", std::io::Error::other(words)));
                    }
                }
                Ok(())
            })?;
            *out = load(weights, &options)?;
            Ok(())
        })
    }
}

/// Frees a model; sessions made from it stay valid and keep what they need. NULL is allowed. Any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_free(model: *mut medsegx_model) {
    // SAFETY: `model` is NULL or came from this library and is freed once, as the header asks.
    unsafe { free(model) };
}

/// Sizes and kind. `model` and `info` are required. Any number of threads at once. Fails with
/// MEDSEGX_STATUS_INVALID_ARGUMENT only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_describe(
    model: *const medsegx_model,
    info: *mut medsegx_model_info,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let config = required("model", model)?.model.config();
            let mut answer = medsegx_model_info::initial();
            let kind = match config.kind {
                Kind::MedSegX => medsegx_kind::Medsegx,
                Kind::Sam => medsegx_kind::Sam,
                Kind::MedSam => medsegx_kind::Medsam,
                Kind::LiteMedSam => medsegx_kind::Litemedsam,
            };
            answer.kind = kind as i32;
            answer.image_size = config.image_size as u32;
            answer.logits_size = config.logits_size() as u32;
            answer.needs_context = i32::from(config.adapters.is_some());
            answer.depth = config.depth() as u32;
            answer.width = config.width as u32;
            versioned::write(info, &answer)
        })
    }
}

/// What the model runs on, as "cpu" or "cuda:0"; NULL for NULL. Valid while the model is. Any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_device(model: *const medsegx_model) -> *const c_char {
    // SAFETY: `model` is NULL or valid, as the header asks.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.device.as_ptr())
}

/// SHA-256 of the weights file that the model was opened from, in lower-case hexadecimal, as `medsegx info` and reports have
/// it; of the bytes where it came from memory or a callback. It is of the bytes that were loaded, whatever becomes of the
/// file; tuned tensors on top do not change it. NULL for NULL. Valid while the model is. Any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_sha256(model: *const medsegx_model) -> *const c_char {
    // SAFETY: `model` is NULL or valid, as the header asks.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.sha256.as_ptr())
}

/// # Safety
/// `options.tuned` is NULL or a string.
unsafe fn load(mut weights: Weights, options: &medsegx_model_options) -> Outcome<*mut medsegx_model> {
    let engine_options = to_engine(options)?;
    if !options.tuned.is_null() {
        // SAFETY: the caller's promise.
        weights.tune(Tuned::open(Path::new(unsafe { text("tuned", options.tuned) }?))?)?;
    }
    let hashing = hashing(&weights);
    let model = segment::Model::load(&weights, &engine_options);
    // Waited for in any case: a thread that is not gives its memory back later than the call returns.
    let sha256 = hashing.join();
    let (model, sha256) = (model?, sha256?);
    if let Some(reason) = model.fallback() {
        log(options, medsegx_log::Warning, &format!("on the CPU: {reason}"));
    }
    let (name, config) = (weights.path().display(), model.config());
    let blocks = format!("{} blocks of width {}, {} px", config.depth(), config.width, config.image_size);
    log(options, medsegx_log::Information, &format!("{name}: {:?}, {blocks}, on {}", config.kind, model.device()));
    Ok(Box::into_raw(Box::new(medsegx_model::new(model, &sha256))))
}

/// The SHA-256 of the file that `weights` are of; nothing where they are of none.
fn hashing(weights: &Weights) -> Hashing<String> {
    let Some(digest) = weights.digest() else { return Hashing::done(String::new()) };
    let path = weights.path().to_path_buf();
    Hashing::start(move || digest.compute(&path))
}

fn log(options: &medsegx_model_options, level: medsegx_log, message: &str) {
    if let Some(log) = options.log {
        let message = c_string(message);
        // SAFETY: the host gave this function for messages; the message lives until it returns.
        unsafe { log(options.log_user, level as i32, message.as_ptr()) };
    }
}

fn to_engine(options: &medsegx_model_options) -> Outcome<segment::ModelOptions> {
    let wrong = |name: &str, expected: &str, found: i32| medsegx_error::argument(name, expected, &found.to_string());
    let device = match medsegx_device::of(options.device) {
        Some(medsegx_device::Auto) => Device::Auto,
        Some(medsegx_device::Cpu) => Device::Cpu,
        Some(medsegx_device::Cuda) => Device::Cuda(options.device_index as usize, Launches::Ordered),
        None => return Err(wrong("device", "0 (automatic), 1 (CPU) or 2 (CUDA)", options.device)),
    };
    let precision = match medsegx_precision::of(options.precision) {
        Some(medsegx_precision::F32) => Precision::F32,
        Some(medsegx_precision::Bf16) => Precision::Bf16,
        None => return Err(wrong("precision", "0 (f32) or 1 (bf16)", options.precision)),
    };
    let level = level(options.instructions)?;
    let threads = (options.threads > 0).then_some(options.threads as usize);
    Ok(segment::ModelOptions { device, cpu: CpuOptions { threads, precision, level } })
}

/// The instructions behind a caller's number; `None` for the widest.
pub(super) fn level(instructions: i32) -> Outcome<Option<Level>> {
    Ok(match medsegx_instructions::of(instructions) {
        Some(medsegx_instructions::Widest) => None,
        Some(medsegx_instructions::Portable) => Some(Level::Portable),
        Some(medsegx_instructions::Avx2) => Some(Level::Avx2),
        Some(medsegx_instructions::Avx512) => Some(Level::Avx512),
        None => return Err(medsegx_error::argument("instructions", "0 to 3", &instructions.to_string())),
    })
}
