//! Label maps whose axes are the image's in another order or direction: one scan as LPS and as RAS, say.

#[cfg(not(feature = "dicom"))]
use super::OpenOptions;
use super::geometry::Affine;
use super::info::Container;
use super::{Geometry, Volume, VolumeInfo};
use crate::Result;
use crate::image::Voxels;
use crate::memory::reserve;

/// The same voxels along the axes of `image`, where both lie at the same places in another order of axes: exact,
/// nothing is interpolated. Else the volume as it is.
pub(super) fn along(volume: Volume, image: &VolumeInfo) -> Result<Volume> {
    let (Some(own), Some(other)) = (volume.geometry(), image.geometry()) else { return Ok(volume) };
    let turn = Turn::between(own, volume.dims(), other);
    let is_turned = turn.axes != [(0, false), (1, false), (2, false)];
    let coincide = || {
        let turned = Geometry { affine: turn.affine(&own.affine), ..own.clone() };
        // As for SEG: headers of 32-bit floats keep places of large volumes to a few hundredths of a voxel.
        let allowed = 0.05 * other.spacing().into_iter().fold(f64::INFINITY, f64::min);
        turned.distance(other, image.dims()) <= allowed
    };
    if volume.channels() != 1 || !is_turned || turn.dims() != image.dims() || !coincide() {
        return Ok(volume);
    }
    let voxels = turn.voxels(volume.voxels())?;
    let mut info = volume.info;
    (info.dims, info.geometry, info.container) = (image.dims(), Some(other.clone()), Container::Memory);
    Ok(Volume { info, voxels })
}

/// For each axis of the image the own axis that lies along it, and whether that runs the other way.
struct Turn {
    axes: [(usize, bool); 3],
    own: [usize; 3],
}

impl Turn {
    fn between(own: &Geometry, dims: [usize; 3], image: &Geometry) -> Self {
        let along = own.axes();
        let axes = image.axes().map(|(patient, reversed)| {
            let axis = (0..3).find(|&axis| along[axis].0 == patient).unwrap_or(patient);
            (axis, along[axis].1 != reversed)
        });
        Self { axes, own: dims }
    }

    fn dims(&self) -> [usize; 3] {
        self.axes.map(|(axis, _)| self.own[axis])
    }

    /// The affine of the turned voxels, from that of the own ones.
    fn affine(&self, own: &Affine) -> Affine {
        let mut turned = *own;
        for (row, from) in turned.iter_mut().zip(own) {
            for (to, &(axis, reversed)) in self.axes.iter().enumerate() {
                row[to] = if reversed { -from[axis] } else { from[axis] };
                row[3] += if reversed { from[axis] * (self.own[axis] - 1) as f64 } else { 0.0 };
            }
        }
        turned
    }

    fn voxels(&self, voxels: &Voxels) -> Result<Voxels> {
        macro_rules! turned {
            ($($variant:ident)*) => {
                match voxels {
                    $(Voxels::$variant(values) => Voxels::$variant(self.values(values)?),)*
                }
            };
        }
        Ok(turned!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64))
    }

    /// Values `[k][j][i]`, i fastest, as the image has them.
    fn values<T: Copy>(&self, values: &[T]) -> Result<Vec<T>> {
        let own_stride = [1, self.own[0], self.own[0] * self.own[1]];
        let place = |to: usize, index: usize| {
            let (axis, reversed) = self.axes[to];
            (if reversed { self.own[axis] - 1 - index } else { index }) * own_stride[axis]
        };
        let [ni, nj, nk] = self.dims();
        let mut turned = reserve(values.len(), "the label map")?;
        for (k, j) in (0..nk).flat_map(|k| (0..nj).map(move |j| (k, j))) {
            let row = place(2, k) + place(1, j);
            turned.extend((0..ni).map(|i| values[row + place(0, i)]));
        }
        Ok(turned)
    }
}

#[cfg(not(feature = "dicom"))]
impl Volume {
    /// Opens a label map, as [`Volume::open`], along the axes of the image `on` where both lie at the same places. This
    /// build is without DICOM objects.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_labels(
        path: impl AsRef<std::path::Path>,
        options: &OpenOptions,
        on: Option<&VolumeInfo>,
        _labels: &[u32],
    ) -> Result<Self> {
        let volume = Self::open(path, options)?;
        match on {
            Some(image) => along(volume, image),
            None => Ok(volume),
        }
    }
}
