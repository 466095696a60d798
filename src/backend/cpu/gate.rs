//! The gate of the mixture of experts (MODEL.md, ConMoAE). A few thousand multiplications a slice, in f64: nothing to
//! win by vectors.

use super::memory::{Views, floats, floats_mut};
use super::step::{Step, mismatch};
use crate::error::Result;
use crate::graph::Op;
use crate::graph::op::Dense;

pub(super) fn run(step: &Step<'_>, op: &Op, views: Views<'_>) -> Result<()> {
    let Op::Gate { mean, context, organ_embed, modal_embed, organ_gate, input_embed, gate, out } = op else {
        return Err(mismatch(op));
    };
    let ([mean_bytes, context_bytes], [out_bytes]) = views.take([*mean, *context], [*out])?;
    let context: &[i32] = bytemuck::cast_slice(context_bytes);
    let (width, experts) = (step.graph[*mean].stride(), step.graph[*out].stride());
    let e = step.graph[*modal_embed].shape[1];
    let modal = step.plain(*modal_embed)?;
    let [o0, o1, o2, o3, tasks] = organ_embed.map(|id| step.plain(id));
    let (tree, tasks) = ([o0?, o1?, o2?, o3?], tasks?);
    let [organ_gate, input_embed, gate] = [organ_gate, input_embed, gate].map(|layer| Layer::new(step, layer));
    let (organ_gate, input_embed, gate) = (organ_gate?, input_embed?, gate?);
    let slices = floats(mean_bytes).chunks_exact(width).zip(context.chunks_exact(5)).take(step.active);
    for ((mean, context), out) in slices.zip(floats_mut(out_bytes).chunks_exact_mut(experts)) {
        let row = |table: &[f32], index: i32| -> Vec<f64> {
            let start = index.max(0) as usize * e;
            table[start..start + e].iter().map(|&x| f64::from(x)).collect()
        };
        let [modality, i1, i2, i3, task] = [context[0], context[1], context[2], context[3], context[4]];
        let levels: Vec<Vec<f64>> = tree.iter().zip([0, i1, i2, i3]).map(|(table, i)| row(table, i)).collect();
        let weights = softmax(organ_gate.apply(&levels.concat()));
        let organ = (0..e).map(|c| levels.iter().zip(&weights).map(|(level, w)| w * level[c]).sum());
        let mean: Vec<f64> = mean.iter().map(|&x| f64::from(x)).collect();
        let mut joined: Vec<f64> = organ.collect();
        joined.extend(row(tasks, task));
        joined.extend(row(modal, modality));
        joined.extend(input_embed.apply(&mean));
        out.iter_mut().zip(softmax(gate.apply(&joined))).for_each(|(out, x)| *out = x as f32);
    }
    Ok(())
}

struct Layer<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Layer<'a> {
    fn new(step: &'a Step<'_>, layer: &Dense) -> Result<Layer<'a>> {
        Ok(Layer { weight: step.plain(layer.weight)?, bias: step.plain(layer.bias)? })
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let rows = self.weight.chunks_exact(x.len()).zip(self.bias);
        rows.map(|(row, &bias)| f64::from(bias) + row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>())
            .collect()
    }
}

fn softmax(mut row: Vec<f64>) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
    row
}
