//! `medsegx tune DIR --layout ...` on made-up folders of MedSegDB, with the tiny weights.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::command::{medsegx, message, only_these_files, weights};
use medsegx::volume::npy;
use medsegx::weights::tuned::Tuned;

const SIDE: usize = 48;

/// Writes an array of bytes.
fn array(path: &Path, shape: &[usize], values: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    npy::write(&mut fs::File::create(path).unwrap(), shape, values).unwrap();
}

/// A grey picture that reaches from 0 to 255 and the label of a block in it, by a number of its own.
fn slice(number: usize) -> (Vec<u8>, Vec<u8>) {
    let low = 6 + number;
    let inside = |at: usize| (low..low + 20).contains(&(at % SIDE)) && (low..low + 14 + number).contains(&(at / SIDE));
    let label: Vec<u8> = (0..SIDE * SIDE).map(|at| u8::from(inside(at)) * 3).collect();
    let grey = (0..SIDE * SIDE).map(|at| match at {
        0 => 0,
        1 => 255,
        _ => (if inside(at) { 170 } else { 60 }) + (at * 7 % 40) as u8,
    });
    (grey.collect(), label)
}

/// Slice `number` below `leaf`, without foreground where `inside` is not.
fn put(leaf: &Path, name: &str, number: usize, inside: bool) {
    let (grey, label) = slice(number);
    let colour: Vec<u8> = grey.iter().flat_map(|&grey| [grey; 3]).collect();
    let label = if inside { label } else { vec![0; SIDE * SIDE] };
    array(&leaf.join("npy_imgs").join(name), &[SIDE, SIDE, 3], &colour);
    array(&leaf.join("npy_gts").join(name), &[SIDE, SIDE], &label);
}

/// Three patients, of whom slices 9 and 10 have the label: in the order of names 10 comes before 9.
fn patients(leaf: &Path) {
    for patient in 0..3 {
        for slice in [9, 10] {
            put(leaf, &format!("casenum_P_{patient}_sliceid_{slice}.npy"), 2 * patient + slice - 9, true);
        }
        put(leaf, &format!("casenum_P_{patient}_sliceid_11.npy"), 0, false);
    }
}

/// Runs `tune ROOT -o OUTPUT --steps 2` with the tiny weights and more arguments.
fn tune(root: &Path, output: &Path, more: &[&str]) -> Output {
    let (root, output, weights) = (root.to_str().unwrap(), output.to_str().unwrap(), weights().to_str().unwrap());
    let fixed = ["tune", root, "-o", output, "--steps", "2", "--device", "cpu", "--weights", weights];
    medsegx(&[&fixed[..], more].concat())
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", message(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a tuned file says it was tuned on.
fn tuned_on(path: &Path) -> String {
    let described = text(&medsegx(&["info", path.to_str().unwrap()]));
    let line = described.lines().find_map(|line| line.split_once(" slices = "));
    line.unwrap_or_else(|| panic!("{described}")).1.into()
}

#[test]
fn a_folder_tunes_as_the_volumes_that_its_slices_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let root = path("db");
    patients(&root.join("Set/CT_Liver"));
    let mut names = Vec::new();
    for patient in 0..3 {
        let (grey, inside): (Vec<_>, Vec<_>) = (0..2).map(|k| slice(2 * patient + k)).unzip();
        let (image, labels) = (path(&format!("image{patient}.npy")), path(&format!("labels{patient}.npy")));
        array(&image, &[2, SIDE, SIDE], &grey.concat());
        array(&labels, &[2, SIDE, SIDE], &inside.concat());
        names.push([image, labels].map(|path| path.to_str().unwrap().to_string()));
    }
    for train in ["decoder", "all"] {
        let how = ["--validate", "none", "--train", train, "--force"];
        let of_folder = path("folder.safetensors");
        let said = text(&tune(&root, &of_folder, &[&how[..], &["--layout", "internal"]].concat()));
        assert!(said.contains("label 1 (CT_Liver): 6 slices of 3 patients"), "{said}");
        assert_eq!(tuned_on(&of_folder), "0:9 0:10 1:9 1:10 2:9 2:10");

        let of_volumes = path("volumes.safetensors");
        let [image, labels]: [Vec<&str>; 2] = [0, 1].map(|what| names.iter().map(|pair| pair[what].as_str()).collect());
        let labelled = [&image[1..], &["--labels"], &labels, &["--label", "3=CT_Liver"]].concat();
        text(&tune(Path::new(image[0]), &of_volumes, &[&how[..], &labelled].concat()));
        assert_eq!(tuned_on(&of_volumes), "0:0 0:1 1:0 1:1 2:0 2:1");
        let tensors = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(tensors(&of_folder) == tensors(&of_volumes), "--train {train}: other tensors than of volumes");
        let hashes = |path: &Path| Tuned::open(path).unwrap().images().count();
        assert_eq!((hashes(&of_folder), hashes(&of_volumes)), (6, 3));
    }
}

