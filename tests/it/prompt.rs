//! Boxes as typed, from files and from rough masks; hostile boxes files.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::model::config::Kind;
use medsegx::prompt::{
    Grid, PixelBox, RoughOptions, Scale, Target, VolumeBox, parse_boxes, parse_points, read_boxes, rough_boxes,
    slice_box, volume_box,
};
use medsegx::{Error, Result};

use crate::common::fuzz::Random;

const GRID: Grid = Grid { dims: [40, 30, 20], axis: 2, affine: None, forms_apart: None };

const GOOD: &str = r#"{ "version": 1, "space": "voxel", "inclusive": true, "targets": [
  { "name": "liver", "task": "CT_Liver", "label": 1, "box3d": [3, 4, 5, 13, 14, 7] },
  { "name": "cyst", "modality": "CT", "body_part": "body", "subregion": "abdomen", "organ": "kidney", "target": "unseen",
    "label": 300, "slices": { "14": [0, 1, 2, 3], "15": [39, 29, 39, 29] } } ] }"#;

fn parse(text: &str, grid: &Grid) -> Result<Vec<Target>> {
    parse_boxes(text.as_bytes(), Path::new("boxes.json"), grid)
}

fn rectangle(x0: i64, y0: i64, x1: i64, y1: i64) -> PixelBox {
    PixelBox { x0, y0, x1, y1 }
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in '{message}'");
    }
}

#[test]
fn a_file_of_two_targets() {
    let targets = parse(GOOD, &GRID).unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!((targets[0].name.as_str(), targets[0].label), ("liver", 1));
    assert_eq!(targets[0].query.task.as_deref(), Some("CT_Liver"));
    let expected = (5..=7).map(|slice| (slice, rectangle(3, 4, 13, 14))).collect::<BTreeMap<_, _>>();
    assert_eq!(targets[0].boxes, expected);
    assert_eq!((targets[1].label, targets[1].query.target.as_deref()), (300, Some("unseen")));
    assert_eq!(targets[1].boxes, BTreeMap::from([(14, rectangle(0, 1, 2, 3)), (15, rectangle(39, 29, 39, 29))]));
    assert!(targets.iter().all(|target| target.warnings.is_empty()));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boxes.json");
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(read_boxes(&path, &GRID).unwrap(), targets);
    assert!(matches!(read_boxes(&folder.path().join("none.json"), &GRID), Err(Error::Io { .. })));
}

#[test]
fn slicing_axes_and_exclusive_ends() {
    for (axis, slices, expected) in
        [(0, 3..=13, rectangle(4, 5, 14, 7)), (1, 4..=14, rectangle(3, 5, 13, 7)), (2, 5..=7, rectangle(3, 4, 13, 14))]
    {
        let boxes = &parse(
            GOOD.split(",\n  { \"name\": \"cyst\"").next().map(|head| format!("{head} ] }}")).unwrap().as_str(),
            &Grid { axis, ..GRID },
        )
        .unwrap()[0]
            .boxes;
        assert_eq!(boxes, &slices.map(|slice| (slice, expected)).collect(), "axis {axis}");
    }
    let exclusive =
        GOOD.replace("\"inclusive\": true", "\"inclusive\": false").replace("39, 29, 39, 29", "39, 29, 40, 30");
    let targets = parse(&exclusive, &GRID).unwrap();
    assert_eq!(targets[0].boxes, (5..=6).map(|slice| (slice, rectangle(3, 4, 12, 13))).collect());
    assert_eq!(targets[1].boxes[&15], rectangle(39, 29, 39, 29));
}

/// An affine with swapped axes, flips, spacing and an offset: R = 0.5 j - 10, A = -2 i + 7, S = 3 k + 100.
const TURNED: [[f64; 4]; 4] =
    [[0.0, 0.5, 0.0, -10.0], [-2.0, 0.0, 0.0, 7.0], [0.0, 0.0, 3.0, 100.0], [0.0, 0.0, 0.0, 1.0]];

