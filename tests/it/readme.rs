//! Every `medsegx` command of the README, in its order, on images that stand for a user's.

use std::path::Path;

use serde_json::json;

use crate::common::command::{message, start};
use crate::common::nifti_file::NiftiFile;
use crate::dicom_seg::series;

const DIMS: [usize; 3] = [320, 270, 80];
/// Middle and radii of what is looked for.
const BODY: [[f64; 3]; 2] = [[215.0, 170.0, 57.0], [95.0, 90.0, 19.0]];
const SERIES: [usize; 3] = [48, 40, 6];

/// What comes of `README.md` by other means: the first command is run in `documents`, with its line of output; the
/// published weights are fetched and converted by `tools/litemedsam.py`.
const ELSEWHERE: [&str; 2] = ["medsegx segment tests/data/", "medsegx convert --litemedsam"];

fn commands() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("medsegx "));
    let lines = lines.filter(|line| !ELSEWHERE.iter().any(|start| line.starts_with(start)));
    let words =
        |line: &str| line.split_whitespace().skip(1).take_while(|word| *word != "#").map(String::from).collect();
    lines.map(words).collect()
}

fn is_inside(voxel: [usize; 3]) -> bool {
    (0..3).map(|i| ((voxel[i] as f64 - BODY[0][i]) / BODY[1][i]).powi(2)).sum::<f64>() < 1.0
}

/// A volume of i16 that `value` gives the voxels of.
fn volume(path: &Path, value: impl Fn([usize; 3]) -> i16) {
    let [x, y, z] = DIMS;
    let mut file = NiftiFile::new(1, DIMS.map(|n| n as i64), 4, 0);
    let voxels = (0..x * y * z).map(|i| value([i % x, i / x % y, i / (x * y)]));
    file.data = voxels.flat_map(i16::to_le_bytes).collect();
    std::fs::write(path, file.gzip()).unwrap();
}

/// A mask of a block on the grid of the series, as NRRD.
fn nrrd(path: &Path) {
    let [x, y, z] = SERIES;
    let inside =
        |i: usize| (10..30).contains(&(i % x)) && (8..28).contains(&(i / x % y)) && (1..5).contains(&(i / (x * y)));
    let header = format!("NRRD0004\ntype: uint8\ndimension: 3\nsizes: {x} {y} {z}\nencoding: raw\n\n");
    let voxels: Vec<u8> = (0..x * y * z).map(|i| u8::from(inside(i))).collect();
    std::fs::write(path, [header.into_bytes(), voxels].concat()).unwrap();
}

/// The files that the commands name, by these names.
fn files(folder: &Path) {
    let noise = |[x, y, z]: [usize; 3]| (x * 7 + y * 13 + z * 29) as i16 % 23;
    volume(&folder.join("ct.nii.gz"), |voxel| noise(voxel) + if is_inside(voxel) { 90 } else { -20 });
    let drawn = |voxel: [usize; 3]| if [40, 55, 70].contains(&voxel[2]) && is_inside(voxel) { 5 } else { 0 };
    volume(&folder.join("drawn.nii.gz"), drawn);
    let on = |slice: usize| json!({ slice.to_string(): [120, 80, 310, 260] });
    let target = json!({ "name": "liver", "label": 1, "task": "CT_Liver", "slices": on(55) });
    let boxes = json!({ "version": 1, "space": "voxel", "inclusive": true, "targets": [target] });
    std::fs::write(folder.join("boxes.json"), boxes.to_string()).unwrap();
    std::fs::write(folder.join("MANIFEST.csv"), "image,boxes\nct.nii.gz,boxes.json\n").unwrap();
    // i, j, k at 1.5 i - 10, 2 j + 20, 3 k + 30.5 mm in RAS.
    let center = [-(1.5 * 215.0 - 10.0), -(2.0 * 170.0 + 20.0), 3.0 * 57.0 + 30.5];
    let roi = json!({
        "type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "roiType": "Box", "name": "liver",
        "center": center, "size": [285.0, 360.0, 30.0], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "insideOut": false,
        "controlPoints": [{ "id": "1", "label": "R-1", "position": center, "positionStatus": "defined" }],
    });
    std::fs::write(folder.join("markups.mrk.json"), json!({ "markups": [roi] }).to_string()).unwrap();
    std::fs::rename(series(folder, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], SERIES), folder.join("FOLDER")).unwrap();
    nrrd(&folder.join("drawn.nrrd"));
}

#[test]
fn every_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = start(&words).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", message(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    files(folder.path());
    // Quicker than the published ones, and unlike them in want of a task.
    run(&["synth", "--config", "tiny", "-o", "lite_medsam.safetensors"].map(String::from));
    let mut seen = Vec::new();
    for mut words in commands() {
        // What one command writes another may read, or write too.
        if let Some(at) = words.iter().position(|word| word == "-o") {
            let _ = std::fs::remove_file(folder.path().join(&words[at + 1]));
        }
        let more: &[&str] = match words[0].as_str() {
            "segment" if words.contains(&"lite_medsam.safetensors".into()) => {
                &["--device", "cpu", "--task", "CT_Liver"]
            }
            "segment" | "batch" => &["--device", "cpu"],
            // Whether so short a tuning helps is its data's to say.
            "tune" => &["--device", "cpu", "--validate", "none"],
            _ => &[],
        };
        words.splice(1..1, more.iter().map(ToString::to_string));
        if words[0] == "score" {
            let [from, to] = [&words[1], &words[2]].map(|name| folder.path().join(name));
            std::fs::copy(from, to).unwrap();
        }
        let said = run(&words);
        match words.iter().position(|word| word == "-o") {
            Some(at) => assert!(folder.path().join(&words[at + 1]).exists(), "{words:?}"),
            None => assert!(!said.is_empty(), "{words:?}"),
        }
        seen.push(words[0].clone());
    }
    assert_eq!(seen, ["segment", "tune", "segment", "info", "segment", "batch", "boxes", "score"]);
    for file in ["liver.dcm", "liver.png", "liver.json", "DIR/summary.csv", "DIR/qc.html"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}
