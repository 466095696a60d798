//! A second pass over a volume: the masks of neighbouring slices should continue each other.

use super::{MOST_MASKS, dice};

/// Words of a packed mask of 256 x 256 pixels.
pub const PACKED_WORDS: usize = 256 * 256 / 64;

/// One bit a pixel, set where the logit is above 0. A last word that is not full is padded with zeros; pixels or words
/// beyond the shorter of the two are left alone.
pub fn pack(logits: &[f32], words: &mut [u64]) {
    for (word, pixels) in words.iter_mut().zip(logits.chunks(64)) {
        *word = pixels.iter().enumerate().fold(0, |word, (bit, &logit)| word | u64::from(logit > 0.0) << bit);
    }
}

/// Dice of two packed masks; 1 where both are empty.
pub fn packed_dice(a: &[u64], b: &[u64]) -> f64 {
    let area = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
    let both = a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum();
    dice(both, area(a), area(b))
}

/// One mask a slice such that the sum of all scores plus `weight` times the Dice of each pair of neighbours is highest:
/// Viterbi's algorithm, the lowest index among equals.
///
/// `scores` has an entry a slice, of which the first `masks` count; `neighbour_dice(s, a, b)` is the Dice of mask `a` of
/// slice `s - 1` and mask `b` of slice `s`, and 0 for all where the two are no neighbours.
pub fn continuous(
    scores: &[[f64; MOST_MASKS]],
    masks: usize,
    weight: f64,
    neighbour_dice: impl Fn(usize, usize, usize) -> f64,
) -> Vec<usize> {
    let masks = masks.clamp(1, MOST_MASKS);
    let Some(&first) = scores.first() else { return Vec::new() };
    let mut best = first;
    let mut from = vec![[0; MOST_MASKS]; scores.len()];
    for (slice, score) in scores.iter().enumerate().skip(1) {
        let mut next = [0.0; MOST_MASKS];
        for b in 0..masks {
            let value = |a: usize| best[a] + weight * neighbour_dice(slice, a, b);
            let a = highest(masks, value);
            (from[slice][b], next[b]) = (a, value(a) + score[b]);
        }
        best = next;
    }
    let mut chosen = vec![highest(masks, |m| best[m]); scores.len()];
    for slice in (1..scores.len()).rev() {
        chosen[slice - 1] = from[slice][chosen[slice]];
    }
    chosen
}

fn highest(masks: usize, value: impl Fn(usize) -> f64) -> usize {
    (1..masks).fold(0, |best, m| if value(m) > value(best) { m } else { best })
}
