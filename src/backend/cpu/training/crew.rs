//! The threads of a backend at work on one step of training.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use crate::Result;
use crate::backend::cpu::memory::{Scratch, Shared};
use crate::backend::cpu::threads::Team;
use crate::backend::cpu::{Cpu, Level};

/// Scratch memory of a backend's threads, kept from step to step.
pub(crate) struct Workshop(Scratch);

/// The threads while they work. Tasks are numbered and their arithmetic depends on nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'a> {
    pub(super) level: Level,
    pub(super) team: &'a Team<'a>,
    pub(super) scratch: &'a Scratch,
}

/// Rows of a task of what is done row by row.
const ROWS: usize = 32;

impl Cpu {
    /// Scratch of `len` f32 for each thread.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub(crate) fn workshop(&self, len: usize) -> Result<Workshop> {
        Scratch::new(len, self.threads()).map(Workshop)
    }

    /// Calls `work` once with all threads. Once `stop` is set no task begins.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Cancelled`](crate::Error::Cancelled) where a task was left out.
    pub(crate) fn with_crew(
        &self,
        workshop: &Workshop,
        stop: Option<&AtomicBool>,
        work: impl FnOnce(Crew<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        self.threads.inside(stop, |team| work(Crew { level: self.level, team, scratch: &workshop.0 }))
    }
}

impl Crew<'_> {
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) where a task was left out, or is going to be.
    pub fn check(&self) -> Result<()> {
        self.team.check()
    }

    pub fn level(&self) -> Level {
        self.level
    }

    pub(super) fn threads(&self) -> usize {
        self.team.count()
    }

    /// Runs `task(i, scratch)` for each i below `tasks`.
    pub(super) fn each(&self, tasks: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        self.team.each(self.scratch, tasks, task);
    }

    /// Calls `task` with a few rows at a time, and those rows of `out`, which are `width` long.
    pub(super) fn rows(&self, width: usize, out: &mut [f32], task: impl Fn(Range<usize>, &mut [f32]) + Sync) {
        let rows = out.len() / width.max(1);
        let out = Shared::new(out);
        self.each(rows.div_ceil(ROWS), |index, _| {
            let rows = index * ROWS..rows.min((index + 1) * ROWS);
            // SAFETY: the rows of this task belong to no other.
            #[allow(unsafe_code)]
            let out = unsafe { out.part(rows.start * width, rows.len() * width) };
            task(rows, out);
        });
    }
}
