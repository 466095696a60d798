//! A volume of a DICOM series as any other volume: its geometry as a NIfTI header, which its masks take over.

use std::path::Path;

use super::info::{Container, ValueScale};
use super::nifti::Header;
use super::options::{SeriesChoice, count_voxels};
use super::{Affine, Geometry, OpenOptions, VolumeInfo};
use crate::Result;
use crate::codes::Warning;
use crate::dicom::{self, Chosen, Grid, Slices, Wanted};

/// What is known before the pixels, and the slices to be read.
pub(super) fn head(path: &Path, options: &OpenOptions, choice: &SeriesChoice) -> Result<(VolumeInfo, Slices)> {
    let wanted = Wanted {
        series: choice.series.as_deref(),
        volume: choice.volume.as_deref(),
        real_world: choice.real_world.as_deref(),
        threads: choice.threads,
    };
    let Chosen { slices, grid, oddities, modality, files, scale, label, unit } = dicom::open(path, &wanted)?;
    let dims = slices.dims();
    count_voxels(path, dims.map(|n| n as u64), options)?;
    let mut warnings: Vec<Warning> =
        oddities.into_iter().map(|oddity| Warning::new(oddity.code, oddity.text)).collect();
    let (header, geometry) = match grid {
        Some(grid) => {
            let header = Header::with_affine(dims, &ras(&grid), 1);
            // As the mask's reader will have it: in the header's own precision.
            let geometry = Geometry::read(path, &header, None, &mut Vec::new())?;
            (header, Some(geometry))
        }
        None => (Header::without_geometry(dims), None),
    };
    let source = grid.and_then(|grid| dicom::Source::of(&slices, grid)).map(std::sync::Arc::new);
    let scale = Some(ValueScale { scale, label, unit });
    let container = Container::Dicom { header, modality, files, scale, source };
    let mut info = VolumeInfo::new(path, container, dims, slices.channels(), slices.data_type());
    info.one_time_point(options.time_point)?;
    (info.slope, info.intercept) = slices.scaling();
    info.padding = slices.padding();
    info.geometry = geometry;
    info.warnings.append(&mut warnings);
    Ok((info, slices))
}

/// From DICOM's Left and Posterior to Right and Anterior.
pub(super) fn ras(grid: &Grid) -> Affine {
    let [i, j, k] = grid.steps;
    let row = |r: usize| [i[r], j[r], k[r], grid.origin[r]];
    [row(0).map(|v| -v), row(1).map(|v| -v), row(2), [0.0, 0.0, 0.0, 1.0]]
}
