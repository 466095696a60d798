//! `--tune-with`: tunes the model on slices that are drawn, before the run that segments the others.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use medsegx::codes::{Code, Warning};
use medsegx::segment::{Capacity, EmbeddingFolder, Segmenter};
use medsegx::tune::{Example, Labelled, Observer, Options, Outcome, Slices, Trainer, TrainerOptions, tune};
use medsegx::volume::Image;
use serde_json::{Value, json};

use super::args::Args;
use super::drawn::Drawn;
use super::job::Job;
use super::propagation;
use crate::cli::interrupt::Interrupt;
use crate::cli::model_args::say_least_memory;
use crate::cli::progress::Progress;

/// A session with the tuned model, and what the report says of it.
pub struct Tuned {
    pub segmenter: Segmenter,
    pub report: Value,
}

/// Tunes on the drawn slices of `job`, if it has any; what is not trained is that of `base`, as it is for the run.
pub fn run(
    args: &Args,
    job: &mut Job,
    image: &mut Image,
    base: &mut Segmenter,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Tuned>> {
    let (Some(drawn), Some(target)) = (&job.drawn, job.targets.first()) else { return Ok(None) };
    let mut weights = args.model.open(&job.source)?;
    let threads = args.model.threads.map(usize::from);
    let (train, memory) = (args.drawn.train, args.drawn.memory);
    let with = TrainerOptions { train, memory, threads, ..TrainerOptions::default() };
    let mut trainer = Trainer::on(base.model(), &weights, with)?;
    trainer.set_stop(&interrupt.flag());
    let options = Options::default();
    say_least_memory(memory, &trainer, options.batch);
    let (_, map) = image.parts();
    let missing = || medsegx::Error::Internal { place: "--tune-with".into(), what: "the image is not kept".into() };
    let labelled = Labelled {
        image: image.volume().ok_or_else(missing)?,
        labels: &drawn.labels,
        frame: &job.frame,
        map: &map,
        label: drawn.label,
        context: target.context.as_ref(),
        volume: 0,
    };
    let mut lost = Vec::new();
    let examples = labelled.examples(base, &trainer, &Slices::All, &mut lost)?;
    let mut watcher = Watcher { progress: Progress::new(1, "steps", args.quiet), interrupt };
    let outcome = tune(&mut trainer, &examples, options, &mut watcher)?;
    watcher.progress.finish();
    interrupt.check()?;
    if !args.quiet {
        summary(drawn, &examples, &outcome);
    }
    let report = report(drawn, &examples, &options, &trainer, &outcome)?;
    trainer.put_on(&mut weights)?;
    let model = Arc::new(base.model().with_tuned(&weights)?);
    let capacity = Capacity { batch: base.batch(), points: job.points(), ..Capacity::default() };
    let mut segmenter = Segmenter::new(&model, capacity, args.mask)?;
    keep(args, job, &mut segmenter)?;
    warn_of_lost(args, job, &lost);
    Ok(Some(Tuned { segmenter, report }))
}

/// Lets a session keep the embeddings that `args` want kept.
pub fn keep(args: &Args, job: &Job, segmenter: &mut Segmenter) -> anyhow::Result<()> {
    let open = |folder: &PathBuf| -> anyhow::Result<_> {
        Ok(EmbeddingFolder::open(folder, &args.model.encoder_hash(&job.source)?, segmenter.model())?)
    };
    let folder = args.embeddings.as_ref().map(open).transpose()?;
    let kept = propagation::embeddings_to_keep(args, job, segmenter);
    if folder.is_some() || kept > 0 {
        segmenter.keep(kept, folder)?;
    }
    Ok(())
}

fn warn_of_lost(args: &Args, job: &mut Job, lost: &[usize]) {
    let (false, Some(drawn), Some(target)) = (lost.is_empty(), &job.drawn, job.targets.first_mut()) else { return };
    let (path, label) = (drawn.path.display(), drawn.label);
    let message = format!("{path}: label {label} is lost at the model's size on slices {lost:?}: not tuned on");
    let warning = Warning::new(Code::LabelsLost, message);
    if !args.quiet {
        crate::cli::console::warn(&warning);
    }
    target.warnings.push(warning);
}

fn summary(drawn: &Drawn, examples: &[Example], outcome: &Outcome) {
    let (before, after) = (outcome.before, outcome.after);
    let kept = if outcome.steps == 0 {
        "validation did not improve: the weights are taken as they are".into()
    } else {
        format!("taken: step {}", outcome.steps)
    };
    crate::cli::console::say(&format!(
        "medsegx: tuned on {} drawn slices, validation {}: Dice {:.3} before, {:.3} after, inscribed ellipse {:.3}; {kept}",
        examples.len(),
        outcome.validation.name(),
        before.choice,
        after.choice,
        before.ellipse,
    ));
    crate::cli::console::say(&format!("medsegx: slices {:?} stay as they are drawn", drawn.indices()));
}

fn report(
    drawn: &Drawn,
    examples: &[Example],
    options: &Options,
    trainer: &Trainer,
    outcome: &Outcome,
) -> anyhow::Result<Value> {
    let score =
        |score: medsegx::tune::Score| json!({ "ellipse": score.ellipse, "choice": score.choice, "best": score.best });
    Ok(json!({
        "file": drawn.path.display().to_string(),
        "sha256": medsegx::weights::sha256_of(&drawn.path)?,
        "label": drawn.label,
        "drawn_slices": drawn.indices(),
        "tuned_on": examples.iter().map(|example| example.slice).collect::<Vec<_>>(),
        "train": trainer.train().name(),
        "trained_tensors": trainer.trained().len(),
        "steps_asked": options.steps,
        "steps": outcome.steps,
        "seed": options.seed,
        "is_base_kept": outcome.steps == 0,
        "validation": outcome.validation.name(),
        "dice_before": score(outcome.before),
        "dice_after": score(outcome.after),
        "loss": outcome.losses,
    }))
}

struct Watcher<'a> {
    progress: Progress,
    interrupt: &'a Interrupt,
}

impl Observer for Watcher<'_> {
    fn step(&mut self, done: usize, total: usize, loss: f64) -> ControlFlow<()> {
        self.progress.set_of(done, total, &format!("loss {loss:.4}"));
        if self.interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
