//! `medsegx segment` as a user meets it: masks on the input's grid, exit codes, messages, nothing half-written.

use crate::common;
use crate::common::command;

use std::path::{Path, PathBuf};
use std::process::Output;

use command::{medsegx, message, only_these_files, sam, weights};
use medsegx::volume::{OpenOptions, Volume, npy};

/// Runs `segment INPUT -o OUTPUT --weights tiny --task CT_Liver --device cpu` with more arguments.
fn segment(input: &Path, output: &Path, more: &[&str]) -> Output {
    let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu", "--quiet"];
    let mut arguments = vec!["segment", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    arguments.extend(fixed);
    arguments.extend(more);
    medsegx(&arguments)
}

/// A picture with structure in it, `[depth, height, width]` f32.
fn volume(folder: &Path, shape: [usize; 3], change: impl Fn(&mut Vec<f32>)) -> PathBuf {
    let [depth, height, width] = shape;
    let mut values = Vec::new();
    for z in 0..depth {
        for y in 0..height {
            values.extend((0..width).map(|x| ((x * 7 + y * 3) % 31) as f32 + 10.0 * ((x / 4 + y / 5 + z) % 3) as f32));
        }
    }
    change(&mut values);
    let path = folder.join("input.npy");
    let mut file = std::fs::File::create(&path).unwrap();
    npy::write(&mut file, &shape, &values).unwrap();
    path
}

#[test]
fn a_box_gives_a_mask_on_its_slice_alone() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [3, 40, 56], |_| {});
    let output = folder.path().join("mask.npy");
    let logits = folder.path().join("logits.npy");
    let report = folder.path().join("report.json");
    let more = ["--box", "10,8,40,30", "--slice", "1", "--logits", logits.to_str().unwrap()];
    let run = segment(&input, &output, &[&more[..], &["--report", report.to_str().unwrap()]].concat());
    assert!(run.status.success(), "{}", message(&run));
    assert!(run.stdout.is_empty(), "--quiet prints nothing");

    let mask = Volume::open(&output, &OpenOptions::default()).unwrap();
    assert_eq!(mask.dims(), [56, 40, 3]);
    let voxels = |z: usize| (0..40 * 56).filter(|i| mask.voxels().get(z * 40 * 56 + i).unwrap() != 0.0).count();
    assert_eq!((voxels(0), voxels(2)), (0, 0));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let target = &report["targets"][0];
    assert_eq!(target["voxels"].as_u64().unwrap() as usize, voxels(1));
    assert_eq!(target["slices"][0]["box"], serde_json::json!([10, 8, 40, 30]));
    assert_eq!(target["slices"][0]["scores"].as_array().unwrap().len(), 3);
    assert_eq!(report["mask_choice"]["rule"], "box agreement x stability");
    assert_eq!(target["volume_mm3"], serde_json::Value::Null);
    assert!(target["volume_missing"].is_string(), "a missing value says why");
    assert_eq!(report["weights"]["sha256"].as_str().unwrap().len(), 64);

    let bytes = std::fs::read(&logits).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values: Vec<f32> = bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(values.len(), 3 * 256 * 256, "[1, 3, 256, 256]");
    assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| *v != values[0]));
}

#[test]
fn the_mask_is_the_resized_chosen_logit_map() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 256, 256], |_| {});
    let (output, logits) = (folder.path().join("mask.npy"), folder.path().join("logits.npy"));
    let run =
        segment(&input, &output, &["--box", "30,40,200,180", "--mask", "2", "--logits", logits.to_str().unwrap()]);
    assert!(run.status.success(), "{}", message(&run));
    let mask = Volume::open(&output, &OpenOptions::default()).unwrap();
    let bytes = std::fs::read(&logits).unwrap();
    let map = &bytes[bytes.len() - 2 * 256 * 256 * 4..bytes.len() - 256 * 256 * 4];
    for (index, value) in map.as_chunks::<4>().0.iter().enumerate() {
        let inside = f32::from_le_bytes(*value) > 0.0;
        assert_eq!(mask.voxels().get(index).unwrap() != 0.0, inside, "pixel {index}");
    }
}

