//! The backend's own threads. Tasks are numbered; a task's arithmetic depends on its number alone, so that neither the
//! number of threads nor their timing changes a bit.
//!
//! A run goes to thread 0, which shares each step's tasks with the others. The thread that asked for the run computes
//! nothing and sleeps meanwhile: its floating-point mode, its stack and its signals do not matter. Runs take turns, in
//! the order in which they were asked for, each with all threads. Between steps the other threads look for the next one
//! for [`PATIENCE`], then they sleep. Nothing is allocated but while threads start.

mod fork_join;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::memory::Scratch;
use crate::error::{Error, Result};
use fork_join::ForkJoin;

/// Longer than between two steps, and short beside a step.
const PATIENCE: Duration = Duration::from_micros(50);

thread_local! {
    /// True on the threads of every pool.
    static POOLED: Cell<bool> = const { Cell::new(false) };
}

/// A pool that nothing else uses. Its threads end when it is dropped.
pub(super) struct Threads {
    fork_joins: Arc<ForkJoins>,
    handles: Vec<JoinHandle<()>>,
    /// The process that has the threads: a child after fork has none of them.
    process: u32,
}

struct ForkJoins {
    /// Whole runs, for thread 0.
    runs: ForkJoin,
    /// Tasks, for the others.
    tasks: ForkJoin,
}

/// How often any run has looked whether it is to stop.
#[cfg(test)]
pub(crate) static LOOKS: AtomicUsize = AtomicUsize::new(0);

/// The threads of a pool during a run.
pub(super) struct Team<'a> {
    /// None where this thread is all there is.
    tasks: Option<&'a ForkJoin>,
    count: usize,
    /// Tasks are being done.
    busy: AtomicBool,
    /// Set by whoever wants the run to end early.
    stop: Option<&'a AtomicBool>,
    /// A task was left out because of that.
    stopped: AtomicBool,
}

impl Threads {
    /// # Errors
    /// [`Error::Device`] where one of them cannot be started; the others have ended then.
    pub fn new(count: usize) -> Result<Threads> {
        let fork_joins = Arc::new(ForkJoins { runs: ForkJoin::new(Duration::ZERO), tasks: ForkJoin::new(PATIENCE) });
        let mut threads = Threads { fork_joins, handles: Vec::new(), process: std::process::id() };
        for index in 0..count {
            let fork_joins = threads.fork_joins.clone();
            let serve = move || {
                POOLED.set(true);
                if index == 0 { fork_joins.runs.serve(index) } else { fork_joins.tasks.serve(index) }
            };
            let handle = Builder::new().name(format!("medsegx-{index}")).spawn(serve).map_err(|e| Error::Device {
                device: "cpu".into(),
                operation: format!("start {count} threads"),
                message: e.to_string(),
            })?;
            threads.handles.push(handle);
        }
        Ok(threads)
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Calls `work` once, on thread 0, when the runs that were asked for before are over. A panic goes on here. On a
    /// thread of any pool, which must not wait for itself, `work` runs at once and has that thread alone. Once `stop`
    /// is set no task begins, and a run that waits for others gives up.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Cancelled`] where a task was left out or the run's turn never came; [`Error::Device`]
    /// in a child after fork, which has none of the threads.
    pub fn inside(&self, stop: Option<&AtomicBool>, work: impl FnOnce(&Team<'_>) -> Result<()> + Send) -> Result<()> {
        if std::process::id() != self.process {
            let message = "the model was made before fork, and its threads are the parent's: make one in the child";
            return Err(Error::Device { device: "cpu".into(), operation: "run".into(), message: message.into() });
        }
        if POOLED.get() {
            let team = Team::new(None, 1, stop);
            return work(&team).and_then(|()| team.check());
        }
        let run = Mutex::new((Some(work), None));
        let on_thread_0 = |_| {
            let team = Team::new(Some(&self.fork_joins.tasks), self.count(), stop);
            let (work, outcome) = &mut *run.lock().unwrap_or_else(PoisonError::into_inner);
            *outcome = work.take().map(|work| work(&team).and_then(|()| team.check()));
        };
        self.fork_joins.runs.lend(&on_thread_0, 1, stop).unwrap_or_else(|payload| resume_unwind(payload));
        let (left, outcome) = run.into_inner().unwrap_or_else(PoisonError::into_inner);
        if left.is_some() {
            return Err(Error::Cancelled);
        }
        let lost = || Error::Internal { place: "backend::cpu::threads".into(), what: "a run was not done".into() };
        outcome.unwrap_or_else(|| Err(lost()))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // Nobody would answer; the locks may have been held when the process was copied.
            self.handles.drain(..).for_each(std::mem::forget);
            return;
        }
        self.fork_joins.runs.shut();
        self.fork_joins.tasks.shut();
        for handle in self.handles.drain(..) {
            // Panics of tasks were handed to who asked for them.
            let _ = handle.join();
        }
    }
}

impl<'a> Team<'a> {
    fn new(tasks: Option<&'a ForkJoin>, count: usize, stop: Option<&'a AtomicBool>) -> Team<'a> {
        Team { tasks, count, busy: AtomicBool::new(false), stop, stopped: AtomicBool::new(false) }
    }

    /// Ends a run some of whose tasks were left out, or are going to be.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        let asked = self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if asked || self.stopped.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `task(i, scratch)` for each i below `tasks`. Threads take the next number as they become free, each with a
    /// piece of `scratch` of its own. When a task panics the panic goes on here, after the last task of each other
    /// thread.
    ///
    /// # Panics
    /// In a task of the same team, whose thread holds its piece of scratch already.
    pub fn each(&self, scratch: &Scratch, tasks: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        assert!(!self.busy.swap(true, Ordering::Relaxed), "a task may not hand out tasks");
        #[cfg(test)]
        LOOKS.fetch_add(tasks, Ordering::Relaxed);
        let next = AtomicUsize::new(0);
        let share = |index: usize| {
            let mut piece = scratch.piece(index);
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                // Kept, since whoever asked may take it back.
                if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    self.stopped.store(true, Ordering::Relaxed);
                    break;
                }
                task(i, piece.as_mut_slice());
            }
        };
        let others = (self.count - 1).min(tasks.saturating_sub(1));
        let outcome = match self.tasks {
            Some(fork_join) if others > 0 => fork_join.share(&share, others),
            _ => catch_unwind(AssertUnwindSafe(|| share(0))),
        };
        self.busy.store(false, Ordering::Relaxed);
        outcome.unwrap_or_else(|payload| resume_unwind(payload));
    }
}
