//! Boxes as people and programs write them: byte order marks, corners in any order, fractions, capitals; and what of a
//! rough mask is the object.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::codes::{Code, Warning};
use medsegx::prompt::{Foreground, Grid, PixelBox, RoughOptions, Target, VolumeBox, parse_boxes, rough_boxes};
use medsegx::taxonomy::{Query, UNSEEN_TASK, resolve};

const GRID: Grid = Grid { dims: [40, 30, 20], axis: 2, affine: None, forms_apart: None };

fn rectangle(x0: i64, y0: i64, x1: i64, y1: i64) -> PixelBox {
    PixelBox { x0, y0, x1, y1 }
}

fn file(space: &str, label: &str, prompt: &str, inclusive: bool) -> String {
    let target = format!(r#"{{"name":"a","label":{label},{prompt}}}"#);
    format!(r#"{{"version":1,"space":"{space}","inclusive":{inclusive},"targets":[{target}]}}"#)
}

fn read(text: &str, grid: &Grid) -> Target {
    parse_boxes(text.as_bytes(), Path::new("boxes.json"), grid).unwrap().remove(0)
}

fn codes(warnings: &[Warning]) -> Vec<Code> {
    warnings.iter().map(|warning| warning.code).collect()
}

#[test]
fn a_mask_in_the_place_of_boxes_is_told_where_it_belongs() {
    for bytes in [b"\x1f\x8b\x08\0\0".as_slice(), b"NRRD0005\n", b""] {
        let error = parse_boxes(bytes, Path::new("mask.nii.gz"), &GRID).unwrap_err().to_string();
        assert!(error.contains("--rough") && error.starts_with("mask.nii.gz"), "{error}");
    }
}

#[test]
fn marks_capitals_and_whole_floats_change_nothing() {
    let prompt = r#""box3d":[3,4,5,13,14,6]"#;
    let plain = read(&file("voxel", "1", prompt, true), &GRID);
    let marked = format!("\u{feff}{}", file("voxel", "1", prompt, true));
    assert_eq!(read(&marked, &GRID), plain);
    assert_eq!(read(&file("voxel", "1.0", prompt, true), &GRID), plain);
    assert_eq!(read(&file("Voxel", "1", prompt, true), &GRID), plain);
    let affine = [[2.0, 0.0, 0.0, -5.0], [0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 1.5, 7.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid { affine: Some(affine), ..GRID };
    let millimetres = r#""box3d":[1,13,10,21,31,16]"#;
    assert_eq!(read(&file("RAS", "1", millimetres, true), &grid), read(&file("ras", "1", millimetres, true), &grid));
}

#[test]
fn corners_may_come_in_any_order() {
    let ordered = read(&file("voxel", "1", r#""box3d":[3,4,5,13,14,6]"#, true), &GRID);
    assert!(ordered.warnings.is_empty());
    for corners in ["[13,14,6,3,4,5]", "[13,4,5,3,14,6]", "[3,14,6,13,4,5]"] {
        let found = read(&file("voxel", "1", &format!("\"box3d\":{corners}"), true), &GRID);
        assert_eq!((&found.boxes, codes(&found.warnings)), (&ordered.boxes, vec![Code::CornersSwapped]), "{corners}");
    }
    let exclusive = read(&file("voxel", "1", r#""box3d":[14,15,7,3,4,5]"#, false), &GRID);
    assert_eq!((exclusive.boxes, codes(&exclusive.warnings)), (ordered.boxes, vec![Code::CornersSwapped]));
    let affine = [[-2.0, 0.0, 0.0, 60.0], [0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 1.5, 7.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid { affine: Some(affine), ..GRID };
    let [ascending, other] = ["[20,13,10,40,31,16]", "[40,31,10,20,13,16]"]
        .map(|corners| read(&file("ras", "1", &format!("\"box3d\":{corners}"), true), &grid));
    assert_eq!((&other.boxes, codes(&other.warnings)), (&ascending.boxes, vec![Code::CornersSwapped]));

    let (typed, notes) = PixelBox::read("30,20,10,25").unwrap();
    assert_eq!((typed, codes(&notes)), (rectangle(10, 20, 30, 25), vec![Code::CornersSwapped]));
    let (typed, notes) = VolumeBox::read("9,2,3,4,5,1").unwrap();
    assert_eq!((typed.low, typed.high, codes(&notes)), ([4, 2, 1], [9, 5, 3], vec![Code::CornersSwapped]));
}

#[test]
fn fractions_name_the_nearest_voxel_and_the_inner_one_of_two() {
    for (text, expected) in [
        ("10.2,20.4,30.4,40.2", rectangle(10, 20, 30, 40)),
        ("9.6,19.8,29.6,39.7", rectangle(10, 20, 30, 40)),
        ("9.5,19.5,30.5,40.5", rectangle(10, 20, 30, 40)),
        ("3.5,3.5,3.5,3.5", rectangle(4, 4, 4, 4)),
        ("-0.5,-0.5,5,5", rectangle(0, 0, 5, 5)),
    ] {
        let (found, notes) = PixelBox::read(text).unwrap();
        assert_eq!((found, codes(&notes)), (expected, vec![Code::BoxRounded]), "{text}");
    }
    let found = read(&file("voxel", "1", r#""slices":{"2":[9.5,3,20.5,8]}"#, true), &GRID);
    assert_eq!(found.boxes, BTreeMap::from([(2, rectangle(10, 3, 20, 8))]));
    assert_eq!(codes(&found.warnings), [Code::BoxRounded]);
    let found = read(&file("voxel", "1", r#""slices":{"2":[9.5,3,21.5,9]}"#, false), &GRID);
    assert_eq!(found.boxes, BTreeMap::from([(2, rectangle(10, 3, 20, 8))]));
}

#[test]
fn an_organ_that_the_tree_has_once_implies_where_it_lies() {
    let organ = |name: &str| Query { modality: Some("CT".into()), organ: Some(name.into()), ..Query::default() };
    let liver = resolve(&organ("liver")).unwrap();
    assert_eq!((liver.modality, liver.organ, liver.task), (2, [1, 4, 17], UNSEEN_TASK));
    let elsewhere = Query { body_part: Some("head and neck".into()), ..organ("liver") };
    assert!(resolve(&elsewhere).is_err() || resolve(&elsewhere).unwrap().organ[0] != liver.organ[0]);
}

/// What `values` with these options makes the object, and the warnings.
fn foreground(values: &[f64], options: &RoughOptions) -> (Result<Foreground, String>, Vec<Code>) {
    let mut warnings = Vec::new();
    let found = Foreground::of(values.iter().copied(), options, &mut warnings);
    (found.map_err(|error| error.to_string()), codes(&warnings))
}

#[test]
fn what_of_a_rough_mask_is_the_object() {
    let default = RoughOptions::default();
    let labels = |labels: &[u32]| (Ok(Foreground::Labels(labels.to_vec())), vec![]);
    assert_eq!(foreground(&[0.0, 1.0, 0.0], &default), labels(&[1]));
    assert_eq!(foreground(&[0.0, 255.0], &default), labels(&[255]));
    assert_eq!(foreground(&[-1.0, 1.0], &default), labels(&[1]), "-1 is background");
    let above = |threshold: f64| (Ok(Foreground::Above(threshold)), vec![Code::RoughThreshold]);
    assert_eq!(foreground(&[0.0, 0.2, 1.0], &default), above(0.5));
    assert_eq!(foreground(&[0.0, 2.5, 8.0], &default), above(4.0));
    assert_eq!(foreground(&[-3.5, 2.5, 8.0, f64::NAN], &default), above(0.0));
    let asked = RoughOptions { threshold: Some(0.3), ..RoughOptions::default() };
    assert_eq!(foreground(&[0.0, 0.2, 1.0], &asked), (Ok(Foreground::Above(0.3)), vec![]));

    for values in [&[1.0, 2.0][..], &[0.0, 5.0, 1.0]] {
        let (refused, _) = foreground(values, &default);
        let message = refused.unwrap_err();
        assert!(message.contains("--rough-label") && message.contains("labels 1, "), "{message}");
    }
    let five = RoughOptions { labels: vec![5], ..RoughOptions::default() };
    assert_eq!(foreground(&[0.0, 5.0, 1.0], &five), labels(&[5]));
    assert!(foreground(&[0.0, 4.0, 1.0], &five).0.unwrap_err().contains("needs label 5"));
    assert!(foreground(&[0.0, -4.0], &default).0.unwrap_err().contains("no value above 0"));

    assert!(Foreground::Labels(vec![5]).holds(5.0) && !Foreground::Labels(vec![5]).holds(4.98));
    assert!(!Foreground::Above(0.5).holds(0.5) && !Foreground::Above(0.0).holds(f64::NAN));
}

/// The array in which `voxels` are inside.
fn drawn(voxels: impl IntoIterator<Item = [usize; 3]>) -> Vec<bool> {
    let [ni, nj, nk] = GRID.dims;
    let mut inside = vec![false; ni * nj * nk];
    for [i, j, k] in voxels {
        inside[i + ni * (j + nj * k)] = true;
    }
    inside
}

#[test]
fn separate_parts_have_boxes_of_their_own_from_slice_to_slice() {
    // Two discs that move apart, and a third on one slice; the two pixels of the last touch at a corner.
    let voxels = (4..8).flat_map(|k| [[10 - k, 10, k], [9 - k, 10, k], [20 + k, 12, k], [21 + k, 13, k]]);
    let inside = drawn(voxels.chain([[5, 25, 6], [6, 26, 6]]));
    let options = RoughOptions { parts: true, ..RoughOptions::default() };
    let found = rough_boxes(&inside, &options, &GRID, &mut Vec::new()).unwrap();
    let track = |x0: fn(i64) -> i64, y0: i64, y1: i64| -> BTreeMap<usize, PixelBox> {
        (4..8).map(|k| (k as usize, rectangle(x0(k), y0, x0(k) + 1, y1))).collect()
    };
    let alone = BTreeMap::from([(6, rectangle(5, 25, 6, 26))]);
    assert_eq!(found, [track(|k| 9 - k, 10, 10), track(|k| 20 + k, 12, 13), alone]);
    let together = rough_boxes(&inside, &RoughOptions::default(), &GRID, &mut Vec::new()).unwrap();
    assert_eq!(together.len(), 1);
    assert_eq!(together[0][&6], rectangle(3, 10, 27, 26));
}

#[test]
fn slices_between_drawn_ones_are_filled_on_straight_lines() {
    let square = |k: usize, low: usize, high: usize| [[low, low, k], [high, high, k]];
    let inside = drawn(square(2, 4, 10).into_iter().chain(square(6, 8, 20)).chain(square(7, 8, 21)));
    let options = RoughOptions { interpolate: true, margin: 1, ..RoughOptions::default() };
    let found = rough_boxes(&inside, &options, &GRID, &mut Vec::new()).unwrap().remove(0);
    let expected = [(2, 4, 10), (3, 5, 13), (4, 6, 15), (5, 7, 18), (6, 8, 20), (7, 8, 21)];
    let expected = expected.map(|(k, low, high)| (k, rectangle(low - 1, low - 1, high + 1, high + 1)));
    assert_eq!(found, BTreeMap::from(expected), "12.5 and 17.5 go up");
}

#[test]
fn boxes_of_whole_slices_are_told() {
    let mut warnings = Vec::new();
    let full: Vec<[usize; 3]> = (0..40).flat_map(|i| (0..30).map(move |j| [i, j, 3])).collect();
    rough_boxes(&drawn(full), &RoughOptions::default(), &GRID, &mut warnings).unwrap();
    assert_eq!(codes(&warnings), [Code::RoughWholeSlice]);
}
