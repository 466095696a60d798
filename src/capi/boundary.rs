//! The one way in and out of the library: no panic crosses it, every failure becomes a status and an error object.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{ErrorObject, INTERNAL, INVALID_ARGUMENT, OK, Status};

/// What a function body returns.
pub(super) type Outcome<T = ()> = Result<T, ErrorObject>;

/// Runs `body`. A failure is put into `*error` when `error` is not NULL.
///
/// # Safety
/// `error` is NULL or valid for a write.
pub(super) unsafe fn guard(error: *mut *mut ErrorObject, body: impl FnOnce() -> Outcome) -> Status {
    if !error.is_null() {
        // SAFETY: the caller's promise.
        unsafe { error.write(std::ptr::null_mut()) };
    }
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(ErrorObject::new(INTERNAL, &format!("internal error: {text}")))
    });
    match outcome {
        Ok(()) => OK,
        Err(object) => {
            let status = object.status;
            if !error.is_null() {
                // SAFETY: the caller's promise; the object is freed by medsegx_error_free.
                unsafe { error.write(Box::into_raw(Box::new(object))) };
            }
            status
        }
    }
}

/// A shared reference to what a required pointer points at.
///
/// # Safety
/// `pointer` is NULL or points at a valid `T` that nobody changes during the call.
pub(super) unsafe fn required<'a, T>(name: &str, pointer: *const T) -> Outcome<&'a T> {
    check_alignment(name, pointer)?;
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// A unique reference to what a required pointer points at.
///
/// # Safety
/// `pointer` is NULL or points at a valid `T` that nobody else uses during the call.
pub(super) unsafe fn required_mut<'a, T>(name: &str, pointer: *mut T) -> Outcome<&'a mut T> {
    check_alignment(name, pointer)?;
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// The required text behind a C string.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that stays unchanged during the call.
pub(super) unsafe fn text<'a>(name: &str, text: *const c_char) -> Outcome<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { optional_text(name, text) }?.ok_or_else(|| null(name))
}

/// The text behind a C string, `None` for NULL.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional_text<'a>(name: &str, text: *const c_char) -> Outcome<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    match bytes.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ErrorObject::argument(name, "UTF-8", "other bytes")),
    }
}

/// A required array; a length of 0 allows NULL.
///
/// # Safety
/// `pointer` is NULL or valid for `length` elements that stay unchanged during the call.
pub(super) unsafe fn array<'a, T>(name: &str, pointer: *const T, length: usize) -> Outcome<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check_array(name, pointer, length)?;
    // SAFETY: not NULL, aligned, below isize::MAX bytes; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A required array to write to; a length of 0 allows NULL.
///
/// # Safety
/// `pointer` is NULL or valid for `length` elements that nobody else uses during the call.
pub(super) unsafe fn array_mut<'a, T>(name: &str, pointer: *mut T, length: usize) -> Outcome<&'a mut [T]> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_array(name, pointer, length)?;
    // SAFETY: not NULL, aligned, below isize::MAX bytes; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

fn check_array<T>(name: &str, pointer: *const T, length: usize) -> Outcome {
    if pointer.is_null() {
        return Err(null(name));
    }
    check_alignment(name, pointer)?;
    let fits = length.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= isize::MAX as usize);
    if fits { Ok(()) } else { Err(ErrorObject::argument(name, "a size that exists", &length.to_string())) }
}

fn check_alignment<T>(name: &str, pointer: *const T) -> Outcome {
    if pointer.is_aligned() {
        Ok(())
    } else {
        Err(ErrorObject::argument(name, "an aligned pointer", "another address"))
    }
}

fn null(name: &str) -> ErrorObject {
    ErrorObject::new(INVALID_ARGUMENT, &format!("{name}: expected a pointer, found NULL"))
}

/// Frees what a function of this library gave out; NULL is allowed. A panic while dropping ends here.
///
/// # Safety
/// `pointer` is NULL or came from `Box::into_raw` and is not used again.
pub(super) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(pointer) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}
