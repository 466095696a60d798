//! Masks out: the input's grid bit for bit, in every format.

use std::path::Path;

use crate::common::nifti_file::{NiftiFile, gzip};
use medsegx::volume::{LabelVolume, OpenOptions, Orientation, Volume, Voxels, mask_writer};

fn open(bytes: &[u8]) -> Volume {
    Volume::from_bytes("image", bytes, &OpenOptions::default()).unwrap()
}

fn load(path: &Path) -> Volume {
    Volume::open(path, &OpenOptions::default()).unwrap()
}

/// Labels 0, 1, 2 ... in a pattern that no permutation of axes keeps; the highest is `highest`.
fn mask(volume: &Volume, highest: u16) -> LabelVolume {
    let mut labels = LabelVolume::new(volume.dims(), highest).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let (h, w) = frame.shape();
    for k in 0..frame.slices() {
        for label in [1, 2, highest] {
            let inside = |i: usize| (i * 7 + k * 3 + usize::from(label)).is_multiple_of(5);
            let slice: Vec<bool> = (0..h * w).map(inside).collect();
            labels.paint(&frame, k, &slice, label).unwrap();
        }
    }
    labels
}

fn same_labels(volume: &Volume, labels: &LabelVolume) {
    let count = labels.dims().iter().product::<usize>();
    assert_eq!(volume.dims(), labels.dims());
    let (found, expected): (Vec<_>, Vec<_>) =
        (0..count).map(|i| (volume.voxels().get(i).unwrap() as u16, labels.get(i).unwrap())).unzip();
    assert_eq!(found, expected);
    assert!(expected.contains(&1) && expected.contains(&0));
}

fn uncompressed(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
        bytes = plain;
    }
    bytes
}

/// Every odd header, by name.
fn matrix() -> Vec<(&'static str, NiftiFile)> {
    let mut files = Vec::new();
    let mut add = |name, version, change: &dyn Fn(&mut NiftiFile)| {
        let mut file = NiftiFile::new(version, [4, 5, 6], 4, 0);
        change(&mut file);
        files.push((name, file.clone()));
        files.push((name, file.swapped()));
    };
    for version in [1, 2] {
        add("plain", version, &|_| {});
        add("qform only", version, &|f| f.sform_code = 0);
        add("sform only", version, &|f| f.qform_code = 0);
        add("neither", version, &|f| (f.qform_code, f.sform_code) = (0, 0));
        add("forms differ", version, &|f| f.rows[0] = [0.3, 0.1, 0.0, 7.0]);
        add("qfac 0", version, &|f| (f.sform_code, f.pixdim[0]) = (0, 0.0));
        add("qfac -1", version, &|f| (f.sform_code, f.pixdim[0]) = (0, -1.0));
        add("pixdim negative", version, &|f| f.pixdim[1] = -1.5);
        add("oblique", version, &|f| f.quaternion = [0.1, -0.2, 0.3]);
        add("tilted", version, &|f| f.rows[1][2] = 1.0);
        add("slope", version, &|f| (f.slope, f.inter) = (2.5, -1024.0));
        add("slope NaN", version, &|f| (f.slope, f.inter) = (f64::NAN, f64::NAN));
        add("units", version, &|f| f.units = 3 | 16);
        add("codes", version, &|f| (f.qform_code, f.sform_code) = (3, 4));
        add("extension", version, &|f| {
            f.between = [&[1, 0, 0, 0][..], &[0; 32]].concat();
            f.between[4..8].copy_from_slice(&if f.big_endian { 32_i32.to_be_bytes() } else { 32_i32.to_le_bytes() });
            f.vox_offset += 32.0;
        });
        add("one time point", version, &|f| f.dim = [4, 4, 5, 6, 1, 1, 1, 1]);
        add("two axes", version, &|f| f.dim = [2, 4, 30, 1, 1, 1, 1, 1]);
        add("payload in NaN", version, &|f| f.pixdim[5] = f64::NAN);
    }
    files
}

/// Bytes of the header that a mask may change: what describes voxels, not space, and free text.
fn described(version: u8) -> Vec<std::ops::Range<usize>> {
    match version {
        1 => vec![4..32, 56..74, 108..120, 124..132, 148..252, 328..344],
        _ => vec![12..16, 80..104, 168..208, 240..344, 504..524],
    }
}

#[test]
fn nifti_masks_keep_the_geometry_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in matrix() {
        for (bytes, highest) in [(file.bytes(), 3), (file.gzip(), 300)] {
            let image = open(&bytes);
            let labels = mask(&image, highest);
            for end in ["nii", "nii.gz"] {
                let path = folder.path().join(format!("mask.{end}"));
                mask_writer::write(&image, &labels, &path, true).unwrap();
                let written = uncompressed(&path);
                let mut header = file.header();
                for range in described(file.version) {
                    header[range.clone()].copy_from_slice(&written[range]);
                }
                assert_eq!(&written[..header.len()], header, "{name}, NIfTI-{}, big {}", file.version, file.big_endian);
                assert_eq!(written[header.len()..header.len() + 4], [0; 4]);
                let mask = load(&path);
                assert_eq!(mask.geometry(), image.geometry(), "{name}");
                assert_eq!(mask.scaling(), (1.0, 0.0), "{name}");
                same_labels(&mask, &labels);
            }
        }
    }
}

