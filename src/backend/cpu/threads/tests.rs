//! Every task once, whatever else happens.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use super::{POOLED, Team, Threads};
use crate::backend::cpu::memory::Scratch;
use crate::error::Error;

/// Tasks that count how often each of them ran.
struct Counts(Vec<AtomicUsize>);

impl Counts {
    fn new(tasks: usize) -> Counts {
        Counts((0..tasks).map(|_| AtomicUsize::new(0)).collect())
    }

    fn run(&self, team: &Team<'_>, scratch: &Scratch) {
        team.each(scratch, self.0.len(), |i, piece| {
            piece.fill(i as f32);
            self.0[i].fetch_add(1, SeqCst);
            // Another thread with the same piece would have written another number.
            assert!(piece.iter().all(|&x| x == i as f32));
        });
    }

    fn all(&self, times: usize) -> bool {
        self.0.iter().all(|count| count.load(SeqCst) == times)
    }
}

fn scratch(threads: usize) -> Scratch {
    Scratch::new(64, threads).unwrap()
}

fn run(threads: &Threads, work: impl FnOnce(&Team<'_>) + Send) {
    let inside = |team: &Team<'_>| {
        work(team);
        Ok(())
    };
    threads.inside(None, inside).unwrap();
}

/// What a panic of `work` on thread 0 says.
fn panic_of(threads: &Threads, work: impl FnOnce(&Team<'_>) + Send) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| run(threads, work))).unwrap_err();
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string())).unwrap()
}

#[test]
fn every_task_runs_once() {
    for count in [1, 2, 3, 8] {
        let (threads, scratch) = (Threads::new(count).unwrap(), scratch(count));
        assert_eq!(threads.count(), count);
        // None, one, fewer than threads, as many, more.
        for tasks in [0, 1, count - 1, count, count + 1, 5 * count, 1000] {
            let counts = Counts::new(tasks);
            run(&threads, |team| (0..3).for_each(|_| counts.run(team, &scratch)));
            assert!(counts.all(3), "{count} threads, {tasks} tasks");
        }
    }
}

#[test]
fn thousands_of_small_steps() {
    const STEPS: usize = 20_000;
    for count in [2, 5] {
        let (threads, scratch, counts) = (Threads::new(count).unwrap(), scratch(count), Counts::new(7));
        let steps = |team: &Team<'_>| {
            for step in 1..=STEPS {
                counts.run(team, &scratch);
                // No task is left over when a step ends.
                assert!(counts.all(step));
                // Some steps come late enough that the other threads have gone to sleep.
                if step % 1000 == 0 {
                    thread::sleep(Duration::from_micros(300));
                }
            }
        };
        run(&threads, steps);
        assert!(counts.all(STEPS));
    }
}

#[test]
fn threads_share_the_tasks() {
    let (threads, scratch) = (Threads::new(4).unwrap(), scratch(4));
    // Each task waits for three others, so four threads have to be at it.
    let together = Barrier::new(4);
    let names = Mutex::new(Vec::new());
    let task = |_, _: &mut [f32]| {
        together.wait();
        names.lock().unwrap().push(thread::current().name().unwrap_or_default().to_string());
    };
    run(&threads, |team| team.each(&scratch, 4, task));
    let mut names = names.into_inner().unwrap();
    names.sort();
    assert_eq!(names, ["medsegx-0", "medsegx-1", "medsegx-2", "medsegx-3"]);
}

#[test]
fn errors_come_back() {
    let threads = Threads::new(2).unwrap();
    let wrong = || Error::Internal { place: "here".into(), what: "there".into() };
    assert!(matches!(threads.inside(None, |_| Err(wrong())), Err(Error::Internal { place, .. }) if place == "here"));
}

#[test]
fn panics_come_back_and_threads_stay() {
    let (threads, scratch) = (Threads::new(3).unwrap(), scratch(3));
    assert_eq!(panic_of(&threads, |_| panic!("of a run")), "of a run");
    let together = Barrier::new(3);
    for guilty in 0..3 {
        // All three threads have a task each; the one with task `guilty` panics, be it thread 0 or another.
        let task = |i, _: &mut [f32]| {
            together.wait();
            if i == guilty {
                panic_any(format!("of task {i}"));
            }
        };
        assert_eq!(panic_of(&threads, |team| team.each(&scratch, 3, task)), format!("of task {guilty}"));
    }
    let everywhere = |_, _: &mut [f32]| panic!("of all");
    assert_eq!(panic_of(&threads, |team| team.each(&scratch, 3, everywhere)), "of all");
    let counts = Counts::new(100);
    run(&threads, |team| counts.run(team, &scratch));
    assert!(counts.all(1));
}

#[test]
fn a_panic_waits_for_the_others() {
    let (threads, scratch) = (Threads::new(2).unwrap(), scratch(2));
    let (together, ended) = (Barrier::new(2), AtomicUsize::new(0));
    let task = |i, _: &mut [f32]| {
        together.wait();
        if i == 0 {
            panic!("first");
        }
        thread::sleep(Duration::from_millis(20));
        ended.fetch_add(1, SeqCst);
    };
    let work = |team: &Team<'_>| {
        let outcome = catch_unwind(AssertUnwindSafe(|| team.each(&scratch, 2, task)));
        // What the other task borrows is still in use before it has ended.
        assert_eq!(ended.load(SeqCst), 1);
        assert!(outcome.is_err());
    };
    run(&threads, work);
}

