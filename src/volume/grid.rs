//! Whether two files have the same voxels, and what is said where they have not.

use std::path::Path;

use super::{Geometry, VolumeInfo};
use crate::{Error, Result};

/// Refuses `other` unless its voxels are those of `own`: by dimensions and, where both say, by their places, to half
/// the least spacing. `whose` says what `own` is, as "the image".
///
/// # Errors
/// [`Error::File`] that names `other`.
pub fn check_grid(own: &VolumeInfo, other: &VolumeInfo, whose: &str) -> Result<()> {
    let (dims, found) = (own.dims(), other.dims());
    if dims != found {
        return Err(other_grid(other.path(), whose, dims, format!("{found:?}")));
    }
    let (Some(place), Some(there)) = (own.geometry(), other.geometry()) else { return Ok(()) };
    let (apart, least) = (there.distance(place, dims), least(place));
    if apart > 0.5 * least {
        return Err(other_grid(other.path(), whose, dims, format!("corners up to {apart:.3} mm from theirs")));
    }
    Ok(())
}

/// What is said of the file at `path` whose voxels are not those of another of `dims`.
pub fn other_grid(path: &Path, whose: &str, dims: [usize; 3], found: impl ToString) -> Error {
    Error::file(path, "grid", format!("the voxels of {whose}, {dims:?}"), found)
}

fn least(geometry: &Geometry) -> f64 {
    geometry.spacing().into_iter().fold(f64::INFINITY, f64::min)
}
