//! The image encoder in training. Trained are the adapter experts, their gates and the embeddings of MedSegDB's tree;
//! all else is the loaded model's, read where it lies.
//!
//! Nothing before the first adapter depends on what is trained: what meets its experts, and what they are added to, is
//! made once a slice ([`Encoder::begin`]), and every step starts from it.

mod block;
mod experts;
mod frozen;
mod gate;
mod neck;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use block::{Block, BlockPass, Work};
use experts::{ExpertPass, Given};
use gate::Embeddings;
use neck::{Neck, NeckPass};

use super::memory::WHAT;
use super::parameters::Table;
use crate::backend::Backend;
use crate::backend::cpu::training::{Workshop, scratch};
use crate::backend::cpu::{Cpu, Param};
use crate::executor::{Network, Slice};
use crate::graph::{Plan, ValueId};
use crate::memory::{fit, reserve, zeros};
use crate::model::{Config, image_encoder};
use crate::{Error, Result};

/// Columns of a panel at any level.
const PANEL: usize = 64;

pub(super) struct Encoder {
    network: Arc<Network<Cpu>>,
    patches: Patches,
    blocks: Vec<Block>,
    /// The first block with experts.
    first: usize,
    embeddings: Embeddings,
    neck: Neck,
    workshop: Workshop,
    pass: Pass,
}

/// Pictures to tokens.
struct Patches {
    plan: Plan,
    params: Vec<Arc<Param>>,
    out: ValueId,
}

/// What never changes of a slice.
pub(super) struct Beginning {
    /// What meets the first experts, then what they are added to: `[2, N, D]`.
    values: Vec<f32>,
    context: [i32; 5],
}

/// A forward pass of a batch.
#[derive(Default)]
struct Pass {
    contexts: Vec<[i32; 5]>,
    /// What came into each block behind the first with experts, and out of the last, `[rows, D]`.
    inputs: Vec<Vec<f32>>,
    /// What met the first experts.
    first_input: Vec<f32>,
    /// Of the first block with experts.
    first: ExpertPass,
    /// Of the blocks that are kept, which are the last ones, behind one that all others share: those are computed anew
    /// on the way back.
    blocks: Vec<BlockPass>,
    /// Blocks that share a pass.
    shared: usize,
    neck: NeckPass,
    work: Work,
    /// `[rows, D]`.
    d: Vec<f32>,
    embeddings: Vec<f32>,
}

impl Encoder {
    /// The encoder of a network in f32.
    pub fn new(network: &Arc<Network<Cpu>>, table: &Table) -> Result<Encoder> {
        let (config, cpu) = (network.config(), network.backend());
        let missing = || Error::Argument {
            name: "weights",
            expected: "a model with adapters, for --train all or adapters".into(),
            found: format!("{:?}", config.kind),
        };
        let adapters = config.adapters.as_ref().ok_or_else(missing)?;
        let first = adapters.blocks.iter().position(|&has| has).ok_or_else(missing)?;
        let blocks: Vec<Block> =
            (0..config.depth()).map(|index| Block::new(network, table, config, index)).collect::<Result<_>>()?;
        let widest = config.mlp.max(3 * config.width).max(9 * config.prompt_width + PANEL);
        let products = scratch(cpu.level(), widest.max(config.tokens()));
        let room = blocks.iter().map(|block| block.scratch(cpu)).fold(products, usize::max);
        let (graph, out) = image_encoder::patches(config, 1);
        let plan = Plan::new(cpu.lower(graph));
        Ok(Encoder {
            patches: Patches { params: network.params_of(&plan.graph)?, plan, out },
            embeddings: Embeddings::new(table, adapters.embedding)?,
            neck: Neck::new(network, config)?,
            workshop: cpu.workshop(room)?,
            network: Arc::clone(network),
            pass: Pass::default(),
            blocks,
            first,
        })
    }

    fn config(&self) -> &Config {
        self.network.config()
    }

    /// What never changes of a slice, whatever is trained.
    pub fn begin(&self, slice: &Slice<'_>, stop: Option<&AtomicBool>) -> Result<Beginning> {
        let (config, cpu) = (self.config(), self.network.backend());
        let length = config.tokens() * config.width;
        let mut x = zeros(length, "tokens of a slice")?;
        self.patches.run(cpu, slice, &mut x)?;
        let mut out = zeros(length, "tokens of a slice")?;
        let (mut pass, mut work) = (BlockPass::default(), Work::default());
        pass.fit(config.tokens(), config.width, config.mlp)?;
        work.fit(config.tokens(), config.width, config.mlp)?;
        cpu.with_crew(&self.workshop, stop, |crew| {
            for block in &self.blocks[..=self.first] {
                block.frozen(crew, &x, &mut pass, &mut work, Some(&mut out));
                std::mem::swap(&mut x, &mut out);
                crew.check()?;
            }
            Ok(())
        })?;
        let mut values = reserve(2 * length, "tokens of a slice")?;
        values.extend_from_slice(&work.normed);
        values.extend_from_slice(&x);
        Ok(Beginning { values, context: slice.context })
    }

