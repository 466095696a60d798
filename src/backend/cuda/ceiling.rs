//! What this device can do at best right now, measured by `kernels/ceiling_mma.ptx.j2` and
//! `kernels/ceiling_copy.ptx.j2`: what benches compare kernels with.

use super::Cuda;
use super::driver::{Arg, Driver, Queue};
use crate::error::{Error, Result};

/// Rates of the whole device.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// f16 products with f32 sums on tensor cores by mma.sync, 1e12 floating-point operations a second.
    pub tflops: f64,
    /// Reading and writing memory beyond the caches, 1e9 bytes a second.
    pub gbytes: f64,
}

/// Threads of a block, accumulators of a warp and bytes of a block's copy: constants of the kernels.
const MMA_THREADS: usize = 128;
const SUMS: usize = 8;
const COPY_BLOCK: usize = 16 * 256 * 4;
/// Runs of each kernel; the fastest counts.
const RUNS: usize = 10;

/// How much is computed and copied.
struct Size {
    blocks: usize,
    rounds: usize,
    copied: usize,
}

impl<D: Driver> Cuda<D> {
    /// Both rates of this moment. A device without memory of its own, the interpreter, gets little to do.
    ///
    /// # Errors
    /// A device that fails, or computes something else.
    pub fn ceiling(&self) -> Result<Ceiling> {
        let size = match self.driver.memory()? {
            Some(_) => Size { blocks: 8192, rounds: 2048, copied: 512 << 20 },
            None => Size { blocks: 2, rounds: 2, copied: 4 * COPY_BLOCK },
        };
        let flop = (size.blocks * (MMA_THREADS / 32) * SUMS * size.rounds) as f64 * f64::from(2 * 16 * 8 * 16);
        let tflops = flop / self.products(&size)? * 1e-12;
        Ok(Ceiling { tflops, gbytes: 2.0 * size.copied as f64 / self.copies(&size)? * 1e-9 })
    }

    /// Seconds of the products.
    fn products(&self, size: &Size) -> Result<f64> {
        let threads = size.blocks * MMA_THREADS;
        let out = self.driver.allocate(threads * size_of::<f32>())?;
        let args = [Arg::Pointer(self.driver.address(&out)), Arg::U32(size.rounds as u32)];
        let seconds = self.fastest("ceiling_mma", size.blocks, &args)?;
        let mut last = [0; size_of::<f32>()];
        self.driver.read(&out, (threads - 1) * size_of::<f32>(), &mut last)?;
        let (found, expected) = (f32::from_ne_bytes(last), (SUMS * 4 * 16 * size.rounds) as f32);
        if found == expected { Ok(seconds) } else { Err(self.wrong("ceiling_mma", expected, found)) }
    }

    /// Seconds of the copies.
    fn copies(&self, size: &Size) -> Result<f64> {
        let [from, to] = [self.driver.allocate(size.copied)?, self.driver.allocate(size.copied)?];
        let pattern: Vec<u8> = (0..size.copied).map(|i| (i % 251) as u8).collect();
        self.driver.write(&from, 0, &pattern)?;
        let args = [&from, &to].map(|buffer| Arg::Pointer(self.driver.address(buffer)));
        let seconds = self.fastest("ceiling_copy", size.copied / COPY_BLOCK, &args)?;
        let mut copy = vec![0; size.copied];
        self.driver.read(&to, 0, &mut copy)?;
        if copy == pattern { Ok(seconds) } else { Err(self.wrong("ceiling_copy", "a copy", "something else")) }
    }

    fn fastest(&self, entry: &str, blocks: usize, args: &[Arg]) -> Result<f64> {
        let grid = [u32::try_from(blocks).map_err(|_| self.out_of_range("blocks", blocks, u32::MAX as usize))?, 1, 1];
        let mut fastest = f64::INFINITY;
        for _ in 0..RUNS {
            let start = self.driver.record_event(Queue::Run, None)?;
            self.launch(None, entry, grid, args)?;
            let end = self.driver.record_event(Queue::Run, None)?;
            fastest = fastest.min(self.driver.elapsed(&start, &end)?.as_secs_f64());
        }
        Ok(fastest)
    }

    fn wrong(&self, entry: &str, expected: impl ToString, found: impl ToString) -> Error {
        let message = format!("got {}; needs {}", found.to_string(), expected.to_string());
        Error::Device { device: self.driver.name(), operation: format!("run {entry}"), message }
    }
}
