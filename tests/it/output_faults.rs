//! The n-th write, fsync or open below a run's outputs fails, for n = 1, 2, 3, .. until none is left, and the disk
//! fills at 200 places of the outputs of a run and of each output by itself (fewer, unless all are asked for): every
//! file is whole or not there, nothing else is left, and the exit code tells.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::batch::{Cases, contents, volume};
use crate::common::command::{message, start, weights};
use crate::common::faults::{Files, faulty, files, one_in, shim};
use crate::dicom_seg::supine;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EACCES: i32 = 13;

/// What fails, with what, and whether every such failure ends the run: a folder that cannot be synced does not, since
/// not every file system can, nor does a lock that cannot be had.
const KINDS: [(&str, i32, bool); 3] = [("write", ENOSPC, true), ("fsync", EIO, false), ("open", EACCES, false)];

/// More calls of a kind than any run here makes.
const MOST_CALLS: usize = 400;

/// What segment writes, and of what.
const OUTPUTS: [(&str, &str, &str); 15] = [
    ("volume", "-o", "mask.nii"),
    ("volume", "-o", "mask.nii.gz"),
    ("volume", "-o", "mask.nrrd"),
    ("volume", "-o", "mask.seg.nrrd"),
    ("volume", "-o", "mask.mha"),
    ("volume", "-o", "mask.npy"),
    ("volume", "-o", "mask.npz"),
    ("volume", "--logits", "logits.npy"),
    ("volume", "--preview", "preview.png"),
    ("volume", "--stats", "stats.csv"),
    ("volume", "--stats", "stats.json"),
    ("volume", "--report", "report.json"),
    ("picture", "-o", "mask.png"),
    ("series", "-o", "mask.dcm"),
    ("series", "-o", "mask.rtstruct.dcm"),
];

/// Places of an output behind which the disk is full.
const PLACES: usize = 200;

/// Empties `folder`, or fills it with older files of the names of `clean`.
fn prepare(folder: &Path, clean: &Files, older: bool) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir(folder).unwrap();
    if older {
        clean.keys().for_each(|name| fs::write(folder.join(name), b"old").unwrap());
    }
}

/// A command that writes into a folder, and what it writes where nothing fails.
struct Job<'a> {
    folder: PathBuf,
    command: Box<dyn Fn(&Path) -> Command + 'a>,
    clean: Files,
}

