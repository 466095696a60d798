//! A session and what follows its decoder, on whichever device the model is. On a GPU the logits stay there unless asked
//! for: counts and masks come down.

#[cfg(feature = "cuda")]
mod device;
mod host;

use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "cuda")]
use device::OnDevice;
use host::OnHost;

use super::Frame;
use super::model::Loaded;
use crate::error::Result;
use crate::executor::{Prompt, Session, SessionOptions, Slice};
use crate::mask::Measures;
use crate::volume::resize::LogitResizer;

/// What a segmenter asks of a device. Prompts are counted in the last decoded batch and maps within a prompt, as the
/// session's masks give them.
pub(super) trait Engine: Send {
    /// Encodes slices; the device may still be at it afterwards.
    fn encode(&mut self, slices: &[Slice<'_>]) -> Result<()>;

    /// Decodes prompts on them; the device may still be at it afterwards.
    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()>;

    /// Waits for the decoded prompts, reads their predicted `iou` `[b, 4]` and measures the maps of each against its box,
    /// in pixels of the maps. `out` has room for one each.
    fn measure(&mut self, regions: &[Option<[f32; 4]>], iou: &mut [f32], out: &mut [Measures]) -> Result<()>;

    /// Logits `[M, L, L]` of a prompt.
    fn logits(&mut self, prompt: usize) -> Result<&[f32]>;

    /// Makes what masks of slices of `frame` need, so that [`Engine::masks`] allocates nothing for them.
    fn prepare(&mut self, frame: &Frame) -> Result<()>;

    /// Masks of the given maps of each of the given prompts at the slice's own size, 1 inside: `[prompts, maps, h, w]`.
    fn masks(&mut self, prompts: Range<usize>, maps: Range<usize>, frame: &Frame, out: &mut [u8]) -> Result<()>;
}

/// A session on the model's device.
pub(super) fn start(network: &Loaded, options: SessionOptions) -> Result<Box<dyn Engine>> {
    Ok(match network {
        Loaded::Cpu(network) => Box::new(OnHost::new(Session::new(Arc::clone(network), options)?)?),
        #[cfg(feature = "cuda")]
        Loaded::Cuda(network) => Box::new(OnDevice::new(Session::new(Arc::clone(network), options)?)?),
        #[cfg(feature = "ptxvm")]
        Loaded::Ptxvm(network) => Box::new(OnDevice::new(Session::new(Arc::clone(network), options)?)?),
    })
}

/// The predictions of the IoU head that stand for the maps of prompt `prompt`.
fn predicted(iou: &[f32], prompt: usize, first_token: usize) -> &[f32] {
    iou.get(4 * prompt + first_token..4 * prompt + 4).unwrap_or_default()
}

/// What was made for slices of one frame: that of the call before, where it was for the same.
fn kept_for<'a, T>(
    kept: &'a mut Option<(Frame, T)>,
    frame: &Frame,
    make: impl FnOnce() -> Result<T>,
) -> Result<&'a mut T> {
    let value = match kept.take() {
        Some(value) if value.0 == *frame => value,
        _ => (*frame, make()?),
    };
    Ok(&mut kept.insert(value).1)
}

/// From the logit maps to slices of `frame`.
fn logit_resizer(side: usize, frame: &Frame) -> Result<LogitResizer> {
    LogitResizer::new(side, frame.size, frame.slice, frame.fit())
}
