//! Hands a number from one thread to another, in the way that its argument names. ThreadSanitizer must report the ways
//! that are races and none of the others: else its silence about the engine means nothing. Two of the ways are the
//! engine's own fork-join, as it is and broken in one place.

#[path = "../../../src/backend/cpu/threads/fork_join.rs"]
mod fork_join;

/// Whose lender goes on while a thread is still inside.
#[allow(dead_code, reason = "what it says it counts is not read")]
mod broken {
    include!(concat!(env!("OUT_DIR"), "/broken.rs"));
}

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A number that nothing guards.
struct Shared(UnsafeCell<u64>);

// SAFETY: not sound, which is what some of the ways show.
unsafe impl Sync for Shared {}

impl Shared {
    fn add(&self) {
        // SAFETY: only some callers see to it that no other thread is here.
        unsafe { *self.0.get() += 1 }
    }
}

/// Counts itself and waits for the other, in a way that orders nothing else.
fn together(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
    while count.load(Ordering::Relaxed) < 2 {
        thread::yield_now();
    }
}

/// `one` on a thread of its own and `other` on a second one; both threads are there from before the first to after the
/// last, since what a thread that has ended did may be forgotten.
fn beside(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let (begun, done) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(move || {
            together(begun);
            one();
            together(done);
        });
        scope.spawn(move || {
            together(begun);
            other();
            together(done);
        });
    });
}

/// Both threads write, and nothing orders them.
fn unguarded(shared: &Shared) {
    beside(|| shared.add(), || shared.add());
}

/// One writes and raises a flag, and the other sees the flag and writes.
fn flag(shared: &Shared, raise: Ordering, look: Ordering) {
    let raised = AtomicBool::new(false);
    let wait = || {
        while !raised.load(look) {
            spin_loop();
        }
        shared.add();
    };
    let begin = || {
        shared.add();
        raised.store(true, raise);
    };
    beside(begin, wait);
}

/// Both take the lock many times, long enough that one finds it taken and sleeps.
fn lock(shared: &Shared) {
    let lock = Mutex::new(());
    let work = || {
        for _ in 0..20 {
            let _held = lock.lock();
            shared.add();
            thread::sleep(Duration::from_millis(1));
        }
    };
    beside(work, work);
}

/// One sleeps until the other says so under the lock.
fn condition(shared: &Shared) {
    let (said, saying) = (Mutex::new(false), Condvar::new());
    let wait = || {
        _ = said.lock().map(|held| saying.wait_while(held, |said| !*said));
        shared.add();
    };
    let say = || {
        thread::sleep(Duration::from_millis(50));
        shared.add();
        if let Ok(mut held) = said.lock() {
            *held = true;
        }
        saying.notify_one();
    };
    beside(wait, say);
}

/// One sends, the other receives.
fn channel(shared: &Shared) {
    let (sender, receiver) = sync_channel(0);
    let send = move || {
        thread::sleep(Duration::from_millis(50));
        shared.add();
        _ = sender.send(());
    };
    let receive = move || {
        _ = receiver.recv();
        shared.add();
    };
    beside(send, receive);
}

/// What a lender's shares touch: a number for each thread, and one that is everybody's in turn.
struct Piece<'a> {
    own: [Shared; 1 + SERVERS],
    common: &'a Shared,
}

impl Piece<'_> {
    fn share(&self, index: usize) {
        if index == SERVERS {
            // Late, so that it matters who waits for it.
            thread::sleep(Duration::from_micros(20));
        }
        self.own[index].add();
        if index == 0 {
            self.common.add();
        }
    }
}

const SERVERS: usize = 3;
const LENDERS: usize = 2;
const ROUNDS: usize = 1000;

/// Lenders that take turns; each adds to what its threads have added to as soon as it may. What is lent outlives all
/// threads, so that the broken one races and no worse.
macro_rules! rounds {
    ($fork_join:ident, $common:expr) => {{
        let fork_join = $fork_join::ForkJoin::new(Duration::from_micros(50));
        let piece = |_| Piece { own: std::array::from_fn(|_| Shared(UnsafeCell::new(0))), common: $common };
        let pieces: [Piece<'_>; LENDERS] = std::array::from_fn(piece);
        let works: Vec<_> = pieces.iter().map(|piece| move |index| piece.share(index)).collect();
        thread::scope(|scope| {
            let (fork_join, mut lenders) = (&fork_join, Vec::new());
            for index in 1..=SERVERS {
                scope.spawn(move || fork_join.serve(index));
            }
            for (piece, work) in pieces.iter().zip(&works) {
                let lend = |round| match round % 2 {
                    0 => fork_join.share(work, SERVERS),
                    _ => fork_join.lend(work, SERVERS, None),
                };
                lenders.push(scope.spawn(move || {
                    for round in 0..ROUNDS {
                        _ = lend(round);
                        piece.own.iter().for_each(Shared::add);
                    }
                }));
            }
            lenders.into_iter().for_each(|lender| _ = lender.join());
            fork_join.shut();
        });
    }};
}

fn main() {
    let shared = Shared(UnsafeCell::new(0));
    match std::env::args().nth(1).as_deref() {
        Some("unguarded") => unguarded(&shared),
        Some("relaxed") => flag(&shared, Ordering::Relaxed, Ordering::Relaxed),
        Some("released") => flag(&shared, Ordering::Release, Ordering::Acquire),
        Some("lock") => lock(&shared),
        Some("condition") => condition(&shared),
        Some("channel") => channel(&shared),
        Some("fork-join") => rounds!(fork_join, &shared),
        Some("broken-fork-join") => rounds!(broken, &shared),
        way => panic!("{way:?} is no way"),
    }
    println!("{}", shared.0.into_inner());
}
