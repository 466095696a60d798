//! Launches the decoder's kernels on tokens: `kernels/token_self_attention.ptx.j2`, `tokens_to_image.ptx.j2`,
//! `token_mlp.ptx.j2` and `image_to_tokens.ptx.j2`. The first three split a step over blocks that each leave a partial
//! sum in the step's scratch ([`Launch::scratch`]); the last block of a prompt adds them up
//! (`kernels/token_finish.j2`).

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Dense, ImageToTokens, Norm, TokenMlp, TokenSelfAttention, TokensToImage};
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// Heads of the decoder's attention, one block each.
const HEADS: usize = 8;
/// Channels of the image that one block of `image_to_tokens` takes, of one head or several.
const CHANNELS: usize = 16;
/// Hidden channels of the MLP that one block takes.
const MLP_SLICE: usize = 64;
/// Most tokens of a prompt whose keys one block holds.
const MOST_TOKENS: usize = 64;

/// Blocks of a prompt of `tokens_to_image`: one a head, or a pair of heads where one has 4 channels.
fn image_parts(p: usize) -> usize {
    if p / 2 / HEADS < 8 { HEADS / 2 } else { HEADS }
}

/// The kernel for prompt width `p`.
fn entry<D: Driver>(step: &Step<D>, names: [&'static str; 3], p: usize) -> Result<&'static str> {
    match p {
        64 => Ok(names[0]),
        128 => Ok(names[1]),
        256 => Ok(names[2]),
        _ => Err(step.unsupported("prompt width 64, 128 or 256", p)),
    }
}

fn few_tokens<D: Driver>(step: &Step<D>, tokens: usize) -> Result<()> {
    let at_most = format!("at most {MOST_TOKENS} tokens: 5 and one a point");
    if tokens > MOST_TOKENS { Err(step.unsupported(at_most, tokens)) } else { Ok(()) }
}

fn pair<D: Driver>(step: &Step<D>, layer: &Dense) -> [Arg; 2] {
    [Arg::Pointer(step.param(layer.weight)), Arg::Pointer(step.param(layer.bias))]
}

/// What the last block of a prompt needs for `out = LayerNorm(residual + bias + partial sums)`.
fn finish<D: Driver>(step: &Step<D>, layer: &Dense, residual: Option<ValueId>, norm: &Norm, out: ValueId) -> [Arg; 8] {
    [
        Arg::Pointer(step.scratch()),
        Arg::Pointer(step.param(layer.bias)),
        Arg::Pointer(step.optional(residual)),
        Arg::Pointer(step.param(norm.gain)),
        Arg::Pointer(step.param(norm.bias)),
        Arg::Pointer(step.value(out)),
        Arg::Pointer(step.counters()),
        Arg::F32(norm.eps),
    ]
}

/// Self-attention on the tokens, then LayerNorm.
impl Launch for TokenSelfAttention {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &TokenSelfAttention {
            tokens,
            position,
            projections: [ref q, ref k, ref v, ref last],
            ref norm,
            first,
            out,
        } = self;
        let [count, p] = [step.shape(tokens)[0], step.shape(tokens)[1]];
        few_tokens(step, count)?;
        let name = entry(step, ["token_self_attention_64", "token_self_attention_128", "token_self_attention_256"], p)?;
        let mut args = vec![Arg::Pointer(step.value(tokens)), Arg::Pointer(step.value(position))];
        args.extend([q, k, v].iter().flat_map(|layer| pair(step, layer)));
        args.push(Arg::Pointer(step.param(last.weight)));
        args.extend(finish(step, last, (!first).then_some(tokens), norm, out));
        args.extend([Arg::U32(step.u32(count)?), Arg::U32(u32::from(!first))]);
        step.launch(name, [HEADS, step.active, 1], &args)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.projections.iter().any(|projection| projection.weight == id) {
            (Storage::Native, Packing::Columns)
        } else {
            (Storage::Native, Packing::Rows)
        }
    }

    fn scratch(&self, graph: &Graph) -> usize {
        HEADS * graph[self.out].stride()
    }
}

/// The tokens attend to the image; added, then LayerNorm.
impl Launch for TokensToImage {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &TokensToImage { tokens, position, image, projections: [ref q, ref last], ref norm, out } = self;
        let [count, p] = [step.shape(tokens)[0], step.shape(tokens)[1]];
        let [keys, columns] = [step.shape(image)[0], step.shape(image)[1]];
        let name = entry(step, ["tokens_to_image_64", "tokens_to_image_128", "tokens_to_image_256"], p)?;
        native(step, image)?;
        let [wq, bq] = pair(step, q);
        let mut args = [tokens, position, image].map(|id| Arg::Pointer(step.value(id))).to_vec();
        args.extend([wq, bq, Arg::Pointer(step.param(last.weight))]);
        args.extend(finish(step, last, Some(tokens), norm, out));
        args.extend([Arg::U32(step.u32(count)?), Arg::U32(step.u32(keys)?), Arg::U32(step.u32(columns)?)]);
        step.launch(name, [image_parts(p), step.active, 1], &args)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.projections.iter().any(|projection| projection.weight == id) {
            (Storage::Native, Packing::Columns)
        } else {
            (Storage::Native, Packing::Rows)
        }
    }

    fn scratch(&self, graph: &Graph) -> usize {
        image_parts(graph[self.out].shape[2]) * graph[self.out].stride()
    }
}

