//! What a segmenter asks of a device, and what the devices share.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::executor::{Prompt, Slice};
use crate::image::resample::{LogitResizer, Resizer};
use crate::mask::Measures;
use crate::segment::frame::Frame;
use crate::segment::picture::Picture;
use crate::volume::StoredSlice;

/// What a picture is made of.
pub(crate) enum Source<'a> {
    /// Grey levels or colour, its length checked.
    Picture(&'a Picture<'a>),
    /// Values as a volume stores them.
    Stored(&'a StoredSlice<'a>),
}

impl Source<'_> {
    pub(super) fn channels(&self) -> usize {
        match self {
            Source::Picture(picture) => picture.channels,
            Source::Stored(slice) => slice.shape()[2],
        }
    }
}

/// When a GPU sends masks to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Each as it is asked for.
    OnDemand,
    /// All of a batch together, with its scores.
    All,
}

/// Encoder, decoder, scores and masks of a batch in one run, until the next but one begins.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "a CPU has no such runs"))]
pub(crate) struct Pass {
    /// Which of the two halves of the device's memory holds what it leads to.
    pub half: usize,
    /// When its masks come to the host.
    pub fetch: Fetch,
}

/// What a segmenter asks of a device. Prompts are counted in their batch and maps within a prompt, as the
/// session's masks give them.
pub(crate) trait Engine: Send {
    /// Takes a slice of `frame` into `slot`, which the batch has, of the next batch. Its context has rows in the
    /// model's tables.
    fn place(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()>;

    /// Takes the slice of slot `from` into `slot` too, under another context.
    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()>;

    /// The picture in `slot` and what came with it, where the host has it.
    fn picture(&self, _slot: usize) -> Option<Slice<'_>> {
        None
    }

    /// Encodes the first `count` slots; the device may still be at it afterwards.
    fn encode(&mut self, count: usize) -> Result<()>;

    /// Numbers of one embedding.
    fn embedding_len(&self) -> usize;

    /// Embeddings of the first slots encoded last.
    fn embeddings(&mut self, values: &mut [f32]) -> Result<()>;

    /// Takes embeddings in place of encoding the first slots.
    fn set_embeddings(&mut self, values: &[f32]) -> Result<()>;

    /// Decodes prompts on them; the device may still be at it afterwards.
    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()>;

    /// Whether slices of `frame` and `prompts` prompts on them can be one forward pass.
    fn takes_pass(&self, _prompts: usize, _frame: &Frame) -> bool {
        false
    }

    /// Encodes the first `slices` slots, all of `frame`, and decodes `prompts` on them in one run that ends with masks,
    /// beside the one before, which may still have to be measured. With [`Fetch::All`] all masks come down with the
    /// scores.
    fn begin_pass(
        &mut self,
        _slices: usize,
        _prompts: &[Prompt<'_>],
        _regions: &[Option<[f32; 4]>],
        _frame: &Frame,
        _fetch: Fetch,
    ) -> Result<Pass> {
        Err(Error::internal("the host's engine", "it has no forward pass in one run"))
    }

    /// Makes later runs end soon after `stop` is set, where the device can.
    fn set_stop(&mut self, _stop: Option<Arc<AtomicBool>>) {}

    /// Waits for the forward pass, or for the prompts decoded last, reads their predicted `iou` `[b, 4]` and measures
    /// the maps of each against its box, in pixels of the maps. `out` has room for one each.
    fn measure(
        &mut self,
        pass: Option<Pass>,
        regions: &[Option<[f32; 4]>],
        iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()>;

    /// Logits `[M, L, L]` of a prompt of the last run.
    fn logits(&mut self, prompt: usize) -> Result<&[f32]>;

    /// Makes what 8-bit pictures of `frame` and up to `channels`, and masks of them, need, so that neither allocates
    /// anything.
    fn prepare(&mut self, frame: &Frame, channels: usize) -> Result<()>;

    /// Masks of the given maps of each of the given prompts at the slices' own size, 1 inside: `[prompts, maps, h, w]`.
    fn masks(
        &mut self,
        pass: Option<Pass>,
        prompts: Range<usize>,
        maps: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()>;
}

/// The predictions of the IoU head that stand for the maps of prompt `prompt`.
pub(super) fn predicted(iou: &[f32], prompt: usize, first_token: usize) -> &[f32] {
    iou.get(4 * prompt + first_token..4 * prompt + 4).unwrap_or_default()
}

/// What was made for slices of one frame, or what else `key` says: that of the call before, where it was for the same.
pub(super) fn kept_for<'a, K: PartialEq + Copy, T>(
    kept: &'a mut Option<(K, T)>,
    key: &K,
    make: impl FnOnce() -> Result<T>,
) -> Result<&'a mut T> {
    let value = match kept.take() {
        Some(value) if value.0 == *key => value,
        _ => (*key, make()?),
    };
    Ok(&mut kept.insert(value).1)
}

/// From slices of `frame` to the model's picture.
pub(super) fn bilinear_resizer(frame: &Frame, channels: usize) -> Result<Resizer> {
    Resizer::new(frame.slice, frame.valid, channels)
}

/// From the logit maps to slices of `frame`.
pub(super) fn logit_resizer(side: usize, frame: &Frame) -> Result<LogitResizer> {
    LogitResizer::new(side, frame.size, frame.slice, frame.fit())
}
