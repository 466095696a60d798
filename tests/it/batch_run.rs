//! `medsegx batch` as a user meets it: one bad case does not stop the others, the table has a row a case, and masks are
//! those of `medsegx segment`.

use std::fs;

use serde_json::Value;

use crate::common::batch::{Cases, rows, volume};
use crate::common::command::{medsegx, message, only_these_files, weights};
#[cfg(feature = "dicom")]
use crate::dicom_seg;

/// Good volumes with seven bad cases between them, and the code of each bad one by its image.
fn with_bad_ones() -> (Cases, Vec<(&'static str, &'static str)>) {
    let mut cases = Cases::new();
    cases.volume("a.nii.gz", 1, 2);
    cases.line("vanished.nii.gz", "--box3d 1,1,0,9,9,1");
    let whole = volume(2, 3);
    fs::write(cases.path("short.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    cases.line("short.nii.gz", "--box3d 5,4,0,22,18,2");
    fs::write(cases.path("noise.nii.gz"), [7; 900]).unwrap();
    cases.line("noise.nii.gz", "--box3d 5,4,0,22,18,2");
    cases.volume("b.nii.gz", 3, 1);
    for name in ["outside", "misspelt", "unfinished", "unboxed"] {
        fs::write(cases.path(&format!("{name}.nii.gz")), &whole).unwrap();
    }
    cases.line("outside.nii.gz", "--box3d 500,4,0,600,18,2");
    cases.line("misspelt.nii.gz", "--box3d 5,4,0,22,18,2 --task CT_Livver");
    cases.line("unfinished.nii.gz", "--box3d 5,4,0,22,18,2 --intensity 'soft");
    cases.line("unboxed.nii.gz", "--boxes nowhere.json");
    cases.volume("c.nii.gz", 4, 2);
    let codes = [
        ("vanished", "not-found"),
        ("short", "file"),
        ("noise", "file"),
        ("outside", "argument"),
        ("misspelt", "task"),
        ("unfinished", "argument"),
        ("unboxed", "not-found"),
    ];
    (cases, codes.to_vec())
}

#[test]
fn bad_cases_fail_with_their_code_and_the_others_are_as_segment_makes_them() {
    let (cases, codes) = with_bad_ones();
    let run = cases.run("out", &[]);
    assert_eq!(run.status.code(), Some(3), "{}", message(&run));
    let out = cases.path("out");
    only_these_files(&out, &[".medsegx", "a.nii.gz", "b.nii.gz", "c.nii.gz", "summary.csv", "summary.jsonl"]);
    let rows = rows(&out.join("summary.jsonl"));
    assert_eq!(rows.len(), 10);
    let of = |case: &str| rows.iter().find(|row| row["case"] == case).unwrap_or_else(|| panic!("no row of {case}"));
    for (case, code) in codes {
        assert_eq!((&of(case)["status"], &of(case)["code"]), (&"failed".into(), &code.into()), "{}", of(case));
        assert!(!of(case)["message"].as_str().unwrap().is_empty());
        assert!(message(&run).contains(&format!("{case}: ")), "{}", message(&run));
    }
    for (case, depth) in [("a", 2), ("b", 1), ("c", 2)] {
        let alone = cases.path("alone.nii.gz");
        let (image, found) = (cases.path(&format!("{case}.nii.gz")), out.join(format!("{case}.nii.gz")));
        let last = format!("5,4,0,22,18,{}", depth - 1);
        let weights = weights().to_str().unwrap();
        let fixed =
            ["segment", image.to_str().unwrap(), "-o", alone.to_str().unwrap(), "--force", "--weights", weights];
        let run = medsegx(&[&fixed[..], &["--task", "CT_Liver", "--device", "cpu", "--box3d", &last]].concat());
        assert!(run.status.success(), "{}", message(&run));
        assert_eq!(fs::read(&alone).unwrap(), fs::read(&found).unwrap(), "{case}");
        let row = of(case);
        assert_eq!((&row["status"], &row["slices"]), (&"done".into(), &depth.into()));
        let voxels = row["targets"][0]["voxels"].as_u64().unwrap() as f64;
        assert!((row["targets"][0]["volume_mm3"].as_f64().unwrap() - voxels * 9.0).abs() < 1e-2, "1.5 x 2 x 3 mm");
        let hash = |name: &str| row["sha256"][name].as_str().unwrap().to_string();
        assert_eq!(hash("output"), medsegx::weights::sha256(&fs::read(&found).unwrap()));
        assert_eq!(hash("image"), medsegx::weights::sha256(&fs::read(&image).unwrap()));
        assert_eq!(hash("weights").len(), 64);
    }
    let table = fs::read_to_string(out.join("summary.csv")).unwrap();
    assert_eq!(table.lines().count(), 11);
    assert!(table.starts_with("case,status,code,message,image,output,slices,"), "{table}");
}

#[test]
fn what_is_there_is_not_replaced_unasked() {
    let mut cases = Cases::new();
    cases.volume("a.nii.gz", 1, 1);
    assert!(cases.run("out", &["--quiet"]).status.success());
    let again = cases.run("out", &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(message(&again).contains("--resume or --force"), "{}", message(&again));
    assert!(cases.run("out", &["--force", "--quiet"]).status.success());
}

#[test]
fn results_in_the_folder_of_the_images_never_replace_an_image() {
    let mut cases = Cases::new();
    cases.volume("a.nii.gz", 1, 1);
    let before = fs::read(cases.path("a.nii.gz")).unwrap();
    for more in [&[][..], &["--force"]] {
        let run = cases.run(".", more);
        assert!(!run.status.success());
        assert_eq!(fs::read(cases.path("a.nii.gz")).unwrap(), before, "{}", message(&run));
    }
}

#[test]
fn flags_of_a_case_write_below_the_results_alone_and_onto_no_table() {
    let with = |more: &str| {
        let mut cases = Cases::new();
        fs::write(cases.path("a.nii.gz"), volume(1, 1)).unwrap();
        fs::write(cases.path("other.nii.gz"), b"not a result").unwrap();
        let more = more.replace("OTHER", cases.path("other.nii.gz").to_str().unwrap());
        cases.line("a.nii.gz", &format!("--box3d 5,4,0,22,18,0 {more}"));
        let run = cases.run("out", &["--force", "--quiet"]);
        assert_eq!(fs::read(cases.path("other.nii.gz")).unwrap(), b"not a result", "{more}");
        run
    };
    for (more, code, said) in [
        ("-o OTHER", 3, "the column 'output'"),
        ("--output=OTHER", 3, "the column 'output'"),
        ("--embeddings kept", 3, "which a batch does not take"),
        ("--stats summary.csv", 2, "the batch itself writes"),
        ("--stats ./Summary-shard-0-of-2.csv", 2, "the batch itself writes"),
        ("--stats summary-of-{case}.csv", 0, ""),
    ] {
        let run = with(more);
        assert_eq!(run.status.code(), Some(code), "{more}: {}", message(&run));
        assert!(message(&run).contains(said), "{}", message(&run));
    }
}

/// Tests run in another folder than that of the manifest.
#[cfg(feature = "dicom")]
#[test]
fn the_series_of_a_mask_lies_where_the_manifest_does() {
    let mut cases = Cases::new();
    let image = dicom_seg::info(&dicom_seg::supine(cases.folder.path()));
    let voxels = dicom_seg::blocks(image.dims(), &[1, 2], 3);
    medsegx::volume::mask_writer::write(&image, &voxels, &cases.path("a.nii.gz"), false).unwrap();
    cases.line("a.nii.gz", "--box 1,1,8,8 --slice 3 --series series");
    let manifest = cases.manifest();
    let lines = fs::read_to_string(&manifest).unwrap();
    let lines = lines.replace("image,", "image,output,").replace("a.nii.gz,", "a.nii.gz,a.dcm,");
    fs::write(&manifest, lines).unwrap();
    let run = |more: &[&str]| {
        let (manifest, out) = (manifest.to_str().unwrap(), cases.path("out"));
        let fixed = ["batch", manifest, "--out", out.to_str().unwrap(), "--weights", weights().to_str().unwrap()];
        let run = medsegx(&[&fixed[..], more, &["--quiet", "--", "--task", "CT_Liver"]].concat());
        assert!(run.status.success(), "{}", message(&run));
        (fs::read(out.join("a.dcm")).unwrap(), rows(&out.join("summary.jsonl")))
    };
    let (mask, row) = run(&[]);
    assert_eq!(row[0]["sha256"]["prompts"].as_str().unwrap().len(), 64, "what is in the series counts");
    assert!(run(&["--resume"]).0 == mask);
}

#[test]
fn lines_of_json_and_folders_are_manifests_too() {
    let mut cases = Cases::new();
    fs::create_dir(cases.path("in")).unwrap();
    cases.volume("in/a.nii.gz", 1, 2);
    cases.volume("in/b.nii.gz", 2, 2);
    let out = |name: &str| cases.path(name).display().to_string();
    let common = ["--weights", weights().to_str().unwrap(), "--device", "cpu", "--quiet"];
    let flags = ["--", "--task", "CT_Liver", "--box3d", "5,4,0,22,18,1", "--report", "{case}.json"];

    let of_folder = medsegx(&[&["batch", &out("in"), "--out", &out("one")], &common[..], &flags].concat());
    assert!(of_folder.status.success(), "{}", message(&of_folder));
    let report: Value = serde_json::from_slice(&fs::read(cases.path("one/b.json")).unwrap()).unwrap();
    assert_eq!(report["targets"][0]["slices"].as_array().unwrap().len(), 2);

    let boxed = serde_json::json!(["--box3d", "5,4,0,22,18,1"]);
    let line = |name: &str| {
        serde_json::json!({ "image": format!("in/{name}.nii.gz"), "task": "CT_Liver", "flags": boxed,
            "output": format!("deep/{name}.nii.gz") })
    };
    fs::write(cases.path("list.jsonl"), format!("{}\n\n{}\n", line("a"), line("b"))).unwrap();
    let of_lines = medsegx(&[&["batch", &out("list.jsonl"), "--out", &out("two")], &common[..]].concat());
    assert!(of_lines.status.success(), "{}", message(&of_lines));
    for name in ["a.nii.gz", "b.nii.gz"] {
        let read = |folder: &str| fs::read(cases.path(folder).join(name)).unwrap();
        assert_eq!(read("one"), read("two/deep"));
    }
}

#[test]
fn a_manifest_that_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, text: &str, expected: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let out = folder.path().join("out");
        let run = medsegx(&["batch", path.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        assert!(matches!(run.status.code(), Some(1 | 2)), "{}", message(&run));
        assert!(message(&run).contains(expected), "{}", message(&run));
        assert!(!out.exists());
    };
    refused("a.csv", "image,boxe\na.nii,b.json\n", "boxe");
    refused("b.csv", "image,task\na.nii,x\n,y\n", "line 3");
    refused("c.csv", "image\n", "at least one case");
    refused("d.jsonl", "{\"image\": \"a.nii\"}\n{\"image\": 3}\n", "line 2");
    refused("e.jsonl", "{\"image\": \"a.nii\", \"output\": \"../a.nii\"}\n", "below --out");
    refused("f.txt", "a.nii\n", ".csv or .jsonl");
    refused("g.csv", "image\np/a.nii\nq/a.nii\n", "column 'output'");
}

#[test]
fn progress_as_lines_of_json_and_memory_before_the_run() {
    let mut cases = Cases::new();
    (0..3).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1));
    let run = cases.run("out", &["--progress", "json"]);
    let said = message(&run);
    assert!(run.status.success(), "{said}");
    let objects: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last = &objects.last().unwrap()["progress"];
    assert_eq!((&last["done"], &last["total"], &last["unit"]), (&3.into(), &3.into(), &"cases".into()));
    assert!(said.contains("3 cases, 3 to do; memory at most "), "{said}");
    assert!(!said.contains("threads: "), "--threads was given");
}
