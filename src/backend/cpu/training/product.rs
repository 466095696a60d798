//! Products whose right side is packed for this one product.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Result;
use crate::backend::cpu::Level;
use crate::backend::cpu::product::{Dense, Panel, Single, panel_product};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::memory::zeros;

/// The right side of a product of `[rows, inputs]` and `[inputs, columns]`.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// `[inputs, columns]`.
    Rows(&'a [f32]),
    /// `[columns, inputs]`, as a Linear keeps its weight.
    Columns(&'a [f32]),
}

/// What memory of a product is for.
const WHAT: &str = "a product of training";

/// Memory for products, kept from one to the next.
pub(crate) struct Multiplier {
    level: Level,
    panel: Vec<f32>,
    sums: Vec<f32>,
    turned: Vec<f32>,
    stop: Option<Arc<AtomicBool>>,
}

impl Multiplier {
    pub fn new(level: Level) -> Multiplier {
        Multiplier { level, panel: Vec::new(), sums: Vec::new(), turned: Vec::new(), stop: None }
    }

    /// Leaves out products from when `stop` is set on: whoever set it takes no results.
    pub fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.stop = stop;
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// `out = left right`, `[rows, columns]`, and `bias` `[columns]` on each row where there is one; `left` is
    /// `[rows, inputs]`. An element is the sum of blocks of inputs in their order, whatever the number of rows and
    /// columns.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn multiply(
        &mut self,
        left: &[f32],
        right: Right<'_>,
        inputs: usize,
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        if self.is_stopped() {
            return Ok(());
        }
        let rows = left.len() / inputs.max(1);
        let Multiplier { level, panel, sums, .. } = self;
        let panel = at_least(panel, inputs * level.panel())?;
        let sums = at_least(sums, rows * level.panel())?;
        level.run(Multiply { left, right, rows, inputs, bias, out, panel, sums });
        Ok(())
    }

    /// `out = left^T right`, `[m, n]` for `left` `[rows, m]` and `right` `[rows, n]`: what a weight gains by many rows.
    /// Of few it is quicker to keep them as [`Gradient::Factors`](super::Gradient).
    ///
    /// # Errors
    /// As [`Multiplier::multiply`].
    pub fn outer(&mut self, left: &[f32], right: &[f32], rows: usize, out: &mut [f32]) -> Result<()> {
        let mut turned = std::mem::take(&mut self.turned);
        let to = at_least(&mut turned, left.len())?;
        self.level.run(Turn { from: left, rows, to });
        self.multiply(to, Right::Rows(right), rows, None, out)?;
        self.turned = turned;
        Ok(())
    }
}

/// The first `count` of `values`, which grow where they are fewer: clearing them for each product costs as much as a
/// small one.
fn at_least(values: &mut Vec<f32>, count: usize) -> Result<&mut [f32]> {
    if values.len() < count {
        *values = zeros(count, WHAT)?;
    }
    Ok(&mut values[..count])
}

struct Multiply<'a> {
    left: &'a [f32],
    right: Right<'a>,
    rows: usize,
    inputs: usize,
    bias: Option<&'a [f32]>,
    out: &'a mut [f32],
    panel: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Multiply { left, right, rows, inputs, bias, out, panel, sums } = self;
        let width = S::VECTORS * S::LANES;
        let columns = out.len() / rows.max(1);
        let left = Dense { data: left, stride: inputs };
        for first in (0..columns).step_by(width) {
            let count = width.min(columns - first);
            if count < width {
                panel.fill(0.0);
            }
            match right {
                Right::Rows(data) => {
                    for (to, from) in panel.chunks_exact_mut(width).zip(data.chunks_exact(columns)) {
                        copy(s, &from[first..first + count], to);
                    }
                }
                Right::Columns(data) => turn(s, &data[first * inputs..(first + count) * inputs], count, panel, width),
            }
            panel_product::<S, Single>(s, &left, 0..rows, Panel::Single(panel), sums);
            for (to, from) in out.chunks_exact_mut(columns).zip(sums.chunks_exact(width)) {
                match bias {
                    Some(bias) => add(s, &from[..count], &bias[first..], &mut to[first..]),
                    None => copy(s, &from[..count], &mut to[first..]),
                }
            }
        }
    }
}

