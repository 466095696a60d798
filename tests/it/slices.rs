//! Slices out of volumes: axes, orientation, grey levels; and masks painted back.

use crate::common;

use std::path::Path;

use crate::common::nifti_file::NiftiFile;
use medsegx::image::Runs;
use medsegx::volume::{
    Intensity, IntensityMap, LabelVolume, OpenOptions, Orientation, SliceFrame, Statistics, Volume, Voxels,
};

fn memory(dims: [usize; 3], channels: usize, voxels: Voxels) -> Volume {
    Volume::from_voxels("test", dims, channels, voxels).unwrap()
}

fn levels(volume: &Volume, rule: Intensity) -> Vec<u8> {
    let (map, mut slice) = (rule.resolve(volume).unwrap(), Vec::new());
    volume.slice_u8(2, 0, &map, &mut slice).unwrap();
    slice
}

fn refused(volume: &Volume, rule: Intensity) -> String {
    rule.resolve(volume).unwrap_err().to_string()
}

#[test]
fn rows_and_columns_of_every_axis() {
    let dims = [3, 4, 5];
    let volume = memory(dims, 1, Voxels::U8((0..60).collect()));
    let raw = Intensity::Raw.resolve(&volume).unwrap();
    let mut slice = Vec::new();
    for axis in 0..3 {
        let (column, row) = [(1, 2), (0, 2), (0, 1)][axis];
        assert_eq!(volume.slice_shape(axis), (dims[row], dims[column]));
        for index in 0..dims[axis] {
            volume.slice_u8(axis, index, &raw, &mut slice).unwrap();
            for (i, &level) in slice.iter().enumerate() {
                let mut at = [0; 3];
                (at[axis], at[column], at[row]) = (index, i % dims[column], i / dims[column]);
                assert_eq!(usize::from(level), at[0] + 3 * at[1] + 12 * at[2], "axis {axis}, slice {index}, pixel {i}");
            }
            assert_eq!(slice.len(), dims[row] * dims[column]);
        }
        assert!(volume.slice_u8(axis, dims[axis], &raw, &mut slice).is_err());
    }
    assert!(volume.slice_u8(3, 0, &raw, &mut slice).is_err());
    assert_eq!(volume.default_axis(), 2);
}

