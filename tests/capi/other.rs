//! Another Rust library that a host links statically beside medsegx.

/// The sum of the numbers below `n`, on a thread, so that much of Rust's runtime is linked.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(n: u64) -> u64 {
    std::thread::spawn(move || (0..n).collect::<Vec<u64>>().iter().sum()).join().unwrap_or(0)
}
