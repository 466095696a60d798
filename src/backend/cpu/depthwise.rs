//! 3x3 convolution of each channel by itself, a row of outputs at a time.
#![allow(unsafe_code)]

use super::Level;
use super::math::gelu;
use super::memory::{Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Step};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::op::Depthwise;

/// Outputs that share the loads of the weights.
const TOGETHER: usize = 4;

impl Execute for Depthwise {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, _: Level, graph: &Graph) -> usize {
        self.side * graph[self.input].shape[2]
    }
}

fn run(step: &Step<'_>, op: &Depthwise, views: Views<'_>) -> Result<()> {
    let &Depthwise { input, weight, bias, side, out } = op;
    let channels = step.graph[input].shape[2];
    let ([input], [out]) = views.take([input], [out])?;
    let (input, out) = (floats(input), Shared::new(floats_mut(out)));
    let (weight, bias) = (step.plain(weight)?, step.plain(bias)?);
    let width = side * channels;
    step.each(side * step.active, |task, zeros| {
        let (slice, row) = (task / side, task % side);
        let zeros = &mut zeros[..width];
        zeros.fill(0.0);
        let at = |row: usize| &input[(slice * side + row) * width..][..width];
        let above = if row == 0 { &*zeros } else { at(row - 1) };
        let below = if row + 1 == side { &*zeros } else { at(row + 1) };
        // SAFETY: this row of outputs belongs to this task.
        let out = unsafe { out.part((slice * side + row) * width, width) };
        step.level.run(Row { rows: [above, at(row), below], weight, bias, stride: 1, with_gelu: false, out });
    });
    Ok(())
}

/// A row of outputs.
pub(super) struct Row<'a> {
    /// The rows of inputs that it reads, `[side, channels]` each.
    pub rows: [&'a [f32]; 3],
    /// `[3, 3, channels]`.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: &'a [f32],
    pub stride: usize,
    pub with_gelu: bool,
    /// `[outputs, channels]`.
    pub out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Row { rows, weight, bias, stride, with_gelu, out } = self;
        let channels = bias.len();
        let (side, outputs) = (rows[0].len() / channels, out.len() / channels);
        let mut first = 0;
        while first < outputs {
            // Only whole groups whose taps all lie inside share loads; the ends go one by one.
            let inside = first > 0 && (first + TOGETHER - 1) * stride + 1 < side && first + TOGETHER <= outputs;
            let part = Part { rows, weight, bias, stride, with_gelu, side };
            if inside && channels.is_multiple_of(S::LANES) {
                part.group(s, first, &mut out[first * channels..(first + TOGETHER) * channels]);
                first += TOGETHER;
            } else {
                part.one(s, first, &mut out[first * channels..(first + 1) * channels]);
                first += 1;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Part<'a> {
    rows: [&'a [f32]; 3],
    weight: &'a [f32],
    bias: &'a [f32],
    stride: usize,
    with_gelu: bool,
    side: usize,
}

impl Part<'_> {
    /// [`TOGETHER`] outputs from `first` on, whose taps are all inside.
    #[inline(always)]
    fn group<S: Simd>(&self, s: S, first: usize, out: &mut [f32]) {
        let channels = self.bias.len();
        let left = (first * self.stride - 1) * channels;
        let last = left + ((TOGETHER - 1) * self.stride + 3) * channels;
        assert!(self.rows.iter().all(|row| row.len() >= last) && self.weight.len() >= 9 * channels);
        assert!(out.len() >= TOGETHER * channels && channels.is_multiple_of(S::LANES));
        for c in (0..channels).step_by(S::LANES) {
            let mut sums = [s.read(&self.bias[c..]); TOGETHER];
            for tap in 0..9 {
                // SAFETY: tap below 9 of `weight`, and columns up to `last` of each row, as was just checked.
                unsafe {
                    let weight = s.load(self.weight.as_ptr().add(tap * channels + c));
                    let from = self.rows[tap / 3].as_ptr().add(left + tap % 3 * channels + c);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = s.fma(s.load(from.add(i * self.stride * channels)), weight, *sum);
                    }
                }
            }
            for (i, &sum) in sums.iter().enumerate() {
                let x = if self.with_gelu { gelu(s, sum) } else { sum };
                s.write(&mut out[i * channels + c..], x);
            }
        }
    }

    /// One output, taps outside left out.
    #[inline(always)]
    fn one<S: Simd>(&self, s: S, x: usize, out: &mut [f32]) {
        let channels = self.bias.len();
        for c in (0..channels).step_by(S::LANES) {
            let lanes = c..channels.min(c + S::LANES);
            let mut sum = s.read_any(&self.bias[lanes.clone()]);
            for tap in 0..9 {
                // One more than the tap's column, so that it stays unsigned.
                let column = x * self.stride + tap % 3;
                if column == 0 || column > self.side {
                    continue;
                }
                let weight = s.read_any(&self.weight[tap * channels..][lanes.clone()]);
                let from = s.read_any(&self.rows[tap / 3][(column - 1) * channels..][lanes.clone()]);
                sum = s.fma(from, weight, sum);
            }
            let sum = if self.with_gelu { gelu(s, sum) } else { sum };
            s.write_any(&mut out[lanes], sum);
        }
    }
}
