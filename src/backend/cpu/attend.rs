//! Softmax attention in which the queries or the keys are few: those of the longer side lie in the lanes of registers.
//! The arithmetic of a query depends neither on the queries beside it nor on its lane.
#![allow(unsafe_code)]

use super::Level;
use super::math::{SUMMED, exp};
use super::simd::Simd;

/// Heads of every attention of the decoder.
pub(super) const HEADS: usize = 8;

/// Sums of a head's result, one after another of a query's keys: a chain of multiply-adds each.
const CHAINS: usize = 4;

/// f32 that an attention over at most `keys` keys of `inner` columns needs besides.
pub(super) fn scratch(level: Level, inner: usize, keys: usize) -> usize {
    level.lanes() * (2 * (inner / HEADS) + keys)
}

/// As [`scratch`], for [`few_queries`].
pub(super) fn scratch_of_few_queries(level: Level, inner: usize, keys: usize) -> usize {
    level.lanes() * (inner / HEADS) + keys.next_multiple_of(level.lanes())
}

/// Rows of q, k or v inside a wider array.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub first: usize,
}

impl<'a> Columns<'a> {
    pub fn all(data: &'a [f32], stride: usize) -> Columns<'a> {
        Columns { data, stride, first: 0 }
    }

    fn rows(&self) -> usize {
        self.data.len() / self.stride
    }

    /// From the head of one row on.
    #[inline(always)]
    fn from(&self, row: usize, head: usize, head_dim: usize) -> &'a [f32] {
        &self.data[row * self.stride + self.first + head * head_dim..]
    }

    #[inline(always)]
    fn row(&self, row: usize, head: usize, head_dim: usize) -> &'a [f32] {
        &self.from(row, head, head_dim)[..head_dim]
    }

    /// A head of `count` rows from `first` on as columns, `[head dim, LANES]`, with zeros in the lanes behind them.
    #[inline(always)]
    fn turn<S: Simd>(&self, s: S, (first, count): (usize, usize), head: usize, head_dim: usize, to: &mut [f32]) {
        let from = self.from(first, head, head_dim);
        assert!(from.len() >= (count - 1) * self.stride + head_dim && to.len() >= head_dim * S::LANES);
        let whole = if count == S::LANES { head_dim / S::LANES * S::LANES } else { 0 };
        for d in (0..whole).step_by(S::LANES) {
            // SAFETY: `LANES` rows of `LANES` numbers lie within both, by the assertion.
            unsafe { s.transpose(from[d..].as_ptr(), self.stride, to[d * S::LANES..].as_mut_ptr(), S::LANES) };
        }
        if whole < head_dim {
            to[whole * S::LANES..head_dim * S::LANES].fill(0.0);
            for lane in 0..count {
                for d in whole..head_dim {
                    to[d * S::LANES + lane] = from[lane * self.stride + d];
                }
            }
        }
    }
}

/// The columns `[head dim, LANES]` as `count` rows of `to`, `stride` numbers apart.
#[inline(always)]
fn turn_back<S: Simd>(s: S, from: &[f32], count: usize, head_dim: usize, to: &mut [f32], stride: usize) {
    assert!(from.len() >= head_dim * S::LANES && to.len() >= (count - 1) * stride + head_dim);
    let whole = if count == S::LANES { head_dim / S::LANES * S::LANES } else { 0 };
    for d in (0..whole).step_by(S::LANES) {
        // SAFETY: `LANES` rows of `LANES` numbers lie within both, by the assertion.
        unsafe { s.transpose(from[d * S::LANES..].as_ptr(), S::LANES, to[d..].as_mut_ptr(), stride) };
    }
    for lane in 0..count {
        for d in whole..head_dim {
            to[lane * stride + d] = from[d * S::LANES + lane];
        }
    }
}

