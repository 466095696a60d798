//! Boxes in millimetres: faces between two voxels, and headers whose qform and sform differ.

use medsegx::codes::Code;
use medsegx::prompt::{Grid, PixelBox, parse_boxes};
use medsegx::volume::{Form, OpenOptions, Volume, VolumeInfo, mask_writer};

use crate::common::nifti_file::NiftiFile;

const DIMS: [i64; 3] = [20, 24, 16];

fn boxes(space: &str, numbers: [f64; 6], grid: &Grid) -> medsegx::Result<std::collections::BTreeMap<usize, PixelBox>> {
    let text = format!(
        r#"{{"version":1,"space":"{space}","inclusive":true,"targets":[{{"name":"a","label":1,"box3d":{numbers:?}}}]}}"#
    );
    Ok(parse_boxes(text.as_bytes(), "boxes.json".as_ref(), grid)?.remove(0).boxes)
}

/// Rows of an affine whose voxel axis `i` runs along patient axis `axes[i]`, backwards where `flips` has bit i.
fn rows(axes: [usize; 3], flips: usize, spacing: [f64; 3]) -> [[f64; 4]; 3] {
    let mut rows = [[0.0; 4]; 3];
    for (i, &axis) in axes.iter().enumerate() {
        rows[axis][i] = if flips >> i & 1 == 1 { -spacing[i] } else { spacing[i] };
    }
    for (row, origin) in rows.iter_mut().zip([-171.3, 33.7, -812.9]) {
        row[3] = origin;
    }
    rows
}

#[test]
fn a_face_between_two_voxels_belongs_to_the_one_inside_the_box() {
    // Voxels 3..=9, 5..=12 and 2..=4, whose outer faces lie half a voxel further out.
    let (low, high) = ([2.5, 4.5, 1.5], [9.5, 12.5, 4.5]);
    for spacing in [[0.7, 0.9, 2.5], [0.976_562_5, 0.976_562_5, 5.0], [1.0 / 3.0, 1.1, 0.8]] {
        for axes in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]] {
            for flips in 0..8 {
                let mut file = NiftiFile::new(1, DIMS, 2, 0);
                (file.rows, file.qform_code) = (rows(axes, flips, spacing), 0);
                let volume = Volume::from_bytes("t", &file.bytes(), &OpenOptions::default()).unwrap();
                let place = |at: [f64; 3]| file.rows.map(|r| r[0] * at[0] + r[1] * at[1] + r[2] * at[2] + r[3]);
                let (one, other) = (place(low), place(high));
                let [min, max] = [f64::min, f64::max].map(|f| [0, 1, 2].map(|i| f(one[i], other[i])));
                let numbers = [min[0], min[1], min[2], max[0], max[1], max[2]];
                let found = boxes("ras", numbers, &Grid::of(&volume, 2)).unwrap();
                let expected = PixelBox { x0: 3, y0: 5, x1: 9, y1: 12 };
                assert_eq!(found, (2..=4).map(|k| (k, expected)).collect(), "{axes:?} {flips} {spacing:?}");
            }
        }
    }
}

#[test]
fn a_box_keeps_the_voxels_whose_centres_are_near_and_never_has_none() {
    let mut file = NiftiFile::new(2, DIMS, 2, 0);
    (file.rows, file.qform_code) = (rows([0, 1, 2], 0, [1.0; 3]), 0);
    file.rows.iter_mut().for_each(|row| row[3] = 0.0);
    let volume = Volume::from_bytes("t", &file.bytes(), &OpenOptions::default()).unwrap();
    for (low, high, first, last) in [
        (2.6, 5.4, 3, 5),
        (2.4, 5.6, 2, 6),
        (2.5, 2.6, 3, 3),
        (2.4, 2.5, 2, 2),
        (2.5, 2.5, 3, 3),
        (4.0, 4.0, 4, 4),
        (2.51, 5.49, 3, 5),
        (2.49, 5.51, 2, 6),
        (-0.5, 19.5, 0, 19),
    ] {
        let found = boxes("ras", [low, 5.0, 5.0, high, 5.0, 5.0], &Grid::of(&volume, 2)).unwrap();
        assert_eq!((found[&5].x0, found[&5].x1), (first, last), "{low} to {high}");
    }
}

/// A file whose qform lies 7 mm further along the patient's x than its sform.
fn differing(qform_code: i16, sform_code: i16) -> NiftiFile {
    let mut file = NiftiFile::new(1, DIMS, 2, 0);
    (file.qform_code, file.sform_code) = (qform_code, sform_code);
    file.offset[0] += 7.0;
    file
}