    /// Embeddings `[B, N, P]` of slices; the passes of `kept` blocks are kept, and the way back is that of the last
    /// call.
    pub fn forward(
        &mut self,
        p: &[f32],
        slices: &[&Beginning],
        kept: usize,
        stop: Option<&AtomicBool>,
    ) -> Result<&[f32]> {
        let behind = self.blocks.len() - 1 - self.first;
        let (tokens, width) = (self.config().tokens(), self.config().width);
        let sizes =
            Sizes { rows: slices.len() * tokens, width, mlp: self.config().mlp, prompt: self.config().prompt_width };
        self.pass.resize(sizes, behind, kept.min(behind))?;
        let length = tokens * width;
        let Pass { contexts, inputs, first_input, first, blocks: passes, shared, neck, work, embeddings, .. } =
            &mut self.pass;
        let slot = slot_of(*shared);
        contexts.clear();
        contexts.extend(slices.iter().map(|slice| slice.context));
        for (at, slice) in slices.iter().enumerate() {
            let (met, rest) = slice.values.split_at(length);
            first_input[at * length..][..length].copy_from_slice(met);
            inputs[0][at * length..][..length].copy_from_slice(rest);
        }
        let given = Given { p, embeddings: &self.embeddings, contexts, tokens };
        let (blocks, start) = (&self.blocks, self.first + 1);
        self.network.backend().with_crew(&self.workshop, stop, |crew| {
            if let Some(experts) = &blocks[start - 1].experts {
                experts.forward(crew, given, first_input, first, &mut work.experts, Some(&mut inputs[0]))?;
            }
            for (at, block) in blocks[start..].iter().enumerate() {
                let (before, after) = inputs.split_at_mut(at + 1);
                block.forward(crew, given, &before[at], &mut passes[slot(at)], work, Some(&mut after[0]))?;
                crew.check()?;
            }
            self.neck.forward(crew, &inputs[blocks.len() - start], neck, embeddings);
            Ok(())
        })?;
        Ok(&self.pass.embeddings)
    }

    /// Adds to `g` what the parameters gain for `d` `[B, N, P]` by the embeddings of the last forward pass.
    pub fn back(&mut self, p: &[f32], d: &[f32], g: &mut [f32], stop: Option<&AtomicBool>) -> Result<()> {
        let tokens = self.network.config().tokens();
        let Pass { contexts, inputs, first_input, first, blocks: passes, shared, neck, work, d: by, .. } =
            &mut self.pass;
        let slot = slot_of(*shared);
        let given = Given { p, embeddings: &self.embeddings, contexts, tokens };
        let (blocks, start) = (&self.blocks, self.first + 1);
        self.network.backend().with_crew(&self.workshop, stop, |crew| {
            self.neck.back(crew, neck, d, by);
            for (at, block) in blocks[start..].iter().enumerate().rev() {
                let pass = &mut passes[slot(at)];
                // The last of those that share a pass has left it as it is.
                if at + 1 < *shared {
                    block.forward(crew, given, &inputs[at], pass, work, None)?;
                }
                block.back(crew, given, &inputs[at], pass, work, by, g)?;
                crew.check()?;
            }
            if let Some(experts) = &blocks[start - 1].experts {
                experts.back(crew, given, first_input, by, first, &mut work.experts, g, None)?;
            }
            Ok(())
        })
    }
}

impl Patches {
    fn run(&self, cpu: &Cpu, slice: &Slice<'_>, out: &mut [f32]) -> Result<()> {
        use image_encoder::io;
        let find = |name: &str| self.plan.graph.find(name).ok_or_else(|| Error::internal("tune", "no such input"));
        let mut arena = cpu.arena(&[&self.plan])?;
        cpu.write(&mut arena, &self.plan, find(io::PIXELS)?, 0, slice.pixels)?;
        cpu.write(&mut arena, &self.plan, find(io::SCALING)?, 0, bytemuck::bytes_of(&slice.scaling))?;
        cpu.run_all(&mut arena, &self.plan, &self.params, 1)?;
        cpu.read(&mut arena, &self.plan, self.out, bytemuck::cast_slice_mut(out))
    }
}

/// Which pass is that of a block behind the first with experts, where so many share one.
fn slot_of(shared: usize) -> impl Fn(usize) -> usize + Copy {
    move |at| if at < shared { 0 } else { at - shared + usize::from(shared > 0) }
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    width: usize,
    mlp: usize,
    prompt: usize,
}

impl Pass {
    /// Makes room for a batch and so many blocks; memory is kept from step to step.
    fn resize(&mut self, sizes: Sizes, blocks: usize, kept: usize) -> Result<()> {
        let Sizes { rows, width, mlp, prompt } = sizes;
        self.shared = blocks - kept;
        self.inputs.resize_with(blocks + 1, Vec::new);
        for input in self.inputs.iter_mut().chain([&mut self.first_input, &mut self.d]) {
            fit(input, rows * width, WHAT)?;
        }
        let passes = (kept + usize::from(self.shared > 0)).max(self.blocks.len());
        self.blocks.resize_with(passes, BlockPass::default);
        self.blocks.iter_mut().try_for_each(|pass| pass.fit(rows, width, mlp))?;
        self.work.fit(rows, width, mlp)?;
        self.neck.fit(rows * prompt)?;
        fit(&mut self.embeddings, rows * prompt, WHAT)
    }
}
