//! The backend's own threads. Tasks are numbered; a task's arithmetic depends on its number alone, so that neither the
//! number of threads nor their timing changes a bit.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::memory::Scratch;
use crate::error::{Error, Result};

/// A pool that nothing else uses.
pub(super) struct Threads {
    pool: rayon::ThreadPool,
}

impl Threads {
    pub fn new(count: usize) -> Result<Threads> {
        let failed = |e: rayon::ThreadPoolBuildError| Error::Device {
            device: "cpu".into(),
            operation: format!("start {count} threads"),
            message: e.to_string(),
        };
        let name = |i| format!("medsegx-{i}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().map_err(failed)?;
        Ok(Threads { pool })
    }

    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on one of the threads, so that what it asks of the others need not wake this one each time.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Runs `task(i, scratch)` for each i below `tasks`. Threads take the next number as they become free.
    pub fn each(&self, scratch: &Scratch, tasks: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut piece = scratch.piece(rayon::current_thread_index().unwrap_or(0));
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                task(i, piece.as_mut_slice());
            }
        };
        self.pool.install(|| fan_out(&work, self.count().min(tasks)));
    }
}

/// Offers `work` to `count` threads. Joins live on the stack: nothing is allocated.
fn fan_out(work: &(impl Fn() + Sync), count: usize) {
    if count <= 1 {
        return work();
    }
    rayon::join(work, || fan_out(work, count - 1));
}
