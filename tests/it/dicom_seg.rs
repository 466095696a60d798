//! DICOM segmentations out and in: on the grid of their series, whatever order the image has its axes in.

use std::path::{Path, PathBuf};

use crate::common;
use crate::common::dicom_file::{DicomFile, items, numbers, text, u16s, u32s};
use crate::common::fuzz::{Random, survive};
use crate::common::nifti_file::NiftiFile;
use medsegx::codes::Code;
use medsegx::volume::{
    DicomMask, DicomOptions, LabelVolume, OpenOptions, Opening, Orientation, Segment, SeriesChoice, Volume, VolumeInfo,
    mask_writer,
};

const COLUMNS: usize = 12;
const ROWS: usize = 10;
const SLICES: usize = 7;
const SPACING: [f64; 3] = [0.75, 0.5, 2.5];

/// A series of slices in this orientation; its positions are spelt in odd ways, its names are of a patient.
pub fn series(folder: &Path, orientation: [f64; 6], dims: [usize; 3]) -> PathBuf {
    let folder = folder.join("series");
    std::fs::create_dir_all(&folder).unwrap();
    let [a, b, c, d, e, f] = orientation;
    let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
    for k in 0..dims[2] {
        let at: [f64; 3] = std::array::from_fn(|i| [-31.5, 17.25, 404.0][i] + SPACING[2] * k as f64 * normal[i]);
        let samples: Vec<u16> = (0..dims[0] * dims[1]).map(|i| (i * 7 + k * 13) as u16 % 900).collect();
        let mut file = DicomFile::slice(dims[0] as u16, dims[1] as u16, at, &samples);
        let spelt: Vec<String> = at.iter().map(|v| format!("{v:+.4}")).collect();
        file.set(numbers(0x0020_0037, &orientation))
            .set(text(0x0020_0032, "DS", &spelt.join("\\")))
            .set(numbers(0x0028_0030, &[SPACING[1], SPACING[0]]))
            .set(text(0x0008_0018, "UI", &format!("1.2.3.4.{}", k + 1)))
            .set(text(0x0008_0050, "SH", "ACC1"))
            .set(text(0x0008_1030, "LO", "Free text of a study"))
            .set(text(0x0018_1000, "LO", "SERIAL-77"))
            .set(text(0x0020_000D, "UI", "1.2.9"))
            .set(text(0x0020_0052, "UI", "1.2.8"));
        file.write(&folder, &format!("{}.dcm", (k * 5) % dims[2]));
    }
    folder
}

pub fn supine(folder: &Path) -> PathBuf {
    series(folder, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [COLUMNS, ROWS, SLICES])
}

/// A NIfTI file of this affine.
pub fn placed(dims: [usize; 3], affine: &[[f64; 4]; 4]) -> Vec<u8> {
    let mut file = NiftiFile::new(1, dims.map(|n| n as i64), 2, 0);
    (file.rows, file.qform_code) = ([affine[0], affine[1], affine[2]], 0);
    file.bytes()
}

pub fn info(path: &Path) -> VolumeInfo {
    Opening::open_chosen(path, &OpenOptions::default(), &SeriesChoice::default()).unwrap().info().clone()
}

/// Labels of random blocks on a grid of `dims`.
pub fn blocks(dims: [usize; 3], labels: &[u16], seed: u64) -> LabelVolume {
    let mut random = Random(seed);
    let volume =
        Volume::from_voxels("m", dims, 1, medsegx::volume::Voxels::U8(vec![0; dims.iter().product()])).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let mut mask = LabelVolume::new(dims, *labels.iter().max().unwrap()).unwrap();
    for &label in labels {
        let low: [usize; 3] = std::array::from_fn(|i| random.below(dims[i] - 3));
        for k in low[2]..low[2] + 3 {
            let inside = |i: usize| {
                let (x, y) = (i % dims[0], i / dims[0]);
                (low[0]..low[0] + 3).contains(&x) && (low[1]..low[1] + 3).contains(&y)
            };
            let plane: Vec<bool> = (0..dims[0] * dims[1]).map(inside).collect();
            mask.paint(&frame, k, &plane, label).unwrap();
        }
    }
    mask
}

