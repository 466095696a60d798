//! A mask seen on the grid of a DICOM volume.

use std::borrow::Cow;

use crate::image::{LabelVolume, Labels};

/// Labels of the voxels of a volume of `dims`, whose first voxel is `start` in the mask and whose neighbours along
/// columns, rows and slices are `steps` apart in it.
pub struct OnGrid<'a> {
    pub mask: &'a LabelVolume,
    pub dims: [usize; 3],
    pub start: usize,
    pub steps: [isize; 3],
}

/// The labels of a slice, columns first.
pub enum Plane<'a> {
    U8(Cow<'a, [u8]>),
    U16(Cow<'a, [u16]>),
}

impl<'a> OnGrid<'a> {
    /// The labels of slice `k`.
    pub fn plane(&self, k: usize) -> Plane<'a> {
        match self.mask.labels() {
            Labels::U8(labels) => Plane::U8(self.cut(labels, k)),
            Labels::U16(labels) => Plane::U16(self.cut(labels, k)),
        }
    }

    fn cut<T: Copy + Default>(&self, labels: &'a [T], k: usize) -> Cow<'a, [T]> {
        let [columns, rows, _] = self.dims;
        let [step, row_step, slice_step] = self.steps;
        let start = self.start as isize + k as isize * slice_step;
        if step == 1 && row_step == columns as isize {
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            if let Some(plane) = labels.get(start..start.saturating_add(columns * rows)) {
                return Cow::Borrowed(plane);
            }
        }
        let at = |index: isize| usize::try_from(index).ok().and_then(|i| labels.get(i)).copied().unwrap_or_default();
        let row = |j: usize| (0..columns).map(move |i| start + j as isize * row_step + i as isize * step);
        Cow::Owned((0..rows).flat_map(row).map(at).collect())
    }
}

impl Plane<'_> {
    /// Calls `see` with each run's label; the same label may come again.
    pub fn each_run(&self, mut see: impl FnMut(u16)) {
        let mut last = None;
        let mut next = |label: u16| {
            if last != Some(label) {
                last = Some(label);
                see(label);
            }
        };
        match self {
            Plane::U8(labels) => labels.iter().for_each(|&label| next(label.into())),
            Plane::U16(labels) => labels.iter().for_each(|&label| next(label)),
        }
    }
}
