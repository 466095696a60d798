//! `medsegx segment`: an image and boxes in, a mask on the image's own grid out.

mod after;
mod args;
mod drawn;
mod job;
mod output;
mod preview;
mod propagation;
mod report;
mod stats;
mod targets;
mod tuning;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use args::{Args, Axis, ContextArgs, finite};
pub use job::Job;
pub use preview::Contact;
pub use report::Hashes;
pub use targets::context as context_of;

use medsegx::codes::{Code, Warning};
use medsegx::model::Config;
use medsegx::segment::volume::{Observer, Outcome, segment_slices};
use medsegx::segment::{Capacity, Model, Segmenter};
use medsegx::volume::{
    Image, Incoming, IntensityMap, LabelVolume, MaskStream, OpenOptions, Opening, SeriesChoice, SetAside, VolumeInfo,
};
use medsegx::weights::{Hashing, Weights};

use super::console::{plural, shown};
use super::interrupt::Interrupt;
use super::logits::LogitsFile;
use super::progress::Progress;
use super::weights_source::WeightsSource;
use drawn::Drawn;
use output::Output;
use targets::JobTarget;

/// Runs the subcommand. Voxels are read on a thread of their own while the weights are loaded and the session is made,
/// and where nothing depends on all of them also while the first slices run; masks are compressed on another while
/// later slices run.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    args.check_outputs()?;
    let weights_source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = args.model.open(&weights_source)?;
    let (mut job, voxels) = Job::prepare(&args, weights_source, weights.config())?;
    let hashes = args.report.is_some().then(|| Hashes::start(&args, &weights));
    let model = load(&args, weights)?;
    let capacity = Capacity { points: job.points(), ..Capacity::default() };
    let capacity = args.model.capacity(&model, capacity, args.mask, job.most_prompts(&args))?;
    let mut segmenter = Segmenter::new(&model, capacity, args.mask)?;
    tuning::keep(&args, &job, &mut segmenter)?;
    let loaded = start.elapsed();
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(job.prompts(), "slices", args.quiet);
    let mut ran = infer(&args, &mut job, voxels, &mut segmenter, interrupt, progress)?;
    ran.start = start;
    ran.load = loaded;
    let outcome = ran.write(&args, &job, &model, hashes)?.outcome;
    if !args.quiet {
        summary(&job, &outcome, &args.output)?;
    }
    Ok(())
}

/// Runs one job on a session that is ready for it, up to the files.
pub fn infer(
    args: &Args,
    job: &mut Job,
    voxels: Incoming,
    segmenter: &mut Segmenter,
    interrupt: Interrupt,
    progress: Progress,
) -> anyhow::Result<Ran> {
    let start = Instant::now();
    let mut image = voxels.wait()?;
    let waited = start.elapsed();
    let told = image.info().warnings().len();
    if let (Some(tuned), false) = (segmenter.model().tuned_on(), args.quiet) {
        let elsewhere = tuned.elsewhere(&args.input, || medsegx::weights::sha256_of(&args.input))?;
        let rule = image.parts().1.rule;
        let otherwise = tuned.otherwise(image.info(), &job.frame, rule);
        elsewhere.iter().chain(&otherwise).for_each(super::console::warn);
    }
    job.warn(image.info(), args);
    segmenter.set_stop(Some(interrupt.flag()));
    let mut tuned = tuning::run(args, job, &mut image, segmenter, &interrupt)?;
    let segmenter = tuned.as_mut().map_or(segmenter, |tuned| &mut tuned.segmenter);
    segmenter.set_stop(Some(interrupt.flag()));
    let propagated = propagation::run(args, job, &mut image, segmenter, &interrupt)?;
    if let Some(drawn) = &job.drawn {
        drawn.withdraw(&mut job.targets);
    }
    progress.set_of(0, job.prompts(), "");
    let mut watcher = Watcher::new(args, job, image.info(), segmenter, interrupt, progress)?;
    let mut requests: Vec<_> = job.targets.iter().map(JobTarget::request).collect();
    let cleaning = args.after.cleaning();
    if !cleaning.is_empty() {
        after::own_labels(&mut requests)?;
    }
    let (source, intensity) = image.parts();
    let mut outcome = segment_slices(segmenter, source, &job.frame, &intensity, &requests, &mut watcher)?;
    watcher.progress.finish();
    if let (Some(drawn), Some(first)) = (&job.drawn, requests.first()) {
        let voxels = drawn.paint(&job.frame, &mut outcome.labels, first.label)?;
        outcome.voxels.iter_mut().take(1).for_each(|all| *all += voxels);
    }

    let rest = Instant::now();
    let read = image.finish()?;
    let cleaned = match cleaning.is_empty() {
        true => Vec::new(),
        false => after::clean(&cleaning, &mut outcome, job, image.info())?,
    };
    let removed = after::warn_of_removed(&cleaned, &mut job.targets);
    let unwritten = unwritten(args, segmenter);
    if !args.quiet {
        image.info().warnings()[told..].iter().chain(&removed).for_each(super::console::warn);
        job.warn_of_masks(&outcome);
        unwritten.iter().for_each(super::console::warn);
    }
    outcome.stages.wait += waited + rest.elapsed();
    let Watcher { mask, logits, .. } = watcher;
    let (set_aside, info) = (image.set_aside, image.info().clone());
    let cleaned = after::report(&cleaning, &cleaned);
    let voxels = args.after.keeps_image().then_some(image);
    Ok(Ran {
        image: info,
        voxels,
        intensity,
        set_aside,
        outcome,
        cleaned,
        propagated,
        tuned: tuned.map_or(serde_json::Value::Null, |tuned| tuned.report),
        unwritten,
        mask,
        logits,
        start,
        load: Duration::ZERO,
        read,
    })
}

