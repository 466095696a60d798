//! Hashes that a thread computes beside other work, as loading what is hashed.
//!
//! ```
//! use medsegx::weights::{Hashing, sha256};
//!
//! # fn main() -> medsegx::Result<()> {
//! let hashing = Hashing::start(|| Ok(sha256(b"weights")));
//! // Loading goes here.
//! assert_eq!(hashing.join()?, sha256(b"weights"));
//! assert_eq!(Hashing::done(sha256(b"weights")).known(), Some(&sha256(b"weights")));
//! # Ok(())
//! # }
//! ```

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::{Error, Result};

/// What becomes of hashes that nothing waits for yet. Dropped, the thread is left to end by itself.
pub struct Hashing<T> {
    done: OnceLock<T>,
    coming: Mutex<Option<Coming<T>>>,
}

struct Coming<T> {
    compute: Arc<dyn Fn() -> Result<T> + Send + Sync>,
    /// `None` before it begins, where none could be had, and behind one that failed: then who asks computes.
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Hashing<T> {
    /// Computes on another thread, or where it is asked for if none can be had.
    pub fn start(compute: impl Fn() -> Result<T> + Send + Sync + 'static) -> Hashing<T> {
        let hashing = Hashing::later(compute);
        hashing.begin();
        hashing
    }

    /// Computes from [`Hashing::begin`] on, or where it is asked for.
    pub fn later(compute: impl Fn() -> Result<T> + Send + Sync + 'static) -> Hashing<T> {
        let coming = Coming { compute: Arc::new(compute), thread: None };
        Hashing { done: OnceLock::new(), coming: Mutex::new(Some(coming)) }
    }

    /// Computes what is not known on another thread from now on.
    pub fn begin(&self) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(coming)) = (self.done.get(), coming.as_mut())
            && coming.thread.is_none()
        {
            // Shared: a thread that is refused takes what it was given with it.
            let beside = Arc::clone(&coming.compute);
            coming.thread = Builder::new().name("medsegx-hash".into()).spawn(move || beside()).ok();
        }
    }
}

impl<T> Hashing<T> {
    /// What is known without computing.
    pub fn done(hashes: T) -> Hashing<T> {
        Hashing { done: OnceLock::from(hashes), coming: Mutex::new(None) }
    }

    /// What was known from the start, or was waited for.
    pub fn known(&self) -> Option<&T> {
        self.done.get()
    }

    /// Waits for the thread. Behind a failure, who calls next tries again.
    ///
    /// # Errors
    /// Those of computing; [`Error::Internal`] when that panicked.
    pub fn wait(&self) -> Result<&T> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(coming)) = (self.done.get(), coming.as_mut()) {
            let panicked = |_| Err(Error::internal("hashing", "it panicked"));
            let result = match coming.thread.take() {
                Some(thread) => thread.join().unwrap_or_else(panicked),
                None => (coming.compute)(),
            };
            return result.map(|hashes| self.done.get_or_init(|| hashes));
        }
        self.done.get().ok_or_else(|| Error::internal("hashing", "there is nothing to hash"))
    }

    /// As [`Hashing::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn join(self) -> Result<T> {
        self.wait()?;
        self.done.into_inner().ok_or_else(|| Error::internal("hashing", "there is nothing to hash"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn without_a_thread_it_is_computed_when_it_is_asked_for() {
        let later = Hashing::later(|| Ok("hash"));
        assert!(later.known().is_none());
        assert_eq!(later.join().unwrap(), "hash");
    }

    #[test]
    fn what_computing_comes_to_reaches_who_waits() {
        assert_eq!(Hashing::start(|| Ok(7)).join().unwrap(), 7);
        let cancelled = Hashing::<u8>::start(|| Err(Error::Cancelled)).join();
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
        let panicked = Hashing::<u8>::start(|| panic!("as a bug would")).join();
        assert!(matches!(panicked, Err(Error::Internal { .. })), "{panicked:?}");
    }

    #[test]
    fn behind_a_failure_who_waits_next_tries_again() {
        let tries = AtomicUsize::new(0);
        let second = move || match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::Cancelled),
            _ => Ok("hash"),
        };
        let hashing = Hashing::start(second);
        assert!(matches!(hashing.wait(), Err(Error::Cancelled)));
        assert_eq!(*hashing.wait().unwrap(), "hash");
        assert_eq!(hashing.known(), Some(&"hash"));
    }
}
