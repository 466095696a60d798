//! Values of DICOM pixels: bits, signs, scales, colours and tables, each against numbers that the test chose.
#![cfg(feature = "dicom")]

use medsegx::volume::{DataType, Intensity, OpenOptions, Volume};

use crate::common::dicom_file::{BIG, DEFLATED, DicomFile, Element, IMPLICIT, Value, f64s, items, numbers, text, u16s};

fn open(files: &[DicomFile]) -> Result<Volume, medsegx::Error> {
    let folder = tempfile::tempdir().unwrap();
    for (at, file) in files.iter().enumerate() {
        file.write(folder.path(), &format!("{at}"));
    }
    Volume::open(folder.path(), &OpenOptions::default())
}

/// All values, scaled.
fn values(files: &[DicomFile]) -> Vec<f64> {
    let volume = open(files).unwrap();
    let (slope, intercept) = volume.scaling();
    (0..volume.voxels().len()).map(|at| slope * volume.voxels().get(at).unwrap() + intercept).collect()
}

fn file(samples: &[u16]) -> DicomFile {
    DicomFile::slice(samples.len() as u16, 1, [0.0; 3], samples)
}

fn ow(tag: u32, words: &[u16]) -> Element {
    Element { tag, vr: "OW", value: Value::U16(words.into()) }
}

#[test]
fn every_width_and_sign_in_every_uncompressed_syntax() {
    for syntax in ["1.2.840.10008.1.2.1", IMPLICIT, BIG, DEFLATED] {
        let with = |file: &mut DicomFile| {
            file.syntax = syntax;
            values(std::slice::from_ref(file))
        };
        let samples = [0_u16, 1, 0x7FFF, 0x8000, 0xFFFF, 1234];
        assert_eq!(with(&mut file(&samples)), samples.map(f64::from), "{syntax}");
        assert_eq!(with(file(&samples).bits(16, 16, true)), samples.map(|v| f64::from(v as i16)), "{syntax}");
        let mut ct = file(&[24, 1024, 3000]);
        assert_eq!(with(ct.bits(16, 16, true).rescale("1", "-1024")), [-1000.0, 0.0, 1976.0]);
    }
}