#[test]
fn one_voxel_one_row_and_colour() {
    let one = memory([1, 1, 1], 1, Voxels::I16(vec![-5]));
    assert_eq!(levels(&one, Intensity::MinMax), [0]); // constant
    assert_eq!(levels(&one, "window:-5,10".parse().unwrap()), [128]); // 127.5 to even
    let row = memory([5, 1, 1], 1, Voxels::U16(vec![0, 10, 20, 30, 40]));
    assert_eq!(levels(&row, Intensity::MinMax), [0, 64, 128, 191, 255]);
    assert_eq!(row.slice_shape(0), (1, 1));
    let colour = memory([2, 1, 1], 3, Voxels::U8(vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(Intensity::default_for(&colour), Intensity::Raw);
    assert_eq!(levels(&colour, Intensity::Raw), [1, 2, 3, 4, 5, 6]);
    assert_eq!(levels(&colour, Intensity::MinMax), [0, 51, 102, 153, 204, 255]);
    for wrong in [([2, 1, 1], 2, 4), ([2, 0, 1], 1, 0), ([2, 1, 1], 1, 3), ([usize::MAX, 3, 1], 1, 3)] {
        assert!(Volume::from_voxels("test", wrong.0, wrong.1, Voxels::U8(vec![0; wrong.2])).is_err());
    }
}

#[test]
fn levels_are_those_of_numpy() {
    // np.rint((v - low) / (high - low) * 255)
    let values: Vec<f32> = (0..1000).map(|i| (i * 7919 % 4001) as f32 * 0.75 - 1024.0).collect();
    let low = f64::from(values.iter().copied().fold(f32::INFINITY, f32::min));
    let high = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let volume = memory([1000, 1, 1], 1, Voxels::F32(values.clone()));
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    assert_eq!((map.low, map.high), (low, high));
    let expected: Vec<u8> =
        values.iter().map(|&v| ((f64::from(v) - low) / (high - low) * 255.0).round_ties_even() as u8).collect();
    assert_eq!(levels(&volume, Intensity::MinMax), expected);
    // ties: 255 levels over 510 values, every odd value lies half way
    let volume = memory([511, 1, 1], 1, Voxels::I16((0..=510).collect()));
    let levels = levels(&volume, Intensity::MinMax);
    assert_eq!(levels[..8], [0, 0, 1, 2, 2, 2, 3, 4]);
}

#[test]
fn slope_and_intercept_count() {
    let mut file = NiftiFile::new(1, [3, 1, 1], 4, 0);
    (file.slope, file.inter) = (-100.0, 50.0); // 50, -50, -150
    let volume = Volume::from_bytes("test", &file.bytes(), &OpenOptions::default()).unwrap();
    let map = Intensity::default_for(&volume).resolve(&volume).unwrap();
    assert_eq!((map.rule, map.low, map.high), (Intensity::MinMax, -150.0, 50.0));
    assert_eq!(levels(&volume, Intensity::MinMax), [255, 128, 0]);
}

#[test]
fn windows_by_name_and_number() {
    let names = [
        ("soft", -160.0, 240.0),
        ("lung", -1350.0, 150.0),
        ("brain", 0.0, 80.0),
        ("bone", -500.0, 1300.0),
        ("mediastinum", -125.0, 225.0),
        ("window:10,20", 0.0, 20.0),
        ("WINDOW: -1.5, 3", -3.0, 0.0),
    ];
    let volume = memory([4, 1, 1], 1, Voxels::I16(vec![-2000, 0, 10, 2000]));
    for (name, low, high) in names {
        let rule: Intensity = name.parse().unwrap();
        let map = rule.resolve(&volume).unwrap();
        assert_eq!((map.low, map.high), (low, high), "{name}");
        assert_eq!(rule.to_string().parse::<Intensity>().unwrap(), rule);
        let levels = levels(&volume, rule);
        assert_eq!((levels[0], levels[3]), (0, 255), "{name}: clipped");
    }
    for wrong in [
        "",
        "window",
        "window:",
        "window:1",
        "window:1,0",
        "window:1,-5",
        "window:nan,5",
        "window:1,inf",
        "window:1,2,3",
        "softer",
    ] {
        let error = wrong.parse::<Intensity>().unwrap_err().to_string();
        assert!(error.contains("window:LEVEL,WIDTH"), "{wrong}: {error}");
    }
    let json = serde_json::to_value("soft".parse::<Intensity>().unwrap().resolve(&volume).unwrap()).unwrap();
    assert_eq!(json, serde_json::json!({ "rule": "soft", "low": -160.0, "high": 240.0 }));
}

#[test]
fn percentiles_are_numpys_over_values_above_zero() {
    // np.percentile(v[v > 0], [0.5, 99.5]) of 1..1000 shuffled: 5.995 and 995.005
    let values: Vec<i32> = (0..1501).map(|i| i * 677 % 1501 - 500).collect();
    let volume = memory([1501, 1, 1], 1, Voxels::I32(values.clone()));
    let map = Intensity::Percentile.resolve(&volume).unwrap();
    assert!((map.low - 5.995).abs() < 1e-9 && (map.high - 995.005).abs() < 1e-9, "{map:?}");
    // the same values with a negative slope
    let mut file = NiftiFile::new(2, [1501, 1, 1], 8, 0);
    (file.slope, file.data) = (-1.0, values.iter().flat_map(|v| (-v).to_le_bytes()).collect());
    let volume = Volume::from_bytes("test", &file.bytes(), &OpenOptions::default()).unwrap();
    let negative = Intensity::Percentile.resolve(&volume).unwrap();
    assert!((negative.low - 5.995).abs() < 1e-9 && (negative.high - 995.005).abs() < 1e-9, "{negative:?}");
    let one = memory([3, 1, 1], 1, Voxels::I32(vec![-1, 0, 7]));
    let map = Intensity::Percentile.resolve(&one).unwrap();
    assert_eq!((map.low, map.high), (7.0, 7.0));
    assert!(refused(&memory([2, 1, 1], 1, Voxels::I32(vec![-1, 0])), Intensity::Percentile).contains("above 0"));
}

#[test]
fn raw_takes_only_what_is_0_to_255() {
    let volume = memory([4, 1, 1], 1, Voxels::F32(vec![0.5, 1.5, 2.5, 255.0]));
    assert_eq!(levels(&volume, Intensity::Raw), [0, 2, 2, 255]);
    for wrong in [vec![-0.1, 3.0], vec![0.0, 255.1]] {
        let error = refused(&memory([2, 1, 1], 1, Voxels::F64(wrong)), Intensity::Raw);
        assert!(error.contains("0 to 255 for raw"), "{error}");
    }
}

#[test]
fn defaults_depend_on_what_the_file_is() {
    let open = |bytes: &[u8]| Volume::from_bytes("test", bytes, &OpenOptions::default()).unwrap();
    assert_eq!(Intensity::default_for(&open(&NiftiFile::new(1, [3, 4, 5], 2, 0).bytes())), Intensity::MinMax);
    let mut npy = Vec::new();
    medsegx::volume::npy::write(&mut npy, &[2, 2], &[1_u8, 2, 3, 4]).unwrap();
    assert_eq!(Intensity::default_for(&open(&npy)), Intensity::Raw);
    npy.clear();
    medsegx::volume::npy::write(&mut npy, &[2, 2], &[1_u16, 2, 3, 4]).unwrap();
    assert_eq!(Intensity::default_for(&open(&npy)), Intensity::MinMax);
}

#[test]
fn values_that_are_not_finite_are_refused_by_place() {
    let mut values = vec![1.0_f32; 60];
    (values[31], values[40]) = (f32::NAN, f32::INFINITY);
    let volume = memory([3, 4, 5], 1, Voxels::F32(values));
    for rule in ["minmax", "percentile", "soft", "raw"] {
        let error = refused(&volume, rule.parse().unwrap());
        assert!(error.contains("2 NaN or infinite, the first at voxel (1, 2, 2)"), "{rule}: {error}");
    }
    // finite as stored, infinite as meant
    let mut file = NiftiFile::new(2, [2, 1, 1], 64, 0);
    (file.slope, file.data) = (f64::MAX, [1.0_f64, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect());
    let volume = Volume::from_bytes("test", &file.bytes(), &OpenOptions::default()).unwrap();
    assert!(refused(&volume, Intensity::MinMax).contains("1 NaN or infinite, the first at voxel (1, 0, 0)"));
}

#[test]
fn a_range_alone_gives_the_same_rule() {
    let values = [3_i16, -7, 12];
    let statistics = Statistics::of(&values, 1.0, 0.0);
    let volume = memory([3, 1, 1], 1, Voxels::I16(values.to_vec()));
    assert_eq!(statistics, volume.statistics());
    for rule in ["minmax", "soft"] {
        let rule: Intensity = rule.parse().unwrap();
        assert_eq!(rule.resolve_range(&statistics).unwrap(), rule.resolve(&volume).unwrap());
    }
    assert!(Intensity::Percentile.resolve_range(&statistics).is_err());
    assert!(Intensity::Raw.resolve_range(&statistics).is_err());
}

/// A NIfTI-2 file whose voxel axes run along `axes` of the patient, reversed where asked, a little oblique.
fn turned(axes: [usize; 3], reversed: [bool; 3]) -> NiftiFile {
    let dims: [i64; 3] = std::array::from_fn(|i| [3, 4, 5][axes[i]]);
    let mut file = NiftiFile::new(2, dims, 2, 0);
    file.rows = [[0.0; 4]; 3];
    for i in 0..3 {
        let sign = if reversed[i] { -1.0 } else { 1.0 };
        file.rows[axes[i]][i] = 2.0 * sign;
        file.rows[(axes[i] + 1) % 3][i] += 0.3;
    }
    file
}

#[test]
fn ras_slices_are_those_of_the_canonical_volume_and_masks_go_back() {
    let permutations = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let raw = IntensityMap { rule: Intensity::Raw, low: 0.0, high: 255.0 };
    let mut slice = Vec::new();
    for axes in permutations {
        for flips in 0..8 {
            let reversed = [0, 1, 2].map(|i| flips >> i & 1 == 1);
            let volume = Volume::from_bytes("test", &turned(axes, reversed).bytes(), &OpenOptions::default()).unwrap();
            let dims = volume.dims();
            let codes: String =
                (0..3).map(|i| [["R", "A", "S"], ["L", "P", "I"]][usize::from(reversed[i])][axes[i]]).collect();
            assert_eq!(volume.geometry().unwrap().orientation_codes(), codes);
            // stored index of the voxel at canonical (r, a, s)
            let stored = |canonical: [usize; 3]| {
                let at: [usize; 3] = std::array::from_fn(|i| {
                    if reversed[i] { dims[i] - 1 - canonical[axes[i]] } else { canonical[axes[i]] }
                });
                at[0] + dims[0] * (at[1] + dims[1] * at[2])
            };
            for across in 0..3 {
                let frame = volume.frame(across, Orientation::Ras).unwrap();
                // The patient axis that this stored axis runs along, and the axes of the canonical slice across it.
                let axis = axes[across];
                let (column, row) = [(1, 2), (0, 2), (0, 1)][axis];
                let shape = [3, 4, 5];
                assert_eq!((frame.shape(), frame.slices()), ((shape[row], shape[column]), dims[across]));
                assert_eq!(frame.axis(), across);
                for index in 0..dims[across] {
                    let along = if reversed[across] { dims[across] - 1 - index } else { index };
                    volume.slice_u8_in(&frame, index, &raw, &mut slice).unwrap();
                    let mut expected = Vec::new();
                    for r in 0..shape[row] {
                        for c in 0..shape[column] {
                            let mut at = [0; 3];
                            (at[axis], at[row], at[column]) = (along, r, c);
                            expected.push(stored(at));
                        }
                    }
                    assert_eq!(
                        slice.iter().map(|&v| usize::from(v)).collect::<Vec<_>>(),
                        expected,
                        "{codes} axis {axis}"
                    );
                    // painting where the slice holds an odd value marks exactly those stored voxels
                    let mask: Vec<bool> = slice.iter().map(|v| v % 2 == 1).collect();
                    let mut labels = LabelVolume::new(dims, 7).unwrap();
                    labels.paint(&frame, index, &mask, 7).unwrap();
                    let painted: Vec<usize> = (0..60).filter(|&i| labels.get(i) == Some(7)).collect();
                    let mut odd: Vec<usize> = expected.into_iter().filter(|i| i % 2 == 1).collect();
                    odd.sort_unstable();
                    assert_eq!(painted, odd);
                    paint_runs_alike(&frame, index, dims, &mask);
                    // runs over the ends of rows
                    paint_runs_alike(&frame, index, dims, &slice.iter().map(|v| v % 11 < 9).collect::<Vec<_>>());
                }
                check_boxes(&volume, &frame, &raw);
            }
        }
    }
    let picture = memory([2, 2, 1], 1, Voxels::U8(vec![0; 4]));
    assert!(picture.frame(2, Orientation::Ras).is_err());
    assert!("lps".parse::<Orientation>().is_err());
}

/// A mask as runs is painted as one of pixels is.
fn paint_runs_alike(frame: &SliceFrame, index: usize, dims: [usize; 3], mask: &[bool]) {
    let runs = Runs::new(&mask.iter().map(|&inside| inside.into()).collect::<Vec<u8>>()).unwrap();
    for highest in [7, 300] {
        let [mut found, mut expected] = [0; 2].map(|_| LabelVolume::new(dims, highest).unwrap());
        found.paint_runs(frame, index, &runs, 7).unwrap();
        expected.paint(frame, index, mask, 7).unwrap();
        assert_eq!(found, expected);
    }
}

/// A stored box cuts the same voxels out of the slice as out of the volume.
fn check_boxes(volume: &Volume, frame: &SliceFrame, raw: &IntensityMap) {
    let (mut slice, mut stored_slice) = (Vec::new(), Vec::new());
    volume.slice_u8_in(frame, 1, raw, &mut slice).unwrap();
    volume.slice_u8(frame.axis(), 1, raw, &mut stored_slice).unwrap();
    let (height, width) = volume.slice_shape(frame.axis());
    let stored = [1.0, 0.0, width as f64 - 1.0, 1.0];
    let inside = |slice: &[u8], columns: usize, b: [f64; 4]| {
        let within = |i: usize| {
            let (x, y) = ((i % columns) as f64, (i / columns) as f64);
            b[0] <= x && x <= b[2] && b[1] <= y && y <= b[3]
        };
        let mut values: Vec<u8> = (0..slice.len()).filter(|&i| within(i)).map(|i| slice[i]).collect();
        values.sort_unstable();
        values
    };
    assert_eq!(stored_slice.len(), height * width);
    let found = inside(&slice, frame.shape().1, frame.to_slice(stored));
    assert_eq!(found, inside(&stored_slice, width, stored));
    assert_eq!(found.len(), 2 * (width - 1));
}

#[test]
fn painting_checks_slice_mask_and_label() {
    let volume = memory([3, 4, 5], 1, Voxels::U8(vec![0; 60]));
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let mut labels = LabelVolume::new([3, 4, 5], 255).unwrap();
    labels.paint(&frame, 0, &[true; 12], 255).unwrap();
    labels.paint(&frame, 0, &[false; 12], 3).unwrap();
    assert_eq!((labels.get(11), labels.get(12), labels.get(60)), (Some(255), Some(0), None));
    assert!(labels.paint(&frame, 5, &[true; 12], 1).is_err());
    assert!(labels.paint(&frame, 0, &[true; 11], 1).is_err());
    assert!(labels.paint(&frame, 0, &[true; 12], 256).is_err());
    assert!(LabelVolume::new([4, 3, 5], 1).unwrap().paint(&frame, 0, &[true; 12], 1).is_err());
    let [runs, more] = [12, 13].map(|pixels| Runs::new(&vec![1; pixels]).unwrap());
    assert!(labels.paint_runs(&frame, 5, &runs, 1).is_err());
    assert!(labels.paint_runs(&frame, 0, &more, 1).is_err());
    assert!(labels.paint_runs(&frame, 0, &runs, 256).is_err());
    assert!(LabelVolume::new([4, 3, 5], 1).unwrap().paint_runs(&frame, 0, &runs, 1).is_err());
    let mut wide = LabelVolume::new([3, 4, 5], 256).unwrap();
    wide.paint(&frame, 4, &[true; 12], 256).unwrap();
    assert_eq!((wide.get(47), wide.get(48)), (Some(0), Some(256)));
    assert!(LabelVolume::new([usize::MAX, 2, 2], 1).is_err());
}

#[test]
fn published_slices_read_as_they_are() {
    let Some(folder) = common::shared("example slices", "data/medsegdb-example/eval/ID/AbdomenCT1K/CT_Liver") else {
        return;
    };
    let open = |kind: &str| {
        let path = Path::new(&folder).join(kind).join("casenum_00371_sliceid_50.npy");
        Volume::open(path, &OpenOptions::default()).unwrap()
    };
    let (image, label) = (open("npy_imgs"), open("npy_gts"));
    assert_eq!((image.dims(), image.channels(), label.dims(), label.channels()), ([256, 256, 1], 3, [256, 256, 1], 1));
    let levels = levels(&image, Intensity::default_for(&image));
    assert!(levels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]) && levels.iter().max() == Some(&218));
    assert_eq!(Intensity::MinMax.resolve(&label).unwrap().high, 1.0);
}
