//! The decoder's attention: tokens to tokens, tokens to image, image to tokens. The image's projections are a product
//! of their own; those of the tokens happen here.

use super::Level;
use super::attend::{self, Columns, few_keys, few_queries};
use super::dense::{Layer, Pieces};
use super::layer_norm::Affine;
use super::memory::{Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{ImageToTokens, TokenSelfAttention, TokensToImage};
use crate::graph::{Graph, ParamId};

/// Image tokens of a task of [`image_to_tokens`].
const CHUNK: usize = 128;

/// Sums, five arrays of `tokens` rows, and what their attention needs.
fn scratch(level: Level, shape: &[usize], image_tokens: usize) -> usize {
    let (tokens, width) = (shape[1], shape[2]);
    let attention =
        attend::scratch(level, width, tokens).max(attend::scratch_of_few_queries(level, width, image_tokens));
    tokens * (level.panel() + 5 * width) + attention
}

fn add(to: &mut [f32], a: &[f32], b: &[f32]) {
    to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = a + b);
}

impl Execute for TokenSelfAttention {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        self_attention(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, &graph[self.tokens].shape, 0)
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.projections.iter().any(|projection| projection.weight == id))
    }
}

impl Execute for TokensToImage {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        tokens_to_image(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, &graph[self.tokens].shape, graph[self.image].shape[1])
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.projections.iter().any(|projection| projection.weight == id))
    }
}

impl Execute for ImageToTokens {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        image_to_tokens(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, &graph[self.tokens].shape, graph[self.image].shape[1])
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.projections.iter().any(|projection| projection.weight == id))
    }
}

fn self_attention(step: &Step<'_>, op: &TokenSelfAttention, views: Views<'_>) -> Result<()> {
    let TokenSelfAttention { tokens, position, projections, norm, first, out } = op;
    let (rows, stride) = (step.graph[*tokens].shape[1], step.graph[*tokens].stride());
    let ([tokens, position], [out]) = views.take([*tokens, *position], [*out])?;
    let (tokens, position, out) = (floats(tokens), floats(position), Shared::new(floats_mut(out)));
    let [q, k, v, o] = projections.map(|projection| Layer::new(step, &projection));
    let (layers, norm, first) = ([q?, k?, v?, o?], Affine::new(step, norm)?, *first);
    step.each(step.active, |b, scratch| {
        let at = b * stride..(b + 1) * stride;
        let (tokens, position) = (&tokens[at.clone()], &position[at]);
        // SAFETY: prompt b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(b * stride, stride) };
        step.level.run(SelfAttention { tokens, position, rows, layers, norm, first, scratch, out });
    });
    Ok(())
}

struct SelfAttention<'a> {
    tokens: &'a [f32],
    position: &'a [f32],
    rows: usize,
    layers: [Layer<'a>; 4],
    norm: Affine<'a>,
    first: bool,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for SelfAttention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SelfAttention { tokens, position, rows, layers: [to_q, to_k, to_v, to_out], norm, first, .. } = self;
        let (width, out) = (to_out.outputs(), self.out);
        let mut pieces = Pieces(self.scratch);
        let sums = pieces.take(rows * to_q.packed.width);
        let [x, q, k, v, attended] = std::array::from_fn(|_| pieces.take(rows * width));
        if first {
            x.copy_from_slice(tokens);
        } else {
            add(x, tokens, position);
        }
        to_q.apply(s, x, rows, sums, q);
        to_k.apply(s, x, rows, sums, k);
        to_v.apply(s, tokens, rows, sums, v);
        let all = |data| Columns::all(data, width);
        few_keys(s, all(q), 0..rows, [all(k), all(v)], pieces.rest(), attended);
        to_out.apply(s, attended, rows, sums, out);
        if !first {
            out.iter_mut().zip(tokens).for_each(|(x, t)| *x += t);
        }
        for row in out.chunks_exact_mut(width) {
            norm.apply(s, row);
        }
    }
}

