//! `medsegx tune` as a user meets it, with the demo weights on the sample volume.

use std::fs;
use std::path::Path;
use std::process::Output;

use sha2::Digest as _;

use crate::common::command::{medsegx, message, only_these_files, weights};

const IMAGE: &str = "tests/data/phantom.nii.gz";
const LABELS: &str = "tests/data/phantom_labels.nii.gz";

/// Runs `tune IMAGE --labels LABELS --label 1=CT_Liver -o OUTPUT --device cpu` with more arguments.
fn tune(output: &Path, more: &[&str]) -> Output {
    let fixed = ["tune", IMAGE, "--labels", LABELS, "-o", output.to_str().unwrap(), "--device", "cpu"];
    medsegx(&[&fixed[..], more].concat())
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", message(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Slices of the sample volume that have label 1, as `--slices` wants the first `count` of every second.
fn slices(count: usize) -> String {
    let labels = medsegx::volume::Volume::open(LABELS, &medsegx::volume::OpenOptions::default()).unwrap();
    let frame = labels.frame(2, medsegx::volume::Orientation::Stored).unwrap();
    let has = |slice: &usize| labels.label_slice(&frame, *slice, 1).unwrap().contains(&1);
    let found: Vec<String> =
        (0..labels.dims()[2]).filter(has).step_by(2).take(count).map(|slice| slice.to_string()).collect();
    assert_eq!(found.len(), count);
    found.join(",")
}

#[test]
fn a_tuned_file_goes_on_top_of_its_own_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let two = slices(2);
    let how = ["--label", "1=CT_Liver", "--slices", &two, "--steps", "4", "--validate", "none"];
    let (one, other) = (path("one.safetensors"), path("other.safetensors"));
    let said = text(&tune(&one, &[&how[..], &["--threads", "1"]].concat()));
    assert!(said.contains("not validated") && said.contains("inscribed ellipse"), "{said}");
    text(&tune(&other, &[&how[..], &["--threads", "3"]].concat()));
    assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "threads changed a bit");
    let refused = tune(&one, &how);
    assert!(!refused.status.success() && message(&refused).contains("--force"));

    let described = text(&medsegx(&["info", one.to_str().unwrap()]));
    for part in ["tuned tensors", "base_sha256", "task = CT_Liver", "label = 1", "validation = none", "steps = 4"] {
        assert!(described.contains(part), "{part}: {described}");
    }

    let boxes = ["--boxes", "tests/data/phantom_boxes.json", "--device", "cpu"];
    let segment = |image: &str, output: &Path, more: &[&str]| {
        medsegx(&[&["segment", image, "-o", output.to_str().unwrap()], &boxes[..], more].concat())
    };
    let (base, tuned) = (path("base.nii"), path("tuned.nii"));
    let tuned_file = ["--tuned", one.to_str().unwrap()];
    text(&segment(IMAGE, &base, &[]));
    let output = segment(IMAGE, &tuned, &tuned_file);
    text(&output);
    assert!(!message(&output).contains("tuned-elsewhere"), "{}", message(&output));
    assert!(fs::read(&base).unwrap() != fs::read(&tuned).unwrap(), "four steps changed no mask");
    let elsewhere = segment(LABELS, &path("elsewhere.nii"), &tuned_file);
    assert!(message(&elsewhere).contains("tuned-elsewhere"), "{}", message(&elsewhere));

    let on_tiny = [&tuned_file[..], &["--weights", weights().to_str().unwrap()]].concat();
    let refused = segment(IMAGE, &path("refused.nii"), &on_tiny);
    assert_eq!(refused.status.code(), Some(1));
    let said = message(&refused);
    assert!(said.contains("base_sha256") && said.contains("one.safetensors") && said.contains("tiny"), "{said}");
    let alone = segment(IMAGE, &path("refused.nii"), &["--weights", one.to_str().unwrap()]);
    assert!(message(&alone).contains("one.safetensors") && message(&alone).contains("--tuned"), "{}", message(&alone));
    let names = ["base.nii", "elsewhere.nii", "one.safetensors", "other.safetensors", "tuned.nii"];
    only_these_files(folder.path(), &names);
}

