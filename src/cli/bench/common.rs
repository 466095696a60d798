//! What the benches share: flags, made-up work, rates.

use std::sync::Arc;
use std::time::Instant;

use medsegx::backend::Backend;
#[cfg(feature = "ptxvm")]
use medsegx::backend::Launches;
use medsegx::backend::cpu::{Ceiling, Cpu, CpuOptions, Level, Precision};
#[cfg(feature = "ptxvm")]
use medsegx::backend::cuda::Cuda;
#[cfg(feature = "ptxvm")]
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::executor::{Network, Point, Prompt, Session, SessionOptions, Slice};
use medsegx::model::{Config, Masks};
use medsegx::segment::Device;
use medsegx::weights::{Weights, synth};

use crate::cli::named::{Named, named};

/// What both benches need.
#[derive(clap::Args)]
pub struct Common {
    /// tiny, vit_b, vit_l, vit_h, litemedsam or mobile_sam, with synthetic weights
    #[arg(long, default_value = "vit_b", value_parser = named)]
    pub config: Named,
    /// 256 is MedSegX, 1024 plain SAM
    #[arg(long, default_value = "256", value_parser = ["256", "1024"])]
    pub image_size: String,
    /// cpu, cuda or cuda:N; in builds with ptxvm also ptxvm, where times say nothing of a GPU
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// CPU threads; default: all
    #[arg(long)]
    pub threads: Option<usize>,
    /// Instructions: portable, avx2 or avx512; default: the widest of this processor
    #[arg(long, value_parser = crate::cli::model_args::level)]
    pub level: Option<Level>,
    /// f32, or bf16 for the large products
    #[arg(long, default_value = "f32", value_parser = crate::cli::model_args::precision)]
    pub precision: Precision,
    /// Runs of each measurement; their median counts
    #[arg(long, default_value_t = 9, value_parser = at_least_one)]
    pub repeats: usize,
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// A number that is not 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "needs a number of at least 1".into())
}

impl Common {
    pub fn config(&self) -> Config {
        self.config.config(self.image_size == "256")
    }

    pub fn cpu(&self) -> medsegx::Result<Cpu> {
        Cpu::new(CpuOptions { threads: self.threads, level: self.level, precision: self.precision })
    }

    /// A device that this build cannot bench, or that is no single one.
    pub fn refuse(&self, device: Device) -> anyhow::Error {
        anyhow::anyhow!("--device: got {device:?}; needs cpu, or cuda:N in a build with CUDA")
    }

    /// The interpreter of the CUDA kernels.
    #[cfg(feature = "ptxvm")]
    pub fn ptxvm(&self, checks: Checks, launches: Launches) -> medsegx::Result<Cuda<Interpreter>> {
        let at_hand = || std::thread::available_parallelism().map_or(1, usize::from);
        let interpreter = Interpreter::new(self.threads.unwrap_or_else(at_hand), checks);
        Cuda::new(interpreter.with_launches(launches))
    }

    /// The path that every other is compared with.
    pub fn portable(&self) -> medsegx::Result<Cpu> {
        Cpu::new(CpuOptions { threads: self.threads, level: Some(Level::Portable), precision: Precision::F32 })
    }

    /// How far results may be from the portable path's: both in f32 are within 1e-5 of the truth.
    pub fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => 2e-5,
            Precision::Bf16 => 4e-2,
        }
    }

    pub fn network<B: Backend>(&self, backend: B) -> medsegx::Result<Arc<Network<B>>> {
        Ok(Arc::new(Network::load(&Weights::synthetic(&self.config(), 0), backend)?))
    }
}

/// A made-up picture for each of `count` slices, and a box on each.
pub struct Work {
    pub pixels: Vec<Vec<u8>>,
    pub logits: Vec<f32>,
    pub iou: Vec<f32>,
}

impl Work {
    pub fn new(config: &Config, count: usize) -> Work {
        let side = config.image_size;
        let one = |case: usize| {
            let planes = synth::image(case % 3);
            let at = |y: usize, x: usize, c: usize| planes[(c * 256 + y * 256 / side) * 256 + x * 256 / side];
            (0..side * side * 3).map(|i| at(i / 3 / side, i / 3 % side, i % 3)).collect()
        };
        let logits = vec![0.0; count * 3 * config.logits_size().pow(2)];
        Work { pixels: (0..count).map(one).collect(), logits, iou: vec![0.0; 4 * count] }
    }

    pub fn options(&self) -> SessionOptions {
        let count = self.pixels.len();
        SessionOptions { slices: count, prompts: count, points: 2, mask_prompt: false, masks: Masks::Three }
    }

