//! Images in, masks out: NIfTI, NRRD, MetaImage, NumPy arrays and PNG pictures as volumes of slices.
//!
//! Axes are those of the stored array: x, y, z are NIfTI's i, j, k; an array of NumPy is `[z, y, x]`; a picture has one
//! slice. Files are told apart by their first bytes, never by their names.
//!
//! ```
//! use medsegx::volume::{LabelVolume, Labels, Orientation, Volume, Voxels};
//!
//! # fn main() -> medsegx::Result<()> {
//! let voxels = Voxels::I16((0..4 * 3 * 2).map(|at| 10 * at - 100).collect());
//! let volume = Volume::from_voxels("made here", [4, 3, 2], 1, voxels)?.scaled(1.0, -24.0)?;
//! let slices = volume.frame(2, Orientation::Stored)?;
//! assert_eq!((slices.slices(), slices.shape()), (2, (3, 4)));
//!
//! let mut mask = LabelVolume::new(volume.dims(), 1)?;
//! mask.paint(&slices, 1, &[true; 12], 1)?;
//! assert_eq!(mask.counts()[1], 12);
//! assert!(matches!(mask.labels(), Labels::U8(_)));
//! # Ok(())
//! # }
//! ```

mod arriving;
mod body;
mod describe;
#[cfg(feature = "dicom")]
mod dicom;
#[cfg(feature = "dicom")]
mod dicom_mask;
mod geometry;
mod grid;
mod incoming;
mod info;
mod intensity;
mod label_input;
mod label_names;
#[cfg(feature = "dicom")]
mod label_objects;
mod label_slice;
mod labels;
mod lent;
mod levels;
mod mask_bytes;
mod mask_stream;
pub mod mask_writer;
mod metaimage;
mod nifti;
mod not_finite;
pub mod npy;
mod npz;
mod nrrd;
mod opening;
mod options;
mod png;
mod raster;
mod raster_writer;
mod slices;
mod source;
mod stored;
mod turned;
mod untilt;

use std::ops::Deref;
use std::path::Path;

pub use arriving::{Arriving, SliceSource};
pub use describe::{Description, GeometryDescription, describe, describe_chosen};
#[cfg(feature = "dicom")]
pub use dicom_mask::{DicomMask, DicomOptions, is_dicom_name, is_rtstruct_name};
pub use geometry::{Affine, AffineSource, Geometry};
pub use grid::{check_grid, other_grid};
pub use incoming::{Image, Incoming};
pub use info::{ValueScale, VolumeInfo};
pub use lent::{Lender, Lent};
#[cfg(feature = "capi")]
pub(crate) use levels::LevelCounts;
pub use mask_stream::MaskStream;
pub use opening::{Opening, Reading};
pub use options::{Form, OpenOptions, SeriesChoice};
pub use slices::{Orientation, SliceFrame};
pub use stored::StoredSlice;

use crate::image::pass::{Cancel, pass};
use crate::image::voxels::with_voxels;
pub use crate::image::{
    DataType, Intensity, IntensityMap, LabelTable, LabelVolume, Labels, Legend, Segment, SetAside, Statistics, Voxel,
    Voxels,
};
use crate::{Error, Result};
use info::Container;

/// An image of one or more slices, its voxels as the file stores them.
pub struct Volume {
    info: VolumeInfo,
    voxels: Voxels,
}

/// What is known of it without its voxels.
impl Deref for Volume {
    type Target = VolumeInfo;

    fn deref(&self) -> &VolumeInfo {
        &self.info
    }
}

impl Volume {
    /// Opens .nii, .nii.gz, .nrrd, .mha, .npy (H x W, H x W x 1, 3 or 4, or slices x H x W) or .png.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`], and [`Error::File`] for whatever is malformed or not supported.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        Opening::open(path.as_ref(), options)?.finish()
    }

    /// Reads a volume from the contents of a file; `name` stands in for its path in messages.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &OpenOptions) -> Result<Self> {
        Opening::of(Path::new(name), bytes, bytes.len() as u64, options)?.finish()
    }

    /// A volume of voxels that are already in memory, x fastest, then y, then z.
    ///
    /// # Errors
    /// [`Error::Argument`] when the sizes do not fit, or `channels` is neither 1 nor 3.
    pub fn from_voxels(name: &str, dims: [usize; 3], channels: usize, voxels: Voxels) -> Result<Self> {
        let count = dims.iter().try_fold(channels, |all, &n| all.checked_mul(n));
        if !matches!(channels, 1 | 3) || dims.contains(&0) || count != Some(voxels.len()) {
            return Err(Error::Argument {
                name: "voxels",
                expected: "as many as dims and 1 or 3 channels say".into(),
                found: format!("{} for dims {dims:?} and {channels} channels", voxels.len()),
            });
        }
        let info = VolumeInfo::new(Path::new(name), Container::Memory, dims, channels, voxels.data_type());
        Ok(Volume { info, voxels })
    }

    /// The same voxels, to be read as `slope x stored + intercept`.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that are not finite or a slope of 0.
    pub fn scaled(mut self, slope: f64, intercept: f64) -> Result<Self> {
        if !slope.is_finite() || !intercept.is_finite() || slope == 0.0 {
            let expected = "finite numbers and a slope that is not 0".into();
            return Err(Error::Argument { name: "slope, intercept", expected, found: format!("{slope}, {intercept}") });
        }
        (self.info.slope, self.info.intercept) = (slope, intercept);
        Ok(self)
    }

    /// So many `planes` of the volume that `info` tells of, as a volume without a place in the patient.
    fn slab(info: &VolumeInfo, planes: usize, voxels: Voxels) -> Result<Self> {
        let [width, height, _] = info.dims;
        let name = info.path.to_string_lossy();
        let slab = Self::from_voxels(&name, [width, height, planes], info.channels, voxels)?;
        Ok(Volume { info: VolumeInfo { slope: info.slope, intercept: info.intercept, ..slab.info }, ..slab })
    }

    /// The stored values, before slope and intercept.
    pub fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// Minimum, maximum and what is not finite, over all values but padding.
    pub fn statistics(&self) -> Statistics {
        // Nothing but a cancelled pass ends it early.
        self.statistics_unless(None).unwrap_or_else(|_| Statistics::of::<u8>(&[], 1.0, 0.0))
    }

    /// As [`Volume::statistics`], until `cancel` is set.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn statistics_unless(&self, cancel: Cancel) -> Result<Statistics> {
        let (slope, intercept) = self.scaling();
        with_voxels!(&self.voxels, values => {
            match self.info.padding {
                Some(padding) => without_padding(values, padding, slope, intercept, cancel),
                None => Statistics::of_unless(values, slope, intercept, cancel),
            }
        })
    }
}

/// As [`Statistics::of_unless`] the stored integers outside `padding`; of all where there are no others.
fn without_padding<T: Voxel>(
    values: &[T],
    [low, high]: [f64; 2],
    slope: f64,
    intercept: f64,
    cancel: Cancel,
) -> Result<Statistics> {
    let mut extremes: Option<[T; 2]> = None;
    pass(values, cancel, |piece| {
        for &value in piece.iter().filter(|v| !(low..=high).contains(&v.to_f64())) {
            let [least, greatest] = extremes.unwrap_or([value, value]);
            extremes =
                Some([if value < least { value } else { least }, if value > greatest { value } else { greatest }]);
        }
    })?;
    match extremes {
        Some(extremes) => Ok(Statistics::of(&extremes, slope, intercept)),
        None => Statistics::of_unless(values, slope, intercept, cancel),
    }
}
