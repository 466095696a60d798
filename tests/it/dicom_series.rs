//! Series of DICOM files as volumes: order, places, splits, and what is refused with its place in mm.
#![cfg(feature = "dicom")]

use std::path::Path;

use medsegx::codes::Code;
use medsegx::dicom::{self, ListedVolume};
use medsegx::volume::{OpenOptions, Opening, SeriesChoice, Volume};

use crate::common::command::{medsegx, message, weights};
use crate::common::dicom_file::{DicomFile, Value, f64s, items, numbers, text, u32s, zip};

const COLUMNS: u16 = 4;
const ROWS: u16 = 3;

fn slice(z: f64, value: u16) -> DicomFile {
    let samples: Vec<u16> = (0..COLUMNS * ROWS).map(|at| value * 100 + at).collect();
    DicomFile::slice(COLUMNS, ROWS, [-10.0, 20.0, z], &samples)
}

fn folder(files: &[DicomFile]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (at, file) in files.iter().enumerate() {
        file.write(folder.path(), &format!("{at:03}"));
    }
    folder
}

fn open(path: &Path) -> Volume {
    Volume::open(path, &OpenOptions::default()).unwrap()
}

fn refused(path: &Path) -> String {
    Volume::open(path, &OpenOptions::default()).err().unwrap().to_string()
}

fn chosen(path: &Path, key: &str) -> Volume {
    let choice = SeriesChoice { volume: Some(key.into()), ..SeriesChoice::default() };
    Opening::open_chosen(path, &OpenOptions::default(), &choice).unwrap().finish().unwrap()
}

fn volumes(path: &Path) -> Vec<ListedVolume> {
    let mut listing = dicom::list(path, Some(2)).unwrap();
    assert_eq!(listing.series.len(), 1);
    listing.series.remove(0).volumes
}

/// The first stored value of each slice.
fn firsts(volume: &Volume) -> Vec<f64> {
    let [columns, rows, slices] = volume.dims();
    (0..slices).map(|z| volume.voxels().get(z * columns * rows).unwrap()).collect()
}

/// Where the affine puts a voxel, in DICOM's coordinates.
fn place(volume: &Volume, voxel: [f64; 3]) -> [f64; 3] {
    let affine = volume.affine().unwrap();
    let row = |r: usize| (0..3).map(|c| affine[r][c] * voxel[c]).sum::<f64>() + affine[r][3];
    [-row(0), -row(1), row(2)]
}

#[track_caller]
fn near(found: [f64; 3], expected: [f64; 3]) {
    let apart = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
    assert!(apart < 1e-4, "{found:?} instead of {expected:?}");
}

#[test]
fn slices_are_ordered_by_place_whatever_their_names_and_numbers() {
    let order = [3.0, 0.0, 4.0, 1.0, 2.0];
    let mut files: Vec<DicomFile> = order.iter().map(|&k| slice(5.0 + 2.0 * k, k as u16)).collect();
    for (at, file) in files.iter_mut().enumerate() {
        file.set(text(0x0020_0013, "IS", &(100 - at).to_string()));
    }
    let folder = folder(&files);
    let volume = open(folder.path());
    assert_eq!(volume.dims(), [4, 3, 5]);
    assert_eq!(firsts(&volume), [0.0, 100.0, 200.0, 300.0, 400.0]);
    near(place(&volume, [0.0; 3]), [-10.0, 20.0, 5.0]);
    // Spacing between columns is the second number of PixelSpacing.
    near(place(&volume, [3.0, 2.0, 4.0]), [-10.0 + 3.0 * 0.75, 20.0 + 2.0 * 0.5, 13.0]);
}

