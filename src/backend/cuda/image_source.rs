//! Launches `kernels/image_source.ptx.j2`: image and tokens that the decoder starts from, at once where it can be.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::{DecoderInput, ImageSource, PromptTokens};

/// Floats of the image of one block.
const TILE: usize = 1024;

impl Launch for DecoderInput {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, Some(&self.image), Some(&self.tokens))
    }
}

impl Launch for PromptTokens {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, None, Some(self))
    }
}

impl Launch for ImageSource {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, Some(self), None)
    }
}

/// The embedding of each prompt's slice plus its dense prompt; output tokens, then one token a point; both at once.
fn launch<D: Driver>(step: &Step<D>, image: Option<&ImageSource>, tokens: Option<&PromptTokens>) -> Result<()> {
    let (mut args, image_blocks) = image_args(step, image)?;
    let (of_tokens, token_rows) = token_args(step, tokens)?;
    args.extend(of_tokens);
    step.launch("image_source", [token_rows + image_blocks, step.active, 1], &args)
}

/// The kernel's arguments for the image, and its blocks; zeros for none.
fn image_args<D: Driver>(step: &Step<D>, op: Option<&ImageSource>) -> Result<(Vec<Arg>, usize)> {
    let Some(&ImageSource { embedding, slot, dense, no_mask, out }) = op else {
        return Ok(([Arg::Pointer(0); 4].into_iter().chain([Arg::U32(0); 4]).collect(), 0));
    };
    let [tokens, p] = [step.shape(out)[0], step.shape(out)[1]];
    if !p.is_multiple_of(4) {
        return Err(step.unsupported("a prompt width that is a multiple of 4", p));
    }
    let (source, period, stride) = match dense {
        Some(dense) => (step.value(dense), tokens * p, tokens * p),
        None => (step.param(no_mask), p, 0),
    };
    let pointers = [step.value(embedding), step.value(slot), source, step.value(out)];
    let mut args = pointers.map(Arg::Pointer).to_vec();
    for size in [step.plan.graph[embedding].shape[0], tokens * p, period, stride] {
        args.push(Arg::U32(step.u32(size)?));
    }
    Ok((args, (tokens * p).div_ceil(TILE)))
}

/// The kernel's arguments for the tokens, and how many there are; zeros for none.
fn token_args<D: Driver>(step: &Step<D>, op: Option<&PromptTokens>) -> Result<(Vec<Arg>, usize)> {
    let Some(&PromptTokens { points, labels, gaussian, point_embeddings, not_a_point, output_tokens, image_size, out }) =
        op
    else {
        return Ok(([Arg::Pointer(0); 7].into_iter().chain([Arg::U32(0), Arg::U32(0), Arg::F32(0.0)]).collect(), 0));
    };
    let [rows, p] = [step.shape(out)[0], step.shape(out)[1]];
    if p > 256 || !p.is_multiple_of(2) {
        return Err(step.unsupported("an even prompt width of at most 256", p));
    }
    let mut args = [points, labels].map(|id| Arg::Pointer(step.value(id))).to_vec();
    args.extend([gaussian, point_embeddings, not_a_point, output_tokens].map(|id| Arg::Pointer(step.param(id))));
    args.extend([Arg::Pointer(step.value(out)), Arg::U32(step.u32(rows)?), Arg::U32(step.u32(p / 2)?)]);
    args.push(Arg::F32(1.0 / image_size as f32));
    Ok((args, rows))
}