#[test]
fn a_mask_says_that_it_is_labels() {
    use nifti::{NiftiObject, ReaderOptions};
    let folder = tempfile::tempdir().unwrap();
    for (file, highest) in
        [(NiftiFile::new(1, [4, 5, 6], 4, 0), 3), (NiftiFile::new(1, [4, 5, 6], 64, 0).swapped(), 999)]
    {
        let image = open(&file.bytes());
        let path = folder.path().join("mask.nii");
        mask_writer::write(&image, &mask(&image, highest), &path, true).unwrap();
        let read = ReaderOptions::new().read_file(&path).unwrap();
        let header = read.header();
        assert_eq!((header.datatype, header.bitpix), if highest < 256 { (2, 8) } else { (512, 16) });
        assert_eq!((header.scl_slope, header.scl_inter, header.cal_max, header.cal_min), (1.0, 0.0, 0.0, 0.0));
        assert_eq!((header.intent_code, header.vox_offset), (1002, 352.0));
        assert_eq!(header.dim, [3, 4, 5, 6, 1, 1, 1, 1]);
    }
}

#[test]
fn a_mask_of_one_of_several_time_points_has_three_axes() {
    let folder = tempfile::tempdir().unwrap();
    for version in [1, 2] {
        let mut file = NiftiFile::new(version, [4, 5, 6], 4, 0);
        file.dim = [4, 4, 5, 2, 3, 1, 1, 1];
        let options = OpenOptions { time_point: Some(1), ..OpenOptions::default() };
        let image = Volume::from_bytes("image", &file.bytes(), &options).unwrap();
        let path = folder.path().join("mask.nii.gz");
        mask_writer::write(&image, &mask(&image, 3), &path, true).unwrap();
        let written = load(&path);
        assert_eq!((written.dims(), written.time_points()), ([4, 5, 2], 1));
        assert_eq!(written.geometry(), image.geometry());
        let (at, size) = if version == 1 { (40, 2) } else { (16, 8) };
        let dims: Vec<u8> = uncompressed(&path)[at..].chunks(size).take(8).map(|d| d[0]).collect();
        assert_eq!(dims, [3, 4, 5, 2, 1, 1, 1, 1]);
    }
}

#[test]
fn same_mask_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let image = open(&NiftiFile::new(1, [4, 5, 6], 4, 0).bytes());
    let paths = ["a.nii.gz", "b.nii.gz"].map(|name| folder.path().join(name));
    for path in &paths {
        mask_writer::write(&image, &mask(&image, 3), path, false).unwrap();
    }
    let [a, b] = paths.map(|path| std::fs::read(path).unwrap());
    assert_eq!(a, b);
    assert_eq!(a[3..8], [0; 5]); // neither name nor time
}

#[test]
fn npy_and_png_masks_have_the_inputs_shape() {
    let folder = tempfile::tempdir().unwrap();
    let npy = |shape: &[usize]| {
        let mut bytes = Vec::new();
        medsegx::volume::npy::write(&mut bytes, shape, &vec![0_u8; shape.iter().product()]).unwrap();
        bytes
    };
    let nifti = NiftiFile::new(1, [4, 5, 6], 4, 0).bytes();
    for (bytes, shape) in [
        (npy(&[5, 7]), vec![5, 7]),
        (npy(&[5, 7, 3]), vec![5, 7]),
        (npy(&[2, 5, 7]), vec![2, 5, 7]),
        (nifti, vec![6, 5, 4]),
    ] {
        let image = open(&bytes);
        for highest in [3, 300] {
            let labels = mask(&image, highest);
            let path = folder.path().join("mask.npy");
            mask_writer::write(&image, &labels, &path, true).unwrap();
            assert_eq!(medsegx::volume::npy::read(&path, 1000).unwrap().shape, shape);
            same_labels(&load(&path), &labels);
            let path = folder.path().join("mask.png");
            if shape.len() == 2 {
                mask_writer::write(&image, &labels, &path, true).unwrap();
                same_labels(&Volume::open(&path, &OpenOptions::LABELS).unwrap(), &labels);
                std::fs::remove_file(&path).unwrap();
            } else {
                let error = mask_writer::write(&image, &labels, &path, true).unwrap_err().to_string();
                assert!(error.contains("a single slice") && !path.exists(), "{error}");
            }
        }
    }
}

#[test]
fn a_picture_can_get_a_nifti_mask_that_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (dims, version) in [([40, 20, 1], 1), ([40_000, 1, 1], 2)] {
        let image = Volume::from_voxels("image", dims, 1, Voxels::U8(vec![0; dims[0] * dims[1]])).unwrap();
        let labels = mask(&image, 2);
        let path = folder.path().join("mask.nii.gz");
        mask_writer::write(&image, &labels, &path, true).unwrap();
        let written = load(&path);
        same_labels(&written, &labels);
        let geometry = written.geometry().unwrap();
        assert_eq!((geometry.qform_code, geometry.sform_code, geometry.spacing()), (0, 0, [1.0; 3]));
        assert_eq!(uncompressed(&path)[0], if version == 1 { 92 } else { 28 }); // 348, 540
    }
}

#[test]
fn nothing_is_written_when_something_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let image = open(&gzip(&NiftiFile::new(1, [4, 5, 6], 4, 0).bytes()));
    let labels = mask(&image, 3);
    for name in ["mask", "mask.mhd", "mask.nii.zip", "mask.png"] {
        let path = folder.path().join(name);
        assert!(mask_writer::check(&image, &path).is_err());
        assert!(mask_writer::write(&image, &labels, &path, true).is_err());
    }
    let path = folder.path().join("mask.nii");
    assert!(mask_writer::write(&image, &LabelVolume::new([4, 5, 7], 1).unwrap(), &path, true).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    mask_writer::write(&image, &labels, &path, false).unwrap();
    assert!(mask_writer::write(&image, &labels, &path, false).is_err());
    // several dots in a name stay as they are
    let dotted = folder.path().join("case.001.seg.nii");
    mask_writer::write(&image, &labels, &dotted, false).unwrap();
    assert!(dotted.exists());
}
