//! The numbers of an [`Intensity`] for a volume.

use super::voxels::with_voxels;
use super::{Volume, VolumeInfo};
use crate::image::intensity::percentiles_of;
use crate::image::{DataType, Intensity, IntensityMap, Statistics, Voxel};
use crate::memory::reserve;
use crate::{Error, Result};

impl Intensity {
    /// The rule for a volume when none is asked for: raw for colour and for 8-bit pictures and arrays, else minmax.
    pub fn default_for(volume: &VolumeInfo) -> Self {
        if volume.channels() == 3 || volume.is_8_bit_picture() { Intensity::Raw } else { Intensity::MinMax }
    }

    /// The rule's numbers for `volume`, whose values must all be finite: a NaN has no grey level.
    ///
    /// # Errors
    /// [`Error::File`] for values that are not finite, naming how many and where the first is; for `raw` outside
    /// 0..255; for `percentile` without a value above 0.
    pub fn resolve(self, volume: &Volume) -> Result<IntensityMap> {
        let statistics = volume.statistics();
        let error = |what: &str, expected: &str, found: String| Error::file(volume.path(), what, expected, found);
        if let Some(first) = statistics.first_not_finite {
            let [x, y, z] = volume.voxel_of_value(first);
            let found = format!("{} NaN or infinite, the first at voxel ({x}, {y}, {z})", statistics.not_finite);
            return Err(error("voxel values", "finite numbers", found));
        }
        if self != Intensity::Percentile {
            return self.resolve_range(&statistics).map_err(|e| match e {
                Error::Argument { expected, found, .. } => error("voxel values", &expected, found),
                other => other,
            });
        }
        let (slope, intercept) = volume.scaling();
        let range = with_voxels!(volume.voxels(), values => percentiles(values, slope, intercept))?;
        let [low, high] = range.ok_or_else(|| error("voxel values", "some above 0 for percentile", "none".into()))?;
        Ok(IntensityMap { rule: self, low, high })
    }

    /// The rule's numbers where they do not depend on the values and the type in which those are stored rules out all that
    /// [`Intensity::resolve`] refuses; `None` where it takes a look at them.
    pub fn resolve_unseen(self, info: &VolumeInfo) -> Option<IntensityMap> {
        if self == Intensity::MinMax {
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

/// The two percentiles of the values above 0, interpolated linearly as NumPy does; `None` when no value is above 0.
/// They are found among the stored values, of which a value is a monotonic function.
fn percentiles<T: Voxel>(values: &[T], slope: f64, intercept: f64) -> Result<Option<[f64; 2]>> {
    let value = |v: T| slope * v.to_f64() + intercept;
    let count = values.iter().filter(|&&v| value(v) > 0.0).count();
    if count == 0 {
        return Ok(None);
    }
    let mut positive = reserve(count, "the percentiles")?;
    positive.extend(values.iter().copied().filter(|&v| value(v) > 0.0));
    Ok(percentiles_of(&mut positive, slope, intercept))
}

impl Volume {
    /// x, y, z of the value at `index` of the voxels, channels counted.
    fn voxel_of_value(&self, index: usize) -> [usize; 3] {
        let ([width, height, _], voxel) = (self.dims(), index / self.channels());
        [voxel % width, voxel / width % height, voxel / width / height]
    }

    /// Whether slope and intercept leave stored 8-bit values as they are.
    pub(super) fn is_plain_u8(&self) -> bool {
        self.voxels().data_type() == DataType::U8 && self.scaling() == (1.0, 0.0)
    }
}
