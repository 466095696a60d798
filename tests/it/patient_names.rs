//! Nothing that leaves the program says who the patient is: names, numbers and birth dates of DICOM files and of free
//! text in other headers are looked for in all outputs. A DICOM SEG or RTSTRUCT alone is the patient's, as its series
//! is.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::common::command::{medsegx, weights};
use crate::common::dicom_file::{DicomFile, text};
use crate::common::nifti_file::NiftiFile;

/// What must never be seen again.
const SECRETS: [&str; 4] = ["Quastel", "Ottokar", "PX4471193", "19610229"];

/// A folder of two slices of a patient.
fn series(folder: &Path) -> PathBuf {
    let series = folder.join("series");
    std::fs::create_dir(&series).unwrap();
    for index in 0..2_u16 {
        let samples: Vec<u16> = (0..40 * 36).map(|i| (i * 37 + index) % 251).collect();
        let mut file = DicomFile::slice(40, 36, [0.0, 0.0, f64::from(index)], &samples);
        // What a DICOM mask refers to: the instance, the study, the frame of reference.
        file.set(text(0x0008_0018, "UI", &format!("1.2.3.4.{}", index + 1)));
        file.set(text(0x0020_000D, "UI", "1.2.9"));
        file.set(text(0x0020_0052, "UI", "1.2.8"));
        file.set(text(0x0010_0010, "PN", "Quastel^Ottokar"));
        file.set(text(0x0010_0020, "LO", "PX4471193"));
        file.set(text(0x0010_0030, "DA", "19610229"));
        file.set(text(0x0010_1000, "LO", "PX4471193"));
        file.set(text(0x0010_4000, "LT", "Ottokar Quastel, born 19610229"));
        file.write(&series, &format!("{index}.dcm"));
    }
    series
}

/// A NIfTI image with the patient in `descrip`, `aux_file` and an extension.
fn nifti(folder: &Path) -> PathBuf {
    let mut file = NiftiFile::new(1, [40, 36, 2], 4, 0);
    let comment = b"Quastel^Ottokar PX4471193 19610229";
    let size = 48_i32;
    file.between = [&[1, 0, 0, 0][..], &size.to_le_bytes(), &6_i32.to_le_bytes(), comment].concat();
    file.between.resize(4 + size as usize, 0);
    file.vox_offset = 352.0 + f64::from(size);
    let mut bytes = file.bytes();
    bytes[148..148 + comment.len()].copy_from_slice(comment); // descrip
    bytes[228..228 + 15].copy_from_slice(b"Quastel^Ottokar"); // aux_file
    let path = folder.join("image.nii");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// An NRRD image with the patient in comments, keys and the content field.
fn nrrd(folder: &Path) -> PathBuf {
    let header = "NRRD0004\n# Quastel^Ottokar PX4471193\ncontent: Quastel 19610229\ntype: short\ndimension: 3\n\
        space: left-posterior-superior\nsizes: 40 36 2\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n\
        space origin: (0,0,0)\nendian: little\nencoding: raw\nPatientName:=Quastel^Ottokar\nPatientID:=PX4471193\n\n";
    let voxels: Vec<u8> = (0..40 * 36 * 2_i32).flat_map(|i| ((i * 37 % 251) as i16).to_le_bytes()).collect();
    let path = folder.join("image.nrrd");
    std::fs::write(&path, [header.as_bytes(), &voxels].concat()).unwrap();
    path
}

/// Every file below `folder`, unpacked where something in it is compressed: gzip, zlib (PNG, MetaImage) and entries of
/// zip.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut all = bytes.clone();
        for at in 0..bytes.len() {
            unpack(&bytes[at..], &mut all);
        }
        found.push((path, all));
    }
    found
}

/// Appends what is compressed at the beginning of `bytes`, if anything is.
fn unpack(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        [0x1f, 0x8b, 8, ..] => drop(MultiGzDecoder::new(bytes).read_to_end(out)),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => drop(ZlibDecoder::new(bytes).read_to_end(out)),
        [b'P', b'K', 3, 4, ..] if bytes.len() > 30 && bytes[8] == 8 => {
            let [name, extra] = [26, 28].map(|at| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])));
            drop(DeflateDecoder::new(bytes.get(30 + name + extra..).unwrap_or_default()).read_to_end(out));
        }
        _ => {}
    }
}

