//! Where a target goes on on the next slice: the pixels around the last mask that look like it.

use serde::Serialize;

use crate::error::Result;
use crate::image::IntensityMap;
use crate::memory::reserve;
use crate::volume::{SliceFrame, Volume};

/// How a box gets from slice to slice, and when that ends.
///
/// The next slice's box encloses the pixels that lie within `reach` of the last mask and whose value (a mean of 3 x 3)
/// is within `likeness` standard deviations of the median inside the mask of the given box; it is `margin` pixels
/// larger on each side, since the mean draws edges in. Medians are of the mask without its edge, and the deviation is
/// from the median of absolute deviations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PropagationRule {
    /// Pixels around the last mask in which the target may go on.
    pub reach: usize,
    /// Robust standard deviations.
    pub likeness: f64,
    /// Pixels that the box is larger than what was found, on each side.
    pub margin: usize,
    /// The target ends where fewer pixels look like it than this share of those on the slice before (there: of the
    /// mask).
    pub least_share: f64,
    /// It ends where the mask has a lower Dice with the mask before.
    pub least_dice: f64,
    /// It ends where the masks of the box agree less.
    pub least_agreement: f64,
    /// It ends where the mask covers this share of the slice.
    pub most_of_slice: f64,
}

impl Default for PropagationRule {
    fn default() -> Self {
        PropagationRule {
            reach: 1,
            likeness: 3.0,
            margin: 1,
            least_share: 0.4,
            least_dice: 0.4,
            least_agreement: 0.3,
            most_of_slice: 0.95,
        }
    }
}

/// Times that a mask is eroded to leave out its edge, which is mixed with what lies beside.
const EDGE: usize = 2;

/// Fewest pixels that say what a target looks like; a smaller one counts with its edge.
const FEWEST: usize = 20;

/// From the median of absolute deviations to the standard deviation of a normal distribution.
const MAD_TO_SD: f64 = 1.4826;

/// Means of 3 x 3 pixels of a slice, `[height, width]`, channels averaged.
pub(super) struct Smoothed {
    values: Vec<f64>,
    height: usize,
    width: usize,
}

/// What a target looks like on a slice where it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    median: f64,
    sd: f64,
}

/// The pixels of a slice that go on with a target.
pub(super) struct Found {
    /// Columns and rows `[x0, y0, x1, y1]` of the slice, inclusive.
    pub corners: [usize; 4],
    pub pixels: usize,
}

impl Smoothed {
    /// Of slice `index` of `frame`.
    pub fn of(volume: &Volume, frame: &SliceFrame, index: usize) -> Result<Self> {
        let (height, width) = frame.shape();
        let mut all = Vec::new();
        volume.slice_values(frame, index, &mut all)?;
        let channels = volume.channels().max(1);
        let grey: Vec<f64> =
            all.chunks_exact(channels).map(|pixel| pixel.iter().sum::<f64>() / channels as f64).collect();
        let near = |at: usize, last: usize| [at.saturating_sub(1), at, (at + 1).min(last)];
        let mut values = reserve(height * width, "a slice")?;
        for y in 0..height {
            let rows = near(y, height - 1);
            values.extend((0..width).map(|x| {
                let columns = near(x, width - 1);
                rows.iter().flat_map(|row| columns.map(|column| grey[row * width + column])).sum::<f64>() / 9.0
            }));
        }
        Ok(Smoothed { values, height, width })
    }

    /// What is inside `mask`, its edge left out where enough remains.
    pub fn look(&self, mask: &[bool], map: &IntensityMap) -> Look {
        let core = (0..EDGE).fold(mask.to_vec(), |mask, _| self.eroded(&mask));
        let core = if core.iter().filter(|&&inside| inside).count() < FEWEST { mask } else { &core };
        let mut inside: Vec<f64> =
            self.values.iter().zip(core).filter(|&(_, &inside)| inside).map(|(&value, _)| value).collect();
        let middle = median(&mut inside);
        let mut apart: Vec<f64> = inside.iter().map(|value| (value - middle).abs()).collect();
        // Of a target of one value every other value would be unlike: one of the network's grey levels is not.
        let level = (map.high - map.low).abs() / 255.0;
        Look { median: middle, sd: (MAD_TO_SD * median(&mut apart)).max(level) }
    }

    /// The largest connected piece (by faces) of what looks like `look` within `rule.reach` pixels of `mask`.
    pub fn follow(&self, mask: &[bool], look: Look, rule: &PropagationRule) -> Option<Found> {
        let near = (0..rule.reach).fold(mask.to_vec(), |mask, _| self.grown(&mask));
        let like = |value: f64| (value - look.median).abs() <= rule.likeness * look.sd;
        let mut open: Vec<bool> = near.iter().zip(&self.values).map(|(&near, &value)| near && like(value)).collect();
        let mut largest: Option<Found> = None;
        let mut stack = Vec::new();
        for start in 0..open.len() {
            if !std::mem::take(&mut open[start]) {
                continue;
            }
            stack.push(start);
            let mut found = Found { corners: [self.width, self.height, 0, 0], pixels: 0 };
            while let Some(at) = stack.pop() {
                let (x, y) = (at % self.width, at / self.width);
                let [x0, y0, x1, y1] = found.corners;
                found.corners = [x0.min(x), y0.min(y), x1.max(x), y1.max(y)];
                found.pixels += 1;
                stack.extend(self.beside(at).filter(|&next| std::mem::take(&mut open[next])));
            }
            if largest.as_ref().is_none_or(|largest| largest.pixels < found.pixels) {
                largest = Some(found);
            }
        }
        largest
    }

    /// Those of the four pixels beside pixel `at` that the slice has.
    fn beside(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let (x, y, width, height) = (at % self.width, at / self.width, self.width, self.height);
        let sides = [(x > 0, at.wrapping_sub(1)), (x + 1 < width, at + 1)];
        let ends = [(y > 0, at.wrapping_sub(width)), (y + 1 < height, at + width)];
        sides.into_iter().chain(ends).filter(|&(there, _)| there).map(|(_, at)| at)
    }

    fn eroded(&self, mask: &[bool]) -> Vec<bool> {
        (0..mask.len()).map(|at| mask[at] && self.beside(at).all(|next| mask[next])).collect()
    }

    /// With all pixels that touch it at a side or a corner.
    fn grown(&self, mask: &[bool]) -> Vec<bool> {
        let mut grown = mask.to_vec();
        for at in (0..mask.len()).filter(|&at| mask[at]) {
            let (x, y) = (at % self.width, at / self.width);
            for row in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
                let columns = x.saturating_sub(1)..(x + 2).min(self.width);
                grown[row * self.width..][columns].fill(true);
            }
        }
        grown
    }
}

/// 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
