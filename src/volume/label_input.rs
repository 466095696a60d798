//! Label maps in: a volume of numbers as labels.

use super::voxels::with_voxels;
use super::{LabelVolume, Volume, Voxel};
use crate::{Error, Result};

/// How far a value may be from a whole number before it counts as none: further than what is left of a mask that was saved with an
/// image's slope.
const ROUNDING: f64 = 1e-3;

impl LabelVolume {
    /// The labels that `volume` holds, each value taken as the nearest whole number, and how many were none.
    ///
    /// # Errors
    /// [`Error::File`] for colour, and for values that are no number from 0 to 65535; [`Error::Memory`].
    pub fn from_volume(volume: &Volume) -> Result<(LabelVolume, u64)> {
        if volume.channels() != 1 {
            let found = format!("{} channels", volume.channels());
            return Err(Error::file(volume.path(), "label map", "one label a voxel", found));
        }
        let (slope, intercept) = volume.scaling();
        with_voxels!(volume.voxels(), values => from_values(volume, values, slope, intercept))
    }
}

fn from_values<T: Voxel>(volume: &Volume, values: &[T], slope: f64, intercept: f64) -> Result<(LabelVolume, u64)> {
    let value = |v: &T| slope * v.to_f64() + intercept;
    let (mut highest, mut odd) = (0_u16, 0_u64);
    for (index, value) in values.iter().map(value).enumerate() {
        let label = value.round();
        if !(0.0..=65535.0).contains(&label) {
            let place = format!("label of voxel {index}");
            return Err(Error::file(volume.path(), place, "a number from 0 to 65535", value));
        }
        highest = highest.max(label as u16);
        odd += u64::from((value - label).abs() > ROUNDING);
    }
    let mut labels = LabelVolume::new(volume.dims(), highest)?;
    labels.fill_with(values.iter().map(|v| value(v).round() as u16));
    Ok((labels, odd))
}
