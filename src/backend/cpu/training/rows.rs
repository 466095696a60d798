//! What happens row by row and number by number: LayerNorm, GELU and the loss.

use crate::backend::cpu::Level;
use crate::backend::cpu::math::{erf, exp};
use crate::backend::cpu::simd::{Kernel, MAX_LANES, Simd};

/// LayerNorm: `normed` is the result before gain and bias, `scale` `1 / sqrt(var + eps)` of each row, `out` the result.
pub(crate) fn norm(
    level: Level,
    x: &[f32],
    [gain, bias]: [&[f32]; 2],
    eps: f32,
    [normed, scale, out]: [&mut [f32]; 3],
) {
    level.run(Norm { x, gain, bias, eps, normed, scale, out });
}

/// LayerNorm's derivative: `dx`, and what gain and bias gain.
pub(crate) fn norm_back(
    level: Level,
    d: &[f32],
    [gain, normed, scale]: [&[f32]; 3],
    dx: &mut [f32],
    [dgain, dbias]: [&mut [f32]; 2],
) {
    level.run(NormBack { d, gain, normed, scale, dx, dgain, dbias });
}

/// Replaces `x` by its GELU, `slope` by the derivative there.
pub(crate) fn gelu(level: Level, x: &mut [f32], slope: &mut [f32]) {
    level.run(Gelu { x, slope });
}

/// Multiplies `d` by `factors`.
pub(crate) fn scale(level: Level, d: &mut [f32], factors: &[f32]) {
    level.run(Scale { d, factors });
}

/// The way back of the products of `pixels` `[n, C]` with `vector` `[C]`, from `d` `[n]`: what the pixels and the
/// vector gain.
pub(crate) fn back_of_dots(
    level: Level,
    d: &[f32],
    [pixels, vector]: [&[f32]; 2],
    d_pixels: &mut [f32],
    d_vector: &mut [f32],
) {
    level.run(BackOfDots { d, pixels, vector, d_pixels, d_vector });
}

/// Sums of one map of logits over its pixels.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LossSums {
    /// Of p t.
    pub both: f64,
    /// Of p^2.
    pub squares: f64,
    /// Of `softplus(x) - x t`.
    pub entropy: f64,
}

/// Writes `p = sigmoid(x)` and sums what the loss needs.
pub(crate) fn sigmoid_sums(level: Level, x: &[f32], label: &[f32], p: &mut [f32]) -> LossSums {
    level.run(Sigmoid { x, label, p })
}

/// Sum of a row.
#[inline(always)]
fn sum<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut total = s.splat(0.0);
    for part in row.chunks(S::LANES) {
        total = s.add(total, s.read_any(part));
    }
    s.sum(total)
}

struct Scale<'a> {
    d: &'a mut [f32],
    factors: &'a [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.d.iter_mut().zip(self.factors).for_each(|(d, factor)| *d *= factor);
    }
}

struct BackOfDots<'a> {
    d: &'a [f32],
    pixels: &'a [f32],
    vector: &'a [f32],
    d_pixels: &'a mut [f32],
    d_vector: &'a mut [f32],
}

/// Channels of a pixel at a time: SAM's upscaling ends with as many.
const CHANNELS: usize = 8;

impl Kernel for BackOfDots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let channels = self.vector.len();
        let whole = channels / CHANNELS * CHANNELS;
        for first in (0..whole).step_by(CHANNELS) {
            self.of_channels::<CHANNELS>(first);
        }
        for first in whole..channels {
            self.of_channels::<1>(first);
        }
    }
}

impl BackOfDots<'_> {
    /// Of `C` channels from `first` on, a pixel after the other.
    #[inline(always)]
    fn of_channels<const C: usize>(&mut self, first: usize) {
        let channels = self.vector.len();
        let (mut factor, mut sum) = ([0.0; C], [0.0; C]);
        factor.copy_from_slice(&self.vector[first..first + C]);
        sum.copy_from_slice(&self.d_vector[first..first + C]);
        let rows = self.pixels.chunks_exact(channels).zip(self.d_pixels.chunks_exact_mut(channels));
        for (&d, (pixel, d_pixel)) in self.d.iter().zip(rows) {
            let (pixel, d_pixel) = (&pixel[first..first + C], &mut d_pixel[first..first + C]);
            for c in 0..C {
                sum[c] += d * pixel[c];
                d_pixel[c] += d * factor[c];
            }
        }
        self.d_vector[first..first + C].copy_from_slice(&sum);
    }
}

