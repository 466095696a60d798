//! What the decoder's tokens go through alone: the MLP inside a layer, the hyper-networks and the IoU head. A task is
//! one prompt.

use super::Level;
use super::dense::{Layer, Pieces};
use super::layer_norm::Affine;
use super::memory::{Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{Dense, TokenHeads, TokenMlp};
use crate::graph::{Graph, ParamId};

/// Sums and two hidden layers of `rows` tokens.
fn scratch(level: Level, rows: usize, widest: usize) -> usize {
    rows * (level.panel() + 2 * widest)
}

impl Execute for TokenMlp {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        mlp(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        let shape = &graph[self.tokens].shape;
        scratch(level, shape[1], shape[2].max(graph[self.layers[0].weight].shape[0]))
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.layers.iter().any(|layer| layer.weight == id))
    }
}

impl Execute for TokenHeads {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, 1, graph[self.tokens].shape[2].max(graph[self.iou[0].weight].shape[0]))
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, self.hyper.iter().flatten().chain(&self.iou).any(|layer| layer.weight == id))
    }
}

fn mlp(step: &Step<'_>, op: &TokenMlp, views: Views<'_>) -> Result<()> {
    let TokenMlp { tokens, layers, norm, out } = op;
    let (rows, stride) = (step.graph[*tokens].shape[1], step.graph[*tokens].stride());
    let ([tokens], [out]) = views.take([*tokens], [*out])?;
    let (tokens, out) = (floats(tokens), Shared::new(floats_mut(out)));
    let (first, second) = (Layer::new(step, &layers[0])?, Layer::new(step, &layers[1])?);
    let norm = Affine::new(step, norm)?;
    step.each(step.active, |b, scratch| {
        // SAFETY: prompt b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(b * stride, stride) };
        let tokens = &tokens[b * stride..(b + 1) * stride];
        step.level.run(Mlp { tokens, rows, layers: [first, second], norm, scratch, out });
    });
    Ok(())
}

struct Mlp<'a> {
    tokens: &'a [f32],
    rows: usize,
    layers: [Layer<'a>; 2],
    norm: Affine<'a>,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Mlp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [first, second] = self.layers;
        let mut pieces = Pieces(self.scratch);
        let sums = pieces.take(self.rows * first.packed.width);
        let hidden = pieces.take(self.rows * first.outputs());
        first.apply(s, self.tokens, self.rows, sums, hidden);
        relu(hidden);
        second.apply(s, hidden, self.rows, sums, self.out);
        self.out.iter_mut().zip(self.tokens).for_each(|(x, t)| *x += t);
        for row in self.out.chunks_exact_mut(second.outputs()) {
            self.norm.apply(s, row);
        }
    }
}

fn relu(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

fn run(step: &Step<'_>, op: &TokenHeads, views: Views<'_>) -> Result<()> {
    let TokenHeads { tokens, hyper, first_mask, iou, hyper_out, iou_out } = op;
    let (stride, width) = (step.graph[*tokens].stride(), step.graph[*tokens].shape[2]);
    let (hyper_shape, iou_stride) = (&step.graph[*hyper_out].shape, step.graph[*iou_out].stride());
    let (masks, channels) = (hyper_shape[1], hyper_shape[2]);
    let ([tokens], [hyper_out, iou_out]) = views.take([*tokens], [*hyper_out, *iou_out])?;
    let tokens = floats(tokens);
    let (hyper_out, iou_out) = (Shared::new(floats_mut(hyper_out)), Shared::new(floats_mut(iou_out)));
    // A task is one head of one prompt: the wanted masks, then the IoU.
    let heads = masks + 1;
    for head in hyper.iter().chain([iou]) {
        three_layers(step, head)?;
    }
    step.each(step.active * heads, |task, scratch| {
        let (b, head) = (task / heads, task % heads);
        let (token, layers) = if head < masks { (1 + first_mask + head, &hyper[head]) } else { (0, iou) };
        // SAFETY: this head's answer for prompt b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe {
            if head < masks {
                hyper_out.part((b * masks + head) * channels, channels)
            } else {
                iou_out.part(b * iou_stride, iou_stride)
            }
        };
        let token = &tokens[b * stride + token * width..][..width];
        if let Ok(layers) = three_layers(step, layers) {
            step.level.run(Head { token, layers, scratch, out });
        }
    });
    Ok(())
}

fn three_layers<'a>(step: &'a Step<'_>, layers: &[Dense; 3]) -> Result<[Layer<'a>; 3]> {
    let [a, b, c] = layers;
    Ok([Layer::new(step, a)?, Layer::new(step, b)?, Layer::new(step, c)?])
}

struct Head<'a> {
    token: &'a [f32],
    layers: [Layer<'a>; 3],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [a, b, c] = self.layers;
        let mut pieces = Pieces(self.scratch);
        let sums = pieces.take(a.packed.width);
        let (first, second) = (pieces.take(a.outputs()), pieces.take(b.outputs()));
        a.apply(s, self.token, 1, sums, first);
        relu(first);
        b.apply(s, first, 1, sums, second);
        relu(second);
        c.apply(s, second, 1, sums, self.out);
    }
}
