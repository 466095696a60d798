//! What goes wrong beside a batch: a disk that is full, a folder that is read-only, an image that vanishes, a
//! signal before the first case. The case in trouble fails with its reason, the others are done, and `--resume`
//! mends it.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::batch::{Cases, contents, rows, wait_for_records};
use crate::common::command::message;
use crate::common::lacking;

/// A file system in memory, for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    /// Of `kib` KiB at `path`; `None` where this process may not mount any, in which case `check` is left out.
    fn new(path: &Path, kib: usize, check: &str) -> Option<Mounted> {
        let options = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Mounted(path.to_path_buf()));
        }
        lacking("mount", check, "this process may not mount a file system");
        None
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn six() -> Cases {
    let mut cases = Cases::new();
    (0..6).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1));
    cases
}

fn temporary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(temporary(&path)),
            false if path.extension().is_some_and(|ending| ending == "tmp") => found.push(path),
            false => {}
        }
    }
    found
}

#[test]
fn a_full_disk_fails_the_cases_that_have_no_room_and_resume_does_them() {
    let cases = six();
    assert!(cases.run("clean", &["--quiet", "--qc"]).status.success());
    let out = cases.path("out");
    fs::create_dir(&out).unwrap();
    let Some(_disk) = Mounted::new(&out, 4096, "a full disk") else { return };
    // Room for a few files of the first case, and for none of the later ones.
    for left in [0, 20, 64] {
        let filler = out.join("filler");
        let mut size = 4096 << 10;
        while fs::write(&filler, vec![1; size]).is_err() {
            size -= 4096;
        }
        fs::write(&filler, vec![1; size - (left << 10)]).unwrap();
        let run = cases.run("out", &["--quiet", "--qc", "--resume"]);
        assert!(matches!(run.status.code(), Some(1 | 3)), "{left} KiB: {}", message(&run));
        assert!(message(&run).contains("[disk-full]"), "{left} KiB: {}", message(&run));
        assert_eq!(temporary(&out), Vec::<PathBuf>::new(), "{left} KiB");
        fs::remove_file(filler).unwrap();
    }
    let run = cases.run("out", &["--quiet", "--qc", "--resume"]);
    assert!(run.status.success(), "{}", message(&run));
    assert_eq!(contents(&cases.path("clean")), contents(&out));
}

#[test]
fn a_read_only_folder_fails_its_cases_alone() {
    let mut cases = Cases::new();
    cases.volume("a.nii.gz", 1, 1);
    let list = cases.path("list.jsonl");
    let line = |output: &str| {
        format!("{{\"image\": \"a.nii.gz\", \"output\": \"{output}\", \"flags\": \"--box 5,4,22,18\"}}\n")
    };
    fs::write(&list, line("closed/a.nii.gz") + &line("open/a.nii.gz")).unwrap();
    let closed = cases.path("out/closed");
    fs::create_dir_all(&closed).unwrap();
    let Some(disk) = Mounted::new(&closed, 1024, "a read-only folder") else { return };
    disk.remount("ro");
    let weights = crate::common::command::weights().to_str().unwrap();
    let out = cases.path("out").display().to_string();
    let fixed = ["batch", list.to_str().unwrap(), "--out", &out, "--weights", weights, "--device", "cpu", "--quiet"];
    let run = || crate::common::command::medsegx(&[&fixed[..], &["--resume", "--", "--task", "CT_Liver"]].concat());
    let first = run();
    assert_eq!(first.status.code(), Some(3), "{}", message(&first));
    let table = rows(&cases.path("out/summary.jsonl"));
    assert_eq!((&table[0]["code"], &table[1]["status"]), (&"read-only".into(), &"done".into()));
    disk.remount("rw");
    let second = run();
    assert!(second.status.success(), "{}", message(&second));
    let masks = ["closed", "open"].map(|folder| fs::read(cases.path("out").join(folder).join("a.nii.gz")).unwrap());
    assert_eq!(masks[0], masks[1]);
}

#[test]
fn an_image_that_vanishes_during_the_run_fails_its_case_alone() {
    let mut cases = Cases::new();
    (0..30).for_each(|seed| cases.volume(&format!("{seed:02}.nii.gz"), seed, 2));
    assert!(cases.run("clean", &["--quiet"]).status.success());
    let mut command = cases.batch("out", &["--quiet", "--resume"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_records(&cases.path("out"), 1);
    let (there, away) = (cases.path("29.nii.gz"), cases.path("away"));
    fs::rename(&there, &away).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let table = rows(&cases.path("out/summary.jsonl"));
    assert_eq!((&table[29]["status"], &table[29]["code"]), (&"failed".into(), &"not-found".into()));
    assert!(table[..29].iter().all(|row| row["status"] == "done"));
    fs::rename(&away, &there).unwrap();
    assert!(cases.run("out", &["--quiet", "--resume"]).status.success());
    assert_eq!(contents(&cases.path("clean")), contents(&cases.path("out")));
}

#[test]
fn a_signal_before_the_first_case_ends_it_as_a_stopped_run() {
    let cases = six();
    let mut child = cases.batch("out", &["--resume"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // From here on signals are listened to.
    let folder = cases.path("out/.medsegx");
    while !folder.exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", message(&ended));
    assert!(message(&ended).contains("stopped; --resume goes on from here"), "{}", message(&ended));
    assert_eq!(temporary(&cases.path("out")), Vec::<PathBuf>::new());
    assert!(cases.run("out", &["--resume", "--quiet"]).status.success());
}