struct Norm<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    normed: &'a mut [f32],
    scale: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Norm { x, gain, bias, eps, normed, scale, out } = self;
        let channels = gain.len();
        let rows = x.chunks_exact(channels).zip(normed.chunks_exact_mut(channels));
        for (((x, normed), scale), out) in rows.zip(scale).zip(out.chunks_exact_mut(channels)) {
            let n = channels as f32;
            let rough = sum(s, x) / n;
            // The sum of differences takes away what the first pass lost to rounding.
            let (mut differences, mut squares) = (s.splat(0.0), s.splat(0.0));
            for part in x.chunks(S::LANES) {
                let d = s.sub(s.read_filled(part, rough), s.splat(rough));
                differences = s.add(differences, d);
                squares = s.fma(d, d, squares);
            }
            let rest = s.sum(differences) / n;
            let centre = rough + rest;
            *scale = 1.0 / (s.sum(squares) / n - rest * rest + eps).sqrt();
            for i in 0..channels {
                normed[i] = (x[i] - centre) * *scale;
                out[i] = normed[i] * gain[i] + bias[i];
            }
        }
    }
}

struct NormBack<'a> {
    d: &'a [f32],
    gain: &'a [f32],
    normed: &'a [f32],
    scale: &'a [f32],
    dx: &'a mut [f32],
    dgain: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl Kernel for NormBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NormBack { d, gain, normed, scale, dx, dgain, dbias } = self;
        let channels = gain.len();
        let rows = d.chunks_exact(channels).zip(normed.chunks_exact(channels)).zip(scale);
        for (((d, normed), scale), dx) in rows.zip(dx.chunks_exact_mut(channels)) {
            for i in 0..channels {
                dgain[i] += d[i] * normed[i];
                dbias[i] += d[i];
                dx[i] = d[i] * gain[i];
            }
            let (mut all, mut along) = (s.splat(0.0), s.splat(0.0));
            for (dx, normed) in dx.chunks(S::LANES).zip(normed.chunks(S::LANES)) {
                let dx = s.read_any(dx);
                all = s.add(all, dx);
                along = s.fma(dx, s.read_any(normed), along);
            }
            let (mean, along) = (s.sum(all) / channels as f32, s.sum(along) / channels as f32);
            for i in 0..channels {
                dx[i] = scale * (dx[i] - mean - normed[i] * along);
            }
        }
    }
}

struct Gelu<'a> {
    x: &'a mut [f32],
    slope: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (half, root) = (s.splat(0.5), s.splat(std::f32::consts::FRAC_1_SQRT_2));
        // 1 / sqrt(2 pi)
        let peak = s.splat(0.398_942_3);
        for (x, slope) in self.x.chunks_mut(S::LANES).zip(self.slope.chunks_mut(S::LANES)) {
            let at = s.read_any(x);
            let below = s.fma(erf(s, s.mul(at, root)), half, half);
            let density = s.mul(peak, exp(s, s.mul(s.mul(at, at), s.splat(-0.5))));
            s.write_any(slope, s.fma(at, density, below));
            s.write_any(x, s.mul(at, below));
        }
    }
}

struct Sigmoid<'a> {
    x: &'a [f32],
    label: &'a [f32],
    p: &'a mut [f32],
}

/// Pixels that are summed in f32 before the sum goes to f64.
const STRETCH: usize = 256;