#[test]
fn places_are_right_for_all_axis_orders_and_signs() {
    let axis = |a: usize, sign: f64| std::array::from_fn::<f64, 3, _>(|i| if i == a { sign } else { 0.0 });
    let mut seen = 0;
    for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        for signs in 0..8 {
            let sign = |bit: usize| if signs >> bit & 1 == 1 { -1.0 } else { 1.0 };
            let (row, column, across) = (axis(a, sign(0)), axis(b, sign(1)), axis(3 - a - b, sign(2)));
            let at = |k: usize| std::array::from_fn(|i| 7.0 * i as f64 + 1.5 * k as f64 * across[i]);
            let files: Vec<DicomFile> = (0..4)
                .map(|k| {
                    let samples: Vec<u16> = (0..12).map(|v| 100 * k as u16 + v).collect();
                    let mut file = DicomFile::slice(4, 3, at(k), &samples);
                    file.set(numbers(0x0020_0037, &[row, column].concat()));
                    file
                })
                .collect();
            let folder = folder(&files);
            let volume = open(folder.path());
            // Each stored value says which file, row and column it came from: the affine has to put it there.
            for z in 0..4 {
                for (x, y) in [(0, 0), (3, 0), (0, 2), (2, 1)] {
                    let value = volume.voxels().get(z * 12 + y * 4 + x).unwrap() as usize;
                    assert_eq!(value % 100, 4 * y + x);
                    let from = at(value / 100);
                    let (x, y) = (x as f64, y as f64);
                    let expected = std::array::from_fn(|i| from[i] + 0.75 * x * row[i] + 0.5 * y * column[i]);
                    near(place(&volume, [x, y, z as f64]), expected);
                }
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 48);
}

#[test]
fn a_gap_is_refused_with_its_place_and_files() {
    let files: Vec<DicomFile> = [0.0, 2.0, 4.0, 8.0, 10.0].map(|z| slice(z, 1)).to_vec();
    let folder = folder(&files);
    let message = refused(folder.path());
    for part in ["missing", "4.00 mm", "8.00 mm", "002", "003", "4.000 mm apart, others 2.000 mm"] {
        assert!(message.contains(part), "no '{part}' in {message}");
    }
    assert_eq!(volumes(folder.path())[0].problem.as_ref().unwrap().code, medsegx::codes::Code::DicomGap);
}

#[test]
fn rounded_positions_are_no_gap_and_spacing_is_the_fitted_line() {
    let files: Vec<DicomFile> =
        (0..60).map(|k| slice((0.625 * f64::from(k) * 10.0).round() / 10.0, k as u16)).collect();
    let folder = folder(&files);
    let volume = open(folder.path());
    let spacing = volume.spacing().unwrap()[2];
    assert!((spacing - 0.625).abs() < 1e-3, "{spacing}");
}

#[test]
fn unevenly_spaced_slices_are_refused() {
    let folder = folder(&[0.0, 2.0, 4.6, 6.0, 8.0, 10.0].map(|z| slice(z, 1)));
    assert!(refused(folder.path()).contains("evenly"), "{}", refused(folder.path()));
}

#[test]
fn a_tilted_gantry_keeps_its_shear() {
    let files: Vec<DicomFile> = (0..5)
        .map(|k| {
            let mut file = slice(0.0, k);
            file.set(numbers(0x0020_0032, &[-10.0, 20.0 + f64::from(k), 2.0 * f64::from(k)]));
            file
        })
        .collect();
    let folder = folder(&files);
    let volume = open(folder.path());
    near(place(&volume, [0.0, 0.0, 4.0]), [-10.0, 24.0, 8.0]);
    let tilt = volume.geometry().unwrap().tilt();
    assert!((tilt - 0.5_f64.atan().to_degrees()).abs() < 1e-3, "{tilt}");
    assert!(volume.warnings().iter().any(|w| w.message.contains("26.565 degrees")), "{:?}", volume.warnings());
}

/// A function of the place in mm that linear interpolation keeps.
fn field([x, y, z]: [f64; 3]) -> f64 {
    1000.0 + 8.0 * x - 5.0 * y + 12.0 * z
}

#[test]
fn an_untilted_volume_has_the_field_of_the_tilted_one_at_the_same_places() {
    const SHIFTS: [[f64; 2]; 3] = [[0.0, 0.3], [-0.45, 0.0], [0.21, -0.6]];
    let [columns, rows, slices] = [14_usize, 12, 6];
    for shift in SHIFTS {
        let files: Vec<DicomFile> = (0..slices)
            .map(|k| {
                let z = 2.0 * k as f64;
                let origin = [-10.0 + shift[0] * k as f64, 20.0 + shift[1] * k as f64, z];
                let sample = |at: usize| {
                    let (x, y) = ((at % columns) as f64 * 0.75, (at / columns) as f64 * 0.5);
                    field([origin[0] + x, origin[1] + y, z]).round() as u16
                };
                let samples: Vec<u16> = (0..columns * rows).map(sample).collect();
                DicomFile::slice(columns as u16, rows as u16, origin, &samples)
            })
            .collect();
        let folder = folder(&files);
        let tilted = Opening::open(folder.path(), &OpenOptions::default()).unwrap();
        let least = open(folder.path()).statistics().minimum;
        let upright = tilted.untilted().unwrap();
        assert!(upright.info().warnings().iter().any(|warning| warning.code == Code::Untilted));
        assert!(upright.info().warnings().iter().all(|warning| warning.code != Code::DicomTilt));
        let volume = upright.finish().unwrap();
        assert!(volume.geometry().unwrap().tilt() < 1e-3);
        near(volume.spacing().unwrap(), [0.75, 0.5, 2.0]);
        let (dims, mut inside) = (volume.dims(), 0);
        assert_eq!(dims[2], slices);
        for k in 0..slices {
            let z = 2.0 * k as f64;
            for at in 0..dims[0] * dims[1] {
                let found = volume.voxels().get(k * dims[0] * dims[1] + at).unwrap();
                let [x, y, depth] = place(&volume, [(at % dims[0]) as f64, (at / dims[0]) as f64, k as f64]);
                assert!((depth - z).abs() < 1e-4, "slices stay where they are");
                let within = |place: f64, axis: usize, count: usize, step: f64| {
                    let index = (place - [-10.0, 20.0][axis] - shift[axis] * k as f64) / step;
                    let last = count as f64 - 1.0;
                    (index < -0.51 || index > last + 0.51, (1e-3..=last - 1e-3).contains(&index))
                };
                let (far_x, in_x) = within(x, 0, columns, 0.75);
                let (far_y, in_y) = within(y, 1, rows, 0.5);
                let far = far_x || far_y;
                if in_x && in_y {
                    inside += 1;
                    assert!((found - field([x, y, z])).abs() <= 1.01, "{found} at {x}, {y}, {z}");
                } else if far {
                    assert_eq!(found, least, "{x}, {y}, {z} is on no slice");
                }
            }
        }
        assert!(inside > columns * rows * slices * 3 / 4, "{inside}");
    }
}

#[test]
fn an_upright_volume_stays_as_it_is_and_one_without_a_place_cannot_be_untilted() {
    let folder = folder(&[slice(0.0, 1), slice(2.0, 2), slice(4.0, 3)]);
    let opening = Opening::open(folder.path(), &OpenOptions::default()).unwrap().untilted().unwrap();
    let (same, plain) = (opening.finish().unwrap(), open(folder.path()));
    assert_eq!((same.geometry(), same.voxels()), (plain.geometry(), plain.voxels()));
    let path = folder.path().join("array.npy");
    medsegx::volume::npy::write(&mut std::fs::File::create(&path).unwrap(), &[2, 2, 2], &[7_u8; 8]).unwrap();
    let refused = Opening::open(&path, &OpenOptions::default()).unwrap().untilted().err().unwrap();
    assert!(refused.to_string().contains("tilt"), "{refused}");
}

#[test]
fn two_time_points_are_two_volumes_however_they_are_numbered() {
    let name = |tag: u32, value: &str| text(tag, "IS", value);
    for (tag, key) in [(0x0020_0012, "acquisition"), (0x0020_0100, "time")] {
        let mut files = Vec::new();
        for time in 1..=2_u16 {
            for k in 0..4_u16 {
                let mut file = slice(2.0 * f64::from(k), 10 * time + k);
                file.set(name(tag, &time.to_string())).set(name(0x0020_0013, &(k + 1).to_string()));
                files.push(file);
            }
        }
        let folder = folder(&files);
        let message = refused(folder.path());
        assert!(message.contains(&format!("{key}=1 (4 slice(s)); {key}=2 (4 slice(s))")), "{message}");
        assert_eq!(firsts(&chosen(folder.path(), &format!("{key}=2"))), [2000.0, 2100.0, 2200.0, 2300.0]);
        assert_eq!(firsts(&chosen(folder.path(), "1")), [1000.0, 1100.0, 1200.0, 1300.0]);
    }
}

#[test]
fn dynamic_and_gated_pet_split_by_their_times() {
    for (tag, key) in [(0x0054_1300, "reference-time"), (0x0018_1060, "trigger")] {
        let mut files = Vec::new();
        for time in [0.0, 1500.0] {
            for k in 0..3 {
                let mut file = slice(3.0 * f64::from(k), k as u16);
                file.set(numbers(tag, &[time])).rescale(if time == 0.0 { "2" } else { "3" }, "0");
                files.push(file);
            }
        }
        let folder = folder(&files);
        let keys: Vec<String> = volumes(folder.path()).into_iter().map(|volume| volume.key).collect();
        assert_eq!(keys, [format!("{key}=0"), format!("{key}=1500")]);
    }
}

#[test]
fn duplicates_that_nothing_separates_are_refused() {
    let folder = folder(&[0.0, 2.0, 2.0, 4.0].map(|z| slice(z, 1)));
    let message = refused(folder.path());
    assert!(message.contains("001") && message.contains("002 at 2.00 mm"), "{message}");
}

#[test]
fn a_time_a_slice_makes_no_volumes() {
    let files: Vec<DicomFile> = [0.0, 0.0, 2.0, 2.0]
        .iter()
        .enumerate()
        .map(|(at, &z)| {
            let mut file = slice(z, 1);
            file.set(text(0x0008_0032, "TM", &format!("12000{at}")));
            file
        })
        .collect();
    let folder = folder(&files);
    assert!(refused(folder.path()).contains("no index tells them apart"));
}

#[test]
fn a_localizer_and_another_size_are_volumes_of_their_own() {
    let mut files: Vec<DicomFile> = (0..4).map(|k| slice(2.0 * f64::from(k), k as u16)).collect();
    let mut localizer = slice(50.0, 9);
    localizer.set(numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]));
    files.push(localizer);
    files.push(DicomFile::slice(6, 3, [-10.0, 20.0, 30.0], &[0; 18]));
    let folder = folder(&files);
    let listed = volumes(folder.path());
    assert_eq!(listed.iter().map(|v| v.dims).collect::<Vec<_>>(), [[4, 3, 4], [4, 3, 1], [6, 3, 1]]);
    assert_eq!(listed[0].plane, Some("axial"));
    assert_eq!(listed[1].plane, Some("coronal"));
    assert_eq!(chosen(folder.path(), "stack=1").dims(), [4, 3, 4]);
    assert!(refused(folder.path()).contains("--volume KEY"));
}