/// `from` over the beginning of `to`: a row of a panel, too short for a call of memmove to pay.
#[inline(always)]
pub(super) fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        let count = from.len();
        s.write_any(&mut to[..count], s.read_any(from));
    }
}

/// `a` and as much of `b` over the beginning of `to`.
#[inline(always)]
fn add<S: Simd>(s: S, a: &[f32], b: &[f32], to: &mut [f32]) {
    for ((a, b), to) in a.chunks(S::LANES).zip(b.chunks(S::LANES)).zip(to.chunks_mut(S::LANES)) {
        let count = a.len();
        s.write_any(&mut to[..count], s.add(s.read_any(a), s.read_any(&b[..count])));
    }
}

/// `from` `[rows, n]` to `[n, rows]`.
pub(super) struct Turn<'a> {
    pub from: &'a [f32],
    pub rows: usize,
    pub to: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        turn(s, self.from, self.rows, self.to, self.rows);
    }
}

/// `from` `[rows, n]` as columns of `to`, whose rows are `stride` numbers apart.
#[inline(always)]
#[allow(unsafe_code, reason = "the transposition of registers")]
pub(super) fn turn<S: Simd>(s: S, from: &[f32], rows: usize, to: &mut [f32], stride: usize) {
    let columns = from.len() / rows.max(1);
    assert!(rows <= stride && to.len() >= columns * stride && from.len() == rows * columns);
    let whole = [rows, columns].map(|count| count / S::LANES * S::LANES);
    for row in (0..whole[0]).step_by(S::LANES) {
        for column in (0..whole[1]).step_by(S::LANES) {
            let (from, to) = (&from[row * columns + column..], &mut to[column * stride + row..]);
            // SAFETY: `LANES` rows of `LANES` numbers lie within both, by the assertion above.
            unsafe { s.transpose(from.as_ptr(), columns, to.as_mut_ptr(), stride) };
        }
    }
    for row in 0..rows {
        let first = if row < whole[0] { whole[1] } else { 0 };
        for column in first..columns {
            to[column * stride + row] = from[row * columns + column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + seed * 101) % 97) as f32 / 48.5 - 1.0).collect()
    }

    #[test]
    fn every_shape_is_the_sum_of_its_products() {
        for level in Level::available() {
            let mut multiplier = Multiplier::new(level);
            for (rows, inputs, columns) in [(1, 1, 1), (7, 256, 128), (5, 3, 70), (33, 300, 17), (6, 64, 8)] {
                let (left, right) = (numbers(rows * inputs, 1), numbers(inputs * columns, 2));
                let mut turned = vec![0.0; right.len()];
                for i in 0..inputs {
                    (0..columns).for_each(|c| turned[c * inputs + i] = right[i * columns + c]);
                }
                let exact = |r: usize, c: usize| -> f64 {
                    (0..inputs).map(|i| f64::from(left[r * inputs + i]) * f64::from(right[i * columns + c])).sum()
                };
                let mut left_turned = vec![0.0; left.len()];
                for r in 0..rows {
                    (0..inputs).for_each(|i| left_turned[i * rows + r] = left[r * inputs + i]);
                }
                let [mut a, mut b, mut c] = [(); 3].map(|()| numbers(rows * columns, 3));
                let bias = numbers(columns, 4);
                multiplier.multiply(&left, Right::Rows(&right), inputs, None, &mut a).unwrap();
                multiplier.multiply(&left, Right::Columns(&turned), inputs, Some(&bias), &mut b).unwrap();
                multiplier.outer(&left_turned, &right, inputs, &mut c).unwrap();
                for at in 0..rows * columns {
                    let (product, limit) = (exact(at / columns, at % columns), 1e-6 * inputs as f64);
                    let near = |found: f32, expected: f64| (f64::from(found) - expected).abs() <= limit;
                    let with_bias = product + f64::from(bias[at % columns]);
                    assert!(
                        near(a[at], product) && near(b[at], with_bias) && near(c[at], product),
                        "{level} {rows} {columns}"
                    );
                }
            }
        }
    }
}
