//! The whole path on one page: pictures and prompts in, logits, a chosen mask and its scores out. Start reading here.
//!
//! [`Model`] is the loaded weights, shared by threads; a [`Segmenter`] is one thread's session with all its memory.
//! [`volume::segment_volume`] drives it over a volume; the C library and `eval` drive it slice by slice.
//!
//! ```text
//! place (slice -> the model's picture) -> encode (once a slice and context) -> decode (once a prompt)
//!     -> verdict (which of the masks) -> mask (at the slice's own size)
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use medsegx::mask::MaskChoice;
//! use medsegx::model::Preset;
//! use medsegx::segment::{Capacity, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
//! use medsegx::taxonomy::{Query, resolve};
//! use medsegx::weights::Weights;
//!
//! # fn main() -> medsegx::Result<()> {
//! // Random weights of a small model: its masks mean nothing.
//! let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 7);
//! let model = Arc::new(Model::load(&weights, &ModelOptions::default())?);
//! let mut session = Segmenter::new(&model, Capacity { batch: 2, ..Capacity::default() }, MaskChoice::Auto)?;
//! let context = resolve(&Query { task: Some("MRI_Prostate".into()), ..Query::default() })?;
//! let pixels: Vec<u8> = (0..96 * 64).map(|at| (at % 251) as u8).collect();
//! let picture = Picture { pixels: &pixels, height: 64, width: 96, channels: 1 };
//!
//! // Encoded once, prompted twice.
//! let frame = session.set_slice(&picture, Some(&context))?;
//! let (mut small, mut large) = (Vec::new(), Vec::new());
//! prompt_points(&frame, &[], Some([30.0, 20.0, 60.0, 40.0]), &mut small);
//! prompt_points(&frame, &[], Some([10.0, 10.0, 80.0, 50.0]), &mut large);
//! session.decode(&[
//!     Prompt { slot: 0, points: &small, mask: None },
//!     Prompt { slot: 0, points: &large, mask: None },
//! ])?;
//! let mut mask = vec![0; 64 * 96];
//! session.mask(1, session.verdict(1).chosen, &frame, &mut mask)?;
//! # Ok(())
//! # }
//! ```

mod capacity;
mod engine;
pub mod frame;
mod kept;
mod model;
mod picture;
mod points;
pub mod report;
mod tuned_on;
pub mod volume;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::executor::Slice;
pub use crate::executor::{Point, Prompt};
pub use capacity::Capacity;
pub use frame::Frame;
use kept::Kept;
pub use kept::{EmbeddingFolder, KeptCounts};
pub use model::{Device, Model, ModelOptions};
pub use picture::Picture;
pub(crate) use points::check_points_trained;
pub use points::prompt_points;
pub use tuned_on::{Setting, TunedOn};

use crate::error::{Error, Result};
use crate::mask::{self, MaskChoice, Measures, Rule, Verdict, box_of_logits};
use crate::memory::zeros;
use crate::model::{Kind, Masks};
use crate::taxonomy::Context;
use crate::volume::StoredSlice;
use engine::{Engine, Source};
use picture::check_picture;
use points::region_of;

/// One thread's session on a [`Model`], with all the memory of a run.
pub struct Segmenter {
    model: Arc<Model>,
    engine: Box<dyn Engine>,
    masks: Masks,
    choice: MaskChoice,
    batch: usize,
    /// `[batch, 4]`.
    iou: Vec<f32>,
    /// Boxes of the last decoded prompts in pixels of the logit maps, and what was measured of the maps.
    regions: Vec<Option<[f32; 4]>>,
    measures: Vec<Measures>,
    /// Boxes of the forward passes that are not finished.
    begun: VecDeque<Vec<Option<[f32; 4]>>>,
    /// Memory for the boxes of runs to come.
    spare: Vec<Vec<Option<[f32; 4]>>>,
    kept: Option<Kept>,
}

/// What an encoder without adapters gets for a context.
const NO_CONTEXT: [i32; 5] = [0; 5];

impl Segmenter {
    /// A session with room for `capacity`, whose masks are chosen by `choice`.
    ///
    /// # Errors
    /// Memory that cannot be had; a mask that the model does not have.
    pub fn new(model: &Arc<Model>, capacity: Capacity, choice: MaskChoice) -> Result<Segmenter> {
        let config = model.config();
        let options = capacity.options(config.kind, choice)?;
        let (batch, masks) = (options.slices, options.masks);
        Ok(Segmenter {
            engine: model.network.start(options)?,
            masks,
            choice,
            batch,
            iou: zeros(batch * 4, "scores")?,
            regions: Vec::with_capacity(batch),
            measures: vec![Measures::default(); batch],
            begun: VecDeque::with_capacity(2),
            spare: (0..2).map(|_| Vec::with_capacity(batch)).collect(),
            kept: None,
            model: Arc::clone(model),
        })
    }

