//! `medsegx plan IMAGE`: what a run on an image's grid comes to, by its headers alone.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::command::{medsegx, message};
use crate::common::nifti_file::NiftiFile;

/// The report of `plan --config tiny --batch 4` on an image.
fn report(image: &Path, more: &[&str]) -> Value {
    let fixed = ["plan", image.to_str().unwrap(), "--config", "tiny", "--batch", "4", "--json"];
    let output = medsegx(&[&fixed[..], more].concat());
    assert!(output.status.success(), "{}", message(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn image(path: &Path, more: &[&str]) -> Value {
    report(path, more)["image"].clone()
}

fn write_array(path: &Path, shape: &[usize]) {
    let values = vec![7_u8; shape.iter().product()];
    medsegx::volume::npy::write(&mut std::fs::File::create(path).unwrap(), shape, &values).unwrap();
}

#[test]
fn slices_batches_and_flop_are_those_of_the_axis() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    write_array(&path, &[9, 40, 50]);
    for (axis, slices, slice, batches) in [("k", 9, [50, 40], 3), ("j", 40, [50, 9], 10), ("I", 50, [40, 9], 13)] {
        let report = report(&path, &["--axis", axis]);
        let image = &report["image"];
        assert_eq!((&image["dims"], &image["data_type"]), (&json!([50, 40, 9]), &json!("u8")));
        assert_eq!((&image["slices"], &image["slice"]), (&json!(slices), &json!(slice)), "{axis}");
        assert_eq!((&image["batches"], &image["voxel_bytes"]), (&json!(batches), &json!(18_000)), "{axis}");
        let of_batch: u64 = report["parts"].as_array().unwrap().iter().map(|part| part["flop"].as_u64().unwrap()).sum();
        assert_eq!(image["flop"].as_u64().unwrap(), of_batch * slices / 4);
    }
    let words = medsegx(&["plan", path.to_str().unwrap(), "--config", "tiny", "--batch", "4"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("50 x 40 x 9 voxels, U8, 0.0 MB as stored\n"), "{words}");
    assert!(words.contains("a box on each slice along k: 9 of 50 x 40 pixels, 3 batches of 4, "), "{words}");
    assert!(report(Path::new("tests/data/phantom.nii.gz"), &[])["image"]["slices"].as_u64().unwrap() > 1);
    let without = medsegx(&["plan", "--config", "tiny", "--json"]);
    assert!(serde_json::from_slice::<Value>(&without.stdout).unwrap().get("image").is_none());
    assert_eq!(medsegx(&["plan", "--config", "tiny", "--series", "1.2"]).status.code(), Some(2));
}

#[test]
fn every_kind_of_image_is_planned_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Voxels are cut off, or none are there: none is read.
    let mut nifti = NiftiFile::new(1, [64, 64, 64], 4, 0);
    let noise = |at: usize| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
    nifti.data = (0..nifti.data.len()).map(noise).collect();
    let mut gzip = nifti.gzip();
    gzip.truncate(gzip.len() / 2);
    std::fs::write(path("cut.nii.gz"), gzip).unwrap();
    let nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 64 64 64\nencoding: gzip\nendian: little\n\nno voxels";
    std::fs::write(path("cut.nrrd"), nrrd).unwrap();
    let mha = "NDims = 3\nDimSize = 64 64 64\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = LOCAL\nno voxels";
    std::fs::write(path("cut.mha"), mha).unwrap();
    for name in ["cut.nii.gz", "cut.nrrd", "cut.mha"] {
        let planned = image(&path(name), &[]);
        assert_eq!((&planned["dims"], &planned["voxel_bytes"]), (&json!([64, 64, 64]), &json!(1 << 19)), "{name}");
        assert_eq!(medsegx(&["info", path(name).to_str().unwrap()]).status.code(), Some(1), "{name}");
    }
    write_array(&path("colour.npy"), &[40, 50, 3]);
    let colour = image(&path("colour.npy"), &[]);
    assert_eq!((&colour["channels"], &colour["batches"], &colour["voxel_bytes"]), (&json!(3), &json!(1), &json!(6000)));
    let file = std::fs::File::create(path("a.png")).unwrap();
    let mut png = png::Encoder::new(file, 5, 4);
    png.set_color(png::ColorType::Grayscale);
    png.write_header().unwrap().write_image_data(&[1; 20]).unwrap();
    assert_eq!(image(&path("a.png"), &[])["slice"], json!([5, 4]));
    std::fs::write(path("not.txt"), "no image").unwrap();
    assert_eq!(medsegx(&["plan", path("not.txt").to_str().unwrap(), "--config", "tiny"]).status.code(), Some(1));
}

#[cfg(feature = "dicom")]
#[test]
fn a_dicom_folder_file_or_archive_is_planned_without_its_pixels() {
    use crate::common::dicom_file::{DicomFile, Element, Value, numbers, text, zip};

    let folder = tempfile::tempdir().unwrap();
    // JPEG whose frames are nothing of the kind: whoever decodes them fails.
    let slice = |z: f64, time: &str, uid: &str| {
        let mut file = DicomFile::slice(40, 30, [0.0, 0.0, z], &[]);
        file.syntax = "1.2.840.10008.1.2.4.70";
        let fragments = Value::Fragments(vec![Vec::new(), b"no JPEG!".to_vec()]);
        file.set(Element { tag: 0x7FE0_0010, vr: "OB", value: fragments });
        file.set(text(0x0020_000E, "UI", uid)).set(text(0x0020_0100, "IS", time)).set(numbers(0x0018_0050, &[2.0]));
        file
    };
    let series = tempfile::tempdir_in(folder.path()).unwrap();
    for (at, z) in [0.0, 2.0, 4.0, 6.0, 8.0].into_iter().enumerate() {
        for time in ["1", "2"] {
            slice(z, time, "1.2.3").write(series.path(), &format!("{at}-{time}"));
        }
    }
    slice(0.0, "1", "1.2.4").write(series.path(), "other");
    let refused = |more: &[&str]| {
        let output = medsegx(&[&["plan", series.path().to_str().unwrap(), "--config", "tiny"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        message(&output)
    };
    assert!(refused(&[]).contains("--series UID"), "{}", refused(&[]));
    assert!(refused(&["--series", "1.2.3"]).contains("time=1 (5 slice(s)); time=2 (5 slice(s))"));
    let planned = image(series.path(), &["--series", "1.2.3", "--volume", "time=2"]);
    assert_eq!((&planned["dims"], &planned["data_type"]), (&json!([40, 30, 5]), &json!("u16")));
    assert_eq!((&planned["slices"], &planned["batches"]), (&json!(5), &json!(2)));
    let read = ["info", series.path().to_str().unwrap(), "--series", "1.2.3", "--volume", "time=2"];
    assert_eq!(medsegx(&read).status.code(), Some(1), "the pixels cannot be read");

    assert_eq!(image(&series.path().join("other"), &[])["slices"], 1);
    let archive = folder.path().join("series.zip");
    let records: Vec<(&str, Vec<u8>)> =
        vec![("0", slice(0.0, "1", "1.2.3").bytes()), ("1", slice(2.0, "1", "1.2.3").bytes())];
    std::fs::write(&archive, zip(&records, true)).unwrap();
    assert_eq!(image(&archive, &[])["slices"], 2);
}
