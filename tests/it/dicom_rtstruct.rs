//! DICOM structure sets out and in.

use std::path::Path;

use super::dicom_seg::{all, blocks, info, placed, read, series, supine};
use crate::common::dicom_file::{DicomFile, EXPLICIT, items, numbers, text};
use crate::common::fuzz::survive;
use medsegx::codes::Code;
use medsegx::volume::{LabelVolume, OpenOptions, Orientation, Volume, VolumeInfo, Voxels, mask_writer};

/// A contour's kind and its points.
type Contour<'a> = (&'a str, &'a [[f64; 3]]);

/// A structure set of these contours of each structure.
fn structures(all: &[(u32, &[Contour])]) -> DicomFile {
    let contour = |(kind, points): &Contour| {
        vec![
            text(0x3006_0042, "CS", kind),
            text(0x3006_0046, "IS", &points.len().to_string()),
            numbers(0x3006_0050, &points.concat()),
        ]
    };
    let structure = |(number, contours): &(u32, &[Contour])| {
        vec![items(0x3006_0040, contours.iter().map(contour).collect()), text(0x3006_0084, "IS", &number.to_string())]
    };
    let mut file = DicomFile { syntax: EXPLICIT, preamble: true, elements: Vec::new() };
    file.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.481.3"))
        .set(text(0x0008_0060, "CS", "RTSTRUCT"))
        .set(items(0x3006_0039, all.iter().map(structure).collect()));
    file
}

/// 40 x 40 voxels of 1 mm, slices of 3 mm, in DICOM's own axes.
fn grid(folder: &Path) -> VolumeInfo {
    let path = folder.join("grid.nii");
    let affine = [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    std::fs::write(&path, placed([40, 40, 5], &affine)).unwrap();
    info(&path)
}

fn square(low: f64, high: f64, z: f64) -> Vec<[f64; 3]> {
    vec![[low, low, z], [high, low, z], [high, high, z], [low, high, z]]
}

fn codes(volume: &Volume) -> Vec<Code> {
    volume.warnings().iter().map(|warning| warning.code).collect()
}

#[test]
fn contours_are_masks_by_the_centres_of_voxels() {
    let folder = tempfile::tempdir().unwrap();
    let image = grid(folder.path());
    let (outer, hole, beside) = (square(9.5, 29.5, 3.0), square(14.5, 24.5, 3.0), square(19.5, 34.5, 3.0));
    let mut turned = outer.clone();
    turned.rotate_left(2);
    let far = square(9.5, 29.5, 300.0);
    let between = square(9.5, 29.5, 4.5);
    type Case<'a> = (&'a str, Vec<Contour<'a>>, usize, &'a [Code]);
    let closed = "CLOSED_PLANAR";
    let cases: [Case; 8] = [
        ("a square", vec![(closed, &outer)], 400, &[]),
        ("with a hole", vec![(closed, &outer), (closed, &hole)], 300, &[Code::ContoursNested]),
        ("as XOR", vec![("CLOSEDPLANAR_XOR", &outer), ("CLOSEDPLANAR_XOR", &hole)], 300, &[Code::ContoursNested]),
        ("stored twice", vec![(closed, &outer), (closed, &turned)], 400, &[Code::ContoursLeftOut]),
        ("overlapping", vec![(closed, &outer), (closed, &beside)], 400 + 225 - 200, &[Code::ContoursNested]),
        ("points and lines", vec![("POINT", &outer[..1]), ("OPEN_PLANAR", &outer)], 0, &[Code::ContoursLeftOut]),
        ("beyond the last slice", vec![(closed, &outer), (closed, &far)], 400, &[Code::SegOutside]),
        ("between two slices", vec![(closed, &between)], 400, &[]),
    ];
    for (name, contours, count, warned) in cases {
        let path = structures(&[(4, &contours)]).write(folder.path(), "r.dcm");
        let (labels, volume) = read(&path, Some(&image), &[]);
        let found = all(&labels);
        assert_eq!(found.iter().filter(|&&label| label == 4).count(), count, "{name}");
        assert_eq!(found.iter().filter(|&&label| label != 0).count(), count, "{name}");
        let slices: Vec<usize> = (0..5).filter(|k| found[k * 1600..(k + 1) * 1600].contains(&4)).collect();
        assert_eq!(slices, vec![1; usize::from(count > 0)], "{name}");
        assert_eq!(codes(&volume), warned, "{name}");
    }
    let path = structures(&[(4, &[(closed, &outer)]), (2, &[(closed, &hole)])]).write(folder.path(), "two.dcm");
    let (labels, volume) = read(&path, Some(&image), &[]);
    assert_eq!([4, 2].map(|label| all(&labels).iter().filter(|&&l| l == label).count()), [300, 100]);
    assert_eq!(codes(&volume), [Code::SegOverlap]);
    assert_eq!(all(&read(&path, Some(&image), &[4]).0).iter().filter(|&&l| l == 4).count(), 400);
    let without = Volume::open_labels(&path, &OpenOptions::default(), None, &[]).map(drop).unwrap_err().to_string();
    assert!(without.contains("an image with a place"), "{without}");
}

