//! A step of AdamW on a piece of the parameters, from gradients or from what a gradient is a product of.

use crate::backend::cpu::Level;
use crate::backend::cpu::simd::{Kernel, Simd};

/// Numbers of one step.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep {
    /// Share of a parameter that decay takes away.
    pub decay: f32,
    /// Learning rate over what the first moment lacks of its mean so far.
    pub rate: f32,
    /// What the second moment lacks of its mean so far, as a factor.
    pub second_scale: f32,
    pub eps: f32,
    /// Shares of the moments that stay.
    pub keep: [f32; 2],
    /// Shares of a gradient and of its square that they gain.
    pub take: [f32; 2],
}

/// Two matrices `[rows, outputs]` and `[rows, inputs]`: a weight `[outputs, inputs]` gains the first's transposed times
/// the second.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a> {
    pub d: &'a [f32],
    pub x: &'a [f32],
}

/// The gradient of a tensor: parts that are added in their order.
pub(crate) enum Gradient<'a> {
    Sums(Vec<&'a [f32]>),
    /// Of few rows each: their products are needed once, and are made where they are.
    Factors {
        parts: Vec<Factors<'a>>,
        outputs: usize,
        inputs: usize,
    },
}

impl Gradient<'_> {
    /// Numbers of which a piece of the tensor has a multiple.
    pub fn line(&self) -> usize {
        match self {
            Gradient::Sums(_) => 1,
            Gradient::Factors { inputs, .. } => *inputs,
        }
    }

    /// The numbers from `start` on, which is a multiple of [`Gradient::line`].
    pub fn numbers(&self, level: Level, start: usize, out: &mut [f32]) {
        let out = Numbers(out);
        level.run(Pieces { gradient: self, start, end: start + out.0.len(), sink: out });
    }

    /// Moves `values`, which begin at number `start`, a multiple of [`Gradient::line`], with their moments along it.
    pub fn step(&self, level: Level, step: AdamStep, start: usize, values: &mut [f32], moments: [&mut [f32]; 2]) {
        let end = start + values.len();
        level.run(Pieces { gradient: self, start, end, sink: Adam { step, values, moments } });
    }
}

/// What becomes of a gradient, a stretch at a time.
trait Sink {
    /// `gradient` is that of the numbers from `at` on.
    fn take(&mut self, at: usize, gradient: &[f32]);
}

struct Numbers<'a>(&'a mut [f32]);

impl Sink for Numbers<'_> {
    #[inline(always)]
    fn take(&mut self, at: usize, gradient: &[f32]) {
        self.0[at..][..gradient.len()].copy_from_slice(gradient);
    }
}

struct Adam<'a> {
    step: AdamStep,
    values: &'a mut [f32],
    moments: [&'a mut [f32]; 2],
}

impl Sink for Adam<'_> {
    /// A loop of plain numbers, which the compiler turns into the level's registers.
    #[inline(always)]
    fn take(&mut self, at: usize, gradient: &[f32]) {
        let Adam { step, values, moments: [first, second] } = self;
        let part = at..at + gradient.len();
        let numbers = values[part.clone()].iter_mut().zip(&mut first[part.clone()]).zip(&mut second[part]);
        for (((p, m), v), &g) in numbers.zip(gradient) {
            *m = step.keep[0] * *m + step.take[0] * g;
            *v = step.keep[1] * *v + step.take[1] * g * g;
            *p -= step.decay * *p;
            *p -= step.rate * *m / ((*v * step.second_scale).sqrt() + step.eps);
        }
    }
}

/// Numbers of a stretch, whose gradient stays in the nearest cache.
const STRETCH: usize = 1 << 10;
/// Outputs of a weight at once: each number of `x` is read once for all of them.
const LINES: usize = 4;
const COLUMNS: usize = STRETCH / LINES;

struct Pieces<'a, K> {
    gradient: &'a Gradient<'a>,
    start: usize,
    end: usize,
    sink: K,
}

