//! What this processor can do at best right now, measured: what benches compare kernels with.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use super::memory::{Buffer, Scratch};
use super::simd::{Kernel, Simd, run_pairs};
use super::{Cpu, Precision};
use crate::error::Result;

/// Rates of all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// f32 multiply-adds from registers to registers, 1e9 floating-point operations a second (an FMA counts 2).
    pub gflops: f64,
    /// The same of bf16 pairs with f32 sums, where the backend computes in bf16: what bounds its large products.
    pub pair_gflops: Option<f64>,
    /// Reading and writing memory beyond the caches, 1e9 bytes a second.
    pub gbytes: f64,
}

/// Multiply-adds of each sum in one go.
const STEPS: usize = 200_000;
/// Measurements of a rate, of which the best counts.
const TURNS: usize = 3;
/// Bytes that a thread copies: 32 MiB from, 32 MiB to.
const COPY: usize = 64 << 20;
/// Bytes that a thread copies at least, so that starting it does not count.
const LEAST_COPY: usize = 16 << 20;

impl Cpu {
    /// The multiply-add rate of this moment: some milliseconds of nothing else. Machines that do other work besides
    /// differ from one moment to the next, so benches measure it on both sides of each run.
    ///
    /// # Errors
    /// Memory.
    pub fn fma_rate(&self) -> Result<f64> {
        let tasks = 4 * self.threads();
        let operations = tasks * self.level.sums() * STEPS * 2 * self.level.lanes();
        self.best_rate(operations, tasks, |_| {
            black_box(self.level.run(Fma));
        })
    }

    /// As [`Cpu::fma_rate`] of bf16 pairs; `None` for a backend in f32.
    ///
    /// # Errors
    /// Memory.
    pub fn pair_rate(&self) -> Result<Option<f64>> {
        if self.precision != Precision::Bf16 {
            return Ok(None);
        }
        let tasks = 4 * self.threads();
        let operations = tasks * self.level.sums() * STEPS * 4 * self.level.lanes();
        let rate = self.best_rate(operations, tasks, |_| {
            black_box(run_pairs(Dots));
        })?;
        Ok(Some(rate))
    }

    /// The rate at which all threads together copy from one half of `bytes` to the other, again and again: where that
    /// is little, in their caches. 1e9 bytes a second, read and written.
    ///
    /// # Errors
    /// Memory for the copies.
    pub fn copy_rate(&self, bytes: usize) -> Result<f64> {
        let threads = self.threads();
        let half = (bytes / (2 * threads * size_of::<f32>())).max(1);
        let buffers =
            (0..threads).map(|_| Ok(Mutex::new([Buffer::new("copies", half)?, Buffer::new("copies", half)?])));
        let buffers = buffers.collect::<Result<Vec<_>>>()?;
        let once = 2 * half * size_of::<f32>();
        let times = LEAST_COPY.div_ceil(once);
        self.best_rate(threads * once * times, threads, |i| {
            if let Ok(mut pair) = buffers[i].lock() {
                let [from, to] = &mut *pair;
                for _ in 0..times {
                    black_box(&mut *to).as_mut_slice().copy_from_slice(black_box(&*from).as_slice());
                }
            }
        })
    }

    /// The rate of each of them now.
    ///
    /// # Errors
    /// Memory for the copies.
    pub fn ceiling(&self) -> Result<Ceiling> {
        let gbytes = self.copy_rate(COPY * self.threads())?;
        Ok(Ceiling { gflops: self.fma_rate()?, pair_gflops: self.pair_rate()?, gbytes })
    }

    /// 1e9 of `operations` a second, which all tasks do together.
    fn best_rate(&self, operations: usize, tasks: usize, task: impl Fn(usize) + Sync + Send) -> Result<f64> {
        let idle = Scratch::new(0, self.threads())?;
        let mut best: f64 = 0.0;
        for _ in 0..TURNS {
            let start = Instant::now();
            self.threads.inside(None, |team| {
                team.each(&idle, tasks, |i, _| task(i));
                Ok(())
            })?;
            best = best.max(operations as f64 / start.elapsed().as_secs_f64() * 1e-9);
        }
        Ok(best)
    }
}

impl super::Level {
    fn sums(self) -> usize {
        self.run(Sums)
    }
}

struct Sums;

impl Kernel for Sums {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::SUMS
    }
}

/// `STEPS` times `next(sum)` for each of `S::SUMS` sums. `tools/check_ceiling.sh` looks at the loop: one that reads or
/// writes memory measures the memory.
#[inline(always)]
fn rounds<S: Simd>(s: S, next: impl Fn(S::V) -> S::V) -> f32 {
    const { assert!(S::SUMS == 12 || S::SUMS == 24) };
    if S::SUMS == 12 { rounds_of::<S, 12>(s, next) } else { rounds_of::<S, 24>(s, next) }
}

#[inline(always)]
fn rounds_of<S: Simd, const SUMS: usize>(s: S, next: impl Fn(S::V) -> S::V) -> f32 {
    let mut sums = [s.splat(black_box(1.0)); SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = next(*sum);
        }
    }
    let mut total = s.splat(0.0);
    // Out of the compiler's sight, or it keeps the portable sums a second time, in the order of their total.
    for sum in black_box(sums) {
        total = s.add(total, sum);
    }
    s.sum(total)
}

struct Fma;

impl Kernel for Fma {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        rounds(
            s,
            #[inline(always)]
            |sum| s.fma(sum, a, b),
        )
    }
}

struct Dots;

impl Kernel for Dots {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // Halves of small numbers; the sums never leave what f32 holds.
        let (a, b) = (s.splat(black_box(1e-3)), s.splat(black_box(1e-3)));
        rounds(
            s,
            #[inline(always)]
            |sum| s.dot_pairs(sum, a, b),
        )
    }
}
