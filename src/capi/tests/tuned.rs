//! What the C functions tune is what `medsegx tune` does, to the byte of the file.

use std::ffi::CString;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use super::{model, session};
use crate::capi::codes::{medsegx_intensity, medsegx_train, medsegx_validate};
use crate::capi::model::medsegx_model;
use crate::capi::session::medsegx_session_free;
use crate::capi::status::medsegx_status;
use crate::capi::structs::medsegx_slice;
use crate::capi::tune::{
    medsegx_tune_add_slice, medsegx_tune_free, medsegx_tune_new, medsegx_tune_options, medsegx_tune_result,
    medsegx_tune_run, medsegx_tune_write,
};
use crate::capi::versioned::Versioned;
use crate::mask::MaskChoice;
use crate::model::Preset;
use crate::segment::{Capacity, Picture, Segmenter, Setting};
use crate::taxonomy::Context;
use crate::tune::{AdamW, Example, Observer, Options, Record, Train, Trainer, TrainerOptions, Validate, tune};
use crate::volume::Intensity;
use crate::weights::tuned::Tuned;
use crate::weights::{Access, Dtype, Weights, names, write};

const SIDE: usize = 48;
const SLICES: usize = 3;
const RATE: f32 = 1e-3;
/// Of which no block of the encoder is kept.
const MEMORY: usize = 1 << 10;

/// Pixels and label of a block on noise.
fn labelled(which: usize) -> (Vec<u8>, Vec<u8>) {
    let inside = |i: usize| {
        let (x, y) = (i % SIDE, i / SIDE);
        (8 + which..30 + 2 * which).contains(&x) && (6..25 + 3 * which).contains(&y)
    };
    let grey = |i: usize| ((i * 7919 + which * 31) % 90) as u8 + if inside(i) { 120 } else { 0 };
    let all = 0..SIDE * SIDE;
    (all.clone().map(grey).collect(), all.map(|i| u8::from(inside(i))).collect())
}

/// The slice that C sees, as long as `pixels` lives.
fn slice_of(pixels: &[u8]) -> medsegx_slice {
    medsegx_slice {
        pixels: pixels.as_ptr().cast(),
        height: SIDE as u32,
        width: SIDE as u32,
        intensity: medsegx_intensity::Raw as i32,
        ..medsegx_slice::initial()
    }
}

/// Tunes through C and writes a file.
fn through_c(model: &medsegx_model, weights: &Path, train: medsegx_train, out: &Path) {
    let path = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    let (weights, out, name) = (path(weights), path(out), CString::new("block").unwrap());
    let (session, context) = (session(model, SIDE), super::first_rows());
    let mut tuning = null_mut();
    // SAFETY: all pointers are valid or NULL where that is allowed.
    unsafe {
        assert_eq!(medsegx_tune_new(weights.as_ptr(), &mut tuning, null_mut()), medsegx_status::Ok);
        for index in 0..SLICES {
            let (pixels, label) = labelled(index);
            let slice = slice_of(&pixels);
            let (label, size, index) = (label.as_ptr(), label.len(), index as u32);
            let added =
                medsegx_tune_add_slice(tuning, session, &slice, &context, label, size, 0, index, null(), null_mut());
            assert_eq!(added, medsegx_status::Ok);
        }
        medsegx_session_free(session);
        let options = medsegx_tune_options {
            steps: 2,
            rate: RATE,
            threads: 1,
            validate: medsegx_validate::None as i32,
            train: train as i32,
            memory: MEMORY as u64,
            ..medsegx_tune_options::initial()
        };
        let mut result = medsegx_tune_result::initial();
        let ran = medsegx_tune_run(tuning, &options, &mut result, None, null_mut(), null(), null_mut());
        assert_eq!((ran, result.steps), (medsegx_status::Ok, 2));
        let written = medsegx_tune_write(tuning, out.as_ptr(), name.as_ptr(), 0, null_mut());
        assert_eq!(written, medsegx_status::Ok);
        medsegx_tune_free(tuning);
    }
}

struct Unheard;

impl Observer for Unheard {
    fn step(&mut self, _: usize, _: usize, _: f64) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Continue(())
    }
}

