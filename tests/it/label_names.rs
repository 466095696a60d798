//! Names of labels in the headers of masks, out and in.
#![cfg(feature = "cli")]

use std::path::Path;

use medsegx::volume::{LabelTable, LabelVolume, Legend, OpenOptions, Orientation, Segment, Volume, mask_writer};
use serde_json::Value;

use crate::common::command::{medsegx, message};
use crate::common::fuzz::Random;
use crate::common::nifti_file::NiftiFile;

const ORGANS: [&str; 7] = ["liver", "spleen", "right kidney", "left kidney", "gallbladder", "stomach", "aorta"];

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().unwrap().into()
}

fn ran(args: &[&str]) -> Vec<u8> {
    let output = medsegx(args);
    assert!(output.status.success(), "{}", message(&output));
    output.stdout
}

fn plain(path: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
    plain
}

/// Names of the boxes file of the sample volume, by label.
fn meant() -> Vec<(u16, String)> {
    let file: Value = serde_json::from_slice(&std::fs::read(data("phantom_boxes.json")).unwrap()).unwrap();
    let name = |target: &Value| (target["label"].as_u64().unwrap() as u16, target["name"].as_str().unwrap().into());
    file["targets"].as_array().unwrap().iter().map(name).collect()
}

fn found(path: &str) -> Vec<(u16, String)> {
    let volume = Volume::open(path, &OpenOptions::LABELS).unwrap();
    volume.label_names().iter().map(|segment| (segment.label, segment.name.clone())).collect()
}

#[test]
fn names_go_from_a_boxes_file_through_masks_into_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (image, boxes) = (data("phantom.nii.gz"), data("phantom_boxes.json"));
    for name in ["a.nii", "a.nii.gz", "a.seg.nrrd"] {
        ran(&["boxes", &boxes, "--image", &image, "-o", &path(name)]);
        assert_eq!(found(&path(name)), meant(), "{name}");
    }
    ran(&["boxes", &path("a.nii.gz"), "-o", &path("back.json")]);
    let back: Value = serde_json::from_slice(&std::fs::read(path("back.json")).unwrap()).unwrap();
    let names = back["targets"].as_array().unwrap().iter().map(|target| target["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), meant().iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>());

    // An .npz of labels, not of boxes.
    ran(&["boxes", &boxes, "--image", &image, "-o", &path("a.npz")]);
    ran(&["boxes", &path("a.npz"), "-o", &path("npz.json")]);
    let of_npz: Value = serde_json::from_slice(&std::fs::read(path("npz.json")).unwrap()).unwrap();
    for (target, other) in of_npz["targets"].as_array().unwrap().iter().zip(back["targets"].as_array().unwrap()) {
        assert_eq!((&target["label"], &target["slices"]), (&other["label"], &other["slices"]));
    }

    let described: Value = serde_json::from_slice(&ran(&["info", "--json", &path("a.nii.gz")])).unwrap();
    assert_eq!(described["label_names"][0]["name"], meant()[0].1.as_str());
    let text = String::from_utf8(ran(&["info", &path("a.nii.gz")])).unwrap();
    assert!(meant().iter().all(|(label, name)| text.contains(&format!("{label} {name}"))), "{text}");
    let scores = ran(&["score", &path("a.nii.gz"), &path("a.nii"), "--json"]);
    let scores: Value = serde_json::from_slice(&scores).unwrap();
    assert_eq!(scores["labels"][6]["name"], meant()[6].1.as_str());

    // A reference without names: the pair's label of the mask has one, that number of the reference has none.
    ran(&["boxes", &boxes, "--image", &image, "-o", &path("a.npy")]);
    let paired = ran(&["score", &path("a.nii.gz"), &path("a.npy"), "--label", "3=1", "--json"]);
    let paired: Value = serde_json::from_slice(&paired).unwrap();
    assert_eq!((&paired["labels"][0]["label"], &paired["labels"][0]["name"]), (&1.into(), &"right kidney".into()));
}

#[test]
fn names_are_shown_as_they_are_but_what_would_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let named = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"Crohn's \"e\u0301\" \u001b[2J","label":1,"slices":{"3":[5,5,9,9]}}]}"#;
    std::fs::write(path("boxes.json"), named).unwrap();
    let said = ran(&["boxes", &path("boxes.json"), "--image", &data("phantom.nii.gz"), "-o", &path("a.seg.nrrd")]);
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("Crohn's \"e\u{301}\" \\u{1b}[2J: label 1, 1 box\n"), "{said}");
    let (image, boxes, mask) = (data("phantom.nii.gz"), path("boxes.json"), path("a.nii"));
    let told = medsegx(&["segment", &image, "--boxes", &boxes, "--task", "CT_Liver", "--propagate", "-o", &mask]);
    assert!(told.status.success() && message(&told).contains(": from slices [3]"), "{}", message(&told));
    assert!(!message(&told).contains('\u{1b}') && message(&told).contains("\\u{1b}[2J"), "{}", message(&told));
}

