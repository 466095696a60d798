//! Transposed convolutions with LayerNorm and GELU between them. Each token's pixels lie side by side, four a doubling:
//! a convolution is a Linear to four pixels.

use std::ops::Range;

use super::gains::Gains;
use super::layers::{Norm, Normed, sum_rows};
use super::memory::WHAT;
use super::parameters::Table;
use crate::Result;
use crate::backend::cpu::training::{Multiplier, Right, gelu};
use crate::memory::{copied, reserve, zeros};

/// LayerNorm2d.
const EPS: f32 = 1e-6;

pub(super) struct Upscaling(Vec<Doubling>);

struct Doubling {
    /// `[inputs, outputs, 2, 2]`.
    weight: Range<usize>,
    bias: Range<usize>,
    norm: Option<Norm>,
}

/// What the way back of a doubling needs.
pub(super) struct Doubled {
    input: Vec<f32>,
    /// `[4 outputs, inputs]`.
    weight: Vec<f32>,
    normed: Option<Normed>,
    slope: Vec<f32>,
}

impl Upscaling {
    pub fn new(table: &Table, doublings: usize) -> Result<Upscaling> {
        const PATH: &str = "mask_decoder.output_upscaling";
        let doubling = |i: usize| {
            let range = |end: &str| Ok(table.find(&format!("{PATH}.{}.{end}", 3 * i))?.range.clone());
            let norm = (i + 1 < doublings).then(|| Norm::new(table, &format!("{PATH}.{}", 3 * i + 1), EPS));
            Ok(Doubling { weight: range("weight")?, bias: range("bias")?, norm: norm.transpose()? })
        };
        (0..doublings).map(doubling).collect::<Result<_>>().map(Upscaling)
    }

    /// From tokens `[N, P]` to pixels `[N, 4, 4, .., C]`.
    pub fn forward(&self, m: &mut Multiplier, p: &[f32], tokens: &[f32]) -> Result<(Vec<f32>, Vec<Doubled>)> {
        let (mut x, mut all) = (copied(tokens, WHAT)?, Vec::with_capacity(self.0.len()));
        for Doubling { weight, bias, norm } in &self.0 {
            let bias = &p[bias.clone()];
            let inputs = weight.len() / (4 * bias.len());
            let weight = to_four(&p[weight.clone()], inputs, bias.len())?;
            let mut y = zeros(x.len() / inputs * 4 * bias.len(), WHAT)?;
            m.multiply(&x, Right::Columns(&weight), inputs, Some(&[bias; 4].concat()), &mut y)?;
            let mut normed = None;
            if let Some(norm) = norm {
                let (out, saved) = norm.forward(m, p, &y)?;
                (y, normed) = (out, Some(saved));
            }
            let mut slope = zeros(y.len(), WHAT)?;
            gelu(m.level(), &mut y, &mut slope);
            all.push(Doubled { input: std::mem::replace(&mut x, y), weight, normed, slope });
        }
        Ok((x, all))
    }

    /// The derivative by the tokens.
    pub fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        saved: &[Doubled],
        d: Vec<f32>,
        g: &mut Gains,
    ) -> Result<Vec<f32>> {
        let mut d = d;
        for (Doubling { weight, bias, norm }, saved) in self.0.iter().zip(saved).rev() {
            d.iter_mut().zip(&saved.slope).for_each(|(d, slope)| *d *= slope);
            if let Some((norm, normed)) = norm.as_ref().zip(saved.normed.as_ref()) {
                d = norm.back(m, p, normed, &d, g)?;
            }
            g.set(bias, sum_rows(bias.len(), &d));
            let outputs = 4 * bias.len();
            let (inputs, rows) = (weight.len() / outputs, d.len() / outputs);
            let (mut four, mut gained) = (zeros(weight.len(), WHAT)?, zeros(weight.len(), WHAT)?);
            m.outer(&d, &saved.input, rows, &mut four)?;
            from_four(&mut gained, &four, inputs, bias.len());
            g.set(weight, gained);
            let mut dx = zeros(rows * inputs, WHAT)?;
            m.multiply(&d, Right::Rows(&saved.weight), outputs, None, &mut dx)?;
            d = dx;
        }
        Ok(d)
    }
}

/// `[inputs, outputs, 4]` to `[4, outputs, inputs]`.
fn to_four(weight: &[f32], inputs: usize, outputs: usize) -> Result<Vec<f32>> {
    let mut four = zeros(weight.len(), WHAT)?;
    for (input, weight) in weight.chunks_exact(4 * outputs).enumerate() {
        for (at, &w) in weight.iter().enumerate() {
            four[(at % 4 * outputs + at / 4) * inputs + input] = w;
        }
    }
    Ok(four)
}

/// `[4, outputs, inputs]` to `[inputs, outputs, 4]`.
fn from_four(weight: &mut [f32], four: &[f32], inputs: usize, outputs: usize) {
    for (input, weight) in weight.chunks_exact_mut(4 * outputs).enumerate() {
        for (at, w) in weight.iter_mut().enumerate() {
            *w = four[(at % 4 * outputs + at / 4) * inputs + input];
        }
    }
}

/// For each pixel of a map of `grid << doublings` rows and columns, in their order, its place among the pixels of
/// [`Upscaling::forward`].
pub(super) fn places(grid: usize, doublings: usize) -> Result<Vec<usize>> {
    let (side, edge) = (grid << doublings, 1 << doublings);
    let bit = |n: usize, bit: usize| n >> bit & 1;
    let place = |y: usize, x: usize| {
        let token = y / edge * grid + x / edge;
        let inside = (0..doublings).map(|b| bit(y, b) << (2 * b + 1) | bit(x, b) << (2 * b)).sum::<usize>();
        token * edge * edge + inside
    };
    let mut places = reserve(side * side, "places of pixels")?;
    places.extend((0..side * side).map(|at| place(at / side, at % side)));
    Ok(places)
}
