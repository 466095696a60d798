//! What a step of training takes above the loaded model, and how much of that a machine has free.

use super::parameters::Table;
use super::train::Train;
use crate::model::Config;

/// What memory of a step is for.
pub(super) const WHAT: &str = "a step of training";

/// Bytes of a step of training above the loaded model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepMemory {
    /// Trained parameters, their moments, and what they gain by each slice.
    pub optimiser: usize,
    /// What a forward pass leaves for the way back where every block of the encoder is computed anew.
    pub recomputed: usize,
    /// What one block more takes that is kept.
    pub block: usize,
    /// Blocks that can be kept.
    pub blocks: usize,
}

impl StepMemory {
    /// Of a step of `batch` slices on `threads` threads.
    pub fn new(config: &Config, train: Train, batch: usize, threads: usize) -> StepMemory {
        let of = |numbers: usize| size_of::<f32>() * numbers;
        let (decoder, encoder) = (Table::decoder_of(config).len(), Table::encoder_of(config).len());
        let mut trained = encoder;
        if train != Train::Adapters {
            trained += decoder;
        }
        if train == Train::Decoder {
            trained -= encoder;
        }
        let of_encoder = if train == Train::Decoder { 0 } else { encoder };
        let optimiser = decoder + of_encoder + 2 * trained + batch * gains(config) + of_encoder;
        let decoders = batch.min(threads) * decoder_pass(config);
        let first = config.adapters.as_ref().and_then(|adapters| adapters.blocks.iter().position(|&has| has));
        let (Some(first), true) = (first, train != Train::Decoder) else {
            return StepMemory { optimiser: of(optimiser), recomputed: of(decoders), block: 0, blocks: 0 };
        };
        let (rows, width) = (batch * config.tokens(), config.width);
        let behind = config.depth() - 1 - first;
        let experts = config.adapters.as_ref().map_or(0, |a| a.experts * (a.bottleneck + 1));
        // What comes into blocks and out of the last, what meets the first experts, and the way back's own.
        let inputs = (behind + 3) * rows * width;
        // Normed numbers, what comes back to them, attention; hidden numbers; the neck; experts.
        let work = rows * (3 * width + config.mlp + 6 * config.prompt_width + (behind + 5) * experts);
        let block = rows * (4 * width + config.mlp);
        StepMemory {
            optimiser: of(optimiser),
            recomputed: of(decoders + inputs + work + block),
            block: of(block),
            blocks: behind,
        }
    }

    /// Of a step of which the passes of `kept` blocks are kept.
    pub fn bytes(&self, kept: usize) -> usize {
        // The pass that blocks share is not needed where all are kept.
        let shared = if kept >= self.blocks { self.block } else { 0 };
        self.optimiser + self.recomputed + kept.min(self.blocks) * self.block - shared
    }

    /// How many blocks can be kept in so many bytes.
    pub fn kept(&self, bytes: usize) -> usize {
        (0..=self.blocks).rev().find(|&kept| self.bytes(kept) <= bytes).unwrap_or(0)
    }
}

/// Numbers that the decoder's tensors gain by one slice: of weights that tokens alone meet, far fewer are kept.
fn gains(config: &Config) -> usize {
    let few = |name: &str| [".self_attn.", ".mlp.", "_mlps."].iter().any(|part| name.contains(part));
    Table::decoder_of(config).0.iter().filter(|tensor| !few(&tensor.name)).map(|tensor| tensor.range.len()).sum()
}

/// Numbers that the decoder keeps for the way back of one slice, on the thread that computes it.
fn decoder_pass(config: &Config) -> usize {
    let (tokens, width) = (config.tokens(), config.prompt_width);
    let (mut pixels, mut before, mut all) = (tokens * width, width, 0);
    for &channels in &config.upscaling {
        let out = pixels / before * 4 * channels;
        // Input, result before and behind the norm, slope.
        all += pixels + 4 * out;
        (pixels, before) = (out, channels);
    }
    let side = config.logits_size();
    // Logits, probabilities and labels; the image at each of some twenty places of the transformer.
    all + 3 * config.kind.masks().count() * side * side + 24 * tokens * width
}

/// Bytes that can be had without taking them from other programs, as far as the system says.
pub fn free_memory() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse::<usize>().ok();
    let line = |text: &str| text.lines().find(|line| line.starts_with("MemAvailable:")).map(str::to_string);
    let kib = line(&read("/proc/meminfo")?)?.split_whitespace().nth(1)?.parse::<usize>().ok()?;
    let group = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    let in_group = group.map(|(most, used)| most.saturating_sub(used));
    Some(in_group.map_or(usize::MAX, |bytes| bytes).min(kib << 10))
}
