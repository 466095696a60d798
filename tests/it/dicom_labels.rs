//! DICOM segmentations as labels of whole commands: what `tune`, `score` and `boxes` make of each kind, on the series
//! that they belong to.
#![cfg(feature = "cli")]

use std::path::{Path, PathBuf};

use medsegx::volume::{DicomMask, DicomOptions, LabelVolume, OpenOptions, Orientation, Segment, Volume, mask_writer};
use serde_json::{Value, json};

use crate::common::command::{medsegx, message};
use crate::common::dicom_file::{DicomFile, items, numbers, text, u16s, u32s};

const SIDE: usize = 32;
const SLICES: usize = 5;
/// The spleen's label; no number of a segment, which are 1 and 2.
const SPLEEN: u16 = 7;

/// Whether pixel `at` of slice `k` is inside: discs that shrink to both ends.
fn inside(label: u16, at: usize, k: usize) -> bool {
    let (x, y) = ((at % SIDE) as f64, (at / SIDE) as f64);
    let centre = if label == SPLEEN { 22.0 } else { 9.0 };
    (1..4).contains(&k) && (x - centre).hypot(y - 15.0) < 7.0 - (k as f64 - 2.0).abs()
}

/// A folder with a CT series whose two discs are brighter than what lies around them.
fn series(folder: &Path) -> PathBuf {
    let folder = folder.join("series");
    std::fs::create_dir_all(&folder).unwrap();
    for k in 0..SLICES {
        let sample = |at: usize| {
            let level = if inside(SPLEEN, at, k) {
                900
            } else if inside(3, at, k) {
                700
            } else {
                200
            };
            level + (at * 7 + k * 3) as u16 % 40
        };
        let samples: Vec<u16> = (0..SIDE * SIDE).map(sample).collect();
        let mut file = DicomFile::slice(SIDE as u16, SIDE as u16, [0.0, 0.0, 3.0 * k as f64], &samples);
        file.set(text(0x0008_0018, "UI", &format!("1.2.3.4.{}", k + 1)))
            .set(text(0x0020_000D, "UI", "1.2.9"))
            .set(text(0x0020_0052, "UI", "1.2.8"));
        file.write(&folder, &format!("{k}.dcm"));
    }
    folder
}

fn mask(image: &Volume) -> LabelVolume {
    let frame = image.frame(2, Orientation::Stored).unwrap();
    let mut mask = LabelVolume::new(image.dims(), SPLEEN).unwrap();
    for label in [3, SPLEEN] {
        for k in 0..SLICES {
            let plane: Vec<bool> = (0..SIDE * SIDE).map(|at| inside(label, at, k)).collect();
            mask.paint(&frame, k, &plane, label).unwrap();
        }
    }
    mask
}

/// The spleen alone as segment 1 of a FRACTIONAL file: 180 of 200 inside, 40 in a rim of one pixel around.
fn fractional(folder: &Path) -> PathBuf {
    let frames: Vec<usize> = (1..4).collect();
    let value = |k: usize, at: usize| {
        let near = [at.wrapping_sub(1), at + 1, at.wrapping_sub(SIDE), at + SIDE];
        match inside(SPLEEN, at, k) {
            true => 180,
            false if near.iter().any(|&at| at < SIDE * SIDE && inside(SPLEEN, at, k)) => 40,
            false => 0,
        }
    };
    let pixels: Vec<u8> = frames.iter().flat_map(|&k| (0..SIDE * SIDE).map(move |at| value(k, at))).collect();
    let group = |&k: &usize| {
        vec![
            items(0x0062_000A, vec![vec![u16s(0x0062_000B, &[1])]]),
            items(0x0020_9113, vec![vec![numbers(0x0020_0032, &[0.0, 0.0, 3.0 * k as f64])]]),
            items(0x0020_9111, vec![vec![u32s(0x0020_9157, &[1, 1])]]),
        ]
    };
    let shared = vec![
        items(0x0020_9116, vec![vec![numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])]]),
        items(0x0028_9110, vec![vec![numbers(0x0018_0088, &[3.0]), numbers(0x0028_0030, &[0.5, 0.75])]]),
    ];
    let segment = vec![u16s(0x0062_0004, &[1]), text(0x0062_0005, "LO", "Milz")];
    let mut file = DicomFile::slice(SIDE as u16, SIDE as u16, [0.0; 3], &[]);
    file.without(0x0020_0032)
        .without(0x0020_0037)
        .without(0x0028_0030)
        .set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.66.4"))
        .set(text(0x0008_0060, "CS", "SEG"))
        .set(text(0x0062_0001, "CS", "FRACTIONAL"))
        .set(items(0x0062_0002, vec![segment]))
        .set(u16s(0x0062_000E, &[200]))
        .set(text(0x0028_0008, "IS", &frames.len().to_string()))
        .set(items(0x5200_9229, vec![shared]))
        .set(items(0x5200_9230, frames.iter().map(group).collect()))
        .bits(8, 8, false)
        .pixels(&pixels);
    file.write(folder, "fractional.dcm")
}

