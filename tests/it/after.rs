//! What is done with masks after the network: cleaning and measuring, as a user asks for them.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::command::{medsegx, message, only_these_files, weights};
use crate::common::fuzz::Random;
use crate::common::nifti_file::NiftiFile;
use medsegx::mask::{Cleaning, part_sizes};
use medsegx::stats::label_stats;
use medsegx::volume::{Form, LabelVolume, OpenOptions, Volume};
use serde_json::Value;

/// A NIfTI file of these values on a grid of 1.5 x 2 x 3 mm, or of `rows`.
fn image(folder: &Path, name: &str, dims: [usize; 3], rows: Option<[[f64; 4]; 3]>, values: &[i16]) -> PathBuf {
    let mut file = NiftiFile::new(1, dims.map(|n| n as i64), 4, 0);
    file.data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    if let Some(rows) = rows {
        (file.rows, file.qform_code) = (rows, 0);
        let length = |axis: usize| rows.iter().map(|row| row[axis].powi(2)).sum::<f64>().sqrt();
        (0..3).for_each(|axis| file.pixdim[axis + 1] = length(axis));
    }
    let path = folder.join(name);
    std::fs::write(&path, file.bytes()).unwrap();
    path
}

fn open(path: &Path) -> Volume {
    Volume::open(path, &OpenOptions { form: Some(Form::Sform), ..OpenOptions::default() }).unwrap()
}

