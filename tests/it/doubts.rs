//! What a run says of itself when its masks are probably not what its user meant: counts, report and file agree.

use std::path::{Path, PathBuf};

use medsegx::codes::Code;
use medsegx::segment::volume::doubts_of_mask;
use medsegx::volume::{OpenOptions, Volume, npy};
use serde_json::Value;

use crate::common::command::{medsegx, message, weights};

/// Runs `segment` on a picture of `values`, `[depth, 40, 48]`, and returns stdout, stderr, report and mask.
fn run(folder: &Path, depth: usize, values: &[f32], prompt: &[&str]) -> (String, String, Value, Volume) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    npy::write(&mut std::fs::File::create(path("in.npy")).unwrap(), &[depth, 40, 48], values).unwrap();
    let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu", "--force"];
    let files = ["segment", &path("in.npy"), "-o", &path("out.npy"), "--report", &path("report.json")];
    let output = medsegx(&[&files[..], &fixed, prompt].concat());
    assert!(output.status.success(), "{}", message(&output));
    let report = serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
    let mask = Volume::open(PathBuf::from(path("out.npy")), &OpenOptions::default()).unwrap();
    (String::from_utf8(output.stdout.clone()).unwrap(), message(&output), report, mask)
}

fn picture(depth: usize) -> Vec<f32> {
    (0..depth * 40 * 48).map(|i| ((i * 7919) % 251) as f32 + 40.0 * ((i / 300) % 5) as f32).collect()
}

fn codes(report: &Value) -> Vec<&str> {
    report["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn voxels_of_targets_that_overlap_are_those_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let boxes = folder.path().join("boxes.json");
    std::fs::write(
        &boxes,
        r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
            {"name":"liver","label":1,"box3d":[4,4,0,40,34,2]},
            {"name":"lesion","label":2,"box3d":[6,5,1,42,36,2]},
            {"name":"rest of liver","label":1,"box3d":[2,8,0,30,38,1]}]}"#,
    )
    .unwrap();
    let (said, warned, report, mask) =
        run(folder.path(), 3, &picture(3), &["--boxes", boxes.to_str().unwrap(), "--mask", "2"]);
    let targets = report["targets"].as_array().unwrap();
    let number = |target: usize, field: &str| targets[target][field].as_u64().unwrap();
    let in_file = |label: f64| (0..mask.voxels().len()).filter(|&i| mask.voxels().get(i) == Some(label)).count() as u64;
    assert_eq!(number(0, "voxels") + number(2, "voxels"), in_file(1.0), "targets that share a label add up");
    assert_eq!(number(1, "voxels"), in_file(2.0));
    let (mut painted, mut covered) = (0, 0);
    for (index, target) in targets.iter().enumerate() {
        painted += target["slices"].as_array().unwrap().iter().map(|s| s["pixels"].as_u64().unwrap()).sum::<u64>();
        covered += number(index, "covered");
        assert!(said.contains(&format!("{} voxels", number(index, "voxels"))), "{said}");
    }
    assert!(covered > 0, "these boxes lie over each other: {report}");
    assert_eq!(painted, in_file(1.0) + in_file(2.0) + covered);
    assert!(codes(&report).contains(&"targets-overlap") && warned.contains("[targets-overlap]"), "{warned}");
}

#[test]
fn a_blank_picture_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = picture(2);
    for y in 5..=20 {
        values[y * 48 + 7..=y * 48 + 30].fill(90.0);
    }
    let (_, warned, report, _) = run(folder.path(), 2, &values, &["--box3d", "7,5,0,30,20,1"]);
    assert!(codes(&report).contains(&"slice-blank"), "{report}");
    assert!(warned.contains("on 1 of 2 slices: 0 [slice-blank]"), "{warned}");
    let slices = report["targets"][0]["slices"].as_array().unwrap();
    let doubtful = |slice: usize| slices[slice]["doubtful"].as_array().unwrap().contains(&"slice-blank".into());
    assert!(doubtful(0) && !doubtful(1), "{report}");
    values[10 * 48 + 20] = 240.0;
    let (_, _, report, _) = run(folder.path(), 2, &values, &["--box3d", "7,5,0,30,20,1"]);
    assert!(!codes(&report).contains(&"slice-blank"), "one pixel is enough: {report}");
}

#[test]
fn the_agreement_of_an_empty_mask_is_null() {
    let folder = tempfile::tempdir().unwrap();
    for token in ["1", "2", "3"] {
        let (_, _, report, _) = run(folder.path(), 1, &picture(1), &["--box", "20,20,21,21", "--mask", token]);
        let slice = &report["targets"][0]["slices"][0];
        let empty = slice["pixels"] == 0;
        assert_eq!(slice["agreement"].is_null(), empty, "{slice}");
        assert_eq!(slice["agreement_missing"].is_string(), empty, "{slice}");
        assert_eq!(codes(&report).contains(&"mask-empty"), empty, "{report}");
    }
}

#[test]
fn masks_that_fill_everything_or_nothing_are_doubtful() {
    for (pixels, in_box, in_slice, code) in [
        (0, Some(100), 4000, Some(Code::MaskEmpty)),
        (100, Some(100), 4000, Some(Code::MaskFillsBox)),
        (97, Some(100), 4000, None),
        (79, Some(100), 4000, None),
        (25, Some(25), 4000, None), // 5 x 5 pixels say nothing
        (3900, Some(3950), 4000, Some(Code::MaskFillsSlice)),
        (3900, None, 4000, Some(Code::MaskFillsSlice)),
        (2000, None, 4000, None),
    ] {
        assert_eq!(doubts_of_mask(pixels, in_box, in_slice), code.map_or(0, Code::bit), "{pixels} of {in_box:?}");
    }
}

#[test]
fn heads_that_were_not_trained_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    npy::write(&mut std::fs::File::create(path("in.npy")).unwrap(), &[40, 48], &picture(1)).unwrap();
    for prompt in [&["--box", "5,5,30,30", "--mask", "0"][..], &["--points", "20,20,1"]] {
        let files = ["segment", &path("in.npy"), "-o", &path("out.npy"), "--task", "CT_Liver", "--device", "cpu"];
        let output = medsegx(&[&files[..], &["--weights", weights().to_str().unwrap()], prompt].concat());
        assert_eq!(output.status.code(), Some(2), "{prompt:?}: {}", message(&output));
        assert!(message(&output).contains("not trained"), "{}", message(&output));
        assert!(!folder.path().join("out.npy").exists());
    }
}
