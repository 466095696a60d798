//! The binary in surroundings that programs often do not reckon with: closed pipes, full disks, names that are no text,
//! signals.
#![cfg(all(feature = "cli", unix))]

use crate::common;
use crate::common::command;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::nifti_file::NiftiFile;
use command::{message, only_these_files, start, weights};
use medsegx::volume::npy;

/// Every subcommand that prints.
const PRINTING: [&[&str]; 5] = [
    &["tasks", "liver"],
    &["tasks", "--json"],
    &["plan", "--config", "vit_h", "--json"],
    &["plan", "--config", "tiny"],
    &["kernels"],
];

#[test]
fn a_reader_that_closes_the_pipe_has_seen_enough() {
    let info = ["info", weights().to_str().unwrap(), "--json"];
    for arguments in PRINTING.into_iter().chain([&info[..]]) {
        let mut child = start(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), message(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_or_stderr_is_no_panic() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        common::skipped("full disk", "there is no /dev/full");
        return;
    };
    for arguments in PRINTING {
        let output = start(arguments).stdout(full.try_clone().unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(message(&output).contains("No space left"), "{arguments:?}: {}", message(&output));
    }
    for (arguments, code) in [(&["info", "none"][..], 1), (&["synth", "--config", "huge", "-o", "x"][..], 2)] {
        let output = start(arguments).stderr(full.try_clone().unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn names_need_not_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let [image, mask, logits, report, model] =
        [&b"i\xff.nii"[..], b"m\xfe.nii", b"l\xff.npy", b"r\xff.json", b"w\xff"].map(path);
    std::fs::write(&image, NiftiFile::new(1, [20, 20, 2], 4, 0).bytes()).unwrap();
    std::fs::copy(weights(), &model).unwrap();
    let mut run = start(&["segment", "--task", "CT_Liver", "--box3d", "1,1,0,15,15,1", "--device", "cpu"]);
    run.arg(&image).arg("-o").arg(&mask).arg("--logits").arg(&logits).arg("--report").arg(&report);
    let output = run.arg("--weights").arg(&model).output().unwrap();
    assert!(output.status.success(), "{}", message(&output));
    for file in [&mask, &logits, &report] {
        assert!(file.is_file(), "{}", file.display());
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(report["input"]["file"].as_str().unwrap().ends_with("i\u{fffd}.nii"), "{report}");
    for file in [&image, &model] {
        assert!(start(&["info", "--json"]).arg(file).output().unwrap().status.success(), "{}", file.display());
    }
}

/// Whether the process handles SIGTERM, as far as can be seen: a child shows its parent's open files until it has
/// become the binary.
fn listens(id: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else { return !Path::new("/proc").is_dir() };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (15 - 1)) != 0
}

/// Starts a long run, ends it when `begun` says so, and checks that it obeyed and left nothing of its own.
fn interrupted(run: &mut Command, folder: &Path, left: &[&str], begun: impl Fn(u32) -> bool) {
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !(listens(child.id()) && begun(child.id())) {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "it never began");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.code() == Some(130) && said.contains("cancelled"), "{status}, signal {:?}: {said}", status.signal());
    only_these_files(folder, left);
}

#[test]
fn a_signal_ends_a_run_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |path: &PathBuf| path.to_str().unwrap().to_string();
    let any_file = |_| std::fs::read_dir(folder.path()).unwrap().count() > 0;
    interrupted(start(&["synth", "--config", "vit_l", "-o"]).arg(path("w")), folder.path(), &[], any_file);

    if !Path::new("/proc/self/fd").is_dir() {
        common::skipped("signal to a running segment", "there is no /proc/self/fd");
        return;
    }
    let slices = 4000;
    let values: Vec<u8> = (0..slices * 8 * 8).map(|i| (i % 251) as u8).collect();
    npy::write(&mut File::create(path("image.npy")).unwrap(), &[slices, 8, 8], &values).unwrap();
    let (image, mask, logits) = (text(&path("image.npy")), text(&path("mask.npy")), text(&path("logits.npy")));
    let boxes = format!("0,0,0,7,7,{}", slices - 1);
    let files = ["segment", &image, "-o", &mask, "--logits", &logits, "--box3d", &boxes];
    let model = ["--task", "CT_Liver", "--weights", weights().to_str().unwrap(), "--device", "cpu"];
    // The logits wait in a nameless file, which shows among the open ones.
    let begun = |id: u32| {
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        open.filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|file| file.to_string_lossy().contains("deleted"))
    };
    interrupted(&mut start(&[&files[..], &model].concat()), folder.path(), &["image.npy"], begun);

    // While later slices are read and those of before are being compressed.
    std::fs::remove_file(path("image.npy")).unwrap();
    std::fs::write(path("image.nii.gz"), NiftiFile::new(1, [8, 8, slices as i64], 4, 0).gzip()).unwrap();
    let (image, mask) = (text(&path("image.nii.gz")), text(&path("mask.nii.gz")));
    let files = ["segment", &image, "-o", &mask, "--logits", &logits, "--box3d", &boxes, "--intensity", "soft"];
    interrupted(&mut start(&[&files[..], &model].concat()), folder.path(), &["image.nii.gz"], begun);
}
