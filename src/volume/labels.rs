//! Labels slice by slice.

use super::slices::SliceFrame;
use crate::image::{LabelVolume, Labels, Runs};
use crate::memory::grow_to;
use crate::{Error, Result};

impl LabelVolume {
    /// The labels of slice `index` of `frame`, row by row; `out` is cleared and filled.
    ///
    /// # Errors
    /// [`Error::Argument`] when slice or frame do not fit; [`Error::Memory`].
    pub fn slice(&self, frame: &SliceFrame, index: usize, out: &mut Vec<u16>) -> Result<()> {
        let (height, width) = frame.shape();
        frame.check_index(index)?;
        self.check(frame, height * width)?;
        out.clear();
        grow_to(out, height * width, "a slice of the mask")?;
        out.extend(frame.pixels(index).filter_map(|pixel| self.get(pixel)));
        Ok(())
    }

    /// Gives `label` to the voxels of slice `index` of `frame` where `mask` `[h, w]` is true; others keep theirs.
    ///
    /// # Errors
    /// [`Error::Argument`] when slice, mask or label do not fit.
    pub fn paint(&mut self, frame: &SliceFrame, index: usize, mask: &[bool], label: u16) -> Result<()> {
        frame.check_index(index)?;
        self.check(frame, mask.len())?;
        let painted = frame.pixels(index).zip(mask).filter(|(_, inside)| **inside).map(|(pixel, _)| pixel);
        match &mut self.labels {
            Labels::U8(labels) => {
                let label = narrow(label)?;
                painted.for_each(|pixel| labels[pixel] = label);
            }
            Labels::U16(labels) => painted.for_each(|pixel| labels[pixel] = label),
        }
        Ok(())
    }

    /// As [`LabelVolume::paint`], of a mask as runs of pixels.
    ///
    /// # Errors
    /// As [`LabelVolume::paint`].
    pub fn paint_runs(&mut self, frame: &SliceFrame, index: usize, mask: &Runs, label: u16) -> Result<()> {
        frame.check_index(index)?;
        let (height, width) = frame.shape();
        let end = mask.ranges().last().map_or(0, |run| run.end);
        self.check(frame, end.max(height * width))?;
        let rows = mask.ranges().flat_map(|run| {
            let ends = move |row: usize| run.start.max(row * width)..run.end.min((row + 1) * width);
            (run.start / width..run.end.div_ceil(width)).map(ends)
        });
        match &mut self.labels {
            Labels::U8(labels) => {
                let label = narrow(label)?;
                rows.for_each(|run| frame.fill(labels, index, run, label));
            }
            Labels::U16(labels) => rows.for_each(|run| frame.fill(labels, index, run, label)),
        }
        Ok(())
    }

    /// Whether `frame` cuts this grid into slices of so many `pixels`.
    fn check(&self, frame: &SliceFrame, pixels: usize) -> Result<()> {
        let (height, width) = frame.shape();
        if frame.is_of(self.dims()) && pixels == height * width {
            return Ok(());
        }
        let (expected, found) =
            (format!("a slice of a grid of {:?}", self.dims()), format!("{height} x {width}, {pixels} pixels"));
        Err(Error::Argument { name: "mask", expected, found })
    }
}

fn narrow(label: u16) -> Result<u8> {
    let (expected, found) = ("at most 255, as the mask was made".into(), label.to_string());
    u8::try_from(label).map_err(|_| Error::Argument { name: "label", expected, found })
}