#[test]
fn bytes_in_big_endian_words_are_swapped_in_pairs() {
    // Two frames of three bytes: the second begins within a word.
    let mut swapped = DicomFile::slice(3, 1, [0.0; 3], &[0x0201, 0x0403, 0x0605]);
    swapped.bits(8, 8, false).set(text(0x0028_0008, "IS", "2")).without(0x0020_0032);
    swapped.syntax = BIG;
    assert_eq!(values(&[swapped.clone()]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    swapped.pixels(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(values(&[swapped]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn narrow_numbers_lose_the_bits_above_them_and_take_their_sign() {
    // Bits stored, high bit, and whether signed: the word, and what it means.
    let cases = [
        (12, 11, false, 0xF123, 0x123 as f64),
        (12, 11, true, 0x0800, -2048.0),
        (12, 11, true, 0xF7FF, 2047.0),
        (12, 15, false, 0x1234, 0x123 as f64),
        (12, 15, true, 0x8000, -2048.0),
        (10, 11, false, 0x0FFF, 1023.0),
    ];
    for (stored, high, signed, word, expected) in cases {
        let mut file = file(&[word]);
        file.bits(16, stored, signed).set(u16s(0x0028_0102, &[high]));
        assert_eq!(values(&[file]), [expected], "{stored} bits, high bit {high}");
    }
    let bytes = |stored, signed, byte: u8| {
        let mut file = file(&[0, 0]);
        file.bits(8, stored, signed).pixels(&[byte, 0]);
        values(&[file])[0]
    };
    assert_eq!(bytes(7, true, 73), -55.0);
    assert_eq!(bytes(6, false, 0b1110_0001), 33.0);
    assert_eq!(bytes(8, true, 0x80), -128.0);
}

#[test]
fn wide_numbers_and_floats_are_whole() {
    let mut wide = file(&[0, 0]);
    wide.bits(32, 32, false).pixels(&[3_000_000_000_u32.to_le_bytes(), 7_u32.to_le_bytes()].concat());
    assert_eq!(values(&[wide]), [3e9, 7.0]);
    let mut signed = file(&[0, 0]);
    signed.bits(32, 32, true).pixels(&[(-100_000_i32).to_le_bytes(), 7_i32.to_le_bytes()].concat()).rescale("0.5", "0");
    assert_eq!(values(&[signed]), [-50_000.0, 3.5]);
    let mut float = file(&[0, 0]);
    let raw = Value::Raw([1.5_f32.to_le_bytes(), (-2.25_f32).to_le_bytes()].concat());
    float.without(0x7FE0_0010).set(Element { tag: 0x7FE0_0008, vr: "OF", value: raw });
    assert_eq!(open(&[float.clone()]).unwrap().data_type(), DataType::F32);
    assert_eq!(values(&[float]), [1.5, -2.25]);
    let mut double = file(&[0]);
    let raw = Value::Raw(1e-300_f64.to_le_bytes().to_vec());
    double.without(0x7FE0_0010).set(Element { tag: 0x7FE0_0009, vr: "OD", value: raw });
    assert_eq!(values(&[double]), [1e-300]);
}

#[test]
fn one_bit_frames_may_begin_within_a_byte() {
    // 2 frames of 11 x 13: bit n is set where n is a square.
    let set = |n: usize| (0..20).any(|root| root * root == n);
    let mut bytes = vec![0_u8; 36];
    (0..286).filter(|&n| set(n)).for_each(|n| bytes[n / 8] |= 1 << (n % 8));
    let mut file = DicomFile::slice(11, 13, [0.0; 3], &[]);
    file.bits(1, 1, false).pixels(&bytes).set(text(0x0028_0008, "IS", "2")).without(0x0020_0032);
    let expected: Vec<f64> = (0..286).map(|n| f64::from(u8::from(set(n)))).collect();
    assert_eq!(values(&[file]), expected);
}

#[test]
fn each_slice_has_its_own_scale_in_wide_arithmetic() {
    let slopes = ["1", "1.5", "2.25", "3.3", "0.5"];
    let slices: Vec<DicomFile> = slopes
        .iter()
        .enumerate()
        .map(|(k, slope)| {
            let mut file = DicomFile::slice(2, 1, [0.0, 0.0, 2.0 * k as f64], &[1001, 60_000]);
            file.rescale(slope, "-1024");
            file
        })
        .collect();
    let expected: Vec<f64> = [1.0, 1.5, 2.25, 3.3, 0.5]
        .iter()
        .flat_map(|slope| [1001.0, 60_000.0].map(|v| f64::from((slope * v - 1024.0) as f32)))
        .collect();
    assert_eq!(values(&slices), expected);
}

#[test]
fn one_scale_for_all_leaves_integers_as_they_are_stored() {
    let slices = [0.0, 2.0].map(|z| DicomFile::slice(1, 1, [0.0, 0.0, z], &[1001]).rescale("2.5", "-1").clone());
    let volume = open(&slices).unwrap();
    assert_eq!((volume.data_type(), volume.scaling()), (DataType::U16, (2.5, -1.0)));
}

#[test]
fn scales_stand_in_the_frame_then_in_the_shared_groups_and_a_map_of_real_values_is_not_one() {
    let transformation =
        |slope: f64| items(0x0028_9145, vec![vec![numbers(0x0028_1052, &[5.0]), numbers(0x0028_1053, &[slope])]]);
    let map = || items(0x0040_9096, vec![vec![f64s(0x0040_9224, &[5.0]), f64s(0x0040_9225, &[0.01])]]);
    let multi = |groups: Vec<Vec<Element>>, shared: Vec<Element>| {
        let mut file = DicomFile::slice(1, 1, [0.0; 3], &[1000, 1000]);
        file.set(text(0x0028_0008, "IS", "2")).without(0x0020_0032).without(0x0020_0037);
        file.set(items(0x5200_9229, vec![shared])).set(items(0x5200_9230, groups));
        file
    };
    let own = multi(vec![vec![transformation(2.0)], vec![transformation(3.0)]], vec![transformation(9.0)]);
    assert_eq!(values(&[own]), [2005.0, 3005.0]);
    let shared = multi(vec![vec![], vec![]], vec![transformation(4.0), map()]);
    assert_eq!(values(&[shared]), [4005.0, 4005.0]);
    let mut parametric = multi(vec![vec![map()], vec![map()]], vec![]);
    parametric.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.30"));
    assert_eq!(values(&[parametric]), [15.0, 15.0]);
}

#[test]
fn numbers_as_text_are_read_or_refused() {
    let good =
        [(" +2.5 ", 2.5), ("25e-1", 2.5), ("1.", 1.0), (".5", 0.5), ("0.12345678901234567", 0.123_456_789_012_345_67)];
    for (slope, expected) in good {
        let mut file = file(&[2]);
        assert_eq!(values(&[file.rescale(slope, "0").clone()]), [2.0 * expected], "{slope}");
    }
    for slope in ["1,5", "abc", "nan", "inf", "1\\2", "0"] {
        let mut file = file(&[2]);
        assert!(open(&[file.rescale(slope, "0").clone()]).is_err(), "{slope}");
    }
    let mut alone = file(&[2]);
    assert!(open(&[alone.set(text(0x0028_1053, "DS", "2")).clone()]).is_err());
}

#[test]
fn monochrome1_is_turned_before_the_rescale() {
    let mut unsigned = file(&[1, 4095]);
    unsigned.bits(16, 12, false).rescale("2", "-1000").set(text(0x0028_0004, "CS", "MONOCHROME1"));
    assert_eq!(values(&[unsigned]), [2.0 * 4094.0 - 1000.0, -1000.0]);
    let mut signed = file(&[5, 0xFFFF]);
    signed.bits(16, 12, true).set(text(0x0028_0004, "CS", "MONOCHROME1"));
    assert_eq!(values(&[signed]), [-6.0, 0.0]);
}

#[test]
fn padding_does_not_count_for_the_range() {
    let mut padded = file(&[63536, 100, 900]);
    padded.bits(16, 16, true).set(Element { tag: 0x0028_0120, vr: "SS", value: Value::U16(vec![63536]) });
    let volume = open(&[padded]).unwrap();
    let statistics = volume.statistics();
    assert_eq!((statistics.minimum, statistics.maximum), (100.0, 900.0));
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    assert_eq!((map.low, map.high), (100.0, 900.0));
}

#[test]
fn a_modality_table_gives_the_values() {
    let mut tabled = file(&[9, 10, 11, 12, 200]);
    let table = vec![u16s(0x0028_3002, &[3, 10, 16]), ow(0x0028_3006, &[500, 700, 40_000])];
    tabled.set(items(0x0028_3000, vec![table]));
    assert_eq!(values(&[tabled]), [500.0, 500.0, 700.0, 40_000.0, 40_000.0]);
}

fn colour(photometric: &str, pixels: &[u8], planar: u16) -> DicomFile {
    let mut file = DicomFile::slice(2, 1, [0.0; 3], &[]);
    file.bits(8, 8, false)
        .set(u16s(0x0028_0002, &[3]))
        .set(u16s(0x0028_0006, &[planar]))
        .set(text(0x0028_0004, "CS", photometric))
        .pixels(pixels);
    file
}

#[test]
fn colours_become_rgb_whatever_their_coding_and_order() {
    assert_eq!(values(&[colour("RGB", &[1, 2, 3, 4, 5, 6], 0)]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&[colour("RGB", &[1, 4, 2, 5, 3, 6], 1)]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // BT.601 red and grey.
    assert_eq!(values(&[colour("YBR_FULL", &[76, 85, 255, 90, 128, 128], 0)]), [254.0, 0.0, 0.0, 90.0, 90.0, 90.0]);
    assert_eq!(values(&[colour("YBR_FULL_422", &[50, 90, 128, 128], 0)]), [50.0, 50.0, 50.0, 90.0, 90.0, 90.0]);
}

#[test]
fn palettes_are_applied_whole_and_in_segments() {
    let palette = |kind: u32, tables: [&[u16]; 3]| {
        let mut file = DicomFile::slice(4, 1, [0.0; 3], &[]);
        file.bits(8, 8, false).pixels(&[0, 1, 3, 9]).set(text(0x0028_0004, "CS", "PALETTE COLOR"));
        for (colour, table) in (0..3).zip(tables) {
            file.set(u16s(0x0028_1101 + colour, &[4, 0, 16])).set(ow(kind + colour, table));
        }
        file
    };
    let red: &[u16] = &[0x0100, 0x0200, 0x0300, 0x0400];
    let expected = [1.0, 5.0, 9.0, 2.0, 6.0, 9.0, 4.0, 8.0, 9.0, 4.0, 8.0, 9.0];
    let whole = palette(0x0028_1201, [red, &[0x0500, 0x0600, 0x0700, 0x0800], &[0x0900; 4]]);
    assert_eq!(values(&[whole]), expected);
    // A discrete segment; a line from its end; a repeat of the first segment.
    let repeat = [0, 2, 0x0900, 0x0900, 2, 1, 0, 0];
    let segmented = palette(0x0028_1221, [&[0, 1, 0x0100, 1, 3, 0x0400], &[0, 1, 0x0500, 1, 3, 0x0800], &repeat]);
    assert_eq!(values(&[segmented]), expected);
}
