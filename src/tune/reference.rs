//! Definitions in f64 that the ways back of whole parts are judged by, and difference quotients of them.

use crate::backend::cpu::training::tests::numbers;

/// Directions in which quotients are taken. Each sees every number.
const DIRECTIONS: usize = 4;
/// So small that few ReLUs change sides, so large that f64 keeps ten digits of the difference.
const STEP: f64 = 1e-6;

/// `x` `[rows, inputs]` times the transposed of `weight` `[outputs, inputs]`, and `bias` where it is not empty.
pub(super) fn linear(x: &[f64], weight: &[f64], bias: &[f64], inputs: usize) -> Vec<f64> {
    let product = |x: &[f64], row: &[f64]| x.iter().zip(row).map(|(x, w)| x * w).sum::<f64>();
    let biases = || bias.iter().copied().chain(std::iter::repeat(0.0));
    let rows = x.chunks_exact(inputs);
    rows.flat_map(|x| weight.chunks_exact(inputs).zip(biases()).map(move |(row, bias)| product(x, row) + bias))
        .collect()
}

/// LayerNorm over the last axis.
pub(super) fn norm(x: &[f64], gain: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let n = gain.len() as f64;
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / n;
        let scale = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
        x.iter().zip(gain).zip(bias).map(|((x, gain), bias)| (x - mean) * scale * gain + bias).collect()
    };
    x.chunks_exact(gain.len()).flat_map(row).collect()
}

pub(super) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Central difference quotients of a function of `len` numbers, each along a direction.
pub(super) struct Quotients(Vec<(Vec<f64>, f64)>);

impl Quotients {
    /// `value` is that of numbers moved by what it is given.
    pub fn new(len: usize, value: impl Fn(&[f64]) -> f64) -> Quotients {
        let quotient = |seed: usize| {
            let direction: Vec<f64> = numbers(len, 50 + seed).into_iter().map(f64::from).collect();
            let moved = |by: f64| value(&direction.iter().map(|x| by * x).collect::<Vec<_>>());
            let quotient = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            (direction, quotient)
        };
        Quotients((0..DIRECTIONS).map(quotient).collect())
    }

    /// Root of the sum of their squares.
    pub fn norm(&self) -> f64 {
        self.0.iter().map(|(_, quotient)| quotient * quotient).sum::<f64>().sqrt()
    }

    /// How far the derivative `found` is from them, as a share of [`Quotients::norm`].
    pub fn apart(&self, found: &[f32]) -> f64 {
        let off = |(direction, quotient): &(Vec<f64>, f64)| {
            let along: f64 = found.iter().zip(direction).map(|(&g, x)| f64::from(g) * x).sum();
            (along - quotient).powi(2)
        };
        self.0.iter().map(off).sum::<f64>().sqrt() / self.norm()
    }
}
