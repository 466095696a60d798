//! Tilted stacks onto an upright grid: slices of a tilted gantry are each shifted in their own plane, so that they lie
//! at a right angle to their stack.

use std::io::BufRead;

use super::info::Container;
use super::nifti::Header;
use super::opening::Rest;
use super::options::count_voxels;
use super::source::Source;
use super::{Affine, Geometry, OpenOptions, Opening, Volume, VolumeInfo, Voxel, Voxels};
use crate::codes::{Code, Warning};
use crate::memory::reserve;
use crate::{Error, Result};

/// Tilts below this, in degrees, are none; rows and columns have to be at a right angle to as much.
const UPRIGHT: f64 = 0.01;

/// How slices lie on the upright grid.
struct Way {
    affine: Affine,
    dims: [usize; 3],
    /// Columns and rows by which a slice is shifted against the one before.
    shift: [f64; 2],
    /// Columns and rows of the grid before the first slice's first.
    before: [f64; 2],
}

impl<R: BufRead> Opening<R> {
    /// The volume resampled onto an upright grid: each slice is shifted in its plane, linearly between pixels, by what
    /// the tilt moved it; voxels of no slice have the least value, or that of padding. The grid is wider by the shift
    /// of the last slice. An upright volume stays as it is. Reads all voxels.
    ///
    /// # Errors
    /// As [`Opening::finish`]; [`Error::File`] for a volume without a place, for rows and columns that are not at a
    /// right angle, and for a grid of more voxels than may be.
    pub fn untilted(self) -> Result<Self> {
        let Some(way) = way(&self.info, &self.options)? else { return Ok(self) };
        let options = self.options;
        let Volume { info, voxels } = self.finish()?;
        let (mut info, voxels) = shifted(info, &voxels, &way)?;
        let tilt = info.geometry().map_or(0.0, Geometry::tilt);
        let header = Header::with_affine(way.dims, &way.affine, 1);
        info.geometry = Some(Geometry::read(&info.path, &header, None, &mut Vec::new())?);
        info.dims = way.dims;
        info.container = match info.container {
            // What a DICOM mask would refer to has other voxels.
            #[cfg(feature = "dicom")]
            Container::Dicom { modality, files, scale, .. } => {
                Container::Dicom { header, modality, files, scale, source: None }
            }
            Container::Nifti { compressed, time_points, .. } => Container::Nifti { header, compressed, time_points },
            Container::Raster { format, volumes, .. } => Container::Raster { format, header, volumes },
            other => other,
        };
        info.warnings.retain(|warning| !matches!(warning.code, Code::DicomTilt | Code::AxesSkewed));
        let [x, y, z] = way.dims;
        let message = format!("{tilt:.3} degrees of tilt are taken out: the grid is an upright one of {x} x {y} x {z}");
        info.warnings.push(Warning::new(Code::Untilted, message));
        let source = Source::nothing(&info.path);
        Ok(Opening { info, source, rest: Rest::Nothing(voxels), options })
    }
}

