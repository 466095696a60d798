//! Boxes as 3D Slicer's users draw them and as MedSAM's challenges store them, and from one form into another.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::common::command::{medsegx, message, weights};
use crate::common::fuzz::{Random, survive};
use crate::common::nifti_file::NiftiFile;
use medsegx::codes::{Code, Warning};
use medsegx::prompt::{Grid, PixelBox, Target, boxes_file, markups_file, parse_boxes, parse_npz, read_boxes};
use serde_json::{Value, json};

/// i to the left, j to the front, k up: 2 x 1 x 3 mm.
const AFFINE: [[f64; 4]; 4] =
    [[-2.0, 0.0, 0.0, 50.0], [0.0, 1.0, 0.0, -20.0], [0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]];
const GRID: Grid = Grid { dims: [40, 30, 20], axis: 2, affine: Some(AFFINE), forms_apart: None };

fn rectangle(x0: i64, y0: i64, x1: i64, y1: i64) -> PixelBox {
    PixelBox { x0, y0, x1, y1 }
}

/// A box as Slicer writes it, around voxels 10..=14, 8..=19, 4..=6 of [`GRID`], in LPS.
fn roi() -> Value {
    // Voxel 12, 13.5, 5 lies at R 26, A -6.5, S 20.
    let center = [-26.0, 6.5, 20.0];
    json!({
        "type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "roiType": "Box", "name": "liver",
        "center": center, "size": [10.0, 12.0, 9.0], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "insideOut": false,
        "controlPoints": [{ "id": "1", "label": "R-1", "position": center, "positionStatus": "defined" }],
        "display": { "visibility": true, "color": [1, 0.5, 0.5], "nested": [[[]]] },
    })
}

fn file(markups: &[Value]) -> String {
    json!({ "@schema": "markups-schema-v1.0.3.json#", "markups": markups }).to_string()
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = roi();
    change(&mut value);
    value
}

fn parse(text: &str) -> Result<Vec<Target>, String> {
    parse_boxes(text.as_bytes(), Path::new("ROI.mrk.json"), &GRID).map_err(|error| error.to_string())
}

fn codes(warnings: &[Warning]) -> Vec<Code> {
    warnings.iter().map(|warning| warning.code).collect()
}

fn drawn() -> BTreeMap<usize, PixelBox> {
    (4..=6).map(|k| (k, rectangle(10, 8, 14, 19))).collect()
}

#[test]
fn a_box_lies_where_slicer_shows_it() {
    let [found] = parse(&file(&[roi()])).unwrap().try_into().unwrap();
    assert_eq!((found.name.as_str(), found.label, &found.boxes), ("liver", 1, &drawn()));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);

    let ras = changed(|roi| {
        roi["coordinateSystem"] = json!("RAS");
        (roi["center"], roi["controlPoints"][0]["position"]) = (json!([26, -6.5, 20]), json!([26, -6.5, 20]));
    });
    assert_eq!(parse(&file(&[ras])).unwrap()[0].boxes, drawn());
    let missing = changed(|roi| drop(roi.as_object_mut().unwrap().remove("coordinateSystem")));
    assert_eq!(parse(&file(&[missing])).unwrap()[0].boxes, drawn(), "LPS where nothing is said");
    for odd in [json!("lps"), json!("0"), json!(0)] {
        let refused = parse(&file(&[changed(|roi| roi["coordinateSystem"] = odd.clone())])).unwrap_err();
        assert!(refused.contains("coordinateSystem") && refused.contains("\"LPS\" or \"RAS\""), "{refused}");
    }
    // The control point counts, whatever center says.
    let moved = changed(|roi| roi["center"] = json!([0, 0, 0]));
    let [found] = parse(&file(&[moved])).unwrap().try_into().unwrap();
    assert_eq!((&found.boxes, codes(&found.warnings)), (&drawn(), vec![Code::MarkupOdd]));
    let without = changed(|roi| drop(roi.as_object_mut().unwrap().remove("center")));
    assert!(parse(&file(&[without])).unwrap()[0].warnings.is_empty());
    for key in ["controlPoints", "size"] {
        let refused = parse(&file(&[changed(|roi| drop(roi.as_object_mut().unwrap().remove(key)))])).unwrap_err();
        assert!(refused.contains(key) && refused.contains("Slicer shows no box"), "{refused}");
    }
    let undefined = changed(|roi| roi["controlPoints"][0]["positionStatus"] = json!("undefined"));
    assert!(parse(&file(&[undefined])).unwrap_err().contains("controlPoints"));
    assert!(parse(&file(&[changed(|roi| roi["insideOut"] = json!(true))])).unwrap_err().contains("insideOut"));
    assert!(parse(&file(&[changed(|roi| roi["size"] = json!([1, 0, 1]))])).unwrap_err().contains("size"));
    assert!(parse(&file(&[changed(|roi| roi["type"] = json!("Line"))])).unwrap_err().contains("Line"));
    assert!(parse(&file(&[])).unwrap_err().contains("none"));
    let units = changed(|roi| roi["coordinateUnits"] = json!("um"));
    assert_eq!(codes(&parse(&file(&[units])).unwrap()[0].warnings), [Code::MarkupOdd]);
}