/// A job whose masks are there, and whose files are not. Dropped, it leaves nothing.
pub struct Ran {
    image: VolumeInfo,
    /// Where files are made of it.
    voxels: Option<Image>,
    intensity: IntensityMap,
    set_aside: Option<SetAside>,
    outcome: Outcome,
    /// What was done to the masks after the network.
    cleaned: serde_json::Value,
    /// How boxes got to slices that had none.
    propagated: serde_json::Value,
    /// What was tuned beforehand.
    tuned: serde_json::Value,
    /// Embeddings that are not kept.
    unwritten: Option<Warning>,
    mask: Option<MaskStream>,
    logits: Option<LogitsFile>,
    /// When the job began, and how long loading took.
    start: Instant,
    load: Duration,
    read: Duration,
}

/// A job whose files are written.
pub struct Written {
    /// What `--report` has; only with the hashes that it needs.
    pub report: Option<serde_json::Value>,
    pub outcome: Outcome,
}

impl Ran {
    /// A small picture of the run, where the voxels were kept for one.
    pub fn contact(&self, job: &Job) -> anyhow::Result<Option<Contact>> {
        let image = self.voxels.as_ref().and_then(Image::volume);
        let run = |image| preview::Run { job, image, map: &self.intensity, outcome: &self.outcome };
        image.map(|image| preview::contact(&run(image))).transpose()
    }

    /// Writes the files: the mask, and what else was asked for.
    pub fn write(
        self,
        args: &Args,
        job: &Job,
        model: &Model,
        hashes: Option<Hashing<Hashes>>,
    ) -> anyhow::Result<Written> {
        let Ran { image, voxels, intensity, set_aside, outcome, cleaned, propagated, tuned, .. } = self;
        let written = Instant::now();
        let mut of_file = match self.mask {
            Some(mask) => mask.finish(&outcome.labels, args.force).map(|()| Vec::new())?,
            None => job.output.write(args, &image, &outcome.labels)?,
        };
        if !args.quiet {
            of_file.iter().for_each(super::console::warn);
        }
        of_file.extend(self.unwritten);
        self.logits.map(LogitsFile::finish).transpose()?;
        let volume = voxels.as_ref().and_then(Image::volume);
        if let (Some(path), Some(volume)) = (&args.after.stats, volume) {
            stats::write(path, args, &job.targets, volume, &outcome.labels)?;
        }
        if let (Some(path), Some(volume)) = (&args.after.preview, volume) {
            preview::write(path, args, &preview::Run { job, image: volume, map: &intensity, outcome: &outcome })?;
        }
        let mut report = None;
        if let Some(hashes) = hashes {
            let (load, read, write) = (self.load, self.read, written.elapsed());
            let times = report::Times { load, read, write, total: self.start.elapsed() };
            let (image, intensity, outcome) = (&image, &intensity, &outcome);
            let done = report::Done {
                image,
                intensity,
                set_aside,
                model,
                outcome,
                of_file,
                times,
                cleaned,
                propagated,
                tuned,
            };
            report = Some(report::value(args, job, hashes, &done)?);
        }
        if let (Some(path), Some(report)) = (&args.report, &report) {
            report::write(path, report, args.force)?;
        }
        Ok(Written { report, outcome })
    }
}

impl Job {
    /// Opens the input of `args` and begins to read it.
    pub fn prepare(args: &Args, source: WeightsSource, config: &Config) -> anyhow::Result<(Job, Incoming)> {
        let steered = config.adapters.is_some();
        if args.prompts.points.is_some() && !config.kind.takes_points() {
            let found = "points".to_string();
            let expected = "a box, or SAM weights: MedSegX and LiteMedSAM were not trained with points".to_string();
            return Err(medsegx::Error::Argument { name: "--points", expected, found }.into());
        }
        let choice = SeriesChoice {
            series: args.series_of_image(),
            volume: args.volume.clone(),
            real_world: args.values.real_world.clone(),
            threads: args.model.threads.map(usize::from),
        };
        let options = OpenOptions { form: args.form, nan: args.nan, ..OpenOptions::default() };
        let mut opening = Opening::open_chosen(&args.input, &options, &choice)?;
        output::check_name(args, opening.info())?;
        if args.untilt {
            opening = opening.untilted()?;
        }
        let info = opening.info().clone();
        let frame = info.frame(args.axis.index(), args.orient)?;
        after::check(&args.after, &info, frame.slices())?;
        let keeps = args.after.keeps_image() || args.prompts.propagate || args.drawn.tune_with.is_some();
        let voxels = Incoming::start(opening, args.intensity, &frame, keeps)?;
        let targets = targets::targets(args, &info, &frame, steered)?;
        let drawn = Drawn::prepare(args, &info, &frame, &targets)?;
        let output = Output::prepare(args, &info, &targets)?;
        Ok((Job { frame, targets, drawn, source, output }, voxels))
    }

