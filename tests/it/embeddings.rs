//! Embeddings that a session keeps, in memory and in a folder: found where they should be, and to the same bits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medsegx::backend::cpu::CpuOptions;
use medsegx::mask::MaskChoice;
use medsegx::model::Preset;
use medsegx::segment::{
    Capacity, Device, EmbeddingFolder, KeptCounts, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points,
};
use medsegx::taxonomy::Context;
use medsegx::weights::Weights;

use crate::common::command::{medsegx, message, weights};

const SIDE: usize = 40;

fn model(seed: u64) -> Arc<Model> {
    let cpu = CpuOptions { threads: Some(2), ..CpuOptions::default() };
    let options = ModelOptions { device: Device::Cpu, cpu };
    Arc::new(Model::load(&Weights::synthetic(&Preset::Tiny.medsegx(), seed), &options).unwrap())
}

fn session(model: &Arc<Model>, batch: usize) -> Segmenter {
    Segmenter::new(model, Capacity { batch, ..Capacity::default() }, MaskChoice::Auto).unwrap()
}

fn pixels(of: usize) -> Vec<u8> {
    (0..SIDE * SIDE).map(|i| (((i * 31 + of * 7919) * (i + of + 3)) >> 4) as u8).collect()
}

fn context(task: usize) -> Context {
    Context { modality: 1, organ: [2, 3, 4], task }
}

/// Logits of a box on one slice under a task.
fn logits(session: &mut Segmenter, slice: usize, task: usize) -> Vec<f32> {
    let pixels = pixels(slice);
    let picture = Picture { pixels: &pixels, height: SIDE, width: SIDE, channels: 1 };
    let frame = session.set_slice(&picture, Some(&context(task))).unwrap();
    let mut points = Vec::new();
    prompt_points(&frame, &[], Some([4.0, 5.0, 30.0, 33.0]), &mut points);
    session.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap().logits(0).unwrap().to_vec()
}

fn counts(found: u64, encoded: u64) -> KeptCounts {
    KeptCounts { found, encoded, unwritten: 0 }
}

#[test]
fn the_last_slices_are_kept_under_their_contexts() {
    let model = model(3);
    let (mut plain, mut keeping) = (session(&model, 1), session(&model, 1));
    keeping.keep(2, None).unwrap();
    let mut check = |slice, task, found, encoded| {
        assert!(logits(&mut keeping, slice, task) == logits(&mut plain, slice, task), "slice {slice}, task {task}");
        assert_eq!(keeping.kept(), counts(found, encoded), "slice {slice}, task {task}");
    };
    check(0, 5, 0, 1);
    check(0, 5, 1, 1);
    check(0, 6, 1, 2); // another context
    check(0, 5, 2, 2);
    check(1, 5, 2, 3); // takes the place of (0, 6), which was not used for longest
    check(0, 5, 3, 3);
    check(0, 6, 3, 4);
}

#[test]
fn a_batch_is_found_only_whole() {
    let model = model(3);
    let (mut plain, mut keeping) = (session(&model, 2), session(&model, 2));
    keeping.keep(8, None).unwrap();
    for (batch, found) in [([0, 1], 0), ([1, 0], 2), ([1, 2], 2), ([2, 1], 4)] {
        let mut embeddings = [&mut plain, &mut keeping].map(|session| {
            for (slot, slice) in batch.into_iter().enumerate() {
                let pixels = pixels(slice);
                let picture = Picture { pixels: &pixels, height: SIDE, width: SIDE, channels: 1 };
                session.place(slot, &picture, Some(&context(1))).unwrap();
            }
            session.encode().unwrap();
            let mut values = vec![0.0; 2 * session.embedding_len()];
            session.embeddings(&mut values).unwrap();
            values
        });
        assert!(embeddings[0].iter().any(|value| *value != 0.0));
        assert!(embeddings[0] == embeddings[1], "{batch:?}");
        embeddings[0].clear();
        assert_eq!(keeping.kept().found, found, "{batch:?}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let inner = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = inner(folder.into()).flat_map(inner).collect();
    files.sort();
    files
}

#[test]
fn a_folder_serves_later_runs_of_the_same_model_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: u64, weights: &str| {
        let model = model(seed);
        let expected = logits(&mut session(&model, 1), 0, 5);
        let mut keeping = session(&model, 1);
        keeping.keep(0, Some(EmbeddingFolder::open(folder.path(), weights, &model).unwrap())).unwrap();
        assert!(logits(&mut keeping, 0, 5) == expected);
        keeping.kept()
    };
    assert_eq!(run(3, "a"), counts(0, 1));
    assert_eq!(run(3, "a"), counts(1, 0));
    assert_eq!(run(4, "b"), counts(0, 1));
    assert_eq!(run(3, "a"), counts(1, 0));
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn a_file_that_is_cut_or_changed_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(3);
    let expected = logits(&mut session(&model, 1), 0, 5);
    let run = || {
        let mut keeping = session(&model, 1);
        keeping.keep(1, Some(EmbeddingFolder::open(folder.path(), "a", &model).unwrap())).unwrap();
        assert!(logits(&mut keeping, 0, 5) == expected);
        keeping.kept()
    };
    assert_eq!(run(), counts(0, 1));
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = whole.len() - 1;
    let broken = [vec![], whole[..7].to_vec(), whole[..last].to_vec(), [&whole[..], &[0]].concat()];
    for bytes in broken.into_iter().chain([0, 8, 40, 1000, last].map(flipped)) {
        fs::write(&file, bytes).unwrap();
        assert_eq!(run(), counts(0, 1));
        assert!(fs::read(&file).unwrap() == whole, "written anew");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let unwritten = run();
    assert_eq!(unwritten, KeptCounts { found: 0, encoded: 1, unwritten: 1 });
}

#[test]
fn two_writers_leave_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for slice in 0..3 {
                    let mut keeping = session(&model, 1);
                    keeping.keep(1, Some(EmbeddingFolder::open(folder.path(), "a", &model).unwrap())).unwrap();
                    logits(&mut keeping, slice, 5);
                    assert_eq!(keeping.kept().unwritten, 0);
                }
            });
        }
    });
    assert_eq!(files(folder.path()).len(), 3);
    let mut keeping = session(&model, 1);
    keeping.keep(1, Some(EmbeddingFolder::open(folder.path(), "a", &model).unwrap())).unwrap();
    (0..3).for_each(|slice| drop(logits(&mut keeping, slice, 5)));
    assert_eq!(keeping.kept(), counts(3, 0));
}

#[test]
fn a_report_says_what_the_folder_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [kept, mask, report] = ["kept", "mask.nii", "report.json"].map(path);
    let fixed = ["segment", "tests/data/phantom.nii.gz", "--task", "CT_Liver", "--box3d", "22,43,10,111,109,10"];
    let more = ["--weights", weights().to_str().unwrap(), "--device", "cpu", "-o", &mask, "--report", &report];
    let run = || {
        let found = medsegx(&[&fixed[..], &more, &["--embeddings", &kept, "--force", "--quiet"]].concat());
        assert!(found.status.success(), "{}", message(&found));
        let report: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let codes = report["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].clone());
        codes.filter(|code| code == "embeddings-unwritten").count()
    };
    assert_eq!(run(), 0);
    let file = files(Path::new(&kept)).remove(0);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(run(), 1);
}
