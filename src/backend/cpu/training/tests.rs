//! Ways back alone, at every level, against difference quotients of the way forward in f64, on numbers where what is
//! easily got wrong shows.

use std::sync::Arc;

use super::*;
use crate::Result;
use crate::backend::cpu::attention::table;
use crate::backend::cpu::memory::Pool;
use crate::backend::cpu::packed::Packed;
use crate::backend::cpu::{Cpu, CpuOptions, Level, Param};
use crate::params::{Half, Numbers};
use crate::tolerance::{BACKWARD, find};

pub(crate) fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Calls `work` with a crew of each level.
fn crews(work: impl Fn(Crew<'_>) + Sync) {
    for level in Level::available() {
        let cpu = Cpu::new(CpuOptions { level: Some(level), threads: Some(3), ..CpuOptions::default() }).unwrap();
        let workshop = cpu.workshop(1 << 17).unwrap();
        let all = |crew: Crew<'_>| {
            work(crew);
            Ok(())
        };
        cpu.with_crew(&workshop, None, all).unwrap();
    }
}

/// How far `found` is from the difference quotients of `value` at `x`, as a share of their norm.
fn from_quotients(found: &[f32], x: &[f64], value: impl Fn(&[f64]) -> f64) -> f64 {
    let quotient = |at: usize| {
        let moved = |by: f64| {
            let mut x = x.to_vec();
            x[at] += by;
            value(&x)
        };
        (moved(1e-5) - moved(-1e-5)) / 2e-5
    };
    let expected: Vec<f64> = (0..x.len()).map(quotient).collect();
    let apart: f64 = found.iter().zip(&expected).map(|(&f, e)| (f64::from(f) - e).powi(2)).sum();
    (apart / expected.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

/// A matrix in memory, in f32 or as numbers that bf16 holds.
struct Matrix(Vec<f32>, Option<Half>);

impl Numbers for Matrix {
    fn all(&mut self) -> Result<Vec<f32>> {
        Ok(self.0.clone())
    }

    #[allow(clippy::single_range_in_vec_init, reason = "one band")]
    fn bands(&self, columns: usize) -> Result<Vec<std::ops::Range<usize>>> {
        Ok(vec![0..columns])
    }

    fn half(&self) -> Option<Half> {
        self.1
    }

    fn part(&mut self, _: usize, first: usize, len: usize) -> Result<&[f32]> {
        Ok(&self.0[first..first + len])
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The first `wanted` outputs and inputs of a weight.
fn frozen(level: Level, weight: &[f32], shape: [usize; 2], wanted: [usize; 2], half: Option<Half>) -> Frozen {
    let packed = Packed::stored(level, &Pool::default(), shape, &mut Matrix(weight.to_vec(), half)).unwrap();
    Frozen::new(Arc::new(Param::Packed(packed)), wanted).unwrap()
}

#[test]
fn a_frozen_weight_is_multiplied_forth_and_back_as_it_lies() {
    for half in [None, Some(Half::Bf16)] {
        crews(|crew| {
            let (shape, [outputs, inputs]) = ([83, 100], [80, 96]);
            let weight: Vec<f32> =
                numbers(shape[0] * shape[1], 1).iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
            let frozen = frozen(crew.level(), &weight, shape, [outputs, inputs], half);
            let at = |o: usize, i: usize| f64::from(weight[o * shape[1] + i]);
            let rows = 300;
            let (x, d) = (numbers(rows * inputs, 2), numbers(rows * outputs, 3));
            let (mut y, mut dx) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            crew.product(&x, inputs, Side::Forth(&frozen), Finish::Set, &mut y);
            crew.product(&d, outputs, Side::Back(&frozen), Finish::Set, &mut dx);
            for row in [0, 1, 77, 255, 256, 299] {
                let (x, d) = (&x[row * inputs..][..inputs], &d[row * outputs..][..outputs]);
                for o in 0..outputs {
                    let expected: f64 = (0..inputs).map(|i| at(o, i) * f64::from(x[i])).sum();
                    assert!((f64::from(y[row * outputs + o]) - expected).abs() < 1e-4, "{} {row} {o}", crew.level());
                }
                for i in 0..inputs {
                    let expected: f64 = (0..outputs).map(|o| at(o, i) * f64::from(d[o])).sum();
                    assert!((f64::from(dx[row * inputs + i]) - expected).abs() < 1e-4, "{} {row} {i}", crew.level());
                }
            }
        });
    }
}

#[test]
fn what_becomes_of_a_product_is_as_it_says() {
    crews(|crew| {
        let (rows, inputs, columns) = (5, 7, 21);
        let (x, weight) = (numbers(rows * inputs, 1), numbers(columns * inputs, 2));
        let (bias, other) = (numbers(columns, 3), numbers(rows * columns, 4));
        let mut turned = vec![0.0; weight.len()];
        (0..weight.len()).for_each(|i| turned[i % inputs * columns + i / inputs] = weight[i]);
        let sum = |at: usize| -> f64 {
            let (row, column) = (at / columns, at % columns);
            (0..inputs).map(|i| f64::from(x[row * inputs + i]) * f64::from(weight[column * inputs + i])).sum()
        };
        let near = |found: &[f32], expected: &dyn Fn(usize) -> f64, what: &str| {
            let apart = |(at, &found): (usize, &f32)| (f64::from(found) - expected(at)).abs();
            let worst = found.iter().enumerate().map(apart).fold(0.0, f64::max);
            find(BACKWARD, "product").check(worst, &format!("{}: {what}", crew.level()));
        };
        let biased = |at: usize| sum(at) + f64::from(bias[at % columns]);
        let mut out = other.clone();
        crew.product(&x, inputs, Side::Columns(&weight), Finish::Add, &mut out);
        near(&out, &|at| sum(at) + f64::from(other[at]), "add");
        crew.product(&x, inputs, Side::Rows(&turned), Finish::Bias(&bias), &mut out);
        near(&out, &biased, "bias");
        let finish = Finish::Residual { bias: &bias, residual: &other };
        crew.product(&x, inputs, Side::Rows(&turned), finish, &mut out);
        near(&out, &|at| biased(at) + f64::from(other[at]), "residual");
        let mut before = vec![0.0; out.len()];
        let finish = Finish::Gelu { bias: &bias, before: &mut before };
        crew.product(&x, inputs, Side::Rows(&turned), finish, &mut out);
        near(&before, &biased, "before the GELU");
        near(&out, &|at| gelu64(biased(at)), "GELU");
        let steep: Vec<f32> = other.iter().map(|x| 3.0 * x).collect();
        crew.product(&x, inputs, Side::Rows(&turned), Finish::Slope(&steep), &mut out);
        // The derivative of the tanh form is up to 5e-4 away.
        let slope = |x: f64| (gelu64(x + 1e-4) - gelu64(x - 1e-4)) / 2e-4;
        near(&out, &|at| sum(at) * slope(f64::from(steep[at])), "slope");
    });
}

/// The exact GELU: Phi by Simpson's rule from 0.
pub(crate) fn gelu64(x: f64) -> f64 {
    let n = 400;
    let h = x / f64::from(n);
    let density = |y: f64| (-0.5 * y * y).exp() / std::f64::consts::TAU.sqrt();
    let inner: f64 = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * density(h * f64::from(i))).sum();
    x * (0.5 + h / 3.0 * (density(0.0) + inner + density(x)))
}

#[test]
fn a_frozen_norm_goes_back_as_its_difference_quotients() {
    let (rows, channels) = (3, 21);
    // So small that eps is felt.
    let x: Vec<f32> = numbers(rows * channels, 1).iter().map(|x| 3e-3 * x).collect();
    let (gain, bias, d) = (numbers(channels, 2), numbers(channels, 3), numbers(rows * channels, 4));
    let value = |eps: f64| {
        let (gain, bias, d) = (wide(&gain), wide(&bias), wide(&d));
        move |x: &[f64]| -> f64 {
            let normed = |x: &[f64], d: &[f64]| -> f64 {
                let n = channels as f64;
                let mean = x.iter().sum::<f64>() / n;
                let scale = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
                (0..channels).map(|i| d[i] * ((x[i] - mean) * scale * gain[i] + bias[i])).sum()
            };
            x.chunks(channels).zip(d.chunks(channels)).map(|(x, d)| normed(x, d)).sum()
        }
    };
    crews(|crew| {
        let affine = Affine { gain: &gain, bias: &bias, eps: 1e-6 };
        let (mut out, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        crew.norm(affine, &x, &mut out);
        let found: f64 = out.iter().zip(&d).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
        assert!((found - value(1e-6)(&wide(&x))).abs() < 1e-5);
        crew.add_norm_back(affine, &x, &d, &mut dx);
        // The step of a quotient is not small beside these numbers.
        let scaled: Vec<f32> = dx.iter().map(|d| d * 1e-3).collect();
        let at = wide(&x).iter().map(|x| x * 1e3).collect::<Vec<_>>();
        let of = |eps: f64| move |x: &[f64]| value(eps)(&x.iter().map(|x| x * 1e-3).collect::<Vec<_>>());
        let [found, faulty] = [1e-6, 1e-5].map(|eps| from_quotients(&scaled, &at, of(eps)));
        let what = format!("{}: with another eps {faulty:.1e}", crew.level());
        find(BACKWARD, "frozen layer_norm").check(found, &what);
        assert!(faulty > 1e-2, "{what}");
    });
}

#[test]
fn the_convolution_goes_back_as_its_difference_quotients() {
    let (grid, channels) = (3, 6);
    let weight = numbers(channels * 9 * channels, 1);
    let (x, d) = (numbers(2 * grid * grid * channels, 2), numbers(2 * grid * grid * channels, 3));
    let value = |x: &[f64]| -> f64 {
        let mut sum = 0.0;
        for (at, &d) in d.iter().enumerate() {
            let (token, out) = (at / channels, at % channels);
            let (slice, y, column) = (token / (grid * grid), token / grid % grid, token % grid);
            for tap in 0..9 {
                let (y, column) = (y + tap / 3, column + tap % 3);
                if (1..=grid).contains(&y) && (1..=grid).contains(&column) {
                    let from = (slice * grid * grid + (y - 1) * grid + column - 1) * channels;
                    let weight = &weight[(out * 9 + tap) * channels..][..channels];
                    let pairs = weight.iter().zip(&x[from..from + channels]);
                    sum += f64::from(d) * pairs.map(|(&w, x)| f64::from(w) * x).sum::<f64>();
                }
            }
        }
        sum
    };
    crews(|crew| {
        let shape = [channels, 9 * channels];
        let weight = frozen(crew.level(), &weight, shape, shape, None);
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        crew.convolve(&weight, grid, &x, &mut y);
        let found: f64 = y.iter().zip(&d).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
        assert!((found - value(&wide(&x))).abs() < 1e-4);
        crew.convolve_back(&weight, grid, &d, &mut dx);
        let found = from_quotients(&dx, &wide(&x), value);
        find(BACKWARD, "convolution").check(found, &crew.level().to_string());
    });
}

/// Attention over whole windows, padded keys one by one, in f64; with faults.
pub(crate) struct Attention {
    pub bias: Vec<f64>,
    pub tables: [Vec<f64>; 2],
    pub width: usize,
    pub heads: usize,
    pub grid: usize,
    pub side: usize,
    /// Of the relative terms: 1.
    pub relative: f64,
    pub with_padding: bool,
}

impl Attention {
    /// `[grid^2, D]`, from `[grid^2, 3 D]`.
    pub fn result(&self, qkv: &[f64]) -> Vec<f64> {
        let Attention { width, heads, grid, side, .. } = *self;
        let head_dim = width / heads;
        let scale = 1.0 / (head_dim as f64).sqrt();
        let mut out = vec![0.0; grid * grid * width];
        for (head, query) in (0..heads).flat_map(|head| (0..grid * grid).map(move |query| (head, query))) {
            let part = |token: usize, which: usize| -> &[f64] {
                &qkv[(token * 3 + which) * width + head * head_dim..][..head_dim]
            };
            let pad = |which: usize| -> &[f64] { &self.bias[which * width + head * head_dim..][..head_dim] };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (y, x, q) = (query / grid, query % grid, part(query, 0));
            let (top, left) = (y / side * side, x / side * side);
            let (mut total, mut mixed) = (0.0, vec![0.0; head_dim]);
            for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
                let is_real = top + row < grid && left + column < grid;
                if !is_real && !self.with_padding {
                    continue;
                }
                let token = (top + row) * grid + left + column;
                let (k, v) = if is_real { (part(token, 1), part(token, 2)) } else { (pad(1), pad(2)) };
                let term = |axis: usize, from: usize, to: usize| {
                    dot(q, &self.tables[axis][(from + side - 1 - to) * head_dim..][..head_dim])
                };
                let relative = term(0, y - top, row) + term(1, x - left, column);
                let weight = (scale * dot(q, k) + self.relative * relative).exp();
                total += weight;
                mixed.iter_mut().zip(v).for_each(|(m, v)| *m += weight * v);
            }
            let out = &mut out[query * width + head * head_dim..][..head_dim];
            out.iter_mut().zip(&mixed).for_each(|(out, m)| *out = m / total);
        }
        out
    }
}

#[test]
fn attention_goes_back_as_its_difference_quotients() {
    // One window of all; windows of which some are padded right, below and both.
    for (grid, side) in [(4, 4), (5, 3)] {
        let (heads, head_dim) = (2, 12);
        let width = heads * head_dim;
        let qkv: Vec<f32> = numbers(grid * grid * 3 * width, 1).iter().map(|x| 1.5 * x).collect();
        let (bias, d) = (numbers(3 * width, 2), numbers(grid * grid * width, 3));
        let tables = [4, 5].map(|seed| numbers((2 * side - 1) * head_dim, seed));
        let d64 = wide(&d);
        let value = |relative: f64, with_padding: bool, qkv: &[f64]| -> f64 {
            let reference = Attention {
                bias: wide(&bias),
                tables: tables.clone().map(|table| wide(&table)),
                width,
                heads,
                grid,
                side,
                relative,
                with_padding,
            };
            reference.result(qkv).iter().zip(&d64).map(|(y, d)| y * d).sum()
        };
        crews(|crew| {
            let prepared = tables.clone().map(|data| Param::Table(table(crew.level(), &data, head_dim).unwrap()));
            let tables = [&prepared[0], &prepared[1]];
            let relative = Relative { qkv: &qkv, bias: &bias, tables, width, heads, grid, side };
            let (mut out, mut by_qkv) = (vec![0.0; grid * grid * width], vec![0.0; qkv.len()]);
            crew.attend(relative, &mut out);
            let found: f64 = out.iter().zip(&d).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            assert!((found - value(1.0, true, &wide(&qkv))).abs() < 1e-4);
            crew.attend_back(relative, &d, &mut by_qkv);
            let from = |relative: f64, with_padding: bool| {
                from_quotients(&by_qkv, &wide(&qkv), |qkv| value(relative, with_padding, qkv))
            };
            let found = from(1.0, true);
            let scaled = from(1.0 / (head_dim as f64).sqrt(), true);
            let (left_out, unpadded) = (from(0.0, true), from(1.0, false));
            let what = format!("{} {grid}: faults {scaled:.1e} {left_out:.1e} {unpadded:.1e}", crew.level());
            find(BACKWARD, "attention").check(found, &what);
            assert!(scaled > 1e-2 && left_out > 1e-2 && (grid == side || unpadded > 1e-2), "{what}");
        });
    }
}
