//! `medsegx_tuning`: labelled slices in, tuned tensors over the model's own parameters out.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, TryLockError};

use super::boundary::{Outcome, array, cleared, guard, required, text};
use super::codes::{medsegx_held_out, medsegx_instructions, medsegx_train, medsegx_validate};
use super::context::to_engine;
use super::model::{level, medsegx_model};
use super::panics::free;
use super::session::{cancelled, medsegx_cancel, medsegx_session, shared_flag, stoppable, with};
use super::slice::{grey_levels, intensity, size, stop_if};
use super::status::{medsegx_error, medsegx_status};
use super::structs::{medsegx_context, medsegx_progress_callback, medsegx_slice};
use super::versioned::{self, Versioned, initialise, versioned};
use crate::memory::{push, reserve};
use crate::segment::{Frame, Model, Picture, Segmenter, Setting};
use crate::taxonomy::Context;
use crate::tune::{
    self, AdamW, Example, Observer, Options, Placed, Record, Train, Trainer, TrainerOptions, Validate, Validation,
};
use crate::weights::{Access, Weights};

/// How a model is tuned.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_tune_options {
    /// sizeof this struct, set by medsegx_tune_options_init.
    pub struct_size: u32,
    /// Steps; default 50. Where slices are held out the best of ten moments among them is kept.
    pub steps: u32,
    /// Slices of a step; default 4.
    pub batch: u32,
    /// Most pixels of the model's picture that each side of a box goes outward, at random; default 0.
    pub jitter: u32,
    /// Of the order of slices and of the jitter. The same seed gives the same bytes for any number of threads.
    pub seed: u64,
    /// Learning rate; default 0: the engine's own.
    pub rate: f32,
    /// Threads; default 0: as many as the processor runs at once.
    pub threads: u32,
    /// A medsegx_validate; default MEDSEGX_VALIDATE_AUTO.
    pub validate: i32,
    /// A medsegx_instructions; default MEDSEGX_INSTRUCTIONS_WIDEST.
    pub instructions: i32,
    /// Share of the slices, or volumes, that is held out, above 0 and below 1; default 0.2.
    pub share: f64,
    /// A medsegx_train; default MEDSEGX_TRAIN_DECODER. The others take MedSegX alone and sessions on the CPU in f32, whose
    /// model's threads and instructions they have.
    pub train: i32,
    /// 0
    pub reserved: u32,
    /// Most bytes of a step above the loaded model, with MEDSEGX_TRAIN_ADAPTERS and _ALL: blocks of the encoder that are not
    /// kept in it are computed anew, to the same bits. Default 0: half of what the machine has free.
    pub memory: u64,
}

versioned!(medsegx_tune_options, 48, {
    steps: 50,
    batch: 4,
    jitter: 0,
    seed: 2025,
    rate: 0.0,
    threads: 0,
    validate: medsegx_validate::Auto as i32,
    instructions: medsegx_instructions::Widest as i32,
    share: 0.2,
    train: medsegx_train::Decoder as i32,
    reserved: 0,
    memory: 0,
});

/// What a tuning did. Dice are means over what was held out, or over all slices where nothing was.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_tune_result {
    /// sizeof this struct, set by medsegx_tune_result_init.
    pub struct_size: u32,
    /// A medsegx_held_out.
    pub held_out: i32,
    /// Slices or volumes that were held out at once.
    pub held_count: u32,
    /// Steps behind what was kept; 0 where tuning did not help and the model is as it was.
    pub steps: u32,
    /// 1 where `progress` ended it.
    pub stopped: i32,
    /// 0
    pub reserved: u32,
    /// Dice of the mask that the engine chooses before tuning.
    pub dice_before: f64,
    /// The same after tuning, whether it was kept or not.
    pub dice_after: f64,
    /// Dice of the ellipse that the box encloses.
    pub dice_ellipse: f64,
    /// Loss of the first step.
    pub first_loss: f64,
    /// Loss of the last step.
    pub last_loss: f64,
}

versioned!(medsegx_tune_result, 64, {
    held_out: medsegx_held_out::Nothing as i32,
    held_count: 0,
    steps: 0,
    stopped: 0,
    reserved: 0,
    dice_before: 0.0,
    dice_after: 0.0,
    dice_ellipse: 0.0,
    first_loss: 0.0,
    last_loss: 0.0,
});

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_options_init(out: *mut medsegx_tune_options, struct_size: u32) {
    // SAFETY: `out` is NULL or has room for `struct_size` bytes, as the header asks.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_result_init(out: *mut medsegx_tune_result, struct_size: u32) {
    // SAFETY: `out` is NULL or has room for `struct_size` bytes, as the header asks.
    unsafe { initialise(out, struct_size) };
}

