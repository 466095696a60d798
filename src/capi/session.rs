//! `medsegx_session`: one thread's memory for a model, and the cancel token.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{Outcome, cleared, guard, required};
use super::codes::medsegx_mask;
use super::model::medsegx_model;
use super::panics::free;
use super::status::{medsegx_error, medsegx_status};
use super::structs::medsegx_session_options;
use super::versioned;
use crate::executor::Point;
use crate::mask::MaskChoice;
use crate::memory::reserve;
use crate::segment::{Capacity, Frame, Segmenter};

/// Largest side of a slice that a session may be asked for.
const LONGEST_SIDE: u32 = 1 << 15;

/// All the memory that runs of a model need. One call at a time; another one meanwhile is refused.
pub struct medsegx_session {
    busy: AtomicBool,
    state: UnsafeCell<State>,
}

/// What a call with a session uses.
pub(super) struct State {
    pub(super) segmenter: Segmenter,
    pub(super) options: medsegx_session_options,
    /// Grey levels of the slice at hand, `[h, w, channels]`.
    pub(super) grey: Vec<u8>,
    /// Bits of what looks wrong with it.
    pub(super) doubts: u64,
    /// Pixels of which percentiles are taken.
    pub(super) scratch: Vec<f32>,
    /// The mask at the slice's own size, `[h, w]`.
    pub(super) inside: Vec<u8>,
    /// Points as the caller gives them: x, y, foreground.
    pub(super) clicks: Vec<(f64, f64, bool)>,
    /// Points in the model's frame.
    pub(super) points: Vec<Point>,
    /// The slice that medsegx_session_set_slice placed last, as long as it is there.
    pub(super) slice: Option<Frame>,
    poisoned: bool,
}

impl State {
    /// How many logits a prompt has.
    pub(super) fn of_logits(&self) -> usize {
        self.segmenter.masks().count() * self.segmenter.model().config().logits_size().pow(2)
    }

    /// Runs `body` on a session that is whole; a panic inside poisons it.
    pub(super) fn run(&mut self, body: impl FnOnce(&mut State) -> Outcome) -> Outcome {
        if self.poisoned {
            let words = "this session failed internally before; free it and make another";
            return Err(medsegx_error::new(medsegx_status::Poisoned, words));
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

/// Runs `body` with the session's memory, unless a call is doing so already.
///
/// # Safety
/// `session` is NULL or valid.
pub(super) unsafe fn with(session: *const medsegx_session, body: impl FnOnce(&mut State) -> Outcome) -> Outcome {
    struct Free<'a>(&'a AtomicBool);
    impl Drop for Free<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    // SAFETY: the caller's promise.
    let session = unsafe { required("session", session) }?;
    if session.busy.swap(true, Ordering::Acquire) {
        return Err(medsegx_error::argument("session", "one call at a time", "a call that has not returned"));
    }
    let _free = Free(&session.busy);
    // SAFETY: `busy` was false and is true now: nobody else has the state until `_free` is dropped.
    unsafe { &mut *session.state.get() }.run(body)
}

/// Makes a session with all the memory that its calls need. It keeps its model alive.
///
/// `model` is required; any number of threads may make sessions of one model at once. `options` may be NULL: defaults.
/// `out` is required; it is set to NULL at once, and on success to a session that medsegx_session_free frees. Fails with
/// MEDSEGX_STATUS_INVALID_ARGUMENT, _OUT_OF_MEMORY and _DEVICE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_new(
    model: *const medsegx_model,
    options: *const medsegx_session_options,
    out: *mut *mut medsegx_session,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let model = required("model", model)?;
            let state = UnsafeCell::new(create(model, versioned::read(options)?)?);
            *out = Box::into_raw(Box::new(medsegx_session { busy: AtomicBool::new(false), state }));
            Ok(())
        })
    }
}

/// Frees a session that no call uses. NULL is allowed. Any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_free(session: *mut medsegx_session) {
    // SAFETY: `session` is NULL or came from this library and is freed once, as the header asks.
    unsafe { free(session) };
}

