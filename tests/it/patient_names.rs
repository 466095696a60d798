//! Nothing that leaves the program says who the patient is: names, numbers and birth dates of DICOM files and of free text in
//! other headers are looked for in all outputs.

use std::path::{Path, PathBuf};

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

/// Every file below `folder`, unpacked where it is compressed.
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
        for at in (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&[0x1f, 0x8b, 8])) {
            let _ = std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[at..]), &mut all);
        }
        found.push((path, all));
    }
    found
}

fn holds(bytes: &[u8]) -> Option<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    SECRETS.into_iter().find(|secret| {
        let secret = secret.to_ascii_lowercase();
        lower.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

#[test]
fn no_output_names_the_patient() {
    let inputs = tempfile::tempdir().unwrap();
    for image in [series(inputs.path()), nifti(inputs.path()), nrrd(inputs.path())] {
        let is_picture = |bytes: &[u8]| holds(bytes).is_some();
        let stored = if image.is_dir() { contents(&image).remove(0).1 } else { std::fs::read(&image).unwrap() };
        assert!(is_picture(&stored), "the input has what is looked for: {}", image.display());
        let outputs = tempfile::tempdir().unwrap();
        let path = |name: &str| outputs.path().join(name).to_str().unwrap().to_string();
        let image = image.to_str().unwrap();
        let clean = |what: &str, bytes: &[u8]| assert_eq!(holds(bytes), None, "{what} of {image}");
        for mask in ["m.nii", "m.seg.nrrd"] {
            let (mask, report, logits, kept) = (path(mask), path("r.json"), path("l.npy"), path("kept"));
            let fixed =
                ["segment", image, "-o", &mask, "--force", "--verbose", "--device", "cpu", "--task", "CT_Liver"];
            let files = ["--report", &report, "--logits", &logits, "--embeddings", &kept];
            let model = ["--weights", weights().to_str().unwrap(), "--box3d", "5,6,0,30,31,0"];
            let done = medsegx(&[&fixed[..], &files, &model].concat());
            let said = String::from_utf8_lossy(&done.stderr).to_string();
            assert!(done.status.success(), "{said}");
            clean("stdout", &done.stdout);
            clean("stderr", &done.stderr);
        }
        let files = contents(outputs.path());
        assert!(files.len() >= 5, "masks, report, logits and embeddings: {files:?}");
        files.iter().for_each(|(path, bytes)| clean(&path.display().to_string(), bytes));
        // What a refusal says.
        let refused = medsegx(&["segment", image, "-o", &path("x.nii"), "--task", "CT_Liver", "--box", "900,1,901,2"]);
        assert!(!refused.status.success());
        clean("refusal", &refused.stderr);
        for flags in [&["info", image][..], &["info", image, "--json"]] {
            let told = medsegx(flags);
            clean("info", &[told.stdout, told.stderr].concat());
        }
    }
}