#[test]
fn a_boxes_file_holds_several_targets_and_batches_do_not_change_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [6, 30, 44], |_| {});
    let boxes = folder.path().join("boxes.json");
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","task":"CT_Liver","label":3,"box3d":[2,2,0,20,20,4]},
        {"name":"b","task":"MRI_Prostate","label":300,"slices":{"2":[5,5,40,28],"5":[0,0,43,29]}}]}"#;
    std::fs::write(&boxes, text).unwrap();
    let mut masks = Vec::new();
    for (batch, threads) in [("1", "1"), ("2", "2"), ("5", "2")] {
        let output = folder.path().join(format!("mask{batch}.npy"));
        let more = ["--boxes", boxes.to_str().unwrap(), "--batch", batch, "--threads", threads];
        let run = segment(&input, &output, &more);
        assert!(run.status.success(), "{}", message(&run));
        masks.push(std::fs::read(&output).unwrap());
    }
    assert!(masks.iter().all(|mask| *mask == masks[0]), "batch size or threads changed the mask");
    assert!(masks[0].windows(3).any(|w| w == b"<u2"), "labels above 255 are uint16");
}

#[test]
fn logits_stand_by_slice_and_then_in_the_order_of_targets() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [4, 30, 44], |_| {});
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let targets = [
        r#"{"name":"b","task":"MRI_Prostate","label":2,"box3d":[5,5,1,40,28,3]}"#,
        r#"{"name":"a","task":"CT_Liver","label":1,"slices":{"0":[2,2,20,20],"2":[3,2,20,25]}}"#,
    ];
    let read = |name: &str, targets: &str, batch: &str, mask: &str| -> (String, Vec<u8>) {
        let text = format!(r#"{{"version":1,"space":"voxel","inclusive":true,"targets":[{targets}]}}"#);
        std::fs::write(path("boxes.json"), text).unwrap();
        let more = ["--boxes", &path("boxes.json"), "--logits", &path(name), "--batch", batch, "--mask", mask];
        let run = segment(&input, Path::new(&path("mask.npy")), &[&more[..], &["--force"]].concat());
        assert!(run.status.success(), "{}", message(&run));
        let bytes = std::fs::read(path(name)).unwrap();
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        (String::from_utf8_lossy(&bytes[10..start]).into_owned(), bytes[start..].to_vec())
    };
    for (mask, masks) in [("auto", 3), ("2", 3)] {
        let (header, together) = read("together.npy", &targets.join(","), "3", mask);
        assert!(header.contains(&format!("'shape': (5, {masks}, 256, 256)")) && header.contains("'<f4'"), "{header}");
        let [(_, first), (_, second)] = [0, 1].map(|i| read("alone.npy", targets[i], "1", mask));
        let size = masks * 256 * 256 * 4;
        // Slices 0 (a), 1 (b), 2 (b, a), 3 (b).
        let expected = [(&second, 0), (&first, 0), (&first, 1), (&second, 1), (&first, 2)];
        for (place, (alone, at)) in expected.into_iter().enumerate() {
            let same = together[place * size..(place + 1) * size] == alone[at * size..(at + 1) * size];
            assert!(same, "{place} of the logits, masks {masks}");
        }
    }
}

