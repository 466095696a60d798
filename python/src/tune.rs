//! `medsegx.tune`: a few labelled slices in, tuned tensors out, as the command line does it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use medsegx::Result;
use medsegx::mask::MaskChoice;
use medsegx::segment::volume::Observer as _;
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Segmenter, Setting};
use medsegx::taxonomy::{Context, Query};
use medsegx::tune::{
    AdamW, Example, Labelled, Observer, Options, Record, Slices, Train, Trainer, TrainerOptions, Validate, tune,
};
use medsegx::volume::{Intensity, Orientation, SeriesChoice, Volume};
use medsegx::weights::{Access, Weights, sha256_of};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::errors::{argument, raised};
use crate::model::options;
use crate::run::{Cancel, Job, run};
use crate::segment::{context, query};
use crate::tools::{Given, Source};

/// What is not an image.
#[derive(FromPyObject)]
pub struct Plan {
    #[pyo3(attribute)]
    weights: PathBuf,
    #[pyo3(attribute)]
    output: PathBuf,
    #[pyo3(attribute)]
    force: bool,
    #[pyo3(attribute)]
    label: u16,
    #[pyo3(attribute)]
    train: String,
    /// Bytes of a step.
    #[pyo3(attribute)]
    memory: Option<usize>,
    #[pyo3(attribute)]
    slices: String,
    #[pyo3(attribute)]
    steps: usize,
    #[pyo3(attribute)]
    rate: f32,
    #[pyo3(attribute)]
    step_slices: usize,
    #[pyo3(attribute)]
    jitter: u32,
    #[pyo3(attribute)]
    seed: u64,
    /// Negative for no validation, 0 for the automatic one, else a share.
    #[pyo3(attribute)]
    validate: f64,
    #[pyo3(attribute)]
    intensity: Option<String>,
    /// Real world values of DICOM images: the label or unit of a map, empty for the one that there is.
    #[pyo3(attribute)]
    real_world: Option<String>,
    #[pyo3(attribute)]
    axis: usize,
    #[pyo3(attribute)]
    orient: String,
    #[pyo3(attribute)]
    device: String,
    #[pyo3(attribute)]
    threads: Option<usize>,
}

/// Tunes, and writes the tuned file where that is better; what came of it as JSON.
#[pyfunction(name = "tune")]
pub fn tune_decoder(
    py: Python<'_>,
    pairs: Vec<(Given<'_>, Given<'_>)>,
    plan: Plan,
    levels: &Bound<'_, PyDict>,
    progress: Option<&Bound<'_, PyAny>>,
    cancel: Option<&Cancel>,
) -> PyResult<String> {
    let query = query(levels)?;
    let pairs: Vec<(Source, Source)> = pairs
        .into_iter()
        .map(|(image, labels)| Ok((Source::new(py, image)?, Source::new(py, labels)?)))
        .collect::<PyResult<_>>()?;
    let model = options(&plan.device, plan.threads, "f32").map_err(|error| raised(py, &error))?;
    let memory = Source::memory(pairs.iter().flat_map(|(image, labels)| [image, labels]));
    run(py, memory, cancel, progress, move |job| plan.run(pairs, &query, &model, job))
}

struct Follower<'a>(&'a mut Job);

impl Observer for Follower<'_> {
    fn step(&mut self, done: usize, total: usize, _loss: f64) -> ControlFlow<()> {
        self.0.progress(done, total)
    }
}

/// What was seen of the images: hashes of files, of which an array has none, how they were shown to the model, and
/// slices (image, slice) that were left out because the label is lost at the model's size.
#[derive(Default)]
struct Seen {
    images: Vec<String>,
    labels: Vec<String>,
    setting: Setting,
    skipped: Vec<(usize, usize)>,
}