/// `out[row] = softmax(q[row] k^T / sqrt(head dim)) v` head by head for `rows` rows of q, whose keys are few; `out` is
/// `[rows, inner]`.
#[inline(always)]
pub(super) fn few_keys<S: Simd>(
    s: S,
    q: Columns<'_>,
    rows: std::ops::Range<usize>,
    [k, v]: [Columns<'_>; 2],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let inner = out.len() / rows.len().max(1);
    let (head_dim, keys) = (inner / HEADS, k.rows());
    let scale = s.splat(1.0 / (head_dim as f32).sqrt());
    let (turned, rest) = scratch.split_at_mut(head_dim * S::LANES);
    let (result, rest) = rest.split_at_mut(head_dim * S::LANES);
    let weights = &mut rest[..keys * S::LANES];
    for first in rows.clone().step_by(S::LANES) {
        let count = S::LANES.min(rows.end - first);
        for head in 0..HEADS {
            q.turn(s, (first, count), head, head_dim, turned);
            let mut most = s.splat(f32::NEG_INFINITY);
            for (key, weights) in weights.chunks_exact_mut(S::LANES).enumerate() {
                let mut score = s.splat(0.0);
                for (&x, column) in k.row(key, head, head_dim).iter().zip(turned.chunks_exact(S::LANES)) {
                    score = s.fma(s.splat(x), s.read(column), score);
                }
                let score = s.mul(score, scale);
                s.write(weights, score);
                most = s.max(score, most);
            }
            let mut total = s.splat(0.0);
            for weights in weights.chunks_exact_mut(S::LANES) {
                let weight = exp(s, s.sub(s.read(weights), most));
                s.write(weights, weight);
                total = s.add(total, weight);
            }
            let share = s.reciprocal(total);
            for (d, to) in result.chunks_exact_mut(S::LANES).enumerate() {
                let mut sum = s.splat(0.0);
                for (key, weights) in weights.chunks_exact(S::LANES).enumerate() {
                    sum = s.fma(s.splat(v.row(key, head, head_dim)[d]), s.read(weights), sum);
                }
                s.write(to, s.mul(sum, share));
            }
            turn_back(s, result, count, head_dim, &mut out[(first - rows.start) * inner + head * head_dim..], inner);
        }
    }
}

/// As [`few_keys`] for the query `q` `[inner]`, whose keys are many; `out` is `[inner]`.
#[inline(always)]
pub(super) fn few_queries<S: Simd>(s: S, q: &[f32], [k, v]: [Columns<'_>; 2], scratch: &mut [f32], out: &mut [f32]) {
    let (head_dim, keys) = (out.len() / HEADS, k.rows());
    let scale = s.splat(1.0 / (head_dim as f32).sqrt());
    let (turned, rest) = scratch.split_at_mut(head_dim * S::LANES);
    let scores = &mut rest[..keys.next_multiple_of(S::LANES)];
    for (head, (query, out)) in q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)).enumerate() {
        let mut most = s.splat(f32::NEG_INFINITY);
        for first in (0..keys).step_by(S::LANES) {
            let count = S::LANES.min(keys - first);
            k.turn(s, (first, count), head, head_dim, turned);
            let mut score = s.splat(0.0);
            for (&x, column) in query.iter().zip(turned.chunks_exact(S::LANES)) {
                score = s.fma(s.splat(x), s.read(column), score);
            }
            let scores = &mut scores[first..first + S::LANES];
            s.write(scores, s.mul(score, scale));
            scores[count..].fill(f32::NEG_INFINITY);
            most = s.max(s.read(scores), most);
        }
        let most = s.splat(s.largest(most));
        let mut total = 0.0;
        for block in scores.chunks_mut(SUMMED) {
            let mut part = s.splat(0.0);
            for scores in block.chunks_exact_mut(S::LANES) {
                let weight = exp(s, s.sub(s.read(scores), most));
                s.write(scores, weight);
                part = s.add(part, weight);
            }
            total += s.sum(part);
        }
        weigh(s, &scores[..keys], v, (head, head_dim), total.recip(), out);
    }
}