#[test]
fn one_slice_says_what_its_depth_is() {
    let mut file = slice(3.0, 1);
    let thick = folder(&[file.set(numbers(0x0018_0050, &[5.0])).clone()]);
    let volume = open(thick.path());
    assert_eq!(volume.spacing().unwrap()[2], 5.0);
    assert!(volume.warnings()[0].message.contains("thickness"));
    let unknown = folder(&[slice(3.0, 1)]);
    assert!(open(unknown.path()).warnings()[0].message.contains("unknown"));
}

#[test]
fn several_series_need_a_choice_and_one_bad_file_costs_itself_only() {
    let mut files: Vec<DicomFile> = (0..3).map(|k| slice(2.0 * f64::from(k), k as u16)).collect();
    let mut other = slice(0.0, 7);
    files.push(other.set(text(0x0020_000E, "UI", "1.2.4")).clone());
    let folder = folder(&files);
    let mut bad = slice(6.0, 3);
    bad.set(text(0x0028_1053, "DS", "abc")).set(text(0x0028_1052, "DS", "0")).write(folder.path(), "bad");
    std::fs::write(folder.path().join("README"), "no DICOM").unwrap();

    let listing = dicom::list(folder.path(), None).unwrap();
    assert_eq!(
        listing.series.iter().map(|s| (s.uid.as_str(), s.files)).collect::<Vec<_>>(),
        [("1.2.3", 3), ("1.2.4", 1)]
    );
    assert_eq!((listing.unreadable.len(), listing.other_files), (1, 1));
    assert!(listing.unreadable[0].contains("bad") && listing.unreadable[0].contains("RESCALE_SLOPE"));
    assert!(!listing.unreadable[0].contains("abc"), "values that may be anything are not repeated");

    assert!(refused(folder.path()).contains("--series UID"));
    let choice = SeriesChoice { series: Some("1.2.3".into()), ..SeriesChoice::default() };
    let volume = Opening::open_chosen(folder.path(), &OpenOptions::default(), &choice).unwrap().finish().unwrap();
    assert_eq!(volume.dims(), [4, 3, 3]);
    assert!(volume.warnings().iter().any(|w| w.message.contains("left out") && w.message.contains("bad")));
}