#[test]
fn patients_are_held_out_as_a_whole_where_names_tell_them() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output) = (folder.path().join("db"), folder.path().join("tuned.safetensors"));
    let said = |more: &[&str]| {
        let found = tune(&root, &output, &[&["--layout", "internal", "--force"], more].concat());
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        // What does not help on those that are held out is not kept.
        assert_eq!(found.status.success(), said.contains("wrote"), "{said}{}", message(&found));
        assert!(found.status.success() || message(&found).contains("did not improve"), "{}", message(&found));
        said
    };
    patients(&root.join("Set/CT_Liver/One"));
    let found = said(&[]);
    assert!(found.contains("6 slices of 3 patients") && found.contains("the slices of 1 patient held out"), "{found}");
    // Another sequence shows the same patients.
    patients(&root.join("Set/CT_Liver/Two"));
    let found = said(&[]);
    assert!(found.contains("12 slices of 3 patients") && found.contains("of 1 patient held out"), "{found}");
    // The same numbers in another data set are others.
    patients(&root.join("Other/CT_Liver"));
    let found = said(&["--slices", "9"]);
    assert!(found.contains("9 slices of 6 patients") && found.contains("of 1 patient held out"), "{found}");
    said(&["--slices", "every:2", "--validate", "none"]);
    assert_eq!(tuned_on(&output), "0:9 1:9 2:9 3:9 3:9 4:9 4:9 5:9 5:9");
    // One name that does not tell, and all are numbered in the order of names.
    put(&root.join("Set/CT_Liver"), "extra.npy", 2, true);
    let found = said(&[]);
    assert!(found.contains("19 slices of 1 folder") && found.contains("held out, of the same folder\n"), "{found}");
    only_these_files(folder.path(), if output.exists() { &["db", "tuned.safetensors"] } else { &["db"] });
}

#[test]
fn of_the_external_layout_it_is_the_part_for_tuning() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output) = (folder.path().join("db"), folder.path().join("tuned.safetensors"));
    let set = root.join("cross_site/CT_Liver/Set");
    patients(&set.join("inference"));
    let how = ["--layout", "external", "--validate", "none", "--force"];
    let said = text(&tune(&root, &output, &how));
    assert!(said.contains("6 slices of 3 patients") && said.contains("there is no finetune/"), "{said}");
    put(&set.join("finetune"), "casenum_Q_sliceid_4.npy", 1, true);
    fs::create_dir_all(set.join("finetune/npy_imgs")).unwrap();
    array(&set.join("finetune/npy_imgs/casenum_Q_sliceid_5.npy"), &[SIDE, SIDE, 3], &[9; SIDE * SIDE * 3]);
    let said = text(&tune(&root, &output, &how));
    assert!(said.contains("1 slice of 1 patient") && !said.contains("there is no finetune/"), "{said}");
    assert!(said.contains("1 picture without a label left out") && said.contains("casenum_Q_sliceid_5.npy"), "{said}");
    assert_eq!(tuned_on(&output), "0:4");
}

#[test]
fn what_cannot_be_tuned_on_is_named_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output) = (folder.path().join("db"), folder.path().join("tuned.safetensors"));
    let refused = |more: &[&str], code: i32, said: &[&str]| {
        let found = tune(&root, &output, more);
        assert_eq!(found.status.code(), Some(code), "{more:?}: {}", message(&found));
        said.iter().for_each(|said| assert!(message(&found).contains(said), "{said}: {}", message(&found)));
    };
    let internal = ["--layout", "internal"];
    let with = |more: &[&'static str]| [&internal[..], more].concat();
    refused(&internal, 1, &["db", "No such file"]);
    fs::create_dir_all(root.join("Set/CT_Liver")).unwrap();
    refused(&internal, 1, &["db: folder", "npy_gts/*.npy", "no label"]);
    refused(&["--layout", "external"], 1, &["db: folder", "finetune|inference/npy_gts/*.npy", "no label"]);

    let liver = root.join("Set/CT_Liver");
    array(&liver.join("npy_imgs/casenum_1_sliceid_2.npy"), &[SIDE, SIDE, 3], &[9; SIDE * SIDE * 3]);
    refused(&internal, 1, &["for none of 1 pictures", "casenum_1_sliceid_2.npy"]);
    put(&liver, "casenum_1_sliceid_2.npy", 0, false);
    refused(&internal, 1, &["db: labels", "foreground on some slice", "none in any of 1"]);
    put(&liver, "casenum_1_sliceid_3.npy", 0, true);
    refused(&with(&["--slices", "2"]), 1, &["db: labels: got none on slice 2; needs foreground on it"]);
    put(&root.join("Set/MRI_Prostate"), "casenum_1_sliceid_3.npy", 0, true);
    refused(&internal, 1, &["db: folder", "--task", "CT_Liver, MRI_Prostate"]);
    refused(&with(&["--task", "CT_Spleen"]), 1, &["slices of CT_Spleen", "CT_Liver, MRI_Prostate"]);
    put(&root.join("Set/CT_Livr"), "casenum_1_sliceid_3.npy", 0, true);
    refused(&with(&["--task", "CT_Livr"]), 1, &["CT_Livr", "task folder", "nearest is 'Liver'"]);
    fs::remove_file(liver.join("npy_imgs/casenum_1_sliceid_3.npy")).unwrap();
    refused(&with(&["--task", "CT_Liver"]), 1, &["npy_imgs/casenum_1_sliceid_3.npy", "cannot read"]);
    array(&liver.join("npy_imgs/casenum_1_sliceid_3.npy"), &[SIDE, SIDE], &[9; SIDE * SIDE]);
    refused(&with(&["--task", "CT_Liver"]), 1, &["npy_imgs/casenum_1_sliceid_3.npy", "[48, 48, 3]"]);

    refused(&["--layout", "sideways"], 2, &["sideways"]);
    refused(&with(&["--label", "1=CT_Liver"]), 2, &["--label"]);
    refused(&with(&["--axis", "i"]), 2, &["--axis"]);
    refused(&[root.to_str().unwrap(), "--layout", "internal"], 2, &["one folder, with --layout"]);
    refused(&[], 2, &["--labels", "--label"]);
    only_these_files(folder.path(), &["db"]);
}
