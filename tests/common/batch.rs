//! Manifests of small volumes, and what a batch made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::command;
use super::nifti_file::{NiftiFile, gzip};

/// A folder with images and a manifest.
pub struct Cases {
    pub folder: tempfile::TempDir,
    lines: Vec<String>,
    /// Of all cases.
    pub flags: Vec<&'static str>,
}

impl Cases {
    /// An empty one.
    pub fn new() -> Cases {
        Cases { folder: tempfile::tempdir().unwrap(), lines: Vec::new(), flags: vec!["--task", "CT_Liver"] }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a line.
    pub fn line(&mut self, image: &str, flags: &str) {
        self.lines.push(format!("{image},\"{flags}\""));
    }

    /// Adds a volume of `[30, 24, slices]` voxels, its pattern by `seed`, boxed on all slices.
    pub fn volume(&mut self, name: &str, seed: usize, slices: usize) {
        std::fs::write(self.path(name), volume(seed, slices)).unwrap();
        self.line(name, &format!("--box3d 5,4,0,22,18,{}", slices - 1));
    }

    /// Writes the manifest.
    pub fn manifest(&self) -> PathBuf {
        let path = self.path("manifest.csv");
        std::fs::write(&path, format!("image,flags\n{}\n", self.lines.join("\n"))).unwrap();
        path
    }

    /// `medsegx batch` on the manifest into the folder `out`, ready to run.
    pub fn batch(&self, out: &str, more: &[&str]) -> Command {
        let (manifest, out) = (self.manifest(), self.path(out));
        let weights = command::weights().to_str().unwrap();
        let fixed = ["batch", manifest.to_str().unwrap(), "--out", out.to_str().unwrap(), "--weights", weights];
        let flags = ["--device", "cpu", "--threads", "1"];
        command::start(&[&fixed[..], &flags, more, &["--"], &self.flags].concat())
    }

    /// Runs it to its end.
    pub fn run(&self, out: &str, more: &[&str]) -> Output {
        self.batch(out, more).output().unwrap()
    }

    /// `medsegx batch --merge` of `folders`.
    pub fn merge(&self, folders: &[&str], more: &[&str]) -> Output {
        let manifest = self.manifest();
        let folders: Vec<String> = folders.iter().map(|name| self.path(name).display().to_string()).collect();
        let mut arguments = vec!["batch", manifest.to_str().unwrap()];
        arguments.extend(more);
        arguments.push("--merge");
        arguments.extend(folders.iter().map(String::as_str));
        arguments.push("--");
        arguments.extend(&self.flags);
        command::medsegx(&arguments)
    }
}

/// A .nii.gz of `[30, 24, slices]` voxels with structure in it.
pub fn volume(seed: usize, slices: usize) -> Vec<u8> {
    let mut file = NiftiFile::new(1, [30, 24, slices as i64], 4, 0);
    let value = |index: usize| {
        let (x, y, z) = (index % 30, index / 30 % 24, index / 720);
        ((x * (7 + seed) + y * 3 + z) % 31 + 10 * ((x / 4 + y / 5 + seed) % 3)) as i16
    };
    file.data = (0..30 * 24 * slices).flat_map(|index| value(index).to_le_bytes()).collect();
    gzip(&file.bytes())
}

/// Every file below `folder` that a run leaves for its user, with its bytes; of the tables all but the seconds.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name == ".medsegx" {
            let hidden = |folder: &str| {
                let names = std::fs::read_dir(path.join(folder)).unwrap();
                let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
                names.sort();
                names.join(" ").into_bytes()
            };
            found.insert("records".into(), hidden("cases"));
            found.insert("locks".into(), hidden("locks"));
        } else if path.is_dir() {
            found.extend(contents(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else if name.ends_with(".jsonl") || name.ends_with(".csv") {
            found.insert(name.clone(), if name.ends_with(".csv") { Vec::new() } else { without_seconds(&path) });
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// The rows of a `.jsonl` table.
pub fn rows(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn without_seconds(path: &Path) -> Vec<u8> {
    let mut rows = rows(path);
    rows.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("seconds")));
    serde_json::to_vec(&rows).unwrap()
}

/// Waits until `count` cases of the batch in `out` have a record; panics after a minute.
pub fn wait_for_records(out: &Path, count: usize) {
    let start = std::time::Instant::now();
    let records = || {
        let entries = std::fs::read_dir(out.join(".medsegx/cases")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".json")).count()
    };
    while records() < count {
        assert!(start.elapsed().as_secs() < 60, "{count} cases never came");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
