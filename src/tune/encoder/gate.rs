//! The gate of the mixture of experts (MODEL.md, ConMoAE), forth and back, in f64: a few thousand multiplications a
//! slice.

use std::ops::Range;

use crate::Result;
use crate::tune::parameters::Table;

/// Levels of the organ tree.
const LEVELS: usize = 4;

/// The tables of embeddings that all blocks share.
pub(super) struct Embeddings {
    /// Levels of the organ tree, then tasks.
    organ: [Range<usize>; LEVELS + 1],
    modal: Range<usize>,
    /// e.
    pub width: usize,
}

impl Embeddings {
    pub fn new(table: &Table, width: usize) -> Result<Embeddings> {
        let of = |level: usize| range(table, &format!("image_encoder.organ_embed.{level}.weight"));
        let organ = [of(0)?, of(1)?, of(2)?, of(3)?, of(4)?];
        Ok(Embeddings { organ, modal: range(table, "image_encoder.modal_embed.weight")?, width })
    }

    /// The rows of a context: four levels, task, modality.
    fn rows(&self, [modality, part, subregion, organ, task]: [i32; 5]) -> [Range<usize>; LEVELS + 2] {
        let row = |table: &Range<usize>, index: i32| {
            let first = table.start + index.max(0).unsigned_abs() as usize * self.width;
            first..first + self.width
        };
        let [o0, o1, o2, o3, tasks] = &self.organ;
        [row(o0, 0), row(o1, part), row(o2, subregion), row(o3, organ), row(tasks, task), row(&self.modal, modality)]
    }
}

pub(super) fn range(table: &Table, name: &str) -> Result<Range<usize>> {
    Ok(table.find(name)?.range.clone())
}

/// A Linear in f64.
struct Dense {
    weight: Range<usize>,
    bias: Range<usize>,
}

impl Dense {
    fn new(table: &Table, path: &str) -> Result<Dense> {
        Ok(Dense { weight: range(table, &format!("{path}.weight"))?, bias: range(table, &format!("{path}.bias"))? })
    }

    fn forward(&self, p: &[f32], x: &[f64]) -> Vec<f64> {
        let rows = p[self.weight.clone()].chunks_exact(x.len());
        rows.zip(&p[self.bias.clone()])
            .map(|(row, &bias)| f64::from(bias) + row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x).sum::<f64>())
            .collect()
    }

    /// The derivative by `x`; weight and bias gain theirs.
    fn back(&self, p: &[f32], x: &[f64], d: &[f64], g: &mut [f32]) -> Vec<f64> {
        let mut dx = vec![0.0; x.len()];
        for (row, &d) in g[self.weight.clone()].chunks_exact_mut(x.len()).zip(d) {
            row.iter_mut().zip(x).for_each(|(g, x)| *g += (d * x) as f32);
        }
        for (row, &d) in p[self.weight.clone()].chunks_exact(x.len()).zip(d) {
            dx.iter_mut().zip(row).for_each(|(dx, &w)| *dx += d * f64::from(w));
        }
        g[self.bias.clone()].iter_mut().zip(d).for_each(|(g, &d)| *g += d as f32);
        dx
    }
}

pub(super) struct Gate {
    organ_gate: Dense,
    input_embed: Dense,
    gate: Dense,
}

/// What the way back needs of one slice.
#[derive(Clone, Default)]
pub(super) struct GatePass {
    /// Mean over the tokens.
    mean: Vec<f64>,
    levels: Vec<f64>,
    weights: Vec<f64>,
    joined: Vec<f64>,
    /// gamma, one an expert.
    pub experts: Vec<f64>,
}

impl Gate {
    pub fn new(table: &Table, path: &str) -> Result<Gate> {
        let dense = |name: &str| Dense::new(table, &format!("{path}.adapter_{name}"));
        Ok(Gate { organ_gate: dense("organ_gate")?, input_embed: dense("input_embed")?, gate: dense("gate")? })
    }

    pub fn forward(&self, p: &[f32], shared: &Embeddings, context: [i32; 5], mean: Vec<f64>) -> GatePass {
        let row = |range: &Range<usize>| p[range.clone()].iter().map(|&x| f64::from(x));
        let rows = shared.rows(context);
        let levels: Vec<f64> = rows[..LEVELS].iter().flat_map(row).collect();
        let weights = softmax(self.organ_gate.forward(p, &levels));
        let mut joined = vec![0.0; shared.width];
        for (level, weight) in levels.chunks_exact(shared.width).zip(&weights) {
            joined.iter_mut().zip(level).for_each(|(organ, x)| *organ += weight * x);
        }
        joined.extend(rows[LEVELS..].iter().flat_map(row));
        joined.extend(self.input_embed.forward(p, &mean));
        let experts = softmax(self.gate.forward(p, &joined));
        GatePass { mean, levels, weights, joined, experts }
    }

    /// The derivative by the mean over the tokens, for `d` by the weights of the experts.
    pub fn back(
        &self,
        p: &[f32],
        shared: &Embeddings,
        context: [i32; 5],
        pass: &GatePass,
        d: &[f64],
        g: &mut [f32],
    ) -> Vec<f64> {
        let width = shared.width;
        let d = self.gate.back(p, &pass.joined, &back_of_softmax(&pass.experts, d), g);
        let (organ, rest) = d.split_at(width);
        let (named, input) = rest.split_at(2 * width);
        let rows = shared.rows(context);
        let dot = |level: &[f64]| level.iter().zip(organ).map(|(a, b)| a * b).sum();
        let by_weights: Vec<f64> = pass.levels.chunks_exact(width).map(dot).collect();
        let mut by_levels = self.organ_gate.back(p, &pass.levels, &back_of_softmax(&pass.weights, &by_weights), g);
        for (level, weight) in by_levels.chunks_exact_mut(width).zip(&pass.weights) {
            level.iter_mut().zip(organ).for_each(|(x, d)| *x += weight * d);
        }
        for (row, d) in rows.iter().zip(by_levels.chunks_exact(width).chain(named.chunks_exact(width))) {
            g[row.clone()].iter_mut().zip(d).for_each(|(g, &d)| *g += d as f32);
        }
        self.input_embed.back(p, &pass.mean, input, g)
    }
}

fn softmax(mut row: Vec<f64>) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
    row
}

/// The derivative by what a softmax was made of.
fn back_of_softmax(weights: &[f64], d: &[f64]) -> Vec<f64> {
    let mean: f64 = weights.iter().zip(d).map(|(w, d)| w * d).sum();
    weights.iter().zip(d).map(|(w, d)| w * (d - mean)).collect()
}
