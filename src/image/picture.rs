//! How slices become the model's pictures, for whichever device makes them.

use super::area::AreaResizer;
use super::resample::Resizer;
use super::{DataType, Intensity, IntensityMap};
use crate::error::Result;

/// How the pixels of slices become those of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Bilinear, antialiased where it shrinks.
    Bilinear,
    /// Means over areas, rounded to bytes.
    Area,
}

/// How stored values become grey levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levels {
    pub data_type: DataType,
    pub map: IntensityMap,
    /// Slope and intercept of the values that the map takes.
    pub scaling: (f64, f64),
}

impl Levels {
    /// 8-bit values that are levels.
    pub const AS_THEY_ARE: Levels = Levels {
        data_type: DataType::U8,
        map: IntensityMap { rule: Intensity::Raw, low: 0.0, high: 255.0 },
        scaling: (1.0, 0.0),
    };
}

/// All that decides how slices become pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preprocessing {
    /// Rows and columns of a slice.
    pub slice: [usize; 2],
    pub channels: usize,
    pub levels: Levels,
    /// Rows and columns of the picture that a slice fills.
    pub valid: [usize; 2],
    /// Side of the picture.
    pub side: usize,
    pub filter: Filter,
    /// Whether the encoder scales pictures by their own range.
    pub by_range: bool,
}

impl Preprocessing {
    pub fn resizer(&self) -> Result<PictureResizer> {
        Ok(match self.filter {
            Filter::Bilinear => PictureResizer::Bilinear(Resizer::new(self.slice, self.valid, self.channels)?),
            Filter::Area => PictureResizer::Area(AreaResizer::new(self.slice, self.valid, self.channels)?),
        })
    }

    /// Whether it is `other`, or the same for more channels.
    pub fn has_room_for(&self, other: &Preprocessing) -> bool {
        self.channels >= other.channels && Preprocessing { channels: other.channels, ..*self } == *other
    }
}

/// From grey levels to the model's picture.
pub(crate) enum PictureResizer {
    Bilinear(Resizer),
    Area(AreaResizer),
}

impl PictureResizer {
    /// As [`Resizer::picture`].
    pub fn picture(&mut self, levels: &[u8], channels: usize, target: &mut [u8], target_width: usize) -> Result<()> {
        match self {
            PictureResizer::Bilinear(resizer) => resizer.picture(levels, channels, target, target_width),
            PictureResizer::Area(resizer) => resizer.picture(levels, channels, target, target_width),
        }
    }
}

/// The pixels of a slice.
pub(crate) trait Pixels {
    fn channels(&self) -> usize;

    /// Grey levels or colour `[h, w, channels]`, in `room` where they have to be made.
    fn levels<'a>(&'a self, room: &'a mut Vec<u8>) -> Result<&'a [u8]>;

    /// Copies the values as they are stored to `rows`, a row every `pitch` bytes; what lies behind a row is left as it
    /// is.
    fn gather(&self, rows: &mut [u8], pitch: usize);
}

/// Copies rows of `width` bytes to `rows`, one every `pitch` bytes.
pub(crate) fn copy_rows(pixels: &[u8], width: usize, rows: &mut [u8], pitch: usize) {
    let lines = rows.chunks_exact_mut(pitch).zip(pixels.chunks_exact(width));
    lines.for_each(|(to, from)| to[..width].copy_from_slice(from));
}
