//! The gate of the mixture of experts (MODEL.md, ConMoAE). A few thousand multiplications a slice, in f64: nothing to
//! win by vectors.

use super::Level;
use super::memory::{Shared, Views, floats, floats_mut};
use super::step::{Execute, Step};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::op::{Dense, Gate};

impl Execute for Gate {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, _: Level, graph: &Graph) -> usize {
        scratch(graph[self.modal_embed].shape[1], graph[self.out].shape[1])
    }
}

fn run(step: &Step<'_>, op: &Gate, views: Views<'_>) -> Result<()> {
    let Gate { mean, context, organ_embed, modal_embed, organ_gate, input_embed, gate, out } = op;
    let ([mean_bytes, context_bytes], [out_bytes]) = views.take([*mean, *context], [*out])?;
    let context: &[i32] = bytemuck::cast_slice(context_bytes);
    let (width, experts) = (step.graph[*mean].stride(), step.graph[*out].stride());
    let e = step.graph[*modal_embed].shape[1];
    let modal = step.plain(*modal_embed)?;
    let [o0, o1, o2, o3, tasks] = organ_embed.map(|id| step.plain(id));
    let (tree, tasks) = ([o0?, o1?, o2?, o3?], tasks?);
    let [organ_gate, input_embed, gate] = [organ_gate, input_embed, gate].map(|layer| Layer::new(step, layer));
    let (organ_gate, input_embed, gate) = (organ_gate?, input_embed?, gate?);
    let (means, out) = (floats(mean_bytes), Shared::new(floats_mut(out_bytes)));
    step.each(step.active, |b, scratch| {
        let row = |table: &'_ [f32], index: i32, to: &mut [f64]| {
            let start = index.max(0) as usize * e;
            to.iter_mut().zip(&table[start..start + e]).for_each(|(to, &x)| *to = f64::from(x));
        };
        let scratch: &mut [f64] = bytemuck::cast_slice_mut(&mut scratch[..self::scratch(e, experts)]);
        let (levels, rest) = scratch.split_at_mut(4 * e);
        let (joined, rest) = rest.split_at_mut(4 * e);
        let (weights, answer) = rest.split_at_mut(4);
        let &[modality, i1, i2, i3, task] = &context[5 * b..5 * b + 5] else { return };
        for ((table, index), level) in tree.iter().zip([0, i1, i2, i3]).zip(levels.chunks_exact_mut(e)) {
            row(table, index, level);
        }
        organ_gate.apply(levels, weights);
        softmax(weights);
        for (c, organ) in joined[..e].iter_mut().enumerate() {
            *organ = levels.chunks_exact(e).zip(&*weights).map(|(level, w)| w * level[c]).sum();
        }
        row(tasks, task, &mut joined[e..2 * e]);
        row(modal, modality, &mut joined[2 * e..3 * e]);
        input_embed.apply(&means[b * width..(b + 1) * width], &mut joined[3 * e..]);
        gate.apply(joined, answer);
        softmax(answer);
        // SAFETY: slice b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(b * experts, experts) };
        out.iter_mut().zip(answer).for_each(|(out, x)| *out = *x as f32);
    });
    Ok(())
}

/// f32 of scratch of a task: levels of the tree, what is joined, weights of the levels, the answer, all in f64.
fn scratch(e: usize, experts: usize) -> usize {
    2 * (8 * e + 4 + experts)
}

struct Layer<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Layer<'a> {
    fn new(step: &'a Step<'_>, layer: &Dense) -> Result<Layer<'a>> {
        Ok(Layer { weight: step.plain(layer.weight)?, bias: step.plain(layer.bias)? })
    }

    fn apply<T: Copy + Into<f64>>(&self, x: &[T], out: &mut [f64]) {
        for ((out, row), &bias) in out.iter_mut().zip(self.weight.chunks_exact(x.len())).zip(self.bias) {
            *out = f64::from(bias) + row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x.into()).sum::<f64>();
        }
    }
}

fn softmax(row: &mut [f64]) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}