#[test]
fn archives_and_single_files_are_inputs_like_folders() {
    let files: Vec<DicomFile> = (0..3).map(|k| slice(2.0 * f64::from(k), k as u16)).collect();
    let folder = folder(&files);
    let expected = open(folder.path());
    let outside = tempfile::tempdir().unwrap();
    for deflated in [false, true] {
        let records: Vec<(String, Vec<u8>)> =
            files.iter().enumerate().map(|(at, file)| (format!("sub/{at}.dcm"), file.bytes())).collect();
        let records: Vec<(&str, Vec<u8>)> =
            records.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let path = outside.path().join("series.zip");
        std::fs::write(&path, zip(&records, deflated)).unwrap();
        let volume = open(&path);
        assert_eq!(volume.voxels(), expected.voxels());
        assert_eq!(volume.affine(), expected.affine());
        // The last file's last voxel, in a stored record: nothing but the checksum says that it is another.
        if !deflated {
            let (mut bytes, last) = (std::fs::read(&path).unwrap(), files[2].bytes());
            let at = bytes.windows(last.len()).rposition(|window| window == last).unwrap();
            bytes[at + last.len() - 1] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let volume = open(&path);
            assert_eq!(volume.dims(), [4, 3, 2]);
            let said = |w: &medsegx::codes::Warning| w.message.contains("2.dcm") && w.message.contains("checksum");
            assert!(volume.warnings().iter().any(said), "{:?}", volume.warnings());
        }
    }
    assert_eq!(open(&folder.path().join("001")).dims(), [4, 3, 1]);
}

