//! Ctrl-C and SIGTERM: the first asks the run to stop and leave nothing half-written, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Exit code of a run that was asked to stop, as shells have it for SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether the user asked to stop.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. Only the binary does this; the library installs no handlers.
    ///
    /// # Errors
    /// The operating system refuses the handler.
    pub fn listen() -> anyhow::Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        let handler = move || {
            if seen.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(EXIT_CODE));
            }
        };
        ctrlc::set_handler(handler).context("cannot listen for interrupts")?;
        Ok(Interrupt(flag))
    }

    /// As [`Interrupt::listen`], where later signals change nothing: schedulers send several.
    ///
    /// # Errors
    /// The operating system refuses the handler.
    pub fn listen_once() -> anyhow::Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        ctrlc::set_handler(move || seen.store(true, Ordering::SeqCst)).context("cannot listen for interrupts")?;
        Ok(Interrupt(flag))
    }

    /// True once the user asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What is set once the user asked to stop.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Goes on, or ends the run once the user asked to stop.
    ///
    /// # Errors
    /// [`medsegx::Error::Cancelled`].
    pub fn check(&self) -> medsegx::Result<()> {
        if self.requested() { Err(medsegx::Error::Cancelled) } else { Ok(()) }
    }
}
