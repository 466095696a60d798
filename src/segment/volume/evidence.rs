//! Whether a pixel's grey value is that of a target or of what lies around it, by how both look on the slice before.

use super::region::Grid;
use crate::error::Result;
use crate::memory::{collected, copied};

/// Values that the whole of a class is counted by.
const BINS: usize = 512;

/// Fewest pixels of a class without its edge; a smaller one counts with its edge.
const FEWEST: usize = 10;

/// Fewest pixels around the target in a pixel's window for which what is there counts by itself.
const FEWEST_AROUND: usize = 5;

/// Pixels around the target that belong to what lies around it as a whole.
const RING: usize = 4;

/// Share of the target on the given slice, beside that in the pixel's window.
const GIVEN: f64 = 0.5;

/// Share of all that lies around the target, beside that in the pixel's window.
const WHOLE_AROUND: f64 = 0.2;

/// Of a value that no class has.
const LEAST: f64 = 1e-6;

/// What a target and its surroundings look like on a slice where both are known.
pub(super) struct Classes<'a> {
    grid: Grid,
    grey: &'a [f64],
    inside: Vec<bool>,
    around: Vec<bool>,
    spread: f64,
    window: usize,
    low: f64,
    bin: f64,
    given: Vec<f64>,
    whole_around: Vec<f64>,
}

impl<'a> Classes<'a> {
    /// Of the target `mask` on a slice of values `grey`, for values of the slice `next`. Edges are left out of both, as
    /// they are mixed of both; `given` are values of the target on the slice of the given box, `spread` is how far
    /// values of one class lie apart.
    pub fn new(
        grid: Grid,
        grey: &'a [f64],
        mask: &[bool],
        next: &[f64],
        given: &[f64],
        spread: f64,
        window: usize,
    ) -> Result<Self> {
        let core = grid.eroded(mask)?;
        let few = core.iter().filter(|&&inside| inside).count() < FEWEST;
        let inside = if few { copied(mask, "a mask")? } else { core };
        let grown = grid.grown(mask)?;
        let near = (0..RING).try_fold(copied(mask, "a mask")?, |near, _| square(grid, &near))?;
        let ring =
            near.iter().zip(&grown).zip(grey).filter(|&((&near, &grown), _)| near && !grown).map(|(_, &value)| value);
        let around = collected(grown.iter().map(|&grown| !grown), "a mask")?;
        let ends = |least: fn(f64, f64) -> f64| grey.iter().chain(next).copied().reduce(least).unwrap_or(0.0);
        let (low, high) = (ends(f64::min), ends(f64::max));
        let bin = ((high - low) / BINS as f64).max(f64::MIN_POSITIVE);
        let given = share_of_values(given.iter().copied(), low, bin, spread);
        let whole_around = share_of_values(ring, low, bin, spread);
        Ok(Classes { grid, grey, inside, around, spread, window, low, bin, given, whole_around })
    }

    /// Logarithm of how much likelier `value` is inside the target than around it, at pixel `at`.
    pub fn odds(&self, at: usize, value: f64) -> f64 {
        let (x, y) = (at % self.grid.width, at / self.grid.width);
        let (mut inside, mut around) = ((0.0, 0_usize), (0.0, 0_usize));
        for row in y.saturating_sub(self.window)..(y + self.window + 1).min(self.grid.height) {
            let start = row * self.grid.width;
            let columns = x.saturating_sub(self.window)..(x + self.window + 1).min(self.grid.width);
            for there in start + columns.start..start + columns.end {
                let class = match (self.inside[there], self.around[there]) {
                    (true, _) => &mut inside,
                    (_, true) => &mut around,
                    _ => continue,
                };
                class.0 += likeness(self.grey[there] - value, self.spread);
                class.1 += 1;
            }
        }
        let bin = (((value - self.low) / self.bin) as usize).min(BINS - 1);
        let mixed = |(sum, count): (f64, usize), least: usize, whole: f64, share: f64| {
            if count < least { whole } else { (1.0 - share) * sum / count as f64 + share * whole }
        };
        let of_target = mixed(inside, 1, self.given[bin], GIVEN);
        let of_around = mixed(around, FEWEST_AROUND, self.whole_around[bin], WHOLE_AROUND);
        ((of_target + LEAST) / (of_around + LEAST)).ln()
    }
}

/// Cauchy's curve, 1 for the same value: its tails make of a value between two classes the nearer one's.
fn likeness(apart: f64, spread: f64) -> f64 {
    let apart = apart / spread;
    1.0 / (1.0 + apart * apart)
}

/// For each bin the mean likeness of its value to all of `values`.
fn share_of_values(values: impl Iterator<Item = f64>, low: f64, bin: f64, spread: f64) -> Vec<f64> {
    let mut counts = [0_usize; BINS];
    let mut all = 0_usize;
    for value in values {
        counts[(((value - low) / bin) as usize).min(BINS - 1)] += 1;
        all += 1;
    }
    let of = |to: usize| {
        let alike = counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let sum = alike.map(|(from, &count)| count as f64 * likeness(to.abs_diff(from) as f64 * bin, spread));
        sum.sum::<f64>() / all.max(1) as f64
    };
    (0..BINS).map(of).collect()
}

/// With all pixels that touch `mask` at a side or a corner.
fn square(grid: Grid, mask: &[bool]) -> Result<Vec<bool>> {
    let mut grown = copied(mask, "a mask")?;
    for at in (0..mask.len()).filter(|&at| mask[at]) {
        let (x, y) = (at % grid.width, at / grid.width);
        for row in y.saturating_sub(1)..(y + 2).min(grid.height) {
            let columns = x.saturating_sub(1)..(x + 2).min(grid.width);
            grown[row * grid.width..][columns].fill(true);
        }
    }
    Ok(grown)
}