/// `None` for an upright volume.
fn way(info: &VolumeInfo, options: &OpenOptions) -> Result<Option<Way>> {
    let Some(geometry) = info.geometry() else {
        return Err(Error::file(info.path(), "tilt", "an image that says where its voxels lie", "none"));
    };
    if geometry.tilt() <= UPRIGHT {
        return Ok(None);
    }
    let affine = geometry.affine;
    let column = |axis: usize| -> [f64; 3] { std::array::from_fn(|row| affine[row][axis]) };
    let [across, down, step] = [0, 1, 2].map(column);
    let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|i| a[i] * b[i]).sum::<f64>();
    let square = dot(across, down) / (dot(across, across) * dot(down, down)).sqrt();
    let askew = square.asin().to_degrees().abs();
    if askew.is_nan() || askew > UPRIGHT {
        return Err(Error::file(info.path(), "rows and columns of a slice", "a right angle", format!("{square:.4}")));
    }
    let dims = info.dims();
    let shift = [dot(step, across) / dot(across, across), dot(step, down) / dot(down, down)];
    let last = (dims[2].max(1) - 1) as f64;
    let ends = shift.map(|shift| [(shift * last).min(0.0).floor(), (shift * last).max(0.0).ceil()]);
    let extent = |axis: usize| dims[axis] as f64 + ends[axis][1] - ends[axis][0];
    let sizes = [extent(0) as u64, extent(1) as u64, dims[2] as u64];
    count_voxels(info.path(), sizes, options)?;
    let before = ends.map(|[low, _]| -low);
    let mut upright = affine;
    for row in 0..3 {
        upright[row][2] = step[row] - shift[0] * across[row] - shift[1] * down[row];
        upright[row][3] = affine[row][3] - before[0] * across[row] - before[1] * down[row];
    }
    let dims = sizes.map(|n| n as usize);
    Ok(Some(Way { affine: upright, dims, shift, before }))
}

fn shifted(info: VolumeInfo, voxels: &Voxels, way: &Way) -> Result<(VolumeInfo, Voxels)> {
    macro_rules! shifted {
        ($($variant:ident)*) => {
            match voxels {
                $(Voxels::$variant(values) => Voxels::$variant(slices(&info, values, way)?),)*
            }
        };
    }
    let voxels = shifted!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64);
    Ok((info, voxels))
}

/// All slices, channels of a pixel together.
fn slices<T: Voxel>(info: &VolumeInfo, values: &[T], way: &Way) -> Result<Vec<T>> {
    let ([width, height, count], channels) = (info.dims(), info.channels());
    let [wide, high, _] = way.dims;
    let padding = values.iter().copied().find(|value| info.is_padding(value.to_f64()));
    let least = || values.iter().copied().min_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
    let Some(empty) = padding.or_else(least) else { return Ok(Vec::new()) };
    let mut out = reserve(wide * high * count * channels, "the upright volume")?;
    for slice in 0..count {
        let plane = &values[slice * width * height * channels..][..width * height * channels];
        let [x0, y0] = [0, 1].map(|axis| -way.before[axis] - way.shift[axis] * slice as f64);
        for y in 0..high {
            let rows = near(y as f64 + y0, height);
            for x in 0..wide {
                let columns = near(x as f64 + x0, width);
                for channel in 0..channels {
                    let (Some(rows), Some(columns)) = (rows, columns) else {
                        out.push(empty);
                        continue;
                    };
                    let at = |row: usize, column: usize| plane[(row * width + column) * channels + channel];
                    out.push(between(info, [rows, columns], at));
                }
            }
        }
    }
    Ok(out)
}

/// The two pixels beside a place, and how far it is from the first to the second; `None` outside.
fn near(place: f64, count: usize) -> Option<(usize, usize, f64)> {
    let last = count as f64 - 1.0;
    if !(-0.5..=last + 0.5).contains(&place) {
        return None;
    }
    let place = place.clamp(0.0, last);
    let first = place.floor() as usize;
    Some((first, (first + 1).min(count - 1), place - first as f64))
}

/// The value between four pixels: linear, or the nearest one where one of them is padding or no number.
fn between<T: Voxel>(
    info: &VolumeInfo,
    [(top, bottom, down), (left, right, across)]: [(usize, usize, f64); 2],
    at: impl Fn(usize, usize) -> T,
) -> T {
    let corners = [at(top, left), at(top, right), at(bottom, left), at(bottom, right)];
    let nearest = corners[2 * usize::from(down >= 0.5) + usize::from(across >= 0.5)];
    let values = corners.map(|value| value.to_f64());
    if values.iter().any(|&value| info.is_padding(value) || !value.is_finite()) {
        return nearest;
    }
    let [a, b, c, d] = values;
    let (upper, lower) = (a + (b - a) * across, c + (d - c) * across);
    T::from_f64(upper + (lower - upper) * down)
}
