//! Images in, masks out: NIfTI, NumPy arrays and PNG pictures as volumes of slices.
//!
//! Axes are those of the stored array: x, y, z are NIfTI's i, j, k; an array of NumPy is `[z, y, x]`; a picture has one
//! slice. Files are told apart by their first bytes, never by their names.

mod describe;
mod geometry;
mod intensity;
mod labels;
pub mod mask_writer;
mod nifti;
pub mod npy;
mod png;
pub mod resize;
mod slices;
mod source;
mod stored;
#[cfg(feature = "cuda")]
mod thresholds;
mod voxels;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

pub use describe::{Description, GeometryDescription, describe};
pub use geometry::{Affine, AffineSource, Geometry};
#[cfg(feature = "capi")]
pub(crate) use intensity::percentiles_of;
pub use intensity::{Intensity, IntensityMap, Statistics};
pub use labels::{LabelVolume, Labels};
pub use slices::{Orientation, SliceFrame};
pub use stored::StoredSlice;
#[cfg(feature = "cuda")]
pub(crate) use thresholds::Thresholds;
pub use voxels::{DataType, Voxel, Voxels};

use crate::{Error, Result};
use source::{Kind, Source};
use voxels::with_voxels;

/// How a volume is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Which time point of a 4-D file, from 0. Needed only where there is more than one.
    pub time_point: Option<usize>,
    /// The most voxels that a volume may have: what a file claims is checked before memory is taken.
    pub max_voxels: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { time_point: None, max_voxels: 1 << 31 }
    }
}

/// An image of one or more slices, its voxels as the file stores them.
pub struct Volume {
    path: PathBuf,
    container: Container,
    dims: [usize; 3],
    channels: usize,
    voxels: Voxels,
    slope: f64,
    intercept: f64,
    geometry: Option<Geometry>,
    warnings: Vec<String>,
}

/// What the voxels came in, as far as a mask has to be like it.
enum Container {
    Nifti {
        header: nifti::Header,
        compressed: bool,
        time_points: usize,
    },
    /// `picture`: H x W or H x W x 3, without an axis of slices.
    Npy {
        picture: bool,
    },
    Png,
    Memory,
}

