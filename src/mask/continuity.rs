//! A second pass over a volume: the masks of neighbouring slices should continue each other.

use std::collections::VecDeque;

use super::MOST_MASKS;

/// One mask a slice such that the sum of all scores plus a weight times the sum of how well neighbours go together is
/// highest: Viterbi's algorithm, the lowest index among equals.
///
/// Slices come one by one, and choices come out as soon as no later slice can change them: each mask of the last slice
/// has one best way there, and once all those ways pass through the same mask of a slice, that one and all before it
/// stay.
pub struct Chain {
    masks: usize,
    weight: f64,
    /// Value of the best way to each mask of the last slice.
    best: [f64; MOST_MASKS],
    /// For each mask of each undecided slice the one before it on the best way; not looked at for the first slice.
    from: VecDeque<[usize; MOST_MASKS]>,
    /// Through which mask of the first undecided slice the best way to each mask of the last one passes.
    ancestors: [usize; MOST_MASKS],
}

impl Chain {
    /// For slices of `masks` masks, 1 to [`MOST_MASKS`].
    pub fn new(masks: usize, weight: f64) -> Self {
        let masks = masks.clamp(1, MOST_MASKS);
        Chain { masks, weight, best: [0.0; MOST_MASKS], from: VecDeque::new(), ancestors: [0; MOST_MASKS] }
    }

    /// Adds a slice, of whose `scores` the first masks count; `together(a, b)` says how well mask `a` of the slice
    /// before and mask `b` of this one go together. Choices that are certain with it are appended to `decided`, one a
    /// slice, from where the last call ended.
    pub fn push(
        &mut self,
        scores: &[f64; MOST_MASKS],
        together: impl Fn(usize, usize) -> f64,
        decided: &mut Vec<usize>,
    ) {
        let first = self.from.is_empty();
        let (mut from, mut next) = ([0; MOST_MASKS], [0.0; MOST_MASKS]);
        for b in 0..self.masks {
            let value = |a: usize| self.best[a] + self.weight * if first { 0.0 } else { together(a, b) };
            let values: [f64; MOST_MASKS] = std::array::from_fn(|a| if a < self.masks { value(a) } else { 0.0 });
            let a = highest(&values[..self.masks]);
            (from[b], next[b]) = (a, values[a] + scores[b]);
        }
        self.best = next;
        self.ancestors = if first { std::array::from_fn(|b| b) } else { from.map(|a| self.ancestors[a]) };
        self.from.push_back(from);
        if self.meet(&self.ancestors) {
            self.decide_common(decided);
        }
    }

    /// The slice that was added last has no neighbour behind it: all choices are certain, and appended to `decided`.
    pub fn close(&mut self, decided: &mut Vec<usize>) {
        if let Some(last) = self.from.len().checked_sub(1) {
            self.decide(last, highest(&self.best[..self.masks]), decided);
        }
    }

    /// Whether the masks `of` each mask of the last slice are one.
    fn meet(&self, of: &[usize; MOST_MASKS]) -> bool {
        of[..self.masks].iter().all(|&a| a == of[0])
    }

    /// Decides up to the last slice through one of whose masks all ways pass. There is one.
    fn decide_common(&mut self, decided: &mut Vec<usize>) {
        let mut masks = std::array::from_fn(|b| b);
        let mut slice = self.from.len() - 1;
        while slice > 0 && !self.meet(&masks) {
            self.ancestors = masks;
            masks = masks.map(|b| self.from[slice][b]);
            slice -= 1;
        }
        self.decide(slice, masks[0], decided);
    }

    /// Decides for `mask` on undecided slice `last`, and for the best way to it.
    fn decide(&mut self, last: usize, mask: usize, decided: &mut Vec<usize>) {
        let start = decided.len();
        decided.push(mask);
        (1..=last).rev().for_each(|slice| decided.push(self.from[slice][decided[decided.len() - 1]]));
        decided[start..].reverse();
        self.from.drain(..=last);
    }
}

fn highest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, m| if values[m] > values[best] { m } else { best })
}
