//! A batch that is killed, stopped, or run twice at once ends with the files of one clean run.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::batch::{Cases, contents, rows, volume, wait_for_records};
use crate::common::command::message;

/// Twelve volumes and four bad cases.
fn many() -> Cases {
    let mut cases = Cases::new();
    for seed in 0..12 {
        cases.volume(&format!("{seed:02}.nii.gz"), seed, 1);
    }
    cases.line("vanished.nii.gz", "--box3d 1,1,0,9,9,1");
    fs::write(cases.path("noise.nii.gz"), [7; 900]).unwrap();
    cases.line("noise.nii.gz", "--box3d 5,4,0,22,18,2");
    let whole = volume(2, 3);
    fs::write(cases.path("short.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    cases.line("short.nii.gz", "--box3d 5,4,0,22,18,2");
    fs::write(cases.path("misspelt.nii.gz"), &whole).unwrap();
    cases.line("misspelt.nii.gz", "--box3d 5,4,0,22,18,2 --task CT_Livver");
    cases
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_twice_and_resumed_it_has_the_bytes_of_a_clean_run() {
    let cases = many();
    let clean = cases.run("clean", &["--quiet"]);
    assert_eq!(clean.status.code(), Some(3), "{}", message(&clean));
    for records in [2, 6] {
        let mut child = spawn(cases.batch("out", &["--resume"]));
        wait_for_records(&cases.path("out"), records);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // As a kill in the middle of a write leaves them.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or("host".into());
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    fs::write(cases.path("out").join(format!(".medsegx-{host}-1-xyz.tmp")), b"half").unwrap();
    let done = cases.path("out").join("00.nii.gz");
    let before = fs::metadata(&done).unwrap().modified().unwrap();
    let last = cases.run("out", &["--resume"]);
    assert_eq!(last.status.code(), Some(3), "{}", message(&last));
    assert_eq!(contents(&cases.path("clean")), contents(&cases.path("out")));
    assert_eq!(fs::metadata(&done).unwrap().modified().unwrap(), before, "what is done is left as it is");
}

#[test]
fn what_a_case_follows_from_decides_whether_it_is_done_again() {
    let mut cases = Cases::new();
    (0..3).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1));
    let out = cases.path("out");
    assert!(cases.run("out", &["--quiet"]).status.success());
    let time = |case: usize| fs::metadata(out.join(format!("{case}.nii.gz"))).unwrap().modified().unwrap();
    let redone = |cases: &Cases, more: &[&str]| {
        let before: Vec<_> = (0..3).map(time).collect();
        let run = cases.run("out", &[&["--resume", "--quiet"], more].concat());
        assert!(run.status.success(), "{}", message(&run));
        (0..3).filter(|&case| time(case) != before[case]).collect::<Vec<_>>()
    };
    assert!(redone(&cases, &[]).is_empty());
    // The same bytes at another time.
    let same = fs::read(cases.path("0.nii.gz")).unwrap();
    fs::write(cases.path("0.nii.gz"), same).unwrap();
    assert!(redone(&cases, &[]).is_empty());
    fs::write(cases.path("1.nii.gz"), volume(9, 1)).unwrap();
    let dry = cases.run("out", &["--resume", "--quiet", "--dry-run"]);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.starts_with("1 of 3 cases, 2 are done; memory"), "{said}");
    assert_eq!(redone(&cases, &[]), [1], "another image");
    fs::write(out.join("2.nii.gz"), b"cut").unwrap();
    assert_eq!(redone(&cases, &[]), [2], "a mask that is not as it was left");
    let (size, hidden) = (fs::metadata(out.join("0.nii.gz")).unwrap(), fs::read(out.join("0.nii.gz")).unwrap());
    let other: Vec<u8> = hidden.iter().map(|byte| byte ^ 1).collect();
    fs::write(out.join("0.nii.gz"), other).unwrap();
    let file = fs::File::options().write(true).open(out.join("0.nii.gz")).unwrap();
    file.set_modified(size.modified().unwrap()).unwrap();
    assert!(redone(&cases, &[]).is_empty(), "of the same size and time");
    assert_eq!(redone(&cases, &["--rehash"]), [0]);
    assert_eq!(fs::read(out.join("0.nii.gz")).unwrap(), hidden);
    cases.flags.extend(["--mask", "1"]);
    assert_eq!(redone(&cases, &[]), [0, 1, 2], "another setting");
}

#[test]
fn two_workers_on_one_folder_do_each_case_once() {
    let cases = many();
    assert_eq!(cases.run("clean", &["--quiet"]).status.code(), Some(3));
    // Each writes the manifest, so both are made before one of them reads it.
    let mut workers = [(); 2].map(|()| cases.batch("out", &["--resume", "--quiet"])).map(spawn);
    let codes = workers.each_mut().map(|worker| worker.wait().unwrap().code());
    assert_eq!(codes, [Some(3); 2]);
    assert_eq!(contents(&cases.path("clean")), contents(&cases.path("out")));
}

#[test]
fn signals_stop_it_at_once_and_later_ones_change_nothing() {
    let mut cases = Cases::new();
    (0..40).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 3));
    let out = cases.path("out");
    let mut child = spawn(cases.batch("out", &["--resume"]));
    wait_for_records(&out, 2);
    for signal in ["-TERM", "-CONT", "-INT", "-TERM"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    let start = Instant::now();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
    let rows = rows(&out.join("summary.jsonl"));
    let done: Vec<_> = rows.iter().filter(|row| row["status"] == "done").collect();
    assert!(done.len() >= 2 && done.len() < 40, "{}", done.len());
    let masks = names.iter().filter(|name| name.ends_with(".nii.gz")).count();
    assert_eq!(masks, done.len(), "a mask a row");
    assert_eq!(rows.iter().filter(|row| row["status"] == "pending").count(), 40 - done.len());
}

#[test]
fn a_folder_that_cannot_be_made_fails_its_case_alone() {
    let mut cases = Cases::new();
    cases.volume("a.nii.gz", 1, 1);
    fs::create_dir(cases.path("out")).unwrap();
    fs::write(cases.path("out/blocked"), b"a file").unwrap();
    let list = cases.path("list.jsonl");
    let line =
        |output: &str| format!("{{\"image\": \"a.nii.gz\", \"output\": \"{output}\", \"flags\": \"--box 5,4,22,18\"}}");
    fs::write(&list, format!("{}\n{}\n", line("blocked/a.nii.gz"), line("b.nii.gz"))).unwrap();
    let weights = crate::common::command::weights().to_str().unwrap();
    let out = cases.path("out").display().to_string();
    let fixed = ["batch", list.to_str().unwrap(), "--out", &out, "--weights", weights, "--device", "cpu", "--quiet"];
    let run = crate::common::command::medsegx(&[&fixed[..], &["--", "--task", "CT_Liver"]].concat());
    assert_eq!(run.status.code(), Some(3), "{}", message(&run));
    let rows = rows(&cases.path("out/summary.jsonl"));
    assert_eq!((&rows[0]["code"], &rows[1]["status"]), (&"input-output".into(), &"done".into()));
}