#[test]
fn a_mask_comes_back_from_its_outlines() {
    let folder = tempfile::tempdir().unwrap();
    let turned = [0.0, 0.8, 0.6, -1.0, 0.0, 0.0];
    let image = info(&series(folder.path(), turned, [30, 26, 6]));
    let dims = image.dims();
    for seed in 0..6_usize {
        // Blobs with holes, corners that touch and single voxels, of labels whose numbers have gaps.
        let value = |index: usize| {
            let (x, y, z) = (index % 30, index / 30 % 26, index / 780);
            let wave = (x * (3 + seed) % 11 + y * 5 % 9 + 2 * z) % 14;
            let hole = x.abs_diff(14).pow(2) + y.abs_diff(12).pow(2);
            if wave == 0 || hole < 5 {
                0
            } else if hole < 90 {
                7
            } else {
                u16::from(wave < 4) * 300
            }
        };
        let values: Vec<u16> = (0..dims.iter().product()).map(value).collect();
        let volume = Volume::from_voxels("m", dims, 1, Voxels::U16(values)).unwrap();
        let mask = LabelVolume::from_volume(&volume).unwrap().0;
        let path = folder.path().join("m.rtstruct.dcm");
        mask_writer::write(&image, &mask, &path, true).unwrap();
        let (found, volume) = read(&path, Some(&image), &[]);
        assert_eq!(all(&found), all(&mask), "{seed}");
        // Pieces lie within holes of others at times, and never overlap.
        assert!(codes(&volume).is_empty(), "{:?}", volume.warnings());
    }
    assert_eq!(image.frame(2, Orientation::Stored).unwrap().slices(), 6);
}

#[test]
fn the_file_names_its_slices_and_its_patient() {
    let folder = tempfile::tempdir().unwrap();
    let image = info(&supine(folder.path()));
    let path = folder.path().join("m.rtstruct.dcm");
    mask_writer::write(&image, &blocks(image.dims(), &[1, 9], 4), &path, false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(["Doe^Jane", "1.2.3.4.7", "1.2.8", "Segment 9", "CLOSED_PLANAR"].into_iter().all(holds));
    assert!(!holds("SERIAL-77") && !holds("Free text"));
}

#[test]
fn damaged_structure_sets_are_errors_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let image = grid(folder.path());
    let (outer, hole) = (square(9.5, 29.5, 3.0), square(14.5, 24.5, 3.0));
    let whole =
        structures(&[(4, &[("CLOSED_PLANAR", &outer), ("CLOSED_PLANAR", &hole)]), (2, &[("POINT", &outer[..1])])]);
    let (whole, path) = (whole.bytes(), folder.path().join("r.dcm"));
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Volume::open_labels(&path, &OpenOptions::default(), Some(&image), &[]).map(drop)
    };
    open(&whole).unwrap();
    (0..whole.len()).for_each(|end| drop(open(&whole[..end])));
    survive("RTSTRUCT", &whole, whole.len(), 400, |bytes| drop(open(&bytes)));
}
