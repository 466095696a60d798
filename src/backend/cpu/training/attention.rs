//! Attention of the decoder with what its derivative needs. Short rows on either side, so plain loops; sums over a head
//! are eight at a time, in a fixed order.

use crate::Result;
use crate::backend::cpu::Level;
use crate::backend::cpu::math::softmax;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::memory::zeros;

/// What memory of an attention is for.
const WHAT: &str = "an attention of training";

/// Sizes of one attention: `rows` queries and `keys` keys of `heads` heads side by side in `inner` columns.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub heads: usize,
    pub inner: usize,
    pub rows: usize,
    pub keys: usize,
}

impl Heads {
    fn dim(&self) -> usize {
        self.inner / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim() as f32).sqrt()
    }

    /// Head `head` of row `row`.
    fn at(&self, row: usize, head: usize) -> std::ops::Range<usize> {
        let first = row * self.inner + head * self.dim();
        first..first + self.dim()
    }

    /// Scores of row `row` in head `head`.
    fn scores(&self, row: usize, head: usize) -> std::ops::Range<usize> {
        let first = (head * self.rows + row) * self.keys;
        first..first + self.keys
    }
}

/// `softmax(q k^T / sqrt(head dim)) v`: weights `[heads, rows, keys]`, and the result `[rows, inner]`.
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory).
pub(crate) fn attend(level: Level, heads: Heads, q: &[f32], k: &[f32], v: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut weights = zeros(heads.heads * heads.rows * heads.keys, WHAT)?;
    let mut out = zeros(heads.rows * heads.inner, WHAT)?;
    level.run(Forward { heads, q, k, v, weights: &mut weights, out: &mut out });
    Ok((weights, out))
}

/// Derivatives by q, k and v for `d` by the result.
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory).
pub(crate) fn attend_back(
    level: Level,
    heads: Heads,
    [q, k, v, weights]: [&[f32]; 4],
    d: &[f32],
) -> Result<[Vec<f32>; 3]> {
    let (mut dq, mut dk, mut dv) = (zeros(q.len(), WHAT)?, zeros(k.len(), WHAT)?, zeros(v.len(), WHAT)?);
    level.run(Backward { heads, given: [q, k, v, weights], d, dq: &mut dq, dk: &mut dk, dv: &mut dv });
    Ok([dq, dk, dv])
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const AT_ONCE: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<AT_ONCE>(), b.as_chunks::<AT_ONCE>());
    let mut sums = [0.0; AT_ONCE];
    for (a, b) in a.iter().zip(b) {
        for i in 0..AT_ONCE {
            sums[i] += a[i] * b[i];
        }
    }
    let mut sum = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    for part in sums {
        sum += part;
    }
    sum
}

#[inline(always)]
fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

struct Forward<'a> {
    heads: Heads,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    weights: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Forward { heads: h, q, k, v, weights, out } = self;
        for head in 0..h.heads {
            for row in 0..h.rows {
                let weights = &mut weights[h.scores(row, head)];
                let query = &q[h.at(row, head)];
                for (key, weight) in weights.iter_mut().enumerate() {
                    *weight = h.scale() * dot(query, &k[h.at(key, head)]);
                }
                softmax(weights);
                let out = &mut out[h.at(row, head)];
                for (key, &weight) in weights.iter().enumerate() {
                    add_scaled(out, &v[h.at(key, head)], weight);
                }
            }
        }
    }
}

struct Backward<'a> {
    heads: Heads,
    given: [&'a [f32]; 4],
    d: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Backward { heads: h, given: [q, k, v, weights], d, dq, dk, dv } = self;
        let mut by_weight = vec![0.0; h.keys];
        for head in 0..h.heads {
            for row in 0..h.rows {
                let (weights, d, query) = (&weights[h.scores(row, head)], &d[h.at(row, head)], &q[h.at(row, head)]);
                let mut mean = 0.0;
                for (key, by_weight) in by_weight.iter_mut().enumerate() {
                    *by_weight = dot(d, &v[h.at(key, head)]);
                    mean += weights[key] * *by_weight;
                }
                let dq = &mut dq[h.at(row, head)];
                for (key, &by_weight) in by_weight.iter().enumerate() {
                    let by_score = h.scale() * weights[key] * (by_weight - mean);
                    add_scaled(dq, &k[h.at(key, head)], by_score);
                    add_scaled(&mut dk[h.at(key, head)], query, by_score);
                    add_scaled(&mut dv[h.at(key, head)], d, weights[key]);
                }
            }
        }
    }
}
