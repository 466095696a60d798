//! `medsegx segment --tune-with`: slices that are drawn, on the sample volume with the demo weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use medsegx::volume::{OpenOptions, Orientation, Volume};

use crate::common::command::{medsegx, message, only_these_files, sam};

const IMAGE: &str = "tests/data/phantom.nii.gz";
const LABELS: &str = "tests/data/phantom_labels.nii.gz";
/// Of the liver in the sample labels.
const LABEL: u16 = 1;
/// Of the target in the boxes file.
const TARGET: u16 = 3;

fn open(path: &Path) -> Volume {
    Volume::open(path, &OpenOptions::default()).unwrap()
}

/// The voxels of `slice`, 1 where they are `label`.
fn slice(volume: &Volume, slice: usize, label: u16) -> Vec<u8> {
    volume.label_slice(&volume.frame(2, Orientation::Stored).unwrap(), slice, label).unwrap()
}

/// Slices with the liver.
fn labelled() -> Vec<usize> {
    let labels = open(LABELS.as_ref());
    (0..labels.dims()[2]).filter(|&k| slice(&labels, k, LABEL).contains(&1)).collect()
}

/// The sample labels as an .npy, all but slices `keep` empty, and one pixel moved where there is `spot`, so that no
/// network would draw just that.
fn drawn(folder: &Path, keep: &[usize], spot: bool) -> PathBuf {
    let labels = open(LABELS.as_ref());
    let [width, height, depth] = labels.dims();
    let mut bytes = Vec::new();
    for k in 0..depth {
        let mut inside = slice(&labels, k, LABEL);
        inside.iter_mut().for_each(|inside| *inside *= 5 * u8::from(keep.contains(&k)));
        if spot && keep.contains(&k) {
            inside[0] = 5;
            inside[1] = 9;
        }
        bytes.extend(inside);
    }
    let shape = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({depth}, {height}, {width}), }}");
    let mut file = [b"\x93NUMPY\x01\x00".as_slice(), &118_u16.to_le_bytes()].concat();
    file.extend_from_slice(format!("{shape:<117}\n").as_bytes());
    file.extend(bytes);
    let path = folder.join("drawn.npy");
    fs::write(&path, file).unwrap();
    path
}

/// A boxes file with the liver's box on each of `slices`.
fn boxes(folder: &Path, slices: &[usize]) -> PathBuf {
    let labels = open(LABELS.as_ref());
    let width = labels.dims()[0];
    let on_slice = |k: &usize| {
        let inside: Vec<usize> =
            slice(&labels, *k, LABEL).iter().enumerate().filter(|(_, v)| **v == 1).map(|(at, _)| at).collect();
        let (x, y) = (inside.iter().map(|at| at % width), inside.iter().map(|at| at / width));
        let (x0, x1) = (x.clone().min().unwrap(), x.max().unwrap());
        let (y0, y1) = (y.clone().min().unwrap(), y.max().unwrap());
        format!("\"{k}\": [{x0}, {y0}, {x1}, {y1}]")
    };
    let slices: Vec<String> = slices.iter().map(on_slice).collect();
    let target = format!("{{\"name\": \"liver\", \"label\": {TARGET}, \"slices\": {{{}}}}}", slices.join(", "));
    let path = folder.join("all.json");
    let head = "\"version\": 1, \"space\": \"voxel\", \"inclusive\": true";
    fs::write(&path, format!("{{{head}, \"targets\": [{target}]}}")).unwrap();
    path
}

fn segment(output: &Path, more: &[&str]) -> Output {
    let fixed = ["segment", IMAGE, "--task", "CT_Liver", "-o", output.to_str().unwrap(), "--device", "cpu"];
    medsegx(&[&fixed[..], more].concat())
}

