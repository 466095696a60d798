//! Mask prompt to a dense embedding. A token's 4 x 4 logits alone decide its row.

use super::Level;
use super::dense::{Layer, Pieces};
use super::layer_norm::Affine;
use super::math::gelu;
use super::memory::{Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::MaskEmbed;
use crate::graph::{Graph, ParamId};

/// Tokens of a task.
const TOKENS: usize = 24;
/// Logits of a token.
const LOGITS: usize = 16;

impl Execute for MaskEmbed {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    /// Sums and three small images of the tokens of a task.
    fn scratch(&self, level: Level, _: &Graph) -> usize {
        TOKENS * (4 * level.panel() + 3 * LOGITS)
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.convs.iter().any(|conv| conv.weight == id))
    }
}

fn run(step: &Step<'_>, op: &MaskEmbed, views: Views<'_>) -> Result<()> {
    let MaskEmbed { mask, convs, norms, out } = op;
    let side = step.graph[*mask].shape[1];
    let (tokens, width) = (step.graph[*out].shape[1], step.graph[*out].shape[2]);
    let ([mask], [out]) = views.take([*mask], [*out])?;
    let (mask, out) = (floats(mask), Shared::new(floats_mut(out)));
    let [a, b, c] = convs.map(|conv| Layer::new(step, &conv));
    let [first_norm, second_norm] = norms.map(|norm| Affine::new(step, &norm));
    let (layers, norms) = ([a?, b?, c?], [first_norm?, second_norm?]);
    let chunks = tokens.div_ceil(TOKENS);
    step.each(step.active * chunks, |task, scratch| {
        let (b, first) = (task / chunks, task % chunks * TOKENS);
        let last = tokens.min(first + TOKENS);
        let mask = &mask[b * side * side..(b + 1) * side * side];
        let (logits, scratch) = scratch.split_at_mut(TOKENS * LOGITS);
        for (token, logits) in (first..last).zip(logits.chunks_exact_mut(LOGITS)) {
            gather(mask, side, token, logits);
        }
        // SAFETY: the tokens of this task belong to no other.
        #[allow(unsafe_code)]
        let out = unsafe { out.part((b * tokens + first) * width, (last - first) * width) };
        step.level.run(Embed { logits, count: last - first, layers, norms, scratch, out });
    });
    Ok(())
}

/// The logits under a token, `[2, 2, ky, kx]`: four squares, each the input of one pixel of the first convolution.
fn gather(mask: &[f32], side: usize, token: usize, logits: &mut [f32]) {
    let grid = side / 4;
    let (top, left) = (token / grid * 4, token % grid * 4);
    for (i, logit) in logits.iter_mut().enumerate() {
        let (y, x) = ((i >> 3 & 1) * 2 + (i >> 1 & 1), (i >> 2 & 1) * 2 + (i & 1));
        *logit = mask[(top + y) * side + left + x];
    }
}

struct Embed<'a> {
    logits: &'a [f32],
    count: usize,
    layers: [Layer<'a>; 3],
    norms: [Affine<'a>; 2],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Embed { logits, count, layers: [first, second, third], norms, scratch, out } = self;
        let mut pieces = Pieces(scratch);
        let sums = pieces.take(4 * count * first.packed.width);
        let (a, b) = (pieces.take(4 * count * first.outputs()), pieces.take(count * second.outputs()));
        first.apply(s, logits, 4 * count, sums, a);
        activate(s, a, &norms[0], first.outputs());
        second.apply(s, a, count, sums, b);
        activate(s, b, &norms[1], second.outputs());
        third.apply(s, b, count, sums, out);
    }
}

/// LayerNorm and GELU of each pixel.
#[inline(always)]
fn activate<S: Simd>(s: S, image: &mut [f32], norm: &Affine<'_>, channels: usize) {
    for row in image.chunks_exact_mut(channels) {
        norm.apply(s, row);
        for part in row.chunks_mut(S::LANES) {
            let x = gelu(s, s.read_any(part));
            s.write_any(part, x);
        }
    }
}
