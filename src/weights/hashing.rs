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

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::{Error, Result};

/// What becomes of hashes that nothing waits for yet. Dropped, the thread is left to end by itself.
pub struct Hashing<T>(State<T>);

enum State<T> {
    Done(T),
    Coming(JoinHandle<Result<T>>),
    /// No thread could be had: computed when it is asked for.
    Later(Arc<dyn Fn() -> Result<T> + Send + Sync>),
}

impl<T: Send + 'static> Hashing<T> {
    /// Computes on another thread, or in [`Hashing::join`] where none can be had.
    pub fn start(compute: impl Fn() -> Result<T> + Send + Sync + 'static) -> Hashing<T> {
        // Shared: a thread that is refused takes what it was given with it.
        let compute = Arc::new(compute);
        let beside = Arc::clone(&compute);
        let thread = Builder::new().name("medsegx-hash".into()).spawn(move || beside());
        Hashing(thread.map_or_else(|_| State::Later(compute), State::Coming))
    }
}

impl<T> Hashing<T> {
    /// What is known without computing.
    pub fn done(hashes: T) -> Hashing<T> {
        Hashing(State::Done(hashes))
    }

    /// What was known from the start.
    pub fn known(&self) -> Option<&T> {
        match &self.0 {
            State::Done(hashes) => Some(hashes),
            State::Coming(_) | State::Later(_) => None,
        }
    }

    /// Waits for the thread.
    ///
    /// # Errors
    /// Those of computing; [`Error::Internal`] when that panicked.
    pub fn join(self) -> Result<T> {
        match self.0 {
            State::Done(hashes) => Ok(hashes),
            State::Coming(thread) => thread.join().unwrap_or_else(|_| Err(Error::internal("hashing", "it panicked"))),
            State::Later(compute) => compute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_it_is_computed_when_it_is_asked_for() {
        let later = Hashing(State::Later(Arc::new(|| Ok("hash"))));
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
}
