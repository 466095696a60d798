//! Slices of a volume as the network sees them, and back.

use std::ops::Range;
use std::str::FromStr;

use super::{Intensity, IntensityMap, Volume, VolumeInfo};
use crate::codes::Code;
use crate::image::Voxel;
use crate::image::voxels::{Voxels, with_voxels};
use crate::{Error, Result};

/// How slices lie before the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orientation {
    /// As stored: column = the lower of the two axes in the slice, row = the other.
    #[default]
    Stored,
    /// As in the volume re-ordered to Right, Anterior, Superior by permuting and flipping its axes: columns run along
    /// the lower of the slice's two patient axes, rows along the other, both towards R, A or S.
    Ras,
}

impl FromStr for Orientation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_lowercase().as_str() {
            "stored" => Ok(Orientation::Stored),
            "ras" => Ok(Orientation::Ras),
            _ => Err(Error::Argument { name: "orient", expected: "stored or ras".into(), found: format!("'{text}'") }),
        }
    }
}

/// How the slices across one axis are cut out of a volume. Only permutations and flips: every pixel of a slice is a
/// voxel of the stored grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFrame {
    dims: [usize; 3],
    axis: usize,
    column: InPlane,
    row: InPlane,
}

/// A stored axis that lies in the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InPlane {
    axis: usize,
    reversed: bool,
}

impl SliceFrame {
    /// Slices across stored axis `axis` of a grid of `dims`, as stored.
    fn stored(dims: [usize; 3], axis: usize) -> Self {
        let (column, row) = [(1, 2), (0, 2), (0, 1)][axis];
        let in_plane = |axis| InPlane { axis, reversed: false };
        SliceFrame { dims, axis, column: in_plane(column), row: in_plane(row) }
    }

    /// The stored axis that the slices lie across: 0, 1, 2 for x, y, z. Slices are numbered along it as stored.
    pub fn axis(&self) -> usize {
        self.axis
    }

    /// The stored axes that columns and rows run along.
    pub fn plane(&self) -> [usize; 2] {
        [self.column.axis, self.row.axis]
    }

    /// How many slices there are.
    pub fn slices(&self) -> usize {
        self.dims[self.axis]
    }

    /// Rows and columns of a slice.
    pub fn shape(&self) -> (usize, usize) {
        (self.dims[self.row.axis], self.dims[self.column.axis])
    }

    /// A box `[x0, y0, x1, y1]` of inclusive stored indices, x the lower axis in the slice, as columns and rows of it.
    pub fn to_slice(&self, stored: [f64; 4]) -> [f64; 4] {
        let swapped = self.column.axis > self.row.axis;
        let [x0, y0, x1, y1] = stored;
        let (columns, rows) = if swapped { ([y0, y1], [x0, x1]) } else { ([x0, x1], [y0, y1]) };
        let (columns, rows) = (self.flip(self.column, columns), self.flip(self.row, rows));
        [columns[0], rows[0], columns[1], rows[1]]
    }

    /// The reverse of [`SliceFrame::to_slice`].
    pub fn to_stored(&self, slice: [f64; 4]) -> [f64; 4] {
        let [x0, y0, x1, y1] = slice;
        let (columns, rows) = (self.flip(self.column, [x0, x1]), self.flip(self.row, [y0, y1]));
        let swapped = self.column.axis > self.row.axis;
        let (x, y) = if swapped { (rows, columns) } else { (columns, rows) };
        [x[0], y[0], x[1], y[1]]
    }

    fn flip(&self, along: InPlane, [low, high]: [f64; 2]) -> [f64; 2] {
        let last = self.dims[along.axis] as f64 - 1.0;
        if along.reversed { [last - high, last - low] } else { [low, high] }
    }

    /// Index of the first pixel of slice `index` among the voxels, and the steps to the next row and column.
    pub(super) fn steps(&self, index: usize) -> (usize, isize, isize) {
        let strides = [1, self.dims[0], self.dims[0] * self.dims[1]];
        let mut start = index * strides[self.axis];
        let mut step = |along: InPlane| {
            let stride = strides[along.axis];
            if along.reversed {
                start += stride * (self.dims[along.axis] - 1);
                -(stride as isize)
            } else {
                stride as isize
            }
        };
        let (row, column) = (step(self.row), step(self.column));
        (start, row, column)
    }

    /// Indices among the voxels of the pixels of slice `index`, row by row.
    pub(super) fn pixels(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let ((rows, columns), (start, row, column)) = (self.shape(), self.steps(index));
        (0..rows).flat_map(move |r| {
            let first = start.wrapping_add_signed(row * r as isize);
            (0..columns).map(move |c| first.wrapping_add_signed(column * c as isize))
        })
    }

    /// Gives `value` to the voxels of pixels `run`, which are in one row, of slice `index`.
    pub(super) fn fill<T: Copy>(&self, voxels: &mut [T], index: usize, run: Range<usize>, value: T) {
        let ((_, width), (start, row, column)) = (self.shape(), self.steps(index));
        let (down, along) = ((run.start / width) as isize, (run.start % width) as isize);
        let first = start.wrapping_add_signed(row * down + column * along);
        if column == 1 {
            return voxels[first..first + run.len()].fill(value);
        }
        (0..run.len()).for_each(|c| voxels[first.wrapping_add_signed(column * c as isize)] = value);
    }

    /// The same cut through a slab of so many `planes`, which lie across its axis.
    pub(super) fn of_planes(&self, planes: usize) -> Self {
        let mut dims = self.dims;
        dims[self.axis] = planes;
        SliceFrame { dims, ..*self }
    }

    /// Whether it cuts a grid of `dims`.
    pub(super) fn is_of(&self, dims: [usize; 3]) -> bool {
        self.dims == dims
    }

