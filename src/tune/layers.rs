//! Linear layers, norms and attention of the decoder, forward with what the way back needs, and back.

use std::ops::Range;

use super::gains::Gains;
use super::memory::WHAT;
use super::parameters::Table;
use crate::Result;
use crate::backend::cpu::training::{Heads, Multiplier, Right, attend, attend_back, norm, norm_back};
use crate::memory::{copied, zeros};

/// Heads of every attention of the decoder.
pub(super) const HEADS: usize = 8;
/// Rows that are summed before their sum is added to that of all: a long sum in f32 would lose bits.
const ROWS: usize = 256;

/// `y = x W^T + b`.
pub(super) struct Linear {
    weight: Range<usize>,
    bias: Range<usize>,
}

impl Linear {
    pub fn new(table: &Table, path: &str) -> Result<Linear> {
        let range = |end: &str| Ok(table.find(&format!("{path}.{end}"))?.range.clone());
        Ok(Linear { weight: range("weight")?, bias: range("bias")? })
    }

    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub fn inputs(&self) -> usize {
        self.weight.len() / self.outputs().max(1)
    }

    /// `x` is `[rows, inputs]`, the result `[rows, outputs]`.
    pub fn forward(&self, m: &mut Multiplier, p: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let (bias, rows) = (&p[self.bias.clone()], x.len() / self.inputs());
        let mut y = zeros(rows * bias.len(), WHAT)?;
        m.multiply(x, Right::Columns(&p[self.weight.clone()]), self.inputs(), Some(bias), &mut y)?;
        Ok(y)
    }

    /// What weight and bias gain.
    pub fn gain(&self, m: &mut Multiplier, x: &[f32], d: &[f32], g: &mut Gains) -> Result<()> {
        g.product(m, &self.weight, d, x, d.len() / self.outputs())?;
        g.set(&self.bias, sum_rows(self.outputs(), d));
        Ok(())
    }

    /// The derivative by `x`.
    pub fn back(&self, m: &mut Multiplier, p: &[f32], d: &[f32]) -> Result<Vec<f32>> {
        let rows = d.len() / self.outputs();
        let mut dx = zeros(rows * self.inputs(), WHAT)?;
        m.multiply(d, Right::Rows(&p[self.weight.clone()]), self.outputs(), None, &mut dx)?;
        Ok(dx)
    }
}

/// `to += from`.
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

pub(super) fn sum(a: &[f32], b: &[f32]) -> Result<Vec<f32>> {
    let mut sum = copied(a, WHAT)?;
    add(&mut sum, b);
    Ok(sum)
}

/// The sum of all rows of `d`, which are `width` long.
pub(super) fn sum_rows(width: usize, d: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    add_rows(&mut sum, d);
    sum
}

/// Adds the sum of all rows of `d`.
pub(super) fn add_rows(to: &mut [f32], d: &[f32]) {
    let width = to.len();
    let mut part = vec![0.0; width];
    for rows in d.chunks(ROWS * width) {
        part.fill(0.0);
        rows.chunks_exact(width).for_each(|row| add(&mut part, row));
        add(to, &part);
    }
}

/// LayerNorm over the last axis.
pub(super) struct Norm {
    gain: Range<usize>,
    bias: Range<usize>,
    eps: f32,
}

/// What its way back needs.
pub(super) struct Normed {
    normed: Vec<f32>,
    scale: Vec<f32>,
}

impl Norm {
    pub fn new(table: &Table, path: &str, eps: f32) -> Result<Norm> {
        let range = |end: &str| Ok(table.find(&format!("{path}.{end}"))?.range.clone());
        Ok(Norm { gain: range("weight")?, bias: range("bias")?, eps })
    }

    pub fn forward(&self, m: &Multiplier, p: &[f32], x: &[f32]) -> Result<(Vec<f32>, Normed)> {
        let (mut normed, mut scale) = (zeros(x.len(), WHAT)?, zeros(x.len() / self.gain.len(), WHAT)?);
        let mut out = zeros(x.len(), WHAT)?;
        let affine = [&p[self.gain.clone()], &p[self.bias.clone()]];
        norm(m.level(), x, affine, self.eps, [&mut normed, &mut scale, &mut out]);
        Ok((out, Normed { normed, scale }))
    }