#[test]
fn a_bounding_box_is_around_its_points() {
    let bounds = changed(|roi| {
        roi["roiType"] = json!("BoundingBox");
        let point = |at: [f64; 3], status: &str| json!({ "position": at, "positionStatus": status });
        roi["controlPoints"] = json!([
            point([-21.0, 0.5, 15.5], "defined"),
            point([-31.0, 12.5, 24.5], "defined"),
            point([90.0, 90.0, 90.0], "undefined"),
        ]);
    });
    let [found] = parse(&file(&[bounds])).unwrap().try_into().unwrap();
    assert_eq!((&found.boxes, codes(&found.warnings)), (&drawn(), vec![Code::MarkupOdd]), "one point is left out");
}

#[test]
fn a_turned_box_is_cut_slice_by_slice() {
    // Turned by 30 degrees about the patient's x: slices of the box move along j.
    let (sin, cos) = 30_f64.to_radians().sin_cos();
    let turned = changed(|roi| {
        roi["orientation"] = json!([1.0, 0.0, 0.0, 0.0, cos, -sin, 0.0, sin, cos]);
        roi["size"] = json!([10.0, 6.0, 24.0]);
    });
    let [found] = parse(&file(&[turned])).unwrap().try_into().unwrap();
    assert_eq!(codes(&found.warnings), [Code::BoxOblique]);
    let (low, high) = (*found.boxes.keys().next().unwrap(), *found.boxes.keys().last().unwrap());
    assert!(high - low >= 7, "{:?}", found.boxes);
    for (&k, region) in &found.boxes {
        // The places inside, by brute force over a fine lattice of the slice's plane.
        let up = (k as f64 - 5.0) * 3.0;
        let mut rows = (i64::MAX, i64::MIN);
        for step in -1200..=1200 {
            let posterior = f64::from(step) / 40.0;
            let [along, across] = [posterior * cos + up * sin, -posterior * sin + up * cos];
            if along.abs() <= 3.0 && across.abs() <= 12.0 {
                let row = 13.5 - posterior;
                rows = (rows.0.min((row + 0.5).floor() as i64), rows.1.max((row - 0.5).ceil() as i64));
            }
        }
        if rows.0 <= rows.1 && k > low && k < high {
            assert!((region.y0 - rows.0).abs() <= 1 && (region.y1 - rows.1).abs() <= 1, "{k}: {region:?}, {rows:?}");
            assert_eq!((region.x0, region.x1), (10, 14));
        }
    }
    let skewed = changed(|roi| roi["orientation"] = json!([1, 0.5, 0, 0, 1, 0, 0, 0, 1]));
    assert!(parse(&file(&[skewed])).unwrap_err().contains("rotation"));
}

#[test]
fn points_become_clicks_and_boxes_of_one_name_one_target() {
    let point =
        |at: [f64; 3], label: &str, status: &str| json!({ "position": at, "label": label, "positionStatus": status });
    let list = json!({ "type": "Fiducial", "coordinateSystem": "RAS", "name": "nodule", "controlPoints": [
        point([26.0, -6.5, 20.0], "F-1", "defined"), point([30.0, -10.0, 20.2], "background", "defined"),
        point([0.0, 0.0, 0.0], "F-3", "undefined"), { "position": [], "positionStatus": "missing" },
        point([500.0, 0.0, 20.0], "F-5", "defined"),
    ]});
    let [found] = parse(&file(&[list])).unwrap().try_into().unwrap();
    let points: Vec<_> = found.points[&5].iter().map(|p| (p.x, p.y, p.inside)).collect();
    assert_eq!((points, found.points.len()), (vec![(12.0, 13.5, true), (10.0, 10.0, false)], 1));
    assert_eq!(codes(&found.warnings), [Code::MarkupOdd; 2], "two are not placed, one lies outside");

    let second = changed(|roi| {
        (roi["center"], roi["controlPoints"][0]["position"]) = (json!([0, 6.5, 20]), json!([0, 6.5, 20]));
    });
    let other = changed(|roi| roi["name"] = json!("spleen"));
    let found = parse(&file(&[roi(), second, other])).unwrap();
    let names: Vec<_> = found.iter().map(|target| (target.name.as_str(), target.label, target.boxes.len())).collect();
    assert_eq!(names, [("liver, part 1", 1, 3), ("liver, part 2", 1, 3), ("spleen", 2, 3)]);
}

