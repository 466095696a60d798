//! `medsegx segment`: an image and boxes in, a mask on the image's own grid out.

mod args;
mod report;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use args::Args;

use anyhow::Context as _;
use medsegx::segment::volume::{Observer, Outcome, segment_volume};
use medsegx::segment::{Capacity, Model, Segmenter};
use medsegx::volume::{Intensity, IntensityMap, OpenOptions, SliceFrame, Volume, mask_writer};

use super::interrupt::Interrupt;
use super::logits::LogitsFile;
use super::progress::Progress;
use super::weights_source::WeightsSource;

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let job = Job::prepare(&args)?;
    let hashes = args.report.is_some().then(|| report::Hashes::start(&args.input, &job.source));
    let model = load(&args, &job)?;
    let loaded = start.elapsed();

    let capacity = Capacity { points: job.points(), ..Capacity::default() };
    let capacity = args.model.capacity(&model, capacity, args.mask, job.prompts())?;
    let mut segmenter = Segmenter::new(&model, capacity, args.mask)?;
    let mut watcher = Watcher::new(&args, &job, &segmenter)?;
    let outcome =
        segment_volume(&mut segmenter, &job.volume, &job.frame, &job.intensity, &job.requests(&model)?, &mut watcher)?;
    watcher.progress.finish();

    let written = Instant::now();
    mask_writer::write(&job.volume, &outcome.labels, &args.output, args.force)?;
    watcher.logits.map(LogitsFile::finish).transpose()?;
    if let Some(path) = &args.report {
        let times = report::Times { load: loaded, write: written.elapsed(), total: start.elapsed() };
        report::write(path, &args, &job, &model, &outcome, hashes, times)?;
    }
    if !args.quiet {
        summary(&job, &outcome, &args.output)?;
    }
    Ok(())
}

/// All that is known before the network runs. Everything that can be refused is refused here.
pub struct Job {
    pub volume: Volume,
    pub frame: SliceFrame,
    pub intensity: IntensityMap,
    pub targets: Vec<args::JobTarget>,
    pub source: WeightsSource,
}

impl Job {
    fn prepare(args: &Args) -> anyhow::Result<Job> {
        args.check_outputs()?;
        let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
        let options = OpenOptions { time_point: args.volume, ..OpenOptions::default() };
        let volume = Volume::open(&args.input, &options)?;
        mask_writer::check(&volume, &args.output)?;
        let frame = volume.frame(args.axis.index(), args.orient)?;
        let targets = args.targets(&volume, &frame)?;
        let rule = args.intensity.unwrap_or_else(|| Intensity::default_for(&volume));
        let intensity = rule.resolve(&volume)?;
        Ok(Job { volume, frame, intensity, targets, source })
    }

    /// Prompt points of the largest prompt, padding included.
    fn points(&self) -> usize {
        self.targets.iter().map(|t| t.points.values().map(|p| p.len() + 1).max().unwrap_or(2)).max().unwrap_or(2)
    }

    /// Boxed slices of all targets.
    pub fn prompts(&self) -> usize {
        self.targets.iter().map(|t| t.boxes.len() + t.points.len()).sum()
    }

    /// What the segmenter is asked; a model without adapters needs no context.
    fn requests(&self, model: &Model) -> anyhow::Result<Vec<medsegx::segment::volume::Request>> {
        let needs_context = model.config().adapters.is_some();
        self.targets.iter().map(|target| target.request(needs_context)).collect()
    }
}

fn load(args: &Args, job: &Job) -> anyhow::Result<Arc<Model>> {
    let weights = job.source.open(args.model.access())?;
    let model = Model::load(&weights, &args.model.options())?;
    if let (Some(reason), false) = (model.fallback(), args.quiet) {
        eprintln!("medsegx: on the CPU: {reason}");
    }
    Ok(Arc::new(model))
}

/// Shows progress, writes logits and listens for an interrupt.
struct Watcher {
    progress: Progress,
    logits: Option<LogitsFile>,
    interrupt: Interrupt,
}

impl Watcher {
    fn new(args: &Args, job: &Job, segmenter: &Segmenter) -> anyhow::Result<Watcher> {
        let shape = [job.prompts(), segmenter.masks().count(), segmenter.model().config().logits_size()];
        let create = |path: &Path| LogitsFile::create(path, shape, args.force);
        Ok(Watcher {
            progress: Progress::new(job.prompts(), "slices", args.quiet),
            logits: args.logits.as_deref().map(create).transpose()?,
            interrupt: Interrupt::listen().context("cannot listen for interrupts")?,
        })
    }
}

impl Observer for Watcher {
    fn progress(&mut self, done: usize, _total: usize) -> ControlFlow<()> {
        self.progress.set(done);
        if self.interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn logits(&mut self, _index: usize, logits: &[f32]) -> medsegx::Result<()> {
        self.logits.as_mut().map_or(Ok(()), |file| file.push(logits))
    }
}

fn summary(job: &Job, outcome: &Outcome, output: &Path) -> anyhow::Result<()> {
    for (index, target) in job.targets.iter().enumerate() {
        let slices: Vec<_> = outcome.slices.iter().filter(|s| s.request == index).collect();
        let pixels: u64 = slices.iter().map(|s| s.pixels).sum();
        super::print(&format!("{}: {} slices, {pixels} voxels", target.name, slices.len()))?;
    }
    super::print(&format!("wrote {}", output.display()))
}