/// An enhanced file of frames at these places, each with its groups.
fn enhanced(frames: &[(f64, Vec<crate::common::dicom_file::Element>)]) -> DicomFile {
    let samples: Vec<u16> = (0..frames.len() as u16).flat_map(|f| [100 * f; 12]).collect();
    let mut file = DicomFile::slice(COLUMNS, ROWS, [0.0; 3], &samples);
    for tag in [0x0020_0032, 0x0020_0037, 0x0028_0030] {
        file.without(tag);
    }
    let measures = items(0x0028_9110, vec![vec![numbers(0x0028_0030, &[0.5, 0.75])]]);
    let groups = frames.iter().map(|(z, own)| {
        let mut groups = vec![items(0x0020_9113, vec![vec![numbers(0x0020_0032, &[-10.0, 20.0, *z])]])];
        groups.extend(own.iter().cloned());
        groups.sort_by_key(|group| group.tag);
        groups
    });
    let groups = groups.collect();
    let orientation = items(0x0020_9116, vec![vec![numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])]]);
    file.set(text(0x0028_0008, "IS", &frames.len().to_string()))
        .set(items(0x5200_9229, vec![vec![orientation, measures]]))
        .set(items(0x5200_9230, groups));
    file
}

#[test]
fn an_enhanced_file_splits_by_echo_in_both_stored_orders() {
    let echo = |ms: f64| items(0x0018_9114, vec![vec![f64s(0x0018_9082, &[ms])]]);
    let by_place: Vec<_> = (0..6).flat_map(|k| [5.0, 20.0].map(|ms| (2.0 * f64::from(k), vec![echo(ms)]))).collect();
    let by_echo = [5.0, 20.0].into_iter().flat_map(|ms| (0..6).map(move |k| (2.0 * f64::from(k), ms)));
    let by_echo: Vec<_> = by_echo.map(|(z, ms)| (z, vec![echo(ms)])).collect();
    for (frames, expected) in [(by_place, [100.0, 300.0]), (by_echo, [600.0, 700.0])] {
        let folder = folder(&[enhanced(&frames)]);
        let listed = volumes(folder.path());
        assert_eq!(listed.iter().map(|v| v.key.as_str()).collect::<Vec<_>>(), ["echo=5", "echo=20"]);
        let volume = chosen(folder.path(), "echo=20");
        assert_eq!(volume.dims(), [4, 3, 6]);
        assert_eq!(firsts(&volume)[..2], expected);
        near(place(&volume, [0.0, 0.0, 5.0]), [-10.0, 20.0, 10.0]);
    }
}