#[test]
fn odd_images_have_a_defined_result() {
    for (name, shape, region) in [
        ("one voxel", [1, 1, 1], "0,0,0,0"),
        ("one row", [1, 1, 90], "3,0,60,0"),
        ("not square", [1, 19, 301], "10,2,290,17"),
        ("larger than the model", [1, 400, 300], "10,20,290,390"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let input = volume(folder.path(), shape, |_| {});
        let output = folder.path().join("mask.npy");
        let run = segment(&input, &output, &["--box", region]);
        assert!(run.status.success(), "{name}: {}", message(&run));
        let mask = Volume::open(&output, &OpenOptions::default()).unwrap();
        assert_eq!(mask.dims(), [shape[2], shape[1], shape[0]], "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |values| values.fill(7.5));
    let run = segment(&input, &folder.path().join("mask.npy"), &["--box", "1,1,15,15"]);
    assert!(run.status.success(), "constant image: {}", message(&run));
}

#[test]
fn voxels_that_are_no_numbers_are_refused_and_nothing_is_written() {
    for bad in [f32::NAN, f32::INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let input = volume(folder.path(), [1, 20, 20], |values| values[57] = bad);
        let run = segment(&input, &folder.path().join("mask.npy"), &["--box", "1,1,15,15"]);
        assert_eq!(run.status.code(), Some(1));
        assert!(message(&run).contains("input.npy") && message(&run).contains("(17, 2, 0)"), "{}", message(&run));
        only_these_files(folder.path(), &["input.npy"]);
    }
}

#[test]
fn a_volume_that_turns_out_to_be_cut_short_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = common::nifti_file::NiftiFile::new(1, [200, 200, 40], 4, 0).gzip();
    let input = folder.path().join("input.nii.gz");
    std::fs::write(&input, &whole[..whole.len() - 2000]).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    for intensity in ["minmax", "soft"] {
        let more = ["--box3d", "10,10,0,150,150,39", "--intensity", intensity, "--logits", &path("logits.npy")];
        let run =
            segment(&input, Path::new(&path("mask.nii.gz")), &[&more[..], &["--report", &path("r.json")]].concat());
        assert_eq!(run.status.code(), Some(1), "{}", message(&run));
        assert!(message(&run).contains("needs a complete gzip file"), "{}", message(&run));
        only_these_files(folder.path(), &["input.nii.gz"]);
    }
    let run = segment(&input, Path::new(&path("mask.nii.gz")), &["--box3d", "10,10,0,150,150,40"]);
    assert_eq!(run.status.code(), Some(2), "a box is refused by the header alone: {}", message(&run));
}

#[test]
fn neither_how_voxels_are_read_nor_how_masks_are_written_changes_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = |datatype| common::nifti_file::NiftiFile::new(1, [60, 40, 12], datatype, 9000);
    // Integers under a window run while they are read; floats may be no numbers and are looked at first.
    std::fs::write(path("whole.nii.gz"), file(16).gzip()).unwrap();
    std::fs::write(path("arriving.nii.gz"), [file(4).gzip(), b"more".to_vec()].concat()).unwrap();
    let boxes = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","task":"CT_Liver","label":3,"box3d":[2,2,1,50,30,9]},
        {"name":"b","task":"MRI_Prostate","label":300,"slices":{"2":[5,5,40,28],"8":[0,0,43,29]}}]}"#;
    std::fs::write(path("boxes.json"), boxes).unwrap();
    let mut masks = Vec::new();
    for input in ["whole.nii.gz", "arriving.nii.gz"] {
        for output in ["mask.nii.gz", "mask.nii"] {
            let boxes = path("boxes.json");
            let more = ["--intensity", "window:100,20000", "--boxes", boxes.to_str().unwrap(), "--force"];
            let report = path("report.json");
            let run =
                segment(&path(input), &path(output), &[&more[..], &["--report", report.to_str().unwrap()]].concat());
            assert!(run.status.success(), "{}", message(&run));
            let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
            let told = report["input"]["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str());
            let meant = (input == "arriving.nii.gz").then_some(Some("trailing-bytes"));
            assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(meant), "what follows the voxels is told: {report}");
            let mut bytes = std::fs::read(path(output)).unwrap();
            if output.ends_with("gz") {
                bytes.clear();
                let file = std::fs::File::open(path(output)).unwrap();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).unwrap();
            }
            masks.push(bytes);
        }
    }
    assert!(masks.iter().all(|mask| *mask == masks[0]));
    let voxels = f32::from_le_bytes(masks[0][108..112].try_into().unwrap()) as usize;
    assert!(masks[0][voxels..].iter().any(|&byte| byte != 0), "there is something in it");
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [3, 20, 20], |_| {});
    let output = folder.path().join("mask.npy");
    for (more, hint) in [
        (&["--box", "1,1,5"][..], "4 numbers"),
        (&[][..], "--box"),
        (&["--box", "1,1,5,5", "--box3d", "0,0,0,1,1,1"][..], "cannot be used"),
        (&["--box", "1,1,5,5", "--slice", "0", "--mask", "4"][..], "auto, 0, 1, 2 or 3"),
        (&["--box", "1,1,5,5", "--slice", "0", "--intensity", "sharp"][..], "minmax"),
        (&["--box", "1,1,5,5", "--slice", "0", "--axis", "q"][..], "possible values"),
        (&["--box", "1,1,5,5", "--slice", "0", "--organ", "livr"][..], "liver"),
        (&["--box", "1,1,5,5", "--slice", "0", "--modality", "CT", "--organ", "livr"][..], "liver"),
        (&["--box3d", "0,0,0,1,1,1", "--slice", "0"][..], "--slice"),
        (&["--box3d", "0,0,0,1,1,1", "--margin", "1"][..], "--margin"),
        (&["--box3d", "0,0,0,1,1,1", "--threads", "65535"][..], "1..=1024"),
    ] {
        let run = segment(&input, &output, more);
        assert_eq!(run.status.code(), Some(2), "{more:?}: {}", message(&run));
        assert!(message(&run).contains(hint), "{more:?} should mention {hint}: {}", message(&run));
        only_these_files(folder.path(), &["input.npy"]);
    }
}

