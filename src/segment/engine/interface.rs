//! What a segmenter asks of a device, and what the devices share.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
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

/// What a segmenter asks of a device. Prompts are counted in the last decoded batch and maps within a prompt, as the
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

    /// Encodes the first `slices` slots and decodes `prompts` on them in one run that ends with masks of slices of
    /// `frame`, beside the one before, which may still have to be measured. With `masks` all masks come down. False,
    /// and nothing done, where the device has no such run or the slots are not all of this frame.
    fn begin_forward(
        &mut self,
        _slices: usize,
        _prompts: &[Prompt<'_>],
        _regions: &[Option<[f32; 4]>],
        _frame: &Frame,
        _masks: bool,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Makes later runs end soon after `stop` is set, where the device can.
    fn set_stop(&mut self, _stop: Option<Arc<AtomicBool>>) {}

    /// Forgets forward passes that are not measured.
    fn abandon(&mut self) {}

    /// Waits for the decoded prompts, the oldest where there are two batches of them, reads their predicted `iou` `[b,
    /// 4]` and measures the maps of each against its box, in pixels of the maps. `out` has room for one each.
    fn measure(&mut self, regions: &[Option<[f32; 4]>], iou: &mut [f32], out: &mut [Measures]) -> Result<()>;

    /// Logits `[M, L, L]` of a prompt.
    fn logits(&mut self, prompt: usize) -> Result<&[f32]>;

    /// Makes what 8-bit pictures of `frame` and up to `channels`, and masks of them, need, so that neither allocates
    /// anything.
    fn prepare(&mut self, frame: &Frame, channels: usize) -> Result<()>;

    /// Masks of the given maps of each of the given prompts at the slice's own size, 1 inside: `[prompts, maps, h, w]`.
    fn masks(&mut self, prompts: Range<usize>, maps: Range<usize>, frame: &Frame, out: &mut [u8]) -> Result<()>;
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
