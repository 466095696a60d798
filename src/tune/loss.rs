//! Dice with squares plus binary cross-entropy, a mask; of three masks the least, and a share of their mean. A single
//! mask has no share: it is the least.

use super::memory::WHAT;
use crate::Result;
use crate::backend::cpu::Level;
use crate::backend::cpu::training::sigmoid_sums;
use crate::memory::zeros;

/// Added to numerator and denominator of Dice.
const SMOOTH: f64 = 1e-5;

/// The loss of one sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleLoss {
    /// Dice loss of masks 1 to 3, or of mask 0 alone and zeros.
    pub dice: [f64; 3],
    /// Binary cross-entropy of these masks, mean over the pixels.
    pub entropy: [f64; 3],
    /// The mask with the least sum of both.
    pub chosen: usize,
    /// That sum, and the share of the mean.
    pub total: f64,
}

/// Masks of three.
const MOST: usize = 3;

/// The loss of `logits` `[M, pixels]`, M 1 or 3, against `label`, and its derivative by them, times `weight`, in their
/// place.
pub(super) fn loss(
    level: Level,
    logits: &mut [f32],
    label: &[f32],
    mean_share: f64,
    weight: f64,
) -> Result<SampleLoss> {
    let pixels = label.len();
    let masks = (logits.len() / pixels.max(1)).min(MOST);
    let mean_share = if masks == 1 { 0.0 } else { mean_share };
    let inside: f64 = label.iter().map(|&t| f64::from(t)).sum();
    let mut p = zeros(logits.len(), WHAT)?;
    let mut loss = SampleLoss::default();
    let mut ratios = [[0.0; 2]; MOST];
    for (mask, (logits, p)) in logits.chunks_exact(pixels).zip(p.chunks_exact_mut(pixels)).enumerate() {
        let sums = sigmoid_sums(level, logits, label, p);
        let (numerator, denominator) = (2.0 * sums.both + SMOOTH, inside + sums.squares + SMOOTH);
        loss.dice[mask] = 1.0 - numerator / denominator;
        loss.entropy[mask] = sums.entropy / pixels as f64;
        ratios[mask] = [2.0 * numerator / (denominator * denominator), 2.0 / denominator];
    }
    let of = |mask: usize| loss.dice[mask] + loss.entropy[mask];
    let least = (1..masks).fold(0, |least, mask| if of(mask) < of(least) { mask } else { least });
    loss.total = of(least) + mean_share * (0..masks).map(of).sum::<f64>() / masks as f64;
    loss.chosen = if masks == 1 { 0 } else { least + 1 };
    for (mask, (d, p)) in logits.chunks_exact_mut(pixels).zip(p.chunks_exact(pixels)).enumerate() {
        let share = weight * (f64::from(u8::from(mask == least)) + mean_share / masks as f64);
        if share == 0.0 {
            d.fill(0.0);
            continue;
        }
        let [by_p, by_label, by_entropy] =
            [share * ratios[mask][0], share * ratios[mask][1], share / pixels as f64].map(|factor| factor as f32);
        for ((d, &p), &t) in d.iter_mut().zip(p).zip(label) {
            *d = (by_p * p - by_label * t) * p * (1.0 - p) + by_entropy * (p - t);
        }
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tolerance::{BACKWARD, find};

    fn exact(logits: &[f64], label: &[f32], share: f64) -> f64 {
        let pixels = label.len();
        let each: Vec<f64> = logits
            .chunks(pixels)
            .map(|x| {
                let p: Vec<f64> = x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
                let both: f64 = p.iter().zip(label).map(|(p, &t)| p * f64::from(t)).sum();
                let squares: f64 = p.iter().zip(label).map(|(p, &t)| p * p + f64::from(t)).sum();
                let entropy = |(x, &t): (&f64, &f32)| x.max(0.0) + (-x.abs()).exp().ln_1p() - x * f64::from(t);
                let entropy = x.iter().zip(label).map(entropy).sum::<f64>() / pixels as f64;
                1.0 - (2.0 * both + 1e-5) / (squares + 1e-5) + entropy
            })
            .collect();
        each.iter().copied().fold(f64::INFINITY, f64::min) + share * each.iter().sum::<f64>() / each.len() as f64
    }

    #[test]
    fn the_derivative_is_the_difference_quotient() {
        for level in Level::available() {
            for masks in [1, 3] {
                check_derivative(level, masks);
            }
        }
    }

    fn check_derivative(level: Level, masks: usize) {
        let pixels = 40;
        let label: Vec<f32> = (0..pixels).map(|i| f32::from(u8::from(i % 5 < 2))).collect();
        let logits: Vec<f32> = (0..masks * pixels).map(|i| ((i * 53) % 31) as f32 / 6.0 - 2.5).collect();
        let wide: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        for share in [0.0, 0.5] {
            let mut d = logits.clone();
            let found = loss(level, &mut d, &label, share, 1.0).unwrap();
            let share = if masks == 1 { 0.0 } else { share };
            let (what, total) = (format!("{level}: {masks} masks, share {share}"), exact(&wide, &label, share));
            find(BACKWARD, "value of the loss").check((found.total - total).abs() / total, &what);
            let (mut apart, mut squares) = (0.0, 0.0);
            for (at, &d) in d.iter().enumerate() {
                let moved = |by: f64| {
                    let mut logits = wide.clone();
                    logits[at] += by;
                    exact(&logits, &label, share)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                apart += (f64::from(d) - expected).powi(2);
                squares += expected * expected;
            }
            find(BACKWARD, "loss").check((apart / squares).sqrt(), &what);
        }
    }
}
