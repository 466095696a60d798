//! LayerNorm whose gain and bias are not trained: nothing is kept of the way forward but what came in.

use super::crew::Crew;
use crate::backend::cpu::simd::{Kernel, Simd};

/// Gain, bias and eps.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub gain: &'a [f32],
    pub bias: &'a [f32],
    pub eps: f32,
}

impl Crew<'_> {
    /// `out = LayerNorm(x)`.
    pub fn norm(&self, affine: Affine<'_>, x: &[f32], out: &mut [f32]) {
        let width = affine.gain.len();
        self.rows(width, out, |rows, out| {
            let x = &x[rows.start * width..rows.end * width];
            self.level.run(Forward { affine, x, out });
        });
    }

    /// `out += d LayerNorm(x)` for `d` by its result.
    pub fn add_norm_back(&self, affine: Affine<'_>, x: &[f32], d: &[f32], out: &mut [f32]) {
        let width = affine.gain.len();
        self.rows(width, out, |rows, out| {
            let part = rows.start * width..rows.end * width;
            self.level.run(Backward { affine, x: &x[part.clone()], d: &d[part], out });
        });
    }
}

/// Mean, and one by the root of the variance and eps.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &[f32], eps: f32) -> [f32; 2] {
    let n = x.len() as f32;
    let mut sums = [s.splat(0.0); 2];
    for part in x.chunks(2 * S::LANES) {
        for (sum, part) in sums.iter_mut().zip(part.chunks(S::LANES)) {
            *sum = s.add(*sum, s.read_any(part));
        }
    }
    let rough = s.sum(s.add(sums[0], sums[1])) / n;
    // The sum of differences takes away what the first pass lost to rounding.
    let (mut differences, mut squares) = ([s.splat(0.0); 2], [s.splat(0.0); 2]);
    for part in x.chunks(2 * S::LANES) {
        for (i, part) in part.chunks(S::LANES).enumerate() {
            let d = s.sub(s.read_filled(part, rough), s.splat(rough));
            differences[i] = s.add(differences[i], d);
            squares[i] = s.fma(d, d, squares[i]);
        }
    }
    let rest = s.sum(s.add(differences[0], differences[1])) / n;
    let variance = s.sum(s.add(squares[0], squares[1])) / n - rest * rest;
    [rough + rest, 1.0 / (variance + eps).sqrt()]
}

struct Forward<'a> {
    affine: Affine<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { affine: Affine { gain, bias, eps }, x, out } = self;
        let width = gain.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let [centre, scale] = statistics(s, x, eps);
            let (centre, scale) = (s.splat(centre), s.splat(scale));
            for at in (0..width).step_by(S::LANES) {
                let lanes = at..width.min(at + S::LANES);
                let normed = s.mul(s.sub(s.read_any(&x[lanes.clone()]), centre), scale);
                let y = s.fma(normed, s.read_any(&gain[lanes.clone()]), s.read_any(&bias[lanes.clone()]));
                s.write_any(&mut out[lanes], y);
            }
        }
    }
}

struct Backward<'a> {
    affine: Affine<'a>,
    x: &'a [f32],
    d: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { affine: Affine { gain, eps, .. }, x, d, out } = self;
        let width = gain.len();
        let n = width as f32;
        for ((x, d), out) in x.chunks_exact(width).zip(d.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            let [centre, scale] = statistics(s, x, eps);
            let (centre, factor) = (s.splat(centre), s.splat(scale));
            let (mut all, mut along) = (s.splat(0.0), s.splat(0.0));
            for at in (0..width).step_by(S::LANES) {
                let lanes = at..width.min(at + S::LANES);
                let by_normed = s.mul(s.read_any(&d[lanes.clone()]), s.read_any(&gain[lanes.clone()]));
                // Behind the last channel `by_normed` is 0, whatever `normed` is.
                let normed = s.mul(s.sub(s.read_any(&x[lanes]), centre), factor);
                all = s.add(all, by_normed);
                along = s.fma(by_normed, normed, along);
            }
            let (mean, along) = (s.splat(s.sum(all) / n), s.splat(s.sum(along) / n));
            for at in (0..width).step_by(S::LANES) {
                let lanes = at..width.min(at + S::LANES);
                let by_normed = s.mul(s.read_any(&d[lanes.clone()]), s.read_any(&gain[lanes.clone()]));
                let normed = s.mul(s.sub(s.read_any(&x[lanes.clone()]), centre), factor);
                let dx = s.sub(s.sub(by_normed, mean), s.mul(normed, along));
                let sum = s.fma(factor, dx, s.read_any(&out[lanes.clone()]));
                s.write_any(&mut out[lanes], sum);
            }
        }
    }
}
