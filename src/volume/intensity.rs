//! The numbers of an [`Intensity`] for a volume.

use super::{Volume, VolumeInfo};
use crate::image::intensity::{are_fractions, percentiles_of};
use crate::image::pass::Cancel;
use crate::image::robust::{SetAside, robust_of};
use crate::image::voxels::with_voxels;
use crate::image::{DataType, Intensity, IntensityMap, Statistics};
use crate::{Error, Result};

impl Intensity {
    /// The rule for a volume when none is asked for, as far as that is known without its values: raw for colour and for
    /// 8-bit pictures and arrays, else minmax.
    pub fn default_for(volume: &VolumeInfo) -> Self {
        if volume.channels() == 3 || volume.is_8_bit_picture() { Intensity::Raw } else { Intensity::MinMax }
    }

    /// As [`Intensity::default_for`], but unit where values are fractions from 0 to 1, which raw would make black.
    pub fn default_for_values(volume: &Volume) -> Self {
        match Self::default_for(volume) {
            Intensity::Raw => Self::default_for_range(volume, &volume.statistics()),
            other => other,
        }
    }

    /// As [`Intensity::default_for_values`], of values with this range.
    pub(super) fn default_for_range(volume: &VolumeInfo, statistics: &Statistics) -> Self {
        match Self::default_for(volume) {
            Intensity::Raw if are_fractions_of(volume, statistics) => Intensity::Unit,
            other => other,
        }
    }

    /// The rule's numbers for `volume`, whose values must all be finite: a NaN has no grey level.
    ///
    /// # Errors
    /// [`Error::File`] for values that are not finite, naming how many and where the first is; for `raw` outside
    /// 0..255 or of fractions up to 1; for `percentile` without a value above 0.
    pub fn resolve(self, volume: &Volume) -> Result<IntensityMap> {
        self.examine(volume).map(|(map, _)| map)
    }

    /// As [`Intensity::resolve`], with what `robust` left out of its limits.
    ///
    /// # Errors
    /// As [`Intensity::resolve`].
    pub fn examine(self, volume: &Volume) -> Result<(IntensityMap, Option<SetAside>)> {
        self.examine_unless(volume, None)
    }

    /// As [`Intensity::examine`], until `cancel` is set.
    ///
    /// # Errors
    /// As [`Intensity::resolve`]; [`Error::Cancelled`].
    pub(crate) fn examine_unless(self, volume: &Volume, cancel: Cancel) -> Result<(IntensityMap, Option<SetAside>)> {
        let statistics = volume.statistics_unless(cancel)?;
        if !self.wants_all_values() {
            return Ok((self.of_range(volume, &statistics)?, None));
        }
        Intensity::check_finite(volume, &statistics)?;
        let error = |what: &str, expected: &str, found: String| Error::file(volume.path(), what, expected, found);
        let (slope, intercept) = volume.scaling();
        let mut set_aside = None;
        let map = match self {
            Intensity::Percentile => {
                let range = with_voxels!(volume.voxels(), values => percentiles_of(values, slope, intercept, cancel))?;
                let none = || error("voxel values", "some above 0 for percentile", "none".into());
                let [low, high] = range.ok_or_else(none)?;
                IntensityMap { rule: self, low, high }
            }
            _ => {
                let limits = with_voxels!(volume.voxels(), values => robust_of(values, slope, intercept, cancel))?;
                let ([low, high], aside) = limits.ok_or_else(|| error("voxel values", "some", "none".into()))?;
                set_aside = Some(aside);
                IntensityMap { rule: self, low, high }
            }
        };
        Ok((map, set_aside))
    }

    /// Whether the range of the values does not tell the rule's numbers.
    pub(super) fn wants_all_values(self) -> bool {
        matches!(self, Intensity::Percentile | Intensity::Robust)
    }

    /// As [`Intensity::examine`] for a rule that wants no more than the range of the values.
    pub(super) fn of_range(self, volume: &VolumeInfo, statistics: &Statistics) -> Result<IntensityMap> {
        Intensity::check_finite(volume, statistics)?;
        let error = |expected: &str, found: String| Error::file(volume.path(), "voxel values", expected, found);
        if self == Intensity::Raw && are_fractions_of(volume, statistics) {
            let found = format!("{} to {}, which become black", statistics.minimum, statistics.maximum);
            return Err(error("0 to 255 for raw (--intensity unit takes 0 to 1)", found));
        }
        self.resolve_range(statistics).map_err(|e| match e {
            Error::Argument { expected, found, .. } => error(&expected, found),
            other => other,
        })
    }

    fn check_finite(volume: &VolumeInfo, statistics: &Statistics) -> Result<()> {
        let Some(first) = statistics.first_not_finite else { return Ok(()) };
        let [x, y, z] = volume.voxel_of_value(first);
        let found = format!("{} NaN or infinite, the first at voxel ({x}, {y}, {z})", statistics.not_finite);
        Err(Error::file(
            volume.path(),
            "voxel values",
            "finite numbers, or a value to take for others (--nan VALUE)",
            found,
        ))
    }

    /// The rule's numbers where they do not depend on the values and the type in which those are stored rules out all
    /// that [`Intensity::resolve`] refuses; `None` where it takes a look at them.
    pub fn resolve_unseen(self, info: &VolumeInfo) -> Option<IntensityMap> {
        if matches!(self, Intensity::MinMax | Intensity::Robust) {
            return None;
        }
        let (slope, intercept) = info.scaling();
        let [one, other] = info.data_type().range()?.map(|value| slope * value + intercept);
        if !one.is_finite() || !other.is_finite() {
            return None;
        }
        let (minimum, maximum) = (one.min(other), one.max(other));
        self.resolve_range(&Statistics { minimum, maximum, not_finite: 0, first_not_finite: None }).ok()
    }
}

fn are_fractions_of(volume: &VolumeInfo, statistics: &Statistics) -> bool {
    volume.data_type().range().is_none() && are_fractions(statistics)
}

impl VolumeInfo {
    /// x, y, z of the value at `index` of the voxels, channels counted.
    fn voxel_of_value(&self, index: usize) -> [usize; 3] {
        let ([width, height, _], voxel) = (self.dims(), index / self.channels());
        [voxel % width, voxel / width % height, voxel / width / height]
    }
}

impl Volume {
    /// Whether slope and intercept leave stored 8-bit values as they are.
    pub(super) fn is_plain_u8(&self) -> bool {
        self.voxels().data_type() == DataType::U8 && self.scaling() == (1.0, 0.0)
    }
}
