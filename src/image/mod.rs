//! Pictures without files: what a voxel can be, grey levels, resampling, and masks as runs of pixels.

pub mod area;
pub mod intensity;
pub mod resample;
pub mod robust;
pub mod runs;
#[cfg(feature = "cuda")]
pub(crate) mod thresholds;
pub mod voxel;

pub use intensity::{Intensity, IntensityMap, Statistics};
pub use robust::SetAside;
pub use runs::Runs;
pub use voxel::{DataType, Voxel};
