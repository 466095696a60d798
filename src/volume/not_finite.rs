//! Values that are no numbers, which the user may have replaced.

use super::{Volume, Voxel, Voxels};
use crate::codes::{Code, Warning};
use crate::image::pass::{Cancel, pass_mut};
use crate::{Error, Result};

impl Volume {
    /// Puts `value` in the place of all values that are NaN or infinite, and adds to the warnings how many those were.
    /// Returns their number.
    ///
    /// # Errors
    /// [`Error::Argument`] for a value that the stored type cannot hold as a finite number.
    pub fn replace_not_finite(&mut self, value: f64) -> Result<u64> {
        self.replace_not_finite_unless(value, None)
    }

    /// As [`Volume::replace_not_finite`], until `cancel` is set.
    ///
    /// # Errors
    /// As [`Volume::replace_not_finite`]; [`Error::Cancelled`].
    pub(crate) fn replace_not_finite_unless(&mut self, value: f64, cancel: Cancel) -> Result<u64> {
        let (slope, intercept) = self.scaling();
        let stored = (value - intercept) / slope;
        let wrong = || Error::Argument {
            name: "nan",
            expected: format!("a finite number that {:?} can hold", self.info.data_type),
            found: value.to_string(),
        };
        let scaled = |stored: f64| slope * stored + intercept;
        let [nan, infinite] = match &mut self.voxels {
            Voxels::F32(_) if !(stored as f32).is_finite() => return Err(wrong()),
            Voxels::F64(_) if !stored.is_finite() => return Err(wrong()),
            Voxels::F32(values) => replace(values, stored as f32, scaled, cancel)?,
            Voxels::F64(values) => replace(values, stored, scaled, cancel)?,
            _ => return Ok(0),
        };
        if nan + infinite > 0 {
            let message = format!("{nan} values are NaN and {infinite} infinite: taken as {value}");
            self.info.warnings.push(Warning::new(Code::NanReplaced, message));
        }
        Ok(nan + infinite)
    }
}

/// How many values were NaN, and how many infinite.
fn replace<T: Voxel>(values: &mut [T], with: T, scaled: impl Fn(f64) -> f64, cancel: Cancel) -> Result<[u64; 2]> {
    let mut counts = [0; 2];
    pass_mut(values, cancel, |piece| {
        for value in piece {
            let found = scaled(value.to_f64());
            if !found.is_finite() {
                counts[usize::from(!found.is_nan())] += 1;
                *value = with;
            }
        }
    })?;
    Ok(counts)
}