#[test]
fn boxes_outside_the_image_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [3, 20, 20], |_| {});
    let output = folder.path().join("mask.npy");
    for region in ["1,1,20,5", "-1,0,3,3", "100,100,120,120"] {
        let run = segment(&input, &output, &["--box", region, "--slice", "0"]);
        assert_eq!(run.status.code(), Some(2), "{region}: {}", message(&run));
        assert!(message(&run).contains("--box: got") && message(&run).contains("; needs "), "{}", message(&run));
        only_these_files(folder.path(), &["input.npy"]);
    }
    for (prompt, flag) in [
        (&["--box", "1,1,5,5", "--slice", "3"][..], "--box: got 3; needs a slice 0..=2"),
        (&["--points", "1,1,1", "--slice", "1"], "--points: got points; needs a box, or SAM weights"),
        (&["--box", "1,1,5,5", "--slice", "1", "--mask", "0"], "mask: got 0; needs auto, 1, 2 or 3"),
        (&["--box3d", "1,1,1,5,5,3"], "; needs voxel indices 0..=2 along z"),
    ] {
        let run = segment(&input, &output, prompt);
        assert!(run.status.code() == Some(2) && message(&run).contains(flag), "{prompt:?}: {}", message(&run));
    }
}

#[test]
fn an_existing_mask_is_kept_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |_| {});
    let output = folder.path().join("mask.npy");
    std::fs::write(&output, "precious").unwrap();
    let run = segment(&input, &output, &["--box", "1,1,15,15"]);
    assert!(!run.status.success());
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
    let run = segment(&input, &output, &["--box", "1,1,15,15", "--force"]);
    assert!(run.status.success(), "{}", message(&run));
    assert_ne!(std::fs::read(&output).unwrap(), b"precious");
}

#[test]
fn a_missing_file_is_named_with_its_cause_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = segment(&folder.path().join("none.nii"), &folder.path().join("mask.nii"), &["--box", "1,1,9,9"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(message(&run).contains("none.nii"), "{}", message(&run));
    assert_eq!(message(&run).matches("os error 2").count(), 1, "{}", message(&run));
}

#[test]
fn a_missing_task_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |_| {});
    let output = folder.path().join("mask.npy");
    let arguments =
        ["segment", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--box", "1,1,9,9", "--weights"];
    let run = medsegx(&[&arguments[..], &[weights().to_str().unwrap()]].concat());
    assert_eq!(run.status.code(), Some(2), "{}", message(&run));
    assert!(message(&run).contains("--task"), "{}", message(&run));
}

#[test]
fn the_rough_mask_gives_the_same_as_its_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [2, 30, 30], |_| {});
    let rough = folder.path().join("rough.npy");
    let mut labels = vec![0_u8; 2 * 30 * 30];
    for (z, y, x) in [(1, 5, 6), (1, 20, 25), (1, 12, 7)] {
        labels[(z * 30 + y) * 30 + x] = 1;
    }
    npy::write(&mut std::fs::File::create(&rough).unwrap(), &[2, 30, 30], &labels).unwrap();
    let (from_mask, from_box) = (folder.path().join("a.npy"), folder.path().join("b.npy"));
    let run = segment(&input, &from_mask, &["--rough", rough.to_str().unwrap(), "--margin", "2"]);
    assert!(run.status.success(), "{}", message(&run));
    let run = segment(&input, &from_box, &["--box", "4,3,27,22", "--slice", "1"]);
    assert!(run.status.success(), "{}", message(&run));
    assert_eq!(std::fs::read(from_mask).unwrap(), std::fs::read(from_box).unwrap());
}

#[test]
fn ct_and_mr_volumes_keep_their_grid() {
    for (image, labels) in [("example_ct_sm", "example_seg"), ("example_mr_sm", "example_seg_mr")] {
        let path = |name: &str| common::shared("segment real volumes", &format!("data/ct-mr-volumes/{name}.nii.gz"));
        let (Some(image), Some(labels)) = (path(image), path(labels)) else { return };
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("mask.nii.gz");
        let run = segment(&image, &output, &["--box3d", "30,30,8,80,70,10"]);
        assert!(run.status.success(), "{}", message(&run));
        let open = |path: &Path| Volume::open(path, &OpenOptions::default()).unwrap();
        let (image, mask, labels) = (open(&image), open(&output), open(&labels));
        assert_eq!(image.dims(), mask.dims());
        assert_eq!(image.dims(), labels.dims());
        assert_eq!(image.affine(), mask.affine());
    }
}

