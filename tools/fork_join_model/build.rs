//! Makes modules of `src/backend/cpu/threads/fork_join.rs`, whose locks and atomics are loom's: as it is, and broken
//! in one place each. A text to replace that is not there exactly once ends the build, so that the model is of today's
//! code.

use std::path::Path;

const FORK_JOIN: &str = "../../src/backend/cpu/threads/fork_join.rs";

/// What loom has in place of the standard library's.
const LOOM: [(&str, &str); 7] = [
    (
        "use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};",
        "use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};",
    ),
    (
        "use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};",
        "use loom::sync::{Condvar, Mutex, MutexGuard};\nuse std::sync::PoisonError;",
    ),
    ("use std::thread::yield_now;", "use loom::thread::yield_now;"),
    ("use std::hint::spin_loop;", "use loom::hint::spin_loop;"),
    ("const LOOKS: usize = 32;", "const LOOKS: usize = 1;"),
    (
        "state = self.left.wait_while(state, |state| !state.is_over()).unwrap_or_else(PoisonError::into_inner);",
        "while !state.is_over() {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }",
    ),
    // An inner attribute, which an included module cannot have.
    ("//! Work on one thread's stack, lent to others.", "// Work on one thread's stack, lent to others."),
];

/// Name, what is there, and what breaks it.
const BROKEN: [(&str, &str, &str); 6] = [
    ("never_wakes_the_lender", "let wake = over && state.lender_asleep;", "let wake = false;\n        let _ = over;"),
    ("never_wakes_a_server", "let wake = state.asleep.min(seats);", "let wake = 0 * state.asleep.min(seats);"),
    ("leaves_while_somebody_is_inside", "self.seats == 0 && self.inside == 0", "self.seats == 0"),
    ("takes_a_seat_twice", "                state.seats -= 1;\n", ""),
    ("forgets_the_turn", "state.queue.pop_front();", "let _ = &state.queue;"),
    ("forgets_the_next_lender", "            self.turn.notify_all();", "            let _ = &self.turn;"),
];

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{FORK_JOIN} has to have this once: {from}");
    text.replace(from, to)
}

fn main() {
    println!("cargo::rerun-if-changed={FORK_JOIN}");
    let text = std::fs::read_to_string(FORK_JOIN).expect(FORK_JOIN);
    let text = LOOM.iter().fold(text, |text, (from, to)| replaced(&text, from, to));
    let text = text.lines().filter(|line| !line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let write = |name: &str, text: &str| {
        std::fs::write(Path::new(&out).join(format!("{name}.rs")), text.replace("pub(super)", "pub")).expect("a file");
    };
    write("fork_join", &text);
    BROKEN.iter().for_each(|(name, from, to)| write(name, &replaced(&text, from, to)));
}
