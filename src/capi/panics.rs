//! Panics inside a call: none is printed, and none leaves the library.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Calls of this library that are running.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Where the last panic inside a call happened. Of two at the same moment one may get the other's place.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// While one exists, panics of this copy of Rust's runtime print nothing: each of them, on whichever thread, ends in the
/// error object of a call. Outside of calls the hook that was there before goes on.
pub(super) struct Quiet;

impl Quiet {
    pub(super) fn begin() -> Quiet {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                if CALLS.load(Ordering::SeqCst) == 0 {
                    return before(panic);
                }
                let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
                *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
            }));
        });
        CALLS.fetch_add(1, Ordering::SeqCst);
        Quiet
    }

    /// Where the last panic happened, empty where that is not known.
    pub(super) fn place() -> String {
        PLACE.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Frees what a function of this library gave out; NULL is allowed. A panic while dropping ends here.
///
/// # Safety
/// `pointer` is NULL or came from `Box::into_raw` and is not used again.
pub(super) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(pointer) };
        let _quiet = Quiet::begin();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}
