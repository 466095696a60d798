//! The whole path on one page: pictures and prompts in, logits, a chosen mask and its scores out. Start reading here.
//!
//! [`Model`] is the loaded weights, shared by threads; a [`Segmenter`] is one thread's session with all its memory.
//! [`volume::segment_volume`] drives it over a volume; the C library and `eval` drive it slice by slice.
//!
//! ```text
//! place (slice -> the model's picture) -> submit (encoder once a slice and context, decoder once a prompt)
//!     -> collect (scores, which of the masks, each at the slice's own size)
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
//! let mut answers = session.answer(&[
//!     Prompt { slot: 0, points: &small, mask: None },
//!     Prompt { slot: 0, points: &large, mask: None },
//! ])?;
//! let mut mask = vec![0; 64 * 96];
//! answers.mask(1, answers.verdict(1).chosen, &mut mask)?;
//! # Ok(())
//! # }
//! ```

mod answers;
mod capacity;
mod engine;
mod flight;
pub mod frame;
mod kept;
mod model;
mod picture;
mod points;
pub mod report;
mod tuned_on;
pub mod volume;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::executor::Slice;
pub use crate::executor::{Point, Prompt};
pub use answers::{Answers, Ticket};
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
use crate::mask::{MaskChoice, Measures};
use crate::memory::zeros;
use crate::model::{Kind, Masks};
use crate::taxonomy::Context;
use crate::volume::StoredSlice;
pub use engine::Fetch;
use engine::{Engine, Source};
use flight::Flight;
use picture::check_picture;

/// One thread's session on a [`Model`], with all the memory of a run.
pub struct Segmenter {
    model: Arc<Model>,
    engine: Box<dyn Engine>,
    masks: Masks,
    choice: MaskChoice,
    batch: usize,
    /// Frames of the slices of the batch that was placed last, slot by slot.
    frames: Vec<Frame>,
    /// Whether that batch is still being placed.
    is_open: bool,
    /// Batches that are not collected yet, the one submitted first ahead, and how many there ever were.
    flights: VecDeque<Flight>,
    submitted: u64,
    /// The batch collected last, its predicted IoU `[batch, 4]`, and what was measured of its maps.
    collected: Flight,
    iou: Vec<f32>,
    measures: Vec<Measures>,
    /// Memory for batches to come.
    spare: Vec<Flight>,
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
            frames: Vec::with_capacity(batch),
            is_open: false,
            flights: VecDeque::with_capacity(2),
            submitted: 0,
            collected: Flight::with_capacity(batch),
            iou: zeros(batch * 4, "scores")?,
            measures: vec![Measures::default(); batch],
            spare: (0..2).map(|_| Flight::with_capacity(batch)).collect(),
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
        self.kept = Some(Kept::new(slices, self.embedding_len(), self.batch, folder)?);
        Ok(())
    }

    /// How often the encoder was not needed; zeros without [`Segmenter::keep`].
    pub fn kept(&self) -> KeptCounts {
        self.kept.as_ref().map(Kept::counts).unwrap_or_default()
    }

    /// Numbers of one slice's embedding, `[N, P]`.
    pub fn embedding_len(&self) -> usize {
        self.model.config().embedding_len()
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
        self.encode()?;
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

    /// Makes what slices of this size and up to `channels` need, so that [`Segmenter::place`] and [`Answers::mask`]
    /// allocate nothing for them.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that is none, [`Error::Memory`].
    pub fn prepare(&mut self, height: usize, width: usize, channels: usize) -> Result<()> {
        let frame = Frame::new(self.model.config(), height, width)?;
        self.engine.prepare(&frame, channels)
    }

    /// Takes a picture into `slot` of the next batch, whose slots are filled one after another. Slot 0 begins it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a slot beyond the batch or behind one that is not filled, a picture of the wrong
    /// length, or a context that is missing or beyond the model's tables; where two batches have to be collected
    /// first; memory; a device that fails.
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
        self.check_slot(slot)?;
        let placed = self.placed_slots();
        let Some(&frame) = placed.get(from) else {
            let (expected, found) = (format!("one of {} placed slices", placed.len()), from.to_string());
            return Err(Error::Argument { name: "slot", expected, found });
        };
        if let Some(kept) = &mut self.kept {
            kept.note_again(slot, from, row);
        }
        self.engine.place_again(slot, from, row)?;
        self.fill(slot, frame);
        Ok(())
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
        self.fill(slot, frame);
        Ok(frame)
    }

    /// Frames of the slots of the batch that is being placed.
    fn placed_slots(&self) -> &[Frame] {
        if self.is_open { &self.frames } else { &[] }
    }

    fn fill(&mut self, slot: usize, frame: Frame) {
        self.is_open = true;
        self.frames.truncate(slot);
        self.frames.push(frame);
    }

    /// The picture that was placed in `slot`, where the host has it.
    pub(crate) fn placed(&self, slot: usize) -> Option<Slice<'_>> {
        self.engine.picture(slot)
    }

    fn check_slot(&self, slot: usize) -> Result<()> {
        let next = self.placed_slots().len().min(self.batch.saturating_sub(1));
        if slot > next {
            let (expected, found) = (format!("at most {next}, with {} slots", self.batch), slot.to_string());
            return Err(Error::Argument { name: "slot", expected, found });
        }
        // A GPU has room for the slices of two batches.
        if !self.is_open && self.flights.len() > 1 {
            let (expected, found) = ("the batch before to be collected".into(), "another batch".into());
            return Err(Error::Argument { name: "batch", expected, found });
        }
        Ok(())
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

    /// Encodes the slices of the batch that was placed last, which [`Segmenter::submit`] does too where it was not
    /// done.
    ///
    /// # Errors
    /// No slice; a device that fails.
    pub fn encode(&mut self) -> Result<()> {
        let count = self.frames.len();
        self.is_open = false;
        let Some(kept) = &mut self.kept else { return self.engine.encode(count) };
        if let Some(values) = kept.recall(count) {
            return self.engine.set_embeddings(values);
        }
        self.engine.encode(count)?;
        self.engine.embeddings(kept.room(count))?;
        kept.take(count);
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

    /// Whether a volume's masks are chosen with regard to the neighbouring slices: for MedSegX's three candidates,
    /// unless the user chose. Plain SAM has its IoU head.
    pub fn chooses_among_neighbours(&self) -> bool {
        self.choice == MaskChoice::Auto && self.masks == Masks::Three && self.model.config().kind == Kind::MedSegX
    }
}