/// Labelled slices, and what tuning on them made of a model. One call at a time; another one meanwhile is
/// refused.
pub struct medsegx_tuning {
    state: Mutex<State>,
}

struct State {
    weights: Weights,
    /// Makes samples of slices; each run trains another one.
    sampler: Trainer,
    examples: Vec<Example>,
    /// Of each example, what the encoder takes, where it is on the CPU.
    placed: Vec<Option<Placed>>,
    /// That of the last session: whose encoder is trained, where one is.
    model: Option<Arc<Model>>,
    /// Of the last slice.
    context: Option<Context>,
    /// How slices were shown.
    setting: Setting,
    /// What the last run made.
    run: Option<Run>,
}

struct Run {
    trainer: Trainer,
    options: Options,
    rate: f32,
    outcome: tune::Outcome,
}

/// Makes an empty tuning of the model whose weights file is at `path`: MedSegX or LiteMedSAM.
///
/// The file is read while slices are added and again when a tuned model or file is made, so it has to stay as it is. `path`
/// is UTF-8 and required. `out` is required; it is set to NULL at once, and on success to a tuning that
/// medsegx_tune_free frees. Any thread. Fails with MEDSEGX_STATUS_IO, _BAD_FILE, _BAD_WEIGHTS, _OUT_OF_MEMORY and
/// _INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_new(
    path: *const c_char,
    out: *mut *mut medsegx_tuning,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let weights = Weights::open(Path::new(text("path", path)?), Access::Read)?;
            let sampler = Trainer::new(&weights, TrainerOptions { threads: Some(1), ..TrainerOptions::default() })?;
            let state = State {
                weights,
                sampler,
                examples: Vec::new(),
                placed: Vec::new(),
                model: None,
                context: None,
                setting: Setting::default(),
                run: None,
            };
            *out = Box::into_raw(Box::new(medsegx_tuning { state: Mutex::new(state) }));
            Ok(())
        })
    }
}

/// Frees a tuning that no call uses; models made from it stay valid. NULL is allowed. Any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_free(tuning: *mut medsegx_tuning) {
    // SAFETY: `tuning` is NULL or came from this library and is freed once, as the header asks.
    unsafe { free(tuning) };
}

/// Adds a labelled slice: `session`, of a model of the same weights, encodes it, and its embedding is kept; of a session on
/// the CPU also the picture that the encoder sees. The tuning keeps the session's model alive.
///
/// `tuning`, `session`, `slice` and `label` are required; `context` may be NULL where the model needs none, `cancel`
/// always. `label` has a byte a pixel, rows without gaps, 0 outside of the structure; `label_size` is their number.
/// `volume` is a number of your own for the volume that the slice is of, by which volumes are held out as a whole; `index`
/// is the slice's place in it. Nothing else is kept of the slice. A session has no slice afterwards. Fails as
/// medsegx_segment_slice does, and with MEDSEGX_STATUS_BAD_PROMPT for a label that is empty, covers the slice or is lost at
/// the model's size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_add_slice(
    tuning: *mut medsegx_tuning,
    session: *mut medsegx_session,
    slice: *const medsegx_slice,
    context: *const medsegx_context,
    label: *const u8,
    label_size: usize,
    volume: u32,
    index: u32,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let slice: medsegx_slice = versioned::required("slice", slice)?;
            let context = if context.is_null() { None } else { Some(to_engine(&versioned::read(context)?)) };
            with_state(tuning, |tuning| {
                with(session, |state| {
                    if state.segmenter.model().config() != tuning.weights.config() {
                        let found = "a model of other sizes";
                        return Err(medsegx_error::argument("session", "one of the weights that are tuned", found));
                    }
                    if state.segmenter.model().has_tuned_encoder() {
                        let found = "a model whose encoder is tuned, and would be lost";
                        return Err(medsegx_error::argument("session", "one of the weights that are tuned", found));
                    }
                    state.slice = None;
                    let (height, width) = size(&slice, state)?;
                    if label_size != height * width {
                        let expected = format!("{}, the pixels of the slice", height * width);
                        return Err(medsegx_error::argument("label_size", &expected, &label_size.to_string()));
                    }
                    let label = array("label", label, label_size)?;
                    grey_levels(&slice, state)?;
                    stop_if(&|| cancelled(cancel))?;
                    let (sample, placed) = stoppable(state, cancel, |state| {
                        let picture = Picture { pixels: &state.grey, height, width, channels: slice.channels as usize };
                        let (frame, embedding) = embedded(&mut state.segmenter, &picture, context.as_ref())?;
                        let sample = tuning.sampler.sample(&embedding, &frame, label)?;
                        Ok((sample, Placed::of(&state.segmenter, 0)?))
                    })?;
                    tuning.add(Example { sample, volume: volume as usize, slice: index as usize }, placed)?;
                    tuning.model = Some(Arc::clone(state.segmenter.model()));
                    tuning.context = context;
                    tuning.setting.add_rule(intensity(slice.intensity, slice.low, slice.high)?);
                    Ok(())
                })
            })
        })
    }
}

