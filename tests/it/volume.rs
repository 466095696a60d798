//! Volumes in: what is read from NIfTI, NumPy and PNG files, and where it lies.

use crate::common::nifti_file::{NiftiFile, gzip, ramp};
use medsegx::volume::{AffineSource, DataType, OpenOptions, Volume, Voxels, npy};

fn open(bytes: &[u8]) -> Volume {
    Volume::from_bytes("test", bytes, &OpenOptions::default()).unwrap()
}

fn error(bytes: &[u8]) -> String {
    match Volume::from_bytes("test", bytes, &OpenOptions::default()) {
        Ok(_) => panic!("read without an error"),
        Err(error) => error.to_string(),
    }
}

fn values(volume: &Volume) -> Vec<f64> {
    let frame = volume.frame(2, medsegx::volume::Orientation::Stored).unwrap();
    let (mut all, mut slice) = (Vec::new(), Vec::new());
    for k in 0..frame.slices() {
        volume.slice_values(&frame, k, &mut slice).unwrap();
        all.extend_from_slice(&slice);
    }
    all
}

fn warns(volume: &Volume, part: &str) -> bool {
    volume.warnings().iter().any(|w| w.message.contains(part))
}

const TYPES: [(i16, DataType, i32); 10] = [
    (2, DataType::U8, 0),
    (256, DataType::I8, 7),
    (512, DataType::U16, 0),
    (4, DataType::I16, 7),
    (768, DataType::U32, 0),
    (8, DataType::I32, 7),
    (1280, DataType::U64, 0),
    (1024, DataType::I64, 7),
    (16, DataType::F32, 7),
    (64, DataType::F64, 7),
];

#[test]
fn every_type_version_byte_order_and_wrapping_reads_alike() {
    for (code, data_type, bias) in TYPES {
        for version in [1, 2] {
            let file = NiftiFile::new(version, [3, 4, 5], code, bias);
            let expected: Vec<f64> = (0..60).map(|v| f64::from(v - bias)).collect();
            for file in [file.clone(), file.swapped()] {
                for bytes in [file.bytes(), file.gzip()] {
                    let volume = open(&bytes);
                    assert_eq!(volume.dims(), [3, 4, 5]);
                    assert_eq!(volume.voxels().data_type(), data_type);
                    assert_eq!(values(&volume), expected, "{data_type:?}, NIfTI-{version}, big {}", file.big_endian);
                    assert_eq!(volume.spacing(), Some([1.5, 2.0, 3.0]));
                    assert_eq!(volume.warnings(), []);
                }
            }
        }
    }
}

#[test]
fn a_second_reader_agrees_where_it_reads_right() {
    use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
    let folder = tempfile::tempdir().unwrap();
    for (code, data_type, bias) in TYPES {
        for (slope, inter) in [(1.0, 0.0), (0.5, 0.25), (-2.0, 10.0)] {
            let mut file = NiftiFile::new(1, [3, 4, 5], code, bias);
            (file.slope, file.inter) = (slope, inter);
            for (file, name) in [(file.clone(), "a.nii"), (file.swapped(), "b.nii.gz")] {
                let path = folder.path().join(name);
                std::fs::write(&path, if name == "a.nii" { file.bytes() } else { file.gzip() }).unwrap();
                let theirs = ReaderOptions::new().read_file(&path).unwrap();
                let theirs = theirs.into_volume().into_ndarray::<f64>().unwrap();
                let ours = values(&Volume::open(&path, &OpenOptions::default()).unwrap());
                for (i, ours) in ours.iter().enumerate() {
                    assert_eq!(*ours, theirs[[i % 3, i / 3 % 4, i / 12]], "{data_type:?}, slope {slope}, voxel {i}");
                }
            }
        }
    }
}

#[test]
fn vox_offset_is_honoured() {
    for version in [1, 2] {
        let plain = NiftiFile::new(version, [2, 3, 4], 4, 0);
        // An extension that is declared, and sixteen bytes that are not.
        for between in [[&[1, 0, 0, 0][..], &16_i32.to_le_bytes(), &[6; 12]].concat(), vec![0; 20], vec![0; 21]] {
            let mut file = plain.clone();
            file.vox_offset += (between.len() - 4) as f64;
            file.between = between;
            assert_eq!(values(&open(&file.bytes())), values(&open(&plain.bytes())));
            assert_eq!(values(&open(&file.gzip())), values(&open(&plain.bytes())));
        }
    }
}

