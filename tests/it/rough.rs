//! `--rough` on other grids: brought over by its header, nearest voxel.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::command::{medsegx, message, weights};
use crate::common::nifti_file::NiftiFile;

type Rows = [[f64; 4]; 3];

/// A file whose voxels are `value` of their place in millimetres.
fn write(folder: &Path, name: &str, dims: [i64; 3], rows: Rows, value: impl Fn([f64; 3]) -> i16) -> PathBuf {
    let mut file = NiftiFile::new(1, dims, 4, 0);
    (file.rows, file.qform_code) = (rows, 0);
    file.pixdim[1..4].copy_from_slice(&[0, 1, 2].map(|c| rows.map(|row| row[c].powi(2)).iter().sum::<f64>().sqrt()));
    file.data.clear();
    for k in 0..dims[2] {
        for (j, i) in (0..dims[1]).flat_map(|j| (0..dims[0]).map(move |i| (j, i))) {
            let place = rows.map(|row| row[0] * i as f64 + row[1] * j as f64 + row[2] * k as f64 + row[3]);
            file.data.extend(value(place).to_le_bytes());
        }
    }
    let path = folder.join(name);
    std::fs::write(&path, file.bytes()).unwrap();
    path
}

const IMAGE: Rows = [[1.0, 0.0, 0.0, -20.0], [0.0, 1.0, 0.0, -15.0], [0.0, 0.0, 2.0, 5.0]];

fn picture(place: [f64; 3]) -> i16 {
    (place[0] * 7.0 + place[1] * place[1]) as i16 % 97
}

/// A brick of the patient: -6.5..6.5 x -4.5..7.5 x 8..12 mm.
fn brick([x, y, z]: [f64; 3]) -> i16 {
    i16::from(x.abs() < 6.4 && y > -4.4 && y < 7.4 && (8.0..12.0).contains(&z))
}

fn segment(folder: &Path, rough: &Path, more: &[&str]) -> (std::process::Output, Option<Value>) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu", "--force"];
    let files = ["segment", &path("image.nii"), "-o", &path("out.nii"), "--report", &path("report.json")];
    let output = medsegx(&[&files[..], &fixed, &["--rough", rough.to_str().unwrap()], more].concat());
    let report = output.status.success().then(|| std::fs::read(path("report.json")).unwrap());
    (output, report.map(|bytes| serde_json::from_slice(&bytes).unwrap()))
}

fn boxes(report: &Value) -> Vec<(u64, Value)> {
    let slices = report["targets"][0]["slices"].as_array().unwrap();
    slices.iter().map(|slice| (slice["slice"].as_u64().unwrap(), slice["box"].clone())).collect()
}

#[test]
fn another_grid_or_orientation_of_the_same_space_gives_the_same_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "image.nii", [40, 30, 6], IMAGE, picture);
    let same = write(folder, "same.nii", [40, 30, 6], IMAGE, brick);
    let (output, report) = segment(folder, &same, &[]);
    let expected = boxes(&report.unwrap_or_else(|| panic!("{}", message(&output))));
    assert_eq!(expected[0], (2, serde_json::json!([14, 11, 26, 22])));
    assert!(!message(&output).contains("rough-moved"));

    // Turned and flipped: the first axis runs to Posterior, the second to Inferior, the third to the Left.
    let turned = [[0.0, 0.0, -1.0, 19.0], [-1.0, 0.0, 0.0, 14.0], [0.0, -2.0, 0.0, 15.0]];
    // A part of it, twice as fine.
    let fine = [[0.5, 0.0, 0.0, -10.0], [0.0, 0.5, 0.0, -8.0], [0.0, 0.0, 1.0, 5.0]];
    for (name, dims, rows) in [("turned.nii", [30, 6, 40], turned), ("fine.nii", [44, 44, 9], fine)] {
        let rough = write(folder, name, dims, rows, brick);
        let (output, report) = segment(folder, &rough, &[]);
        let report = report.unwrap_or_else(|| panic!("{name}: {}", message(&output)));
        assert_eq!(boxes(&report), expected, "{name}");
        // Voxels of the turned one are the image's: nothing is lost, and nothing said.
        let said = name == "fine.nii";
        let codes = report["warnings"].as_array().unwrap().iter().filter(|w| w["code"] == "rough-moved").count();
        assert_eq!(codes, usize::from(said), "{name}: {report}");
        assert_eq!(message(&output).contains("[rough-moved]"), said, "{}", message(&output));
    }
}

#[test]
fn a_rough_mask_elsewhere_is_refused_and_labels_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "image.nii", [40, 30, 6], IMAGE, picture);
    let mut far = IMAGE;
    far[0][3] += 500.0;
    let rough = write(folder, "far.nii", [40, 30, 6], far, |[x, y, z]| brick([x - 500.0, y, z]));
    let (output, _) = segment(folder, &rough, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    assert!(message(&output).contains("foreground inside the image"), "{}", message(&output));

    let both = |place| 5 * brick(place) + i16::from(place[0] > 12.0);
    let rough = write(folder, "both.nii", [40, 30, 6], IMAGE, both);
    let (output, _) = segment(folder, &rough, &[]);
    assert!(message(&output).contains("--rough-label") && message(&output).contains("labels 1, 5"));
    let (output, report) = segment(folder, &rough, &["--rough-label", "5"]);
    let report = report.unwrap_or_else(|| panic!("{}", message(&output)));
    assert_eq!(boxes(&report)[0], (2, serde_json::json!([14, 11, 26, 22])));
}
