//! A Linear on a few rows, inside larger operations.

use super::packed::Packed;
use super::product::{Dense, Single, panel_product};
use super::simd::Simd;
use super::step::Step;
use crate::error::Result;
use crate::graph::op;

/// Packed weight and bias.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub packed: &'a Packed,
    /// Repeated along the outputs where it is shorter.
    pub bias: &'a [f32],
}

impl<'a> Layer<'a> {
    pub fn new(step: &'a Step<'_>, layer: &op::Dense) -> Result<Layer<'a>> {
        Ok(Layer { packed: step.packed(layer.weight)?, bias: step.plain(layer.bias)? })
    }

    pub fn outputs(&self) -> usize {
        self.packed.outputs
    }

    /// `out[row] = W left[row] + bias`; `sums` holds `rows` times a panel.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, left: &[f32], rows: usize, sums: &mut [f32], out: &mut [f32]) {
        product(s, self.packed, left, rows, sums, out);
        for row in out.chunks_exact_mut(self.bias.len()).take(rows * self.outputs() / self.bias.len()) {
            row.iter_mut().zip(self.bias).for_each(|(x, b)| *x += b);
        }
    }
}

/// `out[row] = W left[row]` for all panels.
#[inline(always)]
pub(super) fn product<S: Simd>(s: S, packed: &Packed, left: &[f32], rows: usize, sums: &mut [f32], out: &mut [f32]) {
    let left = Dense { data: left, stride: packed.inputs };
    for panel in 0..packed.panels() {
        panel_product::<S, Single>(s, &left, 0..rows, packed.panel(panel), sums);
        let column = panel * packed.width;
        let width = packed.width.min(packed.outputs - column);
        for (row, sums) in sums.chunks_exact(packed.width).take(rows).enumerate() {
            out[row * packed.outputs + column..][..width].copy_from_slice(&sums[..width]);
        }
    }
}

/// Cuts pieces off the front of scratch memory.
pub(super) struct Pieces<'a>(pub &'a mut [f32]);

impl<'a> Pieces<'a> {
    pub fn take(&mut self, len: usize) -> &'a mut [f32] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        piece
    }

    /// All that is left.
    pub fn rest(self) -> &'a mut [f32] {
        self.0
    }
}
