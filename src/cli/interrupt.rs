//! Ctrl-C and SIGTERM: the first asks the run to stop and leave nothing half-written, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

/// Exit code of a run that was asked to stop, as shells have it for SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether the user asked to stop.
#[derive(Clone)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// What the first signal does itself; see [`Interrupt::at_once`].
    first: Arc<Mutex<Option<Act>>>,
}

type Act = Box<dyn FnOnce() + Send>;

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
        Ok(Interrupt { flag, first: Arc::default() })
    }

    /// As [`Interrupt::listen`], where later signals change nothing: schedulers send several.
    ///
    /// # Errors
    /// The operating system refuses the handler.
    pub fn listen_once() -> anyhow::Result<Interrupt> {
        let (flag, first) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Option<Act>>>::default());
        let (seen, act) = (Arc::clone(&flag), Arc::clone(&first));
        let handler = move || {
            seen.store(true, Ordering::SeqCst);
            if let Some(act) = act.lock().unwrap_or_else(PoisonError::into_inner).take() {
                act();
            }
        };
        ctrlc::set_handler(handler).context("cannot listen for interrupts")?;
        Ok(Interrupt { flag, first })
    }

    /// While nobody looks whether a signal came, as where much is read or written in one go: the signal itself does
    /// `act` on a thread of its own, or none of it where `None` takes its place in time.
    pub fn at_once(&self, act: Option<Act>) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// True once the user asked to stop.
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// What is set once the user asked to stop.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Goes on, or ends the run once the user asked to stop.
    ///
    /// # Errors
    /// [`medsegx::Error::Cancelled`].
    pub fn check(&self) -> medsegx::Result<()> {
        if self.requested() { Err(medsegx::Error::Cancelled) } else { Ok(()) }
    }
}