/// MLP on the tokens; added, then LayerNorm.
impl Launch for TokenMlp {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &TokenMlp { tokens, layers: [ref lin1, ref lin2], ref norm, out } = self;
        let [count, p] = [step.shape(tokens)[0], step.shape(tokens)[1]];
        let hidden = step.param_shape(lin1.weight)[0];
        if !hidden.is_multiple_of(MLP_SLICE) {
            return Err(step.unsupported(format!("a multiple of {MLP_SLICE} hidden channels"), hidden));
        }
        let name = entry(step, ["token_mlp_64", "token_mlp_128", "token_mlp_256"], p)?;
        let [w1, b1] = pair(step, lin1);
        let mut args = vec![Arg::Pointer(step.value(tokens)), w1, b1, Arg::Pointer(step.param(lin2.weight))];
        args.extend(finish(step, lin2, Some(tokens), norm, out));
        args.extend([Arg::U32(step.u32(count)?), Arg::U32(step.u32(hidden)?)]);
        step.launch(name, [hidden / MLP_SLICE, step.active, 1], &args)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.layers.iter().any(|layer| layer.weight == id) {
            (Storage::Native, Packing::Columns)
        } else {
            (Storage::Native, Packing::Rows)
        }
    }

    fn scratch(&self, graph: &Graph) -> usize {
        graph[self.layers[0].weight].shape[0] / MLP_SLICE * graph[self.out].stride()
    }
}

/// The image attends to the tokens, before the out projection.
impl Launch for ImageToTokens {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &ImageToTokens { image, tokens, position, projections: ref layers, out } = self;
        let [count, p] = [step.shape(tokens)[0], step.shape(tokens)[1]];
        let [queries, columns] = [step.shape(image)[0], step.shape(image)[1]];
        few_tokens(step, count)?;
        native(step, image)?;
        let name = entry(step, ["image_to_tokens_64", "image_to_tokens_128", "image_to_tokens_256"], p)?;
        let mut args = [image, tokens, position].map(|id| Arg::Pointer(step.value(id))).to_vec();
        args.extend(layers.iter().flat_map(|layer| pair(step, layer)));
        args.extend([Arg::Pointer(step.value(out)), Arg::Pointer(step.saturated())]);
        args.extend([Arg::U32(step.u32(count)?), Arg::U32(step.u32(queries)?), Arg::U32(step.u32(columns)?)]);
        step.launch(name, [p / 2 / CHANNELS, step.active, queries.div_ceil(256)], &args)
    }

    fn gives_half(&self) -> bool {
        true
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.projections.iter().any(|projection| projection.weight == id) {
            (Storage::Native, Packing::Columns)
        } else {
            (Storage::Native, Packing::Rows)
        }
    }
}

fn native<D: Driver>(step: &Step<D>, image: ValueId) -> Result<()> {
    let half = step.storage(image) == Storage::F16;
    if half { Err(step.unsupported("the projected image in f32", "f16")) } else { Ok(()) }
}
