//! Properties of the fork-join protocol, each under every order of its threads that loom tries; and broken variants
//! of it, each of which some property has to catch.
#![allow(dead_code, reason = "the protocol has a method for its own tests")]

macro_rules! fork_joins {
    ($($name:ident),*) => {
        $(mod $name { include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs")); })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Every property of the protocol of this name.
        fn check(name: &str) {
            $(if name == stringify!($name) { properties!($name); })*
        }
    };
}

/// Tries `property` in all orders of at most two preemptions. Loom panics, or ends the process, where it does not hold
/// and where all threads wait.
fn holds(name: &str, property: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(property);
    println!("holds: {name}");
}

/// Each property of the protocol in module `$fork_join`.
macro_rules! properties {
    ($fork_join:ident) => {{
        use loom::sync::Arc;
        use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
        use $fork_join::ForkJoin;

        fn serving(fork_join: &Arc<ForkJoin>, count: usize) -> Vec<loom::thread::JoinHandle<()>> {
            let serve = |index| {
                let fork_join = Arc::clone(fork_join);
                loom::thread::spawn(move || fork_join.serve(index))
            };
            (1..=count).map(serve).collect()
        }

        fn end(fork_join: &ForkJoin, threads: Vec<loom::thread::JoinHandle<()>>) {
            fork_join.shut();
            threads.into_iter().for_each(|thread| thread.join().expect("a thread that serves does not panic"));
        }

        /// A share that counts itself.
        fn counting(done: &AtomicUsize) -> impl Fn(usize) + Sync {
            move |_| {
                done.fetch_add(1, SeqCst);
            }
        }

        fn fork_join() -> Arc<ForkJoin> {
            Arc::new(ForkJoin::new(std::time::Duration::ZERO))
        }

        holds("a round is over when every seat has done its share, once", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 2);
            let (done, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |_| {
                inside.fetch_add(1, SeqCst);
                done.fetch_add(1, SeqCst);
                inside.fetch_sub(1, SeqCst);
            };
            assert!(fork_join.lend(&work, 2, None).is_ok());
            assert_eq!((done.load(SeqCst), inside.load(SeqCst)), (2, 0));
            end(&fork_join, threads);
        });
        holds("rounds follow each other", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 1);
            for round in 1..=2 {
                let done = AtomicUsize::new(0);
                assert!(
                    fork_join
                        .lend(
                            &|_| {
                                _ = done.fetch_add(round, SeqCst);
                            },
                            1,
                            None
                        )
                        .is_ok()
                );
                assert_eq!(done.load(SeqCst), round);
            }
            end(&fork_join, threads);
        });
        holds("a shared round waits for those inside and for nobody else", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 2);
            let (done, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |_| {
                inside.fetch_add(1, SeqCst);
                done.fetch_add(1, SeqCst);
                inside.fetch_sub(1, SeqCst);
            };
            assert!(fork_join.share(&work, 1).is_ok());
            assert_eq!(inside.load(SeqCst), 0);
            assert!((1..=2).contains(&done.load(SeqCst)));
            end(&fork_join, threads);
        });
        holds("two lenders take turns", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 1);
            let busy = Arc::new(AtomicUsize::new(0));
            let lend = |fork_join: &ForkJoin, busy: &AtomicUsize| {
                let done = AtomicUsize::new(0);
                let work = |_| {
                    assert_eq!(busy.fetch_add(1, SeqCst), 0);
                    done.fetch_add(1, SeqCst);
                    busy.fetch_sub(1, SeqCst);
                };
                assert!(fork_join.lend(&work, 1, None).is_ok());
                assert_eq!(done.load(SeqCst), 1);
            };
            let other = {
                let (fork_join, busy) = (Arc::clone(&fork_join), Arc::clone(&busy));
                loom::thread::spawn(move || lend(&fork_join, &busy))
            };
            lend(&fork_join, &busy);
            other.join().expect("the other lender does not panic");
            end(&fork_join, threads);
        });
        holds("a panic of a share comes to its lender, and the next round works", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 1);
            let panic = fork_join.lend(&|_| std::panic::resume_unwind(Box::new(7)), 1, None).expect_err("it panicked");
            assert_eq!(panic.downcast_ref(), Some(&7));
            let done = AtomicUsize::new(0);
            assert!(fork_join.lend(&counting(&done), 1, None).is_ok());
            assert_eq!(done.load(SeqCst), 1);
            end(&fork_join, threads);
        });
        holds("a lender that is stopped before its turn lends nothing or all", || {
            let fork_join = fork_join();
            let threads = serving(&fork_join, 1);
            let stop = Arc::new(AtomicBool::new(false));
            let other = {
                let (fork_join, stop) = (Arc::clone(&fork_join), Arc::clone(&stop));
                loom::thread::spawn(move || {
                    let done = AtomicUsize::new(0);
                    assert!(fork_join.lend(&counting(&done), 1, Some(&stop)).is_ok());
                    let done = done.load(SeqCst);
                    assert!(done == 1 || stop.load(SeqCst), "neither done nor stopped");
                })
            };
            let done = AtomicUsize::new(0);
            assert!(fork_join.lend(&counting(&done), 1, None).is_ok());
            assert_eq!(done.load(SeqCst), 1);
            stop.store(true, SeqCst);
            other.join().expect("the other lender does not panic");
            end(&fork_join, threads);
        });
    }};
}

fork_joins!(
    fork_join,
    never_wakes_the_lender,
    never_wakes_a_server,
    leaves_while_somebody_is_inside,
    takes_a_seat_twice,
    forgets_the_turn,
    forgets_the_next_lender
);

/// With a name: checks that protocol here. Without: all, each in a process, as what loom finds may end one.
fn main() -> std::process::ExitCode {
    if let Some(name) = std::env::args().nth(1) {
        check(&name);
        return std::process::ExitCode::SUCCESS;
    }
    let mut right = true;
    for &name in NAMES {
        let this = std::env::current_exe().expect("a path of its own");
        let mut child = std::process::Command::new(this);
        child.arg(name);
        if name != "fork_join" {
            child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        }
        let whole = child.status().expect("a process").success();
        right &= whole == (name == "fork_join");
        match (name, whole) {
            ("fork_join", _) => {
                println!("the protocol as it is: {}", if whole { "every property holds" } else { "FAILS" })
            }
            (_, true) => println!("NOT CAUGHT: {name}"),
            (_, false) => println!("caught: {name}"),
        }
    }
    if right { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
