//! `medsegx tune`: a few labelled slices in, tuned tensors out.

mod args;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
pub use args::Args;
use medsegx::codes::{Code, Warning};
use medsegx::mask::MaskChoice;
use medsegx::model::Masks;
use medsegx::segment::{Capacity, Device, EmbeddingFolder, Model, ModelOptions, Segmenter};
use medsegx::taxonomy::Context;
use medsegx::tune::{
    AdamW, Example, Labelled, Observer, Options, Outcome, Record, Slices, Train, Trainer, TrainerOptions, Validation,
    tune,
};
use medsegx::volume::{Intensity, OpenOptions, Opening, SeriesChoice, Volume};
use medsegx::weights::Weights;
use medsegx::weights::tuned::Tuned;

use super::interrupt::Interrupt;
use super::progress::Progress;
use super::segment::context_of;
use super::weights_source::WeightsSource;

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.check()?;
    let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = args.model.open(&source)?;
    let steered = weights.config().adapters.is_some();
    let mut query = args.context.query();
    if args.label.task.is_some() {
        query.task.clone_from(&args.label.task);
    }
    let name = query.task.clone().unwrap_or_else(|| args.context.name());
    let context = context_of(&name, &query, steered)?;
    let model = Arc::new(Model::load(&weights, &model_options(&args))?);
    let mut trainer = trainer(&args, &model, &weights)?;
    let hash = source.sha256()?;
    let (examples, hashes) = examples(&args, &model, &hash, &trainer, context.as_ref())?;
    // Another session would take memory that a step can use.
    drop(model);

    let mut watcher = Watcher { progress: Progress::new(1, "steps", args.quiet), interrupt: Interrupt::listen()? };
    let options = Options {
        steps: args.tuning.steps as usize,
        batch: usize::from(args.tuning.step_slices),
        jitter: args.tuning.jitter,
        seed: args.tuning.seed,
        validate: args.tuning.validate,
    };
    let outcome = tune(&mut trainer, &examples, options, &mut watcher)?;
    watcher.progress.finish();
    if !args.quiet {
        super::console::print(&summary(&args, &name, trainer.masks(), &examples, &outcome)?)?;
    }
    if outcome.steps == 0 {
        let why = if outcome.stopped { "stopped before anything was better" } else { "validation did not improve" };
        bail!("{why}: the weights are kept as they are, and {} is not written", args.output.display());
    }
    let record = Record {
        base: &hash,
        name: &name,
        label: args.label.value,
        context: context.as_ref(),
        images: &hashes.images,
        labels: &hashes.labels,
        examples: &examples,
        options: &options,
        rate: args.tuning.rate,
        outcome: &outcome,
    };
    record.write(&trainer, &args.output, args.force)?;
    if args.quiet { Ok(()) } else { super::console::print(&format!("wrote {}\n", args.output.display())) }
}

/// The encoder is trained on the CPU.
fn model_options(args: &Args) -> ModelOptions {
    let options = args.model.options();
    match options.device {
        Device::Auto if args.tuning.train != Train::Decoder => ModelOptions { device: Device::Cpu, ..options },
        _ => options,
    }
}

fn trainer(args: &Args, model: &Model, weights: &Weights) -> medsegx::Result<Trainer> {
    let adam = AdamW { rate: args.tuning.rate, ..AdamW::default() };
    let (train, memory) = (args.tuning.train, args.tuning.memory);
    let threads = args.model.threads.map(usize::from);
    Trainer::on(model, weights, TrainerOptions { train, memory, threads, adam, ..TrainerOptions::default() })
}