pub fn read(path: &Path, on: Option<&VolumeInfo>, labels: &[u32]) -> (LabelVolume, Volume) {
    let volume = Volume::open_labels(path, &OpenOptions::default(), on, labels).unwrap();
    (LabelVolume::from_volume(&volume).unwrap().0, volume)
}

pub fn all(mask: &LabelVolume) -> Vec<u16> {
    (0..mask.dims().iter().product()).map(|i| mask.get(i).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn a_mask_comes_back_with_its_labels_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    for (at, labels) in [&[1][..], &[1, 5, 300], &[2, 3, 4, 5, 6]].into_iter().enumerate() {
        let mask = blocks(image.dims(), labels, 11 + at as u64);
        let named: Vec<Segment> =
            labels.iter().map(|&label| Segment { label, name: format!("Organ {label}") }).collect();
        for (form, options) in [
            ("binary", DicomOptions::default()),
            ("labelmap", DicomOptions { label_map: true, ..DicomOptions::default() }),
            ("deflated", DicomOptions { deflated: true, ..DicomOptions::default() }),
        ] {
            let path = folder.path().join(format!("{form}{at}.dcm"));
            DicomMask::prepare(&image, &path, &options).unwrap().write(&mask, &named, &path, false).unwrap();
            let (found, volume) = read(&path, Some(&image), &[]);
            assert_eq!(all(&found), all(&mask), "{form} {labels:?}");
            assert_eq!(volume.geometry(), image.geometry());
            let own = read(&path, None, &[]).1;
            assert!(own.dims()[2] < SLICES, "empty slices at the ends are left out");
            if labels.len() > 1 {
                let one = u32::from(labels[1]);
                let only: Vec<u16> = all(&mask).iter().map(|&l| if u32::from(l) == one { l } else { 0 }).collect();
                assert_eq!(all(&read(&path, Some(&image), &[one]).0), only);
            }
        }
    }
}

#[test]
fn more_segments_than_a_file_has_are_refused_before_there_are_any() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    let many: Vec<u16> = (1..=256).collect();
    for (name, split, fits) in [("m.dcm", false, false), ("m.dcm", true, true), ("m.rtstruct.dcm", false, true)] {
        let path = folder.path().join(name);
        let prepared = DicomMask::prepare(&image, &path, &DicomOptions { split, ..DicomOptions::default() }).unwrap();
        assert_eq!(prepared.check_labels(&path, &many).is_ok(), fits, "{name}, split {split}");
        prepared.check_labels(&path, &many[1..]).unwrap();
    }
}

#[test]
fn names_come_back_in_the_letters_that_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    let mask = blocks(image.dims(), &[1, 2], 5);
    let names = ["N\u{ee}er\u{e9} d'Anna", "\u{809d}\u{81d3}"];
    let named: Vec<Segment> = (1..).zip(names).map(|(label, name)| Segment { label, name: name.into() }).collect();
    for file in ["m.dcm", "m.rtstruct.dcm"] {
        let path = folder.path().join(file);
        let options = DicomOptions::default();
        DicomMask::prepare(&image, &path, &options).unwrap().write(&mask, &named, &path, false).unwrap();
        let listed = medsegx::dicom::list_masks(&path).unwrap().unwrap().targets;
        assert_eq!(listed.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), names, "{file}");
    }
    assert_eq!(read(&folder.path().join("m.dcm"), Some(&image), &[]).1.label_names(), named);
}

#[test]
fn positions_are_spelt_as_the_source_spells_them_and_only_patient_and_study_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    let path = folder.path().join("m.dcm");
    let mask = blocks(image.dims(), &[1, 2], 3);
    mask_writer::write(&image, &mask, &path, false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(holds(&bytes, "-31.5000\\+17.2500\\+40"), "the source's own spelling");
    for text in ["Doe^Jane", "PATIENT-4711", "19700102", "ACC1", "1.2.9", "1.2.8", "1.2.3.4.3", "label-2 Segment 2"] {
        assert!(holds(&bytes, text), "{text}");
    }
    for text in ["SERIAL-77", "Free text"] {
        assert!(!holds(&bytes, text), "{text}");
    }
    // The same mask beside it as NIfTI has none of it.
    let nifti = folder.path().join("m.nii");
    mask_writer::write(&image, &mask, &nifti, false).unwrap();
    assert!(!holds(&std::fs::read(&nifti).unwrap(), "Doe"));
}