    /// From now on keeps the embeddings of the last `slices` slices under their contexts, and looks in `folder` for
    /// others and leaves new ones there: [`Segmenter::encode`] runs the encoder only where one is missing, to the same
    /// bits. Takes `4 N P` bytes (256 KB at 256 px and P = 256) for each of `slices` and of the batch, all at once.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn keep(&mut self, slices: usize, folder: Option<EmbeddingFolder>) -> Result<()> {
        self.kept = Some(Kept::new(slices, self.engine.embedding_len(), self.batch, folder)?);
        Ok(())
    }

    /// How often the encoder was not needed; zeros without [`Segmenter::keep`].
    pub fn kept(&self) -> KeptCounts {
        self.kept.as_ref().map(Kept::counts).unwrap_or_default()
    }

    /// Numbers of one slice's embedding, `[N, P]`.
    pub fn embedding_len(&self) -> usize {
        self.engine.embedding_len()
    }

    /// Embeddings `[b, N, P]` of the first pictures of the last encoded batch, as many as `values` holds.
    ///
    /// # Errors
    /// [`Error::Argument`] for more than were encoded or a length that is no multiple; a device that fails.
    pub fn embeddings(&mut self, values: &mut [f32]) -> Result<()> {
        self.engine.embeddings(values)
    }

    /// Takes one slice for any number of prompts on slot 0 that follow: [`Segmenter::place`] and [`Segmenter::encode`].
    ///
    /// # Errors
    /// As those.
    pub fn set_slice(&mut self, picture: &Picture<'_>, context: Option<&Context>) -> Result<Frame> {
        let frame = self.place(0, picture, context)?;
        self.encode(1)?;
        Ok(frame)
    }

    /// The model of this session.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Which masks come out.
    pub fn masks(&self) -> Masks {
        self.masks
    }

    /// Pictures and prompts in one batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Makes what slices of this size and up to `channels` need, so that [`Segmenter::place`] and [`Segmenter::mask`]
    /// allocate nothing for them.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that is none, [`Error::Memory`].
    pub fn prepare(&mut self, height: usize, width: usize, channels: usize) -> Result<()> {
        let frame = Frame::new(self.model.config(), height, width)?;
        self.engine.prepare(&frame, channels)
    }

    /// Takes a picture into `slot` of the next encoder batch. The first one behind [`Segmenter::encode`] begins a new
    /// batch, all of whose slots have to be filled.
    ///
    /// # Errors
    /// [`Error::Argument`] for a slot beyond the batch, a picture of the wrong length, or a context that is missing or
    /// beyond the model's tables; memory; a device that fails.
    pub fn place(&mut self, slot: usize, picture: &Picture<'_>, context: Option<&Context>) -> Result<Frame> {
        check_picture(picture)?;
        self.place_source(slot, &Source::Picture(picture), [picture.height, picture.width], context)
    }

    /// As [`Segmenter::place`], of a volume's slice. A GPU gets it as it is stored.
    ///
    /// # Errors
    /// As [`Segmenter::place`].
    pub fn place_stored(&mut self, slot: usize, slice: &StoredSlice<'_>, context: Option<&Context>) -> Result<Frame> {
        let [height, width, _] = slice.shape();
        self.place_source(slot, &Source::Stored(slice), [height, width], context)
    }

    /// Takes the slice of slot `from` of this batch into `slot` too, under another context.
    ///
    /// # Errors
    /// As [`Segmenter::place`]; a slot without a slice.
    pub fn place_again(&mut self, slot: usize, from: usize, context: Option<&Context>) -> Result<()> {
        let row = self.context_row(context)?;
        [slot, from].into_iter().try_for_each(|slot| self.check_slot(slot))?;
        if let Some(kept) = &mut self.kept {
            kept.note_again(slot, from, row);
        }
        self.engine.place_again(slot, from, row)
    }

    fn place_source(
        &mut self,
        slot: usize,
        source: &Source<'_>,
        [height, width]: [usize; 2],
        context: Option<&Context>,
    ) -> Result<Frame> {
        let frame = Frame::new(self.model.config(), height, width)?;
        let row = self.context_row(context)?;
        self.check_slot(slot)?;
        if let Some(kept) = &mut self.kept {
            kept.note(slot, source, &frame, row)?;
        }
        self.engine.place(slot, source, &frame, row)?;
        Ok(frame)
    }

    /// The picture that was placed in `slot`, where the host has it.
    pub(crate) fn placed(&self, slot: usize) -> Option<Slice<'_>> {
        self.engine.picture(slot)
    }

    fn check_slot(&self, slot: usize) -> Result<()> {
        if slot < self.batch {
            return Ok(());
        }
        let (expected, found) = (format!("below {}", self.batch), slot.to_string());
        Err(Error::Argument { name: "slot", expected, found })
    }

    /// The row indices of a context, checked against the model's tables.
    fn context_row(&self, context: Option<&Context>) -> Result<[i32; 5]> {
        let Some(adapters) = &self.model.config().adapters else { return Ok(NO_CONTEXT) };
        let missing = || Error::Argument {
            name: "task",
            expected: "a modality, organ and task for a model with adapters".into(),
            found: "none".into(),
        };
        let context = context.ok_or_else(missing)?;
        let [part, subregion, organ] = context.organ;
        let indices = [context.modality, part, subregion, organ, context.task];
        let [_, parts, subregions, organs, tasks] = adapters.organ_rows;
        let rows = [adapters.modalities, parts, subregions, organs, tasks];
        let names = ["modality", "body part", "subregion", "organ", "task"];
        for ((name, index), rows) in names.into_iter().zip(indices).zip(rows) {
            if index >= rows {
                // What the C library's contexts hold before they are set.
                let found = if index == u32::MAX as usize { "none set".into() } else { index.to_string() };
                return Err(Error::Argument { name, expected: format!("a row below {rows}"), found });
            }
        }
        Ok(indices.map(|index| index as i32))
    }

    /// Encodes the first `count` placed pictures; slot i of the decoder is picture i.
    ///
    /// # Errors
    /// More pictures than the batch holds; a device that fails.
    pub fn encode(&mut self, count: usize) -> Result<()> {
        if count > self.batch {
            let (expected, found) = (format!("at most {}", self.batch), count.to_string());
            return Err(Error::Argument { name: "slices", expected, found });
        }
        let Some(kept) = &mut self.kept else { return self.engine.encode(count) };
        if let Some(values) = kept.recall(count) {
            return self.engine.set_embeddings(values);
        }
        self.engine.encode(count)?;
        self.engine.embeddings(kept.room(count))?;
        kept.take(count);
        Ok(())
    }

    /// Decodes prompts in the model's frame, all with the same number of points, and measures their masks; logits,
    /// scores and masks are then there by index.
    ///
    /// # Errors
    /// [`Error::Prompt`] for more prompts than the batch holds or prompts that differ in shape; a device that fails.
    pub fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        self.begin(prompts)?;
        self.finish()
    }

    /// As [`Segmenter::decode`] up to the waiting: pictures of the next batch can be placed while a device is at work.
    /// What was asked for is there behind [`Segmenter::finish`], which has to come before the next pictures are
    /// encoded.
    ///
    /// # Errors
    /// As [`Segmenter::decode`].
    pub fn begin(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        self.check_prompts(prompts)?;
        self.abandon();
        self.regions.clear();
        self.engine.decode(prompts)?;
        let mut regions = std::mem::take(&mut self.regions);
        regions.extend(prompts.iter().map(|prompt| self.region(prompt)));
        self.regions = regions;
        Ok(())
    }

    /// Whether the model was trained with points.
    ///
    /// # Errors
    /// [`Error::Prompt`] where it was not.
    pub fn check_takes_points(&self) -> Result<()> {
        check_points_trained(self.model.config().kind)
    }

    /// Makes later runs end with [`Error::Cancelled`] soon after `stop` is set: on a CPU within a task of a step, on a
    /// GPU with the batch. The session is good for another run then.
    pub fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.engine.set_stop(stop);
    }

    /// Gives up what was begun and not finished, so that the session is as good as new.
    pub fn abandon(&mut self) {
        self.spare.extend(self.begun.drain(..));
        self.engine.abandon();
    }

    /// Where the device can, does all in one run that [`Segmenter::encode`], [`Segmenter::begin`] and
    /// [`Segmenter::mask`] do for `prompts` on the first `slices` pictures, all of `frame`: then one more such batch
    /// can be placed and begun before this one is finished. With `masks` all masks are wanted, and come to the host
    /// together. False where the device cannot, or embeddings are kept: nothing has happened then.
    ///
    /// # Errors
    /// As [`Segmenter::begin`]; two batches that are not finished.
    pub fn begin_forward(&mut self, slices: usize, prompts: &[Prompt<'_>], frame: &Frame, masks: bool) -> Result<bool> {
        self.check_prompts(prompts)?;
        if self.kept.is_some() {
            return Ok(false);
        }
        let mut regions = self.spare.pop().unwrap_or_default();
        regions.clear();
        regions.extend(prompts.iter().map(|prompt| self.region(prompt)));
        let begun = self.engine.begin_forward(slices, prompts, &regions, frame, masks);
        match begun {
            Ok(true) => self.begun.push_back(regions),
            Ok(false) | Err(_) => self.spare.push(regions),
        }
        begun
    }

    fn check_prompts(&self, prompts: &[Prompt<'_>]) -> Result<()> {
        if prompts.len() <= self.batch {
            return Ok(());
        }
        let (expected, found) = (format!("at most {}", self.batch), prompts.len().to_string());
        Err(Error::Prompt { what: "batch".into(), expected, found })
    }

    /// The box of a prompt in pixels of the logit maps.
    fn region(&self, prompt: &Prompt<'_>) -> Option<[f32; 4]> {
        let config = self.model.config();
        region_of(prompt.points).map(|region| box_of_logits(region, config.image_size, config.logits_size()))
    }

    /// Waits for the prompts of [`Segmenter::begin`] or those begun first by [`Segmenter::begin_forward`], and measures
    /// their masks. Logits are there until the next run, masks until the next but one.
    ///
    /// # Errors
    /// A device that fails.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(regions) = self.begun.pop_front() {
            self.spare.push(std::mem::replace(&mut self.regions, regions));
        }
        let iou = &mut self.iou[..self.regions.len() * 4];
        self.engine.measure(&self.regions, iou, &mut self.measures)
    }

    /// Raw logits `[M, L, L]` of prompt `index` of the last decoded batch. On a GPU the first call after a batch
    /// downloads those of all prompts.
    ///
    /// # Errors
    /// Memory; a device that fails.
    pub fn logits(&mut self, index: usize) -> Result<&[f32]> {
        self.engine.logits(index)
    }

    /// Which mask to take for prompt `index`, how sure, and how far the masks agree.
    pub fn verdict(&self, index: usize) -> Verdict {
        mask::judge(self.measures[index], self.masks.first(), self.choice, Rule::of(self.model.config().kind))
    }

    /// Whether a volume's masks are chosen with regard to the neighbouring slices: for MedSegX's three candidates,
    /// unless the user chose. Plain SAM has its IoU head.
    pub fn chooses_among_neighbours(&self) -> bool {
        self.choice == MaskChoice::Auto && self.masks == Masks::Three && self.model.config().kind == Kind::MedSegX
    }

    /// One mask of prompt `index` at the slice's own size, `[height, width]`, 1 inside. `token` counts as in the
    /// checkpoint: 0 is the single mask, 1 to 3 the candidates.
    ///
    /// # Errors
    /// [`Error::Argument`] for a mask that was not decoded or a buffer of another size; a device that fails.
    pub fn mask(&mut self, index: usize, token: usize, frame: &Frame, out: &mut [u8]) -> Result<()> {
        self.mask_run(index..index + 1, token..token + 1, frame, out)
    }

    /// As [`Segmenter::mask`], several masks of several prompts on slices of one size: `[prompts, tokens, height,
    /// width]`.
    ///
    /// # Errors
    /// As [`Segmenter::mask`].
    pub fn mask_run(
        &mut self,
        prompts: Range<usize>,
        tokens: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()> {
        let first = self.masks.first();
        let wanted = first..first + self.masks.count();
        if tokens.is_empty() || tokens.start < wanted.start || tokens.end > wanted.end {
            let (expected, found) = (format!("some of {wanted:?}"), format!("{tokens:?}"));
            return Err(Error::Argument { name: "mask", expected, found });
        }
        let length = prompts.len() * tokens.len() * frame.slice[0] * frame.slice[1];
        if prompts.end > self.regions.len() || out.len() != length {
            let expected = format!("{} decoded prompts, {length} pixels", self.regions.len());
            return Err(Error::Argument { name: "mask", expected, found: format!("{prompts:?}, {}", out.len()) });
        }
        self.engine.masks(prompts, tokens.start - first..tokens.end - first, frame, out)
    }
}