#[test]
fn several_boxes_of_a_slice_are_parts_of_one_target() {
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[{"name":"a","label":4,"slices":
        {"2":[[3,3,6,6],[20,20,25,25]],"3":[[19,20,25,25],[3,4,6,6]],"4":[3,4,6,7]}}]}"#;
    let found = parse(text).unwrap();
    let boxes: Vec<_> = found.iter().map(|target| (target.label, target.boxes.clone())).collect();
    let first = [(2, rectangle(3, 3, 6, 6)), (3, rectangle(3, 4, 6, 6)), (4, rectangle(3, 4, 6, 7))];
    let second = [(2, rectangle(20, 20, 25, 25)), (3, rectangle(19, 20, 25, 25))];
    assert_eq!(boxes, [(4, BTreeMap::from(first)), (4, BTreeMap::from(second))]);
    let again = boxes_file(&found).unwrap();
    let read: Vec<_> = parse(&again).unwrap().into_iter().map(|target| (target.label, target.boxes)).collect();
    assert_eq!(read, boxes, "{again}");
    for wrong in ["[]", "[1,2,3]", "[1,2,3,4,5]", "[[1,2,3,4],5]", "[[1,2,3]]", "[[[1,2,3,4]]]", "\"a\"", "[null]"] {
        let text = text.replace("[[3,3,6,6],[20,20,25,25]]", wrong);
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn markups_of_any_frame_come_back_as_the_same_voxels() {
    let (sin, cos) = 0.4_f64.sin_cos();
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut random = Random(11);
    for order in orders {
        for bits in 0..8 {
            for (turn, axis) in [([1.0, 0.0], 2), ([cos, sin], 1)] {
                let spacing = [0.7, 1.3, 2.9];
                let mut affine = [[0.0; 4], [0.0; 4], [0.0; 4], [0.0, 0.0, 0.0, 1.0]];
                for (column, &along) in order.iter().enumerate() {
                    let step = spacing[column] * if bits >> column & 1 == 0 { 1.0 } else { -1.0 };
                    // Turned about the patient's z.
                    let unit = [[turn[0], turn[1], 0.0], [-turn[1], turn[0], 0.0], [0.0, 0.0, 1.0]][along];
                    (0..3).for_each(|row| affine[row][column] = step * unit[row]);
                }
                (0..3).for_each(|row| affine[row][3] = [12.5, -40.0, 7.0][row]);
                let grid = Grid { dims: [40, 30, 20], axis, affine: Some(affine), forms_apart: None };
                let (width, height) = grid.slice_size();
                let mut side = |length: usize| {
                    let (a, b) = (random.below(length) as i64, random.below(length) as i64);
                    (a.min(b), a.max(b))
                };
                let mut region = || {
                    let ((x0, x1), (y0, y1)) = (side(width), side(height));
                    rectangle(x0, y0, x1, y1)
                };
                let (one, two) = (region(), region());
                let boxes = BTreeMap::from([(3, one), (4, one), (5, two), (9, one)]);
                let target = Target {
                    name: "a".into(),
                    label: 1,
                    query: Default::default(),
                    boxes,
                    points: BTreeMap::new(),
                    warnings: vec![],
                };
                let text = markups_file(std::slice::from_ref(&target), &grid).unwrap();
                let found = parse_boxes(text.as_bytes(), Path::new("a.mrk.json"), &grid).unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].boxes, target.boxes, "{order:?} {bits} {turn:?}");
                assert!(codes(&found[0].warnings).is_empty(), "{:?}", found[0].warnings);
            }
        }
    }
}

