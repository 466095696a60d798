//! DICOM data sets as people's files have them, and as nobody should.
#![cfg(feature = "dicom")]

use std::path::Path;

use medsegx::dicom;
use medsegx::volume::{OpenOptions, Volume};

use crate::common::dicom_file::{BIG, DEFLATED, DicomFile, Element, IMPLICIT, Value, items, numbers, text, zip};
use crate::common::fuzz;

fn sample() -> DicomFile {
    DicomFile::slice(3, 2, [1.0, 2.0, 3.0], &[10, 20, 30, 40, 50, 60])
}

fn unknown(tag: u32, value: Value) -> Element {
    Element { tag, vr: "UN", value }
}

fn open(bytes: &[u8]) -> Result<Volume, medsegx::Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Volume::open(file.path(), &OpenOptions { max_voxels: 1 << 16, ..OpenOptions::default() })
}

#[test]
fn private_sequences_of_unknown_representation_are_passed_over() {
    let nested = vec![vec![text(0x2005_1001, "LO", "x"), items(0x2005_1002, vec![vec![text(0x2005_1003, "LO", "y")]])]];
    let open_nested = vec![vec![
        text(0x2005_1001, "LO", "x"),
        Element { tag: 0x2005_1002, vr: "SQ", value: Value::Open(nested.clone()) },
    ]];
    for syntax in ["1.2.840.10008.1.2.1", IMPLICIT, DEFLATED] {
        for value in [Value::Open(nested.clone()), Value::Open(open_nested.clone()), Value::Items(nested.clone())] {
            let mut file = sample();
            file.syntax = syntax;
            file.set(unknown(0x2005_1000, value));
            assert_eq!(open(&file.bytes()).unwrap().voxels().get(5), Some(60.0));
        }
    }
    let mut long = sample();
    long.set(unknown(0x2005_1000, Value::Raw(vec![7; 100_000])));
    assert_eq!(open(&long.bytes()).unwrap().voxels().get(5), Some(60.0));
}

#[test]
fn known_tags_of_unknown_representation_have_the_dictionarys() {
    let mut file = sample();
    file.set(unknown(0x0028_1053, Value::Text("2.5 ".into())))
        .set(unknown(0x0028_1052, Value::Text("-1024".into())))
        .set(unknown(0x0020_0032, Value::Text("-1.5\\2\\3".into())))
        .set(unknown(0x0028_0010, Value::U16(vec![2])));
    let volume = open(&file.bytes()).unwrap();
    assert_eq!(volume.scaling(), (2.5, -1024.0));
    assert_eq!(volume.affine().unwrap()[0][3], 1.5);
    let mut sequence = sample();
    let lut = vec![vec![
        crate::common::dicom_file::u16s(0x0028_3002, &[1, 0, 16]),
        Element { tag: 0x0028_3006, vr: "OW", value: Value::U16(vec![77]) },
    ]];
    sequence.set(unknown(0x0028_3000, Value::Open(lut)));
    assert_eq!(open(&sequence.bytes()).unwrap().voxels().get(0), Some(77.0));
}