#[test]
fn an_image_in_any_order_of_its_axes_finds_its_series() {
    let folder = tempfile::tempdir().unwrap();
    let turned = [0.0, 0.8, 0.6, -1.0, 0.0, 0.0];
    let series = series(folder.path(), turned, [COLUMNS, ROWS, SLICES]);
    let image = info(&series);
    let (dims, affine) = (image.dims(), image.affine().unwrap());
    let whole = blocks(dims, &[1, 7], 5);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for flips in 0..8_usize {
            let own: [usize; 3] = order.map(|axis| dims[axis]);
            let mut matrix = affine;
            for to in 0..3 {
                let from = order[to];
                let flipped = flips >> to & 1 == 1;
                for row in 0..3 {
                    matrix[row][to] = if flipped { -affine[row][from] } else { affine[row][from] };
                    matrix[row][3] += if flipped { affine[row][from] * (dims[from] - 1) as f64 } else { 0.0 };
                }
            }
            let nifti = folder.path().join("image.nii");
            std::fs::write(&nifti, placed(own, &matrix)).unwrap();
            let mut labels = vec![0; dims.iter().product()];
            for (index, label) in labels.iter_mut().enumerate() {
                let at = [index % own[0], index / own[0] % own[1], index / (own[0] * own[1])];
                let mut place = [0; 3];
                for to in 0..3 {
                    place[order[to]] = if flips >> to & 1 == 1 { own[to] - 1 - at[to] } else { at[to] };
                }
                *label = whole.get((place[2] * dims[1] + place[1]) * dims[0] + place[0]).unwrap();
            }
            let labels = medsegx::volume::Voxels::U16(labels);
            let (mask, _) = LabelVolume::from_volume(&Volume::from_voxels("m", own, 1, labels).unwrap()).unwrap();
            let path = folder.path().join("m.dcm");
            let options = DicomOptions { series: Some(series.clone()), ..DicomOptions::default() };
            let stored = info(&nifti);
            DicomMask::prepare(&stored, &path, &options).unwrap().write(&mask, &[], &path, true).unwrap();
            assert_eq!(all(&read(&path, Some(&image), &[]).0), all(&whole), "{order:?} {flips}");
            assert_eq!(all(&read(&path, Some(&stored), &[]).0), all(&mask), "{order:?} {flips}");
        }
    }
}

#[test]
fn a_file_for_each_segment_has_that_segment_alone() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    let mask = blocks(image.dims(), &[2, 9], 21);
    let path = folder.path().join("organs.dcm");
    let options = DicomOptions { split: true, ..DicomOptions::default() };
    let prepared = DicomMask::prepare(&image, &path, &options).unwrap();
    prepared.write(&mask, &[], &path, false).unwrap();
    assert!(!path.exists());
    for label in [2, 9] {
        let file = folder.path().join(format!("organs-{label}.dcm"));
        assert_eq!(prepared.paths(&path, &[label]), std::slice::from_ref(&file));
        let only: Vec<u16> = all(&mask).iter().map(|&l| if l == label { l } else { 0 }).collect();
        assert_eq!(all(&read(&file, Some(&image), &[]).0), only);
    }
    // A file that is in the way leaves nothing new behind.
    std::fs::remove_file(folder.path().join("organs-2.dcm")).unwrap();
    assert!(prepared.write(&mask, &[], &path, false).is_err());
    assert!(!folder.path().join("organs-2.dcm").exists());
}