#[test]
fn no_output_takes_the_place_of_another_file_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |_| {});
    let before = std::fs::read(&input).unwrap();
    let output = folder.path().join("mask.npy");
    let same = folder.path().join(".").join("mask.npy");
    let own = |path: &Path| path.to_str().unwrap().to_string();
    for (output, more, message_part) in [
        (&input, vec![], "; needs a file of its own"),
        (&output, vec!["--logits".to_string(), own(&same)], "as --output"),
        (&output, vec!["--report".to_string(), own(&input)], "as INPUT"),
        (&output, vec!["--report".to_string(), own(weights())], "as --weights"),
    ] {
        let more: Vec<&str> =
            ["--box", "1,1,15,15", "--force"].into_iter().chain(more.iter().map(String::as_str)).collect();
        let run = segment(&input, output, &more);
        assert_eq!(run.status.code(), Some(2), "{more:?}: {}", message(&run));
        assert!(message(&run).contains(message_part), "{}", message(&run));
        only_these_files(folder.path(), &["input.npy"]);
    }
    assert_eq!(std::fs::read(&input).unwrap(), before);
}

#[test]
fn weights_without_adapters_need_no_names_but_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |_| {});
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (output, report) = (path("mask.npy"), path("report.json"));
    let run = |names: &[&str]| {
        let fixed = ["segment", input.to_str().unwrap(), "-o", &output, "--report", &report, "--box", "1,1,15,15"];
        let model = ["--weights", sam().to_str().unwrap(), "--device", "cpu", "--quiet", "--force"];
        medsegx(&[&fixed[..], &model, names].concat())
    };
    for wrong in [["--task", "CT_Livr"], ["--organ", "livr"]] {
        let run = run(&wrong);
        assert!(run.status.code() == Some(2) && message(&run).contains("iver'"), "{wrong:?}: {}", message(&run));
        only_these_files(folder.path(), &["input.npy"]);
    }
    for fine in [&[][..], &["--organ", "liver"], &["--task", "CT_Liver"]] {
        let run = run(fine);
        assert!(run.status.success(), "{fine:?}: {}", message(&run));
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
        assert_eq!(report["targets"][0]["context"], serde_json::Value::Null, "{fine:?}: no row was used");
    }
}

#[test]
fn a_wrong_name_in_a_boxes_file_names_file_and_target() {
    let folder = tempfile::tempdir().unwrap();
    let input = volume(folder.path(), [1, 20, 20], |_| {});
    let (boxes, output) = (folder.path().join("boxes.json"), folder.path().join("mask.npy"));
    let text = r#"{"version":1,"space":"voxel","inclusive":true,"targets":[
        {"name":"a","label":3,"box3d":[2,2,0,9,9,0]}, {"name":"b","task":"CT_Livr","label":3,"box3d":[2,2,0,9,9,0]}]}"#;
    std::fs::write(&boxes, text).unwrap();
    let run = segment(&input, &output, &["--boxes", boxes.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1), "{}", message(&run));
    for part in ["boxes.json: target 'b'", "nearest is 'Liver'"] {
        assert!(message(&run).contains(part), "{}", message(&run));
    }
    only_these_files(folder.path(), &["boxes.json", "input.npy"]);
}

#[test]
fn a_rough_mask_of_another_place_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut file = common::nifti_file::NiftiFile::new(1, [20, 20, 2], 4, 0);
    std::fs::write(path("image.nii"), file.bytes()).unwrap();
    file.data = [1, 0].repeat(20 * 20 * 2);
    std::fs::write(path("same.nii"), file.bytes()).unwrap();
    file.rows[1][3] += 30.0;
    std::fs::write(path("moved.nii"), file.bytes()).unwrap();
    for (rough, told) in [("same.nii", false), ("moved.nii", true)] {
        let fixed = ["--weights", weights().to_str().unwrap(), "--task", "CT_Liver", "--device", "cpu"];
        let (image, mask, rough) = (path("image.nii"), path("mask.nii"), path(rough));
        let files =
            ["segment", image.to_str().unwrap(), "-o", mask.to_str().unwrap(), "--rough", rough.to_str().unwrap()];
        let run = medsegx(&[&files[..], &fixed, &["--force"]].concat());
        assert!(run.status.success(), "{}", message(&run));
        assert_eq!(message(&run).contains("brought over by its header"), told, "{}", message(&run));
    }
}
