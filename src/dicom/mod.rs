//! DICOM series in: files, folders and zip archives as volumes of slices; segmentations and structure sets that belong
//! to them in and out.
//!
//! Positions, orientations and spacings are DICOM's own (millimetres, x to the Left, y Posterior, z Superior) until a
//! volume is made of them, whose affine is RAS as everywhere else in this library.

mod anatomy;
mod bits;
pub mod codec;
mod contour;
mod data_set;
mod dose;
mod frames;
mod input;
mod instance;
mod list;
mod mask_list;
mod oddities;
mod on_grid;
mod parse;
mod pixels;
mod real_world;
mod rtstruct_reader;
mod rtstruct_writer;
mod samples;
mod seg_reader;
mod seg_writer;
mod segmentation;
mod series;
mod stack;
mod study;
mod tags;
mod value_map;
mod write;

pub use list::{ListedSeries, ListedVolume, Listing, list};
pub use mask_list::{MaskListing, list_masks};
pub use segmentation::ListedTarget;
pub use series::{is_collection, is_input};
pub use stack::Oddity;

pub(crate) use on_grid::OnGrid;
pub(crate) use pixels::Slices;
pub(crate) use rtstruct_reader::{VoxelGrid, read_structures};
pub(crate) use rtstruct_writer::write_structures;
pub(crate) use seg_reader::read_segmentation;
pub(crate) use seg_writer::{SegForm, Segmentation, check_count};
pub(crate) use segmentation::is_segmentation;
pub(crate) use series::{Chosen, MaskObject, Wanted, mask_object, open};
pub(crate) use stack::Grid;
pub(crate) use study::{Source, Study, new_uid};

/// What the tags say of one frame: a codec's answer has to be like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameShape {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Samples of a pixel: 1 or 3.
    pub samples: usize,
    /// Bits of a stored sample: 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits of it that count, at most `bits_allocated`.
    pub bits_stored: u16,
    /// Whether samples are in two's complement.
    pub signed: bool,
    /// Whether the tags say that samples lie plane by plane instead of pixel by pixel.
    pub planar: bool,
}

impl FrameShape {
    /// Samples of the frame, or `None` where they cannot be counted.
    pub fn values(&self) -> Option<usize> {
        self.rows.checked_mul(self.columns)?.checked_mul(self.samples)
    }

    /// A 16-bit word as a number of the frame's sign, whatever representation it came in.
    fn number(&self, value: f64) -> f64 {
        let bits = value as i64 as u16;
        if self.signed { f64::from(bits as i16) } else { f64::from(bits) }
    }

    /// Bytes of the frame in native encoding; of one bit a sample the last byte may be filled up.
    pub fn bytes(&self) -> Option<usize> {
        Some(self.values()?.checked_mul(self.bits_allocated.into())?.div_ceil(8))
    }
}