impl<'a> Job<'a> {
    fn new(folder: PathBuf, command: impl Fn(&Path) -> Command + 'a) -> Job<'a> {
        fs::create_dir(&folder).unwrap();
        let output = command(&folder).output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
        let clean = files(&folder);
        assert!(!clean.is_empty() && clean.values().all(|bytes| bytes.len() > 3), "{:?}", clean.keys());
        Job { folder, command: Box::new(command), clean }
    }

    /// Runs it with one fault; whether there was one, and whether the run failed.
    fn holds(&self, shim: &Path, fault: (&str, i32), at: usize, older: bool) -> Option<bool> {
        prepare(&self.folder, &self.clean, older);
        let output = faulty(&mut (self.command)(&self.folder), shim, &self.folder, fault, at)?;
        let (found, said) = (files(&self.folder), message(&output));
        let what = format!("{} {at}, older files {older}: {said}", fault.0);
        let whole =
            |(name, bytes): (&String, &Vec<u8>)| self.clean.get(name) == Some(bytes) || older && bytes == b"old";
        assert!(found.iter().all(whole), "half-written: {:?}; {what}", found.keys());
        if output.status.success() {
            assert!(found == self.clean, "a run that succeeded has other files: {:?}; {what}", found.keys());
        } else {
            assert_eq!(output.status.code(), Some(1), "{what}");
            let cause = std::io::Error::from_raw_os_error(fault.1).to_string();
            let cause = cause.split(" (os").next().unwrap();
            assert!(said.contains(cause) && !said.contains("panicked"), "{what}");
        }
        Some(!output.status.success())
    }

    /// Every kind, one call after another, onto nothing and onto older files; where not all are asked for, in turns.
    fn each_call_fails(&self, shim: &Path) {
        let both = one_in(2) == 1;
        for (call, errno, must_fail) in KINDS {
            for first in if both { &[0, 1][..] } else { &[0] } {
                let older = |at: usize| if both { *first == 1 } else { at % 2 == 1 };
                let of = |at| self.holds(shim, (call, errno), at, older(at));
                let failed: Vec<bool> = (1..MOST_CALLS).map_while(of).collect();
                assert!(!failed.is_empty(), "no {call} was seen");
                assert!(failed.len() < MOST_CALLS - 1, "{call} without an end");
                let told = failed.iter().filter(|&&failed| failed).count();
                assert!(told >= self.clean.len(), "{call}: {told} of {} told", failed.len());
                assert!(!must_fail || told == failed.len(), "{call}: {told} of {} told", failed.len());
            }
        }
    }

    /// The disk fills at `places` offsets, evenly through all that is written.
    fn fills_everywhere(&self, shim: &Path, places: usize) {
        let total: usize = self.clean.values().map(Vec::len).sum();
        for place in 0..places {
            let failed = self.holds(shim, ("bytes", ENOSPC), place * total / places, place % 2 == 1);
            assert_eq!(failed, Some(true), "full after {} of {total} bytes", place * total / places);
        }
    }

    /// The disk fills at `places` offsets of its one output: none of it is there, or the older file. The output may be
    /// another one at each run, as the time is in it.
    fn is_never_cut(&self, shim: &Path, places: usize) {
        let (name, clean) = self.clean.iter().next().unwrap();
        // Reports are longer and shorter by the digits of their times.
        let total = if name.starts_with("report") { clean.len() * 9 / 10 } else { clean.len() };
        for place in 0..places {
            let (at, older) = (place * total / places, place % 2 == 1);
            prepare(&self.folder, &self.clean, older);
            let output = faulty(&mut (self.command)(&self.folder), shim, &self.folder, ("bytes", ENOSPC), at);
            let output = output.unwrap_or_else(|| panic!("{name}: more than {at} of {total} bytes were not written"));
            let what = format!("{name}, full after {at} of {total} bytes, older file {older}: {}", message(&output));
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert!(what.contains("No space left") && !what.contains("panicked"), "{what}");
            let left = if older { Files::from([(name.clone(), b"old".to_vec())]) } else { Files::new() };
            assert!(files(&self.folder) == left, "left behind: {:?}; {what}", files(&self.folder).keys());
        }
    }
}

#[test]
fn segment_leaves_whole_files_whatever_fails() {
    let Some(shim) = shim("faults of segment's outputs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.nii.gz");
    fs::write(&image, volume(1, 2)).unwrap();
    let job = Job::new(folder.path().join("out"), |out| {
        let mut run =
            start(&["segment", "--task", "CT_Liver", "--box3d", "5,4,0,22,18,1", "--device", "cpu", "--force"]);
        run.args(["--threads", "1"]).arg(&image).arg("--weights").arg(weights());
        let outputs = [("-o", "mask.nii.gz"), ("--logits", "logits.npy"), ("--preview", "preview.png")];
        run.args(outputs.iter().flat_map(|(flag, name)| [flag.into(), out.join(name)]));
        run
    });
    assert_eq!(job.clean.len(), 3);
    job.each_call_fails(shim);
    job.fills_everywhere(shim, PLACES / one_in(4));
}

#[test]
fn no_output_is_cut_where_the_disk_fills() {
    let Some(shim) = shim("a full disk at each output") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (image, series) = (folder.path().join("image.nii.gz"), supine(folder.path()));
    fs::write(&image, volume(1, 2)).unwrap();
    for (of, flag, name) in OUTPUTS {
        let (input, region) = match of {
            "picture" => (Path::new("tests/data/phantom_preview.png"), "2,2,0,9,8,0"),
            "series" => (series.as_path(), "2,2,0,9,8,1"),
            _ => (image.as_path(), "2,2,0,9,8,1"),
        };
        let aside = folder.path().join("aside.nii.gz");
        let job = Job::new(folder.path().join(name), |out| {
            let mut run = start(&["segment", "--task", "CT_Liver", "--box3d", region, "--device", "cpu"]);
            run.args(["--threads", "1", "--force"]).arg(input).arg("--weights").arg(weights());
            run.arg(flag).arg(out.join(name));
            if flag != "-o" {
                run.arg("-o").arg(&aside);
            }
            run
        });
        assert_eq!(job.clean.keys().collect::<Vec<_>>(), [name]);
        job.is_never_cut(shim, PLACES / one_in(50));
    }
}

#[test]
fn tune_leaves_a_whole_file_or_none_whatever_fails() {
    let Some(shim) = shim("faults of tune's output") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [image, labels] = ["phantom", "phantom_labels"].map(|name| format!("tests/data/{name}.nii.gz"));
    let job = Job::new(folder.path().join("out"), |out| {
        let mut run = start(&["tune", &image, "--labels", &labels, "--label", "1=CT_Liver", "--slices", "12"]);
        run.args(["--steps", "1", "--validate", "none", "--device", "cpu", "--force", "--weights"]).arg(weights());
        run.arg("-o").arg(out.join("tuned.safetensors"));
        run
    });
    job.each_call_fails(shim);
    job.fills_everywhere(shim, PLACES / one_in(20));
}

#[test]
fn a_batch_resumes_to_the_same_bytes_whatever_failed() {
    let Some(shim) = shim("faults of batch's outputs") else { return };
    let mut cases = Cases::new();
    (0..2).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1));
    let clean = cases.run("clean", &["--quiet"]);
    assert!(clean.status.success(), "{}", message(&clean));
    let (clean, out) = (contents(&cases.path("clean")), cases.path("out"));
    let holds = |fault: (&str, i32), at: usize| {
        prepare(&out, &Files::new(), false);
        let mut run = cases.batch("out", &["--quiet"]);
        let output = faulty(&mut run, shim, &out, fault, at)?;
        let what = format!("{} {at}: {}", fault.0, message(&output));
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)) && !what.contains("panicked"), "{what}");
        let masks = contents(&out).into_iter().filter(|(name, _)| name.ends_with(".nii.gz"));
        masks.for_each(|(name, bytes)| assert!(clean[&name] == bytes, "half-written {name}: {what}"));
        let again = cases.run("out", &["--quiet", "--resume"]);
        assert!(again.status.success(), "{what}; resumed: {}", message(&again));
        assert!(contents(&out) == clean, "{what}: other files than without a fault: {:?}", contents(&out).keys());
        Some(!output.status.success())
    };
    for (call, errno, _) in KINDS {
        let failed: Vec<bool> = (1..MOST_CALLS).map_while(|at| holds((call, errno), at)).collect();
        assert!(failed.len() < MOST_CALLS - 1, "{call} without an end");
        assert!(failed.contains(&true), "no {call} failed a case");
    }
    let (total, places) = (clean.values().map(Vec::len).sum::<usize>(), PLACES / one_in(20));
    for place in 0..places {
        let failed = holds(("bytes", ENOSPC), place * total / places);
        assert!(failed.is_some(), "full after {} of {total} bytes", place * total / places);
    }
}
