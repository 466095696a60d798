//! `medsegx segment --device ptxvm`: the whole path of the tool through the interpreted kernels, against the CPU.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::relative_l2;
use crate::common::tolerance::{self, F16};
use medsegx::volume::{OpenOptions, Volume};

/// Segments the liver on slice 12 of the sample volume with the demo weights; mask and logits lie in `folder`.
fn segment(folder: &Path, device: &str) -> Output {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/phantom.nii.gz");
    let (mask, logits) = (folder.join("mask.npy"), folder.join("logits.npy"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_medsegx"));
    command.arg("segment").arg(sample).arg("-o").arg(mask).arg("--logits").arg(logits);
    command.args(["--task", "CT_Liver", "--box", "22,43,110,109", "--slice", "12", "--quiet", "--device", device]);
    command.output().unwrap()
}

/// Mask and logits of a run that has to succeed.
fn run(device: &str) -> (Vec<bool>, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), device);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let values = |name: &str| {
        let volume = Volume::open(folder.path().join(name), &OpenOptions::default()).unwrap();
        let voxels = volume.dims().iter().product();
        (0..voxels).map(|index| volume.voxels().get(index).unwrap() as f32).collect::<Vec<f32>>()
    };
    (values("mask.npy").iter().map(|&v| v != 0.0).collect(), logits(&folder.path().join("logits.npy")))
}

/// The numbers of an f32 npy file.
fn logits(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn the_interpreter_segments_like_the_cpu() {
    let (expected, expected_logits) = run("cpu");
    let inside = expected.iter().filter(|&&v| v).count();
    assert!(inside > 1000, "the demo weights find the liver: {inside} voxels");
    for device in ["ptxvm", "ptxvm:fast"] {
        let (found, found_logits) = run(device);
        let (row, distance) = (tolerance::find(F16, "logits"), relative_l2(&found_logits, &expected_logits));
        assert!(distance <= row.limit, "{device}: logits {distance:.2e}, tolerance {:.0e}", row.limit);
        assert!(distance > 0.0, "{device}: f16 operands cannot give the CPU's f32 logits to the bit");
        let other = found.iter().zip(&expected).filter(|(f, e)| f != e).count();
        assert!(1000 * other <= inside, "{device}: {other} voxels differ of {inside}");
    }
}

#[test]
fn a_device_that_is_not_there_is_named_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), "ptxwm");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("auto, cpu, cuda, cuda:N, ptxvm or ptxvm:fast"), "{message}");
    assert!(!folder.path().join("mask.npy").exists());
}