    /// The derivative by `x`; gain and bias gain theirs.
    pub fn back(&self, m: &Multiplier, p: &[f32], saved: &Normed, d: &[f32], g: &mut Gains) -> Result<Vec<f32>> {
        let mut gained = [(); 2].map(|()| vec![0.0; self.gain.len()]);
        let dx = self.back_adding(m, p, saved, d, &mut gained)?;
        self.gain(gained, g);
        Ok(dx)
    }

    /// The derivative by `x`; what gain and bias gain is added to `gained`.
    pub fn back_adding(
        &self,
        m: &Multiplier,
        p: &[f32],
        saved: &Normed,
        d: &[f32],
        gained: &mut [Vec<f32>; 2],
    ) -> Result<Vec<f32>> {
        let width = self.gain.len();
        let mut dx = zeros(d.len(), WHAT)?;
        let [mut gain, mut bias] = [(); 2].map(|()| vec![0.0; width]);
        let parts = d.chunks(ROWS * width).zip(dx.chunks_mut(ROWS * width));
        let parts = parts.zip(saved.normed.chunks(ROWS * width)).zip(saved.scale.chunks(ROWS));
        for (((d, dx), normed), scale) in parts {
            gain.fill(0.0);
            bias.fill(0.0);
            norm_back(m.level(), d, [&p[self.gain.clone()], normed, scale], dx, [&mut gain, &mut bias]);
            add(&mut gained[0], &gain);
            add(&mut gained[1], &bias);
        }
        Ok(dx)
    }

    /// Hands over what [`Norm::back_adding`] summed.
    pub fn gain(&self, [gain, bias]: [Vec<f32>; 2], g: &mut Gains) {
        g.set(&self.gain, gain);
        g.set(&self.bias, bias);
    }
}

/// An attention with its four projections.
pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

/// What its way back needs: inputs and results of the projections, weights `[heads, rows, keys]`.
pub(super) struct Attended {
    inputs: [Vec<f32>; 3],
    projected: [Vec<f32>; 3],
    weights: Vec<f32>,
    mixed: Vec<f32>,
}

impl Attention {
    pub fn new(table: &Table, path: &str) -> Result<Attention> {
        let projection = |name: &str| Linear::new(table, &format!("{path}.{name}_proj"));
        Ok(Attention { q: projection("q")?, k: projection("k")?, v: projection("v")?, out: projection("out")? })
    }

    fn heads(&self, projected: &[Vec<f32>; 3]) -> Heads {
        let inner = self.q.outputs();
        Heads { heads: HEADS, inner, rows: projected[0].len() / inner, keys: projected[1].len() / inner }
    }

    /// `inputs` are what q, k and v are made of.
    pub fn forward(&self, m: &mut Multiplier, p: &[f32], inputs: [Vec<f32>; 3]) -> Result<(Vec<f32>, Attended)> {
        let [q, k, v] = [&self.q, &self.k, &self.v];
        let projected = [q.forward(m, p, &inputs[0])?, k.forward(m, p, &inputs[1])?, v.forward(m, p, &inputs[2])?];
        let heads = self.heads(&projected);
        let (weights, mixed) = attend(m.level(), heads, &projected[0], &projected[1], &projected[2])?;
        Ok((self.out.forward(m, p, &mixed)?, Attended { inputs, projected, weights, mixed }))
    }

    /// Derivatives by the inputs of q, k and v, where they are `wanted`; empty elsewhere.
    pub fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        saved: &Attended,
        d: &[f32],
        g: &mut Gains,
        wanted: [bool; 3],
    ) -> Result<[Vec<f32>; 3]> {
        self.out.gain(m, &saved.mixed, d, g)?;
        let d = self.out.back(m, p, d)?;
        let [q, k, v] = &saved.projected;
        let [dq, dk, dv] = attend_back(m.level(), self.heads(&saved.projected), [q, k, v, &saved.weights], &d)?;
        let mut of = |linear: &Linear, which: usize, d: &[f32]| {
            linear.gain(m, &saved.inputs[which], d, g)?;
            if wanted[which] { linear.back(m, p, d) } else { Ok(Vec::new()) }
        };
        Ok([of(&self.q, 0, &dq)?, of(&self.k, 1, &dk)?, of(&self.v, 2, &dv)?])
    }
}