fn opened(file: &NiftiFile, form: Option<Form>) -> Volume {
    Volume::from_bytes("t.nii", &file.bytes(), &OpenOptions { form, ..OpenOptions::default() }).unwrap()
}

fn warning(volume: &VolumeInfo) -> String {
    let found: Vec<_> = volume.warnings().iter().filter(|w| w.code == Code::FormsDiffer).collect();
    assert_eq!(found.len(), 1, "{:?}", volume.warnings());
    found[0].message.clone()
}

#[test]
fn the_warning_says_which_program_reads_which_form_and_how_far_they_lie_apart() {
    // As SimpleITK, itk and antspyx read them: the sform for s1, the qform for q1/s2, q1/s4, q2/s3, q4/s4.
    for (q, s, itk) in
        [(1, 1, "sform"), (2, 1, "sform"), (1, 2, "qform"), (1, 4, "qform"), (2, 3, "qform"), (4, 4, "qform")]
    {
        let text = warning(&opened(&differing(q, s), None));
        assert!(
            text.contains(&format!("qform (code {q}) and sform (code {s})")) && text.contains("7.0000 mm"),
            "{text}"
        );
        let qform_readers = text.contains("ITK, 3D Slicer and ANTs the qform");
        assert_eq!(qform_readers, itk == "qform", "q{q} s{s}: {text}");
    }
    // In metres the header's 7 are 7000 mm.
    let mut metres = differing(1, 2);
    metres.units = 1;
    assert!(warning(&opened(&metres, None)).contains("7000.0000 mm"));
    // ITK does not take an sform whose spacing is not that of pixdim.
    let mut scaled = differing(1, 1);
    scaled.rows[0][0] = 3.0;
    assert!(warning(&opened(&scaled, None)).contains("ANTs the qform"));
    let same = opened(&NiftiFile::new(1, DIMS, 2, 0), None);
    assert!(same.warnings().is_empty() && same.geometry().unwrap().forms_apart.is_none());
}

#[test]
fn millimetre_boxes_on_differing_forms_want_one_chosen() {
    let file = differing(1, 2);
    let box_around = |x: f64| [x - 3.0, 28.0, 42.5, x + 3.0, 40.0, 60.5];
    // Voxels 4..=8 of the sform's x axis: -10 + 1.5 i.
    let x = -10.0 + 1.5 * 6.0;
    let text = boxes("ras", box_around(x), &Grid::of(&opened(&file, None), 2)).unwrap_err().to_string();
    assert!(text.contains("--form sform or --form qform") && text.contains("7.0000 mm"), "{text}");
    for (form, shift) in [(Form::Sform, 0.0), (Form::Qform, 7.0)] {
        let grid = Grid::of(&opened(&file, Some(form)), 2);
        let found = boxes("ras", box_around(x + shift), &grid).unwrap();
        assert_eq!(found[&4], PixelBox { x0: 4, y0: 4, x1: 8, y1: 10 }, "{form:?}");
    }
    // Voxels mean the same under both.
    let found = boxes("voxel", [1.0, 2.0, 3.0, 4.0, 5.0, 3.0], &Grid::of(&opened(&file, None), 2)).unwrap();
    assert_eq!(found[&3], PixelBox { x0: 1, y0: 2, x1: 4, y1: 5 });
}

#[test]
fn a_chosen_form_has_to_be_there_and_the_mask_keeps_both() {
    let mut without = differing(0, 2);
    let options = |form| OpenOptions { form: Some(form), ..OpenOptions::default() };
    let error = |file: &NiftiFile, form| match Volume::from_bytes("t.nii", &file.bytes(), &options(form)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("opened"),
    };
    assert!(error(&without, Form::Qform).contains("qform_code"));
    (without.qform_code, without.sform_code) = (1, 0);
    assert!(error(&without, Form::Sform).contains("sform_code"));
    assert_eq!("QFORM".parse::<Form>().unwrap(), Form::Qform);
    assert!("both".parse::<Form>().is_err());

    let volume = opened(&differing(1, 2), Some(Form::Qform));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.nii");
    let mut labels = medsegx::volume::LabelVolume::new(volume.dims(), 1).unwrap();
    let frame = volume.frame(2, medsegx::volume::Orientation::Stored).unwrap();
    labels.paint(&frame, 3, &vec![true; 20 * 24], 1).unwrap();
    mask_writer::write(&volume, &labels, &path, false).unwrap();
    let mask = Volume::open(&path, &OpenOptions::default()).unwrap();
    assert!(warning(&mask).contains("7.0000 mm"));
    assert_eq!(mask.affine(), opened(&differing(1, 2), None).affine());
}
