//! Status codes and the error object.

use std::ffi::{CString, c_char};

use crate::Error;

/// What a call returns: 0 for success. Numbers are never reused.
pub type Status = i32;

pub(super) const OK: Status = 0;
pub(super) const INVALID_ARGUMENT: Status = 1;
pub(super) const IO: Status = 2;
pub(super) const BAD_FILE: Status = 3;
pub(super) const BAD_WEIGHTS: Status = 4;
pub(super) const BAD_PROMPT: Status = 5;
pub(super) const UNKNOWN_NAME: Status = 6;
pub(super) const OUT_OF_MEMORY: Status = 7;
pub(super) const DEVICE: Status = 8;
pub(super) const CANCELLED: Status = 9;
pub(super) const POISONED: Status = 10;
pub(super) const INTERNAL: Status = 11;

/// Every status, with its words.
const TEXTS: [(Status, &std::ffi::CStr); 12] = [
    (OK, c"success"),
    (INVALID_ARGUMENT, c"invalid argument"),
    (IO, c"the operating system refused a file"),
    (BAD_FILE, c"malformed or unsupported file"),
    (BAD_WEIGHTS, c"the weights are not a complete model"),
    (BAD_PROMPT, c"the prompt makes no sense for this image"),
    (UNKNOWN_NAME, c"a name that the task tree does not have"),
    (OUT_OF_MEMORY, c"out of memory"),
    (DEVICE, c"the device is missing, unsupported or failed"),
    (CANCELLED, c"cancelled"),
    (POISONED, c"the session failed internally before and can only be freed"),
    (INTERNAL, c"internal error"),
];

/// Why a call failed.
#[derive(Debug)]
pub struct ErrorObject {
    pub(super) status: Status,
    message: CString,
    /// The operating system's or driver's own words, where there are some.
    source: Option<CString>,
}

impl ErrorObject {
    pub(super) fn new(status: Status, message: &str) -> Self {
        ErrorObject { status, message: c_string(message), source: None }
    }

    /// An argument that is NULL or out of range.
    pub(super) fn argument(name: &str, expected: &str, found: &str) -> Self {
        Self::new(INVALID_ARGUMENT, &format!("{name}: expected {expected}, found {found}"))
    }
}

impl From<Error> for ErrorObject {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Io { .. } => IO,
            Error::File { .. } => BAD_FILE,
            Error::Weights { .. } | Error::Tensor { .. } => BAD_WEIGHTS,
            Error::Prompt { .. } => BAD_PROMPT,
            Error::Taxonomy { .. } => UNKNOWN_NAME,
            Error::Argument { .. } => INVALID_ARGUMENT,
            Error::Memory { .. } => OUT_OF_MEMORY,
            Error::Device { .. } => DEVICE,
            Error::Cancelled => CANCELLED,
            Error::Internal { .. } => INTERNAL,
        };
        let source = std::error::Error::source(&error).map(|source| c_string(&source.to_string()));
        ErrorObject { status, message: c_string(&error.to_string()), source }
    }
}

/// The text up to its first NUL.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// `medsegx_status_string`: static words for a status.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_status_string(status: Status) -> *const c_char {
    TEXTS.iter().find(|(code, _)| *code == status).map_or(c"unknown status", |(_, text)| text).as_ptr()
}

/// `medsegx_error_status`: the status behind an error; success for NULL.
///
/// # Safety
/// `error` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_status(error: *const ErrorObject) -> Status {
    // SAFETY: the caller's promise.
    unsafe { error.as_ref() }.map_or(OK, |error| error.status)
}

/// `medsegx_error_message`: what failed, what was expected and what was found; valid until the error is freed.
///
/// # Safety
/// `error` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_message(error: *const ErrorObject) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// `medsegx_error_source`: the operating system's or driver's own words, or NULL; valid until the error is freed.
///
/// # Safety
/// `error` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_source(error: *const ErrorObject) -> *const c_char {
    // SAFETY: the caller's promise.
    let source = unsafe { error.as_ref() }.and_then(|error| error.source.as_ref());
    source.map_or(std::ptr::null(), |source| source.as_ptr())
}

/// `medsegx_error_free`: frees an error; NULL is allowed.
///
/// # Safety
/// `error` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_error_free(error: *mut ErrorObject) {
    if !error.is_null() {
        // SAFETY: it came from Box::into_raw in `boundary` and the caller gives it back once.
        drop(unsafe { Box::from_raw(error) });
    }
}
