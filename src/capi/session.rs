//! `medsegx_session`: one thread's memory for a model, and the cancel token.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{Outcome, free, guard, required, required_mut};
use super::model::{ModelHandle, cleared};
use super::status::{ErrorObject, POISONED, Status};
use super::structs::{self, MASK_AUTO, SessionOptions};
use crate::executor::Point;
use crate::mask::MaskChoice;
use crate::segment::{Capacity, Segmenter};

/// Largest side of a slice that a session may be asked for.
const LONGEST_SIDE: u32 = 1 << 15;

/// One thread's session.
pub struct SessionHandle {
    pub(super) segmenter: Segmenter,
    pub(super) options: SessionOptions,
    /// Grey levels of the slice at hand, `[h, w, channels]`.
    pub(super) grey: Vec<u8>,
    /// Logits at the slice's own size, `[h, w]`.
    pub(super) restored: Vec<u8>,
    /// Points as the caller gives them: x, y, foreground.
    pub(super) clicks: Vec<(f64, f64, bool)>,
    /// Points in the model's frame.
    pub(super) points: Vec<Point>,
    poisoned: bool,
}

impl SessionHandle {
    /// Runs `body` on a session that is whole; a panic inside poisons it.
    pub(super) fn run(&mut self, body: impl FnOnce(&mut SessionHandle) -> Outcome) -> Outcome {
        if self.poisoned {
            return Err(ErrorObject::new(POISONED, "this session failed internally before; free it and make another"));
        }
        match catch_unwind(AssertUnwindSafe(|| body(self))) {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.poisoned = true;
                resume_unwind(panic)
            }
        }
    }
}

/// `medsegx_session_new`: a session with all its memory. On failure `*out` is NULL.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_new(
    model: *const ModelHandle,
    options: *const SessionOptions,
    out: *mut *mut SessionHandle,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let model = required("model", model)?;
            *out = Box::into_raw(Box::new(create(model, structs::read(options)?)?));
            Ok(())
        })
    }
}

/// `medsegx_session_free`: frees a session; NULL is allowed.
///
/// # Safety
/// `session` is NULL or came from this library, is not in use and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_free(session: *mut SessionHandle) {
    // SAFETY: it came from Box::into_raw and the caller gives it back once.
    unsafe { free(session) };
}

fn create(model: &ModelHandle, options: SessionOptions) -> Outcome<SessionHandle> {
    for (name, value, most) in [
        ("max_height", options.max_height, LONGEST_SIDE),
        ("max_width", options.max_width, LONGEST_SIDE),
        ("max_points", options.max_points, 1024),
        ("batch", options.batch, 512),
    ] {
        if !(1..=most).contains(&value) {
            return Err(ErrorObject::argument(name, &format!("1 to {most}"), &value.to_string()));
        }
    }
    let choice = match options.mask {
        MASK_AUTO => MaskChoice::Auto,
        token @ 0..=3 => MaskChoice::Fixed(token as usize),
        other => return Err(ErrorObject::argument("mask", "-1 (automatic) or 0 to 3", &other.to_string())),
    };
    let points = options.max_points as usize + 1; // where there is no box, one more that is no point
    let capacity = Capacity { batch: options.batch as usize, points, mask_prompt: options.mask_prompts != 0 };
    let area = options.max_height as usize * options.max_width as usize;
    Ok(SessionHandle {
        segmenter: Segmenter::new(&model.model, capacity, choice)?,
        options,
        grey: reserved(area * 3)?,
        restored: reserved(area)?,
        clicks: reserved(points)?,
        points: reserved(points + 2)?,
        poisoned: false,
    })
}

/// An empty vector that can take `length` elements without allocating.
fn reserved<T>(length: usize) -> Outcome<Vec<T>> {
    let mut values = Vec::new();
    let bytes = (length * size_of::<T>()) as u64;
    values.try_reserve_exact(length).map_err(|_| crate::Error::Memory { what: "a session".into(), bytes })?;
    Ok(values)
}

/// A flag that stops a run from another thread.
pub struct CancelHandle(pub(super) Arc<AtomicBool>);

/// `medsegx_cancel_new`: a token that is not set. On failure `*out` is NULL.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_new(out: *mut *mut CancelHandle, error: *mut *mut ErrorObject) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            *cleared(out)? = Box::into_raw(Box::new(CancelHandle(Arc::new(AtomicBool::new(false)))));
            Ok(())
        })
    }
}

/// `medsegx_cancel_set`: asks runs with this token to stop (1) or lets later ones go on (0). Any thread, any time.
///
/// # Safety
/// `cancel` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_set(cancel: *const CancelHandle, set: i32) {
    // SAFETY: the caller's promise.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.store(set != 0, Ordering::SeqCst);
    }
}

/// `medsegx_cancel_free`: frees a token that no run uses any more; NULL is allowed.
///
/// # Safety
/// `cancel` is NULL or came from this library and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_free(cancel: *mut CancelHandle) {
    // SAFETY: it came from Box::into_raw and the caller gives it back once.
    unsafe { free(cancel) };
}

/// True when the caller asked to stop.
///
/// # Safety
/// `cancel` is NULL or valid.
pub(super) unsafe fn cancelled(cancel: *const CancelHandle) -> bool {
    // SAFETY: the caller's promise.
    unsafe { cancel.as_ref() }.is_some_and(|cancel| cancel.0.load(Ordering::SeqCst))
}

/// The session behind a required pointer.
///
/// # Safety
/// `session` is NULL or valid, and no other thread uses it during the call.
pub(super) unsafe fn session<'a>(session: *mut SessionHandle) -> Outcome<&'a mut SessionHandle> {
    // SAFETY: the caller's promise.
    unsafe { required_mut("session", session) }
}
