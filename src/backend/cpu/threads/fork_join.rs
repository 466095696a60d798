//! Work on one thread's stack, lent to others. Nothing is allocated, unless more than [`QUEUE`] lenders wait.

use std::any::Any;
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Called with the number of the thread that does a share of it.
pub(super) type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Lenders that have room to wait for their turn from the start.
const QUEUE: usize = 64;

/// How often a lender that waits for its turn looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// What a panic carries.
pub(super) type Payload = Box<dyn Any + Send>;

/// One side lends work, one piece at a time; the other side, threads in [`ForkJoin::serve`], takes seats in it.
///
/// Everything is decided under one lock. The two atomics repeat a little of it, so that threads can wait a moment for a
/// change without sleeping; a stale one costs time, never truth.
pub(super) struct ForkJoin {
    state: Mutex<State>,
    /// [`State::round`].
    round: AtomicUsize,
    /// [`State::is_over`].
    over: AtomicBool,
    /// A round began, or no more will.
    opened: Condvar,
    /// A round is over.
    left: Condvar,
    /// The lender before has gone.
    turn: Condvar,
    /// How long a thread looks for a change before it sleeps.
    patience: Duration,
}

#[derive(Default)]
struct State {
    /// The work of this round, while somebody may enter it or is inside.
    work: Option<Work<'static>>,
    /// Counts the pieces of work.
    round: usize,
    /// How many threads may still enter.
    seats: usize,
    /// How many threads are in `work`, or still about to leave.
    inside: usize,
    /// How many threads sleep until a round begins.
    asleep: usize,
    /// The lender sleeps until this round is over.
    lender_asleep: bool,
    /// A panic of a thread that was inside.
    panic: Option<Payload>,
    /// No more rounds.
    shut: bool,
    /// Counts the lenders that have come: the ticket of the next one.
    came: usize,
    /// Tickets of the lenders that are here, in the order in which they came. It is the first one's turn.
    queue: VecDeque<usize>,
}

impl State {
    fn is_over(&self) -> bool {
        self.seats == 0 && self.inside == 0
    }
}

impl ForkJoin {
    pub fn new(patience: Duration) -> ForkJoin {
        let (round, over) = (AtomicUsize::new(0), AtomicBool::new(true));
        let (opened, left, turn) = (Condvar::new(), Condvar::new(), Condvar::new());
        let state = Mutex::new(State { queue: VecDeque::with_capacity(QUEUE), ..State::default() });
        ForkJoin { state, round, over, opened, left, turn, patience }
    }

    /// Lends `work` to `seats` other threads and returns when all of them have done their shares. Where `stop` is set
    /// before the lender's turn has come, nothing is lent.
    ///
    /// # Errors
    /// What a share panicked with.
    pub fn lend(&self, work: Work<'_>, seats: usize, stop: Option<&AtomicBool>) -> Result<(), Payload> {
        self.lend_beside(work, seats, stop, || ())
    }

    /// Does share 0 of `work` here, and lends it to at most `seats` other threads: those that have come when share 0 is
    /// done. A thread that the system lets wait holds nobody up.
    ///
    /// # Errors
    /// What a share panicked with.
    pub fn share(&self, work: Work<'_>, seats: usize) -> Result<(), Payload> {
        let mut own = Ok(());
        let here = || {
            own = catch_unwind(AssertUnwindSafe(|| work(0)));
            self.close();
        };
        let others = self.lend_beside(work, seats, None, here);
        own.and(others)
    }