impl<K: Sink> Kernel for Pieces<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pieces { gradient, start, end, mut sink } = self;
        match gradient {
            Gradient::Sums(parts) => sums(parts, start, end, &mut sink),
            Gradient::Factors { parts, outputs, inputs } => {
                let product = Product { parts, outputs: *outputs, inputs: *inputs };
                let (first, last) = (start / product.inputs, end / product.inputs);
                let whole = first + (last - first) / LINES * LINES;
                for line in (first..whole).step_by(LINES) {
                    product.lines::<S, LINES>(s, line, line - first, &mut sink);
                }
                for line in whole..last {
                    product.lines::<S, 1>(s, line, line - first, &mut sink);
                }
            }
        }
    }
}

#[inline(always)]
fn sums(parts: &[&[f32]], start: usize, end: usize, sink: &mut impl Sink) {
    let mut sums = [0.0; STRETCH];
    for at in (start..end).step_by(STRETCH) {
        let sums = &mut sums[..STRETCH.min(end - at)];
        sums.fill(0.0);
        for part in parts {
            for (sum, g) in sums.iter_mut().zip(&part[at..]) {
                *sum += g;
            }
        }
        sink.take(at - start, sums);
    }
}

struct Product<'a> {
    parts: &'a [Factors<'a>],
    outputs: usize,
    inputs: usize,
}

impl Product<'_> {
    /// `L` lines of the gradient from `line` on, which is line `to` of the sink's: of each part the sum of its rows in
    /// their order.
    #[inline(always)]
    fn lines<S: Simd, const L: usize>(&self, s: S, line: usize, to: usize, sink: &mut impl Sink) {
        let Product { parts, outputs, inputs } = *self;
        for column in (0..inputs).step_by(COLUMNS) {
            let width = COLUMNS.min(inputs - column);
            let mut sums = [[0.0; COLUMNS]; L];
            for Factors { d, x } in parts {
                for v in (0..width).step_by(S::LANES) {
                    let count = S::LANES.min(width - v);
                    let mut part = [s.splat(0.0); L];
                    for (d, x) in d.chunks_exact(outputs).zip(x.chunks_exact(inputs)) {
                        let x = s.read_any(&x[column + v..][..count]);
                        for (part, &d) in part.iter_mut().zip(&d[line..][..L]) {
                            *part = s.fma(s.splat(d), x, *part);
                        }
                    }
                    for (sums, part) in sums.iter_mut().zip(part) {
                        let sums = &mut sums[v..][..count];
                        let sum = s.add(s.read_any(sums), part);
                        s.write_any(sums, sum);
                    }
                }
            }
            for (l, sums) in sums.iter().enumerate() {
                sink.take((to + l) * inputs + column, &sums[..width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::training::tests::numbers;

    #[test]
    fn factors_give_the_sum_of_their_products() {
        for level in Level::available() {
            for (outputs, inputs) in [(1, 1), (9, 5), (4, 300), (7, 256), (3, 17)] {
                let of = |rows: usize, seed: usize| (numbers(rows * outputs, seed), numbers(rows * inputs, seed + 1));
                let (both, shapes) = ([of(7, 1), of(3, 5)], [7, 3]);
                let parts = both.iter().map(|(d, x)| Factors { d, x }).collect();
                let gradient = Gradient::Factors { parts, outputs, inputs };
                let first = outputs / 2;
                let mut found = vec![0.0; (outputs - first) * inputs];
                gradient.numbers(level, first * inputs, &mut found);
                for (at, &found) in found.iter().enumerate() {
                    let (output, input) = (first + at / inputs, at % inputs);
                    let products = both.iter().zip(shapes).flat_map(|((d, x), rows)| {
                        (0..rows).map(move |r| f64::from(d[r * outputs + output]) * f64::from(x[r * inputs + input]))
                    });
                    let exact: f64 = products.sum();
                    assert!((f64::from(found) - exact).abs() < 1e-5, "{level} {outputs} {inputs}: {found}, {exact}");
                }
            }
        }
    }
}