impl Volume {
    /// Opens .nii, .nii.gz, .npy (H x W, H x W x 3 or slices x H x W) or .png.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`], and [`Error::File`] for whatever is malformed or not supported.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "read", e))?;
        if !metadata.is_file() {
            const FOLDER: &str =
                "a folder (of DICOM files? convert the series to one NIfTI file, for example with dcm2niix)";
            let found = if metadata.is_dir() { FOLDER } else { "a device or pipe" };
            return Err(Error::file(path, "input", "an ordinary file", found));
        }
        let mut volume = Self::read(path, BufReader::with_capacity(1 << 18, file), metadata.len(), options)?;
        volume.check_name();
        Ok(volume)
    }

    /// Reads a volume from the contents of a file; `name` stands in for its path in messages.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &OpenOptions) -> Result<Self> {
        Self::read(Path::new(name), bytes, bytes.len() as u64, options)
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
        Ok(Self::new(Path::new(name), Container::Memory, dims, channels, voxels))
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
        (self.slope, self.intercept) = (slope, intercept);
        Ok(self)
    }

    fn new(path: &Path, container: Container, dims: [usize; 3], channels: usize, voxels: Voxels) -> Self {
        Volume {
            path: path.to_path_buf(),
            container,
            dims,
            channels,
            voxels,
            slope: 1.0,
            intercept: 0.0,
            geometry: None,
            warnings: Vec::new(),
        }
    }

    fn read<R: BufRead>(path: &Path, reader: R, length: u64, options: &OpenOptions) -> Result<Self> {
        let (mut source, kind) = Source::new(path, reader, length)?;
        match kind {
            Kind::Nifti => Self::from_nifti(&mut source, options),
            Kind::Npy => Self::from_npy(&mut source, options),
            Kind::Png => {
                let picture = png::read(&mut source, options)?;
                let dims = [picture.size[0], picture.size[1], 1];
                let mut volume = Self::new(path, Container::Png, dims, picture.channels, picture.values);
                volume.warnings = picture.warnings;
                volume.one_time_point(options)
            }
        }
    }

    fn from_nifti<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<Self> {
        let nifti::Image { header, voxels, channels, dims, time_points, slope, intercept, mut warnings } =
            nifti::read(source, options)?;
        let geometry = Geometry::read(&source.path, &header, &mut warnings)?;
        let (slope, intercept) = if channels == 1 { (slope, intercept) } else { (1.0, 0.0) };
        let container = Container::Nifti { header, compressed: source.compressed, time_points };
        let volume = Self::new(&source.path, container, dims, channels, voxels);
        Ok(Volume { slope, intercept, geometry: Some(geometry), warnings, ..volume })
    }

    fn from_npy<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<Self> {
        let array = npy::read_array(source, options.max_voxels.saturating_mul(3))?;
        let (dims, channels, picture) = match *array.shape {
            [h, w] => ([w, h, 1], 1, true),
            [h, w, 3] => ([w, h, 1], 3, true),
            [slices, h, w] => ([w, h, slices], 1, false),
            _ => {
                let expected = "H x W, H x W x 3 (colour) or slices x H x W";
                return Err(Error::file(&source.path, "npy shape", expected, format!("{:?}", array.shape)));
            }
        };
        count_voxels(&source.path, dims.map(|n| n as u64), options)?;
        let mut volume = Self::new(&source.path, Container::Npy { picture }, dims, channels, array.values);
        if dims[0] == 4 && dims[1] > 32 && dims[2] > 32 {
            volume.warnings.push("the last axis is 4: read as slices x H x W, not as colour with alpha".into());
        }
        volume.one_time_point(options)
    }

    fn one_time_point(self, options: &OpenOptions) -> Result<Self> {
        match options.time_point {
            None | Some(0) => Ok(self),
            Some(chosen) => Err(Error::file(&self.path, "time point", "0, there is one only", chosen)),
        }
    }

    /// Warns of a name that promises another format than the contents.
    fn check_name(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let named = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let (right, contents) = match &self.container {
            Container::Nifti { compressed: true, .. } => (named(&[".gz"]), "gzip-compressed NIfTI"),
            Container::Nifti { .. } => (named(&[".nii"]), "uncompressed NIfTI"),
            Container::Npy { .. } => (named(&[".npy"]), "a NumPy array"),
            Container::Png => (named(&[".png"]), "a PNG picture"),
            Container::Memory => return,
        };
        if !right {
            self.warnings.push(format!("the file is {contents}, which its name does not say"));
        }
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Voxels along x, y, z.
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// 1 for grey, 3 for colour.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The stored values, before slope and intercept.
    pub fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// Slope and intercept: a value is slope x stored + intercept.
    pub fn scaling(&self) -> (f64, f64) {
        (self.slope, self.intercept)
    }

    /// Where the voxels lie in the patient; pictures and arrays do not say.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.geometry.as_ref()
    }

    /// Voxel indices to millimetres, x to the Right, y Anterior, z Superior, by nibabel's rule.
    pub fn affine(&self) -> Option<Affine> {
        self.geometry.as_ref().map(|g| g.affine)
    }

    /// Millimetres between neighbours along x, y, z.
    pub fn spacing(&self) -> Option<[f64; 3]> {
        self.geometry.as_ref().map(Geometry::spacing)
    }

    /// What looks wrong with the file although it can be read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the file is a .npy or .png of 8-bit values, which are used as they are unless something else is asked.
    pub fn is_8_bit_picture(&self) -> bool {
        matches!(self.container, Container::Npy { .. } | Container::Png) && self.voxels.data_type() == DataType::U8
    }

    /// Time points in the file, of which one is held.
    pub fn time_points(&self) -> usize {
        if let Container::Nifti { time_points, .. } = self.container { time_points } else { 1 }
    }

    /// Minimum, maximum and what is not finite, over all values.
    pub fn statistics(&self) -> Statistics {
        with_voxels!(&self.voxels, values => Statistics::of(values, self.slope, self.intercept))
    }
}

/// The product of `dims` when it is within `options.max_voxels`.
fn count_voxels(path: &Path, dims: [u64; 3], options: &OpenOptions) -> Result<usize> {
    let count = dims.iter().try_fold(1_u64, |all, &n| all.checked_mul(n)).filter(|&n| n <= options.max_voxels);
    count.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).ok_or_else(|| {
        let expected = format!("1 to {} voxels", options.max_voxels);
        Error::file(path, "size", expected, format!("{} x {} x {}", dims[0], dims[1], dims[2]))
    })
}

/// Values without the last of each `stored`.
fn drop_alpha<T: Copy>(mut values: Vec<T>, stored: usize) -> Vec<T> {
    let mut kept = 0;
    for at in 0..values.len() {
        if at % stored != stored - 1 {
            values[kept] = values[at];
            kept += 1;
        }
    }
    values.truncate(kept);
    values
}