#[test]
fn slope_follows_nibabel() {
    let scaled = |slope: f64, inter: f64| {
        let mut file = NiftiFile::new(1, [3, 1, 1], 4, 0);
        (file.slope, file.inter) = (slope, inter);
        file.bytes()
    };
    assert_eq!(values(&open(&scaled(2.0, -1.0))), [-1.0, 1.0, 3.0]);
    assert_eq!(values(&open(&scaled(0.5, 0.25))), [0.25, 0.75, 1.25]);
    for (slope, inter) in [(0.0, 0.0), (0.0, 5.0), (f64::NAN, 0.0), (f64::NAN, f64::NAN), (f64::INFINITY, 3.0)] {
        let volume = open(&scaled(slope, inter));
        assert_eq!(values(&volume), [0.0, 1.0, 2.0], "slope {slope}, inter {inter}");
        assert_eq!(warns(&volume, "scl_slope"), (slope, inter) != (0.0, 0.0));
    }
    assert!(error(&scaled(2.0, f64::INFINITY)).contains("scl_inter"));
}

/// The affine of a file, by row.
fn affine(file: &NiftiFile) -> ([[f64; 4]; 3], Volume) {
    let volume = open(&file.bytes());
    let a = volume.affine().unwrap();
    ([a[0], a[1], a[2]], volume)
}

fn close(found: [[f64; 4]; 3], expected: [[f64; 4]; 3], tolerance: f64) {
    let off = found.iter().flatten().zip(expected.iter().flatten()).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
    assert!(off <= tolerance, "off by {off}: {found:?} is not {expected:?}");
}

#[test]
fn the_affine_follows_nibabels_rule() {
    for version in [1, 2] {
        let tolerance = if version == 1 { 1e-5 } else { 1e-14 }; // what the header's reals hold
        let mut file = NiftiFile::new(version, [4, 5, 6], 2, 0);
        file.rows = [[0.0, -2.0, 0.0, 1.0], [1.5, 0.0, 0.0, 2.0], [0.0, 0.0, 3.0, 3.0]];
        let (found, both) = affine(&file);
        assert_eq!(found, file.rows);
        let geometry = both.geometry().unwrap();
        assert_eq!((geometry.source, geometry.orientation_codes().as_str()), (AffineSource::Sform, "ALS"));
        assert!(warns(&both, "qform (code 1) and sform (code 1) put the corners"));

        // 30 degrees about z, qfac -1
        file.sform_code = 0;
        file.quaternion = [0.0, 0.0, 15_f64.to_radians().sin()];
        file.pixdim[0] = -1.0;
        let (sin, cos) = 30_f64.to_radians().sin_cos();
        let expected = [[1.5 * cos, -2.0 * sin, 0.0, -10.0], [1.5 * sin, 2.0 * cos, 0.0, 20.0], [0.0, 0.0, -3.0, 30.5]];
        let (found, volume) = affine(&file);
        close(found, expected, tolerance);
        assert_eq!(volume.geometry().unwrap().source, AffineSource::Qform);
        assert_eq!(volume.geometry().unwrap().orientation_codes(), "RAI");
        assert!(volume.warnings().is_empty());

        // any other qfac counts as 1
        for qfac in [0.0, -2.0, f64::NAN] {
            file.pixdim[0] = qfac;
            let (found, volume) = affine(&file);
            assert!((found[2][2] - 3.0).abs() < tolerance && warns(&volume, "qfac"), "qfac {qfac}");
        }
        file.pixdim[0] = 1.0;

        // half a turn: the scalar part of the quaternion is 0 within rounding
        file.quaternion = [0.0, if version == 1 { 1.0 + f64::from(f32::EPSILON) } else { 1.0 + f64::EPSILON }, 0.0];
        close(affine(&file).0, [[-1.5, 0.0, 0.0, -10.0], [0.0, 2.0, 0.0, 20.0], [0.0, 0.0, -3.0, 30.5]], 1e-6);

        // a quaternion that is too long is shortened, as ITK does
        file.quaternion = [0.0, 3.0, 0.0];
        let (found, volume) = affine(&file);
        close(found, [[-1.5, 0.0, 0.0, -10.0], [0.0, 2.0, 0.0, 20.0], [0.0, 0.0, -3.0, 30.5]], 1e-6);
        assert!(warns(&volume, "quaternion"));

        // neither
        file.qform_code = 0;
        let (found, volume) = affine(&file);
        assert_eq!(found, [[-1.5, 0.0, 0.0, 2.25], [0.0, 2.0, 0.0, -4.0], [0.0, 0.0, 3.0, -7.5]]);
        assert_eq!(volume.geometry().unwrap().orientation_codes(), "LAS");
        assert!(warns(&volume, "neither qform nor sform"));

        // codes that are not defined
        (file.qform_code, file.sform_code) = (-1, 9);
        let (undefined, volume) = affine(&file);
        assert_eq!(undefined, found);
        assert!(warns(&volume, "qform_code -1") && warns(&volume, "sform_code 9"));
    }
}

