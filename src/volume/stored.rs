//! One slice of a volume, still as it is stored: grey levels are made of it where the network runs.

use super::{DataType, IntensityMap, SliceFrame, Volume};
use crate::Result;
use crate::image::Voxel;
use crate::image::voxels::with_voxels;

/// A slice of a volume and the rule by which it becomes grey levels.
#[derive(Clone, Copy)]
pub struct StoredSlice<'a> {
    volume: &'a Volume,
    frame: &'a SliceFrame,
    index: usize,
    map: &'a IntensityMap,
}

impl Volume {
    /// Slice `index` of `frame`, to be mapped by `map`.
    ///
    /// # Errors
    /// As [`Volume::slice_u8_in`].
    pub fn stored_slice<'a>(
        &'a self,
        frame: &'a SliceFrame,
        index: usize,
        map: &'a IntensityMap,
    ) -> Result<StoredSlice<'a>> {
        self.check_frame(frame, index)?;
        Ok(StoredSlice { volume: self, frame, index, map })
    }
}

impl StoredSlice<'_> {
    /// Rows, columns and channels.
    pub fn shape(&self) -> [usize; 3] {
        let (height, width) = self.frame.shape();
        [height, width, self.volume.channels()]
    }

    /// The stored type.
    pub fn data_type(&self) -> DataType {
        self.volume.voxels().data_type()
    }

    /// The rule, and slope and intercept of the values that it maps.
    pub fn mapping(&self) -> (&IntensityMap, (f64, f64)) {
        (self.map, self.volume.scaling())
    }

    /// The slice as grey levels `[h, w, channels]`; `out` is cleared and filled.
    ///
    /// # Errors
    /// Memory.
    pub fn levels(&self, out: &mut Vec<u8>) -> Result<()> {
        self.volume.slice_u8_in(self.frame, self.index, self.map, out)
    }

    /// Whether all pixels inside `region`, `[x0, y0, x1, y1]` of the slice, inclusive, or of the whole slice become one
    /// grey level.
    pub fn is_blank(&self, region: Option<[f64; 4]>) -> bool {
        let [height, width, channels] = self.shape();
        let last = [width, height].map(|length| length.saturating_sub(1));
        let [x0, y0, x1, y1] =
            region.unwrap_or([0.0, 0.0, last[0] as f64, last[1] as f64]).map(|at| at.max(0.0) as usize);
        let (start, row, column) = self.frame.steps(self.index);
        let (slope, intercept) = self.volume.scaling();
        let level = |y: usize, x: usize, channel: usize| {
            let at = start.wrapping_add_signed(row * y as isize).wrapping_add_signed(column * x as isize);
            let stored = self.volume.voxels().get(at * channels + channel).unwrap_or_default();
            self.map.level(slope * stored + intercept)
        };
        let first: Vec<u8> = (0..channels).map(|channel| level(y0.min(last[1]), x0.min(last[0]), channel)).collect();
        let alike = |y: usize, x: usize| (0..channels).all(|channel| level(y, x, channel) == first[channel]);
        (y0..=y1.min(last[1])).all(|y| (x0..=x1.min(last[0])).all(|x| alike(y, x)))
    }

    /// Copies the stored values to `out`, a row every `pitch` bytes; what lies behind a row is left as it is. `out` has
    /// room for all rows, and a row for its values.
    pub fn gather(&self, out: &mut [u8], pitch: usize) {
        with_voxels!(self.volume.voxels(), values => self.gather_from(values, out, pitch));
    }

    fn gather_from<T: Voxel>(&self, values: &[T], out: &mut [u8], pitch: usize) {
        let [height, width, channels] = self.shape();
        let (start, row, column) = self.frame.steps(self.index);
        let pixel = channels * size_of::<T>();
        for (y, line) in out.chunks_mut(pitch).take(height).enumerate() {
            let first = start.wrapping_add_signed(row * y as isize);
            let line = &mut line[..width * pixel];
            if column == 1 {
                line.copy_from_slice(bytemuck::cast_slice(&values[first * channels..(first + width) * channels]));
                continue;
            }
            for (x, target) in line.chunks_exact_mut(pixel).enumerate() {
                let at = first.wrapping_add_signed(column * x as isize) * channels;
                target.copy_from_slice(bytemuck::cast_slice(&values[at..at + channels]));
            }
        }
    }
}
