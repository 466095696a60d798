//! What an image file is, and what is suspicious about it, for `medsegx info`.

use std::path::Path;

use serde::Serialize;

use super::info::{Container, ValueScale, VolumeInfo};
use super::{Affine, AffineSource, DataType, Intensity, OpenOptions, Opening, SeriesChoice, Statistics};
use crate::Result;
use crate::codes::{Code, Warning};
use crate::image::Segment;

/// Everything worth knowing of an image before it is segmented.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// `NIfTI-1`, `NIfTI-2`, `NRRD`, `MetaImage`, `NumPy` or `PNG`, with byte order and compression where they vary.
    pub format: String,
    /// Voxels along x, y, z.
    pub dims: [usize; 3],
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Time points in the file.
    pub time_points: usize,
    /// How a value is stored.
    pub data_type: DataType,
    /// Slope that values are multiplied with.
    pub slope: f64,
    /// Intercept that is added after.
    pub intercept: f64,
    /// What made the values of a DICOM image of its stored numbers.
    pub scale: Option<ValueScale>,
    /// Least, greatest and not finite values of the time point that was read.
    pub values: Statistics,
    /// The rule that is used when no other is asked for.
    pub default_intensity: String,
    /// Where the voxels lie, when the file says so.
    pub geometry: Option<GeometryDescription>,
    /// Bytes of header extensions, which masks do not keep.
    pub extension_bytes: u64,
    /// What the file calls its labels.
    pub label_names: Vec<Segment>,
    /// What looks wrong.
    pub warnings: Vec<Warning>,
}

/// The space part of a [`Description`].
#[derive(Clone, Debug, Serialize)]
pub struct GeometryDescription {
    /// The direction in which i, j, k grow: `RAS`, `LPS`, ...
    pub orientation: String,
    /// Millimetres between neighbours.
    pub spacing: [f64; 3],
    /// Deviation of the axes from right angles in degrees.
    pub tilt: f64,
    /// Voxel indices to millimetres (RAS+).
    pub affine: Affine,
    /// Where the affine comes from.
    pub source: AffineSource,
    /// `qform_code`.
    pub qform_code: i64,
    /// `sform_code`.
    pub sform_code: i64,
}

/// Reads the file at `path`; of a 4-D file the first time point unless `options` choose another.
///
/// # Errors
/// As [`Volume::open`](super::Volume::open).
pub fn describe(path: &Path, options: &OpenOptions) -> Result<Description> {
    describe_chosen(path, options, &SeriesChoice::default())
}

/// As [`describe`]; of a DICOM input the volume that is chosen.
///
/// # Errors
/// As [`Opening::open_chosen`] and [`Volume::open`](super::Volume::open).
pub fn describe_chosen(path: &Path, options: &OpenOptions, choice: &SeriesChoice) -> Result<Description> {
    let time_point = options.time_point.or(choice.volume.is_none().then_some(0));
    let mut volume = Opening::open_chosen(path, &OpenOptions { time_point, ..*options }, choice)?.finish()?;
    let rule = Intensity::default_for_values(&volume);
    if let Ok(map) = rule.resolve(&volume) {
        volume.check_levels(&map);
    }
    let values = volume.statistics();
    let mut warnings = volume.warnings().to_vec();
    if volume.time_points() > 1 {
        let message = format!("{} time points: segmenting needs --volume N, from 0", volume.time_points());
        warnings.push(Warning::new(Code::TimePoints, message));
    }
    if values.not_finite > 0 {
        let message =
            format!("{} values are NaN or infinite: segmenting refuses them without --nan VALUE", values.not_finite);
        warnings.push(Warning::new(Code::NotFinite, message));
    }
    if values.minimum == values.maximum {
        warnings.push(Warning::new(Code::AllEqual, format!("all values are {}", values.minimum)));
    }
    let geometry = volume.geometry().map(|g| GeometryDescription {
        orientation: g.orientation_codes(),
        spacing: g.spacing(),
        tilt: g.tilt(),
        affine: g.affine,
        source: g.source,
        qform_code: g.qform_code,
        sform_code: g.sform_code,
    });
    let (slope, intercept) = volume.scaling();
    Ok(Description {
        format: volume.format(),
        dims: volume.dims(),
        channels: volume.channels(),
        time_points: volume.time_points(),
        data_type: volume.data_type(),
        slope,
        intercept,
        scale: volume.dicom_scale().cloned(),
        values,
        default_intensity: rule.to_string(),
        geometry,
        extension_bytes: volume.extension_bytes(),
        label_names: volume.label_names().to_vec(),
        warnings,
    })
}

impl VolumeInfo {
    fn format(&self) -> String {
        match &self.container {
            Container::Nifti { header, compressed, .. } => {
                let order = if header.big_endian { "big" } else { "little" };
                let gzip = if *compressed { ", gzip" } else { "" };
                format!("NIfTI-{}, {order} endian{gzip}", header.layout.version)
            }
            Container::Npy { .. } => "NumPy".into(),
            Container::Png => "PNG".into(),
            Container::Raster { format, .. } => (*format).into(),
            #[cfg(feature = "dicom")]
            Container::Dicom { modality, files, .. } => {
                format!("DICOM, {}, {files} file{}", modality.escape_debug(), if *files == 1 { "" } else { "s" })
            }
            Container::Memory => "memory".into(),
        }
    }

    fn extension_bytes(&self) -> u64 {
        if let Container::Nifti { header, .. } = &self.container { header.extension_bytes } else { 0 }
    }
}