    /// Says what is doubtful about the masks.
    fn warn_of_masks(&self, outcome: &Outcome) {
        let warnings = outcome.warnings();
        let named = self.targets.iter().zip(&warnings).flat_map(|(target, warnings)| {
            let name = shown(&target.name);
            warnings.iter().map(move |warning| Warning::new(warning.code, format!("{name}: {warning}")))
        });
        let warnings: Vec<Warning> = named.collect();
        warn_of_some(&warnings.iter().collect::<Vec<_>>());
    }

    /// Says what looks wrong with the image and the boxes; the report has all of it.
    fn warn(&self, image: &VolumeInfo, args: &Args) {
        if args.quiet {
            return;
        }
        let warnings: Vec<&Warning> =
            image.warnings().iter().chain(self.targets.iter().flat_map(|target| &target.warnings)).collect();
        warn_of_some(&warnings);
    }
}

/// A line each of the first, and how many more there are.
fn warn_of_some(warnings: &[&Warning]) {
    const MOST: usize = 20;
    warnings.iter().take(MOST).for_each(|warning| super::console::warn(warning));
    if warnings.len() > MOST {
        super::console::say(&format!("medsegx: and {} more warnings", warnings.len() - MOST));
    }
}

/// The weights are dropped once the model has them.
fn load(args: &Args, weights: Weights) -> medsegx::Result<Arc<Model>> {
    let model = Model::load(&weights, &args.model.options_to_train(args.drawn.tunes_encoder()))?;
    if let (Some(reason), true) = (model.fallback(), args.verbose) {
        super::console::say(&format!("medsegx: on the CPU: {reason}"));
    }
    Ok(Arc::new(model))
}

/// Shows progress, writes logits and masks as they come, and listens for an interrupt.
struct Watcher {
    progress: Progress,
    logits: Option<LogitsFile>,
    /// Where the mask can be written slice by slice: not where it is cleaned first, or some of it is drawn.
    mask: Option<MaskStream>,
    interrupt: Interrupt,
}

impl Watcher {
    fn new(
        args: &Args,
        job: &Job,
        image: &VolumeInfo,
        segmenter: &Segmenter,
        interrupt: Interrupt,
        progress: Progress,
    ) -> anyhow::Result<Watcher> {
        let shape = [job.prompts(), segmenter.masks().count(), segmenter.model().config().logits_size()];
        let create = |path: &Path| LogitsFile::create(path, shape, args.force);
        let highest = job.targets.iter().map(|target| target.label).max().unwrap_or(0);
        Ok(Watcher {
            interrupt,
            logits: args.logits.as_deref().map(create).transpose()?,
            mask: match args.after.cleaning().is_empty() && job.drawn.is_none() {
                true => MaskStream::start(image, &job.frame, highest, &job.output.legend, &args.output)?,
                false => None,
            },
            progress,
        })
    }
}

impl Observer for Watcher {
    fn progress(&mut self, done: usize, _total: usize) -> ControlFlow<()> {
        self.progress.set(done);
        if self.interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn wants_logits(&self) -> bool {
        self.logits.is_some()
    }

    fn logits(&mut self, _index: usize, logits: &[f32]) -> medsegx::Result<()> {
        self.logits.as_mut().map_or(Ok(()), |file| file.push(logits))
    }

    fn composed(&mut self, end: usize, labels: &LabelVolume) -> medsegx::Result<()> {
        self.mask.as_mut().map_or(Ok(()), |mask| mask.send(labels, end))
    }
}

/// The masks are right all the same; only the next run will not be as quick.
/// What the folder of embeddings did not take.
fn unwritten(args: &Args, segmenter: &Segmenter) -> Option<Warning> {
    let (folder, counts) = (args.embeddings.as_ref()?, segmenter.kept().unwritten);
    let message = format!("{}: {counts} embeddings could not be written", folder.display());
    (counts > 0).then(|| Warning::new(Code::EmbeddingsUnwritten, message))
}

fn summary(job: &Job, outcome: &Outcome, output: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for ((target, slices), voxels) in job.targets.iter().zip(outcome.by_request()).zip(&outcome.voxels) {
        let slices = plural(slices.len(), "slice");
        writeln!(text, "{}: {slices}, {voxels} voxels", shown(&target.name))?;
    }
    writeln!(text, "wrote {}", output.display())?;
    super::console::print(&text)
}