impl Kernel for Sigmoid<'_> {
    type Output = LossSums;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> LossSums {
        let Sigmoid { x, label, p } = self;
        let mut sums = LossSums::default();
        for ((x, label), p) in x.chunks(STRETCH).zip(label.chunks(STRETCH)).zip(p.chunks_mut(STRETCH)) {
            let mut stretch = [[0.0f32; MAX_LANES]; 3];
            for ((x, t), p) in x.chunks(S::LANES).zip(label.chunks(S::LANES)).zip(p.chunks_mut(S::LANES)) {
                let mut small = [0.0f32; MAX_LANES];
                s.write(&mut small, exp(s, s.sub(s.splat(0.0), s.abs(s.read_any(x)))));
                for i in 0..x.len() {
                    let z = small[i]; // e^-|x|
                    let below = 1.0 / (1.0 + z);
                    p[i] = if x[i] >= 0.0 { below } else { z * below };
                    // log(1 + z) = 2 artanh(z / (2 + z)); the first term left out is below 1e-8.
                    let u = z / (2.0 + z);
                    let v = u * u;
                    let series = 1.0 / 9.0 + v * (1.0 / 11.0 + v * (1.0 / 13.0));
                    let series = 1.0 + v * (1.0 / 3.0 + v * (1.0 / 5.0 + v * (1.0 / 7.0 + v * series)));
                    stretch[0][i] += p[i] * t[i];
                    stretch[1][i] += p[i] * p[i];
                    stretch[2][i] += x[i].max(0.0) - x[i] * t[i] + 2.0 * u * series;
                }
            }
            let [both, squares, entropy] = stretch.map(|lanes| lanes.iter().map(|&sum| f64::from(sum)).sum::<f64>());
            sums.both += both;
            sums.squares += squares;
            sums.entropy += entropy;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tolerance::{BACKWARD, find};

    /// e^x in f64 through its own libm, so that nothing here is tested against itself.
    fn phi(x: f64) -> f64 {
        // Phi by numerical integration of the density from 0, Simpson's rule.
        let n = 2000;
        let h = x / f64::from(n);
        let density = |y: f64| (-0.5 * y * y).exp() / std::f64::consts::TAU.sqrt();
        let inner: f64 = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * density(h * f64::from(i))).sum();
        0.5 + h / 3.0 * (density(0.0) + inner + density(x))
    }

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 168.0 - 3.0).collect()
    }

    #[test]
    fn the_slope_of_gelu_is_that_of_the_exact_one() {
        for level in Level::available() {
            let x = numbers(1003, 1);
            let (mut y, mut slope) = (x.clone(), vec![0.0; x.len()]);
            gelu(level, &mut y, &mut slope);
            let worst = |found: &[f32], exact: &dyn Fn(f64) -> f64| {
                let apart = |(&f, &x): (&f32, &f32)| (f64::from(f) - exact(f64::from(x))).abs();
                found.iter().zip(&x).map(apart).fold(0.0, f64::max)
            };
            let h = 1e-4;
            let value = |x: f64| x * phi(x);
            let quotient = |x: f64| (value(x + h) - value(x - h)) / (2.0 * h);
            // The derivative of the tanh form is up to 5e-4 away.
            let limit = find(BACKWARD, "gelu");
            limit.check(worst(&y, &value), &format!("{level}: its value"));
            limit.check(worst(&slope, &quotient), &format!("{level}: its slope"));
        }
    }

    #[test]
    fn the_derivative_of_layer_norm_is_its_difference_quotient() {
        let (rows, channels, eps) = (3, 21, 1e-3);
        let x = numbers(rows * channels, 1);
        let (gain, bias, d) = (numbers(channels, 2), numbers(channels, 3), numbers(rows * channels, 4));
        let value = |x: &[f64], gain: &[f64], bias: &[f64]| -> f64 {
            x.chunks(channels).zip(d.chunks(channels)).fold(0.0, |all, (x, d)| {
                let n = channels as f64;
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let scale = 1.0 / (variance + f64::from(eps)).sqrt();
                let each = |i: usize| f64::from(d[i]) * ((x[i] - mean) * scale * gain[i] + bias[i]);
                all + (0..channels).map(each).sum::<f64>()
            })
        };
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let given = [wide(&x), wide(&gain), wide(&bias)];
        let quotient = |which: usize, at: usize| {
            let moved = |by: f64| {
                let mut given = given.clone();
                given[which][at] += by;
                value(&given[0], &given[1], &given[2])
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        };
        for level in Level::available() {
            let (mut normed, mut out) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let (mut scale, mut dx) = (vec![0.0; rows], vec![0.0; x.len()]);
            let (mut dgain, mut dbias) = (vec![0.0; channels], vec![0.0; channels]);
            norm(level, &x, [&gain, &bias], eps, [&mut normed, &mut scale, &mut out]);
            norm_back(level, &d, [&gain, &normed, &scale], &mut dx, [&mut dgain, &mut dbias]);
            for (which, (name, found)) in [("x", &dx), ("gain", &dgain), ("bias", &dbias)].into_iter().enumerate() {
                let expected: Vec<f64> = (0..found.len()).map(|at| quotient(which, at)).collect();
                let apart: f64 = found.iter().zip(&expected).map(|(&f, e)| (f64::from(f) - e).powi(2)).sum();
                let share = (apart / expected.iter().map(|e| e * e).sum::<f64>()).sqrt();
                find(BACKWARD, "layer_norm").check(share, &format!("{level}: by {name}"));
            }
        }
    }

    #[test]
    fn the_way_back_of_dots_is_their_derivative_for_any_number_of_channels() {
        for (level, channels) in Level::available().into_iter().flat_map(|level| [1, 8, 11, 16].map(|c| (level, c))) {
            let count = 37;
            let (d, pixels, vector) = (numbers(count, 1), numbers(count * channels, 2), numbers(channels, 3));
            let (before_pixels, before_vector) = (numbers(pixels.len(), 4), numbers(channels, 5));
            let (mut d_pixels, mut d_vector) = (before_pixels.clone(), before_vector.clone());
            back_of_dots(level, &d, [&pixels, &vector], &mut d_pixels, &mut d_vector);
            let limit = find(BACKWARD, "product");
            for (at, &found) in d_pixels.iter().enumerate() {
                let expected =
                    f64::from(before_pixels[at]) + f64::from(d[at / channels]) * f64::from(vector[at % channels]);
                limit.check((f64::from(found) - expected).abs(), &format!("{level}: {channels} channels, pixels"));
            }
            for (c, &found) in d_vector.iter().enumerate() {
                let products = d.iter().enumerate().map(|(i, &d)| f64::from(d) * f64::from(pixels[i * channels + c]));
                let (sum, size) = products.fold((0.0, 1.0), |(sum, size), x| (sum + x, size + x.abs()));
                let apart = (f64::from(found) - f64::from(before_vector[c]) - sum).abs();
                limit.check(apart / size, &format!("{level}: {channels} channels, vector"));
            }
        }
    }

    #[test]
    fn the_loss_is_summed_as_it_is_defined() {
        let x: Vec<f32> = numbers(5000, 1).iter().map(|x| 12.0 * x).collect();
        let label: Vec<f32> = (0..x.len()).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
        for level in Level::available() {
            let mut p = vec![0.0; x.len()];
            let found = sigmoid_sums(level, &x, &label, &mut p);
            let mut exact = LossSums::default();
            for ((&x, &t), &p) in x.iter().zip(&label).zip(&p) {
                let (x, t) = (f64::from(x), f64::from(t));
                let sigmoid = 1.0 / (1.0 + (-x).exp());
                assert!((f64::from(p) - sigmoid).abs() < 2e-7, "{x}");
                exact.both += sigmoid * t;
                exact.squares += sigmoid * sigmoid;
                exact.entropy += x.max(0.0) + (-x.abs()).exp().ln_1p() - x * t;
            }
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs();
            assert!(near(found.both, exact.both) && near(found.squares, exact.squares), "{level}: {found:?} {exact:?}");
            assert!(near(found.entropy, exact.entropy), "{level}: {found:?} {exact:?}");
        }
    }
}