#[test]
fn odd_pixdim_units_tilt_and_singular_affines_are_told() {
    let mut file = NiftiFile::new(1, [4, 5, 6], 2, 0);
    file.sform_code = 0;
    file.pixdim[1..4].copy_from_slice(&[-1.5, 0.0, 3.0]);
    let (found, volume) = affine(&file);
    close(found, [[1.5, 0.0, 0.0, -10.0], [0.0, 1.0, 0.0, 20.0], [0.0, 0.0, 3.0, 30.5]], 0.0);
    assert!(warns(&volume, "not positive"));

    let mut file = NiftiFile::new(1, [4, 5, 6], 2, 0);
    for (units, factor, name) in [(1, 1e3, "metres"), (3, 1e-3, "micrometres"), (2 | 8, 1.0, ""), (0, 1.0, "")] {
        file.units = units;
        let volume = open(&file.bytes());
        let spacing = volume.spacing().unwrap();
        assert!((spacing[0] - 1.5 * factor).abs() < 1e-12 && (spacing[2] - 3.0 * factor).abs() < 1e-9, "{spacing:?}");
        assert_eq!(warns(&volume, "lengths are in"), !name.is_empty());
    }

    // gantry tilt of 20 degrees: only an sform can say so
    let mut file = NiftiFile::new(1, [4, 5, 6], 2, 0);
    let tilt = 20_f64.to_radians();
    file.rows[1][2] = 3.0 * tilt.sin();
    file.rows[2][2] = 3.0 * tilt.cos();
    let volume = open(&file.bytes());
    let geometry = volume.geometry().unwrap();
    assert!((geometry.tilt() - 20.0).abs() < 1e-4, "{}", geometry.tilt());
    assert!((geometry.voxel_volume() - 9.0 * tilt.cos()).abs() < 1e-5);
    assert!(warns(&volume, "tilted gantry"));

    file.rows = [[0.0; 4]; 3];
    let volume = open(&file.bytes());
    assert!(warns(&volume, "singular") && volume.geometry().unwrap().inverse().is_none());
    file.rows[0][0] = f64::NAN;
    assert!(error(&file.bytes()).contains("Sform affine"));
}

#[test]
fn the_inverse_goes_back() {
    let mut file = NiftiFile::new(2, [4, 5, 6], 2, 0);
    file.rows = [[1.0, 0.3, -0.2, 5.0], [0.1, -2.0, 0.4, -6.0], [0.2, 0.5, 3.0, 70.0]];
    let geometry = open(&file.bytes()).geometry().unwrap().clone();
    let inverse = geometry.inverse().unwrap();
    for (r, row) in inverse.iter().enumerate() {
        for c in 0..4 {
            let product: f64 = row.iter().zip(&geometry.affine).map(|(i, a)| i * a[c]).sum();
            assert!((product - f64::from(u8::from(r == c))).abs() < 1e-12);
        }
    }
}

#[test]
fn one_time_point_is_squeezed_and_several_need_a_choice() {
    let mut file = NiftiFile::new(1, [2, 3, 4], 4, 0);
    file.dim = [4, 2, 3, 4, 1, 1, 1, 1];
    assert_eq!(open(&file.bytes()).dims(), [2, 3, 4]);
    file.dim = [4, 2, 3, 2, 2, 1, 1, 1];
    for bytes in [file.bytes(), file.gzip()] {
        assert!(error(&bytes).contains("time points: got 2; needs one, or a chosen one (--volume N, from 0)"));
        for n in 0..2 {
            let options = OpenOptions { time_point: Some(n), ..OpenOptions::default() };
            let volume = Volume::from_bytes("test", &bytes, &options).unwrap();
            assert_eq!((volume.dims(), volume.time_points()), ([2, 3, 2], 2));
            assert_eq!(values(&volume)[0], 12.0 * n as f64);
        }
        let options = OpenOptions { time_point: Some(2), ..OpenOptions::default() };
        let missing = Volume::from_bytes("test", &bytes, &options).err().unwrap();
        assert!(matches!(missing, medsegx::Error::Argument { name: "volume", .. }), "{missing}");
        let labels = Volume::from_bytes("test", &bytes, &OpenOptions::LABELS).err().unwrap().to_string();
        assert!(labels.contains("needs one label: save layers") && !labels.contains("--volume"), "{labels}");
    }
    file.dim = [5, 2, 3, 2, 1, 2, 1, 1];
    assert!(error(&file.bytes()).contains("; needs one, or a chosen one"));
    let second = OpenOptions { time_point: Some(1), ..OpenOptions::default() };
    assert_eq!(values(&Volume::from_bytes("test", &file.bytes(), &second).unwrap())[0], 12.0);
    file.dim = [5, 2, 3, 1, 2, 2, 1, 1];
    assert!(error(&file.bytes()).contains("three space axes and time"));
    // one and two axes are slices of one row and single slices
    file.dim = [2, 6, 4, 0, 0, 0, 0, 0];
    assert_eq!(open(&file.bytes()).dims(), [6, 4, 1]);
    file.dim = [1, 24, 0, 0, 0, 0, 0, 0];
    assert_eq!(open(&file.bytes()).dims(), [24, 1, 1]);
}

