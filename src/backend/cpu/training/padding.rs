//! The padded keys of a window, which share one key and one value: two terms, padded rows with all columns and real
//! rows with padded columns, each a product of a sum over rows and one over columns.

use crate::backend::cpu::attention::window::Window;
use crate::backend::cpu::math::exp;
use crate::backend::cpu::simd::Simd;

/// For one query.
pub(super) struct Padding<'a> {
    /// `e^(term - largest)` of the rows: the padded and the real ones each with their own largest.
    rows: &'a [f32],
    /// Of all columns; of the padded ones with their own largest.
    columns: [&'a [f32]; 2],
    /// Sums over padded rows, all columns; real rows, padded columns.
    sums: [[f32; 2]; 2],
    /// The largest score of each of both terms.
    most: [f32; 2],
    /// `e^(most - largest score of all keys)`.
    scales: [f32; 2],
}

impl<'a> Padding<'a> {
    /// f32 of memory, of relative terms that have room for `rel` numbers.
    pub fn len(rel: usize) -> usize {
        3 * rel
    }

    /// `rel` are relative terms along both axes, `common` the scaled product of query and padded key.
    #[inline(always)]
    pub fn new<S: Simd>(s: S, window: &Window, rel: [&[f32]; 2], common: f32, memory: &'a mut [f32]) -> Padding<'a> {
        let none = f32::NEG_INFINITY;
        let (height, width) = (window.height, window.width);
        let (first, rest) = memory.split_at_mut(window.side);
        let (second, rest) = rest.split_at_mut(window.side);
        let third = &mut rest[..window.side - width];
        let (real, padded) = first.split_at_mut(height);
        let [(a, most_a), (b, most_b), (c, most_c), (d, most_d)] = [
            exponentials(s, &rel[0][height..], padded),
            exponentials(s, rel[1], second),
            exponentials(s, &rel[0][..height], real),
            exponentials(s, &rel[1][width..], third),
        ];
        let most = [(height < window.side, most_a + most_b), (width < window.side, most_c + most_d)];
        Padding {
            rows: first,
            columns: [second, third],
            sums: [[a, b], [c, d]],
            most: most.map(|(is_there, most)| if is_there { most + common } else { none }),
            scales: [0.0; 2],
        }
    }

    /// The largest score of a padded key; none has one where there are none.
    pub fn largest(&self) -> f32 {
        self.most[0].max(self.most[1])
    }

    /// The sum of `e^(score - most)` over all padded keys.
    pub fn total(&mut self, most: f32) -> f32 {
        self.scales = self.most.map(|own| (own - most).exp());
        self.scales.iter().zip(self.sums).map(|(scale, [rows, columns])| scale * rows * columns).sum()
    }

    /// Adds `factor` times the weights to the sums along both axes.
    #[inline(always)]
    pub fn add(&self, window: &Window, factor: f32, rows: &mut [f32], columns: &mut [f32]) {
        let [first, second] = self.scales.map(|scale| factor * scale);
        let [[padded_rows, all_columns], [real_rows, padded_columns]] = self.sums;
        for (row, (to, &weight)) in rows.iter_mut().zip(self.rows).enumerate() {
            *to += weight * if row < window.height { second * padded_columns } else { first * all_columns };
        }
        for (to, &weight) in columns.iter_mut().zip(self.columns[0]) {
            *to += first * padded_rows * weight;
        }
        for (to, &weight) in columns[window.width..].iter_mut().zip(self.columns[1]) {
            *to += second * real_rows * weight;
        }
    }
}

/// Writes `e^(x - largest)`; their sum, and the largest.
#[inline(always)]
fn exponentials<S: Simd>(s: S, x: &[f32], out: &mut [f32]) -> (f32, f32) {
    let mut largest = f32::NEG_INFINITY;
    for &x in x {
        largest = largest.max(x);
    }
    let mut total = s.splat(0.0);
    for (x, out) in x.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
        let e = exp(s, s.sub(s.read_filled(x, f32::NEG_INFINITY), s.splat(largest)));
        s.write_any(out, e);
        total = s.add(total, e);
    }
    (s.sum(total), largest)
}
