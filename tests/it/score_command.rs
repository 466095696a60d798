//! `medsegx score` as a user starts it.
#![cfg(feature = "cli")]

use medsegx::volume::npy;
use serde_json::Value;

use crate::common::command::{medsegx, message};

#[test]
fn two_masks_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, values: &[u8]| {
        let path = folder.path().join(name);
        npy::write(&mut std::fs::File::create(&path).unwrap(), &[2, 2, values.len() / 4], values).unwrap();
        path.to_str().unwrap().to_string()
    };
    let mask = save("mask.npy", &[1, 1, 0, 0, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let reference = save("reference.npy", &[1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3]);
    let output =
        medsegx(&["score", &mask, &reference, "--json", "--spacing", "1,1,5", "--definition", "surface-distance"]);
    assert!(output.status.success(), "{}", message(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["unit"], &report["spacing"][2]), (&"mm".into(), &5.0.into()));
    let labels = report["labels"].as_array().unwrap();
    assert_eq!((&labels[0]["dice"], &labels[0]["hd95"]), (&1.0.into(), &0.0.into()));
    assert_eq!((&labels[1]["without_distances"], &labels[1]["hd95"]), (&"spurious".into(), &Value::Null));
    assert_eq!(labels[2]["without_distances"], "missed");
    assert_eq!((&report["all"]["missed"], &report["all"]["spurious"]), (&1.into(), &1.into()));

    let output = medsegx(&["score", &mask, &reference, "--binary"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("\n1 label, 0 missed, 0 spurious") && text.contains("0.727273"), "{text}");
    assert!(message(&output).contains("no spacing"), "{}", message(&output));

    let wide: Vec<f32> = [-3.0, 70_000.0, 0.0, 0.0, 0.75, 0.25].into_iter().chain([0.0; 10]).collect();
    let odd = folder.path().join("odd.npy");
    npy::write(&mut std::fs::File::create(&odd).unwrap(), &[2, 2, 4], &wide).unwrap();
    let same = save("same.npy", &[1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let output = medsegx(&["score", odd.to_str().unwrap(), &same, "--binary"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("mean Dice 1.0000"), "{}", message(&output));

    let paired = medsegx(&["score", &mask, &reference, "--label", "1=1,2=3"]);
    let text = String::from_utf8(paired.stdout).unwrap();
    assert!(text.contains("2 labels, 0 missed, 0 spurious") && text.contains("\n    3    0.000000"), "{text}");
    let missed = String::from_utf8(medsegx(&["score", &mask, &reference, "--label", "3"]).stdout).unwrap();
    assert!(missed.contains("mean Dice 0.0000"), "{missed}");
    assert_eq!(medsegx(&["score", &mask, &reference, "--label", "1=x"]).status.code(), Some(2));

    for clash in ["1=2,1=3", "1=3,2=3"] {
        let refused = medsegx(&["score", &mask, &reference, "--label", clash]);
        assert_eq!(refused.status.code(), Some(2), "{clash}");
        assert!(message(&refused).contains("one pair"), "{}", message(&refused));
    }
    let twice = String::from_utf8(medsegx(&["score", &mask, &reference, "--label", "2=3,2=3"]).stdout).unwrap();
    assert!(twice.contains("1 label, "), "{twice}");

    let other = save("other.npy", &[1; 8]);
    let output = medsegx(&["score", &mask, &other]);
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("the voxels of the reference, ["), "{}", message(&output));
    assert_eq!(medsegx(&["score", &mask, &mask, "--definition", "itk"]).status.code(), Some(2));
}

/// Places that a file's few digits round are the same grid; what is more than that is said, or refused.
#[test]
fn grids_that_are_nearly_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, x: f64| {
        let path = folder.path().join(name);
        let header = format!(
            "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nOffset = {x} 0 0\n\
             ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        );
        std::fs::write(&path, [header.as_bytes(), &[1, 1, 0, 0, 1, 1, 0, 0]].concat()).unwrap();
        path.to_str().unwrap().to_string()
    };
    let reference = save("reference.mha", 0.0);
    for (x, code, said) in
        [(0.004, 0, None), (0.4, 0, Some("up to 0.400 mm from the reference's")), (0.6, 1, Some("0.600 mm"))]
    {
        let output = medsegx(&["score", &save("mask.mha", x), &reference]);
        assert_eq!(output.status.code(), Some(code), "{x} mm: {}", message(&output));
        match said {
            Some(said) => assert!(message(&output).contains(said), "{x} mm: {}", message(&output)),
            None => assert!(!message(&output).contains("mm from"), "{x} mm: {}", message(&output)),
        }
    }
}
