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

/// The decoder that stands in for the base's is the one that `tune` writes, to the bit.
#[test]
fn it_is_the_decoder_that_tune_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let all = labelled();
    let (keep, rest): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&k| k == all[2]);
    let (drawing, rest_boxes) = (drawn(folder.path(), &keep, false), boxes(folder.path(), &rest));
    let tuned = path("tuned.safetensors");
    let drawn_file = drawing.to_str().unwrap();
    let label = ["--labels", drawn_file, "--label", "5=CT_Liver", "-o", tuned.to_str().unwrap(), "--device", "cpu"];
    let found = medsegx(&[&["tune", IMAGE], &label[..]].concat());
    assert!(found.status.success(), "{}", message(&found));

    let (base, apart, at_once) = (path("base.nii"), path("apart.nii"), path("at-once.nii"));
    let boxes = ["--boxes", rest_boxes.to_str().unwrap()];
    for (output, more) in [
        (&base, vec![]),
        (&apart, vec!["--tuned", tuned.to_str().unwrap()]),
        (&at_once, vec!["--tune-with", drawn_file, "--tune-label", "5"]),
    ] {
        let found = segment(output, &[&boxes[..], &more].concat());
        assert!(found.status.success(), "{}", message(&found));
    }
    let [base, apart, at_once] = [base, apart, at_once].map(|path| open(&path));
    let differs = |other: &Volume| rest.iter().any(|&k| slice(&apart, k, TARGET) != slice(other, k, TARGET));
    assert!(differs(&base), "tuning changed no mask");
    assert!(!differs(&at_once), "the masks are those of another decoder than the one that tune writes");
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
    refused(&with("6"), 1, &["drawn.npy", "label 6", "on none"]);
    refused(&with("5")[..4], 2, &["--tune-label"]);
    refused(&[&with("5")[..2], &with("5")[4..]].concat(), 2, &["--tune-with"]);
    refused(&with("0"), 2, &["--tune-label"]);
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
    refused(&["--boxes", boxes_file, "--tune-with", grid.to_str().unwrap(), "--tune-label", "5"], 1, &["as the image"]);
    only_these_files(folder.path(), &["all.json", "drawn.npy", "grid.npy"]);
}
