//! Label maps in: a volume of numbers as labels.

use super::info::Container;
use super::{LabelVolume, Volume, Voxel, Voxels};
use crate::image::voxels::with_voxels;
use crate::{Error, Result};

/// How far a value may be from a whole number before it counts as none: further than what is left of a mask that was
/// saved with an image's slope.
const ROUNDING: f64 = 1e-3;

impl LabelVolume {
    /// The labels that `volume` holds, each value taken as the nearest whole number, and how many were none. A PNG
    /// whose only values are 0 and 255 is a mask that is to be seen: 255 is label 1.
    ///
    /// # Errors
    /// [`Error::File`] for colour, and for values that are no number from 0 to 65535; [`Error::Memory`].
    pub fn from_volume(volume: &Volume) -> Result<(LabelVolume, u64)> {
        one_channel(volume)?;
        let (slope, intercept) = volume.scaling();
        let (labels, odd) = with_voxels!(volume.voxels(), values => from_values(volume, values, slope, intercept))?;
        let shown = matches!(volume.container, Container::Png) && is_black_and_white(volume.voxels());
        Ok((if shown { labels.binary() } else { labels }, odd))
    }

    /// One label, 1, where the whole number nearest to a value of `volume` is not 0, and how many values were none.
    ///
    /// # Errors
    /// [`Error::File`] for colour, and for values that are no numbers; [`Error::Memory`].
    pub fn binary_from_volume(volume: &Volume) -> Result<(LabelVolume, u64)> {
        one_channel(volume)?;
        let (slope, intercept) = volume.scaling();
        with_voxels!(volume.voxels(), values => not_zero(volume, values, slope, intercept))
    }
}

fn not_zero<T: Voxel>(volume: &Volume, values: &[T], slope: f64, intercept: f64) -> Result<(LabelVolume, u64)> {
    let value = |v: &T| slope * v.to_f64() + intercept;
    if let Some(index) = values.iter().position(|v| value(v).is_nan()) {
        return Err(Error::file(volume.path(), format!("voxel {index}"), "a number", "NaN"));
    }
    let odd = values.iter().map(value).filter(|value| (value - value.round()).abs() > ROUNDING).count();
    let mut labels = LabelVolume::new(volume.dims(), 1)?;
    labels.fill_with(values.iter().map(|v| u16::from(value(v).round() != 0.0)));
    Ok((labels, odd as u64))
}

fn one_channel(volume: &Volume) -> Result<()> {
    if volume.channels() == 1 {
        return Ok(());
    }
    let found = "colour: paint labels as grey levels or as the indices of a palette";
    Err(Error::file(volume.path(), "label map", "one label a voxel", found))
}

fn is_black_and_white(voxels: &Voxels) -> bool {
    matches!(voxels, Voxels::U8(values) if values.contains(&255) && values.iter().all(|value| matches!(value, 0 | 255)))
}

impl Volume {
    /// How many values lie between whole numbers, as those of a soft mask do.
    pub fn between_whole_numbers(&self) -> u64 {
        let (slope, intercept) = self.scaling();
        let is_odd = |value: f64| (value - value.round()).abs() > ROUNDING;
        with_voxels!(self.voxels(), values => values.iter().filter(|v| is_odd(slope * v.to_f64() + intercept)).count() as u64)
    }

    /// The value that stands for `label`: in a PNG whose only values are 0 and 255 that of label 1 is 255, as
    /// [`LabelVolume::from_volume`] takes it.
    pub(crate) fn value_of_label(&self, label: u32) -> u32 {
        let shown = label == 1 && matches!(self.container, Container::Png) && is_black_and_white(self.voxels());
        if shown { 255 } else { label }
    }

    /// Of three channels that are alike in every voxel one; others stay as they are.
    pub(super) fn one_of_alike_channels(&mut self) {
        macro_rules! one {
            ($($variant:ident)*) => {
                match &mut self.voxels {
                    $(Voxels::$variant(values) => thinned(values),)*
                }
            };
        }
        if self.info.channels == 3 && one!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64) {
            self.info.channels = 1;
        }
    }
}

/// Keeps the first of each three values where all three are the same everywhere.
fn thinned<T: Voxel>(values: &mut Vec<T>) -> bool {
    let alike = values.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    if alike {
        let mut at = 0;
        values.retain(|_| {
            at += 1;
            at % 3 == 1
        });
    }
    alike
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