#[test]
fn the_hash_of_a_tuned_file_is_in_reports_tables_and_info() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [tuned, report, manifest] = ["a.safetensors", "report.json", "cases.csv"].map(path);
    let how = ["--label", "1=CT_Liver", "--slices", &slices(1), "--steps", "1", "--validate", "none"];
    text(&tune(Path::new(&tuned), &how));
    let hash: String =
        sha2::Sha256::digest(fs::read(&tuned).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    assert!(text(&medsegx(&["info", &tuned])).contains(&format!("SHA-256      {hash}\n")));
    assert_eq!(json(&text(&medsegx(&["info", "--json", &tuned])))["sha256"], hash);

    let asked = ["--task", "CT_Liver", "--box3d", "22,43,10,111,109,10"];
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join(IMAGE);
    fs::write(&manifest, format!("image,output\n{},mask.nii\n", image.display())).unwrap();
    for (run, more) in [("with", &["--tuned", &tuned][..]), ("without", &[])] {
        let (mask, out) = (path(&format!("{run}.nii")), path(run));
        let files = ["-o", &mask, "--report", &report, "--force", "--device", "cpu"];
        text(&medsegx(&[&["segment", IMAGE], &files[..], more, &asked].concat()));
        let weights = json(&fs::read_to_string(&report).unwrap())["weights"].clone();
        let batch = ["batch", &manifest, "--out", &out, "--device", "cpu", "--quiet"];
        text(&medsegx(&[&batch[..], more, &["--"], &asked].concat()));
        let row = json(&fs::read_to_string(format!("{out}/summary.jsonl")).unwrap());
        let table = fs::read_to_string(format!("{out}/summary.csv")).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!((lines.len(), &row["sha256"]["weights"]), (2, &weights["sha256"]), "{table}");
        if run == "with" {
            assert_eq!(weights["tuned"], serde_json::json!({ "file": tuned, "sha256": hash }));
            assert_eq!(row["sha256"]["tuned"], hash);
            assert!(lines[0].ends_with(",output_sha256,tuned_sha256") && lines[1].ends_with(&hash), "{table}");
        } else {
            assert!(weights.get("tuned").is_none() && row["sha256"].get("tuned").is_none(), "{weights} {row}");
            assert!(lines[0].ends_with(",output_sha256"), "{table}");
        }
    }
}

#[test]
fn few_slices_are_held_out_in_turn_and_more_by_a_fifth() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("tuned.safetensors");
    for (count, said) in [(2, "leave-one-out"), (5, "on 1 slice held out")] {
        let chosen = slices(count);
        let how = ["--label", "1=CT_Liver", "--slices", &chosen, "--steps", "3", "--force"];
        let found = tune(&output, &how);
        let out = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(out.contains(said), "{out}\n{}", message(&found));
        // What does not help on held-out slices is not kept.
        assert!(found.status.success() == out.contains("wrote"), "{out}");
        assert!(found.status.success() || message(&found).contains("did not improve"), "{}", message(&found));
    }
}

#[test]
fn wrong_labels_are_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("tuned.safetensors");
    let refused = |more: &[&str], code: i32, said: &[&str]| {
        let found = tune(&output, more);
        assert_eq!(found.status.code(), Some(code), "{more:?}: {}", message(&found));
        said.iter().for_each(|said| assert!(message(&found).contains(said), "{said}: {}", message(&found)));
    };
    refused(&["--label", "200=CT_Liver"], 1, &["phantom_labels", "label 200: got none; needs voxels on some slice"]);
    refused(&["--label", "1=CT_Liver", "--slices", "9999"], 1, &["slice 9999"]);
    refused(&["--label", "1=CT_Nothing"], 2, &["'Nothing' is not in the task tree"]);
    refused(&["--label", "1"], 2, &["--task"]);
    refused(&["--label", "0=CT_Liver"], 2, &["1 to 65535"]);
    refused(&["--label", "1=CT_Liver", "--slices", "some"], 2, &["every:N"]);
    refused(&["--label", "1=CT_Liver", "--train", "encoder"], 2, &["decoder, adapters or all"]);
    refused(&["--label", "1=CT_Liver", "--memory", "much"], 2, &["800M"]);
    let kept = folder.path().join("kept");
    let kept = ["--label", "1=CT_Liver", "--train", "all", "--embeddings", kept.to_str().unwrap()];
    refused(&kept, 2, &["--embeddings", "--train decoder"]);
    let grid = folder.path().join("grid.npy");
    let shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }";
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &118_u16.to_le_bytes()].concat();
    bytes.extend_from_slice(format!("{shape:<117}\n").as_bytes());
    bytes.extend_from_slice(&[1; 24]);
    fs::write(&grid, bytes).unwrap();
    let out = output.to_str().unwrap();
    let found = medsegx(&["tune", IMAGE, "--labels", grid.to_str().unwrap(), "--label", "1=CT_Liver", "-o", out]);
    assert_eq!(found.status.code(), Some(1));
    assert!(message(&found).contains("the voxels of the image"), "{}", message(&found));
    only_these_files(folder.path(), &["grid.npy"]);
}

