//! What several test files need.
#![allow(dead_code, reason = "each test binary compiles its own copy and uses a part")]

pub mod gelu;
pub mod golden;
pub mod nifti_file;
pub mod one_op;
pub mod op_cases;
pub mod run;
pub mod stages;
pub mod tolerance;

use std::io::Write;
use std::path::{Path, PathBuf};

/// A path below `../shared`, the folder of golden tensors and public data beside the project, or `None` after naming
/// the check that is skipped. Written to the real stderr, which the test harness does not capture.
pub fn shared(check: &str, relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    skipped(check, &format!("../shared/{relative} is not there"));
    None
}

/// Says by name that a check is left out. Written to the real stderr, which the test harness does not capture.
pub fn skipped(check: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {check}: {why}");
}

/// Relative L2 distance of `found` from `expected`.
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let (mut difference, mut norm) = (0.0, 0.0);
    for (&f, &e) in found.iter().zip(expected) {
        difference += (f64::from(f) - f64::from(e)).powi(2);
        norm += f64::from(e).powi(2);
    }
    (difference / norm).sqrt()
}

/// The f32 tensor `name` of a safetensors file.
pub fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", path.display()));
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
