//! Weights that come with the library, for trying things out: a small MedSegX trained on synthetic pictures only
//! (`tools/train_demo`).
//!
//! ```
//! # fn main() -> medsegx::Result<()> {
//! let weights = medsegx::weights::demo::open()?;
//! assert!(weights.config().adapters.is_some(), "it is steered by a place in MedSegDB's tree");
//! # Ok(())
//! # }
//! ```

use medsegx_demo_decoder::BYTES as DECODER;
use medsegx_demo_encoder::BYTES as ENCODER;

use super::Weights;
use crate::error::Result;

/// What to say wherever they are used.
pub const NOTICE: &str = "demo weights: trained on synthetic pictures, for trying things out and not for real scans";

/// The file `weights/demo.safetensors`, as it was when this library was built.
pub static FILE: &[u8] = &JOINED;

/// Two packages carry the file, because one holds at most 10 MB; they become one here while the library is compiled.
static JOINED: [u8; ENCODER.len() + DECODER.len()] = {
    let mut file = [0; ENCODER.len() + DECODER.len()];
    let (first, second) = file.split_at_mut(ENCODER.len());
    first.copy_from_slice(ENCODER);
    second.copy_from_slice(DECODER);
    file
};

/// Opens the demo weights.
///
/// # Errors
/// Memory that cannot be had.
pub fn open() -> Result<Weights> {
    Weights::from_static(FILE, "<demo weights>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_packages_carry_the_file_that_the_repository_holds() {
        let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/weights/demo.safetensors")).unwrap();
        assert!(file == FILE, "python3 tools/split_demo.py");
    }
}
