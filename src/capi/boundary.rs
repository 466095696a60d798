//! The one way in and out of the library: no panic crosses it, every failure becomes a status and an error object.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::panics::Quiet;
use super::status::{medsegx_error, medsegx_status};

/// What a function body returns.
pub(super) type Outcome<T = ()> = Result<T, medsegx_error>;

/// Runs `body`. A failure is put into `*error` when `error` is not NULL.
///
/// # Safety
/// `error` is NULL or valid for a write.
pub(super) unsafe fn guard(error: *mut *mut medsegx_error, body: impl FnOnce() -> Outcome) -> medsegx_status {
    if !error.is_null() {
        // SAFETY: the caller's promise.
        unsafe { error.write(std::ptr::null_mut()) };
    }
    let _quiet = Quiet::begin();
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        let place = Quiet::place();
        Err(medsegx_error::new(medsegx_status::Internal, &format!("internal error{place}: {text}")))
    });
    match outcome {
        Ok(()) => medsegx_status::Ok,
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

/// Sets a required out-pointer to NULL, so that it has a value whatever happens.
///
/// # Safety
/// `out` is NULL or valid for a write, and nobody else uses it during the call.
pub(super) unsafe fn cleared<'a, T>(out: *mut *mut T) -> Outcome<&'a mut *mut T> {
    check_alignment("out", out)?;
    // SAFETY: the caller's promise.
    let out = unsafe { out.as_mut() }.ok_or_else(|| null("out"))?;
    *out = std::ptr::null_mut();
    Ok(out)
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
        Err(_) => Err(medsegx_error::argument(name, "UTF-8", "other bytes")),
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

/// Refuses arrays whose elements are `stride` bytes apart and that no memory can hold, are NULL, or are not aligned for T.
pub(super) fn check_strided<T>(name: &str, pointer: *const T, stride: usize, count: usize) -> Outcome {
    if !stride.is_multiple_of(align_of::<T>()) || stride < size_of::<T>() {
        let expected = format!("a multiple of {} of at least {}", align_of::<T>(), size_of::<T>());
        return Err(medsegx_error::argument(&format!("size of an element of {name}"), &expected, &stride.to_string()));
    }
    if count == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    check_alignment(name, pointer)?;
    check_bytes(name, count, stride)
}

fn check_array<T>(name: &str, pointer: *const T, length: usize) -> Outcome {
    if pointer.is_null() {
        return Err(null(name));
    }
    check_alignment(name, pointer)?;
    check_bytes(name, length, size_of::<T>())
}

fn check_bytes(name: &str, count: usize, size: usize) -> Outcome {
    let fits = count.checked_mul(size).is_some_and(|bytes| bytes <= isize::MAX as usize);
    if fits { Ok(()) } else { Err(medsegx_error::argument(name, "a size that exists", &count.to_string())) }
}

fn check_alignment<T>(name: &str, pointer: *const T) -> Outcome {
    if pointer.is_aligned() {
        Ok(())
    } else {
        Err(medsegx_error::argument(name, "an aligned pointer", "another address"))
    }
}

pub(super) fn null(name: &str) -> medsegx_error {
    medsegx_error::argument(name, "a pointer", "NULL")
}
