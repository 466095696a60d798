//! Labels on the grid of a volume.

use super::slices::SliceFrame;
use crate::memory::zeros;
use crate::{Error, Result};

/// One label a voxel, x fastest: a byte each while labels fit.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Labels up to 255.
    U8(Vec<u8>),
    /// Labels up to 65535.
    U16(Vec<u16>),
}

/// A label for every voxel of a grid; 0 is background.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelVolume {
    dims: [usize; 3],
    labels: Labels,
}

impl LabelVolume {
    /// Background everywhere, with room for labels up to `highest`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(dims: [usize; 3], highest: u16) -> Result<Self> {
        let too_large = || Error::Memory { what: "the mask".into(), bytes: u64::MAX };
        let count = dims.iter().try_fold(1_usize, |all, &n| all.checked_mul(n)).ok_or_else(too_large)?;
        let labels = match highest {
            ..=255 => Labels::U8(zeros(count, "the mask")?),
            _ => Labels::U16(zeros(count, "the mask")?),
        };
        Ok(LabelVolume { dims, labels })
    }

    /// Voxels along x, y, z.
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The label at voxel `index` (x fastest), or `None` past the end.
    pub fn get(&self, index: usize) -> Option<u16> {
        match &self.labels {
            Labels::U8(labels) => labels.get(index).map(|&l| l.into()),
            Labels::U16(labels) => labels.get(index).copied(),
        }
    }

    /// Gives `label` to the voxels of slice `index` of `frame` where `mask` `[h, w]` is true; others keep theirs.
    ///
    /// # Errors
    /// [`Error::Argument`] when slice, mask or label do not fit.
    pub fn paint(&mut self, frame: &SliceFrame, index: usize, mask: &[bool], label: u16) -> Result<()> {
        frame.check_index(index)?;
        let (height, width) = frame.shape();
        let error = |name, expected: String, found: String| Err(Error::Argument { name, expected, found });
        if !frame.is_of(self.dims) || mask.len() != height * width {
            let expected = format!("a slice of a grid of {:?}", self.dims);
            return error("mask", expected, format!("{height} x {width}, {} pixels", mask.len()));
        }
        let painted = frame.pixels(index).zip(mask).filter(|(_, inside)| **inside).map(|(pixel, _)| pixel);
        match &mut self.labels {
            Labels::U8(labels) => match u8::try_from(label) {
                Ok(label) => painted.for_each(|pixel| labels[pixel] = label),
                Err(_) => return error("label", "at most 255, as the mask was made".into(), label.to_string()),
            },
            Labels::U16(labels) => painted.for_each(|pixel| labels[pixel] = label),
        }
        Ok(())
    }
}
