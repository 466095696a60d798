//! A session and what goes ahead of its encoder and behind its decoder, on whichever device the model is.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::frame::Frame;
use super::picture::Picture;
use crate::backend::imaging::{Answered, Imaging, MapBox, Pass, Room};
use crate::error::Result;
use crate::executor::{Network, Prompt, Session, SessionOptions, Slice};
use crate::image::picture::{Levels, Pixels, Preprocessing, copy_rows};
use crate::image::resample::LogitResizer;
use crate::mask::Measures;
use crate::memory::zeros;
use crate::volume::StoredSlice;

/// What a picture is made of.
pub(crate) enum Source<'a> {
    /// Grey levels or colour, its length checked.
    Picture(&'a Picture<'a>),
    /// Values as a volume stores them.
    Stored(&'a StoredSlice<'a>),
}

impl Source<'_> {
    /// How its values become grey levels.
    fn rule(&self) -> Levels {
        match self {
            Source::Picture(_) => Levels::AS_THEY_ARE,
            Source::Stored(slice) => {
                let (&map, scaling) = slice.mapping();
                Levels { data_type: slice.data_type(), map, scaling }
            }
        }
    }
}

impl Pixels for Source<'_> {
    fn channels(&self) -> usize {
        match self {
            Source::Picture(picture) => picture.channels,
            Source::Stored(slice) => slice.shape()[2],
        }
    }

    fn levels<'a>(&'a self, room: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match self {
            Source::Picture(picture) => Ok(picture.pixels),
            Source::Stored(slice) => {
                slice.levels(room)?;
                Ok(room)
            }
        }
    }

    fn gather(&self, rows: &mut [u8], pitch: usize) {
        match self {
            Source::Picture(picture) => copy_rows(picture.pixels, picture.width * picture.channels, rows, pitch),
            Source::Stored(slice) => slice.gather(rows, pitch),
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

/// An [`Engine`] of a session of `network`.
pub(super) fn start<B: Imaging>(network: &Arc<Network<B>>, options: SessionOptions) -> Result<Box<dyn Engine>> {
    let session = Session::new(Arc::clone(network), options)?;
    let (config, SessionOptions { slices, prompts, masks, .. }) = (network.config(), options);
    let (maps, side) = (masks.count(), config.logits_size());
    let room = Room { slices, prompts, maps, side, picture: config.image_size };
    let images = network.backend().images(&room)?;
    // Where the logits are on the device they may never be asked for.
    let logits = if B::OWN_MEMORY { Vec::new() } else { zeros(prompts * maps * side * side, "logits")? };
    let placed = vec![Slice { pixels: &[], scaling: [0.0; 8], context: [0; 5] }; slices];
    let (recipe, resizer) = (None, None);
    Ok(Box::new(OnDevice { session, images, room, placed, recipe, resizer, decoded: 0, logits, fetched: false }))
}

/// A session with its pictures and masks, on a device that a segmenter does not name. Prompts are counted in their
/// batch and maps within a prompt, as the session's masks give them.
pub(super) trait Engine: Send {
    /// Takes a slice of `frame` into `slot`, which the batch has, of the next batch. Its context has rows in the
    /// model's tables.
    fn place(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()>;

    /// Takes the slice of slot `from` into `slot` too, under another context.
    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()>;

    /// The picture in `slot` and what came with it, where the host has it.
    fn picture(&self, slot: usize) -> Option<Slice<'_>>;

    /// Encodes the first `count` slots; the device may still be at it afterwards.
    fn encode(&mut self, count: usize) -> Result<()>;

    /// Embeddings of the first slots encoded last.
    fn embeddings(&mut self, values: &mut [f32]) -> Result<()>;

    /// Takes embeddings in place of encoding the first slots.
    fn set_embeddings(&mut self, values: &[f32]) -> Result<()>;

    /// Decodes prompts on them; the device may still be at it afterwards.
    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()>;

    /// Whether slices of `frame` and `prompts` prompts on them can be one forward pass.
    fn takes_pass(&self, prompts: usize, frame: &Frame) -> bool;

    /// Encodes the first `slices` slots, all of `frame`, and decodes `prompts` on them in one run that ends with masks,
    /// beside the one before, which may still have to be measured.
    fn begin_pass(
        &mut self,
        slices: usize,
        prompts: &[Prompt<'_>],
        boxes: &[MapBox],
        frame: &Frame,
        fetch: Fetch,
    ) -> Result<Pass>;

    /// Makes later runs end soon after `stop` is set, where the device can.
    fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>);

    /// Waits for the forward pass, or for the prompts decoded last, reads their predicted `iou` `[b, 4]` and measures
    /// the maps of each against its box, in pixels of the maps. `out` has room for one each.
    fn measure(&mut self, pass: Option<Pass>, boxes: &[MapBox], iou: &mut [f32], out: &mut [Measures]) -> Result<()>;

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

struct OnDevice<B: Imaging> {
    session: Session<B>,
    images: B::Images,
    room: Room,
    /// What the encoder has to know of each slot besides its pixels.
    placed: Vec<Slice<'static>>,
    /// For the kind of slice that came last.
    recipe: Option<(Preprocessing, B::Recipe)>,
    /// For the size of slice that came last.
    resizer: Option<(Frame, B::MaskResizer)>,
    /// Prompts of the last decoded batch.
    decoded: usize,
    /// `[b, M, L, L]`.
    logits: Vec<f32>,
    /// Whether they are those of the last batch.
    fetched: bool,
}

/// Most bytes of masks that one forward pass may leave: twice as many are pinned.
const MOST_BYTES: usize = 64 << 20;

impl<B: Imaging> Engine for OnDevice<B> {
    fn place(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()> {
        let backend = self.session.network().backend();
        let levels = if B::OWN_MEMORY { source.rule() } else { Levels::AS_THEY_ARE };
        let recipe = recipe(&mut self.recipe, backend, frame.preprocessing(source.channels(), levels))?;
        backend.take(&mut self.images, slot, recipe, source)?;
        let pixels = backend.picture(&self.images, slot).unwrap_or_default();
        self.placed[slot] = Slice { pixels: &[], scaling: frame.scaling(pixels), context };
        Ok(())
    }

    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()> {
        self.session.network().backend().take_again(&mut self.images, slot, from)?;
        self.placed[slot] = Slice { context, ..self.placed[from] };
        Ok(())
    }

    fn picture(&self, slot: usize) -> Option<Slice<'_>> {
        let pixels = self.session.network().backend().picture(&self.images, slot)?;
        Some(Slice { pixels, ..*self.placed.get(slot)? })
    }

    fn encode(&mut self, count: usize) -> Result<()> {
        let images = &mut self.images;
        self.session
            .encode_with(&self.placed[..count], |backend, encoder| backend.give_pictures(images, count, encoder))
    }

    fn embeddings(&mut self, values: &mut [f32]) -> Result<()> {
        self.session.embeddings(values)
    }

    fn set_embeddings(&mut self, values: &[f32]) -> Result<()> {
        self.session.set_embeddings(values)
    }

    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        (self.decoded, self.fetched) = (0, false);
        self.session.answer(prompts)?;
        self.decoded = prompts.len();
        Ok(())
    }

    fn takes_pass(&self, prompts: usize, frame: &Frame) -> bool {
        B::OWN_MEMORY && prompts * self.room.maps * frame.slice[0] * frame.slice[1] <= MOST_BYTES
    }

    fn begin_pass(
        &mut self,
        slices: usize,
        prompts: &[Prompt<'_>],
        boxes: &[MapBox],
        frame: &Frame,
        fetch: Fetch,
    ) -> Result<Pass> {
        let resizer = resizer(&mut self.resizer, self.session.network().backend(), self.room.side, frame)?;
        let images = &mut self.images;
        let half = self.session.forward(&self.placed[..slices], prompts, |backend, arena, job| {
            backend.run_pass(images, arena, job, resizer, boxes)
        })?;
        (self.decoded, self.fetched) = (prompts.len(), false);
        Ok(Pass { half, masks: fetch == Fetch::All })
    }

    fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.session.set_stop(stop);
    }

    fn measure(&mut self, pass: Option<Pass>, boxes: &[MapBox], iou: &mut [f32], out: &mut [Measures]) -> Result<()> {
        if pass.is_none() {
            self.session.iou(iou)?;
        }
        let (backend, answered) = match pass {
            Some(pass) => (self.session.network().backend(), Answered::Pass(pass)),
            None => self.session.decoded().map(|(backend, decoded)| (backend, Answered::Apart(decoded)))?,
        };
        backend.measure(&mut self.images, answered, boxes, iou, out)?;
        let first = self.session.options().masks.first();
        for (measures, predicted) in out.iter_mut().zip(iou.chunks_exact(4)) {
            let masks = measures.masks[..measures.count].iter_mut().zip(&predicted[first..]);
            masks.for_each(|(mask, &predicted)| mask.predicted_iou = f64::from(predicted));
        }
        Ok(())
    }

    fn logits(&mut self, prompt: usize) -> Result<&[f32]> {
        let stride = self.room.maps * self.room.side * self.room.side;
        if !self.fetched {
            if self.logits.is_empty() {
                self.logits = zeros(self.room.prompts * stride, "logits")?;
            }
            self.session.logits(&mut self.logits[..self.decoded * stride])?;
            self.fetched = true;
        }
        Ok(&self.logits[prompt * stride..(prompt + 1) * stride])
    }

    fn prepare(&mut self, frame: &Frame, channels: usize) -> Result<()> {
        let backend = self.session.network().backend();
        let recipe = recipe(&mut self.recipe, backend, frame.preprocessing(channels, Levels::AS_THEY_ARE))?;
        backend.reserve(&mut self.images, recipe)?;
        resizer(&mut self.resizer, backend, self.room.side, frame).map(drop)
    }

    fn masks(
        &mut self,
        pass: Option<Pass>,
        prompts: Range<usize>,
        maps: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()> {
        let backend = self.session.network().backend();
        if let Some(pass) = pass {
            return backend.masks_of_pass(&mut self.images, pass, [prompts, maps], out);
        }
        let resizer = resizer(&mut self.resizer, backend, self.room.side, frame)?;
        let (backend, decoded) = self.session.decoded()?;
        backend.masks_of(&mut self.images, decoded, resizer, [prompts, maps], out)
    }
}

/// What makes such pictures, kept from the slice before where it does.
fn recipe<'a, B: Imaging>(
    kept: &'a mut Option<(Preprocessing, B::Recipe)>,
    backend: &B,
    wanted: Preprocessing,
) -> Result<&'a mut B::Recipe> {
    let does = |of: &Preprocessing| *of == wanted || !B::OWN_MEMORY && of.has_room_for(&wanted);
    let recipe = match kept.take() {
        Some(kept) if does(&kept.0) => kept,
        _ => (wanted, backend.recipe_for(&wanted)?),
    };
    Ok(&mut kept.insert(recipe).1)
}

/// What makes masks of slices of `frame`, kept from the batch before where it does.
fn resizer<'a, B: Imaging>(
    kept: &'a mut Option<(Frame, B::MaskResizer)>,
    backend: &B,
    side: usize,
    frame: &Frame,
) -> Result<&'a mut B::MaskResizer> {
    let resizer = match kept.take() {
        Some(kept) if kept.0 == *frame => kept,
        _ => (*frame, backend.resizer_for(LogitResizer::new(side, frame.size, frame.slice, frame.fit())?)?),
    };
    Ok(&mut kept.insert(resizer).1)
}