    pub(super) fn check_index(&self, index: usize) -> Result<()> {
        if index < self.slices() {
            return Ok(());
        }
        Err(Error::Argument {
            name: "slice",
            expected: format!("0 to {}", self.slices() - 1),
            found: index.to_string(),
        })
    }
}

impl VolumeInfo {
    /// The axis that slices lie across unless another is asked for: z.
    pub fn default_axis(&self) -> usize {
        2
    }

    /// How slices across `axis` (0, 1, 2 for i, j, k of the stored array) are cut out. `orientation` turns only the
    /// picture: axis, slice numbers and boxes stay those of the stored array.
    ///
    /// # Errors
    /// [`Error::Argument`] for an axis above 2; [`Error::File`] when `Ras` is asked of a file without a geometry.
    pub fn frame(&self, axis: usize, orientation: Orientation) -> Result<SliceFrame> {
        if axis > 2 {
            return Err(Error::Argument { name: "axis", expected: "0, 1 or 2".into(), found: axis.to_string() });
        }
        let stored = SliceFrame::stored(self.dims(), axis);
        if orientation == Orientation::Stored {
            return Ok(stored);
        }
        let geometry = self.geometry().ok_or_else(|| {
            Error::file(
                self.path(),
                "orientation",
                "a place in the patient for 'ras'",
                "a picture or array, which has none",
            )
        })?;
        let axes = geometry.axes();
        let mut plane = [stored.column.axis, stored.row.axis];
        plane.sort_unstable_by_key(|&axis| axes[axis].0);
        let [column, row] = plane.map(|axis| InPlane { axis, reversed: axes[axis].1 });
        Ok(SliceFrame { column, row, ..stored })
    }

    /// Where columns and rows of slices run to in the patient, most nearly: `LP` to left and posterior. `None` where
    /// the image does not say how it lies.
    pub fn view(&self, frame: &SliceFrame) -> Option<String> {
        let is_guess = self.warnings().iter().any(|warning| warning.code == Code::NoOrientation);
        let axes = self.geometry().filter(|_| !is_guess)?.axes();
        let towards = |along: InPlane| {
            let (patient, reversed) = axes[along.axis];
            [['R', 'L'], ['A', 'P'], ['S', 'I']][patient][usize::from(reversed != along.reversed)]
        };
        Some([towards(frame.column), towards(frame.row)].iter().collect())
    }

    /// Rows and columns of a stored slice across `axis`, which is at most 2.
    pub fn slice_shape(&self, axis: usize) -> (usize, usize) {
        SliceFrame::stored(self.dims(), axis.min(2)).shape()
    }
}

impl Volume {
    /// Slice `index` across stored axis `axis` as grey levels `[h, w, channels]`; `out` is cleared and filled.
    ///
    /// # Errors
    /// [`Error::Argument`] for an axis or index that the volume does not have.
    pub fn slice_u8(&self, axis: usize, index: usize, map: &IntensityMap, out: &mut Vec<u8>) -> Result<()> {
        self.slice_u8_in(&self.frame(axis, Orientation::Stored)?, index, map, out)
    }

    /// Slice `index` of `frame` as grey levels `[h, w, channels]`; `out` is cleared and filled.
    ///
    /// # Errors
    /// [`Error::Argument`] for an index that the volume does not have or a frame of another volume.
    pub fn slice_u8_in(&self, frame: &SliceFrame, index: usize, map: &IntensityMap, out: &mut Vec<u8>) -> Result<()> {
        self.check_frame(frame, index)?;
        let (height, width) = frame.shape();
        let size = height * width * self.channels();
        out.clear();
        out.try_reserve_exact(size).map_err(|_| Error::Memory { what: "a slice".into(), bytes: size as u64 })?;
        match self.voxels() {
            Voxels::U8(values) if map.rule == Intensity::Raw && self.is_plain_u8() => {
                self.each_value(frame, index, values, |v| out.push(v));
            }
            voxels => {
                let (slope, intercept) = self.scaling();
                with_voxels!(voxels, values => self.each_value(frame, index, values, |v| {
                    out.push(map.level(slope * v.to_f64() + intercept));
                }));
            }
        }
        Ok(())
    }

    /// Slice `index` of `frame` as values, slope and intercept applied; `out` is cleared and filled.
    ///
    /// # Errors
    /// As [`Volume::slice_u8_in`].
    pub fn slice_values(&self, frame: &SliceFrame, index: usize, out: &mut Vec<f64>) -> Result<()> {
        self.check_frame(frame, index)?;
        let (height, width) = frame.shape();
        let size = height * width * self.channels();
        out.clear();
        out.try_reserve_exact(size).map_err(|_| Error::Memory { what: "a slice".into(), bytes: size as u64 * 8 })?;
        let (slope, intercept) = self.scaling();
        with_voxels!(self.voxels(), values => self.each_value(frame, index, values, |v| {
            out.push(slope * v.to_f64() + intercept);
        }));
        Ok(())
    }

    fn each_value<T: Voxel>(&self, frame: &SliceFrame, index: usize, values: &[T], mut take: impl FnMut(T)) {
        let channels = self.channels();
        for pixel in frame.pixels(index) {
            values[pixel * channels..(pixel + 1) * channels].iter().for_each(|&v| take(v));
        }
    }

    pub(super) fn check_frame(&self, frame: &SliceFrame, index: usize) -> Result<()> {
        if !frame.is_of(self.dims()) {
            let (expected, found) = (format!("dims {:?}", self.dims()), format!("{:?}", frame.dims));
            return Err(Error::Argument { name: "frame", expected, found });
        }
        frame.check_index(index)
    }
}
