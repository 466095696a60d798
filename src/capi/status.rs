//! Status codes and the error object.

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char};

use crate::Error;
use crate::codes::Code;

/// What a call returns. Numbers are never reused.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum medsegx_status {
    /// Success.
    Ok = 0,
    /// A pointer that is NULL, a value out of range, or arguments that contradict each other.
    InvalidArgument = 1,
    /// The operating system, or the host's read callback, refused a file.
    Io = 2,
    /// A malformed or unsupported file.
    BadFile = 3,
    /// Weights that are not a complete model.
    BadWeights = 4,
    /// A prompt that makes no sense for this image.
    BadPrompt = 5,
    /// A name that the task tree does not have.
    UnknownName = 6,
    /// Memory that could not be had.
    OutOfMemory = 7,
    /// A device that is missing, unsupported or failed.
    Device = 8,
    /// The host asked to stop.
    Cancelled = 9,
    /// The session failed internally before and can only be freed.
    Poisoned = 10,
    /// A defect of this library, not of its input.
    Internal = 11,
    /// The device is lost to this process: every later call on it fails alike until the process is started anew.
    DeviceLost = 12,
}

/// Every status, with its words.
const TEXTS: [(medsegx_status, &CStr); 13] = [
    (medsegx_status::Ok, c"success"),
    (medsegx_status::InvalidArgument, c"invalid argument"),
    (medsegx_status::Io, c"a file was refused"),
    (medsegx_status::BadFile, c"malformed or unsupported file"),
    (medsegx_status::BadWeights, c"the weights are not a complete model"),
    (medsegx_status::BadPrompt, c"the prompt makes no sense for this image"),
    (medsegx_status::UnknownName, c"a name that the task tree does not have"),
    (medsegx_status::OutOfMemory, c"out of memory"),
    (medsegx_status::Device, c"the device is missing, unsupported or failed"),
    (medsegx_status::Cancelled, c"cancelled"),
    (medsegx_status::Poisoned, c"the session failed internally before and can only be freed"),
    (medsegx_status::Internal, c"internal error"),
    (medsegx_status::DeviceLost, c"the device is lost to this process"),
];

/// Why a call failed. Immutable: any number of threads may read it.
#[derive(Debug)]
pub struct medsegx_error {
    pub(super) status: medsegx_status,
    message: CString,
    /// What lies below: the operating system's own words, and so on down.
    source: Option<CString>,
}

impl medsegx_error {
    pub(super) fn new(status: medsegx_status, message: &str) -> Self {
        medsegx_error { status, message: c_string(message), source: None }
    }

    /// An argument that is NULL or out of range.
    pub(super) fn argument(name: &str, expected: &str, found: &str) -> Self {
        Self::new(medsegx_status::InvalidArgument, &format!("{name}: got {found}; needs {expected}"))
    }

    /// The same, said of one part of what was given.
    pub(super) fn about(self, part: &str) -> Self {
        let message = c_string(&format!("{part}: {}", self.message.to_string_lossy()));
        medsegx_error { message, ..self }
    }
}

impl From<Error> for medsegx_error {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Io { .. } => medsegx_status::Io,
            Error::File { .. } => medsegx_status::BadFile,
            Error::Weights { .. } | Error::Tensor { .. } => medsegx_status::BadWeights,
            Error::Prompt { .. } => medsegx_status::BadPrompt,
            Error::Taxonomy { .. } => medsegx_status::UnknownName,
            Error::Argument { .. } => medsegx_status::InvalidArgument,
            Error::Memory { .. } => medsegx_status::OutOfMemory,
            Error::Device { .. } => medsegx_status::Device,
            Error::DeviceLost { .. } => medsegx_status::DeviceLost,
            Error::Cancelled => medsegx_status::Cancelled,
            Error::Internal { .. } => medsegx_status::Internal,
        };
        let chain = std::iter::successors(error.source(), |&below| below.source());
        let chain: Vec<String> = chain.map(ToString::to_string).collect();
        let source = (!chain.is_empty()).then(|| c_string(&chain.join(": ")));
        medsegx_error { status, message: c_string(&error.to_string()), source }
    }
}

/// The text up to its first NUL.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// Words for a status; "unknown status" for a number that is none. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_status_string(status: i32) -> *const c_char {
    TEXTS.iter().find(|(code, _)| *code as i32 == status).map_or(c"unknown status", |(_, text)| text).as_ptr()
}

/// The stable code of the warning of number `number`, which is its bit in `warnings`, as "mask-empty"; NULL for a number
/// that has none. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_warning_name(number: u32) -> *const c_char {
    Code::of(number).map_or(std::ptr::null(), |code| code.c_name().as_ptr())
}

/// What that warning means, in a sentence; NULL for a number that has none. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_warning_meaning(number: u32) -> *const c_char {
    Code::of(number).map_or(std::ptr::null(), |code| code.c_meaning().as_ptr())
}

/// The status behind an error; MEDSEGX_STATUS_OK for NULL. Any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_status(error: *const medsegx_error) -> medsegx_status {
    // SAFETY: `error` is NULL or came from this library and was not freed, as the header asks.
    unsafe { error.as_ref() }.map_or(medsegx_status::Ok, |error| error.status)
}

/// What failed, what was expected and what was found, in UTF-8; "" for NULL. Valid until the error is freed. Any number
/// of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_message(error: *const medsegx_error) -> *const c_char {
    // SAFETY: `error` is NULL or came from this library and was not freed, as the header asks.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// What lies below the error, as the operating system's own words; NULL where there is nothing, and for NULL. Valid until
/// the error is freed. Any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_source(error: *const medsegx_error) -> *const c_char {
    // SAFETY: `error` is NULL or came from this library and was not freed, as the header asks.
    let source = unsafe { error.as_ref() }.and_then(|error| error.source.as_ref());
    source.map_or(std::ptr::null(), |source| source.as_ptr())
}

/// Frees an error that no thread uses any more. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_free(error: *mut medsegx_error) {
    // SAFETY: `error` is NULL or came from this library and is freed once, as the header asks.
    unsafe { super::panics::free(error) };
}
