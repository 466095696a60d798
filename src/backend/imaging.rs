//! What goes ahead of an encoder and behind a decoder, where the network runs: slices become the model's pictures, and
//! logit maps become counts and masks. Neither is an operation of a graph: slices have sizes and stored types of their
//! own, also within a batch, and a plan has one shape.

use std::ops::Range;
use std::sync::Arc;

use super::Backend;
use crate::error::{Error, Result};
use crate::graph::{Plan, ValueId};
use crate::image::picture::{Pixels, Preprocessing};
use crate::image::resample::LogitResizer;
use crate::mask::Measures;

/// What a session makes room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub slices: usize,
    pub prompts: usize,
    /// Maps of a prompt, M.
    pub maps: usize,
    /// Side of a map, L.
    pub side: usize,
    /// Side of a picture, S.
    pub picture: usize,
}

/// Prompts that were decoded: the logits `[prompts, M, L, L]` and where they are.
pub(crate) type Decoded<'a, B> = (&'a mut <B as Backend>::Arena, &'a Plan, ValueId);

/// The values of pixels and scaling of an encoder's plan, and where they are.
pub(crate) type Encoder<'a, B> = (&'a mut <B as Backend>::Arena, &'a Plan, [ValueId; 2]);

/// What [`Imaging::run_pass`] leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// Which of the two halves of the device's memory holds it.
    pub half: usize,
    /// Whether its masks come to the host with its scores.
    pub masks: bool,
}

/// Where answers to prompts are.
pub(crate) enum Answered<'a, B: Backend> {
    /// Encoder and decoder ran apart.
    Apart(Decoded<'a, B>),
    /// They were one run.
    Pass(Pass),
}

/// A box in pixels of the logit maps, where a prompt has one.
pub(crate) type MapBox = Option<[f32; 4]>;

/// A device that makes pictures and masks.
pub(crate) trait Imaging: Backend + Sized {
    /// Memory of one session.
    type Images: Send;
    /// [`Preprocessing`] on this device.
    type Recipe: Send;
    /// [`LogitResizer`] on this device.
    type MaskResizer: Send;

    /// Whether the device has memory of its own: slices go there as they are stored, and the host has no logits unless
    /// it asks. Two batches can be under way.
    const OWN_MEMORY: bool;

    fn images(&self, room: &Room) -> Result<Self::Images>;

    fn recipe_for(&self, preprocessing: &Preprocessing) -> Result<Self::Recipe>;

    fn resizer_for(&self, resizer: LogitResizer) -> Result<Self::MaskResizer>;

    /// Makes room for a batch of slices of `recipe`.
    fn reserve(&self, images: &mut Self::Images, recipe: &Self::Recipe) -> Result<()>;

    /// Takes a slice into `slot`. The first one behind a run begins a new batch.
    fn take(
        &self,
        images: &mut Self::Images,
        slot: usize,
        recipe: &mut Self::Recipe,
        pixels: &dyn Pixels,
    ) -> Result<()>;

    /// Puts the slice of slot `from` in `slot` too.
    fn take_again(&self, images: &mut Self::Images, slot: usize, from: usize) -> Result<()>;

    /// The picture in `slot`, where the host has it.
    fn picture<'a>(&self, _images: &'a Self::Images, _slot: usize) -> Option<&'a [u8]> {
        None
    }

    /// Gives the encoder the first `count` pictures, and their scaling where it is of ranges that the host does not
    /// know.
    fn give_pictures(&self, images: &mut Self::Images, count: usize, encoder: Encoder<'_, Self>) -> Result<()>;

    /// Measures the maps of the first prompts, one a box, all but the predicted IoU. A pass is waited for, and brings
    /// `iou` `[b, 4]`.
    fn measure(
        &self,
        images: &mut Self::Images,
        answered: Answered<'_, Self>,
        boxes: &[MapBox],
        iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()>;

    /// Masks `[prompts, maps, h, w]` of some maps of some prompts, 1 inside.
    fn masks_of(
        &self,
        images: &mut Self::Images,
        decoded: Decoded<'_, Self>,
        resizer: &mut Self::MaskResizer,
        wanted: [Range<usize>; 2],
        out: &mut [u8],
    ) -> Result<()>;

    /// As [`Imaging::masks_of`], of a pass, which has them all.
    fn masks_of_pass(
        &self,
        _images: &mut Self::Images,
        _pass: Pass,
        _wanted: [Range<usize>; 2],
        _out: &mut [u8],
    ) -> Result<()> {
        Err(self.no_pass())
    }

    /// Queues pictures, encoder, decoder, counts and masks of a batch as one run; which half of the memory holds what
    /// it leads to.
    fn run_pass(
        &self,
        _images: &mut Self::Images,
        _arena: &mut Self::Arena,
        _job: &Job<'_, Self>,
        _resizer: &Self::MaskResizer,
        _boxes: &[MapBox],
    ) -> Result<usize> {
        Err(self.no_pass())
    }

    /// An error for a device whose encoder and decoder run apart.
    fn no_pass(&self) -> Error {
        Error::Internal { place: self.name(), what: "it has no forward pass in one run".into() }
    }
}

/// Both graphs and all their inputs but the pictures, for one run.
pub(crate) struct Job<'a, B: Backend> {
    /// Encoder and decoder.
    pub parts: [Part<'a, B>; 2],
    /// How many slices are encoded.
    pub slices: usize,
    pub inputs: [Option<Input<'a>>; 6],
    /// Pixels and scaling of the encoder's plan.
    pub pictures: [ValueId; 2],
    /// Of the decoder's: f32 `[B, M, L, L]`, and predicted IoU `[B, 4]`.
    pub logits: ValueId,
    pub iou: ValueId,
}

/// One of the two graphs, ready to run.
pub(crate) struct Part<'a, B: Backend> {
    pub plan: &'a Plan,
    pub params: &'a [Arc<B::Param>],
}

/// An input of one of the two graphs, from its first slice or prompt on.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Whether it is the decoder's.
    pub decoder: bool,
    pub id: ValueId,
    pub bytes: &'a [u8],
}