#[test]
fn diffusion_splits_by_b_value_then_direction() {
    let diffusion = |b: f64, direction: &str| {
        items(0x0018_9117, vec![vec![text(0x0018_9075, "CS", direction), f64s(0x0018_9087, &[b])]])
    };
    let kinds = [(0.0, "NONE"), (1000.0, "DIRECTIONAL"), (1000.0, "ISOTROPIC")];
    let frames: Vec<_> =
        kinds.iter().flat_map(|&(b, d)| (0..3).map(move |k| (2.0 * f64::from(k), vec![diffusion(b, d)]))).collect();
    let folder = folder(&[enhanced(&frames)]);
    let keys: Vec<String> = volumes(folder.path()).into_iter().map(|volume| volume.key).collect();
    assert_eq!(keys, ["b=0", "b=1000,direction=DIRECTIONAL", "b=1000,direction=ISOTROPIC"]);
}

#[test]
fn an_index_of_a_private_dimension_splits_too() {
    let content = |index: u32, place: u32| items(0x0020_9111, vec![vec![u32s(0x0020_9157, &[index, place])]]);
    let frames: Vec<_> =
        (1..=2).flat_map(|i| (0..3).map(move |k| (2.0 * f64::from(k), vec![content(i, k + 1)]))).collect();
    let mut file = enhanced(&frames);
    let pointer = |group: u16, element: u16| {
        vec![crate::common::dicom_file::Element { tag: 0x0020_9165, vr: "AT", value: Value::U16(vec![group, element]) }]
    };
    file.set(items(0x0020_9222, vec![pointer(0x2005, 0x1001), pointer(0x0020, 0x0032)]));
    let folder = folder(&[file]);
    let keys: Vec<String> = volumes(folder.path()).into_iter().map(|volume| volume.key).collect();
    assert_eq!(keys, ["index=1", "index=2"]);
}

#[test]
fn frames_stored_in_any_order_are_placed_and_a_gap_in_them_is_refused() {
    let frames = |order: &[f64]| order.iter().map(|&z| (z, Vec::new())).collect::<Vec<_>>();
    let mixed = folder(&[enhanced(&frames(&[4.0, 0.0, 6.0, 2.0]))]);
    let volume = open(mixed.path());
    assert_eq!(firsts(&volume), [100.0, 300.0, 0.0, 200.0]);
    near(place(&volume, [0.0, 0.0, 3.0]), [-10.0, 20.0, 6.0]);
    let gap = folder(&[enhanced(&frames(&[0.0, 2.0, 4.0, 8.0]))]);
    assert!(refused(gap.path()).contains("frame 4"));
}

#[test]
fn two_stacks_of_one_file_are_two_volumes() {
    let coronal = || items(0x0020_9116, vec![vec![numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 0.0, -1.0])]]);
    let mut frames: Vec<_> = (0..4).map(|k| (2.0 * f64::from(k), Vec::new())).collect();
    frames.extend([(1.0, vec![coronal()])]);
    let folder = folder(&[enhanced(&frames)]);
    assert_eq!(volumes(folder.path()).iter().map(|v| v.dims[2]).collect::<Vec<_>>(), [4, 1]);
}

#[test]
fn a_reconstructed_nm_volume_runs_the_way_its_signed_spacing_says() {
    for between in [4.0, -4.0] {
        let samples: Vec<u16> = (0..3_u16).flat_map(|f| [100 * f; 12]).collect();
        let mut file = DicomFile::slice(COLUMNS, ROWS, [0.0; 3], &samples);
        let detector =
            vec![numbers(0x0020_0032, &[-10.0, 20.0, 50.0]), numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])];
        file.without(0x0020_0032).without(0x0020_0037);
        file.set(text(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\RECON TOMO\\EMISSION"))
            .set(text(0x0028_0008, "IS", "3"))
            .set(numbers(0x0018_0088, &[between]))
            .set(items(0x0054_0022, vec![detector]));
        let folder = folder(&[file]);
        let volume = open(folder.path());
        let expected = if between > 0.0 { [0.0, 100.0, 200.0] } else { [200.0, 100.0, 0.0] };
        assert_eq!(firsts(&volume), expected);
        near(place(&volume, [0.0; 3]), [-10.0, 20.0, if between > 0.0 { 50.0 } else { 42.0 }]);
    }
}

#[test]
fn an_ultrasound_volume_has_its_own_positions() {
    let at = |z: f64| items(0x0020_930E, vec![vec![f64s(0x0020_9301, &[0.0, 0.0, z])]]);
    let turned = || items(0x0020_930F, vec![vec![f64s(0x0020_9302, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])]]);
    let frames: Vec<_> = (0..3).map(|k| (0.0, vec![at(0.7 * f64::from(k)), turned()])).collect();
    let folder = folder(&[enhanced(&frames)]);
    let spacing = open(folder.path()).spacing().unwrap();
    assert!((spacing[2] - 0.7).abs() < 1e-6 && spacing[1] == 0.5, "{spacing:?}");
}

