//! What a file says of a volume before its voxels.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Affine, DataType, Geometry, nifti};
use crate::Result;
use crate::codes::{Code, Warning};
use crate::image::Segment;

/// Everything about a volume but its voxels: enough to refuse a job, to cut slices and to write a mask.
#[derive(Clone)]
pub struct VolumeInfo {
    pub(super) path: PathBuf,
    pub(super) container: Container,
    pub(super) dims: [usize; 3],
    pub(super) channels: usize,
    pub(super) data_type: DataType,
    pub(super) slope: f64,
    pub(super) intercept: f64,
    pub(super) geometry: Option<Geometry>,
    pub(super) warnings: Vec<Warning>,
    pub(super) label_names: Vec<Segment>,
    /// Stored values that stand for no picture: least and greatest.
    pub(super) padding: Option<[f64; 2]>,
}

/// What the voxels came in, as far as a mask has to be like it.
#[derive(Clone)]
pub(super) enum Container {
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
    /// `header`: of NIfTI masks, with the geometry and nothing else. `volumes`: values of a voxel of which one was
    /// chosen.
    Raster {
        format: &'static str,
        header: nifti::Header,
        volumes: usize,
    },
    /// `header`: of NIfTI masks, with the geometry and nothing else.
    #[cfg(feature = "dicom")]
    Dicom {
        header: nifti::Header,
        modality: String,
        files: usize,
        /// Of an image.
        scale: Option<ValueScale>,
        /// The slices that a DICOM mask refers to, where they have a place.
        source: Option<std::sync::Arc<crate::dicom::Source>>,
    },
    Memory,
}

/// What made the values of a DICOM image of its stored numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueScale {
    /// `stored` if nothing did, `rescale`, `modality-table`, `dose-grid-scaling` or `real-world`.
    pub scale: &'static str,
    /// Label of the map of real world values, if all slices have the same.
    pub label: Option<String>,
    /// What values are counted in, if the file says.
    pub unit: Option<String>,
}

impl VolumeInfo {
    pub(super) fn new(
        path: &Path,
        container: Container,
        dims: [usize; 3],
        channels: usize,
        data_type: DataType,
    ) -> Self {
        VolumeInfo {
            path: path.to_path_buf(),
            container,
            dims,
            channels,
            data_type,
            slope: 1.0,
            intercept: 0.0,
            geometry: None,
            warnings: Vec::new(),
            label_names: Vec::new(),
            padding: None,
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

    /// The type of a stored value.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Slope and intercept: a value is slope x stored + intercept.
    pub fn scaling(&self) -> (f64, f64) {
        (self.slope, self.intercept)
    }

    /// Whether a stored value stands for no picture.
    pub fn is_padding(&self, stored: f64) -> bool {
        self.padding.is_some_and(|[low, high]| (low..=high).contains(&stored))
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

    /// What looks wrong with the file although it can be read; what follows the voxels shows only when they were read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What the file calls its labels, ascending: a label table in an extension of NIfTI, segments of a .seg.nrrd and
    /// of a DICOM SEG.
    pub fn label_names(&self) -> &[Segment] {
        &self.label_names
    }

    /// What the file calls `label`.
    pub fn label_name(&self, label: u16) -> Option<&str> {
        self.label_names.iter().find(|segment| segment.label == label).map(|segment| segment.name.as_str())
    }

    /// Whether the file is a .npy or .png of 8-bit values, which are used as they are unless something else is asked.
    pub fn is_8_bit_picture(&self) -> bool {
        matches!(self.container, Container::Npy { .. } | Container::Png) && self.data_type == DataType::U8
    }

    /// Modality (0008,0060) of a DICOM series, as CT or MR.
    pub fn dicom_modality(&self) -> Option<&str> {
        match &self.container {
            #[cfg(feature = "dicom")]
            Container::Dicom { modality, .. } => Some(modality),
            _ => None,
        }
    }

    /// What made the values of a DICOM image of its stored numbers.
    pub fn dicom_scale(&self) -> Option<&ValueScale> {
        match &self.container {
            #[cfg(feature = "dicom")]
            Container::Dicom { scale, .. } => scale.as_ref(),
            _ => None,
        }
    }

    /// Time points in the file, of which one is held.
    pub fn time_points(&self) -> usize {
        match self.container {
            Container::Nifti { time_points, .. } => time_points,
            Container::Raster { volumes, .. } => volumes,
            _ => 1,
        }
    }

    /// Refuses a time point that a file without an axis of time does not have.
    pub(super) fn one_time_point(&self, time_point: Option<usize>) -> Result<()> {
        match time_point {
            None | Some(0) => Ok(()),
            Some(chosen) => Err(super::options::no_such_volume(chosen, 1)),
        }
    }

    /// Warns of a name that promises another format than the contents.
    pub(super) fn check_name(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let named = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let (right, contents) = match &self.container {
            Container::Nifti { compressed: true, .. } => (named(&[".gz"]), "gzip-compressed NIfTI"),
            Container::Nifti { .. } => (named(&[".nii"]), "uncompressed NIfTI"),
            Container::Npy { .. } => (named(&[".npy"]), "a NumPy array"),
            Container::Png => (named(&[".png"]), "a PNG picture"),
            Container::Raster { format, .. } => (named(&[".nrrd", ".nhdr", ".mha", ".mhd"]), *format),
            #[cfg(feature = "dicom")]
            Container::Dicom { .. } => return,
            Container::Memory => return,
        };
        if !right {
            let message = format!("the file is {contents}, which its name does not say");
            self.warnings.push(Warning::new(Code::NameDiffers, message));
        }
    }
}
