//! The binary as a user starts it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Runs it to its end.
pub fn medsegx(arguments: &[&str]) -> Output {
    start(arguments).output().unwrap()
}

/// It, ready to run.
pub fn start(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_medsegx"));
    command.args(arguments);
    command
}

/// What it said on stderr.
pub fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Synthetic weights of the smallest MedSegX, made once.
pub fn weights() -> &'static Path {
    static FILE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    synthetic(&FILE, "256")
}

/// Synthetic weights of the smallest SAM, made once.
pub fn sam() -> &'static Path {
    static FILE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    synthetic(&FILE, "1024")
}

fn synthetic(file: &'static OnceLock<(TempDir, PathBuf)>, size: &str) -> &'static Path {
    let (_, file) = file.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tiny.safetensors");
        let output = medsegx(&["synth", "--config", "tiny", "--image-size", size, "-o", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", message(&output));
        (folder, file)
    });
    file
}

/// Checks that `folder` holds these files and no others.
#[track_caller]
pub fn only_these_files(folder: &Path, names: &[&str]) {
    let mut found: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, names);
}