#[test]
fn projections_say_which_spacing_they_have() {
    let mut file = DicomFile::slice(COLUMNS, ROWS, [0.0; 3], &[0; 12]);
    for tag in [0x0020_0032, 0x0020_0037, 0x0028_0030] {
        file.without(tag);
    }
    file.set(numbers(0x0018_1164, &[0.2, 0.2]));
    let detector = folder(&[file.clone()]);
    let volume = open(detector.path());
    assert!(volume.spacing().is_none());
    assert!(volume.warnings().iter().any(|w| w.message.contains("ImagerPixelSpacing")), "{:?}", volume.warnings());
    file.set(numbers(0x0028_0030, &[0.14, 0.14]));
    let calibrated = folder(&[file]);
    assert!(!open(calibrated.path()).warnings().iter().any(|w| w.message.contains("ImagerPixelSpacing")));
}

#[test]
fn segmentations_are_not_images() {
    let mut file = slice(0.0, 1);
    file.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.66.4"));
    let mut files = vec![file];
    files.extend((0..2).map(|k| slice(2.0 * f64::from(k), 1)));
    let folder = folder(&files);
    let listing = dicom::list(folder.path(), None).unwrap();
    assert_eq!((listing.series[0].files, listing.other_files), (2, 1));
    // Alone it is no image, and what it is for is said.
    let alone = refused(&folder.path().join("000"));
    assert!(alone.contains("--rough") && alone.contains("1 segmentation(s) or structure set(s)"), "{alone}");
}

/// CT_Liver on an MR series: said once, whatever the number of targets; on a CT series not at all.
#[test]
fn a_task_of_another_modality_is_a_warning() {
    for (modality, expected) in [("MR", 1), ("CT", 0)] {
        let files: Vec<DicomFile> = (0..2)
            .map(|k| {
                let samples: Vec<u16> = (0..40 * 40).map(|at| at * 7 % 900 + k).collect();
                let mut file = DicomFile::slice(40, 40, [0.0, 0.0, f64::from(k)], &samples);
                file.set(text(0x0008_0060, "CS", modality));
                file
            })
            .collect();
        let folder = folder(&files);
        let at = |name: &str| folder.path().with_extension(name).to_str().unwrap().to_string();
        let (mask, report, boxes) = (at("nii"), at("json"), at("boxes.json"));
        let target = |name: &str, label: u8, task: &str| {
            format!(r#"{{"name":"{name}","label":{label},"task":"{task}","slices":{{"0":[5,5,30,30]}}}}"#)
        };
        let targets = [target("a", 1, "CT_Liver"), target("b", 2, "CT_Spleen")].join(",");
        let file = format!(r#"{{"version":1,"space":"voxel","inclusive":true,"targets":[{targets}]}}"#);
        std::fs::write(&boxes, file).unwrap();
        let input = folder.path().to_str().unwrap();
        let model = ["--weights", weights().to_str().unwrap(), "--device", "cpu"];
        let asked = ["segment", input, "--boxes", &boxes, "-o", &mask, "--report", &report];
        let done = medsegx(&[&asked[..], &model].concat());
        assert!(done.status.success(), "{}", message(&done));
        let told = message(&done).matches("the image is MR by its DICOM header").count();
        let reported: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let reported = reported["warnings"].as_array().unwrap().iter();
        let reported = reported.filter(|warning| warning["code"] == "modality-differs").count();
        assert_eq!((told, reported), (expected, expected), "{modality}: {}", message(&done));
        [mask, report, boxes].into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}

#[test]
fn slices_that_lie_nowhere_are_refused_with_the_reason() {
    let files: Vec<DicomFile> = (0..3)
        .map(|k| {
            let mut file = slice(f64::from(k), k as u16);
            file.without(0x0020_0032).set(text(0x0020_0013, "IS", &(k + 1).to_string()));
            file
        })
        .collect();
    let nowhere = refused(folder(&files).path());
    assert!(nowhere.contains("without ImagePositionPatient slices cannot be stacked"), "{nowhere}");
}