/// The same with what the command line calls.
fn in_rust(model: &medsegx_model, weights: &Path, train: Train, out: &Path) {
    let weights = Weights::open(weights, Access::Read).unwrap();
    let adam = AdamW { rate: RATE, ..AdamW::default() };
    let with = TrainerOptions { train, memory: Some(MEMORY), threads: Some(1), adam, ..TrainerOptions::default() };
    let mut trainer = Trainer::on(&model.model, &weights, with).unwrap();
    let mut segmenter = Segmenter::new(&Arc::clone(&model.model), Capacity::default(), MaskChoice::Auto).unwrap();
    let context = Context { modality: 0, organ: [0; 3], task: 0 };
    let mut examples = Vec::new();
    for slice in 0..SLICES {
        let (pixels, label) = labelled(slice);
        let picture = Picture { pixels: &pixels, height: SIDE, width: SIDE, channels: 1 };
        let frame = segmenter.set_slice(&picture, Some(&context)).unwrap();
        let sample = if train == Train::Decoder {
            let mut embedding = vec![0.0; segmenter.embedding_len()];
            segmenter.embeddings(&mut embedding).unwrap();
            trainer.sample(&embedding, &frame, &label)
        } else {
            trainer.sample_placed(&segmenter, 0, &frame, &label)
        };
        examples.push(Example { sample: sample.unwrap(), volume: 0, slice });
    }
    let options = Options { steps: 2, validate: Validate::Never, ..Options::default() };
    let outcome = tune(&mut trainer, &examples, options, &mut Unheard).unwrap();
    let mut setting = Setting::default();
    setting.add_rule(Intensity::Raw);
    let record = Record {
        base: &weights.sha256().unwrap().unwrap(),
        name: "block",
        label: 1,
        context: Some(&context),
        images: &[],
        labels: &[],
        setting: &setting,
        examples: &examples,
        options: &options,
        rate: RATE,
        outcome: &outcome,
    };
    record.write(&trainer, out, false).unwrap();
}

#[test]
fn a_tuned_file_has_the_bytes_of_the_command_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, config) = (folder.path().join("weights.safetensors"), Preset::Tiny.medsegx());
    let synthetic = Weights::synthetic(&config, 0);
    write(&weights, false, &names(&config), synthetic.metadata(), Dtype::F32, |name| synthetic.load(name)).unwrap();
    let model = model();
    let mut sizes = Vec::new();
    for (asked, train) in [
        (medsegx_train::Decoder, Train::Decoder),
        (medsegx_train::Adapters, Train::Adapters),
        (medsegx_train::All, Train::All),
    ] {
        let file = |by: &str| folder.path().join(format!("{}-{by}", train.name()));
        let (one, other) = (file("c"), file("rust"));
        through_c(&model, &weights, asked, &one);
        in_rust(&model, &weights, train, &other);
        let [one, other] = [one, other].map(|path| std::fs::read(path).unwrap());
        assert!(one == other, "{}: other bytes than the command line's", train.name());
        sizes.push(one.len());
    }
    assert!(sizes[0] < sizes[2] && sizes[1] < sizes[2], "{sizes:?}");
    // What a tuned encoder makes of slices is not what the weights' makes of them; a tuned decoder changes none of it.
    for (train, expected) in [(Train::Adapters, medsegx_status::InvalidArgument), (Train::Decoder, medsegx_status::Ok)]
    {
        let mut base = Weights::open(&weights, Access::Read).unwrap();
        base.tune(Tuned::open(&folder.path().join(format!("{}-c", train.name()))).unwrap()).unwrap();
        assert_eq!(adds_a_slice(&model.tuned(model.model.with_tuned(&base).unwrap()), &weights), expected, "{train:?}");
    }
}

/// Whether a slice of a session of `model` is taken for tuning `weights`.
fn adds_a_slice(model: &medsegx_model, weights: &Path) -> medsegx_status {
    let weights = CString::new(weights.to_str().unwrap()).unwrap();
    let (session, context, mut tuning) = (session(model, SIDE), super::first_rows(), null_mut());
    let (pixels, label) = labelled(0);
    let slice = slice_of(&pixels);
    // SAFETY: all pointers are valid or NULL where that is allowed.
    unsafe {
        assert_eq!(medsegx_tune_new(weights.as_ptr(), &mut tuning, null_mut()), medsegx_status::Ok);
        let (label, size) = (label.as_ptr(), label.len());
        let added = medsegx_tune_add_slice(tuning, session, &slice, &context, label, size, 0, 0, null(), null_mut());
        medsegx_session_free(session);
        medsegx_tune_free(tuning);
        added
    }
}
