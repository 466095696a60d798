//! `medsegx info` on images.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::nifti_file::NiftiFile;

fn info(path: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_medsegx")).arg("info").arg(path).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn an_odd_volume_is_described_in_words_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.nii.gz");
    let mut file = NiftiFile::new(1, [3, 4, 2], 16, 5);
    file.rows = [[0.0, -2.0, 0.0, 1.0], [1.5, 0.0, 1.0, 2.0], [0.0, 0.0, 3.0, 3.0]];
    (file.slope, file.inter) = (2.0, 0.5);
    file.data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, file.swapped().bytes()).unwrap();

    let words = text(&info(&path, &[]));
    for part in [
        "NIfTI-1, big endian\n",
        "3 x 4 x 2 (i, j, k)",
        "F32, slope 2, intercept 0.5",
        "-7.5 to 36.5",
        "not finite   1\n",
        "orientation  ALS",
        "qform 1, sform 1; affine from Sform",
        "warning      qform (code 1) and sform (code 1) put the corners",
        "off a right angle (tilted gantry?)",
        "1 values are NaN or infinite",
        "uncompressed NIfTI, which its name does not say",
    ] {
        assert!(words.contains(part), "no '{part}' in\n{words}");
    }
    let json: serde_json::Value = serde_json::from_str(&text(&info(&path, &["--json"]))).unwrap();
    assert_eq!(json["dims"], serde_json::json!([3, 4, 2]));
    assert_eq!(json["data_type"], "f32");
    assert_eq!(json["geometry"]["orientation"], "ALS");
    assert_eq!(json["geometry"]["source"], "sform");
    assert!(
        (json["geometry"]["tilt"].as_f64().unwrap() - (1.0_f64 / 10.0_f64.sqrt()).asin().to_degrees()).abs() < 1e-6
    );
    assert_eq!(json["values"]["first_not_finite"], 0);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 5, "{}", json["warnings"]);
}

#[test]
fn time_points_and_constant_images_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    let mut file = NiftiFile::new(2, [3, 4, 2], 2, 0);
    file.dim = [4, 3, 4, 1, 2, 1, 1, 1];
    file.data[12..].fill(7);
    std::fs::write(&path, file.bytes()).unwrap();
    let words = text(&info(&path, &[]));
    assert!(words.contains("0 to 11") && words.contains("2 time points: segmenting needs --volume N"), "{words}");
    let words = text(&info(&path, &["--volume", "1"]));
    assert!(words.contains("7 to 7") && words.contains("all values are 7"), "{words}");
    assert_eq!(info(&path, &["--volume", "2"]).status.code(), Some(2));
}

#[test]
fn failures_have_their_exit_codes_and_a_closed_pipe_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    let missing = info(&path, &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("a.nii"));
    assert_eq!(info(&path, &["--colour"]).status.code(), Some(2));

    std::fs::write(&path, NiftiFile::new(1, [3, 4, 2], 4, 0).bytes()).unwrap();
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_medsegx")).arg("info").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
