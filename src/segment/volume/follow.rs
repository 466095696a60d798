//! Where a target goes on on the next slice: its outline there, by the outlines before and by grey values.

use serde::Serialize;

use super::evidence::Classes;
use super::region::Grid;
use crate::error::Result;
use crate::image::IntensityMap;
use crate::memory::{collected, copied, reserve};
use crate::volume::{SliceFrame, Volume};

/// How a box gets from slice to slice, and when that ends.
///
/// An outline is expected on the next slice where the trend of the last two leads. A pixel belongs to the target where
/// the logarithm of how much likelier its value is inside than around the target, at most `evidence`, outweighs `hold`
/// times its distance in pixels to the expected outline. Values around the target are likely as they are frequent on
/// the slice before, in a window around the pixel and around the whole target; values inside as in that window and in
/// the whole target on the slice of the given box.
///
/// A rounded target's area falls evenly near its end. Where that would leave less than `tip` of it on the next slice,
/// the expected outline is drawn in to that area, by at most `reach`; where the target is not seen there and
/// `least_pixels` or more would be left, that many of its deepest pixels are its last slice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PropagationRule {
    /// Pixels beyond the expected outline to which the target may grow, and most that the trend moves it.
    pub reach: usize,
    /// Robust standard deviations from the median of the target on the given slice within which a pixel looks like it.
    pub likeness: f64,
    /// Pixels that the box is larger than what was found, on each side.
    pub margin: usize,
    /// The target ends where a smaller share of what was found looks like it.
    pub least_share: f64,
    /// It ends where the mask has a lower Dice with what was found.
    pub least_dice: f64,
    /// It ends where the masks of the box agree less.
    pub least_agreement: f64,
    /// It ends where the mask covers this share of the slice.
    pub most_of_slice: f64,
    /// Most that grey values say for or against a pixel, as a logarithm of odds.
    pub evidence: f64,
    /// What a pixel of distance to the expected outline says against them.
    pub hold: f64,
    /// Share of the last change of the outline that is expected again.
    pub trend: f64,
    /// Pixels on each side of a pixel in which values are counted.
    pub window: usize,
    /// How far values of one class lie apart, in robust standard deviations of the target.
    pub spread: f64,
    /// What is narrower than this share of the target's largest inscribed disc is cut off.
    pub opening: f64,
    /// Fewer pixels are no target.
    pub least_pixels: usize,
    /// A slice with less than this share of the pixels before may be the target's last one, and look like what it is
    /// mixed with.
    pub tip: f64,
}

impl Default for PropagationRule {
    fn default() -> Self {
        PropagationRule {
            reach: 2,
            likeness: 4.5,
            margin: 0,
            least_share: 0.3,
            least_dice: 0.4,
            least_agreement: 0.3,
            most_of_slice: 0.95,
            evidence: 2.0,
            hold: 1.0,
            trend: 0.5,
            window: 4,
            spread: 1.5,
            opening: 0.3,
            least_pixels: 6,
            tip: 0.5,
        }
    }
}

/// Times that a mask is eroded to leave out its edge, which is mixed with what lies beside.
const EDGE: usize = 2;

/// Fewest pixels that say what a target looks like; a smaller one counts with its edge.
const FEWEST: usize = 20;

/// From the median of absolute deviations to the standard deviation of a normal distribution.
const MAD_TO_SD: f64 = 1.4826;

/// Distance to the expected outline, inside, more than which says no more: a target may vanish in its middle.
const DEEP: f64 = 1.0;

/// A slice's values, `[height, width]`, channels averaged, each with a sixth of both neighbours along both axes.
pub(super) struct Grey {
    grid: Grid,
    values: Vec<f64>,
}

impl Grey {
    /// Of slice `index` of `frame`.
    pub fn of(volume: &Volume, frame: &SliceFrame, index: usize) -> Result<Self> {
        let (height, width) = frame.shape();
        let grid = Grid { height, width };
        let mut all = Vec::new();
        volume.slice_values(frame, index, &mut all)?;
        let channels = volume.channels().max(1);
        let mut values = reserve(height * width, "a slice")?;
        values.extend(all.chunks_exact(channels).map(|pixel| pixel.iter().sum::<f64>() / channels as f64));
        let values = blurred(grid, &values, [1.0 / 6.0, 2.0 / 3.0])?;
        Ok(Grey { grid, values })
    }
}