fn create(model: &medsegx_model, options: medsegx_session_options) -> Outcome<State> {
    for (name, value, least, most) in [
        ("max_height", options.max_height, 1, LONGEST_SIDE),
        ("max_width", options.max_width, 1, LONGEST_SIDE),
        ("max_points", options.max_points, 1, 1024),
        ("batch", options.batch, 1, 512),
        ("kept_slices", options.kept_slices, 0, 1 << 20),
    ] {
        if !(least..=most).contains(&value) {
            return Err(medsegx_error::argument(name, &format!("{least} to {most}"), &value.to_string()));
        }
    }
    let choice = match options.mask {
        auto if auto == medsegx_mask::Auto as i32 => MaskChoice::Auto,
        token @ 0..=3 => MaskChoice::Fixed(token as usize),
        other => return Err(medsegx_error::argument("mask", "-1 (automatic) or 0 to 3", &other.to_string())),
    };
    let points = options.max_points as usize + 1; // where there is no box, one more that is no point
    let capacity = Capacity { batch: options.batch as usize, points, mask_prompt: options.mask_prompts != 0 };
    let (height, width) = (options.max_height as usize, options.max_width as usize);
    let mut segmenter = Segmenter::new(&model.model, capacity, choice)?;
    segmenter.prepare(height, width, 3)?;
    if options.kept_slices > 0 {
        segmenter.keep(options.kept_slices as usize, None)?;
    }
    Ok(State {
        segmenter,
        options,
        doubts: 0,
        grey: reserve(height * width * 3, "a session")?,
        scratch: reserve(height * width * 3, "a session")?,
        inside: reserve(height * width, "a session")?,
        clicks: reserve(points, "a session")?,
        points: reserve(points + 2, "a session")?,
        slice: None,
        poisoned: false,
    })
}

/// A flag that stops runs. Any number of threads may use one.
pub struct medsegx_cancel(Arc<AtomicBool>);

/// Makes a flag that is not set. `out` is required; it is set to NULL at once, and on success to a flag that
/// medsegx_cancel_free frees. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_new(
    out: *mut *mut medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            *out = Box::into_raw(Box::new(medsegx_cancel(Arc::new(AtomicBool::new(false)))));
            Ok(())
        })
    }
}

/// Asks runs that were given this flag to stop (1), or lets runs go on (0). On the CPU a run stops within some
/// milliseconds, also while a volume's voxels are copied and looked through; on a GPU with its stage or batch. NULL is
/// ignored. Any thread, at any time; async-signal-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_set(cancel: *const medsegx_cancel, set: i32) {
    // SAFETY: `cancel` is NULL or valid, as the header asks.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.store(set != 0, Ordering::SeqCst);
    }
}

/// Frees a flag that no call uses any more. NULL is allowed. Any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_cancel_free(cancel: *mut medsegx_cancel) {
    // SAFETY: `cancel` is NULL or came from this library and is freed once, as the header asks.
    unsafe { free(cancel) };
}

/// Does `work` with the segmenter looking at the caller's flag before each task.
///
/// # Safety
/// `cancel` is NULL or valid.
pub(super) unsafe fn stoppable<T>(
    state: &mut State,
    cancel: *const medsegx_cancel,
    work: impl FnOnce(&mut State) -> Outcome<T>,
) -> Outcome<T> {
    // SAFETY: the caller's promise.
    let flag = unsafe { cancel.as_ref() }.map(|cancel| Arc::clone(&cancel.0));
    state.segmenter.set_stop(flag);
    let done = work(state);
    state.segmenter.set_stop(None);
    done
}

/// The caller's flag, or one that nobody sets, for whatever keeps it.
///
/// # Safety
/// `cancel` is NULL or valid.
pub(super) unsafe fn shared_flag(cancel: *const medsegx_cancel) -> Arc<AtomicBool> {
    // SAFETY: the caller's promise.
    unsafe { cancel.as_ref() }.map_or_else(Arc::default, |cancel| Arc::clone(&cancel.0))
}

/// The caller's flag, for whatever looks at it between pieces of its work.
///
/// # Safety
/// `cancel` is NULL or valid for `'a`.
pub(super) unsafe fn flag<'a>(cancel: *const medsegx_cancel) -> Option<&'a AtomicBool> {
    // SAFETY: the caller's promise.
    unsafe { cancel.as_ref() }.map(|cancel| &*cancel.0)
}

/// True when the caller asked to stop.
///
/// # Safety
/// `cancel` is NULL or valid.
pub(super) unsafe fn cancelled(cancel: *const medsegx_cancel) -> bool {
    // SAFETY: the caller's promise.
    unsafe { flag(cancel) }.is_some_and(|flag| flag.load(Ordering::SeqCst))
}
