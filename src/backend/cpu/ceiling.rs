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

/// Independent sums of a thread: more than latency times issue width of any processor.
const SUMS: usize = 24;
/// Multiply-adds of each sum in one go.
const STEPS: usize = 200_000;
/// f32 that a thread copies: 32 MiB.
const COPY: usize = 8 << 20;

impl Cpu {
    /// The multiply-add rate of this moment: some milliseconds of nothing else. Machines that do other work besides
    /// differ from one moment to the next, so benches measure it beside each run.
    ///
    /// # Errors
    /// Memory.
    pub fn fma_rate(&self) -> Result<f64> {
        let idle = Scratch::new(0, self.threads())?;
        let tasks = 4 * self.threads();
        let start = Instant::now();
        self.each(&idle, tasks, |_| {
            black_box(self.level.run(Fma));
        })?;
        Ok((tasks * SUMS * STEPS * 2 * self.level.lanes()) as f64 / start.elapsed().as_secs_f64() * 1e-9)
    }

    /// As [`Cpu::fma_rate`] of bf16 pairs; `None` for a backend in f32.
    ///
    /// # Errors
    /// Memory.
    pub fn pair_rate(&self) -> Result<Option<f64>> {
        if self.precision != Precision::Bf16 {
            return Ok(None);
        }
        let idle = Scratch::new(0, self.threads())?;
        let tasks = 4 * self.threads();
        let start = Instant::now();
        self.each(&idle, tasks, |_| {
            black_box(run_pairs(Dots));
        })?;
        let operations = (tasks * SUMS * STEPS * 4 * self.level.lanes()) as f64;
        Ok(Some(operations / start.elapsed().as_secs_f64() * 1e-9))
    }

    /// The best of five measurements of each rate.
    ///
    /// # Errors
    /// Memory for the copies.
    pub fn ceiling(&self) -> Result<Ceiling> {
        let threads = self.threads();
        let idle = Scratch::new(0, threads)?;
        let buffers =
            (0..threads).map(|_| Ok(Mutex::new([Buffer::new("copies", COPY)?, Buffer::new("copies", COPY)?])));
        let buffers = buffers.collect::<Result<Vec<_>>>()?;
        let mut ceiling = Ceiling { gflops: 0.0, pair_gflops: None, gbytes: 0.0 };
        for _ in 0..5 {
            ceiling.gflops = ceiling.gflops.max(self.fma_rate()?);
            ceiling.pair_gflops = self.pair_rate()?.map(|rate| rate.max(ceiling.pair_gflops.unwrap_or(0.0)));
            let start = Instant::now();
            self.each(&idle, threads, |i| {
                if let Ok(mut pair) = buffers[i].lock() {
                    let [from, to] = &mut *pair;
                    to.as_mut_slice().copy_from_slice(black_box(from.as_slice()));
                }
            })?;
            let bytes = (threads * COPY * 2 * size_of::<f32>()) as f64;
            ceiling.gbytes = ceiling.gbytes.max(bytes / start.elapsed().as_secs_f64() * 1e-9);
        }
        Ok(ceiling)
    }

    fn each(&self, idle: &Scratch, tasks: usize, task: impl Fn(usize) + Sync + Send) -> Result<()> {
        self.threads.inside(|team| {
            team.each(idle, tasks, |i, _| task(i));
            Ok(())
        })
    }
}

struct Fma;

impl Kernel for Fma {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(1.0); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        s.sum(sums.into_iter().fold(s.splat(0.0), |total, sum| s.add(total, sum)))
    }
}

struct Dots;

impl Kernel for Dots {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // Halves of small numbers; the sums never leave what f32 holds.
        let (a, b) = (s.splat(black_box(1e-3)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(1.0); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = s.dot_pairs(*sum, a, b);
            }
        }
        s.sum(sums.into_iter().fold(s.splat(0.0), |total, sum| s.add(total, sum)))
    }
}