/// Weighted by `[beside, middle]` along both axes; what lies outside is as the edge.
fn blurred(grid: Grid, values: &[f64], [beside, middle]: [f64; 2]) -> Result<Vec<f64>> {
    let along = |values: &[f64], step: usize, last: fn(Grid, usize) -> [bool; 2]| -> Result<Vec<f64>> {
        let mut found = reserve(values.len(), "a slice")?;
        found.extend((0..values.len()).map(|at| {
            let [is_first, is_last] = last(grid, at);
            let (before, after) = (if is_first { at } else { at - step }, if is_last { at } else { at + step });
            beside * (values[before] + values[after]) + middle * values[at]
        }));
        Ok(found)
    };
    let rows = along(values, 1, |grid, at| [at % grid.width == 0, at % grid.width + 1 == grid.width])?;
    along(&rows, grid.width, |grid, at| [at < grid.width, at / grid.width + 1 == grid.height])
}

/// A target on the last slice where it is known, and what it looks like on the given one.
pub(super) struct Trail {
    grey: Grey,
    mask: Vec<bool>,
    depth: Vec<f64>,
    /// Of the slice before that.
    depth_before: Option<Vec<f64>>,
    pixels: usize,
    pixels_before: Option<usize>,
    /// Values inside on the given slice, their median and robust standard deviation.
    given: Vec<f64>,
    median: f64,
    sd: f64,
}

/// The target on the next slice.
pub(super) struct Found {
    /// Columns and rows `[x0, y0, x1, y1]` of the slice, inclusive.
    pub corners: [usize; 4],
    pub mask: Vec<bool>,
    /// Share that looks like the target.
    pub like: f64,
    /// Whether this is its last slice.
    pub is_tip: bool,
    grey: Grey,
}

impl Trail {
    /// Of a target that has `mask` on the given slice, within the given box `corners` of the slice.
    pub fn new(
        grey: Grey,
        mask: &[bool],
        corners: [f64; 4],
        map: &IntensityMap,
        rule: &PropagationRule,
    ) -> Result<Self> {
        let grid = grey.grid;
        let within = |at: f64, pixels: usize| (at.max(0.0) as usize).min(pixels - 1);
        let [x0, y0, x1, y1] = corners;
        let (width, height) = (grid.width, grid.height);
        let corners = [within(x0, width), within(y0, height), within(x1, width), within(y1, height)];
        let [x0, y0, x1, y1] = corners;
        let is_in_box = |at: usize| (x0..=x1).contains(&(at % width)) && (y0..=y1).contains(&(at / width));
        let in_box =
            |mask: &[bool]| collected(mask.iter().enumerate().map(|(at, &inside)| inside && is_in_box(at)), "a mask");
        let boxed = in_box(mask)?;
        // The box touches the target on all sides, where a mask may fall short of it.
        let mask = if boxed.contains(&true) { grid.stretched(&boxed, corners)? } else { copied(mask, "a mask")? };
        let core = (0..EDGE).try_fold(copied(&mask, "a mask")?, |mask, _| grid.eroded(&mask))?;
        let core = if core.iter().filter(|&&inside| inside).count() < FEWEST { &mask } else { &core };
        let mut given = reserve(count(core), "a target's values")?;
        given.extend(grey.values.iter().zip(core).filter(|&(_, &inside)| inside).map(|(&value, _)| value));
        let median = middle(&mut copied(&given, "a target's values")?);
        let mut apart = collected(given.iter().map(|value| (value - median).abs()), "a target's values")?;
        // Of a target of one value every other value would be unlike: one of the network's grey levels is not.
        let level = (map.high - map.low).abs() / 255.0;
        let sd = (MAD_TO_SD * middle(&mut apart)).max(level).max(f64::MIN_POSITIVE);
        let depth = grid.depth(&mask)?;
        let pixels = count(&mask);
        let mut trail = Trail { grey, mask, depth, depth_before: None, pixels, pixels_before: None, given, median, sd };
        let refined = in_box(&trail.outline(&trail.grey, &trail.depth, rule)?)?;
        if refined.contains(&true) {
            (trail.depth, trail.pixels, trail.mask) = (grid.depth(&refined)?, count(&refined), refined);
        }
        Ok(trail)
    }

