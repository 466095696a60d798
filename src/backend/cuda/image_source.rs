//! Launches `kernels/image_source.ptx.j2`: image and tokens that the decoder starts from, at once where it can be.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::{ImageSource, PromptTokens};
use crate::graph::plan::Place;
use crate::graph::{Op, Plan, ValueId};

/// Floats of the image of one block.
const TILE: usize = 1024;

/// The image of the step right behind the one that makes `tokens`. It is made with them, a step early, while other blocks
/// still read points and labels, so its memory must be apart from theirs. All else that this memory may have held then has had
/// its last reader.
fn image_behind(plan: &Plan, tokens: ValueId) -> Option<&ImageSource> {
    let apart = |a: ValueId, b: ValueId| match (plan.places[a.0], plan.places[b.0]) {
        (Place::Arena(x), Place::Arena(y)) => x + plan.bytes[a.0] <= y || y + plan.bytes[b.0] <= x,
        _ => true,
    };
    plan.graph.nodes.windows(2).find_map(|pair| match (&pair[0].op, &pair[1].op) {
        (Op::PromptTokens(tokens_of), Op::ImageSource(image)) => {
            let is = tokens_of.out == tokens;
            (is && apart(image.out, tokens_of.points) && apart(image.out, tokens_of.labels)).then_some(image)
        }
        _ => None,
    })
}

/// Output tokens, then one token a point; and the image of the step behind, if it can be made with them.
impl Launch for PromptTokens {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, image_behind(step.plan, self.out), Some(self))
    }
}

/// The embedding of each prompt's slice plus its dense prompt, unless the step before has made it.
impl Launch for ImageSource {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let made = step.plan.graph.nodes.iter().any(|node| match &node.op {
            Op::PromptTokens(tokens) => image_behind(step.plan, tokens.out) == Some(self),
            _ => false,
        });
        if made { Ok(()) } else { launch(step, Some(self), None) }
    }
}

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