#[test]
fn colour_nifti_keeps_three_channels() {
    let mut file = NiftiFile::new(1, [2, 3, 1], 2, 0);
    (file.datatype, file.bitpix, file.data) = (128, 24, (0..18).collect());
    let volume = open(&file.bytes());
    assert_eq!((volume.channels(), volume.voxels()), (3, &Voxels::U8((0..18).collect())));
    (file.datatype, file.bitpix, file.data) = (2304, 32, (0..24).collect());
    let volume = open(&file.swapped().bytes());
    assert_eq!((volume.channels(), volume.voxels()), (3, &Voxels::U8((0..24).filter(|v| v % 4 != 3).collect())));
    assert!(warns(&volume, "alpha"));
}

#[test]
fn gzip_of_several_members_and_with_trailing_bytes() {
    let file = NiftiFile::new(1, [8, 8, 8], 4, 0);
    let bytes = file.bytes();
    let expected = values(&open(&bytes));
    for cut in [1, 100, 352, 400] {
        let members = [gzip(&bytes[..cut]), gzip(&[]), gzip(&bytes[cut..])].concat();
        let volume = open(&members);
        assert_eq!(values(&volume), expected);
        assert!(volume.warnings().is_empty());
        assert!(error(&members[..members.len() - 1]).contains("cut short"));
    }
    let padded = [gzip(&bytes), vec![0; 512]].concat();
    assert!(warns(&open(&padded), "follow the voxels"));
    let longer = gzip(&[&bytes[..], &[1; 100]].concat());
    assert!(warns(&open(&longer), "100 bytes or more follow the voxels"));
    assert!(warns(&open(&[&bytes[..], &[1; 7]].concat()), "7 bytes"));
}

#[test]
fn names_that_promise_something_else_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = NiftiFile::new(1, [2, 3, 4], 4, 0);
    let cases = [
        ("a.nii", file.bytes(), false),
        ("a.nii.gz", file.gzip(), false),
        ("A.NII.GZ", file.gzip(), false),
        ("b.nii", file.gzip(), true),
        ("b.nii.gz", file.bytes(), true),
        ("b.npy", file.bytes(), true),
    ];
    for (name, bytes, wrong) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let volume = Volume::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(warns(&volume, "which its name does not say"), wrong, "{name}");
        assert_eq!(values(&volume)[23], 23.0);
    }
    assert!(Volume::open(folder.path(), &OpenOptions::default()).is_err());
    assert!(Volume::open(folder.path().join("none"), &OpenOptions::default()).is_err());
}

/// A .npy file with a header in NumPy's words.
fn npy_file(version: u8, descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = match version {
        1 => (text.len() as u16).to_le_bytes().to_vec(),
        _ => (text.len() as u32).to_le_bytes().to_vec(),
    };
    [b"\x93NUMPY", &[version, 0][..], &length, text.as_bytes(), data].concat()
}

