//! `medsegx segment`: an image and boxes in, a mask on the image's own grid out.

mod args;
mod report;
mod targets;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use args::Args;

use medsegx::segment::volume::{Observer, Outcome, segment_volume};
use medsegx::segment::{Capacity, Model, Segmenter};
use medsegx::volume::{Intensity, IntensityMap, OpenOptions, SliceFrame, Volume, mask_writer};
use medsegx::weights::Weights;

use super::interrupt::Interrupt;
use super::logits::LogitsFile;
use super::progress::Progress;
use super::weights_source::WeightsSource;
use targets::JobTarget;

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    args.check_outputs()?;
    let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let weights = source.open(args.model.access())?;
    let job = Job::prepare(&args, source, weights.config().adapters.is_some())?;
    let hashes = args.report.is_some().then(|| report::Hashes::start(&args.input, &job.source));
    let model = load(&args, weights)?;
    let loaded = start.elapsed();

    let capacity = Capacity { points: job.points(), ..Capacity::default() };
    let capacity = args.model.capacity(&model, capacity, args.mask, job.prompts())?;
    let mut segmenter = Segmenter::new(&model, capacity, args.mask)?;
    let mut watcher = Watcher::new(&args, &job, &segmenter)?;
    let requests: Vec<_> = job.targets.iter().map(JobTarget::request).collect();
    let outcome = segment_volume(&mut segmenter, &job.volume, &job.frame, &job.intensity, &requests, &mut watcher)?;
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
    pub targets: Vec<JobTarget>,
    pub source: WeightsSource,
}

impl Job {
    /// `steered` tells whether the weights have adapters.
    fn prepare(args: &Args, source: WeightsSource, steered: bool) -> anyhow::Result<Job> {
        let options = OpenOptions { time_point: args.volume, ..OpenOptions::default() };
        let volume = Volume::open(&args.input, &options)?;
        mask_writer::check(&volume, &args.output)?;
        let frame = volume.frame(args.axis.index(), args.orient)?;
        let targets = targets::targets(args, &volume, &frame, steered)?;
        let rule = args.intensity.unwrap_or_else(|| Intensity::default_for(&volume));
        let intensity = rule.resolve(&volume)?;
        let job = Job { volume, frame, intensity, targets, source };
        if !args.quiet {
            job.warn();
        }
        Ok(job)
    }

    /// Prompt points of the largest prompt, padding included.
    fn points(&self) -> usize {
        self.targets.iter().map(|t| t.points.values().map(|p| p.len() + 1).max().unwrap_or(2)).max().unwrap_or(2)
    }

    /// Boxed slices of all targets.
    pub fn prompts(&self) -> usize {
        self.targets.iter().map(|t| t.boxes.len() + t.points.len()).sum()
    }

    /// Says what looks wrong with the image and the boxes; the report has all of it.
    fn warn(&self) {
        const MOST: usize = 20;
        let warnings: Vec<&String> =
            self.volume.warnings().iter().chain(self.targets.iter().flat_map(|target| &target.warnings)).collect();
        warnings.iter().take(MOST).for_each(|warning| super::say(&format!("medsegx: warning: {warning}")));
        if warnings.len() > MOST {
            super::say(&format!("medsegx: and {} more warnings", warnings.len() - MOST));
        }
    }
}

/// The weights are dropped once the model has them.
fn load(args: &Args, weights: Weights) -> medsegx::Result<Arc<Model>> {
    let model = Model::load(&weights, &args.model.options())?;
    if let (Some(reason), false) = (model.fallback(), args.quiet) {
        super::say(&format!("medsegx: on the CPU: {reason}"));
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
            interrupt: Interrupt::listen()?,
            logits: args.logits.as_deref().map(create).transpose()?,
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
}

fn summary(job: &Job, outcome: &Outcome, output: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for (index, target) in job.targets.iter().enumerate() {
        let slices: Vec<_> = outcome.slices.iter().filter(|s| s.request == index).collect();
        let (count, pixels) = (slices.len(), slices.iter().map(|s| s.pixels).sum::<u64>());
        let plural = if count == 1 { "" } else { "s" };
        writeln!(text, "{}: {count} slice{plural}, {pixels} voxels", target.name.escape_debug())?;
    }
    writeln!(text, "wrote {}", output.display())?;
    super::print(&text)
}
