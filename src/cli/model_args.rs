//! Flags of every subcommand that runs a model.

use std::path::PathBuf;

use medsegx::backend::cpu::{CpuOptions, Level, Precision};
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Device, Model, ModelOptions};
use medsegx::tune::{Train, Trainer};
use medsegx::weights::tuned::Tuned;
use medsegx::weights::{Access, Weights};

use super::console::{plural, say};
use super::weights_source::WeightsSource;

/// Which model, and where and how it runs
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Weights file (safetensors; `medsegx convert` makes one of published checkpoints)
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Tuned file of `medsegx tune`, on top of the weights
    #[arg(long, value_name = "FILE")]
    pub tuned: Option<PathBuf>,
    /// Read the weights file instead of mapping it
    #[arg(long)]
    pub no_mmap: bool,
    #[cfg_attr(not(feature = "ptxvm"), doc = "auto, cpu, cuda or cuda:N")]
    #[cfg_attr(
        feature = "ptxvm",
        doc = "auto, cpu, cuda, cuda:N, ptxvm (interprets the kernels, all checks) or ptxvm:fast"
    )]
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// CPU threads; default: all
    #[arg(long, value_parser = threads())]
    pub threads: Option<u16>,
    /// Instructions of the CPU: portable, avx2 or avx512; default: the widest of this processor
    #[arg(long, value_parser = level)]
    pub level: Option<Level>,
    /// Numbers of the large products on a CPU: f32, or bf16 where the processor multiplies it
    #[arg(long, default_value = "f32", value_parser = precision)]
    pub precision: Precision,
    /// Slices in one batch; default: on a GPU as many as memory allows, at most 64; on a CPU 4 for MedSegX, else 1
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub batch: Option<u16>,
}

impl ModelArgs {
    /// The weights of `source`, those of the tuned file on top.
    pub fn open(&self, source: &WeightsSource) -> medsegx::Result<Weights> {
        let mut weights = source.open(self.access())?;
        if let Some(path) = &self.tuned {
            weights.tune(Tuned::open(path)?)?;
        }
        Ok(weights)
    }

    /// How the weights file is read.
    pub fn access(&self) -> Access {
        if self.no_mmap { Access::Read } else { Access::Map }
    }

    /// Options of [`Model::load`].
    pub fn options(&self) -> ModelOptions {
        let threads = self.threads.map(usize::from);
        let cpu = CpuOptions { threads, precision: self.precision, level: self.level };
        ModelOptions { device: self.device, cpu }
    }

    /// The same, for a model whose encoder may be trained, which is done on the CPU.
    pub fn options_to_train(&self, encoder: bool) -> ModelOptions {
        let options = self.options();
        match options.device {
            Device::Auto if encoder => ModelOptions { device: Device::Cpu, ..options },
            _ => options,
        }
    }

    /// What tells the encoder from others: the hash of the weights of `source`, and of the tuned file where that has
    /// tensors of the encoder.
    pub fn encoder_hash(&self, source: &WeightsSource) -> anyhow::Result<String> {
        let base = source.sha256()?;
        match &self.tuned {
            Some(path) if Tuned::open(path)?.has_encoder() => {
                Ok(format!("{base} {}", medsegx::weights::sha256_of(path)?))
            }
            _ => Ok(base),
        }
    }

    /// `capacity` with the batch that was asked for, or the one that suits `slices` slices.
    pub fn capacity(
        &self,
        model: &Model,
        capacity: Capacity,
        choice: MaskChoice,
        slices: usize,
    ) -> medsegx::Result<Capacity> {
        match self.batch {
            Some(batch) => Ok(Capacity { batch: usize::from(batch), ..capacity }),
            None => capacity.with_batch_for(model, choice, slices),
        }
    }
}

/// A number of threads that a machine may have; far more only wait for each other.
pub fn threads() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=1024)
}

/// Instructions by their name.
pub fn level(text: &str) -> Result<Level, String> {
    match text {
        "portable" => Ok(Level::Portable),
        "avx2" => Ok(Level::Avx2),
        "avx512" => Ok(Level::Avx512),
        _ => Err("one of portable, avx2, avx512".into()),
    }
}

/// A precision by its name.
pub fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("needs f32 or bf16".into()),
    }
}

/// Bytes of a step of training, as 800M or 2G.
pub fn step_memory(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let unit = match &text[digits.len()..] {
        "" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        _ => None,
    };
    let bytes = unit.and_then(|unit: usize| digits.parse::<usize>().ok()?.checked_mul(unit));
    bytes.ok_or_else(|| "needs bytes, or as 800M or 2G".into())
}

/// Says where a step of `batch` slices takes more than `limit` however many blocks are computed anew.
pub fn say_least_memory(limit: Option<usize>, trainer: &Trainer, batch: usize) {
    let least = trainer.step_memory(batch).bytes(0);
    if trainer.train() != Train::Decoder && limit.is_some_and(|limit| limit < least) {
        let (least, slices) = (least.div_ceil(1 << 20), plural(batch, "slice"));
        say(&format!("--memory: a step of {slices} takes at least {least}M, with every block computed anew"));
    }
}

/// Why embeddings cannot be kept where the encoder is trained.
pub fn embeddings_change() -> anyhow::Error {
    let (expected, found) = ("--train decoder: other embeddings change from step to step".into(), "it".into());
    medsegx::Error::Argument { name: "--embeddings", expected, found }.into()
}
