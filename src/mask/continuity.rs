//! A second pass over a volume: the masks of neighbouring slices should continue each other.

use super::{MOST_MASKS, dice};
use crate::{Result, memory};

/// A mask as runs of pixels, small enough to keep those of a whole volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// First and one past the last index of each run, row-major, ascending, with gaps between them.
    runs: Vec<[u32; 2]>,
    area: u32,
}

impl Runs {
    /// The pixels that are not 0.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn new(inside: &[u8]) -> Result<Self> {
        let mut mask = Runs::default();
        let mut at = 0;
        while let Some(gap) = inside[at..].iter().position(|&pixel| pixel != 0) {
            let start = at + gap;
            at = start + inside[start..].iter().position(|&pixel| pixel == 0).unwrap_or(inside.len() - start);
            mask.area += (at - start) as u32;
            memory::push(&mut mask.runs, [start as u32, at as u32], "a mask")?;
        }
        Ok(mask)
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u32 {
        self.area
    }

    /// Writes the mask over `inside`; pixels beyond its end are left out.
    pub fn fill(&self, inside: &mut [bool]) {
        inside.fill(false);
        for &[start, end] in &self.runs {
            let end = inside.len().min(end as usize);
            inside[(start as usize).min(end)..end].fill(true);
        }
    }

    /// Dice with a mask of the same picture; 1 where both are empty.
    pub fn dice(&self, other: &Runs) -> f64 {
        let (mut a, mut b) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        let mut both = 0;
        while let (Some(&&[a0, a1]), Some(&&[b0, b1])) = (a.peek(), b.peek()) {
            both += a1.min(b1).saturating_sub(a0.max(b0));
            if a1 <= b1 {
                a.next()
            } else {
                b.next()
            };
        }
        dice(both, self.area, other.area)
    }
}

/// One mask a slice such that the sum of all scores plus `weight` times the sum of `together` over the pairs of neighbours
/// is highest: Viterbi's algorithm, the lowest index among equals.
///
/// `scores` has an entry a slice, of which the first `masks` count; `together(s, a, b)` says how well mask `a` of slice
/// `s - 1` and mask `b` of slice `s` go together, 0 for all where the two are no neighbours.
pub fn continuous(
    scores: &[[f64; MOST_MASKS]],
    masks: usize,
    weight: f64,
    together: impl Fn(usize, usize, usize) -> f64,
) -> Vec<usize> {
    let masks = masks.clamp(1, MOST_MASKS);
    let Some(&first) = scores.first() else { return Vec::new() };
    let mut best = first;
    let mut from = vec![[0; MOST_MASKS]; scores.len()];
    for (slice, score) in scores.iter().enumerate().skip(1) {
        let mut next = [0.0; MOST_MASKS];
        for b in 0..masks {
            let values: [f64; MOST_MASKS] =
                std::array::from_fn(|a| if a < masks { best[a] + weight * together(slice, a, b) } else { 0.0 });
            let a = highest(&values[..masks]);
            (from[slice][b], next[b]) = (a, values[a] + score[b]);
        }
        best = next;
    }
    let mut chosen = vec![highest(&best[..masks]); scores.len()];
    for slice in (1..scores.len()).rev() {
        chosen[slice - 1] = from[slice][chosen[slice]];
    }
    chosen
}

fn highest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, m| if values[m] > values[best] { m } else { best })
}