/// Encodes a slice.
fn embedded(segmenter: &mut Segmenter, picture: &Picture, context: Option<&Context>) -> Outcome<(Frame, Vec<f32>)> {
    let length = segmenter.embedding_len();
    let mut embedding: Vec<f32> = reserve(length, "an embedding")?;
    embedding.resize(length, 0.0);
    let frame = segmenter.set_slice(picture, context)?;
    segmenter.embeddings(&mut embedding)?;
    Ok((frame, embedding))
}

impl State {
    fn add(&mut self, example: Example, placed: Option<Placed>) -> Outcome {
        self.placed.truncate(self.examples.len());
        push(&mut self.placed, placed, "labelled slices")?;
        push(&mut self.examples, example, "labelled slices")?;
        Ok(())
    }

    fn tune(&self, options: Options, with: TrainerOptions, heard: &mut Heard, stop: &Arc<AtomicBool>) -> Outcome<Run> {
        let run = |mut trainer: Trainer, examples: &[Example], heard: &mut Heard| {
            let outcome = tune::tune(&mut trainer, examples, options, heard)?;
            // Whoever uses it later brings a flag of its own.
            trainer.set_stop(&Arc::new(AtomicBool::new(false)));
            Ok(Run { trainer, options, rate: with.adam.rate, outcome })
        };
        let (Some(model), true) = (&self.model, with.train != Train::Decoder) else {
            let mut trainer = Trainer::new(&self.weights, with)?;
            trainer.set_stop(stop);
            return run(trainer, &self.examples, heard);
        };
        let mut trainer = Trainer::on(model, &self.weights, with)?;
        trainer.set_stop(stop);
        let mut examples = reserve(self.examples.len(), "labelled slices")?;
        for (Example { sample, volume, slice }, placed) in self.examples.iter().zip(&self.placed) {
            let device = || medsegx_error::argument("train", "slices of sessions on the CPU", "another device");
            let sample = trainer.sample_kept(sample, placed.as_ref().ok_or_else(device)?)?;
            examples.push(Example { sample, volume: *volume, slice: *slice });
        }
        run(trainer, &examples, heard)
    }
}

/// Tunes on the slices that were added, from the weights file anew.
///
/// `tuning` and `result` are required; `options` may be NULL: defaults; so may `progress`, `user` and `cancel`. `progress`
/// hears how many steps are done, of how many; an answer other than 0 ends the tuning with the best that is known by then.
/// `cancel` gives the call up within a step: MEDSEGX_STATUS_CANCELLED, and the tuning is as it was before. `result` is
/// written on success only. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT without slices, for options out of range or a loss
/// that is not finite, with _IO and _BAD_FILE where the weights file has changed, and with _OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_run(
    tuning: *mut medsegx_tuning,
    options: *const medsegx_tune_options,
    result: *mut medsegx_tune_result,
    progress: medsegx_progress_callback,
    user: *mut c_void,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let asked: medsegx_tune_options = versioned::read(options)?;
            let answer: medsegx_tune_result = versioned::required("result", result)?;
            let (options, train, mut adam) = (engine_options(&asked)?, train(asked.train)?, AdamW::default());
            if asked.rate != 0.0 {
                adam.rate = asked.rate;
            }
            with_state(tuning, |tuning| {
                let threads = (asked.threads > 0).then_some(asked.threads as usize);
                let level = level(asked.instructions)?;
                let memory = (asked.memory > 0).then(|| usize::try_from(asked.memory).unwrap_or(usize::MAX));
                let with = TrainerOptions { train, memory, threads, level, adam, ..TrainerOptions::default() };
                let run = tuning.tune(options, with, &mut Heard { progress, user }, &shared_flag(cancel))?;
                let outcome = run.outcome;
                stop_if(&|| cancelled(cancel))?;
                tuning.run = Some(run);
                versioned::write(result, &told(&outcome, answer))
            })
        })
    }
}

/// Makes a model of what the last run kept. It shares with `base`, a model of the same weights, the device and every
/// parameter that was not tuned.
///
/// All pointers but `error` are required; `out` is set to NULL at once, and on success to a model that medsegx_model_free
/// frees. Any number of threads may use `base` meanwhile. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT where no run kept
/// anything, and as medsegx_model_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_model(
    tuning: *mut medsegx_tuning,
    base: *const medsegx_model,
    out: *mut *mut medsegx_model,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let out = cleared(out)?;
            let base = required("base", base)?;
            with_state(tuning, |tuning| {
                let run = kept(&tuning.run)?;
                run.trainer.put_on(&mut tuning.weights)?;
                let model = base.model.with_tuned(&tuning.weights);
                tuning.weights.take_off();
                let tuned = base.tuned(model?.tuned_here(tuning.setting.clone()));
                *out = Box::into_raw(Box::new(tuned));
                Ok(())
            })
        })
    }
}