#[test]
fn drawn_slices_stay_as_drawn_and_the_others_are_segmented() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let all = labelled();
    let (keep, rest): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&k| (k - all[0]) % 7 == 1);
    let (drawing, boxes) = (drawn(folder.path(), &keep, true), boxes(folder.path(), &all));
    let (mask, report) = (path("mask.nii"), path("report.json"));
    let how = ["--boxes", boxes.to_str().unwrap(), "--tune-with", drawing.to_str().unwrap(), "--tune-label", "5"];
    let found = segment(&mask, &[&how[..], &["--report", report.to_str().unwrap()]].concat());
    assert!(found.status.success(), "{}", message(&found));
    assert!(message(&found).contains("stay as they are drawn"), "{}", message(&found));
    assert!(message(&found).contains("inscribed ellipse"), "{}", message(&found));

    let (made, wanted) = (open(&mask), open(&drawing));
    for &k in &keep {
        assert!(slice(&made, k, TARGET) == slice(&wanted, k, 5), "slice {k} is not as drawn");
        assert!(!slice(&made, k, 9).contains(&1) && slice(&made, k, TARGET)[0] == 1);
    }
    assert!(rest.iter().all(|&k| slice(&made, k, TARGET).contains(&1)), "a boxed slice has no mask");

    let report: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let tuning = &report["tuning"];
    assert_eq!(tuning["drawn_slices"], serde_json::json!(keep));
    assert_eq!((&tuning["label"], &tuning["validation"]), (&5.into(), &"leave-one-out".into()));
    let target = &report["targets"][0];
    let segmented: Vec<u64> =
        target["slices"].as_array().unwrap().iter().map(|s| s["slice"].as_u64().unwrap()).collect();
    assert_eq!(segmented, rest.iter().map(|&k| k as u64).collect::<Vec<_>>());
    let voxels: usize = (0..made.dims()[2]).map(|k| slice(&made, k, TARGET).iter().filter(|v| **v == 1).count()).sum();
    assert_eq!(target["voxels"], voxels, "the report counts other voxels than the mask has");

    // Cleaning would drop the spot that is drawn.
    let cleaned = path("cleaned.nii");
    let found = segment(&cleaned, &[&how[..], &["--largest", "1"]].concat());
    assert!(found.status.success(), "{}", message(&found));
    let cleaned = open(&cleaned);
    assert!(keep.iter().all(|&k| slice(&cleaned, k, TARGET) == slice(&wanted, k, 5)), "cleaning changed a drawn slice");
}

/// What stands in for the base is what `tune` writes, to the bit.
#[test]
fn it_is_what_tune_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let all = labelled();
    let (keep, rest): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&k| k == all[2]);
    let (drawing, rest_boxes) = (drawn(folder.path(), &keep, false), boxes(folder.path(), &rest));
    let drawn_file = drawing.to_str().unwrap();
    let boxes = ["--boxes", rest_boxes.to_str().unwrap()];
    let base = path("base.nii");
    let segmented = |output: &Path, more: &[&str]| {
        let found = segment(output, &[&boxes[..], more].concat());
        assert!(found.status.success(), "{}", message(&found));
        open(output)
    };
    let base = segmented(&base, &[]);
    let mut made = Vec::new();
    for train in ["decoder", "adapters", "all"] {
        let tuned = path(&format!("{train}.safetensors"));
        let how = ["--labels", drawn_file, "--label", "5=CT_Liver", "--device", "cpu", "--train", train, "-o"];
        let found = medsegx(&[&["tune", IMAGE], &how[..], &[tuned.to_str().unwrap()]].concat());
        assert!(found.status.success(), "{}", message(&found));

        let apart = segmented(&path(&format!("{train}.nii")), &["--tuned", tuned.to_str().unwrap()]);
        let with = ["--tune-with", drawn_file, "--tune-label", "5", "--train", train, "--memory", "1M"];
        let at_once = segmented(&path(&format!("{train}-at-once.nii")), &with);
        let differs = |a: &Volume, b: &Volume| rest.iter().any(|&k| slice(a, k, TARGET) != slice(b, k, TARGET));
        assert!(differs(&apart, &base), "--train {train} changed no mask");
        assert!(!differs(&apart, &at_once), "--train {train}: the masks are those of other weights than tune writes");
        assert!(made.iter().all(|other| differs(other, &apart)), "--train {train} makes what another made");
        made.push(apart);
    }
}