fn holds(bytes: &[u8]) -> Option<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    SECRETS.into_iter().find(|secret| {
        let secret = secret.to_ascii_lowercase();
        lower.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

/// Runs medsegx on `image`, and holds what it prints to have no secret.
fn quiet_about(image: &str, arguments: &[&str]) {
    let done = medsegx(arguments);
    let said = String::from_utf8_lossy(&done.stderr).to_string();
    assert!(done.status.success(), "{arguments:?}: {said}");
    for (what, bytes) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
        assert_eq!(holds(bytes), None, "{what} of {arguments:?} on {image}");
    }
}

const TASK: [&str; 2] = ["--task", "CT_Liver"];

/// Masks of `image` in all formats that name nobody, and all other files that `segment` writes.
fn segment(image: &str, path: &dyn Fn(&str) -> String) {
    let model = ["--weights", weights().to_str().unwrap(), "--device", "cpu"];
    let run = |output: &str, more: &[&str]| {
        let (output, fixed) = (path(output), ["--box3d", "5,6,0,30,31,0", "--verbose"]);
        quiet_about(image, &[&["segment", image, "-o", &output][..], &TASK, &fixed, &model, more].concat());
    };
    for mask in ["m.nii", "m.nii.gz", "m.seg.nrrd", "m.nrrd", "m.mha", "m.npy", "m.npz"] {
        run(mask, &[]);
    }
    let [report, logits, kept] = ["r.json", "l.npy", "kept"].map(path);
    let [table, figures, preview] = ["s.csv", "s.json", "p.png"].map(path);
    let files = ["--report", &report, "--logits", &logits, "--embeddings", &kept, "--preview", &preview];
    run("more.nii", &[&files[..], &["--stats", &table]].concat());
    run("again.nii", &["--stats", &figures]);
}

/// A label map made of boxes, a decoder tuned on it, scores against it, and a batch of one case.
fn other_commands(image: &str, folder: &Path, path: &dyn Fn(&str) -> String) {
    let boxes = path("boxes.json");
    let target = r#"{"name": "liver", "task": "CT_Liver", "label": 1, "box3d": [5, 6, 0, 30, 31, 1]}"#;
    let file = format!(r#"{{"version": 1, "space": "voxel", "inclusive": true, "targets": [{target}]}}"#);
    std::fs::write(&boxes, file).unwrap();
    let [labels, markups, tuned, out] = ["labels.nii.gz", "boxes.mrk.json", "t.safetensors", "out"].map(path);
    let model = ["--weights", weights().to_str().unwrap(), "--device", "cpu"];
    for made in [&labels, &markups] {
        quiet_about(image, &["boxes", &boxes, "--image", image, "-o", made]);
    }
    let tune = ["tune", image, "--labels", &labels, "--label", "1=CT_Liver", "-o", &tuned];
    quiet_about(image, &[&tune[..], &["--steps", "2", "--validate", "none"], &model].concat());
    quiet_about(image, &["score", &path("m.nii"), &labels]);
    let manifest = folder.join("manifest.jsonl");
    let case = serde_json::json!({ "image": image, "boxes": boxes, "output": "case.nii.gz" });
    std::fs::write(&manifest, case.to_string()).unwrap();
    let batch = ["batch", manifest.to_str().unwrap(), "--out", &out];
    quiet_about(image, &[&batch[..], &model, &["--"], &TASK].concat());
}

#[test]
fn no_output_names_the_patient() {
    let inputs = tempfile::tempdir().unwrap();
    for image in [series(inputs.path()), nifti(inputs.path()), nrrd(inputs.path())] {
        let stored = if image.is_dir() { contents(&image).remove(0).1 } else { std::fs::read(&image).unwrap() };
        assert!(holds(&stored).is_some(), "the input has what is looked for: {}", image.display());
        let outputs = tempfile::tempdir().unwrap();
        let path = |name: &str| outputs.path().join(name).to_str().unwrap().to_string();
        let image = image.to_str().unwrap();
        segment(image, &path);
        other_commands(image, outputs.path(), &path);
        let files = contents(outputs.path());
        let is_there = |ending: &str| files.iter().any(|(path, _)| path.to_str().unwrap().ends_with(ending));
        for ending in
            ["p.png", "m.nrrd", "m.mha", "m.npz", "s.csv", "s.json", "t.safetensors", "summary.csv", "summary.jsonl"]
        {
            assert!(is_there(ending), "{ending}");
        }
        let kept = Path::new(&path("kept")).to_path_buf();
        assert!(files.iter().any(|(path, _)| path.starts_with(&kept)), "kept embeddings");
        for (path, bytes) in &files {
            assert_eq!(holds(bytes), None, "{} of {image}", path.display());
        }
        // What a refusal says.
        let refused = medsegx(&["segment", image, "-o", &path("x.nii"), "--task", "CT_Liver", "--box", "900,1,901,2"]);
        assert!(!refused.status.success());
        assert_eq!(holds(&refused.stderr), None, "refusal of {image}");
        for flags in [&["info", image][..], &["info", image, "--json"]] {
            quiet_about(image, flags);
        }
    }
}

/// SEG and RTSTRUCT belong to the patient: name, number and birth date are once in them, where the series has them, and
/// no other element that the series has them in is taken over.
#[test]
fn masks_as_dicom_name_the_patient_once() {
    let folder = tempfile::tempdir().unwrap();
    let image = series(folder.path());
    let image = image.to_str().unwrap();
    for name in ["m.dcm", "m.rtstruct.dcm"] {
        let mask = folder.path().join(name);
        let model = ["--weights", weights().to_str().unwrap(), "--device", "cpu", "--box3d", "5,6,0,30,31,0"];
        quiet_about(image, &[&["segment", image, "-o", mask.to_str().unwrap()][..], &TASK, &model].concat());
        let bytes = std::fs::read(&mask).unwrap();
        for secret in SECRETS {
            let times = bytes.windows(secret.len()).filter(|window| *window == secret.as_bytes()).count();
            assert_eq!(times, 1, "{secret} in {name}");
        }
    }
}
