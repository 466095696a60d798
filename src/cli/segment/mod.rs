//! `medsegx segment`: an image and boxes in, a mask on the image's own grid out.

mod args;
mod report;
mod rough;
mod targets;
mod voxels;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use args::{Args, Axis, ContextArgs};
pub use targets::context as context_of;

use medsegx::codes::{Code, Warning};
use medsegx::model::Config;
use medsegx::segment::volume::{Observer, Outcome, segment_slices};
use medsegx::segment::{Capacity, EmbeddingFolder, Model, Segmenter};
use medsegx::volume::{
    LabelVolume, MaskStream, OpenOptions, Opening, Segment, SeriesChoice, SliceFrame, VolumeInfo, mask_writer,
};
use medsegx::weights::Weights;

use super::interrupt::Interrupt;
use super::logits::LogitsFile;
use super::progress::Progress;
use super::weights_source::WeightsSource;
use targets::JobTarget;
use voxels::Voxels;

/// Runs the subcommand. Voxels are read on a thread of their own while the weights are loaded and the session is made, and
/// where nothing depends on all of them also while the first slices run; masks are compressed on another while later slices
/// run.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    args.check_outputs()?;
    let weights_source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = args.model.open(&weights_source)?;
    let (job, voxels) = Job::prepare(&args, weights_source, weights.config())?;
    let hashes = args.report.is_some().then(|| report::Hashes::start(&args.input, &job.source));
    let model = load(&args, weights)?;
    let capacity = Capacity { points: job.points(), ..Capacity::default() };
    let capacity = args.model.capacity(&model, capacity, args.mask, job.prompts())?;
    let mut segmenter = Segmenter::new(&model, capacity, args.mask)?;
    if let Some(folder) = &args.embeddings {
        segmenter.keep(0, Some(EmbeddingFolder::open(folder, &job.source.sha256()?, &model)?))?;
    }
    let loaded = start.elapsed();

    let mut image = voxels.wait()?;
    let waited = start.elapsed() - loaded;
    let told = image.info().warnings().len();
    if let (Some(tuned), false) = (&args.model.tuned, args.quiet) {
        super::tune::warn_elsewhere(tuned, &args.input)?;
    }
    job.warn(image.info(), &args);
    let mut watcher = Watcher::new(&args, &job, image.info(), &segmenter)?;
    segmenter.set_stop(Some(watcher.interrupt.flag()));
    let requests: Vec<_> = job.targets.iter().map(JobTarget::request).collect();
    let (source, intensity) = image.parts();
    let mut outcome = segment_slices(&mut segmenter, source, &job.frame, &intensity, &requests, &mut watcher)?;
    watcher.progress.finish();

    let rest = Instant::now();
    let read = image.finish()?;
    if !args.quiet {
        image.info().warnings()[told..].iter().for_each(super::warn);
        job.warn_of_masks(&outcome);
    }
    outcome.stages.wait += waited + rest.elapsed();
    let written = Instant::now();
    match watcher.mask {
        Some(mask) => mask.finish(&outcome.labels, args.force)?,
        None => {
            let segment = |target: &JobTarget| Segment { label: target.label, name: target.name.clone() };
            let segments: Vec<_> = job.targets.iter().map(segment).collect();
            mask_writer::write_named(image.info(), &outcome.labels, &segments, &args.output, args.force)?;
        }
    }
    watcher.logits.map(LogitsFile::finish).transpose()?;
    if let Some(path) = &args.report {
        let times = report::Times { load: loaded, read, write: written.elapsed(), total: start.elapsed() };
        let (set_aside, image, outcome) = (image.set_aside, image.info(), &outcome);
        let done = report::Done { image, intensity: &intensity, set_aside, model: &model, outcome, times };
        report::write(path, &args, &job, hashes, &done)?;
    }
    if !args.quiet {
        warn_of_folder(&args, &segmenter);
        summary(&job, &outcome, &args.output)?;
    }
    Ok(())
}

/// All that is known before the voxels. Everything that can be refused without them is refused here.
pub struct Job {
    pub frame: SliceFrame,
    pub targets: Vec<JobTarget>,
    pub source: WeightsSource,
}

