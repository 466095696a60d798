//! Calls of the C library that fail, one after another, in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::command::message;
use super::lacking;

pub type Files = BTreeMap<String, Vec<u8>>;

/// One fault in so many is tried, unless MEDSEGX_EVERY_FAULT is set, as `tools/long.sh` does: each is a process.
pub fn one_in(usual: usize) -> usize {
    if std::env::var_os("MEDSEGX_EVERY_FAULT").is_some() { 1 } else { usual }
}

/// `tests/common/faulty.c` as a library to put before the C library's; `None` without a C compiler.
pub fn shim(check: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faulty.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/faulty.c");
        let compiler =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"]).arg(&library).output();
        let compiler = compiler.ok()?;
        assert!(compiler.status.success(), "{}", message(&compiler));
        Some((folder, library))
    });
    if built.is_none() {
        lacking("cc", check, "there is no C compiler");
    }
    built.as_ref().map(|(_, library)| library.as_path())
}

/// What a run came to whose n-th call failed; `None` where there was no n-th.
pub fn faulty(run: &mut Command, shim: &Path, below: &Path, (call, errno): (&str, i32), at: usize) -> Option<Output> {
    let mark = tempfile::tempdir().unwrap();
    let mark = mark.path().join("fault");
    run.env("LD_PRELOAD", shim).env("FAULT_FOLDER", below).env("FAULT_MARK", &mark);
    run.env("FAULT_CALL", call).env("FAULT_AT", at.to_string()).env("FAULT_ERRNO", errno.to_string());
    let output = run.output().unwrap();
    mark.exists().then_some(output)
}

pub fn files(folder: &Path) -> Files {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}