fn tokens_to_image(step: &Step<'_>, op: &TokensToImage, views: Views<'_>) -> Result<()> {
    let TokensToImage { tokens, position, image, projections, norm, out } = op;
    let (rows, stride) = (step.graph[*tokens].shape[1], step.graph[*tokens].stride());
    let (image_stride, columns) = (step.graph[*image].stride(), step.graph[*image].shape[2]);
    let ([tokens, position, image], [out]) = views.take([*tokens, *position, *image], [*out])?;
    let (tokens, position, image) = (floats(tokens), floats(position), floats(image));
    let out = Shared::new(floats_mut(out));
    let [q, o] = projections.map(|projection| Layer::new(step, &projection));
    let (layers, norm) = ([q?, o?], Affine::new(step, norm)?);
    // A token a task: there are few, and each looks at the whole image.
    let width = stride / rows;
    step.each(step.active * rows, |task, scratch| {
        let b = task / rows;
        let at = task * width..(task + 1) * width;
        let (token, position) = (&tokens[at.clone()], &position[at]);
        let image = Columns::all(&image[b * image_stride..(b + 1) * image_stride], columns);
        // SAFETY: this token of prompt b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(task * width, width) };
        step.level.run(TokensToImageTask { token, position, image, layers, norm, scratch, out });
    });
    Ok(())
}

/// Of one token.
struct TokensToImageTask<'a> {
    token: &'a [f32],
    position: &'a [f32],
    /// k at column 0, v behind it.
    image: Columns<'a>,
    layers: [Layer<'a>; 2],
    norm: Affine<'a>,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for TokensToImageTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TokensToImageTask { token, position, image, layers: [to_q, to_out], norm, .. } = self;
        let (width, inner, out) = (to_out.outputs(), to_q.outputs(), self.out);
        let mut pieces = Pieces(self.scratch);
        let sums = pieces.take(to_q.packed.width);
        let (x, q, attended) = (pieces.take(width), pieces.take(inner), pieces.take(inner));
        add(x, token, position);
        to_q.apply(s, x, 1, sums, q);
        let values = Columns { first: inner, ..image };
        few_queries(s, q, [image, values], pieces.rest(), attended);
        to_out.apply(s, attended, 1, sums, out);
        out.iter_mut().zip(token).for_each(|(x, t)| *x += t);
        norm.apply(s, out);
    }
}

fn image_to_tokens(step: &Step<'_>, op: &ImageToTokens, views: Views<'_>) -> Result<()> {
    let ImageToTokens { image, tokens, position, projections, out } = op;
    let (rows, stride, width) =
        (step.graph[*tokens].shape[1], step.graph[*tokens].stride(), step.graph[*tokens].shape[2]);
    let (image_stride, columns) = (step.graph[*image].stride(), step.graph[*image].shape[2]);
    let (image_tokens, inner) = (step.graph[*out].shape[1], step.graph[*out].shape[2]);
    let ([tokens, position, image], [out]) = views.take([*tokens, *position, *image], [*out])?;
    let (tokens, position, image) = (floats(tokens), floats(position), floats(image));
    let out = Shared::new(floats_mut(out));
    let [k, v] = projections.map(|projection| Layer::new(step, &projection));
    let layers = [k?, v?];
    let chunks = image_tokens.div_ceil(CHUNK);
    step.each(step.active * chunks, |task, scratch| {
        let (b, first) = (task / chunks, task % chunks * CHUNK);
        let last = image_tokens.min(first + CHUNK);
        let at = b * stride..(b + 1) * stride;
        let (tokens, position) = (&tokens[at.clone()], &position[at]);
        let image = Columns { data: &image[b * image_stride..(b + 1) * image_stride], stride: columns, first: width };
        // SAFETY: these image tokens of prompt b belong to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part((b * image_tokens + first) * inner, (last - first) * inner) };
        step.level.run(ImageToTokensTask { tokens, position, rows, image, first, last, layers, scratch, out });
    });
    Ok(())
}

struct ImageToTokensTask<'a> {
    tokens: &'a [f32],
    position: &'a [f32],
    rows: usize,
    image: Columns<'a>,
    first: usize,
    last: usize,
    layers: [Layer<'a>; 2],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for ImageToTokensTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ImageToTokensTask { tokens, position, rows, image, first, last, layers: [to_k, to_v], .. } = self;
        let inner = to_k.outputs();
        let mut pieces = Pieces(self.scratch);
        let sums = pieces.take(rows * to_k.packed.width);
        let (x, k, v) = (pieces.take(tokens.len()), pieces.take(rows * inner), pieces.take(rows * inner));
        add(x, tokens, position);
        to_k.apply(s, x, rows, sums, k);
        to_v.apply(s, tokens, rows, sums, v);
        let all = |data| Columns::all(data, inner);
        few_keys(s, image, first..last, [all(k), all(v)], pieces.rest(), self.out);
    }
}