/// `out = share * weights v` for a head.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    weights: &[f32],
    v: Columns<'_>,
    (head, head_dim): (usize, usize),
    share: f32,
    out: &mut [f32],
) {
    for (d, out) in (0..head_dim).step_by(S::LANES).zip(out.chunks_mut(S::LANES)) {
        let value = |key: usize| &v.from(key, head, head_dim)[d..d + out.len()];
        let mut total = s.splat(0.0);
        for (block, weights) in weights.chunks(SUMMED).enumerate() {
            let mut parts = [s.splat(0.0); CHAINS];
            for (i, weights) in weights.chunks(CHAINS).enumerate() {
                let first = block * SUMMED + i * CHAINS;
                for (chain, &weight) in weights.iter().enumerate() {
                    parts[chain] = s.fma(s.splat(weight), s.read_any(value(first + chain)), parts[chain]);
                }
            }
            let [a, b, c, d] = parts;
            total = s.add(total, s.add(s.add(a, b), s.add(c, d)));
        }
        s.write_any(out, s.mul(total, s.splat(share)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Kernel;
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 336.0 - 1.5).collect()
    }

    struct Both<'a> {
        level: Level,
        q: &'a [f32],
        /// k in the first `inner` columns, v behind it.
        kv: &'a [f32],
        inner: usize,
    }

    impl Kernel for Both<'_> {
        /// `[rows, inner]`, by [`few_keys`] and by [`few_queries`].
        type Output = [Vec<f32>; 2];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [Vec<f32>; 2] {
            let Both { level, q, kv, inner } = self;
            let (rows, keys) = (q.len() / inner, kv.len() / (2 * inner));
            let k = Columns::all(kv, 2 * inner);
            let sides = [k, Columns { first: inner, ..k }];
            // What memory holds before must not matter.
            let mut memory =
                vec![f32::NAN; scratch(level, inner, keys).max(scratch_of_few_queries(level, inner, keys))];
            let mut out = [vec![0.0; q.len()], vec![0.0; q.len()]];
            few_keys(s, Columns::all(q, inner), 0..rows, sides, &mut memory, &mut out[0]);
            for (q, out) in q.chunks_exact(inner).zip(out[1].chunks_exact_mut(inner)) {
                few_queries(s, q, sides, &mut memory, out);
            }
            out
        }
    }

    #[test]
    fn both_are_softmax_attention_for_any_number_of_rows_and_keys() {
        for level in Level::available() {
            for (rows, keys, head_dim) in [(1, 1, 1), (7, 7, 32), (37, 9, 16), (3, 301, 16), (18, 530, 5)] {
                let inner = HEADS * head_dim;
                let (q, kv) = (numbers(rows * inner, 1), numbers(keys * 2 * inner, 2));
                let found = level.run(Both { level, q: &q, kv: &kv, inner });
                let at = |key: usize, column: usize| f64::from(kv[key * 2 * inner + column]);
                for (row, head) in (0..rows).flat_map(|row| (0..HEADS).map(move |head| (row, head))) {
                    let first = head * head_dim;
                    let score = |key: usize| -> f64 {
                        let dot = |d| f64::from(q[row * inner + first + d]) * at(key, first + d);
                        (0..head_dim).map(dot).sum::<f64>() / (head_dim as f64).sqrt()
                    };
                    let weights: Vec<f64> = (0..keys).map(|key| score(key).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..head_dim {
                        let sum: f64 = weights.iter().enumerate().map(|(key, w)| w * at(key, inner + first + d)).sum();
                        for (way, found) in found.iter().enumerate() {
                            let apart = (f64::from(found[row * inner + first + d]) - sum / total).abs();
                            assert!(apart < 2e-6, "{level}, way {way}: {rows} x {keys} x {head_dim}: {apart}");
                        }
                    }
                }
            }
        }
    }
}