#[test]
fn a_streamed_mask_has_them_for_the_reader_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let image = data("phantom.nii.gz");
    let mask = folder.path().join("mask.nii.gz").to_str().unwrap().to_string();
    let fixed = ["segment", &image, "--task", "CT_Spleen", "--box", "40,40,80,80", "--slice", "9", "-o", &mask];
    let fixed = [&fixed[..], &["--quiet", "--device", "cpu", "--force"]].concat();
    let mut voxels = Vec::new();
    for (more, code) in
        [(&[][..], Some(0)), (&["--label-names", "workbench"], Some(30)), (&["--label-names", "off"], None)]
    {
        ran(&[&fixed[..], more].concat());
        let bytes = plain(&mask);
        let offset = f32::from_le_bytes(bytes[108..112].try_into().unwrap()) as usize;
        assert_eq!(bytes[348], u8::from(code.is_some()));
        assert_eq!(found(&mask), code.map(|_| (1, "CT_Spleen".to_string())).into_iter().collect::<Vec<_>>());
        match code {
            Some(code) => {
                let number = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                assert_eq!((number(352), number(356)), (offset as i32 - 352, code));
            }
            None => assert_eq!(offset, 352),
        }
        voxels.push(bytes[offset..].to_vec());
    }
    assert!(voxels[0] == voxels[1] && voxels[0] == voxels[2] && voxels[0].contains(&1));
}

#[test]
fn damaged_extensions_cost_names_and_never_voxels() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(419);
    for version in [1, 2] {
        for file in [NiftiFile::new(version, [4, 5, 6], 4, 0), NiftiFile::new(version, [4, 5, 6], 4, 0).swapped()] {
            let image = Volume::from_bytes("image", &file.bytes(), &OpenOptions::default()).unwrap();
            let mut labels = LabelVolume::new(image.dims(), 7).unwrap();
            let frame = image.frame(2, Orientation::Stored).unwrap();
            for label in 1..8 {
                let inside: Vec<bool> = (0..20).map(|at| at % 8 == label).collect();
                labels.paint(&frame, label % 6, &inside, label as u16).unwrap();
            }
            let name = |(index, name): (usize, &&str)| Segment { label: 1 + index as u16, name: name.to_string() };
            let segments: Vec<Segment> = ORGANS.iter().enumerate().map(name).collect();
            let path = folder.path().join("mask.nii");
            let legend = Legend { segments: segments.clone(), table: LabelTable::Workbench };
            mask_writer::write_named(&image, &labels, &legend, &path, true).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let read = |bytes: &[u8]| Volume::from_bytes("mask", bytes, &OpenOptions::LABELS);
            let whole = read(&bytes).unwrap();
            assert_eq!(whole.label_names(), segments);
            let (start, end) = (file.header().len(), bytes.len() - 120);
            for _ in 0..500 {
                let mut damaged = bytes.clone();
                for _ in 0..=random.below(4) {
                    let at = start + random.below(end - start);
                    damaged[at] = random.next() as u8;
                }
                let volume = read(&damaged).unwrap();
                assert_eq!(volume.voxels(), whole.voxels());
                assert!(volume.label_names().iter().all(|segment| segment.label > 0 && !segment.name.is_empty()));
            }
            for cut in start..bytes.len() {
                assert!(read(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }
}
