//! LayerNorm over channels, and the mean over tokens of the result.

use super::math::sum;
use super::memory::{Out, Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Step, mismatch};
use crate::error::Result;
use crate::graph::Op;
use crate::graph::op::Norm;

/// Rows of a task.
const ROWS: usize = 32;

/// Channels of a task of the mean.
const CHANNELS: usize = 64;

pub(super) fn run(step: &Step<'_>, op: &Op, views: Views<'_>) -> Result<()> {
    let Op::LayerNorm { input, norm, out, mean } = op else { return Err(mismatch(op)) };
    let shape = &step.graph[*input].shape;
    let (tokens, channels) = (shape[1], shape[2]);
    let norm = Affine::new(step, norm)?;
    let half = views.is_half(*out);
    let (input, out, mean) = match mean {
        Some(mean) => {
            let ([input], [out, mean]) = views.take([*input], [*out, *mean])?;
            (floats(input), out, Some(floats_mut(mean)))
        }
        None => {
            let ([input], [out]) = views.take([*input], [*out])?;
            (floats(input), out, None)
        }
    };
    let rows = step.active * tokens;
    let shared = Out::new(out, half);
    step.each(rows.div_ceil(ROWS), |task, scratch| {
        let (first, last) = (task * ROWS, rows.min((task + 1) * ROWS));
        let normed = &mut scratch[..(last - first) * channels];
        step.level.run(Rows { input: &input[first * channels..last * channels], norm, out: normed });
        // SAFETY: the rows of this task belong to no other.
        #[allow(unsafe_code)]
        unsafe {
            shared.write(first * channels, normed);
        }
    });
    match mean {
        Some(mean) if half => {
            let halves: &[u16] = bytemuck::cast_slice(out);
            token_mean(step, |i| f32::from_bits(u32::from(halves[i]) << 16), tokens, channels, mean);
        }
        Some(mean) => {
            let data = floats(out);
            token_mean(step, |i| data[i], tokens, channels, mean);
        }
        None => {}
    }
    Ok(())
}

/// Gain, bias and eps of a LayerNorm.
#[derive(Clone, Copy)]
pub(super) struct Affine<'a> {
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl<'a> Affine<'a> {
    pub fn new(step: &'a Step<'_>, norm: &Norm) -> Result<Affine<'a>> {
        Ok(Affine { gain: step.plain(norm.gain)?, bias: step.plain(norm.bias)?, eps: norm.eps })
    }

    /// Replaces `row` by its normalised self. Two passes: the variance is of differences from the mean, whose own sum
    /// takes away what the first pass lost to rounding.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, row: &mut [f32]) {
        let n = row.len() as f32;
        let rough = sum(s, row) / n;
        let (mut differences, mut squares) = (s.splat(0.0), s.splat(0.0));
        for part in row.chunks(S::LANES) {
            let d = s.sub(s.read_filled(part, rough), s.splat(rough));
            differences = s.add(differences, d);
            squares = s.fma(d, d, squares);
        }
        let rest = s.sum(differences) / n;
        let variance = s.sum(squares) / n - rest * rest;
        let centre = s.splat(rough + rest);
        let scale = s.splat(1.0 / (variance + self.eps).sqrt());
        let affine = |x, gain, bias| s.fma(s.mul(s.sub(x, centre), scale), gain, bias);
        for start in (0..row.len()).step_by(S::LANES) {
            let end = row.len().min(start + S::LANES);
            let read = |from: &[f32]| s.read_any(&from[start..end]);
            let x = affine(read(row), read(self.gain), read(self.bias));
            s.write_any(&mut row[start..end], x);
        }
    }
}

struct Rows<'a> {
    input: &'a [f32],
    norm: Affine<'a>,
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.norm.gain.len();
        for (from, to) in self.input.chunks_exact(channels).zip(self.out.chunks_exact_mut(channels)) {
            to.copy_from_slice(from);
            self.norm.apply(s, to);
        }
    }
}

/// f32 of scratch of a task.
pub(super) fn scratch(channels: usize) -> usize {
    ROWS * channels
}

/// `mean[b, c]` of `data[b, :, c]`, row after row.
fn token_mean(step: &Step<'_>, data: impl Fn(usize) -> f32 + Sync, tokens: usize, channels: usize, mean: &mut [f32]) {
    let parts = channels.div_ceil(CHANNELS);
    let mean = Shared::new(mean);
    step.each(step.active * parts, |task, _| {
        let (slice, first) = (task / parts, task % parts * CHANNELS);
        let width = CHANNELS.min(channels - first);
        // SAFETY: the channels of this task belong to no other.
        #[allow(unsafe_code)]
        let mean = unsafe { mean.part(slice * channels + first, width) };
        mean.fill(0.0);
        for token in slice * tokens..(slice + 1) * tokens {
            mean.iter_mut().zip(token * channels + first..).for_each(|(sum, i)| *sum += data(i));
        }
        mean.iter_mut().for_each(|sum| *sum /= tokens as f32);
    });
}
