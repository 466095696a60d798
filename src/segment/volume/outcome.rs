//! What a run came to.

use std::time::Duration;

use crate::mask::Verdict;
use crate::prompt::PixelBox;
use crate::volume::LabelVolume;

/// One segmented slice of one request.
#[derive(Clone, Debug)]
pub struct SliceOutcome {
    /// Which request.
    pub request: usize,
    /// Index along the slicing axis.
    pub slice: usize,
    /// The box, in stored indices.
    pub region: Option<PixelBox>,
    /// The chosen mask, and what is known of all of them.
    pub verdict: Verdict,
    /// Foreground pixels of the chosen mask.
    pub pixels: u64,
    /// Mean Dice of the chosen mask with those of the same request on the slices before and after; `None` without any.
    pub continuity: Option<f64>,
    /// Bits of [`Code`](crate::codes::Code)s: what is doubtful about the picture or the mask.
    pub doubts: u64,
}

impl SliceOutcome {
    /// Mean Dice among the masks; `None` where the chosen one is empty, which agrees with nothing.
    pub fn agreement(&self) -> Option<f64> {
        (self.pixels > 0).then(|| self.verdict.measures.agreement())
    }
}

/// Where the time of a run went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// Waiting for voxels of a volume that is still being read.
    pub wait: Duration,
    /// Cutting slices and mapping them to grey levels and to the model's picture.
    pub prepare: Duration,
    /// Image encoder. A GPU has the batch in its queue by then and not behind it: what is left counts as decoding.
    pub encode: Duration,
    /// Prompt encoder, mask decoder, and scores of the masks.
    pub decode: Duration,
    /// Choosing masks, resizing them, painting labels.
    pub restore: Duration,
}

/// A segmented volume.
pub struct Outcome {
    /// Labels on the volume's own grid. Where masks overlap, the later request wins.
    pub labels: LabelVolume,
    /// Voxels of `labels` that each request has, after later ones were painted over it: those of all requests with one
    /// label add up to the voxels with that label.
    pub voxels: Vec<u64>,
    /// Voxels of each request's masks that later requests have.
    pub covered: Vec<u64>,
    /// By ascending slice, then in the order of requests.
    pub slices: Vec<SliceOutcome>,
    /// Where the time went.
    pub stages: Stages,
}