/// Examples of all images, and the hashes of images and labels.
fn examples(
    args: &Args,
    model: &Arc<Model>,
    hash: &str,
    trainer: &Trainer,
    context: Option<&Context>,
) -> anyhow::Result<(Vec<Example>, Hashes)> {
    let slices = if let Slices::List(list) = &args.tuning.slices { list.len() } else { 64 };
    let capacity = args.model.capacity(model, Capacity::default(), MaskChoice::Auto, slices)?;
    let mut segmenter = Segmenter::new(model, capacity, MaskChoice::Auto)?;
    if let Some(folder) = &args.embeddings {
        segmenter.keep(0, Some(EmbeddingFolder::open(folder, hash, model)?))?;
    }
    let (mut all, mut hashes) = (Vec::new(), Hashes::default());
    for (number, (image_path, labels_path)) in args.images.iter().zip(&args.labels).enumerate() {
        let choice = SeriesChoice { real_world: args.real_world.clone(), ..SeriesChoice::default() };
        let image = Opening::open_chosen(image_path, &OpenOptions::default(), &choice)?.finish()?;
        let labels = Volume::open_labels(labels_path, &OpenOptions::LABELS, Some(&image), &[args.label.value.into()])?;
        hashes.images.push(super::digest::sha256(image_path)?);
        hashes.labels.push(super::digest::sha256(labels_path)?);
        let frame = image.frame(args.axis.index(), args.orient)?;
        let map = args.intensity.unwrap_or_else(|| Intensity::default_for(&image)).resolve(&image)?;
        let labelled = Labelled {
            image: &image,
            labels: &labels,
            frame: &frame,
            map: &map,
            label: args.label.value,
            context,
            volume: number,
        };
        let mut skipped = Vec::new();
        all.extend(labelled.examples(&mut segmenter, trainer, &args.tuning.slices, &mut skipped)?);
        if !skipped.is_empty() && !args.quiet {
            let (path, label) = (labels_path.display(), args.label.value);
            let message = format!("{path}: label {label} is lost at the model's size on slices {skipped:?}: left out");
            super::console::warn(&Warning::new(Code::LabelsLost, message));
        }
    }
    Ok((all, hashes))
}

/// Of the files that were tuned on.
#[derive(Default)]
struct Hashes {
    images: Vec<String>,
    labels: Vec<String>,
}

struct Watcher {
    progress: Progress,
    interrupt: Interrupt,
}

impl Observer for Watcher {
    fn step(&mut self, done: usize, total: usize, loss: f64) -> ControlFlow<()> {
        self.progress.set_of(done, total, &format!("loss {loss:.4}"));
        if self.interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn summary(args: &Args, name: &str, masks: Masks, examples: &[Example], outcome: &Outcome) -> anyhow::Result<String> {
    let mut text = String::new();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (slices, images) = (plural(examples.len(), "slice"), plural(args.images.len(), "image"));
    writeln!(text, "label {} ({}): {slices} of {images}", args.label.value, name.escape_debug())?;
    let of = match outcome.validation {
        Validation::None => "on the slices that were tuned on: not validated".into(),
        Validation::Slices(count) => format!("on {} held out, of the same images", plural(count, "slice")),
        Validation::Volumes(count) => format!("on the slices of {} held out", plural(count, "image")),
        Validation::LeaveOneOut => "leave-one-out: each slice by a decoder tuned on the others".into(),
    };
    writeln!(text, "Dice {of}")?;
    let (before, after) = (outcome.before, outcome.after);
    writeln!(text, "                          before  after")?;
    writeln!(text, "  inscribed ellipse       {:.3}", before.ellipse)?;
    writeln!(text, "  mask the engine chooses {:.3}   {:.3}", before.choice, after.choice)?;
    if masks == Masks::Three {
        writeln!(text, "  best of three masks     {:.3}   {:.3}", before.best, after.best)?;
    }
    let [first, last] = outcome.losses;
    let stopped = if outcome.stopped { "; stopped early" } else { "" };
    writeln!(text, "loss {first:.4} to {last:.4}; kept: step {}{stopped}", outcome.steps)?;
    Ok(text)
}

/// Warns where `tuned` was tuned on other images than `image` and not validated on other images than those it was tuned
/// on.
pub fn warn_elsewhere(tuned: &Path, image: &Path) -> medsegx::Result<()> {
    let found = Tuned::open(tuned)?;
    if found.is_validated_by_volume() {
        return Ok(());
    }
    let own = super::digest::sha256(image)?;
    if found.images().any(|hash| hash == own) {
        return Ok(());
    }
    let message = format!(
        "{}: tuned on other images than {}, and not validated on images of its own: masks may be worse here than without it",
        tuned.display(),
        image.display()
    );
    super::console::warn(&Warning::new(Code::TunedElsewhere, message));
    Ok(())
}
