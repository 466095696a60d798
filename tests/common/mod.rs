//! What several test files need.
#![allow(dead_code, reason = "tests with a process of their own compile it too and use a part")]

#[cfg(feature = "cuda")]
pub mod answers;
#[cfg(feature = "cli")]
pub mod batch;
#[cfg(feature = "cli")]
pub mod command;
#[cfg(feature = "cuda")]
pub mod deferred;
pub mod dicom_file;
#[cfg(feature = "cli")]
pub mod faults;
pub mod fuzz;
pub mod gelu;
pub mod golden;
#[cfg(feature = "cuda")]
pub mod masks;
pub mod nifti_file;
pub mod one_op;
pub mod op_cases;
pub mod pictures;
pub mod pth;
pub mod readme;
pub mod reference;
pub mod run;
pub mod stages;
pub mod tolerance;
#[cfg(feature = "cuda")]
pub mod watched;

use std::io::Write;
use std::path::{Path, PathBuf};

/// A path below `../shared`, the folder of golden tensors and public data beside the project, or `None` after naming
/// the check that is skipped.
pub fn shared(check: &str, relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    let kind = match relative {
        _ if relative.starts_with("oracle/litemedsam") => "litemedsam",
        _ if relative.starts_with("data/dicom") || relative.starts_with("data/dcmqi") => "dicom",
        _ if relative.starts_with("data/") => "volumes",
        _ => "golden",
    };
    lacking(kind, check, &format!("../shared/{relative} is not there"));
    None
}

/// Leaves a check out for want of something of a `kind`, by name; where MEDSEGX_REQUIRE lists the kind, as CI's does,
/// it fails.
pub fn lacking(kind: &str, check: &str, why: &str) {
    let required = std::env::var("MEDSEGX_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|required| required == kind), "{check}: MEDSEGX_REQUIRE has {kind}, but {why}");
    skipped(check, why);
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