/// What the encoder makes of a slice is not taken for what a tuned one makes of it.
#[test]
fn embeddings_are_those_of_a_tuned_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let all = labelled();
    let (drawing, rest) = (drawn(folder.path(), &all[1..2], false), boxes(folder.path(), &all[2..]));
    let (tuned, kept) = (path("adapters.safetensors"), path("kept"));
    let how = ["--labels", drawing.to_str().unwrap(), "--label", "5=CT_Liver", "--steps", "2", "--rate", "1e-3"];
    let how = [&["tune", IMAGE, "--train", "adapters", "--device", "cpu"], &how[..]].concat();
    let found = medsegx(&[&how[..], &["-o", tuned.to_str().unwrap()]].concat());
    assert!(found.status.success(), "{}", message(&found));
    let with = ["--boxes", rest.to_str().unwrap()];
    let kept = ["--embeddings", kept.to_str().unwrap()];
    let tuned = ["--tuned", tuned.to_str().unwrap()];
    let logits = |name: &str, more: &[&[&str]]| {
        let (mask, logits) = (path(&format!("{name}.nii")), path(&format!("{name}.npy")));
        let more = [&with[..], &more.concat(), &["--logits", logits.to_str().unwrap()]].concat();
        let found = segment(&mask, &more);
        assert!(found.status.success(), "{}", message(&found));
        fs::read(logits).unwrap()
    };
    let base = logits("base", &[&kept]);
    let without = logits("without", &[&tuned]);
    assert!(base != without, "tuning changed no logit");
    assert!(logits("first", &[&tuned, &kept]) == without, "embeddings of another encoder were taken");
    assert!(logits("again", &[&tuned, &kept]) == without && logits("base-again", &[&kept]) == base);
}

#[test]
fn what_cannot_be_tuned_on_is_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let all = labelled();
    let (drawing, all_boxes) = (drawn(folder.path(), &all[1..3], false), boxes(folder.path(), &all));
    let mask = folder.path().join("mask.nii");
    let refused = |more: &[&str], code: i32, said: &[&str]| {
        let found = segment(&mask, more);
        assert_eq!(found.status.code(), Some(code), "{more:?}: {}", message(&found));
        said.iter().for_each(|said| assert!(message(&found).contains(said), "{said}: {}", message(&found)));
    };
    let (drawn_file, boxes_file) = (drawing.to_str().unwrap(), all_boxes.to_str().unwrap());
    let with = |label: &'static str| ["--boxes", boxes_file, "--tune-with", drawn_file, "--tune-label", label];
    refused(&with("6"), 1, &["drawn.npy", "label 6: got none; needs voxels on some slice"]);
    refused(&with("5")[..4], 2, &["--tune-label"]);
    refused(&[&with("5")[..2], &with("5")[4..]].concat(), 2, &["--tune-with"]);
    refused(&with("0"), 2, &["--tune-label"]);
    refused(&[&with("5")[..], &["--train", "encoder"]].concat(), 2, &["decoder, adapters or all"]);
    refused(&["--boxes", boxes_file, "--train", "all"], 2, &["--tune-with"]);
    let kept = folder.path().join("kept");
    let kept = [&with("5")[..], &["--train", "all", "--embeddings", kept.to_str().unwrap()]].concat();
    refused(&kept, 2, &["--embeddings", "--train decoder"]);
    let seven = ["--boxes", "tests/data/phantom_boxes.json"];
    refused(&[&seven[..], &with("5")[2..]].concat(), 2, &["--tune-with", "one target"]);
    let on_drawn = ["--box3d", &format!("40,40,{},90,90,{}", all[1], all[2])];
    refused(&[&on_drawn[..], &with("5")[2..]].concat(), 1, &["not drawn"]);
    refused(&[&with("5")[..], &["--weights", sam().to_str().unwrap()]].concat(), 2, &["MedSegX or LiteMedSAM"]);
    let found = medsegx(&[&["segment", IMAGE, "-o", mask.to_str().unwrap()], &with("5")[..]].concat());
    assert_eq!(found.status.code(), Some(2));
    assert!(message(&found).contains("--task"), "{}", message(&found));

    let grid = folder.path().join("grid.npy");
    let shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }";
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &118_u16.to_le_bytes()].concat();
    bytes.extend_from_slice(format!("{shape:<117}\n").as_bytes());
    bytes.extend_from_slice(&[5; 24]);
    fs::write(&grid, bytes).unwrap();
    refused(
        &["--boxes", boxes_file, "--tune-with", grid.to_str().unwrap(), "--tune-label", "5"],
        1,
        &["the voxels of the image"],
    );
    only_these_files(folder.path(), &["all.json", "drawn.npy", "grid.npy"]);
}
