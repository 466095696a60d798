//! Weights that come with the library, for trying things out: a small MedSegX trained on synthetic pictures only
//! (`tools/train_demo`).

use super::Weights;
use crate::error::Result;

/// What to say wherever they are used.
pub const NOTICE: &str = "demo weights: trained on synthetic pictures, for trying things out";

/// The file `weights/demo.safetensors`, as it was when this library was built.
pub static FILE: &[u8] = include_bytes!("../../weights/demo.safetensors");

/// Opens the demo weights.
///
/// # Errors
/// Memory that cannot be had.
pub fn open() -> Result<Weights> {
    Weights::from_static(FILE, "<demo weights>")
}
