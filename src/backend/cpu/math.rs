//! Exponential, error function and GELU on vectors, and sums that kernels share.

use super::simd::Simd;

/// `e^x`, relative error below 2e-7; 0 below -87.3 (where f32 loses its normal numbers), clamped above 88.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LOWEST: f32 = -87.3;
    let clamped = s.min(s.max(x, s.splat(LOWEST)), s.splat(88.0));
    let n = s.round(s.mul(clamped, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts: the first has so few bits that n times it is exact.
    let r = s.fma(n, s.splat(-0.693_359_4), clamped);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    // Minimax on |r| <= ln 2 / 2 (Cephes, expf).
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.fma(s.mul(p, r), r, s.add(r, s.splat(1.0)));
    let scaled = s.mul(p, s.power_of_two(n));
    s.select_gt(s.splat(LOWEST), x, s.splat(0.0), scaled)
}

/// The error function, within 1 ulp: a polynomial near 0, `1 - e^poly` elsewhere (N. Juffa's two minimax fits).
#[inline(always)]
pub(super) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let (t, square) = (s.abs(x), s.mul(x, x));
    let near = {
        let mut r = s.splat(-5.967_617e-4);
        for c in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_3e-1, 1.283_791_7e-1] {
            r = s.fma(r, square, s.splat(c));
        }
        s.fma(r, x, x)
    };
    let far = {
        let r = s.fma(s.splat(-1.728_534_7e-5), t, s.splat(3.831_971_3e-4));
        let u = s.fma(s.splat(-3.883_964_4e-3), t, s.splat(2.425_462_2e-2));
        let mut r = s.fma(r, square, u);
        for c in [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
            r = s.fma(r, t, s.splat(c));
        }
        let e = exp(s, s.fma(r, t, s.sub(s.splat(0.0), t)));
        s.copysign(s.sub(s.splat(1.0), e), x)
    };
    s.select_gt(t, s.splat(0.927_734_4), far, near)
}

/// `0.5 x (1 + erf(x / sqrt 2))`, within 1e-7 of it, or of `x` times as much beyond 1: what is inside less the tail,
/// `max(x, 0) - |x| P(X > |x|)`. The tail is 2 to the power of a polynomial: small where the rest is exact, so that
/// rounding hardly shows.
#[inline(always)]
pub(super) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    // log2 of the normal distribution's tail on 0..5.5, minimax as it enters the result; beyond, the rest is below
    // 1.1e-7.
    let size = s.abs(x);
    let t = s.min(size, s.splat(5.5));
    let mut p = s.splat(-2.772_188e-6);
    for c in [
        3.862_215_8e-5,
        -1.825_532_4e-4,
        -1.458_588_4e-4,
        7.075_459_7e-3,
        -5.250_502_4e-2,
        -4.592_049e-1,
        -1.151_105_8,
        -1.0,
    ] {
        p = s.fma(p, t, s.splat(c));
    }
    let n = s.round(p);
    let r = s.sub(p, n);
    // -2^r on |r| <= 1/2, relative error 7.5e-8.
    let mut e = s.splat(-1.327_647e-3);
    for c in [-9.675_541e-3, -5.550_713_5e-2, -2.402_212e-1, -6.931_469_4e-1, -1.000_000_1] {
        e = s.fma(e, r, s.splat(c));
    }
    let tail = s.mul(t, s.mul(e, s.power_of_two(n)));
    s.fma(s.add(x, size), s.splat(0.5), tail)
}

/// Sum of `e^(x - largest)` over `row`.
#[inline(always)]
pub(super) fn sum_exp<S: Simd>(s: S, row: &[f32], largest: f32) -> f32 {
    let mut total = s.splat(0.0);
    for part in row.chunks(S::LANES) {
        let x = s.sub(s.read_filled(part, f32::NEG_INFINITY), s.splat(largest));
        total = s.add(total, exp(s, x));
    }
    s.sum(total)
}

/// Numbers that are summed one after the other: of thousands, each block has its own sum, and fewer bits are lost.
pub(super) const SUMMED: usize = 256;

/// Softmax of a row, in place. Scalar: most rows have at most a few dozen numbers.
pub(super) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for block in row.chunks_mut(SUMMED) {
        let mut part = 0.0;
        for x in block {
            *x = (*x - largest).exp();
            part += *x;
        }
        sum += part;
    }
    row.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::simd::{Kernel, MAX_LANES};
    use super::*;

    /// erf in f64: Taylor series near 0, the continued fraction of erfc elsewhere.
    fn erf64(x: f64) -> f64 {
        let t = x.abs();
        let size = if t < 3.0 {
            let (mut term, mut sum) = (t, t);
            for n in 1..200 {
                term *= -t * t / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        } else {
            let fraction = (1..200).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (t + f));
            1.0 - (-t * t).exp() / (std::f64::consts::PI.sqrt() * (t + fraction))
        };
        size.copysign(x)
    }

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Erf,
        Gelu,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for chunk in self.1.chunks_exact_mut(S::LANES) {
                let x = s.read(chunk);
                let y = match self.0 {
                    Function::Exp => exp(s, x),
                    Function::Erf => erf(s, x),
                    Function::Gelu => gelu(s, x),
                };
                s.write(chunk, y);
            }
        }
    }

    fn worst(function: Function, low: f64, high: f64, error: impl Fn(f64, f64) -> f64) -> f64 {
        let n = 100_000 / MAX_LANES * MAX_LANES;
        let x: Vec<f32> = (0..n).map(|i| (low + (high - low) * i as f64 / n as f64) as f32).collect();
        let mut worst: f64 = 0.0;
        for level in Level::available() {
            let mut y = x.clone();
            level.run(Apply(function, &mut y));
            worst = x.iter().zip(&y).map(|(&x, &y)| error(f64::from(x), f64::from(y))).fold(worst, f64::max);
        }
        worst
    }

    #[test]
    fn functions_are_good_to_f32() {
        let exp = worst(Function::Exp, -87.0, 88.0, |x, y| (y / x.exp() - 1.0).abs());
        assert!(exp < 2e-7, "exp {exp:e}");
        let erf = worst(Function::Erf, -6.0, 6.0, |x, y| (y - erf64(x)).abs());
        assert!(erf < 1.2e-7, "erf {erf:e}");
        let gelu = worst(Function::Gelu, -8.0, 8.0, |x, y| {
            (y - 0.5 * x * (1.0 + erf64(x * std::f64::consts::FRAC_1_SQRT_2))).abs() / x.abs().max(1.0)
        });
        assert!(gelu < 1e-7, "gelu {gelu:e}");
    }

    #[test]
    fn exp_underflows_to_zero() {
        for level in Level::available() {
            let mut x = [-100.0; MAX_LANES];
            x[1] = f32::NEG_INFINITY;
            level.run(Apply(Function::Exp, &mut x));
            assert_eq!(x, [0.0; MAX_LANES]);
        }
    }
}