#[test]
fn frames_that_fill_no_byte_are_a_warning_and_right() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&series(folder.path(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [5, 7, 4]));
    let mask = blocks(image.dims(), &[1, 2], 8);
    let path = folder.path().join("m.dcm");
    let prepared = DicomMask::prepare(&image, &path, &DicomOptions::default()).unwrap();
    let warnings = prepared.write(&mask, &[], &path, false).unwrap();
    assert_eq!(warnings.iter().map(|w| w.code).collect::<Vec<_>>(), [Code::SegRagged]);
    assert_eq!(all(&read(&path, Some(&image), &[]).0), all(&mask));
}

#[test]
fn what_belongs_to_no_series_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = supine(folder.path());
    let image = info(&source);
    let refused = |volume: &VolumeInfo, options: &DicomOptions| {
        DicomMask::prepare(volume, Path::new("m.dcm"), options).map(drop).unwrap_err().to_string()
    };
    let nifti = folder.path().join("image.nii");
    let mut moved = image.affine().unwrap();
    std::fs::write(&nifti, placed(image.dims(), &moved)).unwrap();
    let none = refused(&info(&nifti), &DicomOptions::default());
    assert!(none.contains("--series FOLDER"), "{none}");
    moved[2][3] += 1.0;
    std::fs::write(&nifti, placed(image.dims(), &moved)).unwrap();
    let options = DicomOptions { series: Some(source), ..DicomOptions::default() };
    let elsewhere = refused(&info(&nifti), &options);
    assert!(elsewhere.contains("the voxels of the series"), "{elsewhere}");
    let mut bare = DicomFile::slice(4, 4, [0.0; 3], &[1; 16]);
    bare.set(text(0x0008_0018, "UI", "1.2")).set(text(0x0020_000D, "UI", "1.3"));
    let error = refused(&info(&bare.write(folder.path(), "bare.dcm")), &DicomOptions::default());
    assert!(error.contains("FrameOfReferenceUID"), "{error}");
}

/// A segmentation laid out by hand: `frames` of segment, place across z and 8 x 2 pixels.
fn by_hand(kind: &str, frames: &[(u16, f64, Vec<u8>)]) -> DicomFile {
    let mut file = DicomFile::slice(8, 2, [0.0; 3], &[]);
    let binary = kind == "BINARY";
    let group = |(segment, z, _): &(u16, f64, Vec<u8>)| {
        vec![
            items(0x0062_000A, vec![vec![u16s(0x0062_000B, &[*segment])]]),
            items(0x0020_9113, vec![vec![numbers(0x0020_0032, &[1.0, 2.0, *z])]]),
            items(0x0020_9111, vec![vec![u32s(0x0020_9157, &[1, 1])]]),
        ]
    };
    let shared = vec![
        items(0x0020_9116, vec![vec![numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])]]),
        items(0x0028_9110, vec![vec![numbers(0x0018_0088, &[3.0]), numbers(0x0028_0030, &[1.0, 1.0])]]),
    ];
    let class = if kind == "LABELMAP" { "1.2.840.10008.5.1.4.1.1.66.7" } else { "1.2.840.10008.5.1.4.1.1.66.4" };
    let pixels: Vec<u8> = frames.iter().flat_map(|frame| frame.2.clone()).collect();
    let packed: Vec<u8> = pixels.chunks(8).map(|c| c.iter().rev().fold(0, |b, &v| b << 1 | v)).collect();
    file.without(0x0020_0032)
        .without(0x0020_0037)
        .without(0x0028_0030)
        .set(text(0x0008_0016, "UI", class))
        .set(text(0x0008_0060, "CS", "SEG"))
        .set(text(0x0062_0001, "CS", kind))
        .set(u16s(0x0062_000E, &[200]))
        .set(text(0x0028_0008, "IS", &frames.len().to_string()))
        .set(items(0x5200_9229, vec![shared]))
        .set(items(0x5200_9230, frames.iter().map(group).collect()))
        .bits(if binary { 1 } else { 8 }, if binary { 1 } else { 8 }, false)
        .pixels(if binary { &packed } else { &pixels });
    file
}

