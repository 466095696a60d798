//! .npz archives of the MedSAM challenges in and out, and arrays of 16-bit floats.

use std::path::{Path, PathBuf};

use crate::common::dicom_file::zip;
use crate::common::fuzz::survive;
use medsegx::codes::Code;
use medsegx::volume::{DataType, LabelVolume, OpenOptions, Volume, Voxels, mask_writer, npy};

/// A .npy file laid out by hand.
fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn floats(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn case(deflated: bool) -> Vec<u8> {
    let voxels: Vec<u8> = (0..60).map(|v| (v * 37 % 251) as u8).collect();
    let labels: Vec<u8> = (0..60).map(|v| u8::from(v % 7 == 0) * 3).collect();
    zip(
        &[
            ("gts.npy", array("|u1", "(3, 4, 5)", &labels)),
            ("imgs.npy", array("|u1", "(3, 4, 5)", &voxels)),
            ("spacing.npy", array("<f8", "(3,)", &floats(&[0.5, 0.75, 2.0]))),
        ],
        deflated,
    )
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn labels(path: &Path) -> Vec<u16> {
    let volume = Volume::open_labels(path, &OpenOptions::default(), None, &[]).unwrap();
    let labels = LabelVolume::from_volume(&volume).unwrap().0;
    (0..labels.dims().iter().product()).map(|at| labels.get(at).unwrap()).collect()
}

#[test]
fn images_have_their_spacing_and_masks_go_back_as_segs() {
    let folder = tempfile::tempdir().unwrap();
    for deflated in [false, true] {
        let path = written(folder.path(), "case.npz", &case(deflated));
        let volume = Volume::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!((volume.dims(), volume.spacing()), ([5, 4, 3], Some([0.5, 0.75, 2.0])));
        assert_eq!(volume.array_shape(), Some(vec![3, 4, 5]));
        let voxels: Vec<u8> = (0..60).map(|v| (v * 37 % 251) as u8).collect();
        assert_eq!(volume.voxels(), &Voxels::U8(voxels));
        assert_eq!(volume.warnings().iter().map(|w| w.code).collect::<Vec<_>>(), [Code::NoOrientation]);
        // The same archive as a label map is its masks.
        let truth = labels(&path);
        assert_eq!([truth[0], truth[1], truth[56]], [3, 0, 3]);
        for highest in [3, 300] {
            let values = truth.iter().map(|&label| if label == 3 { highest } else { 0 }).collect();
            let mask = Volume::from_voxels("m", [5, 4, 3], 1, Voxels::U16(values)).unwrap();
            let mask = LabelVolume::from_volume(&mask).unwrap().0;
            for name in ["mask.npz", "mask.nii"] {
                let target = folder.path().join(name);
                mask_writer::write(&volume, &mask, &target, true).unwrap();
                let back = Volume::open_labels(&target, &OpenOptions::default(), None, &[]).unwrap();
                assert_eq!(back.dims(), [5, 4, 3]);
                assert_eq!(labels(&target).iter().filter(|&&label| label == highest).count(), 9);
            }
        }
    }
    let picture = zip(&[("imgs.npy", array("|u1", "(2, 2, 3)", &[9; 12]))], true);
    let picture = Volume::open(written(folder.path(), "p.npz", &picture), &OpenOptions::default()).unwrap();
    assert_eq!((picture.dims(), picture.channels(), picture.spacing()), ([2, 2, 1], 3, None));
}

#[test]
fn archives_that_are_no_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8]| {
        Volume::open(written(folder.path(), "x.npz", bytes), &OpenOptions::default()).map(drop).unwrap_err().to_string()
    };
    let voxels = ("imgs.npy", array("|u1", "(3, 2, 2)", &[1; 12]));
    let spacing = |data: &[f64], shape: &str| ("spacing.npy", array("<f8", shape, &floats(data)));
    let none = open(&zip(&[("weights.npy", array("|u1", "(2, 2)", &[1; 4]))], false));
    assert!(none.contains("a zip archive: an .npz"), "{none}");
    let short = open(&zip(&[("imgs.npy", array("|u1", "(3, 9, 9)", &[1; 12]))], false));
    assert!(short.contains("imgs.npy"), "{short}");
    for bad in [spacing(&[1.0, 0.0, 1.0], "(3,)"), spacing(&[1.0, 1.0], "(2,)"), spacing(&[f64::NAN; 3], "(3,)")] {
        let error = open(&zip(&[voxels.clone(), bad], false));
        assert!(error.contains("three numbers above 0"), "{error}");
    }
    let objects = open(&zip(&[("imgs.npy", array("|O", "(3, 2, 2)", &[1; 12]))], false));
    assert!(objects.contains("descr"), "{objects}");
    let mut damaged = zip(&[("imgs.npy", array("|u1", "(3, 2, 2)", &[77; 12]))], false);
    let voxel = damaged.iter().rposition(|&byte| byte == 77).unwrap();
    damaged[voxel] = 78;
    let damaged = open(&damaged);
    assert!(damaged.contains("checksum"), "{damaged}");
}

#[test]
fn floats_of_16_bits_are_read_in_either_order() {
    let folder = tempfile::tempdir().unwrap();
    // 1, -2, 65504, the least subnormal, 1/3 rounded, infinity.
    let bits: [u16; 6] = [0x3C00, 0xC000, 0x7BFF, 0x0001, 0x3555, 0x7C00];
    let meant = [1.0, -2.0, 65504.0, 5.960_464_5e-8, 0.333_251_95, f32::INFINITY];
    for (descr, bytes) in [("<f2", bits.map(u16::to_le_bytes).concat()), (">f2", bits.map(u16::to_be_bytes).concat())] {
        let path = written(folder.path(), "h.npy", &array(descr, "(2, 3)", &bytes));
        assert_eq!(npy::read(&path, 100).unwrap().values, Voxels::F32(meant.to_vec()), "{descr}");
        let volume = Volume::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!((volume.dims(), volume.data_type()), ([3, 2, 1], DataType::F32));
        assert_eq!(volume.voxels(), &Voxels::F32(meant.to_vec()));
    }
    let short = written(folder.path(), "s.npy", &array("<f2", "(2, 3)", &[0; 11]));
    assert!(npy::read(&short, 100).is_err());
}

#[test]
fn damaged_archives_are_errors_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { max_voxels: 1 << 16, ..OpenOptions::default() };
    for deflated in [false, true] {
        let whole = case(deflated);
        let open = |bytes: &[u8]| drop(Volume::open(written(folder.path(), "d.npz", bytes), &options));
        (0..whole.len()).for_each(|end| open(&whole[..end]));
        survive("npz", &whole, whole.len(), 400, |bytes| open(&bytes));
    }
}