struct Files {
    folder: tempfile::TempDir,
    series: PathBuf,
}

impl Files {
    /// The series, its mask as NIfTI and as a SEG of each kind.
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let series = series(folder.path());
        let image = Volume::open(&series, &OpenOptions::default()).unwrap();
        let mask = mask(&image);
        mask_writer::write(&image, &mask, &folder.path().join("mask.nii.gz"), false).unwrap();
        let segments = [(3, "Leber"), (SPLEEN, "Milz")].map(|(label, name)| Segment { label, name: name.into() });
        for (name, label_map) in [("binary.dcm", false), ("labelmap.dcm", true)] {
            let path = folder.path().join(name);
            let options = DicomOptions { label_map, ..DicomOptions::default() };
            DicomMask::prepare(&image, &path, &options).unwrap().write(&mask, &segments, &path, false).unwrap();
        }
        fractional(folder.path());
        Files { folder, series }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    fn series(&self) -> &str {
        self.series.to_str().unwrap()
    }
}

fn ran(args: &[&str]) -> String {
    let output = medsegx(args);
    assert!(output.status.success(), "{args:?}: {}", message(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_kind_scores_like_the_label_map_it_holds() {
    let files = Files::new();
    let whole = files.path("mask.nii.gz");
    for name in ["binary.dcm", "labelmap.dcm"] {
        for pair in [[whole.clone(), files.path(name)], [files.path(name), whole.clone()]] {
            let report: Value = serde_json::from_str(&ran(&["score", &pair[0], &pair[1], "--json"])).unwrap();
            let rows = report["labels"].as_array().unwrap();
            let found: Vec<_> = rows.iter().map(|row| (row["label"].as_u64(), row["dice"].as_f64())).collect();
            assert_eq!(found, [(Some(3), Some(1.0)), (Some(7), Some(1.0))], "{name}");
            assert_eq!((&rows[0]["name"], &rows[1]["name"]), (&"Leber".into(), &"Milz".into()), "{name}");
        }
    }
    // Its only segment is number 1; as a label it has no other.
    let args = ["score", &files.path("fractional.dcm"), &whole, "--json", "--binary"];
    let report: Value = serde_json::from_str(&ran(&args)).unwrap();
    let both = report["labels"][0]["voxels"].clone();
    let count = |label: u16| -> usize {
        let on = |k| (0..SIDE * SIDE).filter(|&at| inside(label, at, k)).count();
        (0..SLICES).map(on).sum()
    };
    assert_eq!(both["mask"], count(SPLEEN), "half and more is inside: {both}");
    assert_eq!(both["reference"], count(SPLEEN) + count(3));
}

#[test]
fn a_folder_is_tuned_on_with_each_kind_as_with_the_label_map() {
    let files = Files::new();
    let tune = |labels: &str, label: u16, output: &str| {
        let (labels, label, output) = (files.path(labels), format!("{label}=CT_Spleen"), files.path(output));
        let fixed = ["tune", files.series(), "--labels", &labels, "--label", &label, "-o", &output, "--device", "cpu"];
        let said = ran(&[&fixed[..], &["--slices", "1,2,3", "--steps", "2", "--validate", "none"]].concat());
        assert!(said.contains("3 slices of 1 image"), "{said}");
        let bytes = std::fs::read(&output).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + length..].to_vec()
    };
    let expected = tune("mask.nii.gz", SPLEEN, "nifti.safetensors");
    assert!(tune("binary.dcm", SPLEEN, "binary.safetensors") == expected);
    assert!(tune("labelmap.dcm", SPLEEN, "labelmap.safetensors") == expected);
    assert!(tune("fractional.dcm", 1, "fractional.safetensors") == expected);
    assert!(tune("binary.dcm", 3, "other.safetensors") != expected, "another label is another decoder");

    let (tuned, out) = (files.path("binary.safetensors"), files.path("out.nii.gz"));
    let prompt = ["--task", "CT_Spleen", "--rough", &files.path("fractional.dcm"), "--tuned", &tuned];
    ran(&[&["segment", files.series(), "-o", &out, "--device", "cpu"][..], &prompt].concat());
    let out = Volume::open(&out, &OpenOptions::LABELS).unwrap();
    assert_eq!((out.dims(), out.label_name(1)), ([SIDE, SIDE, SLICES], Some("CT_Spleen")));
}

#[test]
fn boxes_of_each_kind_are_those_of_the_label_map() {
    let files = Files::new();
    let boxes = |name: &str, more: &[&str]| -> Value {
        let output = files.path("boxes.json");
        ran(&[&["boxes", &files.path(name), "-o", &output, "--force"][..], more].concat());
        serde_json::from_slice(&std::fs::read(output).unwrap()).unwrap()
    };
    let image = ["--image", files.series()];
    let mut expected = boxes("mask.nii.gz", &[]);
    for (index, name) in ["Leber", "Milz"].into_iter().enumerate() {
        expected["targets"][index]["name"] = name.into();
    }
    assert_eq!(expected["targets"].as_array().unwrap().len(), 2);
    assert_eq!(boxes("binary.dcm", &image), expected);
    assert_eq!(boxes("labelmap.dcm", &image), expected);
    // The NIfTI mask of the series has its voxels: an image changes nothing.
    let onto_the_series = boxes("mask.nii.gz", &image);
    let numbers = |boxes: &Value| -> Vec<Value> {
        boxes["targets"].as_array().unwrap().iter().map(|target| target["slices"].clone()).collect()
    };
    assert_eq!(numbers(&onto_the_series), numbers(&expected));
}

#[test]
fn info_says_what_each_kind_holds() {
    let files = Files::new();
    let image = Volume::open(&files.series, &OpenOptions::default()).unwrap();
    let segments = [(3, "Leber"), (SPLEEN, "Milz")].map(|(label, name)| Segment { label, name: name.into() });
    let structures = files.folder.path().join("structures.rtstruct.dcm");
    let written = DicomMask::prepare(&image, &structures, &DicomOptions::default()).unwrap();
    written.write(&mask(&image), &segments, &structures, false).unwrap();
    let listing: Value = serde_json::from_str(&ran(&["info", files.series(), "--json"])).unwrap();
    let uid = &listing["series"][0]["uid"];
    // Both discs are on slices 1, 2 and 3; what a number of a LABELMAP covers is in its pixels alone.
    let cases = [
        ("binary.dcm", "BINARY segmentation", json!([SIDE, SIDE]), json!(6), json!(3), json!(["Leber", "Milz"])),
        ("labelmap.dcm", "LABELMAP segmentation", json!([SIDE, SIDE]), json!(3), json!(null), json!(["Leber", "Milz"])),
        ("fractional.dcm", "FRACTIONAL segmentation", json!([SIDE, SIDE]), json!(3), json!(3), json!(["Milz"])),
        ("structures.rtstruct.dcm", "structure set", json!(null), json!(null), json!(3), json!(["Leber", "Milz"])),
    ];
    for (name, object, size, frames, parts, names) in cases {
        let found: Value = serde_json::from_str(&ran(&["info", &files.path(name), "--json"])).unwrap();
        assert_eq!([&found["object"], &found["size"], &found["frames"]], [&json!(object), &size, &frames], "{name}");
        let targets = found["targets"].as_array().unwrap();
        assert_eq!(json!(targets.iter().map(|t| &t["name"]).collect::<Vec<_>>()), names, "{name}");
        assert!(targets.iter().all(|target| target["parts"] == parts), "{name}: {found}");
        let series = if name == "fractional.dcm" { &Value::Null } else { uid };
        assert_eq!(&found["series"], series, "{name}");
        let text = ran(&["info", &files.path(name)]);
        assert!(text.starts_with(&format!("format       DICOM {object}\n")) && text.contains("Milz"), "{text}");
    }
    let labels: Value = serde_json::from_str(&ran(&["info", &files.path("binary.dcm"), "--json"])).unwrap();
    assert_eq!([&labels["targets"][0]["label"], &labels["targets"][1]["label"]], [&json!(3), &json!(SPLEEN)]);
}