/// The losses of a run's progress are not told without a terminal: the first and the last are in the summary.
fn losses(said: &str) -> [f64; 2] {
    let line = said.lines().find(|line| line.starts_with("loss ")).unwrap();
    let numbers: Vec<f64> = line.split([' ', ';']).filter_map(|word| word.parse().ok()).collect();
    [numbers[0], numbers[1]]
}

#[test]
fn twenty_steps_of_all_that_can_be_trained_lower_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let two = slices(2);
    let how = ["--label", "1=CT_Liver", "--slices", &two, "--validate", "none", "--steps", "20"];
    let (one, other) = (path("one.safetensors"), path("other.safetensors"));
    let all = [&how[..], &["--train", "all"]].concat();
    let said = text(&tune(&one, &[&all[..], &["--threads", "2"]].concat()));
    let [first, last] = losses(&said);
    assert!(last < 0.9 * first, "{said}");
    // Neither threads nor memory change a bit.
    text(&tune(&other, &[&all[..], &["--threads", "1", "--memory", "1M"]].concat()));
    assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "threads or memory changed a bit");
    let described = text(&medsegx(&["info", one.to_str().unwrap()]));
    assert!(described.contains("groups = adapters decoder") && described.contains("in 260 tensors"), "{described}");

    let segment = |output: &Path, more: &[&str]| {
        let fixed = ["segment", IMAGE, "--boxes", "tests/data/phantom_boxes.json", "--device", "cpu", "-o"];
        text(&medsegx(&[&fixed[..], &[output.to_str().unwrap()], more].concat()));
        fs::read(output).unwrap()
    };
    let base = segment(&path("base.nii"), &[]);
    assert!(base != segment(&path("tuned.nii"), &["--tuned", one.to_str().unwrap()]), "no mask has changed");

    let adapters = path("adapters.safetensors");
    text(&tune(&adapters, &[&how[..6], &["--train", "adapters", "--steps", "2"]].concat()));
    let described = text(&medsegx(&["info", adapters.to_str().unwrap()]));
    assert!(described.contains("groups = adapters\n") && !described.contains("mask_decoder."), "{described}");
    let names = ["adapters.safetensors", "base.nii", "one.safetensors", "other.safetensors", "tuned.nii"];
    only_these_files(folder.path(), &names);
}

#[test]
fn the_memory_of_a_step_is_planned() {
    let said = text(&medsegx(&["plan", "--config", "vit_b", "--tune", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let rows = report["tune"].as_array().unwrap();
    let row = |train: &str, batch: u64| rows.iter().find(|row| row["train"] == train && row["batch"] == batch).unwrap();
    let bytes = |train: &str, batch: u64, what: &str| row(train, batch)[what].as_u64().unwrap();
    assert_eq!(rows.len(), 6);
    assert!(bytes("all", 4, "recomputed") < bytes("all", 4, "kept"));
    assert!(bytes("all", 1, "kept") < bytes("all", 4, "kept"));
    assert_eq!(row("all", 1)["blocks"], 11);
    assert_eq!(bytes("decoder", 1, "recomputed"), bytes("decoder", 1, "kept"));
    let without: serde_json::Value =
        serde_json::from_str(&text(&medsegx(&["plan", "--config", "tiny", "--json"]))).unwrap();
    assert!(without.get("tune").is_none());
}