impl Plan {
    fn run(self, pairs: Vec<(Source, Source)>, query: &Query, model: &ModelOptions, job: &mut Job) -> Result<String> {
        if !self.force && self.output.exists() {
            return Err(argument(
                "output",
                "a file that is not there yet, or force=True",
                self.output.display().to_string(),
            ));
        }
        let mut weights = Weights::open(&self.weights, Access::Map)?;
        weights.set_stop(Some(Arc::clone(&job.stop)));
        let steered = weights.config().adapters.is_some();
        let context = context(query, steered, "the label")?;
        let adam = AdamW { rate: self.rate, ..AdamW::default() };
        let (train, memory): (Train, _) = (self.train.parse()?, self.memory);
        let device = match model.device {
            // The encoder is trained on the CPU.
            Device::Auto if train != Train::Decoder => Device::Cpu,
            device => device,
        };
        let model = Arc::new(Model::load(&weights, &ModelOptions { device, ..*model })?);
        let trainer = TrainerOptions { train, memory, threads: self.threads, adam, ..TrainerOptions::default() };
        let mut trainer = Trainer::on(&model, &weights, trainer)?;
        trainer.set_stop(&job.stop);
        let mut seen = Seen::default();
        let examples = self.examples(pairs, &model, &trainer, context.as_ref(), job, &mut seen)?;
        // Another session would take memory that a step can use.
        drop(model);
        let options = Options {
            steps: self.steps,
            batch: self.step_slices,
            jitter: self.jitter,
            seed: self.seed,
            validate: match self.validate {
                share if share < 0.0 => Validate::Never,
                0.0 => Validate::Auto,
                share => Validate::Share(share),
            },
        };
        let outcome = tune(&mut trainer, &examples, options, &mut Follower(job))?;
        job.check()?;
        if outcome.steps > 0 {
            let named = [&query.task, &query.target, &query.organ].into_iter().flatten().next();
            let record = Record {
                base: &weights.sha256()?.unwrap_or_default(),
                name: named.map_or("target", String::as_str),
                label: self.label,
                context: context.as_ref(),
                images: &seen.images,
                labels: &seen.labels,
                setting: &seen.setting,
                examples: &examples,
                options: &options,
                rate: self.rate,
                outcome: &outcome,
            };
            record.write(&trainer, &self.output, self.force)?;
        }
        let score = |score: &medsegx::tune::Score| json!({ "ellipse": score.ellipse, "choice": score.choice, "best": score.best });
        let report = json!({
            "written": outcome.steps > 0, "validation": outcome.validation.name(), "before": score(&outcome.before),
            "after": score(&outcome.after), "steps": outcome.steps, "losses": outcome.losses, "slices": examples.len(),
            "skipped": seen.skipped,
        });
        Ok(report.to_string())
    }

    /// Examples of all images.
    fn examples(
        &self,
        pairs: Vec<(Source, Source)>,
        model: &Arc<Model>,
        trainer: &Trainer,
        context: Option<&Context>,
        job: &Job,
        seen: &mut Seen,
    ) -> Result<Vec<Example>> {
        let (slices, orient): (Slices, Orientation) = (self.slices.parse()?, self.orient.parse()?);
        let rule: Option<Intensity> = self.intensity.as_deref().map(str::parse).transpose()?;
        let count = if let Slices::List(list) = &slices { list.len() } else { 64 };
        let capacity = Capacity::default().with_batch_for(model, MaskChoice::Auto, count)?;
        let mut segmenter = Segmenter::new(model, capacity, MaskChoice::Auto)?;
        segmenter.set_stop(Some(Arc::clone(&job.stop)));
        let real_world = self.real_world.clone();
        let choice = SeriesChoice { real_world, threads: self.threads, ..SeriesChoice::default() };
        let mut all = Vec::new();
        for (number, (mut image, mut labels)) in pairs.into_iter().enumerate() {
            job.check()?;
            seen.images.extend(image.path().map(sha256_of).transpose()?);
            seen.labels.extend(labels.path().map(sha256_of).transpose()?);
            let image = image.volume(job, &choice)?;
            let labels: Volume = labels.labels(job, Some(&image), &[])?;
            job.check()?;
            let frame = image.frame(self.axis, orient)?;
            let map = rule.unwrap_or_else(|| Intensity::default_for(&image)).resolve(&image)?;
            seen.setting.add(&image, &frame, map.rule);
            let labelled = Labelled {
                image: &image,
                labels: &labels,
                frame: &frame,
                map: &map,
                label: self.label,
                context,
                volume: number,
            };
            let mut skipped = Vec::new();
            all.extend(labelled.examples(&mut segmenter, trainer, &slices, &mut skipped)?);
            seen.skipped.extend(skipped.into_iter().map(|slice| (number, slice)));
        }
        Ok(all)
    }
}