#[test]
fn a_run_within_a_run_has_its_thread_alone() {
    let (threads, pieces, others) = (Threads::new(2).unwrap(), scratch(2), scratch(2));
    let counts = Counts::new(10);
    let nested = |team: &Team<'_>| {
        assert_eq!(team.count(), 1);
        counts.run(team, &others);
    };
    run(&threads, |_| run(&threads, nested));
    assert!(counts.all(1));
    let task = |_, _: &mut [f32]| run(&threads, nested);
    run(&threads, |team| team.each(&pieces, 4, task));
    assert!(counts.all(5));
}

#[test]
fn a_task_may_not_hand_out_tasks() {
    for count in [1, 2] {
        let (threads, scratch) = (Threads::new(count).unwrap(), scratch(count));
        let found = panic_of(&threads, |team| team.each(&scratch, 2, |_, _| team.each(&scratch, 2, |_, _| ())));
        assert_eq!(found, "a task may not hand out tasks");
    }
}

#[test]
fn callers_take_turns() {
    const CALLERS: usize = 8;
    const RUNS: usize = 50;
    let (threads, running) = (Threads::new(2).unwrap(), AtomicUsize::new(0));
    let caller = || {
        let (scratch, counts) = (scratch(2), Counts::new(9));
        for _ in 0..RUNS {
            run(&threads, |team| {
                assert_eq!(running.fetch_add(1, SeqCst), 0, "two runs at a time");
                (0..5).for_each(|_| counts.run(team, &scratch));
                running.fetch_sub(1, SeqCst);
            });
        }
        assert!(counts.all(5 * RUNS));
    };
    thread::scope(|scope| (0..CALLERS).for_each(|_| drop(scope.spawn(caller))));
}

#[test]
fn turns_go_by_arrival() {
    const LATER: usize = 5;
    let (threads, order) = (Threads::new(1).unwrap(), Mutex::new(Vec::new()));
    let until_came = |count| {
        while threads.fork_joins.runs.came() < count {
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        let (threads, order, until_came) = (&threads, &order, &until_came);
        // The first run lasts until the others wait, one after the other.
        scope.spawn(move || run(threads, |_| until_came(1 + LATER)));
        for i in 0..LATER {
            until_came(1 + i);
            scope.spawn(move || run(threads, |_| order.lock().unwrap().push(i)));
        }
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn threads_end_with_their_pool() {
    for runs in [0, 1] {
        let (threads, scratch) = (Threads::new(4).unwrap(), scratch(4));
        let fork_joins = Arc::downgrade(&threads.fork_joins);
        (0..runs).for_each(|_| run(&threads, |team| team.each(&scratch, 9, |_, _| ())));
        drop(threads);
        // Each thread held them.
        assert_eq!(fork_joins.strong_count(), 0);
    }
}

#[test]
fn the_caller_computes_nothing() {
    let (threads, scratch) = (Threads::new(2).unwrap(), scratch(2));
    let caller = thread::current().id();
    let task = |_, _: &mut [f32]| assert!(thread::current().id() != caller && POOLED.get());
    run(&threads, |team| {
        assert!(thread::current().id() != caller);
        team.each(&scratch, 100, task);
    });
    assert!(!POOLED.get());
}

#[test]
fn no_task_begins_once_a_run_is_to_stop() {
    let scratch = Scratch::new(1, 3).unwrap();
    for count in [1, 3] {
        let threads = Threads::new(count).unwrap();
        let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = |team: &Team<'_>| {
            team.each(&scratch, 1000, |_, _| {
                if begun.fetch_add(1, SeqCst) == 10 {
                    stop.store(true, SeqCst);
                }
            });
            // Taking it back does not bring back the tasks that were left out.
            stop.store(false, SeqCst);
            Ok(())
        };
        assert!(matches!(threads.inside(Some(&stop), work), Err(Error::Cancelled)));
        assert!((11..1000).contains(&begun.load(SeqCst)), "{begun:?} tasks");
        let all = |team: &Team<'_>| {
            team.each(&scratch, 1000, |_, _| ());
            Ok(())
        };
        threads.inside(Some(&stop), all).unwrap();
    }
}

#[test]
fn the_threads_of_another_process_are_not_waited_for() {
    let mut threads = Threads::new(2).unwrap();
    threads.process ^= 1;
    let error = threads.inside(None, |_| Ok(())).unwrap_err();
    assert!(matches!(&error, Error::Device { .. }) && error.to_string().contains("before fork"), "{error}");
    threads.process ^= 1;
    threads.inside(None, |_| Ok(())).unwrap();
}

#[test]
fn a_run_that_waits_gives_up_once_it_is_to_stop() {
    let threads = Threads::new(2).unwrap();
    let (begun, go_on) = (Barrier::new(2), Barrier::new(2));
    let (stop, given_up, behind) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let come = |count| {
        while threads.fork_joins.runs.came() < count {
            thread::yield_now();
        }
    };
    let count_one = |_: &Team<'_>| {
        behind.fetch_add(1, SeqCst);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            run(&threads, |_| {
                begun.wait();
                go_on.wait();
            });
        });
        begun.wait();
        let waiting = scope.spawn(|| {
            threads.inside(Some(&stop), |_| {
                given_up.fetch_add(1, SeqCst);
                Ok(())
            })
        });
        come(2);
        let last = scope.spawn(|| run(&threads, count_one));
        come(3);
        assert!(!waiting.is_finished() && !last.is_finished());
        stop.store(true, SeqCst);
        // The first run is still going on when the second has given up.
        assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled)));
        assert!(!last.is_finished());
        go_on.wait();
    });
    assert_eq!((given_up.load(SeqCst), behind.load(SeqCst)), (0, 1), "who waits behind has their turn");
    run(&threads, count_one);
    assert_eq!(behind.load(SeqCst), 2);
}