#[test]
fn npy_shapes_types_orders_and_versions() {
    for (code, descr) in
        [(2, "|u1"), (256, "|i1"), (512, "<u2"), (4, "<i2"), (768, "<u4"), (8, "<i4"), (16, "<f4"), (64, "<f8")]
    {
        let (bits, data) = ramp(code, 24, 0);
        for version in [1, 2, 3] {
            let volume = open(&npy_file(version, descr, false, "(2, 3, 4)", &data));
            assert_eq!((volume.dims(), volume.channels()), ([4, 3, 2], 1));
            assert_eq!(values(&volume), (0..24).map(f64::from).collect::<Vec<_>>(), "{descr}");
        }
        let swapped: Vec<u8> = data.chunks_exact(bits as usize / 8).flat_map(|v| v.iter().rev().copied()).collect();
        let volume = open(&npy_file(1, &descr.replace(['<', '|'], ">"), false, "(6, 4)", &swapped));
        assert_eq!((volume.dims(), values(&volume)[23]), ([4, 6, 1], 23.0));
    }
    let bytes: Vec<u8> = (0..24).collect();
    let colour = open(&npy_file(1, "|u1", false, "(2, 4, 3)", &bytes));
    assert_eq!((colour.dims(), colour.channels()), ([4, 2, 1], 3));
    // Fortran order: the first axis is fastest in the file
    let volume = open(&npy_file(1, "|u1", true, "(2, 3, 4)", &bytes));
    let at = |z: usize, y: usize, x: usize| (z + 2 * y + 6 * x) as f64;
    let expected: Vec<f64> = (0..24).map(|i| at(i / 12, i / 4 % 3, i % 4)).collect();
    assert_eq!(values(&volume), expected);
    assert_eq!(open(&npy_file(1, "|b1", false, "(2L, 3)", &[0, 1, 0, 1, 1, 0])).dims(), [3, 2, 1]);
    assert!(volume.affine().is_none() && volume.spacing().is_none());
}

#[test]
fn npy_is_written_as_numpy_writes_it() {
    let mut out = Vec::new();
    npy::write(&mut out, &[2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    assert_eq!(&out[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(&out[10..10 + text.len()], text);
    assert!(out[10 + text.len()..127].iter().all(|&b| b == b' ') && out[127] == b'\n');
    assert_eq!(out.len(), 128 + 24);
    assert_eq!(values(&open(&out)), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut out = Vec::new();
    npy::write(&mut out, &[5], &[7_u16; 5]).unwrap();
    assert!(out.windows(4).any(|w| w == b"(5,)"));
    assert!(npy::write(&mut out, &[4], &[7_u16; 5]).is_err());
}

fn png_file(colour: png::ColorType, depth: png::BitDepth, width: u32, data: &[u8], palette: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, 2);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn png_of_every_kind() {
    use png::{BitDepth, ColorType};
    type Case<'a> = (ColorType, BitDepth, &'a [u8], &'a [u8], usize, Voxels);
    let cases: [Case; 10] = [
        (ColorType::Grayscale, BitDepth::Eight, &[1, 2, 3, 4, 5, 6], &[], 1, Voxels::U8(vec![1, 2, 3, 4, 5, 6])),
        (
            ColorType::Grayscale,
            BitDepth::One,
            &[0b0110_0000, 0b1010_0000],
            &[],
            1,
            Voxels::U8(vec![0, 255, 255, 255, 0, 255]),
        ),
        (
            ColorType::Grayscale,
            BitDepth::Two,
            &[0b0001_1000, 0b1100_0000],
            &[],
            1,
            Voxels::U8(vec![0, 85, 170, 255, 0, 0]),
        ),
        (
            ColorType::Grayscale,
            BitDepth::Four,
            &[0x12, 0x30, 0x45, 0x60],
            &[],
            1,
            Voxels::U8(vec![17, 34, 51, 68, 85, 102]),
        ),
        (
            ColorType::Grayscale,
            BitDepth::Sixteen,
            &[1, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6],
            &[],
            1,
            Voxels::U16(vec![256, 2, 3, 4, 5, 6]),
        ),
        (
            ColorType::GrayscaleAlpha,
            BitDepth::Eight,
            &[1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9],
            &[],
            1,
            Voxels::U8(vec![1, 2, 3, 4, 5, 6]),
        ),
        (ColorType::Rgb, BitDepth::Eight, &[1; 18], &[], 3, Voxels::U8(vec![1; 18])),
        (ColorType::Rgb, BitDepth::Sixteen, &[0x12, 0x93].repeat(18), &[], 3, Voxels::U8(vec![19; 18])),
        (ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 9].repeat(6), &[], 3, Voxels::U8([1, 2, 3].repeat(6))),
        (
            ColorType::Indexed,
            BitDepth::Eight,
            &[0, 1, 0, 1, 1, 1],
            &[7, 8, 9, 4, 5, 6],
            3,
            Voxels::U8([7, 8, 9, 4, 5, 6, 7, 8, 9, 4, 5, 6, 4, 5, 6, 4, 5, 6].to_vec()),
        ),
    ];
    for (colour, depth, data, palette, channels, expected) in cases {
        let volume = open(&png_file(colour, depth, 3, data, palette));
        assert_eq!((volume.dims(), volume.channels()), ([3, 2, 1], channels), "{colour:?} {depth:?}");
        assert_eq!(volume.voxels(), &expected, "{colour:?} {depth:?}");
    }
}
