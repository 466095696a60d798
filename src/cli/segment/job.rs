//! A run before it begins.

use medsegx::volume::SliceFrame;

use super::args::Args;
use super::drawn::Drawn;
use super::output::Output;
use super::targets::JobTarget;
use crate::cli::weights_source::WeightsSource;

/// All that is known before the voxels. Everything that can be refused without them is refused here.
pub struct Job {
    pub frame: SliceFrame,
    pub targets: Vec<JobTarget>,
    /// Slices that are not segmented because they are drawn.
    pub drawn: Option<Drawn>,
    pub source: WeightsSource,
    pub output: Output,
}

impl Job {
    /// Prompt points of the largest prompt, padding included.
    pub fn points(&self) -> usize {
        self.targets.iter().map(|t| t.points.values().map(|p| p.len() + 1).max().unwrap_or(2)).max().unwrap_or(2)
    }

    /// Boxed slices of all targets.
    pub fn prompts(&self) -> usize {
        self.targets.iter().map(|t| t.boxes.len() + t.points.len()).sum()
    }

    /// As [`Job::prompts`], before it is known how far `--propagate` gets.
    pub fn most_prompts(&self, args: &Args) -> usize {
        if args.prompts.propagate { self.targets.len() * self.frame.slices() } else { self.prompts() }
    }
}