#[test]
fn files_of_dcmqi_are_the_label_maps_that_dcmqi_makes_of_them() {
    let Some(folder) = common::shared("files_of_dcmqi", "data/dcmqi") else { return };
    // Segments that overlap are each read alone; dcmqi fills left-out slices of the last file with its padding value,
    // 5.
    let cases: [(&str, &str, &[u32]); 6] = [
        ("liver.dcm", "liver_seg.nrrd", &[]),
        ("partial_overlaps.dcm", "partial_overlaps-1.nrrd", &[1]),
        ("partial_overlaps.dcm", "partial_overlaps-2.nrrd", &[2]),
        ("partial_overlaps.dcm", "partial_overlaps-3.nrrd", &[3]),
        ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd", &[]),
        ("sparse-labelmap-ppv5.dcm", "sparse_labelmap_ppv5_seg.nrrd", &[1]),
    ];
    for (file, expected, chosen) in cases {
        let expected = Volume::open(folder.join(expected), &OpenOptions::default()).unwrap();
        let meant = LabelVolume::from_volume(&expected).unwrap().0;
        let (found, volume) = read(&folder.join(file), Some(&expected), chosen);
        let wanted = |label: u16| chosen.is_empty() || chosen.contains(&label.into());
        let meant: Vec<u16> = all(&meant).into_iter().map(|label| if wanted(label) { label } else { 0 }).collect();
        assert!(meant.iter().filter(|&&label| label != 0).count() > 600, "{file}");
        assert!(all(&found) == meant, "{file}");
        assert!(volume.warnings().is_empty(), "{file}: {:?}", volume.warnings());
    }
}

#[test]
fn given_masks_become_files_for_other_readers() {
    let Some(folder) = std::env::var_os("MEDSEGX_SEG_MASKS").map(PathBuf::from) else {
        return common::skipped("given_masks", "MEDSEGX_SEG_MASKS names no folder (tools/check_seg.py)");
    };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("mask.nii.gz").exists());
    assert!(!cases.is_empty());
    for case in cases {
        let volume = Volume::open(case.join("mask.nii.gz"), &OpenOptions::default()).unwrap();
        let mask = LabelVolume::from_volume(&volume).unwrap().0;
        let segments = [(3, "Liver"), (8, "Spleen")].map(|(label, name)| Segment { label, name: name.into() });
        let series = DicomOptions { series: Some(case.join("series")), ..DicomOptions::default() };
        for (name, options) in [
            ("mask.dcm", series.clone()),
            ("one.dcm", DicomOptions { split: true, ..series.clone() }),
            ("labelmap.dcm", DicomOptions { label_map: true, ..series.clone() }),
            ("deflated.dcm", DicomOptions { deflated: true, ..series.clone() }),
            ("mask.rtstruct.dcm", series.clone()),
        ] {
            let path = case.join(name);
            DicomMask::prepare(&volume, &path, &options).unwrap().write(&mask, &segments, &path, true).unwrap();
        }
    }
}

fn row(pixel: usize, value: u8) -> Vec<u8> {
    (0..16).map(|i| if i == pixel { value } else { 0 }).collect()
}

#[test]
fn segments_of_other_writers_are_placed_by_their_frames() {
    let folder = tempfile::tempdir().unwrap();
    // Shuffled, with a slice left out at z 6, and a voxel that both segments have.
    let frames = [(7, 9.0, row(3, 1)), (2, 0.0, row(1, 1)), (2, 3.0, row(4, 1)), (7, 3.0, row(4, 1))];
    let path = by_hand("BINARY", &frames).write(folder.path(), "b.dcm");
    let (labels, volume) = read(&path, None, &[]);
    assert_eq!(volume.dims(), [8, 2, 4]);
    let found = all(&labels);
    assert_eq!([found[1], found[16 + 4], found[48 + 3]], [2, 7, 7]);
    assert_eq!(found.iter().filter(|&&l| l != 0).count(), 3);
    let codes: Vec<Code> = volume.warnings().iter().map(|w| w.code).collect();
    assert_eq!(codes, [Code::SegOverlap]);
    assert_eq!(volume.affine().unwrap()[2], [0.0, 0.0, 3.0, 0.0]);
    assert_eq!(all(&read(&path, None, &[2]).0)[16 + 4], 2, "of one segment nothing is covered");

    let numbers: Vec<u8> = (0..16).map(|i| [0, 5, 9, 0][i % 4]).collect();
    let path = by_hand("LABELMAP", &[(0, 0.0, numbers.clone())]).write(folder.path(), "l.dcm");
    assert_eq!(all(&read(&path, None, &[]).0), numbers.iter().map(|&n| n.into()).collect::<Vec<u16>>());

    let path = by_hand("FRACTIONAL", &[(1, 0.0, row(2, 50)), (1, 3.0, row(2, 150))]).write(folder.path(), "f.dcm");
    let volume = Volume::open_labels(&path, &OpenOptions::default(), None, &[]).unwrap();
    let (slope, _) = volume.scaling();
    let value = |index: usize| slope * volume.voxels().get(index).unwrap();
    assert_eq!([value(2), value(16 + 2)], [0.25, 0.75]);
    assert_eq!(all(&read(&path, None, &[1]).0)[2], 0);
    assert_eq!(all(&read(&path, None, &[1]).0)[16 + 2], 1);
}

