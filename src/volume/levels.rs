//! How many of the 256 grey levels a picture makes use of: few of them show little to the network.

use super::{Intensity, IntensityMap, Volume, Voxel};
use crate::codes::{Code, Warning};
use crate::image::voxels::with_voxels;

/// Values that are looked at, at most; of more every n-th.
const LOOKED_AT: usize = 1 << 20;
/// Fewer levels than these in all are too few for a picture.
const FEW: usize = 8;
/// Fewer levels than these for nearly all voxels are too few where the values themselves set the limits.
const SQUEEZED: usize = 64;
/// The share of the voxels at either end that [`LevelCounts::middle`] leaves out.
const TAIL: f64 = 0.01;

/// How often each grey level was seen, and of which values.
pub(crate) struct LevelCounts {
    counts: [u64; 256],
    /// Least and greatest value of each level.
    values: [[f64; 2]; 256],
    /// Every how many values one is looked at.
    step: usize,
}

impl LevelCounts {
    /// For so many `values` in all.
    pub fn new(values: usize) -> Self {
        LevelCounts {
            counts: [0; 256],
            values: [[f64::INFINITY, f64::NEG_INFINITY]; 256],
            step: values.div_ceil(LOOKED_AT).max(1),
        }
    }

    /// Counts the levels of `volume`, or of a part of it.
    pub fn add(&mut self, volume: &Volume, map: &IntensityMap) {
        let (slope, intercept) = volume.scaling();
        with_voxels!(volume.voxels(), values => self.add_values(values, map, slope, intercept));
    }

    fn add_values<T: Voxel>(&mut self, values: &[T], map: &IntensityMap, slope: f64, intercept: f64) {
        for (index, chunk) in values.chunks(self.step).enumerate() {
            // Not always the first: a step that divides a row would see one column only.
            self.add_one(slope * chunk[index.wrapping_mul(7919) % chunk.len()].to_f64() + intercept, map);
        }
    }

    /// As if nothing were known of the values but their levels: of one level they may differ.
    #[cfg(feature = "capi")]
    pub fn of_levels(levels: &[u8]) -> Self {
        let mut counts = LevelCounts::new(levels.len());
        counts.values = std::array::from_fn(|level| [level as f64 - 0.25, level as f64 + 0.25]);
        levels.iter().for_each(|&level| counts.counts[usize::from(level)] += 1);
        counts
    }

    /// Counts the levels of `values`, all of them.
    #[cfg(feature = "capi")]
    pub fn add_each(&mut self, values: impl Iterator<Item = f64>, map: &IntensityMap) {
        values.for_each(|value| self.add_one(value, map));
    }

    fn add_one(&mut self, value: f64, map: &IntensityMap) {
        let level = usize::from(map.level(value));
        self.counts[level] += 1;
        let [low, high] = self.values[level];
        self.values[level] = [low.min(value), high.max(value)];
    }

    /// How many levels occur.
    fn in_use(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// How many levels the middle 98 % of the voxels span; all where those voxels are alike, as a background is.
    fn middle(&self) -> usize {
        let total: u64 = self.counts.iter().sum();
        let tail = (TAIL * total as f64) as u64;
        let reached = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            counts
                .take_while(|&&count| {
                    sum += count;
                    sum <= tail
                })
                .count()
        };
        let (below, above) = (reached(&mut self.counts.iter()), reached(&mut self.counts.iter().rev()));
        let middle = below.min(255)..256 - above.min(255);
        let levels = middle.len();
        let [low, high] = self.values[middle]
            .iter()
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value[0]), high.max(value[1])]);
        if low < high { levels } else { 256 }
    }

    fn are_few(&self) -> bool {
        (1..FEW).contains(&self.in_use())
    }

    fn are_crowded(&self, map: &IntensityMap) -> bool {
        let by_values = matches!(map.rule, Intensity::MinMax | Intensity::Percentile | Intensity::Robust);
        by_values && self.in_use() > 0 && self.middle() < SQUEEZED
    }

    /// Bits of [`LevelCounts::warnings`].
    #[cfg(feature = "capi")]
    pub fn bits(&self, map: &IntensityMap) -> u64 {
        let bit = |is: bool, code: Code| if is { code.bit() } else { 0 };
        bit(self.are_few(), Code::FewLevels) | bit(self.are_crowded(map), Code::LevelsCrowded)
    }

    /// What the levels in use say of the picture and the rule that made them.
    pub fn warnings(&self, map: &IntensityMap) -> Vec<Warning> {
        let (in_use, middle) = (self.in_use(), self.middle());
        let mut warnings = Vec::new();
        if self.are_few() {
            let plural = if in_use == 1 { "" } else { "s" };
            let message = format!("the picture makes use of {in_use} grey level{plural} of 256");
            warnings.push(Warning::new(Code::FewLevels, message));
        }
        if self.are_crowded(map) {
            let message = format!(
                "the middle 98 % of the voxels share {middle} of 256 grey levels, as {} becomes black and {} white; \
                 --intensity robust or a window shows more",
                map.low, map.high
            );
            warnings.push(Warning::new(Code::LevelsCrowded, message));
        }
        warnings
    }
}

impl Volume {
    /// Adds to the warnings what the levels in use say of the picture and of `map`.
    pub fn check_levels(&mut self, map: &IntensityMap) {
        let mut counts = LevelCounts::new(self.voxels().len());
        counts.add(self, map);
        self.info.warnings.extend(counts.warnings(map));
    }
}