    /// Seconds of encoding and of decoding.
    pub fn run<B: Backend>(&mut self, session: &mut Session<B>) -> medsegx::Result<[f64; 2]> {
        Ok([self.half(session, false)?, self.half(session, true)?])
    }

    /// Encodes, or decodes what was encoded; seconds.
    pub fn half<B: Backend>(&mut self, session: &mut Session<B>, decoder: bool) -> medsegx::Result<f64> {
        let points = Work::corners(session);
        // Taken out so that the rest can be borrowed meanwhile.
        let (mut logits, mut iou) = (std::mem::take(&mut self.logits), std::mem::take(&mut self.iou));
        let (slices, prompts) = self.asks(session, &points);
        let start = Instant::now();
        let done = if decoder { session.decode(&prompts, &mut logits, &mut iou) } else { session.encode(&slices) };
        let seconds = start.elapsed().as_secs_f64();
        (self.logits, self.iou) = (logits, iou);
        done.map(|()| seconds)
    }

    /// Seconds of both on a device that has the pictures.
    #[cfg(feature = "cuda")]
    pub fn time<B: Backend>(&self, session: &mut Session<B>) -> medsegx::Result<f64> {
        let points = Work::corners(session);
        let (slices, prompts) = self.asks(session, &points);
        Ok(session.time_run(&slices, &prompts)?.as_secs_f64())
    }

    pub fn corners<B: Backend>(session: &Session<B>) -> [Point; 2] {
        let side = session.network().config().image_size as f32;
        let corner = |at: f32, label| Point { x: at * side, y: at * side, label };
        [corner(0.3, 2), corner(0.7, 3)]
    }

    pub fn asks<'a, B: Backend>(
        &'a self,
        session: &Session<B>,
        points: &'a [Point; 2],
    ) -> (Vec<Slice<'a>>, Vec<Prompt<'a>>) {
        let side = session.network().config().image_size as f32;
        let scaling = [0.01712, 0.01751, 0.01743, -2.118, -2.036, -1.804, side, side];
        let slice = |pixels| Slice { pixels, scaling, context: [2, 1, 4, 17, 59] };
        let prompt = |slot| Prompt { slot, points: &points[..], mask: None };
        (self.pixels.iter().map(|pixels| slice(pixels)).collect(), (0..self.pixels.len()).map(prompt).collect())
    }
}

/// Rates of multiply-adds at one moment.
pub struct Rates {
    pub gflops: f64,
    pub pair_gflops: Option<f64>,
}

impl Rates {
    pub fn measure(cpu: &Cpu) -> medsegx::Result<Rates> {
        Ok(Rates { gflops: cpu.fma_rate()?, pair_gflops: cpu.pair_rate()? })
    }

    /// The greater of both moments': a run between them is compared with no less than the processor could do.
    pub fn best(self, other: Rates) -> Rates {
        let pairs = [self.pair_gflops, other.pair_gflops];
        Rates { gflops: self.gflops.max(other.gflops), pair_gflops: pairs.into_iter().flatten().reduce(f64::max) }
    }

    /// Lifts what was measured before to these: threads that just started may share a core for some milliseconds.
    pub fn lift(&self, ceiling: &mut Ceiling) {
        ceiling.gflops = ceiling.gflops.max(self.gflops);
        ceiling.pair_gflops = [ceiling.pair_gflops, self.pair_gflops].into_iter().flatten().reduce(f64::max);
    }

    /// Seconds of as many floating-point operations in f32, and of as many in products of bf16.
    pub fn seconds(&self, [single, pairs]: [f64; 2]) -> f64 {
        1e-9 * (single / self.gflops + pairs / self.pair_gflops.unwrap_or(self.gflops))
    }
}

/// Nothing is faster than its ceiling; 3 % are left to the clock and to a processor that changes its frequency.
pub fn ensure_ceiling(share: f64, what: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        share <= 1.03,
        "{what}: {:.0} % of the rate of multiply-adds, which no run can reach: the rate was measured wrong, or the machine \
         was busy while it was and idle while the run was",
        100.0 * share
    );
    Ok(())
}

/// A figure of this process in bytes, by its line of `/proc/self/status`; none where there is no such file.
pub fn status_bytes(key: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The line that says what the numbers below are to be compared with.
pub fn describe(cpu: &Cpu, ceiling: &Ceiling) -> String {
    let Ceiling { gflops, pair_gflops, gbytes } = ceiling;
    let (level, threads) = (cpu.level(), cpu.threads());
    let pairs = pair_gflops.map(|rate| format!(", {rate:.0} of bf16 pairs")).unwrap_or_default();
    format!(
        "{level}, {threads} threads; measured ceiling {gflops:.0} GFLOP/s of FMA{pairs}, {gbytes:.1} GB/s of copies"
    )
}