fn segment(folder: &Path, input: &Path, output: &str, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu", "--force"];
    let files = ["segment", input.to_str().unwrap(), "-o", &path(output), "--report", &path("report.json")];
    medsegx(&[&files[..], &fixed, more].concat())
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn noisy(dims: [usize; 3]) -> Vec<i16> {
    (0..dims.iter().product::<usize>()).map(|i| ((i * 7919) % 251) as i16 + 40 * ((i / 300) % 5) as i16).collect()
}

#[test]
fn a_cleaned_mask_is_the_plain_one_cleaned_and_its_counts_are_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let dims = [40, 36, 3];
    let input = image(folder, "image.nii", dims, None, &noisy(dims));
    let boxes = folder.join("boxes.json");
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","label":3,"box3d":[2,2,0,30,30,2]}, {"name":"b","label":7,"box3d":[12,10,1,38,34,2]},
        {"name":"more of a","label":3,"box3d":[20,1,0,39,20,0]}]}"#;
    std::fs::write(&boxes, text).unwrap();
    let prompt = ["--boxes", boxes.to_str().unwrap(), "--mask", "2"];
    let plain = segment(folder, &input, "plain.nii.gz", &prompt);
    assert!(plain.status.success(), "{}", message(&plain));
    assert!(json(folder.join("report.json"))["cleaning"].is_null(), "nothing unless asked for");

    let asked = ["--largest", "2", "--min-volume", "8", "--fill-holes", "--smooth", "0.5"];
    let run = segment(folder, &input, "clean.nii.gz", &[&prompt[..], &asked].concat());
    assert!(run.status.success(), "{}", message(&run));
    let report = json(folder.join("report.json"));
    let labels = |name: &str| LabelVolume::from_volume(&open(&folder.join(name))).unwrap().0;
    let (mut expected, found) = (labels("plain.nii.gz"), labels("clean.nii.gz"));
    let cleaning = Cleaning { smooth_mm: Some(0.5), fill_holes: true, min_volume_mm3: Some(8.0), largest: Some(2) };
    let mut changed = 0;
    for (entry, label) in report["cleaning"]["labels"].as_array().unwrap().iter().zip([3, 7]) {
        let done = cleaning.clean(&mut expected, &[label], Some([1.5, 2.0, 3.0]), 9.0).unwrap();
        assert_eq!(entry["changes"], serde_json::to_value(done).unwrap());
        assert_eq!(entry["voxels"].as_u64(), Some(found.counts()[usize::from(label)]), "{entry}");
        assert!(part_sizes(&found, &[label]).unwrap().len() <= 2);
        changed += done.smoothed_in + done.smoothed_out + done.filled + done.dropped;
    }
    assert!(changed > 0, "these masks are ragged");
    assert_eq!(found, expected);
    let voxels = |index: usize| report["targets"][index]["voxels"].as_u64().unwrap();
    assert_eq!((voxels(0) + voxels(2), voxels(1)), (found.counts()[3], found.counts()[7]));

    let none = segment(folder, &input, "none.nii.gz", &[&prompt[..], &["--min-volume", "1e9"]].concat());
    assert!(none.status.success() && message(&none).contains("[target-removed]"), "{}", message(&none));
    for wrong in [["--largest", "0"], ["--smooth", "0"], ["--min-volume", "nan"]] {
        let refused = segment(folder, &input, "wrong.nii.gz", &[&prompt[..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", message(&refused));
    }
    let files = ["boxes.json", "clean.nii.gz", "image.nii", "none.nii.gz", "plain.nii.gz", "report.json"];
    only_these_files(folder, &files);
}

#[test]
fn stats_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let dims = [40, 36, 2];
    let input = image(folder, "image.nii", dims, None, &noisy(dims));
    let stats = folder.join("stats.json");
    // A window lets slices run while later ones are read; the values inside are wanted all the same.
    let more = ["--box3d", "2,2,0,30,30,1", "--mask", "2", "--intensity", "window:100,300", "--stats"];
    let run = segment(folder, &input, "mask.nii.gz", &[&more[..], &[stats.to_str().unwrap()]].concat());
    assert!(run.status.success(), "{}", message(&run));
    let (volume, mask) = (open(&input), open(&folder.join("mask.nii.gz")));
    let (labels, _) = LabelVolume::from_volume(&mask).unwrap();
    let expected = label_stats(&volume, &labels, &[1]).unwrap().remove(0);
    let found = json(stats);
    let label = &found["labels"][0];
    assert_eq!(label["names"], serde_json::json!(["CT_Liver"]));
    assert_eq!(label["voxels"], json(folder.join("report.json"))["targets"][0]["voxels"]);
    let intensity = expected.intensity.unwrap();
    for (field, expected) in [("mean", intensity.mean), ("sd", intensity.sd), ("p95", intensity.p95)] {
        let found = label["intensity"][field].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12 * expected, "{field}: {found} for {expected}");
    }
    assert_eq!(label["volume_mm3"].as_f64(), Some(expected.voxels as f64 * 9.0));
    assert!(label["contour_mm"].is_null() && label["missing"]["contour_mm"].is_string());

    let table = folder.join("stats.CSV");
    let sheet = folder.join("sheet.png");
    let preview = [table.to_str().unwrap(), "--preview", sheet.to_str().unwrap(), "--preview-slices", "1"];
    let run = segment(folder, &input, "mask.nii.gz", &[&more[..], &preview].concat());
    assert!(run.status.success(), "{}", message(&run));
    let text = std::fs::read_to_string(table).unwrap();
    let [head, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let columns: Vec<&str> = head.split(',').collect();
    let cells: Vec<&str> = row.splitn(columns.len(), ',').collect();
    let cell = |name: &str| cells[columns.iter().position(|column| *column == name).unwrap()];
    assert_eq!(cell("names"), "\"CT_Liver\"");
    assert_eq!(cell("volume_mm3").parse::<f64>().unwrap(), label["volume_mm3"].as_f64().unwrap());
    assert_eq!(cell("box_mm_high_z").parse::<f64>().unwrap(), label["box_mm"][1][2].as_f64().unwrap());
    assert_eq!(cell("intensity_p95").parse::<f64>().unwrap(), label["intensity"]["p95"].as_f64().unwrap());
    assert_eq!((cell("contour_mm"), cell("missing").contains("contour_mm: ")), ("", true));
    let picture = open(&sheet);
    assert!(picture.dims()[1] > 352 && picture.channels() == 3, "{:?}", picture.dims());
    let wrong = [&["stats.txt"][..], &["stats.json", "--preview", "sheet.jpg"]];
    for wrong in [wrong[0], wrong[1], &["stats.json", "--preview", "new.png", "--preview-slices", "2"]] {
        let refused = segment(folder, &input, "mask.nii.gz", &[&more[..], wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", message(&refused));
    }
}

/// Turned by 30 degrees about z and mirrored, 0.8 x 1.1 x 2.5 mm.
fn oblique() -> [[f64; 4]; 3] {
    let (sin, cos) = (PI / 6.0).sin_cos();
    [[-0.8 * cos, -1.1 * sin, 0.0, 40.0], [-0.8 * sin, 1.1 * cos, 0.0, -25.0], [0.0, 0.0, 2.5, 7.0]]
}

#[test]
fn measures_are_those_of_an_ellipsoid_on_an_oblique_grid() {
    let folder = tempfile::tempdir().unwrap();
    let (dims, rows, radius) = ([62, 46, 21], oblique(), 20.0);
    let place = |at: [f64; 3]| [0, 1, 2].map(|r| (0..3).map(|c| rows[r][c] * at[c]).sum::<f64>() + rows[r][3]);
    let index = |i: usize, j: usize, k: usize| (k * dims[1] + j) * dims[0] + i;
    let middle = place([30.2, 22.7, 10.1]);
    let mut values = vec![0_i16; dims.iter().product()];
    let mut mask = values.clone();
    let mut random = Random(5);
    let (mut inside, mut corners) = (Vec::new(), [[f64::INFINITY; 3], [f64::NEG_INFINITY; 3]]);
    for k in 0..dims[2] {
        for j in 0..dims[1] {
            for i in 0..dims[0] {
                values[index(i, j, k)] = random.below(2000) as i16 - 1000;
                let at = [i, j, k].map(|n| n as f64);
                let distance = place(at).iter().zip(middle).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                if distance > radius {
                    continue;
                }
                mask[index(i, j, k)] = 4;
                inside.push((at, f64::from(values[index(i, j, k)])));
                for corner in 0..8 {
                    let body = place([0, 1, 2].map(|axis| at[axis] + f64::from(corner >> axis & 1) - 0.5));
                    for axis in 0..3 {
                        corners[0][axis] = corners[0][axis].min(body[axis]);
                        corners[1][axis] = corners[1][axis].max(body[axis]);
                    }
                }
            }
        }
    }
    let volume = open(&image(folder.path(), "image.nii", dims, Some(rows), &values));
    let labels = open(&image(folder.path(), "mask.nii", dims, Some(rows), &mask));
    let labels = LabelVolume::from_volume(&labels).unwrap().0;
    let [found, none] = label_stats(&volume, &labels, &[4, 5]).unwrap().try_into().unwrap();
    assert_eq!((found.voxels, found.parts, found.touches_border), (inside.len() as u64, 1, Some(false)));
    let near = |a: f64, b: f64, share: f64| assert!((a - b).abs() <= share * b.abs(), "{a} for {b}");
    near(found.volume_mm3.unwrap(), 4.0 / 3.0 * PI * radius.powi(3), 0.01);
    near(found.volume_ml.unwrap(), found.volume_mm3.unwrap() / 1000.0, 1e-12);
    let share = found.surface_mm2.unwrap() / (4.0 * PI * radius.powi(2));
    assert!((1.0..1.2).contains(&share), "steps make a curved surface larger: {share}");
    let centroid = found.centroid_mm.unwrap();
    (0..3).for_each(|axis| assert!((centroid[axis] - middle[axis]).abs() < 0.1, "{centroid:?} for {middle:?}"));
    for (end, expected) in found.box_mm.unwrap().iter().zip(corners) {
        (0..3).for_each(|axis| assert!((end[axis] - expected[axis]).abs() < 1e-4, "{end:?} for {expected:?}"));
    }
    let mut sorted: Vec<f64> = inside.iter().map(|(_, value)| *value).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let intensity = found.intensity.unwrap();
    near(intensity.mean, mean, 1e-9);
    near(intensity.sd.powi(2), sorted.iter().map(|v| v * v).sum::<f64>() / count - mean * mean, 1e-9);
    assert_eq!((intensity.min, intensity.max), (sorted[0], sorted[sorted.len() - 1]));
    let place_of_95 = 0.95 * (count - 1.0);
    let (below, share) = (place_of_95.floor() as usize, place_of_95.fract());
    near(intensity.p95, sorted[below] * (1.0 - share) + sorted[below + 1] * share, 1e-9);

    assert_eq!((none.voxels, none.parts, none.volume_mm3, none.intensity), (0, 0, None, None));
    assert_eq!(none.missing.len(), 11, "each field that is absent says why: {:?}", none.missing);
}

#[test]
fn the_surface_of_a_brick_has_bevelled_edges_and_corners() {
    let (dims, [a, b, c]) = ([9, 8, 7], [1.5_f64, 2.0, 3.0]);
    let brick = |voxel: usize| {
        let at = [voxel % 9, voxel / 9 % 8, voxel / 72];
        i16::from((2..7).contains(&at[0]) && (3..6).contains(&at[1]) && (2..4).contains(&at[2]))
    };
    let values: Vec<i16> = (0..dims.iter().product()).map(brick).collect();
    let folder = tempfile::tempdir().unwrap();
    let volume = open(&image(folder.path(), "brick.nii", dims, None, &values));
    let labels = LabelVolume::from_volume(&volume).unwrap().0;
    let found = label_stats(&volume, &labels, &[1]).unwrap().remove(0).surface_mm2.unwrap();
    let [x, y, z] = [4.0 * a, 2.0 * b, c];
    let bevel = |p: f64, q: f64| (p * p + q * q).sqrt() / 2.0;
    let corner = 0.5 * ((a * b / 4.0).powi(2) + (b * c / 4.0).powi(2) + (a * c / 4.0).powi(2)).sqrt();
    let edges = 4.0 * (x * bevel(b, c) + y * bevel(a, c) + z * bevel(a, b));
    let expected = 2.0 * (x * y + y * z + x * z) + edges + 8.0 * corner;
    assert!((found - expected).abs() < 1e-9 * expected, "{found} for {expected}");
}

#[test]
fn what_cannot_be_said_is_absent_and_says_why() {
    let voxels = medsegx::volume::Voxels::F32(vec![f32::NAN, 2.0, f32::INFINITY, f32::NAN]);
    let volume = Volume::from_voxels("array", [2, 2, 1], 1, voxels).unwrap();
    let mask = medsegx::volume::Voxels::U8(vec![1, 2, 2, 1]);
    let mask = LabelVolume::from_volume(&Volume::from_voxels("mask", [2, 2, 1], 1, mask).unwrap()).unwrap().0;
    let [one, two] = label_stats(&volume, &mask, &[1, 2]).unwrap().try_into().unwrap();
    assert!(one.intensity.is_none() && one.missing["intensity"].contains("finite"));
    assert_eq!(two.intensity.map(|i| (i.values, i.left_out, i.mean, i.sd)), Some((1, 1, 2.0, 0.0)));
    assert!(one.volume_mm3.is_none() && one.missing["volume_mm3"].contains("voxel size"));
    assert!(one.surface_mm2.is_none() && one.missing["surface_mm2"].contains("one slice"));
    assert_eq!((one.parts, one.box_voxels), (1, Some([[0, 0, 0], [1, 1, 0]])), "corners touch");

    let colour = Volume::from_voxels("rgb", [2, 2, 1], 3, medsegx::volume::Voxels::U8(vec![9; 12])).unwrap();
    let [one] = label_stats(&colour, &mask, &[1]).unwrap().try_into().unwrap();
    assert!(one.intensity.is_none() && one.missing["intensity"].contains("colour"));
}