    /// Lends `work`, calls `here`, which must not panic, and waits until the round is over. Nothing of that where
    /// `stop` is set before its turn.
    #[allow(unsafe_code, reason = "scoped threads would be started each time")]
    fn lend_beside(
        &self,
        work: Work<'_>,
        seats: usize,
        stop: Option<&AtomicBool>,
        here: impl FnOnce(),
    ) -> Result<(), Payload> {
        // SAFETY: threads call `work` from where they took a seat until they leave, and find it in `State::work` alone.
        // Once `open` has put it there nothing panics, so this function does not end, in either way, before `finish`
        // has seen that no seat is free and nobody inside, and emptied `State::work` under the same lock. Where `open`
        // says no it has not put it there.
        let work = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        if !self.open(work, seats, stop) {
            return Ok(());
        }
        here();
        self.finish()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round when the lenders before have gone; false where `stop` was set before that.
    fn open(&self, work: Work<'static>, seats: usize, stop: Option<&AtomicBool>) -> bool {
        let mut state = self.lock();
        let ticket = state.came;
        state.came = ticket.wrapping_add(1);
        state.queue.push_back(ticket);
        while state.queue.front() != Some(&ticket) {
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                state.queue.retain(|&waiting| waiting != ticket);
                return false;
            }
            state = match stop {
                None => self.turn.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(_) => self.turn.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        state.work = Some(work);
        state.seats = seats;
        self.over.store(state.is_over(), Ordering::Relaxed);
        let wake = state.asleep.min(seats);
        self.next_round(state);
        (0..wake).for_each(|_| self.opened.notify_one());
        true
    }

    fn next_round(&self, mut state: MutexGuard<'_, State>) {
        state.round = state.round.wrapping_add(1);
        self.round.store(state.round, Ordering::Release);
    }

    /// Lets nobody in any more.
    fn close(&self) {
        let mut state = self.lock();
        state.seats = 0;
        self.over.store(state.is_over(), Ordering::Release);
    }

    fn finish(&self) -> Result<(), Payload> {
        self.spin(|| self.over.load(Ordering::Acquire));
        let mut state = self.lock();
        state.lender_asleep = true;
        state = self.left.wait_while(state, |state| !state.is_over()).unwrap_or_else(PoisonError::into_inner);
        state.lender_asleep = false;
        state.work = None;
        state.queue.pop_front();
        let (others, panic) = (!state.queue.is_empty(), state.panic.take());
        drop(state);
        if others {
            self.turn.notify_all();
        }
        panic.map_or(Ok(()), Err)
    }

    /// Takes part in round after round as thread `index`, until it is shut.
    pub fn serve(&self, index: usize) {
        let mut seen = 0;
        while let Some(work) = self.enter(&mut seen) {
            self.leave(catch_unwind(AssertUnwindSafe(|| work(index))));
        }
    }

    /// Waits for a round after `seen` with a free seat, and takes it. `None` once it is shut.
    fn enter(&self, seen: &mut usize) -> Option<Work<'static>> {
        loop {
            self.spin(|| self.round.load(Ordering::Acquire) != *seen);
            let mut state = self.lock();
            while state.round == *seen && !state.shut {
                state.asleep += 1;
                state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
            }
            if state.shut {
                return None;
            }
            *seen = state.round;
            if state.seats > 0 {
                state.seats -= 1;
                state.inside += 1;
                return state.work;
            }
        }
    }

    fn leave(&self, outcome: Result<(), Payload>) {
        let mut state = self.lock();
        state.inside -= 1;
        // A second panic is dropped when the lock is not held any more.
        let _second = outcome.err().and_then(|payload| state.panic.replace(payload));
        let over = state.is_over();
        self.over.store(over, Ordering::Release);
        let wake = over && state.lender_asleep;
        drop(state);
        if wake {
            self.left.notify_one();
        }
    }

    /// How many lenders have come.
    #[cfg(test)]
    pub fn came(&self) -> usize {
        self.lock().came
    }

    /// Ends every [`ForkJoin::serve`] that is not inside a round.
    pub fn shut(&self) {
        let mut state = self.lock();
        state.shut = true;
        self.next_round(state);
        self.opened.notify_all();
    }

    /// Looks until `ready`, or for as long as its patience lasts. Whoever else wants the core goes first.
    fn spin(&self, ready: impl Fn() -> bool) {
        const LOOKS: usize = 32;
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if ready() {
                    return;
                }
                spin_loop();
            }
            if start.elapsed() >= self.patience {
                return;
            }
            yield_now();
        }
    }
}