impl Job {
    fn prepare(args: &Args, source: WeightsSource, config: &Config) -> anyhow::Result<(Job, Voxels)> {
        let steered = config.adapters.is_some();
        if args.prompts.points.is_some() && !config.kind.takes_points() {
            let found = "points".to_string();
            let expected = "a box, or weights of SAM or MedSAM: MedSegX and LiteMedSAM were not trained with points".to_string();
            return Err(medsegx::Error::Argument { name: "--points", expected, found }.into());
        }
        let choice = SeriesChoice {
            series: args.series.clone(),
            volume: args.volume.clone(),
            threads: args.model.threads.map(usize::from),
        };
        let options = OpenOptions { form: args.form, ..OpenOptions::default() };
        let opening = Opening::open_chosen(&args.input, &options, &choice)?;
        let info = opening.info().clone();
        mask_writer::check(&info, &args.output)?;
        let frame = info.frame(args.axis.index(), args.orient)?;
        let voxels = Voxels::start(opening, args.intensity, &frame)?;
        let targets = targets::targets(args, &info, &frame, steered)?;
        Ok((Job { frame, targets, source }, voxels))
    }

    /// Prompt points of the largest prompt, padding included.
    fn points(&self) -> usize {
        self.targets.iter().map(|t| t.points.values().map(|p| p.len() + 1).max().unwrap_or(2)).max().unwrap_or(2)
    }

    /// Boxed slices of all targets.
    pub fn prompts(&self) -> usize {
        self.targets.iter().map(|t| t.boxes.len() + t.points.len()).sum()
    }

    /// Says what is doubtful about the masks.
    fn warn_of_masks(&self, outcome: &Outcome) {
        let warnings = outcome.warnings();
        let named = self.targets.iter().zip(&warnings).flat_map(|(target, warnings)| {
            let name = target.name.escape_debug().to_string();
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
    warnings.iter().take(MOST).for_each(|warning| super::warn(warning));
    if warnings.len() > MOST {
        super::say(&format!("medsegx: and {} more warnings", warnings.len() - MOST));
    }
}

/// The weights are dropped once the model has them.
fn load(args: &Args, weights: Weights) -> medsegx::Result<Arc<Model>> {
    let model = Model::load(&weights, &args.model.options())?;
    if let (Some(reason), true) = (model.fallback(), args.verbose) {
        super::say(&format!("medsegx: on the CPU: {reason}"));
    }
    Ok(Arc::new(model))
}

/// Shows progress, writes logits and masks as they come, and listens for an interrupt.
struct Watcher {
    progress: Progress,
    logits: Option<LogitsFile>,
    /// Where the mask can be written slice by slice.
    mask: Option<MaskStream>,
    interrupt: Interrupt,
}

impl Watcher {
    fn new(args: &Args, job: &Job, image: &VolumeInfo, segmenter: &Segmenter) -> anyhow::Result<Watcher> {
        let shape = [job.prompts(), segmenter.masks().count(), segmenter.model().config().logits_size()];
        let create = |path: &Path| LogitsFile::create(path, shape, args.force);
        let highest = job.targets.iter().map(|target| target.label).max().unwrap_or(0);
        Ok(Watcher {
            interrupt: Interrupt::listen()?,
            logits: args.logits.as_deref().map(create).transpose()?,
            mask: MaskStream::start(image, &job.frame, highest, &args.output)?,
            progress: Progress::new(job.prompts(), "slices", args.quiet),
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

    fn settled(&mut self, end: usize, labels: &LabelVolume) -> medsegx::Result<()> {
        self.mask.as_mut().map_or(Ok(()), |mask| mask.send(labels, end))
    }
}

/// The masks are right all the same; only the next run will not be as quick.
fn warn_of_folder(args: &Args, segmenter: &Segmenter) {
    if let (Some(folder), counts @ 1..) = (&args.embeddings, segmenter.kept().unwritten) {
        let message = format!("{}: {counts} embeddings could not be written", folder.display());
        super::warn(&Warning::new(Code::EmbeddingsUnwritten, message));
    }
}

fn summary(job: &Job, outcome: &Outcome, output: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for ((target, slices), voxels) in job.targets.iter().zip(outcome.by_request()).zip(&outcome.voxels) {
        let count = slices.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(text, "{}: {count} slice{plural}, {voxels} voxels", target.name.escape_debug())?;
    }
    writeln!(text, "wrote {}", output.display())?;
    super::print(&text)
}
