//! One label on one slice of a volume of labels.

use super::{SliceFrame, Volume};
use crate::Result;
use crate::memory::reserve;

impl Volume {
    /// Where slice `index` of `frame` has `label`, `[height, width]`: 1 there, 0 elsewhere. Of a value between whole
    /// numbers the nearest one counts.
    ///
    /// # Errors
    /// As [`Volume::stored_slice`]; memory.
    pub fn label_slice(&self, frame: &SliceFrame, index: usize, label: u16) -> Result<Vec<u8>> {
        self.check_frame(frame, index)?;
        let (height, width) = frame.shape();
        let (start, row, column) = frame.steps(index);
        let ((slope, intercept), label) = (self.scaling(), f64::from(self.value_of_label(label.into())));
        let mut inside = reserve(height * width, "a slice's label")?;
        for y in 0..height {
            let first = start.wrapping_add_signed(row * y as isize);
            inside.extend((0..width).map(|x| {
                let at = first.wrapping_add_signed(column * x as isize) * self.channels();
                u8::from(self.voxels().get(at).is_some_and(|value| (slope * value + intercept).round() == label))
            }));
        }
        Ok(inside)
    }
}