fn millimetres(space: &str, prompt: &str) -> String {
    format!(r#"{{"version":1,"space":"{space}","inclusive":true,"targets":[{{"name":"a","label":1,{prompt}}}]}}"#)
}

#[test]
fn millimetres_go_through_the_affine() {
    let grid = Grid { affine: Some(TURNED), ..GRID };
    // Voxels i 3..=5, j 4..=8, k 2..=6 by their centres.
    let ras = millimetres("ras", r#""box3d": [-8, -3, 106, -6, 1, 118]"#);
    let lps = millimetres("lps", r#""box3d": [6, -1, 106, 8, 3, 118]"#);
    let expected: BTreeMap<usize, PixelBox> = (2..=6).map(|slice| (slice, rectangle(3, 4, 5, 8))).collect();
    for text in [&ras, &lps] {
        let target = &parse(text, &grid).unwrap()[0];
        assert_eq!((&target.boxes, target.warnings.len()), (&expected, 0), "{text}");
    }
    // On a slice along k the patient's x and y are given, whatever voxel axes they fall on.
    let slice = millimetres("ras", r#""slices": {"4": [-8, -3, -6, 1]}"#);
    assert_eq!(parse(&slice, &grid).unwrap()[0].boxes, BTreeMap::from([(4, rectangle(3, 4, 5, 8))]));
    // Slices along i cut the patient's y: x and z remain.
    let side = millimetres("lps", r#""slices": {"3": [6, 106, 8, 118]}"#);
    let side = &parse(&side, &Grid { axis: 0, ..grid }).unwrap()[0].boxes;
    assert_eq!(side, &BTreeMap::from([(3, rectangle(4, 2, 8, 6))]));
}

#[test]
fn millimetres_are_cut_to_the_image_or_refused() {
    let grid = Grid { affine: Some(TURNED), ..GRID };
    let partly = &parse(&millimetres("ras", r#""box3d": [-100, -3, 106, -6, 1, 118]"#), &grid).unwrap()[0];
    assert_eq!(partly.boxes[&2], rectangle(3, 0, 5, 8));
    assert!(partly.warnings[0].message.contains("y -180..=8 cut to the image, 0..=29"), "{:?}", partly.warnings);
    let outside = millimetres("ras", r#""box3d": [100, -3, 106, 200, 1, 118]"#);
    assert_error(parse(&outside, &grid), &["target 0 'a'", "meets the image, voxels 0..=29 along y", "220..=420"]);
    assert_error(parse(&millimetres("ras", r#""box3d": [0,0,0,1,1,1]"#), &GRID), &["affine", "without geometry"]);
    for bad in [0.0, f64::NAN, f64::INFINITY] {
        let affine = TURNED.map(|row| row.map(|value| if value == 3.0 { bad } else { value }));
        let grid = Grid { affine: Some(affine), ..GRID };
        assert_error(parse(&outside, &grid), &["cannot be inverted"]);
    }
    let mut affine = TURNED;
    affine[1][3] = f64::NAN;
    assert_error(parse(&outside, &Grid { affine: Some(affine), ..GRID }), &["cannot be inverted"]);
    let half_open = ras_with_exclusive_ends();
    assert_error(parse(&half_open, &grid), &["boxes.json: inclusive"]);
}

fn ras_with_exclusive_ends() -> String {
    millimetres("ras", r#""box3d": [-8, -3, 106, -6, 1, 118]"#).replace("true", "false")
}

#[test]
fn oblique_images_enclose_the_box() {
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let affine = [[cos, -sin, 0.0, 0.0], [sin, cos, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid { affine: Some(affine), ..GRID };
    let at = |i: f64, j: f64| [cos * i - sin * j, sin * i + cos * j];
    let [x, y] = at(20.0, 15.0);
    let (low, high) = ([x - 3.0, y - 3.0], [x + 3.0, y + 3.0]);
    let reach = (3.0 * (cos + sin)).round() as i64;
    let expected = rectangle(20 - reach, 15 - reach, 20 + reach, 15 + reach);
    let whole = format!(r#""box3d": [{}, {}, 4, {}, {}, 4]"#, low[0], low[1], high[0], high[1]);
    let slice = format!(r#""slices": {{"4": [{}, {}, {}, {}]}}"#, low[0], low[1], high[0], high[1]);
    for prompt in [whole, slice] {
        let target = &parse(&millimetres("ras", &prompt), &grid).unwrap()[0];
        assert_eq!(target.boxes, BTreeMap::from([(4, expected)]), "{prompt}");
        assert!(target.warnings[0].message.contains("oblique"), "{:?}", target.warnings);
    }
}

#[test]
fn lying_files_are_named() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("\"version\": 1", "\"version\": 2", &["boxes.json: version", "got 2; needs 1"]),
        ("\"version\": 1,", "", &["missing field `version`"]),
        ("\"space\": \"voxel\",", "", &["missing field `space`"]),
        ("\"inclusive\": true,", "", &["missing field `inclusive`"]),
        ("\"voxel\"", "\"scanner\"", &["unknown variant `scanner`", "voxel"]),
        ("\"version\"", "\"vresion\"", &["unknown field `vresion`"]),
        ("\"box3d\"", "\"box2d\"", &["unknown field `box2d`"]),
        ("\"version\": 1", "\"version\": 1, \"version\": 1", &["duplicate field `version`"]),
        ("\"label\": 1,", "\"label\": 1, \"label\": 2,", &["duplicate field `label`"]),
        ("\"15\"", "\"14\"", &["slice 14 is there twice"]),
        ("\"15\"", "\"014\"", &["slice 14 is there twice"]),
        ("\"15\"", "\"-1\"", &["slice \"-1\" is not an index"]),
        ("\"15\"", "\"+1\"", &["slice \"+1\" is not an index"]),
        ("\"15\"", "\"99999999999999999999999\"", &["is not an index"]),
        ("\"15\"", "\"20\"", &["target 1 'cyst', slice", "0..=19", "got 20"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14, 20]", &["target 0 'liver', box3d", "0..=19 along z", "z1 = 20"]),
        ("[3, 4, 5, 13, 14, 7]", "[-1, 4, 5, 13, 14, 7]", &["0..=39 along x", "x0 = -1"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14, 1e300]", &["needs voxel indices"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14, 1e400]", &["number out of range"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14]", &["length 5", "length 6"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14, 7, 8]", &["boxes.json"]),
        ("[3, 4, 5, 13, 14, 7]", "[3, 4, 5, 13, 14, \"7\"]", &["invalid type: string"]),
        ("[0, 1, 2, 3]", "[0, 1, 40, 3]", &["slice 14", "0..=39 along x", "x1 = 40"]),
        ("\"label\": 1,", "\"label\": 0,", &["target 0 'liver', label", "got 0"]),
        ("\"label\": 1,", "\"label\": 65536,", &["65536"]),
        ("\"label\": 1,", "\"label\": -1,", &["-1"]),
        ("\"label\": 1,", "\"label\": 1.5,", &["line 2", "got label 1.5; needs a whole number, 1 to 65535"]),
        ("\"label\": 1,", "", &["missing field `label`"]),
        ("\"liver\"", "\"\"", &["name", "1 to 256"]),
        (", \"box3d\": [3, 4, 5, 13, 14, 7]", "", &["box3d or slices", "neither"]),
        ("\"box3d\"", "\"slices\": {\"1\": [1,1,2,2]}, \"box3d\"", &["box3d or slices", "both"]),
        ("{ \"14\": [0, 1, 2, 3], \"15\": [39, 29, 39, 29] }", "{}", &["slices", "at least one"]),
        ("{ \"14\": [0, 1, 2, 3], \"15\": [39, 29, 39, 29] }", "[[0, 1, 2, 3]]", &["an object of slice indices"]),
    ];
    for (from, to, parts) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let message = parse(&text, &GRID).expect_err(&text).to_string();
        for part in parts.iter().chain(&["boxes.json"]) {
            assert!(message.contains(part), "{from} -> {to}: '{part}' is not in '{message}'");
        }
    }
    let exclusive_and_empty =
        GOOD.replace("\"inclusive\": true", "\"inclusive\": false").replace("[0, 1, 2, 3]", "[2, 1, 2, 3]");
    assert_error(parse(&exclusive_and_empty, &GRID), &["x0 <= x1", "x0 = 2, x1 = 1"]);
    let none = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[]}"#;
    assert_error(parse(none, &GRID), &["targets", "at least one"]);
    assert_error(parse(r#"[1,"voxel",true,[]]"#, &GRID), &["an object"]);
    assert_error(parse(&GOOD.replacen("{ \"name\"", "[], { \"name\"", 1), &GRID), &["an object"]);
    assert_error(parse(&format!("{GOOD} x"), &GRID), &["trailing characters"]);
}

#[test]
fn hostile_sizes_end_early() {
    let deep = "[".repeat(2_000_000);
    for text in [deep.clone(), GOOD.replacen("[3, 4, 5, 13, 14, 7]", &deep, 1), "{\"targets\":".repeat(500_000)] {
        assert!(parse(&text, &GRID).is_err());
    }
    // Forty targets on thirty thousand slices each: more boxes than anybody means.
    let grid = Grid { dims: [4, 4, 30_000], axis: 2, affine: None, forms_apart: None };
    let one = r#"{"name":"a","label":1,"box3d":[0,0,0,3,3,29999]}"#;
    let many = format!(r#"{{"version":1,"space":"voxel","inclusive":true,"targets":[{}]}}"#, vec![one; 40].join(","));
    assert_error(parse(&many, &grid), &["target 34", "at most 1048576"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 40).unwrap();
    assert_error(read_boxes(file.path(), &GRID), &["at most 33554432 bytes"]);
}

/// Whatever comes in, what comes out is inside the grid.
fn assert_sane(bytes: &[u8], grid: &Grid) {
    let Ok(targets) = parse_boxes(bytes, Path::new("boxes.json"), grid) else { return };
    let (width, height) = grid.slice_size();
    for target in targets {
        assert!(target.label > 0 && !target.boxes.is_empty());
        for (slice, pixel_box) in target.boxes {
            assert!(slice < grid.slices());
            pixel_box.check("mutated", width, height).unwrap();
        }
    }
}

#[test]
fn every_prefix_and_thousands_of_mutations() {
    let grid = Grid { affine: Some(TURNED), ..GRID };
    let seeds = [GOOD.to_string(), millimetres("lps", r#""box3d": [6, -1, 106, 8, 3, 118]"#)];
    for text in &seeds {
        for end in 0..text.len() {
            assert!(parse_boxes(&text.as_bytes()[..end], Path::new("cut"), &grid).is_err(), "prefix of {end} bytes");
        }
    }
    let mut state = 1u64;
    let mut next = move |bound: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % bound
    };
    let pieces: [&[u8]; 12] =
        [b"{", b"}", b"[", b"]", b",", b"\"", b"-", b"1e308", b"0.5", b"null", b"99999999999", b"\xff\xfe"];
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => drop(bytes.drain(at..(at + 1 + next(8)).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, pieces[next(pieces.len())].iter().copied())),
                _ => bytes[at] = b"0123456789"[next(10)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        assert_sane(&bytes, &grid);
    }
}

#[test]
fn boxes_and_points_as_typed() {
    assert_eq!("1, 2,30,40".parse::<PixelBox>().unwrap(), rectangle(1, 2, 30, 40));
    let whole = "1,2,3,4,5,6".parse::<VolumeBox>().unwrap();
    assert_eq!((whole.low, whole.high), ([1, 2, 3], [4, 5, 6]));
    for text in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "nan,2,3,4", "inf,2,3,4"] {
        assert_error(text.parse::<PixelBox>(), &["; needs x0,y0,x1,y1"]);
    }
    let points = parse_points("3,4.5,1; 0,0,0", 40, 30).unwrap();
    assert_eq!((points[0].x, points[0].y, points[0].inside, points[1].inside), (3.0, 4.5, true, false));
    for (text, part) in
        [("", "x,y,label"), ("1,2", "x,y,label"), ("1,2,3", "label 0"), ("40,2,1", "inside"), ("nan,2,1", "inside")]
    {
        assert_error(parse_points(text, 40, 30), &["prompt points", part]);
    }
    let one = rectangle(3, 4, 5, 6);
    assert_eq!(slice_box(one, Some(7), &GRID).unwrap(), BTreeMap::from([(7, one)]));
    assert_eq!(slice_box(one, None, &Grid { dims: [40, 30, 1], ..GRID }).unwrap(), BTreeMap::from([(0, one)]));
    assert_error(slice_box(one, None, &GRID), &["a slice 0..=19", "--slice"]);
    assert_error(slice_box(one, Some(20), &GRID), &["a slice 0..=19", "got 20"]);
    assert_error(slice_box(rectangle(5, 4, 3, 6), Some(0), &GRID), &["x0 <= x1"]);
    assert_error(slice_box(rectangle(3, 4, 5, 30), Some(0), &GRID), &["0..=29 along y"]);
    assert_error(slice_box(one, None, &Grid { dims: [0, 0, 1], ..GRID }), &["an image with voxels"]);
    let reversed = VolumeBox { low: [0, 0, 5], high: [1, 1, 4] };
    assert_error(volume_box(reversed, "box3d", &GRID), &["z0 <= z1"]);
}

#[test]
fn rough_masks_give_a_box_a_slice() {
    let dims = [5usize, 4, 3];
    let mut labels = [0_u8; 60];
    for [i, j, k] in [[1, 1, 0], [3, 2, 0], [0, 3, 2]] {
        labels[i + dims[0] * (j + dims[1] * k)] = 2;
    }
    let boxes = |inside: &[bool], margin: u32, grid: &Grid| {
        let options = RoughOptions { margin, ..RoughOptions::default() };
        rough_boxes(inside, &options, grid, &mut Vec::new())
    };
    let inside: Vec<bool> = labels.iter().map(|&label| label > 0).collect();
    let rough = |axis: usize, margin: u32| {
        let mut found = boxes(&inside, margin, &Grid { dims, axis, affine: None, forms_apart: None }).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    };
    assert_eq!(rough(2, 0), BTreeMap::from([(0, rectangle(1, 1, 3, 2)), (2, rectangle(0, 3, 0, 3))]));
    assert_eq!(rough(2, 1), BTreeMap::from([(0, rectangle(0, 0, 4, 3)), (2, rectangle(0, 2, 1, 3))]));
    assert_eq!(rough(2, u32::MAX)[&2], rectangle(0, 0, 4, 3));
    let along_i = [(0, rectangle(3, 2, 3, 2)), (1, rectangle(1, 0, 1, 0)), (3, rectangle(2, 0, 2, 0))];
    assert_eq!(rough(0, 0), BTreeMap::from(along_i));
    let along_j = [(1, rectangle(1, 0, 1, 0)), (2, rectangle(3, 0, 3, 0)), (3, rectangle(0, 2, 0, 2))];
    assert_eq!(rough(1, 0), BTreeMap::from(along_j));
    let grid = Grid { dims, axis: 2, affine: None, forms_apart: None };
    assert_error(boxes(&[false; 60], 0, &grid), &["rough mask", "foreground", "none"]);
    assert_error(boxes(&inside[1..], 0, &grid), &["5 x 4 x 3 voxels", "59 voxels"]);
    let empty = Grid { dims: [0, 4, 3], axis: 2, affine: None, forms_apart: None };
    assert_error(boxes(&inside[..0], 0, &empty), &["foreground", "none"]);
}

#[test]
fn boxes_are_scaled_as_indices() {
    let pixels = rectangle(10, 20, 99, 59);
    let scaled = |kind, size| Scale::new(kind, size, 100, 60).apply_box(&pixels);
    let stretched = |size: f64| {
        [10.0 * size / 100.0, 20.0 * size / 60.0, 99.0 * size / 100.0, 59.0 * size / 60.0].map(|value| value as f32)
    };
    for (found, expected) in [
        (scaled(Kind::MedSegX, 256), [25.6, 85.333_333, 255.0, 255.0]),
        (scaled(Kind::MedSam, 1024), stretched(1024.0)),
        (scaled(Kind::Sam, 1024), [102.4, 204.8, 1013.76, 604.16]),
    ] {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }
    assert_eq!(Scale::new(Kind::MedSegX, 256, 256, 256).apply_box(&pixels), [10.0, 20.0, 99.0, 59.0]);
    // A slice larger than the frame: corners as they are.
    let larger = Scale::new(Kind::MedSegX, 256, 512, 1024).apply_box(&pixels);
    assert_eq!(larger, [5.0, 5.0, 49.5, 14.75]);
}

/// Each pixel of the slice fills whole pixels of the frame here, so the box around what a box fills can be counted.
#[test]
fn boxes_of_medsegx_are_tight_in_its_frame_where_a_slice_is_enlarged() {
    let mut random = Random(15);
    for round in 0..200 {
        let sides = [1, 2, 4, 8, 16, 32, 64, 128, 256];
        let [width, height] = [0; 2].map(|_| sides[random.below(sides.len())]);
        let mut ends = |length: usize| {
            let (a, b) = (random.below(length) as i64, random.below(length) as i64);
            (a.min(b), a.max(b))
        };
        let ((x0, x1), (y0, y1)) = (ends(width), ends(height));
        let filled = |first: i64, last: i64, length: usize| {
            let inside = |at: &i64| (first..=last).contains(&(at * length as i64 / 256));
            let places: Vec<i64> = (0..256).filter(inside).collect();
            [places[0] as f32, places[places.len() - 1] as f32]
        };
        let ([left, right], [top, bottom]) = (filled(x0, x1, width), filled(y0, y1, height));
        let found = Scale::new(Kind::MedSegX, 256, width, height).apply_box(&rectangle(x0, y0, x1, y1));
        assert_eq!(found, [left, top, right, bottom], "round {round}: {width} x {height}");
    }
}
