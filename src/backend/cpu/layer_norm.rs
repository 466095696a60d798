//! LayerNorm over channels, and the mean over tokens of the result.

use std::ops::Range;

use super::Level;
use super::memory::{Out, Shared, Views, floats, floats_mut};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Step};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::op::{LayerNorm, Norm};

/// Rows of a task.
const ROWS: usize = 32;

/// Channels of a task of the mean.
const CHANNELS: usize = 64;

impl Execute for LayerNorm {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, _: Level, graph: &Graph) -> usize {
        ROWS * graph[self.input].shape[2]
    }
}

fn run(step: &Step<'_>, op: &LayerNorm, views: Views<'_>) -> Result<()> {
    let LayerNorm { input, norm, out, mean } = op;
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
        let (at, len) = (first * channels, (last - first) * channels);
        let input = &input[at..at + len];
        #[allow(unsafe_code)]
        match shared {
            Out::Single(out) => {
                // SAFETY: the rows of this task belong to no other.
                let out = unsafe { out.part(at, len) };
                step.level.run(Rows { input, norm, out });
            }
            Out::Half(_) => {
                let normed = &mut scratch[..len];
                step.level.run(Rows { input, norm, out: normed });
                // SAFETY: as above.
                unsafe { shared.write(at, normed) };
            }
        }
    });
    match mean {
        Some(mean) if half => {
            let halves: &[u16] = bytemuck::cast_slice(out);
            token_mean(step, tokens, channels, mean, |at, mean| {
                for row in halves[at..].chunks(channels).take(tokens) {
                    let row = row.iter().map(|&half| f32::from_bits(u32::from(half) << 16));
                    mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            });
        }
        Some(mean) => {
            let data = floats(out);
            token_mean(step, tokens, channels, mean, |at, mean| {
                step.level.run(RowSum { data: &data[at..], stride: channels, rows: tokens, sum: mean });
            });
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

    /// Replaces `row` by its normalised self.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, row: &mut [f32]) {
        let statistics = Statistics::of(s, row, self.eps);
        for start in (0..row.len()).step_by(S::LANES) {
            let lanes = start..row.len().min(start + S::LANES);
            let x = self.normed(s, &statistics, s.read_any(&row[lanes.clone()]), lanes.clone());
            s.write_any(&mut row[lanes], x);
        }
    }

    /// As [`Affine::apply`] for many rows: of few channels as many at once as a register has lanes. `columns` is memory
    /// for these.
    #[inline(always)]
    pub fn apply_to_rows<S: Simd>(&self, s: S, rows: &mut [f32], columns: &mut [f32]) {
        let channels = self.gain.len();
        let at_once = S::LANES * channels;
        for rows in rows.chunks_mut(at_once) {
            if rows.len() == at_once && channels.is_multiple_of(S::LANES) {
                self.apply_in_lanes(s, rows, &mut columns[..at_once]);
            } else {
                for row in rows.chunks_exact_mut(channels) {
                    self.apply(s, row);
                }
            }
        }
    }

    /// Normalises `LANES` rows, a row in each lane.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the transposition of registers")]
    fn apply_in_lanes<S: Simd>(&self, s: S, rows: &mut [f32], columns: &mut [f32]) {
        let channels = self.gain.len();
        assert!(rows.len() == S::LANES * channels && columns.len() == rows.len());
        for c in (0..channels).step_by(S::LANES) {
            // SAFETY: `LANES` rows of `channels` numbers, and as many columns of `LANES`, by the assertion.
            unsafe { s.transpose(rows[c..].as_ptr(), channels, columns[c * S::LANES..].as_mut_ptr(), S::LANES) };
        }
        let share = s.splat(1.0 / channels as f32);
        let mut sum = s.splat(0.0);
        for column in columns.chunks_exact(S::LANES) {
            sum = s.add(sum, s.read(column));
        }
        let rough = s.mul(sum, share);
        let (mut differences, mut squares) = (s.splat(0.0), s.splat(0.0));
        for column in columns.chunks_exact(S::LANES) {
            let d = s.sub(s.read(column), rough);
            differences = s.add(differences, d);
            squares = s.fma(d, d, squares);
        }
        let rest = s.mul(differences, share);
        let variance = s.sub(s.mul(squares, share), s.mul(rest, rest));
        let (centre, scale) = (s.add(rough, rest), s.reciprocal_root(s.add(variance, s.splat(self.eps))));
        for (column, (&gain, &bias)) in columns.chunks_exact_mut(S::LANES).zip(self.gain.iter().zip(self.bias)) {
            let x = s.mul(s.sub(s.read(column), centre), scale);
            s.write(column, s.fma(x, s.splat(gain), s.splat(bias)));
        }
        for c in (0..channels).step_by(S::LANES) {
            // SAFETY: as above.
            unsafe { s.transpose(columns[c * S::LANES..].as_ptr(), S::LANES, rows[c..].as_mut_ptr(), channels) };
        }
    }

    /// `from`, normalised, over `to`.
    #[inline(always)]
    fn apply_to<S: Simd>(&self, s: S, from: &[f32], to: &mut [f32]) {
        let statistics = Statistics::of(s, from, self.eps);
        for start in (0..from.len()).step_by(S::LANES) {
            let lanes = start..from.len().min(start + S::LANES);
            let x = self.normed(s, &statistics, s.read_any(&from[lanes.clone()]), lanes.clone());
            s.write_any(&mut to[lanes], x);
        }
    }

    #[inline(always)]
    fn normed<S: Simd>(&self, s: S, statistics: &Statistics<S>, x: S::V, lanes: Range<usize>) -> S::V {
        let (gain, bias) = (s.read_any(&self.gain[lanes.clone()]), s.read_any(&self.bias[lanes]));
        s.fma(s.mul(s.sub(x, statistics.centre), statistics.scale), gain, bias)
    }
}

/// Of a row, in every lane.
struct Statistics<S: Simd> {
    /// The mean.
    centre: S::V,
    /// One by the root of the variance and eps.
    scale: S::V,
}

/// Sums of a row side by side: one alone would make each addition wait for the one before.
const SUMS: usize = 4;

impl<S: Simd> Statistics<S> {
    /// Two passes: the variance is of differences from the mean, whose own sum takes away what the first pass lost to
    /// rounding.
    #[inline(always)]
    fn of(s: S, row: &[f32], eps: f32) -> Self {
        let n = row.len() as f32;
        let at_once = SUMS * S::LANES;
        let whole = row.len() / at_once * at_once;
        let (body, tail) = row.split_at(whole);
        let mut sums = [s.splat(0.0); SUMS];
        for part in body.chunks_exact(at_once) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.read(&part[i * S::LANES..]));
            }
        }
        for part in tail.chunks(S::LANES) {
            sums[0] = s.add(sums[0], s.read_any(part));
        }
        let rough = total(s, sums) / n;
        let centre = s.splat(rough);
        let (mut differences, mut squares) = ([s.splat(0.0); SUMS], [s.splat(0.0); SUMS]);
        for part in body.chunks_exact(at_once) {
            for i in 0..SUMS {
                let d = s.sub(s.read(&part[i * S::LANES..]), centre);
                differences[i] = s.add(differences[i], d);
                squares[i] = s.fma(d, d, squares[i]);
            }
        }
        for part in tail.chunks(S::LANES) {
            let d = s.sub(s.read_filled(part, rough), centre);
            differences[0] = s.add(differences[0], d);
            squares[0] = s.fma(d, d, squares[0]);
        }
        let rest = total(s, differences) / n;
        let variance = total(s, squares) / n - rest * rest;
        Statistics { centre: s.splat(rough + rest), scale: s.splat(1.0 / (variance + eps).sqrt()) }
    }
}

