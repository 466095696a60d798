//! `medsegx tune`: a few labelled slices in, tuned tensors out.

mod args;
mod given;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::bail;
pub use args::Args;
use given::Given;
use medsegx::mask::MaskChoice;
use medsegx::model::Masks;
use medsegx::segment::{Capacity, EmbeddingFolder, Model, Segmenter};
use medsegx::tune::{
    AdamW, Example, Observer, Options, Outcome, Record, Slices, Train, Trainer, TrainerOptions, Validation, tune,
};
use medsegx::weights::Weights;

use super::console::{plural, shown};
use super::interrupt::Interrupt;
use super::model_args::say_least_memory;
use super::progress::Progress;
use super::weights_source::WeightsSource;

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.check()?;
    let given = Given::open(&args)?;
    let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = args.model.open(&source)?;
    let context = given.context(&args, weights.config().adapters.is_some())?;
    let model = Arc::new(Model::load(&weights, &args.model.options_to_train(args.tuning.train != Train::Decoder))?);
    let mut trainer = trainer(&args, &model, &weights)?;
    say_least_memory(args.tuning.memory, &trainer, args.tuning.step_slices.into());
    let hash = source.sha256()?;
    let (examples, seen) = {
        let mut segmenter = segmenter(&args, &model, &args.model.encoder_hash(&source)?)?;
        given.examples(&args, &mut segmenter, &trainer, context.as_ref())?
    };
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
        super::console::print(&summary(&given, trainer.masks(), &examples, &outcome)?)?;
    }
    if outcome.steps == 0 {
        let why = if outcome.stopped { "stopped before anything was better" } else { "validation did not improve" };
        let message = format!("{why}: the weights are kept as they are, and {} is not written", args.output.display());
        if outcome.stopped {
            super::console::say(&format!("medsegx: {message}"));
            return Err(medsegx::Error::Cancelled.into());
        }
        bail!("{message}");
    }
    let record = Record {
        base: &hash,
        name: &given.name,
        label: given.label,
        context: context.as_ref(),
        images: &seen.images,
        labels: &seen.labels,
        setting: &seen.setting,
        examples: &examples,
        options: &options,
        rate: args.tuning.rate,
        outcome: &outcome,
    };
    record.write(&trainer, &args.output, args.force)?;
    if args.quiet { Ok(()) } else { super::console::print(&format!("wrote {}\n", args.output.display())) }
}

fn trainer(args: &Args, model: &Model, weights: &Weights) -> medsegx::Result<Trainer> {
    let adam = AdamW { rate: args.tuning.rate, ..AdamW::default() };
    let (train, memory) = (args.tuning.train, args.tuning.memory);
    let threads = args.model.threads.map(usize::from);
    Trainer::on(model, weights, TrainerOptions { train, memory, threads, adam, ..TrainerOptions::default() })
}

/// A session that encodes what is tuned on.
fn segmenter(args: &Args, model: &Arc<Model>, hash: &str) -> anyhow::Result<Segmenter> {
    let slices = if let Slices::List(list) = &args.tuning.slices { list.len() } else { 64 };
    let capacity = args.model.capacity(model, Capacity::default(), MaskChoice::Auto, slices)?;
    let mut segmenter = Segmenter::new(model, capacity, MaskChoice::Auto)?;
    if let Some(folder) = &args.embeddings {
        segmenter.keep(0, Some(EmbeddingFolder::open(folder, hash, model)?))?;
    }
    Ok(segmenter)
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

fn summary(given: &Given, masks: Masks, examples: &[Example], outcome: &Outcome) -> anyhow::Result<String> {
    let mut text = String::new();
    let (count, what) = given.volumes(examples);
    let (slices, volumes) = (plural(examples.len(), "slice"), plural(count, what));
    writeln!(text, "label {} ({}): {slices} of {volumes}", given.label, shown(&given.name))?;
    given.remark(&mut text)?;
    let of = match outcome.validation {
        Validation::None => "on the slices that were tuned on: not validated".into(),
        Validation::Slices(held) => {
            let same = if what == "folder" { "folder".into() } else { format!("{what}s") };
            format!("on {} held out, of the same {same}", plural(held, "slice"))
        }
        Validation::Volumes(held) => format!("on the slices of {} held out", plural(held, what)),
        Validation::LeaveOneOut => {
            let each = if count > 1 { format!("the slices of each {what}") } else { "each slice".into() };
            format!("leave-one-out: {each} by a model tuned on the others")
        }
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