#[test]
fn damaged_segmentations_are_errors_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let frames = [(1, 0.0, row(1, 1)), (2, 3.0, row(4, 1)), (2, 6.0, row(5, 1))];
    let options = OpenOptions { max_voxels: 1 << 16, ..OpenOptions::default() };
    for kind in ["BINARY", "LABELMAP", "FRACTIONAL"] {
        let whole = by_hand(kind, &frames).bytes();
        let path = folder.path().join("s.dcm");
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Volume::open_labels(&path, &options, None, &[]).map(drop)
        };
        open(&whole).unwrap();
        (0..whole.len()).for_each(|end| drop(open(&whole[..end])));
        survive(kind, &whole, whole.len(), 400, |bytes| drop(open(&bytes)));
    }
}

#[cfg(feature = "cli")]
#[test]
fn no_slice_of_a_folder_that_is_read_is_replaced() {
    use crate::common::command::{medsegx, message, weights};
    let folder = tempfile::tempdir().unwrap();
    let series = supine(folder.path());
    std::fs::rename(series.join("0.dcm"), series.join("organs-1.dcm")).unwrap();
    #[cfg(unix)]
    {
        let elsewhere = folder.path().join("elsewhere.dcm");
        std::fs::rename(series.join("5.dcm"), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, series.join("5.dcm")).unwrap();
    }
    let image = folder.path().join("image.nii");
    std::fs::write(&image, placed([COLUMNS, ROWS, SLICES], &[[0.0; 4]; 4])).unwrap();
    let files = || -> Vec<Vec<u8>> {
        let names = ["organs-1", "1", "2", "3", "4", "5", "6"].map(|name| series.join(name).with_extension("dcm"));
        names.iter().map(|path| std::fs::read(path).unwrap()).collect()
    };
    let before = files();
    let run = |input: &Path, output: &str, more: &[&str]| {
        let text = |path: &Path| path.to_str().unwrap().to_string();
        let fixed = ["segment", "--task", "CT_Liver", "--box", "1,1,8,8", "--slice", "3", "--force", "--weights"];
        let paths = [text(weights()), text(input), "-o".into(), text(&series.join(output))];
        medsegx(&[&fixed[..], &paths.each_ref().map(String::as_str), more].concat())
    };
    let of_series = ["--series", series.to_str().unwrap()];
    for (input, output, more, place) in [
        (&series, "3.dcm", &[][..], "an image in INPUT"),
        (&series, "5.dcm", &[], "an image in INPUT"),
        (&series, "organs.dcm", &["--split"], "an image in INPUT"),
        (&image, "3.dcm", &of_series, "an image in --series"),
    ] {
        let refused = run(input, output, more);
        assert_eq!(refused.status.code(), Some(2), "{output}: {}", message(&refused));
        assert!(message(&refused).contains(place), "{}", message(&refused));
    }
    // A mask of an earlier run is no image of the series.
    for _ in 0..2 {
        let written = run(&series, "mask.dcm", &[]);
        assert!(written.status.success(), "{}", message(&written));
    }
    assert!(files() == before);
}
