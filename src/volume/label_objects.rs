//! DICOM objects as label maps: segmentations and structure sets on the grid of the image that they are for.

use std::path::Path;

use super::dicom::ras;
use super::info::Container;
use super::nifti::Header;
use super::{Geometry, LabelVolume, OpenOptions, Volume, VolumeInfo, Voxels, npz, turned};
use crate::codes::{Code, Warning};
use crate::dicom::{self, Grid, MaskObject, VoxelGrid};
use crate::{Error, Result};

/// Reads the object at `path`, unless it is another file.
pub(super) fn open(path: &Path, on: Option<&VolumeInfo>, labels: &[u32], most: u64) -> Result<Option<Volume>> {
    match dicom::mask_object(path)? {
        Some(MaskObject::Segmentation) => segmentation(path, on, labels, most).map(Some),
        Some(MaskObject::StructureSet) => structures(path, on, labels).map(Some),
        None => Ok(None),
    }
}

fn segmentation(path: &Path, on: Option<&VolumeInfo>, labels: &[u32], most: u64) -> Result<Volume> {
    let read = dicom::read_segmentation(path, labels, most)?;
    let mut volume = of_grid(path, &read.grid, read.dims, read.voxels, "SEG")?;
    (volume.info.slope, volume.info.label_names) = (read.slope, read.names);
    let said = read.oddities.into_iter().map(|oddity| Warning::new(oddity.code, oddity.text));
    volume.info.warnings.extend(said);
    match on {
        Some(image) if image.geometry().is_some() => brought_over(volume, image),
        _ => Ok(volume),
    }
}

fn structures(path: &Path, on: Option<&VolumeInfo>, labels: &[u32]) -> Result<Volume> {
    let image = on.and_then(|image| Some((image, image.geometry()?.inverse()?)));
    let Some((image, inverse)) = image else {
        let expected = "an image with a place, on whose voxels contours are drawn";
        return Err(Error::file(path, "RTSTRUCT", expected, "none"));
    };
    // The affine counts to Right and Anterior, contours to Left and Posterior.
    let indices = std::array::from_fn(|axis| {
        let [a, b, c, d] = inverse[axis];
        [-a, -b, c, d]
    });
    let grid = VoxelGrid { dims: image.dims(), indices };
    let (found, oddities) = dicom::read_structures(path, &grid, labels)?;
    let highest = found.iter().copied().max().unwrap_or(0);
    let mut volume = like(image, path, LabelVolume::of(image.dims(), found, highest)?.into_voxels(), "RTSTRUCT");
    volume.info.warnings = oddities.into_iter().map(|oddity| Warning::new(oddity.code, oddity.text)).collect();
    Ok(volume)
}

/// A volume of `voxels` on a grid of DICOM's patient coordinates.
fn of_grid(path: &Path, grid: &Grid, dims: [usize; 3], voxels: Voxels, modality: &str) -> Result<Volume> {
    let header = Header::with_affine(dims, &ras(grid), 1);
    let geometry = Geometry::read(path, &header, None, &mut Vec::new())?;
    let container = Container::Dicom { header, modality: modality.into(), files: 1, scale: None, source: None };
    let mut info = VolumeInfo::new(path, container, dims, 1, voxels.data_type());
    info.geometry = Some(geometry);
    Ok(Volume { info, voxels })
}

/// `voxels` on the grid of `image`.
fn like(image: &VolumeInfo, path: &Path, voxels: Voxels, modality: &str) -> Volume {
    let header = Header::without_geometry(image.dims());
    let container = Container::Dicom { header, modality: modality.into(), files: 1, scale: None, source: None };
    let mut info = VolumeInfo::new(path, container, image.dims(), 1, voxels.data_type());
    info.geometry = image.geometry().cloned();
    Volume { info, voxels }
}

/// The same on the grid of `image`, nearest voxel. It is a warning where voxels do not coincide, or labels are lost.
fn brought_over(volume: Volume, image: &VolumeInfo) -> Result<Volume> {
    let (Some(own), Some(other)) = (volume.geometry(), image.geometry()) else { return Ok(volume) };
    let Some(inverse) = own.inverse() else { return Ok(volume) };
    let forward = other.affine;
    let entry = |r: usize, c: usize| (0..4).map(|k| inverse[r][k] * forward[k][c]).sum();
    let way: [[f64; 4]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| entry(r, c)));
    let [ni, nj, nk] = image.dims();
    let dims = volume.dims();
    let (mut found, mut off) = (vec![0_u64; 2], 0.0_f64);
    let mut pick = |index: usize| -> Option<usize> {
        let [i, j, k] = [index % ni, index / ni % nj, index / (ni * nj)].map(|n| n as f64);
        let mut at = [0; 3];
        for axis in 0..3 {
            let [a, b, c, d] = way[axis];
            let place = a * i + b * j + c * k + d;
            let near = place.round();
            if !(near >= 0.0 && near < dims[axis] as f64) {
                return None;
            }
            off = off.max((place - near).abs());
            at[axis] = near as usize;
        }
        Some((at[2] * dims[1] + at[1]) * dims[0] + at[0])
    };
    macro_rules! carry {
        ($values:expr, $variant:ident) => {{
            let mut out = crate::memory::reserve(ni * nj * nk, "the segmentation")?;
            out.extend((0..ni * nj * nk).map(|index| pick(index).map_or(0, |at| $values[at])));
            found[0] = $values.iter().filter(|&&v| v != 0).count() as u64;
            found[1] = out.iter().filter(|&&v| v != 0).count() as u64;
            Voxels::$variant(out)
        }};
    }
    let voxels = match &volume.voxels {
        Voxels::U8(values) => carry!(values, U8),
        Voxels::U16(values) => carry!(values, U16),
        _ => return Ok(volume),
    };
    let mut moved = like(image, &volume.info.path, voxels, "SEG");
    moved.info.slope = volume.info.slope;
    (moved.info.label_names, moved.info.warnings) = (volume.info.label_names, volume.info.warnings);
    let path = volume.info.path.display();
    // Headers of 32-bit floats keep places of large volumes to a few hundredths of a voxel.
    if off > 0.05 {
        let message = format!("{path}: its voxels are not the image's: brought over by their places, nearest voxel");
        moved.info.warnings.push(Warning::new(Code::RoughMoved, message));
    } else if found[1] < found[0] {
        let message = format!("{path}: {} voxels of segments lie outside the image", found[0] - found[1]);
        moved.info.warnings.push(Warning::new(Code::SegOutside, message));
    }
    Ok(moved)
}

impl Volume {
    /// Opens a label map: what [`Volume::open`] does, of an .npz `segs` or `gts`, a DICOM SEG and an RTSTRUCT, of which
    /// only segments with one of `labels` are taken where some are given. They come on the grid of the image `on` where
    /// that has a place; another label map comes along its axes where both lie at the same places.
    ///
    /// # Errors
    /// As [`Volume::open`]; [`Error::File`] for an RTSTRUCT without an image that has a place.
    pub fn open_labels(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        on: Option<&VolumeInfo>,
        labels: &[u32],
    ) -> Result<Volume> {
        match open(path.as_ref(), on, labels, options.max_voxels)? {
            Some(volume) => Ok(volume),
            None if npz::holds(path.as_ref(), npz::MASKS) => npz::open(path.as_ref(), options, npz::MASKS),
            None => {
                let volume = Volume::open(path, options)?;
                match on {
                    Some(image) => turned::along(volume, image),
                    None => Ok(volume),
                }
            }
        }
    }
}
