//! Pictures without files: what a voxel can be, grey levels, labels, resampling, and masks as runs of pixels.

pub mod area;
pub mod intensity;
pub(crate) mod labels;
pub(crate) mod legend;
pub(crate) mod pass;
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "a CPU takes levels"))]
pub(crate) mod picture;
pub(crate) mod rank;
pub mod resample;
pub mod robust;
pub mod runs;
#[cfg(feature = "cuda")]
pub(crate) mod thresholds;
pub mod voxel;
pub(crate) mod voxels;

pub use intensity::{Intensity, IntensityMap, Statistics};
pub use labels::{LabelVolume, Labels};
pub use legend::{LabelTable, Legend, Segment};
pub use robust::SetAside;
pub use runs::Runs;
pub use voxel::{DataType, Voxel};
pub use voxels::Voxels;