#[test]
fn values_of_the_wrong_count_are_errors() {
    for element in [
        numbers(0x0020_0032, &[1.0, 2.0]),
        numbers(0x0020_0037, &[1.0, 0.0, 0.0]),
        numbers(0x0020_0037, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        numbers(0x0028_0030, &[1.0]),
        numbers(0x0028_0030, &[0.0, 1.0]),
        text(0x0028_0008, "IS", "1.5"),
    ] {
        let mut file = sample();
        let shown = format!("{element:?}");
        assert!(open(&file.set(element).bytes()).is_err(), "{shown}");
    }
}

#[test]
fn files_without_a_preamble_are_read() {
    let mut bare = sample();
    bare.preamble = false;
    assert_eq!(open(&bare.bytes()).unwrap().dims(), [3, 2, 1]);
    bare.syntax = IMPLICIT;
    assert_eq!(open(&bare.bytes()).unwrap().dims(), [3, 2, 1]);
    let whole = sample().bytes();
    assert_eq!(open(&whole[128..]).unwrap().dims(), [3, 2, 1]);
    assert_eq!(open(&whole[132..]).unwrap().dims(), [3, 2, 1]);
}

#[test]
fn an_icon_before_the_image_is_not_the_image() {
    let icon = Element { tag: 0x7FE0_0010, vr: "OW", value: Value::U16(vec![9; 4]) };
    for value in [Value::Items(vec![vec![icon.clone()]]), Value::Open(vec![vec![icon]])] {
        let mut file = sample();
        file.set(Element { tag: 0x0088_0200, vr: "SQ", value });
        assert_eq!(open(&file.bytes()).unwrap().voxels().get(0), Some(10.0));
    }
}

#[test]
fn every_prefix_is_refused_or_whole() {
    for syntax in ["1.2.840.10008.1.2.1", IMPLICIT, BIG, DEFLATED] {
        let mut file = sample();
        file.syntax = syntax;
        file.set(items(0x0028_3000, Vec::new()));
        let bytes = file.bytes();
        for length in 0..bytes.len() {
            // Deflate's last bits end the stream and carry no data.
            let whole = |volume: Volume| syntax == DEFLATED && volume.voxels().get(5) == Some(60.0);
            assert!(open(&bytes[..length]).map_or(true, whole), "{syntax} cut to {length} of {}", bytes.len());
        }
        assert!(open(&bytes).is_ok());
    }
}

#[test]
fn damaged_files_and_archives_end_in_a_volume_or_an_error() {
    let mut file = sample();
    file.set(items(0x5200_9229, vec![vec![items(0x0028_9110, vec![vec![numbers(0x0028_0030, &[1.0, 1.0])]])]]));
    let bytes = file.bytes();
    fuzz::survive("DICOM", &bytes, bytes.len(), 3000, |damaged| drop(open(&damaged)));
    file.syntax = DEFLATED;
    let bytes = file.bytes();
    fuzz::survive("deflated DICOM", &bytes, bytes.len(), 1000, |damaged| drop(open(&damaged)));
    let archive = zip(&[("a", sample().bytes()), ("b", file.bytes())], true);
    fuzz::survive("zip", &archive, archive.len(), 1000, |damaged| drop(open(&damaged)));
}

#[test]
fn sequences_within_each_other_have_an_end() {
    let mut deep = vec![Vec::new()];
    for _ in 0..200 {
        deep = vec![vec![Element { tag: 0x0040_9096, vr: "SQ", value: Value::Open(deep) }]];
    }
    let mut file = sample();
    file.set(Element { tag: 0x0040_9096, vr: "SQ", value: Value::Open(deep) });
    let message = open(&file.bytes()).err().unwrap().to_string();
    assert!(message.contains("within each other"), "{message}");
}

#[test]
fn lying_sizes_take_no_memory() {
    let mut file = sample();
    file.set(crate::common::dicom_file::u16s(0x0028_0010, &[65535]))
        .set(crate::common::dicom_file::u16s(0x0028_0011, &[65535]))
        .set(text(0x0028_0008, "IS", "1000"));
    let folder = tempfile::tempdir().unwrap();
    file.write(folder.path(), "a");
    let message = Volume::open(folder.path(), &OpenOptions::default()).err().unwrap().to_string();
    assert!(message.contains("voxels") || message.contains("pixel data"), "{message}");
}

#[test]
fn nothing_of_a_patient_is_in_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for z in [0.0, 2.0, 7.0] {
        let mut file = sample();
        file.set(numbers(0x0020_0032, &[0.0, 0.0, z]));
        file.write(folder.path(), &format!("{z}"));
    }
    let listing = serde_json::to_string(&dicom::list(folder.path(), None).unwrap()).unwrap();
    let message = Volume::open(folder.path(), &OpenOptions::default()).err().unwrap().to_string();
    for said in [listing, message] {
        for secret in ["Doe", "Jane", "4711", "1970"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[test]
fn an_empty_folder_and_one_without_dicom_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| Volume::open(path, &OpenOptions::default()).err().unwrap().to_string();
    assert!(refused(folder.path()).contains("a DICOM image"));
    std::fs::write(folder.path().join("a.txt"), "text").unwrap();
    assert!(refused(folder.path()).contains("none in 1 file(s)"));
}
