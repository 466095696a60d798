//! The n-th read, mapping, thread or large allocation of a run fails, for n = 1, 2, 3, .. (of reads and allocations
//! one in so many, unless all are asked for) until none is left: the run says why and leaves whole files or none, or
//! did without.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::batch::{contents, volume};
use crate::common::command::{message, start, weights};
use crate::common::faults::{Files, faulty, one_in, shim};
use crate::common::nifti_file::{NiftiFile, gzip};

/// What fails, with what, and how its errors are worded.
type Kind = (&'static str, i32, &'static [&'static str]);

const KINDS: [Kind; 4] = [
    ("read", 5, &["Input/output error"]),
    ("mmap", 12, &["Cannot allocate memory"]),
    ("thread", 11, &["Resource temporarily unavailable", "cannot listen for interrupts"]),
    ("memory", 12, &["could not be allocated", "gave up", "out of memory", "Cannot allocate memory"]),
];

/// More calls of a kind than any run here makes.
const MOST_CALLS: usize = 2000;

/// A folder with an image of two slices, a manifest and weights.
fn inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let at = |name: &str| folder.path().join("in").join(name);
    fs::write(at("image.nii.gz"), volume(1, 2)).unwrap();
    fs::write(at("manifest.csv"), "image,flags\nimage.nii.gz,\"--box3d 5,4,0,22,18,1\"\n").unwrap();
    fs::copy(weights(), at("weights.safetensors")).unwrap();
    fs::write(at("labels.nii.gz"), labels()).unwrap();
    folder
}

/// A block with label 1 on the second slice of that image.
fn labels() -> Vec<u8> {
    let mut file = NiftiFile::new(1, [30, 24, 2], 2, 0);
    let inside = |index: usize| (6..21).contains(&(index % 30)) && (5..18).contains(&(index / 30 % 24));
    file.data = (0..30 * 24 * 2).map(|index| u8::from(index >= 720 && inside(index))).collect();
    gzip(&file.bytes())
}

/// Files below `folder`, but for those that hold times.
fn written(folder: &Path) -> Files {
    let mut found = contents(folder);
    found.retain(|name, _| name.contains('.') && !name.contains("summary") && !name.ends_with(".json"));
    found
}

/// Runs `command`, which writes to the folder that it is given, with a fault in each call of each kind; of reads, of
/// which those of weights are hundreds and alike, and of allocations, in every so many of `steps`.
fn each_fault_is_told(
    inputs: &Path,
    (check, kinds, steps): (&str, &[Kind], [usize; 2]),
    command: impl Fn(&Path, &Path) -> Command,
) {
    let Some(shim) = shim(check) else { return };
    let (input, out): (PathBuf, PathBuf) = (inputs.join("in"), inputs.join("out"));
    let fresh = || {
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
    };
    fresh();
    let output = command(&input, &out).output().unwrap();
    assert!(output.status.success(), "{}", message(&output));
    let clean = written(&out);
    assert!(!clean.is_empty());
    for &(call, errno, words) in kinds {
        let mut told = 0;
        let step = match call {
            "read" => steps[0],
            "memory" => steps[1],
            _ => 1,
        };
        for at in (1..MOST_CALLS).step_by(step) {
            fresh();
            let Some(output) = faulty(&mut command(&input, &out), shim, &input, (call, errno), at) else { break };
            assert!(at + step < MOST_CALLS, "{call} without an end");
            let (said, found) = (message(&output), written(&out));
            let what = format!("{call} {at}: {:?}: {said}", output.status);
            assert!(!said.contains("panicked"), "{what}");
            assert!(found.iter().all(|(name, bytes)| clean.get(name) == Some(bytes)), "{:?}: {what}", found.keys());
            match output.status.code() {
                Some(0) => assert!(found == clean, "a run that succeeded has other files: {:?}: {what}", found.keys()),
                Some(1 | 3) => {
                    assert!(words.iter().any(|word| said.contains(word)), "{what}");
                    told += 1;
                }
                _ => panic!("{what}"),
            }
        }
        assert!(told > 0, "no {call} was told");
    }
}

#[test]
fn segment_says_what_failed() {
    let inputs = inputs();
    each_fault_is_told(inputs.path(), ("faults of segment's inputs", &KINDS, [one_in(16), one_in(7)]), |input, out| {
        let mut run = start(&["segment", "--task", "CT_Liver", "--box3d", "5,4,0,22,18,1", "--device", "cpu"]);
        run.args(["--threads", "2"]).arg(input.join("image.nii.gz"));
        run.arg("--weights").arg(input.join("weights.safetensors"));
        let outputs = [("-o", "mask.nii.gz"), ("--preview", "preview.png"), ("--report", "report.json")];
        run.args(outputs.iter().flat_map(|(flag, name)| [flag.into(), out.join(name)]));
        run
    });
}

/// Of a slice of 30 x 24 pixels, with the tiny weights.
fn tune_says_what_failed(train: &str, kinds: &[Kind]) {
    let inputs = inputs();
    each_fault_is_told(inputs.path(), ("faults of tune's inputs", kinds, [one_in(32), one_in(15)]), |input, out| {
        let mut run = start(&["tune", "--label", "1=CT_Liver", "--slices", "1", "--steps", "1", "--validate", "none"]);
        run.arg(input.join("image.nii.gz")).arg("--labels").arg(input.join("labels.nii.gz"));
        run.args(["--train", train, "--device", "cpu", "--threads", "2", "--memory", "1M"]);
        run.arg("--weights").arg(input.join("weights.safetensors")).arg("-o").arg(out.join("tuned.safetensors"));
        run
    });
}

#[test]
fn tune_of_the_decoder_says_what_failed() {
    tune_says_what_failed("decoder", &KINDS);
}

#[test]
fn tune_of_all_says_what_failed() {
    tune_says_what_failed("all", &KINDS[3..]);
}

#[test]
fn batch_says_what_failed() {
    let inputs = inputs();
    each_fault_is_told(inputs.path(), ("faults of batch's inputs", &KINDS, [one_in(32), one_in(3)]), |input, out| {
        let mut run = start(&["batch", "--device", "cpu", "--threads", "2"]);
        run.arg(input.join("manifest.csv")).arg("--out").arg(out);
        run.arg("--weights").arg(input.join("weights.safetensors"));
        run.args(["--", "--task", "CT_Liver"]);
        run
    });
}
