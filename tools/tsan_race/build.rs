//! Writes a broken `src/backend/cpu/threads/fork_join.rs`, whose lender goes on while a thread is still inside. A text
//! to replace that is not there exactly once ends the build.

use std::path::Path;

const FORK_JOIN: &str = "../../src/backend/cpu/threads/fork_join.rs";
const WHOLE: &str = "self.seats == 0 && self.inside == 0";

fn main() {
    println!("cargo::rerun-if-changed={FORK_JOIN}");
    let text = std::fs::read_to_string(FORK_JOIN).expect(FORK_JOIN);
    assert_eq!(text.matches(WHOLE).count(), 1, "{FORK_JOIN} has to have this once: {WHOLE}");
    // An inner attribute, which an included module cannot have.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("//!")).collect();
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let broken = lines.join("\n").replace(WHOLE, "self.seats == 0");
    std::fs::write(Path::new(&out).join("broken.rs"), broken).expect("a file");
}