    /// The target on the next slice; `None` where nothing of it is found.
    pub fn follow(&self, next: Grey, rule: &PropagationRule) -> Result<Option<Found>> {
        let mut expected = self.expected(rule)?;
        let left = self.left(rule);
        if let Some(left) = left {
            let drawn_in = nth_deepest(&expected, left)?.clamp(0.0, rule.reach as f64);
            expected.iter_mut().for_each(|depth| *depth -= drawn_in);
        }
        let mut mask = self.outline(&next, &expected, rule)?;
        let mut like = self.like(&next, &mask, rule)?;
        let is_found = count(&mask) >= rule.least_pixels;
        let is_seen = is_found && like >= rule.least_share;
        let mut is_tip = is_found && !is_seen && (count(&mask) as f64) < rule.tip * self.pixels as f64;
        if let Some(left) = left.filter(|&left| left >= rule.least_pixels && !is_seen && !is_tip) {
            // What it is mixed with there may hide it.
            mask = self.deepest(&expected, left)?;
            like = self.like(&next, &mask, rule)?;
            is_tip = true;
        } else if !is_found {
            return Ok(None);
        }
        Ok(Some(Found { corners: next.grid.corners(&mask), mask, like, is_tip, grey: next }))
    }

    /// How deep in the target pixels of the next slice lie where the last change of its outline leads.
    fn expected(&self, rule: &PropagationRule) -> Result<Vec<f64>> {
        let most = rule.reach as f64;
        let mut expected = copied(&self.depth, "distances")?;
        for (depth, before) in expected.iter_mut().zip(self.depth_before.iter().flatten()) {
            *depth += (rule.trend * (*depth - before)).clamp(-most, most);
        }
        Ok(expected)
    }

    /// Pixels of the next slice if the area falls on evenly, as that of a paraboloid does; `None` far from the end.
    fn left(&self, rule: &PropagationRule) -> Option<usize> {
        let left = (2 * self.pixels).saturating_sub(self.pixels_before?);
        ((left as f64) < rule.tip * self.pixels as f64).then_some(left)
    }

    /// About `count` of the target's pixels, those that are expected to lie deepest; in one piece.
    fn deepest(&self, expected: &[f64], count: usize) -> Result<Vec<bool>> {
        let least = nth_deepest(expected, count)?;
        let among = self.mask.iter().zip(expected).map(|(&inside, &depth)| inside && depth >= least);
        self.grey.grid.largest(&collected(among, "a mask")?)
    }

    /// Share of `mask` that looks like the target on the given slice.
    fn like(&self, next: &Grey, mask: &[bool], rule: &PropagationRule) -> Result<f64> {
        let near = blurred(next.grid, &next.values, [1.0 / 3.0, 1.0 / 3.0])?;
        let is_like = |at: &usize| (near[*at] - self.median).abs() <= rule.likeness * self.sd;
        let like = (0..mask.len()).filter(|&at| mask[at]).filter(is_like).count();
        Ok(like as f64 / count(mask).max(1) as f64)
    }

    /// Goes on from what was found.
    pub fn moved(&mut self, found: Found) -> Result<()> {
        let depth = found.grey.grid.depth(&found.mask)?;
        self.depth_before = Some(std::mem::replace(&mut self.depth, depth));
        self.pixels_before = Some(self.pixels);
        (self.pixels, self.mask, self.grey) = (count(&found.mask), found.mask, found.grey);
        Ok(())
    }

    /// The target on slice `next`, where the outline `expected` says how deep in it a pixel lies.
    fn outline(&self, next: &Grey, expected: &[f64], rule: &PropagationRule) -> Result<Vec<bool>> {
        let (grid, spread) = (next.grid, rule.spread * self.sd);
        let classes =
            Classes::new(grid, &self.grey.values, &self.mask, &next.values, &self.given, spread, rule.window)?;
        let mut mask = reserve(expected.len(), "a mask")?;
        mask.extend(expected.iter().enumerate().map(|(at, &depth)| {
            // Half a pixel more: the outline runs between pixels.
            depth > -(rule.reach as f64) - 0.5 && {
                let odds = classes.odds(at, next.values[at]).clamp(-rule.evidence, rule.evidence);
                odds + rule.hold * depth.min(DEEP) > 0.0
            }
        }));
        let opened = grid.opened(&mask, rule.opening)?;
        grid.filled(&grid.largest(&opened)?)
    }
}

fn count(mask: &[bool]) -> usize {
    mask.iter().filter(|&&inside| inside).count()
}

/// The `count`-th largest of `depths`, the largest for 0.
fn nth_deepest(depths: &[f64], count: usize) -> Result<f64> {
    let mut sorted = copied(depths, "distances")?;
    let nth = count.clamp(1, sorted.len().max(1)) - 1;
    Ok(if sorted.is_empty() { 0.0 } else { *sorted.select_nth_unstable_by(nth, |a, b| b.total_cmp(a)).1 })
}

/// The median, 0 of nothing.
fn middle(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