/// Writes what the last run kept as a file for the `tuned` of medsegx_model_options and for `medsegx segment --tuned`.
///
/// `tuning`, `path` and `name`, what was tuned for, are required; both are UTF-8. An existing file is replaced where `force`
/// is 1, else refused. The file is whole or not there. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT where no run kept
/// anything, with _BAD_FILE for an existing file, and with _IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_tune_write(
    tuning: *mut medsegx_tuning,
    path: *const c_char,
    name: *const c_char,
    force: i32,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let (path, name) = (Path::new(text("path", path)?), text("name", name)?);
            with_state(tuning, |tuning| {
                let run = kept(&tuning.run)?;
                let record = Record {
                    base: &tuning.weights.sha256()?.unwrap_or_default(),
                    name,
                    label: 1,
                    context: tuning.context.as_ref(),
                    images: &[],
                    labels: &[],
                    setting: &tuning.setting,
                    examples: &tuning.examples,
                    options: &run.options,
                    rate: run.rate,
                    outcome: &run.outcome,
                };
                Ok(record.write(&run.trainer, path, force != 0)?)
            })
        })
    }
}

/// # Safety
/// `tuning` is NULL or valid.
unsafe fn with_state(tuning: *const medsegx_tuning, body: impl FnOnce(&mut State) -> Outcome) -> Outcome {
    // SAFETY: the caller's promise.
    let tuning = unsafe { required("tuning", tuning) }?;
    let mut state = tuning.state.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            medsegx_error::argument("tuning", "one call at a time", "a call that has not returned")
        }
        TryLockError::Poisoned(_) => {
            let words = "this tuning failed internally before; free it and make another";
            medsegx_error::new(medsegx_status::Poisoned, words)
        }
    })?;
    body(&mut state)
}

fn kept(run: &Option<Run>) -> Outcome<&Run> {
    let none = || medsegx_error::argument("tuning", "a run that helped, by medsegx_tune_run", "none");
    run.as_ref().filter(|run| run.outcome.steps > 0).ok_or_else(none)
}

fn engine_options(asked: &medsegx_tune_options) -> Outcome<Options> {
    if !(asked.rate.is_finite() && asked.rate >= 0.0) {
        return Err(medsegx_error::argument("rate", "0 or a positive number", &asked.rate.to_string()));
    }
    let validate = match medsegx_validate::of(asked.validate) {
        Some(medsegx_validate::Auto) => Validate::Share(asked.share),
        Some(medsegx_validate::None) => Validate::Never,
        None => return Err(medsegx_error::argument("validate", "0 or 1", &asked.validate.to_string())),
    };
    Ok(Options {
        steps: asked.steps as usize,
        batch: asked.batch as usize,
        jitter: asked.jitter,
        seed: asked.seed,
        validate,
    })
}

fn train(asked: i32) -> Outcome<Train> {
    match medsegx_train::of(asked) {
        Some(medsegx_train::Decoder) => Ok(Train::Decoder),
        Some(medsegx_train::Adapters) => Ok(Train::Adapters),
        Some(medsegx_train::All) => Ok(Train::All),
        None => Err(medsegx_error::argument("train", "0, 1 or 2", &asked.to_string())),
    }
}

fn told(outcome: &tune::Outcome, answer: medsegx_tune_result) -> medsegx_tune_result {
    let (held_out, count) = match outcome.validation {
        Validation::None => (medsegx_held_out::Nothing, 0),
        Validation::Slices(count) => (medsegx_held_out::Slices, count),
        Validation::Volumes(count) => (medsegx_held_out::Volumes, count),
        Validation::LeaveOneOut => (medsegx_held_out::LeaveOneOut, 1),
    };
    medsegx_tune_result {
        held_out: held_out as i32,
        held_count: count as u32,
        steps: outcome.steps as u32,
        stopped: i32::from(outcome.stopped),
        dice_before: outcome.before.choice,
        dice_after: outcome.after.choice,
        dice_ellipse: outcome.before.ellipse,
        first_loss: outcome.losses[0],
        last_loss: outcome.losses[1],
        ..answer
    }
}

struct Heard {
    progress: medsegx_progress_callback,
    user: *mut c_void,
}

impl Observer for Heard {
    fn step(&mut self, done: usize, total: usize, _: f64) -> ControlFlow<()> {
        let told = self.progress.map_or(0, |progress| {
            // SAFETY: the host gave this function and its user data for this call.
            unsafe { progress(self.user, done as u64, total as u64) }
        });
        if told == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