/// An .npz with these arrays of int64, deflated or stored.
fn npz(arrays: &[(&str, &[usize], &[i64])], deflated: bool) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, shape, values) in arrays {
        let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let text = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({shape},), }}");
        let width = (10 + text.len() + 1).next_multiple_of(64) - 11;
        let mut array = [&b"\x93NUMPY\x01\x00"[..], &(width as u16 + 1).to_le_bytes()].concat();
        array.extend(format!("{text:<width$}\n").bytes());
        array.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let mut crc = flate2::Crc::new();
        crc.update(&array);
        let packed = if deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&array).unwrap();
            encoder.finish().unwrap()
        } else {
            array.clone()
        };
        let title = format!("{name}.npy");
        let mut common = vec![20, 0, 0, 0, if deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
        for number in [crc.sum(), packed.len() as u32, array.len() as u32] {
            common.extend(number.to_le_bytes());
        }
        common.extend((title.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &(bytes.len() as u32).to_le_bytes()].concat());
        directory.extend(title.bytes());
        bytes.extend([&b"PK\x03\x04"[..], &common, title.as_bytes(), &packed].concat());
    }
    let (start, count) = (bytes.len() as u32, arrays.len() as u16);
    bytes.extend(&directory);
    bytes.extend([b"PK\x05\x06".to_vec(), vec![0; 4], [count.to_le_bytes(); 2].concat()].concat());
    bytes.extend([(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn boxes_of_an_npz_are_voxels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.npz");
    let picture = Grid { dims: [40, 30, 1], affine: None, ..GRID };
    let read = |bytes: &[u8], grid: &Grid| parse_npz(bytes, &path, grid).map_err(|error| error.to_string());
    for deflated in [false, true] {
        let boxes: &[i64] = &[10, 8, 14, 19, 0, 0, 40, 30];
        let found = read(&npz(&[("imgs", &[4], &[0; 4]), ("boxes", &[2, 4], boxes)], deflated), &picture).unwrap();
        assert_eq!(found[0].boxes, BTreeMap::from([(0, rectangle(10, 8, 14, 19))]));
        assert_eq!((found[1].label, &found[1].boxes[&0]), (2, &rectangle(0, 0, 39, 29)));
        assert_eq!(codes(&found[1].warnings), [Code::BoxCut; 2], "the challenges' jitter ends one voxel on");
        let found = read(&npz(&[("boxes", &[1, 6], &[10, 8, 4, 14, 19, 6])], deflated), &GRID).unwrap();
        assert_eq!(found[0].boxes, drawn());
        std::fs::write(&path, npz(&[("boxes", &[1, 6], &[10, 8, 4, 14, 19, 6])], deflated)).unwrap();
        assert_eq!(read_boxes(&path, &GRID).unwrap(), found);
    }
    let refused = |arrays: &[(&str, &[usize], &[i64])], grid: &Grid| read(&npz(arrays, true), grid).unwrap_err();
    assert!(refused(&[("gts", &[1], &[1])], &GRID).contains("gts.npy"));
    assert!(refused(&[("boxes", &[1, 4], &[1, 2, 3, 4])], &GRID).contains("[N, 6]"));
    assert!(refused(&[("boxes", &[1, 6], &[10, 8, 4, 14, 19, 21])], &GRID).contains("voxel indices 0..=19"));
    let whole = npz(&[("boxes", &[2, 6], &[10, 8, 4, 14, 19, 6, 1, 1, 1, 2, 2, 2])], true);
    for end in 0..whole.len() {
        assert!(read(&whole[..end], &GRID).is_err(), "cut at {end}");
    }
    survive("npz", &whole, whole.len(), 3000, |bytes| {
        for target in read(&bytes, &GRID).unwrap_or_default() {
            assert!(target.boxes.values().all(|region| region.check("fuzz", 40, 30).is_ok()));
        }
    });
}

#[test]
fn labels_of_markups_are_those_of_their_descriptions_and_else_free_ones() {
    let named = |name: &str, description: Option<&str>| {
        changed(|markup| {
            markup["name"] = json!(name);
            if let Some(description) = description {
                markup["controlPoints"][0]["description"] = json!(description);
            }
        })
    };
    let markups = [
        named("a", None),
        named("b", Some("label 1")),
        named("c", Some("label 65536")),
        named("d", Some("label 7")),
        named("e", Some("a label 9")),
    ];
    let labels: Vec<_> = parse(&file(&markups)).unwrap().into_iter().map(|t| (t.name, t.label)).collect();
    assert_eq!(labels, [("a", 2), ("b", 1), ("c", 3), ("d", 7), ("e", 5)].map(|(name, n)| (name.to_string(), n)));
}

#[test]
fn cut_and_damaged_markups_are_refused_or_lie_inside() {
    let text = file(&[roi(), changed(|roi| roi["name"] = json!("b"))]);
    let check = |bytes: Vec<u8>| {
        let Ok(targets) = parse_boxes(&bytes, Path::new("fuzz"), &GRID) else { return };
        for target in &targets {
            assert!(target.label > 0 && !(target.boxes.is_empty() && target.points.is_empty()));
            for (&slice, region) in &target.boxes {
                assert!(slice < 20 && region.check("fuzz", 40, 30).is_ok());
            }
        }
    };
    for end in 0..text.len() {
        assert!(parse(&text[..end]).is_err(), "cut at {end}");
    }
    survive("markups", text.as_bytes(), text.len(), 3000, check);
    let deep = format!(r#"{{"markups":[{{"type":"ROI","display":{}}}]}}"#, "[".repeat(100_000));
    assert!(parse(&deep).is_err());
}

#[test]
fn boxes_go_from_form_to_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let mut image = NiftiFile::new(1, [40, 30, 20], 2, 0);
    (image.rows, image.qform_code) = ([AFFINE[0], AFFINE[1], AFFINE[2]], 0);
    image.pixdim[1..4].copy_from_slice(&[2.0, 1.0, 3.0]);
    std::fs::write(path("image.nii"), image.bytes()).unwrap();
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","label":3,"task":"CT_Liver","slices":{"4":[10,8,14,19],"5":[10,8,14,19],"6":[11,9,12,10]}},
        {"name":"b","label":300,"box3d":[20,2,0,30,9,19]}]}"#;
    std::fs::write(path("boxes.json"), text).unwrap();
    let run = |from: &str, to: &str, more: &[&str]| {
        let output = medsegx(&[&["boxes", &path(from), "-o", &path(to)][..], more].concat());
        assert!(output.status.success(), "{from} to {to}: {}", message(&output));
    };
    let image = path("image.nii");
    let with_image = ["--image", image.as_str()];
    let boxes = |name: &str| -> Vec<(u16, BTreeMap<usize, PixelBox>)> {
        let targets = read_boxes(Path::new(&path(name)), &GRID).unwrap();
        targets.into_iter().map(|target| (target.label, target.boxes)).collect()
    };
    run("boxes.json", "again.json", &with_image);
    assert_eq!(boxes("again.json"), boxes("boxes.json"));
    assert!(std::fs::read_to_string(path("again.json")).unwrap().contains("CT_Liver"));
    run("boxes.json", "slicer.mrk.json", &with_image);
    run("slicer.mrk.json", "back.json", &with_image);
    assert_eq!(boxes("back.json"), boxes("boxes.json"));
    run("slicer.mrk.json", "one.json", &[&with_image[..], &["--label", "300"]].concat());
    assert_eq!(boxes("one.json"), boxes("boxes.json")[1..]);
    for map in ["map.nii.gz", "map.seg.nrrd", "map.mha", "map.npy"] {
        run("boxes.json", map, &with_image);
        run(map, &format!("{map}.json"), &[]);
        assert_eq!(boxes(&format!("{map}.json")), boxes("boxes.json"), "{map}");
    }
    let missing = ["boxes", &path("map.mha"), "--label", "300", "--label", "4", "-o", &path("x.json")];
    assert!(message(&medsegx(&missing)).contains("--label: got 4; needs a label that is there: 3, 300"));
    for wrong in [&["boxes", &path("boxes.json"), "-o", &path("x.json")][..], &["boxes", &image, "-o", &path("x.txt")]]
    {
        let refused = medsegx(wrong);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{}", message(&refused));
    }
    assert!(!Path::new(&path("x.json")).exists());
}

#[test]
fn key_boxes_are_joined_by_straight_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(path("image.nii"), NiftiFile::new(1, [40, 30, 4], 2, 0).bytes()).unwrap();
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","label":1,"slices":{"0":[4,4,20,20],"2":[8,6,30,20]}}]}"#;
    std::fs::write(path("boxes.json"), text).unwrap();
    let files = [path("image.nii"), path("mask.nii"), path("boxes.json"), path("report.json")];
    let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu", "--interpolate"];
    let arguments = ["segment", &files[0], "-o", &files[1], "--boxes", &files[2], "--report", &files[3]];
    let output = medsegx(&[&arguments[..], &fixed].concat());
    assert!(output.status.success(), "{}", message(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(&files[3]).unwrap()).unwrap();
    let slices = report["targets"][0]["slices"].as_array().unwrap();
    let boxes: Vec<_> = slices.iter().map(|slice| (slice["slice"].clone(), slice["box"].clone())).collect();
    let expected = [(0, [4, 4, 20, 20]), (1, [6, 5, 25, 20]), (2, [8, 6, 30, 20])];
    assert_eq!(boxes, expected.map(|(slice, corners)| (json!(slice), json!(corners))));
}
