//! The masks of one request on their way through the slices (online Viterbi): each is kept until no later slice can
//! change which one it is.

use std::collections::VecDeque;
use std::rc::Rc;

use super::outcome::SliceOutcome;
use crate::image::Runs;
use crate::mask::{CONTINUITY_WEIGHT, Chain};

/// A decoded prompt of the request.
pub(super) struct Decoded {
    /// Which of the outcomes.
    pub place: usize,
    /// The masks that may still be chosen, in the slice's own pixels; a single one is chosen already.
    pub masks: Vec<Runs>,
    /// Whether the request has a prompt on the next slice.
    pub followed: bool,
}

/// A prompt whose mask is chosen.
pub(super) struct Chosen {
    pub place: usize,
    pub mask: Rc<Runs>,
}

/// The prompts of one request, which come by ascending slice.
pub(super) struct OnlineViterbi {
    /// Where neighbouring slices take part in the choice.
    chain: Option<Chain>,
    undecided: VecDeque<Decoded>,
    /// The last one that was chosen, and the Dice of its mask with that of the slice before.
    last: Option<(Chosen, Option<f64>)>,
    decided: Vec<usize>,
}

impl OnlineViterbi {
    /// For prompts of `masks` masks each; one alone needs no choice.
    pub fn new(masks: usize) -> Self {
        let chain = (masks > 1).then(|| Chain::new(masks, CONTINUITY_WEIGHT));
        OnlineViterbi { chain, undecided: VecDeque::new(), last: None, decided: Vec::new() }
    }

    /// Takes a prompt whose outcome is in `outcomes`, and appends to `certain` what is chosen with it, by ascending
    /// slice.
    pub fn add(&mut self, decoded: Decoded, outcomes: &mut [SliceOutcome], certain: &mut Vec<Chosen>) {
        let Some(chain) = &mut self.chain else {
            self.undecided.push_back(decoded);
            return self.choose(0, outcomes, certain);
        };
        let scores = &outcomes[decoded.place].verdict.scores;
        let together = |a: usize, b: usize| match self.undecided.back() {
            // Masks that are bad in the same way on every slice must not win by that.
            Some(before) => {
                let product = outcomes[before.place].verdict.scores[a] * scores[b];
                before.masks[a].dice(&decoded.masks[b]) * product.sqrt()
            }
            None => 0.0,
        };
        chain.push(scores, together, &mut self.decided);
        if !decoded.followed {
            chain.close(&mut self.decided);
        }
        self.undecided.push_back(decoded);
        for chosen in std::mem::take(&mut self.decided) {
            self.choose(chosen, outcomes, certain);
        }
    }

    /// The first undecided prompt keeps its mask `chosen`.
    fn choose(&mut self, chosen: usize, outcomes: &mut [SliceOutcome], certain: &mut Vec<Chosen>) {
        let Some(Decoded { place, mut masks, .. }) = self.undecided.pop_front() else { return };
        let mask = Rc::new(masks.swap_remove(chosen));
        if self.chain.is_some() {
            let verdict = &mut outcomes[place].verdict;
            (verdict.index, verdict.chosen) = (chosen, verdict.chosen - verdict.index + chosen);
        }
        let mut dice = None;
        if let Some((last, before)) = self.last.take()
            && outcomes[last.place].slice + 1 == outcomes[place].slice
        {
            dice = Some(last.mask.dice(&mask));
            outcomes[last.place].continuity = mean(before, dice);
        }
        outcomes[place].pixels = u64::from(mask.area());
        outcomes[place].continuity = mean(dice, None);
        self.last = Some((Chosen { place, mask: Rc::clone(&mask) }, dice));
        certain.push(Chosen { place, mask });
    }
}

/// Of the Dice with the slices before and after, as far as there are any.
fn mean(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    match (before, after) {
        (Some(before), Some(after)) => Some((before + after) / 2.0),
        (before, after) => before.or(after),
    }
}