#[inline(always)]
fn total<S: Simd>(s: S, [a, b, c, d]: [S::V; SUMS]) -> f32 {
    s.sum(s.add(s.add(a, b), s.add(c, d)))
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
            self.norm.apply_to(s, from, to);
        }
    }
}

/// Adds `rows` rows of `data` to `sum`, row after row.
struct RowSum<'a> {
    data: &'a [f32],
    stride: usize,
    rows: usize,
    sum: &'a mut [f32],
}

impl Kernel for RowSum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RowSum { data, stride, rows, sum } = self;
        let at_once = SUMS * S::LANES;
        for (part, sum) in sum.chunks_mut(at_once).enumerate() {
            let rows = data[part * at_once..].chunks(stride).take(rows);
            if sum.len() == at_once {
                let mut sums = [s.splat(0.0); SUMS];
                for row in rows {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = s.add(*sum, s.read(&row[i * S::LANES..]));
                    }
                }
                for (to, x) in sum.chunks_exact_mut(S::LANES).zip(sums) {
                    s.write(to, s.add(s.read(to), x));
                }
            } else {
                for row in rows {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }
}

/// The mean of each channel over the tokens of a slice. `add(at, sums)` adds to each of `sums` its channel of all
/// tokens, row after row, from number `at` of the data on.
fn token_mean(
    step: &Step<'_>,
    tokens: usize,
    channels: usize,
    mean: &mut [f32],
    add: impl Fn(usize, &mut [f32]) + Sync,
) {
    let parts = channels.div_ceil(CHANNELS);
    let mean = Shared::new(mean);
    step.each(step.active * parts, |task, _| {
        let (slice, first) = (task / parts, task % parts * CHANNELS);
        let width = CHANNELS.min(channels - first);
        // SAFETY: the channels of this task belong to no other.
        #[allow(unsafe_code)]
        let mean = unsafe { mean.part(slice * channels + first, width) };
        mean.fill(0.0);
        add(slice * tokens * channels + first, mean);
        mean.iter_mut().for_each(|sum| *sum /= tokens as f32);
    });
}
