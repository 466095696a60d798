//! A CUDA device: slices go up as they are stored, pictures are made where the network runs, and logits are counted and
//! resized where they are.

use std::ops::Range;
use std::sync::Arc;

use super::interface::{Engine, Fetch, Pass, Source, bilinear_resizer, kept_for, logit_resizer, predicted};
use crate::backend::cuda::Cuda;
use crate::backend::cuda::driver::Driver;
use crate::backend::cuda::forward::{Answers, Forward, Job};
use crate::backend::cuda::measure::MapCounter;
use crate::backend::cuda::resize::MaskResizer;
use crate::backend::cuda::slice_staging::{Recipe, SliceStaging};
use crate::error::{Error, Result};
use crate::executor::{Prompt, Session, Slice};
use crate::graph::{Plan, ValueId};
use crate::mask::{Counts, Measures, pixels_of_box};
use crate::memory::zeros;
use crate::model::{image_encoder, mask_decoder};
use crate::segment::Frame;
use crate::volume::{DataType, Intensity, IntensityMap};

pub(super) struct OnDevice<D: Driver> {
    session: Session<Cuda<D>>,
    staging: SliceStaging<D>,
    /// For the kind of slice that came last.
    recipe: Option<(Kind, Arc<Recipe<D>>)>,
    /// What the encoder has to know of each slot besides its pixels.
    placed: Vec<Slice<'static>>,
    boxes: Vec<[u32; 4]>,
    forward: Forward<D>,
    /// Side of a map.
    side: usize,
    /// Prompts of the last decoded batch.
    decoded: usize,
    /// `[b, M, L, L]`, empty until somebody asks for logits.
    logits: Vec<f32>,
    /// Whether they are those of the last batch.
    fetched: bool,
    /// For the size of slice that came last.
    resizer: Option<(Frame, Arc<MaskResizer<D>>)>,
    counter: MapCounter<D>,
    /// Pixels of each mask; the counts of measures are those of the maps.
    pixels: Vec<u32>,
}

/// Most bytes of masks that one forward pass may leave: twice as many are pinned.
const MOST_BYTES: usize = 64 << 20;

/// What decides how slices become pictures.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    frame: Frame,
    channels: usize,
    data_type: DataType,
    map: IntensityMap,
    scaling: (f64, f64),
}

impl Kind {
    /// Of 8-bit pictures, which are taken as they are.
    fn picture(frame: &Frame, channels: usize) -> Kind {
        let map = IntensityMap { rule: Intensity::Raw, low: 0.0, high: 255.0 };
        Kind { frame: *frame, channels, data_type: DataType::U8, map, scaling: (1.0, 0.0) }
    }

    fn of(source: &Source<'_>, frame: &Frame) -> Kind {
        match source {
            Source::Picture(picture) => Kind::picture(frame, picture.channels),
            Source::Stored(slice) => {
                let (&map, scaling) = slice.mapping();
                Kind { frame: *frame, channels: slice.shape()[2], data_type: slice.data_type(), map, scaling }
            }
        }
    }

    fn recipe<D: Driver>(&self, backend: &Cuda<D>) -> Result<Arc<Recipe<D>>> {
        let resizer = bilinear_resizer(&self.frame, self.channels)?;
        let levels = (&self.map, self.data_type, self.scaling);
        Ok(Arc::new(backend.recipe(&resizer, self.channels, levels, self.frame.scales_by_range())?))
    }
}

impl<D: Driver> OnDevice<D> {
    pub fn new(session: Session<Cuda<D>>) -> Result<Self> {
        let (side, options) = (session.network().config().logits_size(), session.options());
        let counter = session.network().backend().map_counter(options.prompts, options.masks.count())?;
        let pixels = zeros(options.prompts * options.masks.count(), "counts of masks")?;
        let staging = session.network().backend().slice_staging(options.slices)?;
        let placed = vec![Slice { pixels: &[], scaling: [0.0; 8], context: [0; 5] }; options.slices];
        let forward = session.network().backend().forward()?;
        Ok(OnDevice {
            session,
            staging,
            recipe: None,
            placed,
            boxes: Vec::new(),
            forward,
            side,
            decoded: 0,
            logits: Vec::new(),
            fetched: false,
            resizer: None,
            counter,
            pixels,
        })
    }
}

impl<D: Driver> Engine for OnDevice<D> {
    fn place(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()> {
        let (backend, kind) = (self.session.network().backend(), Kind::of(source, frame));
        let recipe = kept_for(&mut self.recipe, &kind, || kind.recipe(backend))?;
        let pitch = recipe.pitch();
        backend.take_slice(&mut self.staging, slot, recipe, |rows| match source {
            Source::Picture(picture) => {
                let own = picture.width * picture.channels;
                let lines = rows.chunks_exact_mut(pitch).zip(picture.pixels.chunks_exact(own));
                lines.for_each(|(to, from)| to[..own].copy_from_slice(from));
            }
            Source::Stored(slice) => slice.gather(rows, pitch),
        })?;
        self.placed[slot] = Slice { pixels: &[], scaling: frame.scaling(&[]), context };
        Ok(())
    }

    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()> {
        self.staging.again(slot, from)?;
        self.placed[slot] = Slice { context, ..self.placed[from] };
        Ok(())
    }

    fn encode(&mut self, count: usize) -> Result<()> {
        let staging = &mut self.staging;
        self.session.encode_made(&self.placed[..count], |backend, arena, plan, values| {
            backend.make_pictures(staging, count, (arena, plan, values))
        })
    }

    fn takes_pass(&self, prompts: usize, frame: &Frame) -> bool {
        prompts * self.session.options().masks.count() * frame.slice[0] * frame.slice[1] <= MOST_BYTES
    }

    fn begin_pass(
        &mut self,
        slices: usize,
        prompts: &[Prompt<'_>],
        regions: &[Option<[f32; 4]>],
        frame: &Frame,
        fetch: Fetch,
    ) -> Result<Pass> {
        self.prepare_masks(frame)?;
        let (side, maps) = (self.side, self.session.options().masks.count());
        self.boxes.clear();
        self.boxes.extend(regions.iter().map(|region| corners(side, region)));
        let (boxes, resizer) = (&self.boxes, resizer_of(&self.resizer)?);
        let (forward, staging, counter) = (&mut self.forward, &mut self.staging, &self.counter);
        let mut half = 0;
        self.session.forward(&self.placed[..slices], prompts, |backend, arena, parts, inputs| {
            let [pixels, scaling] = [image_encoder::io::PIXELS, image_encoder::io::SCALING];
            let pictures = [find(parts[0].plan, pixels)?, find(parts[0].plan, scaling)?];
            let [logits, iou] = [mask_decoder::io::LOGITS, mask_decoder::io::IOU];
            let answers = Answers { logits: find(parts[1].plan, logits)?, iou: find(parts[1].plan, iou)?, maps };
            let job = Job { parts, slices, inputs, pictures, answers, boxes, resizer };
            half = backend.run_forward(forward, staging, counter, arena, &job)?;
            Ok(())
        })?;
        (self.decoded, self.fetched) = (prompts.len(), false);
        Ok(Pass { half, fetch })
    }

    fn embedding_len(&self) -> usize {
        self.session.embedding_len()
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

    fn measure(
        &mut self,
        pass: Option<Pass>,
        regions: &[Option<[f32; 4]>],
        iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()> {
        let (side, masks, counter) = (self.side, self.session.options().masks, &mut self.counter);
        if let Some(Pass { half, fetch }) = pass {
            let backend = self.session.network().backend();
            backend.collect(&mut self.forward, half, iou, counter, fetch == Fetch::All)?;
        } else {
            self.session.iou(iou)?;
            self.session.answers(|backend, arena, plan, logits| {
                backend.count(arena, plan, logits, regions.iter().map(|region| corners(side, region)), counter)
            })?;
        }
        for (prompt, (&region, measures)) in regions.iter().zip(out).enumerate() {
            let predicted = predicted(iou, prompt, masks.first());
            let both = |a: usize, b: usize| counter.both(prompt, a + b - 1);
            *measures =
                Measures::of_counts(masks.count(), |m| counts(counter, side, prompt, m), both, region, predicted);
        }
        Ok(())
    }

    fn logits(&mut self, prompt: usize) -> Result<&[f32]> {
        let stride = self.session.options().masks.count() * self.side * self.side;
        if !self.fetched {
            if self.logits.is_empty() {
                self.logits = zeros(self.session.options().prompts * stride, "logits")?;
            }
            self.session.logits(&mut self.logits[..self.decoded * stride])?;
            self.fetched = true;
        }
        Ok(&self.logits[prompt * stride..(prompt + 1) * stride])
    }

    fn prepare(&mut self, frame: &Frame, channels: usize) -> Result<()> {
        let (backend, kind) = (self.session.network().backend(), Kind::picture(frame, channels));
        let recipe = kept_for(&mut self.recipe, &kind, || kind.recipe(backend))?;
        backend.make_room(&mut self.staging, recipe)?;
        self.prepare_masks(frame)
    }

    fn masks(
        &mut self,
        pass: Option<Pass>,
        prompts: Range<usize>,
        maps: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()> {
        if let Some(pass) = pass {
            return self.masks_of_pass(pass, prompts, maps, frame, out);
        }
        self.prepare_masks(frame)?;
        let resizer = resizer_of(&self.resizer)?;
        let (count, area) = (self.session.options().masks.count(), frame.slice[0] * frame.slice[1]);
        // All maps of neighbouring prompts, or one of each, are one run of maps; others are taken prompt by prompt.
        let whole = maps.len() == count || maps.len() == 1;
        let step = if maps.len() == 1 { count } else { 1 };
        let (runs, in_run) = if whole { (1, prompts.len()) } else { (prompts.len(), 1) };
        let pixels = &mut self.pixels[..in_run * maps.len()];
        self.session.answers(|backend, arena, plan, logits| {
            for (run, masks) in (0..runs).zip(out.chunks_exact_mut(pixels.len() * area)) {
                let first = (prompts.start + run) * count + maps.start;
                backend.masks(arena, plan, logits, (first, step), resizer, (masks, pixels))?;
            }
            Ok(())
        })
    }
}

impl<D: Driver> OnDevice<D> {
    /// The resizer of masks, on the device.
    fn prepare_masks(&mut self, frame: &Frame) -> Result<()> {
        let (backend, side) = (self.session.network().backend(), self.side);
        let make = || Ok(Arc::new(backend.mask_resizer(&logit_resizer(side, frame)?)?));
        kept_for(&mut self.resizer, frame, make).map(drop)
    }

    /// As [`Engine::masks`], of a forward pass, which has them all.
    fn masks_of_pass(
        &mut self,
        Pass { half, fetch }: Pass,
        prompts: Range<usize>,
        maps: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()> {
        let count = self.session.options().masks.count();
        // All maps of neighbouring prompts lie side by side; others are taken prompt by prompt.
        let (runs, in_run) = if maps.len() == count { (1, prompts.len()) } else { (prompts.len(), 1) };
        let backend = self.session.network().backend();
        let length = (in_run * maps.len() * frame.slice[0] * frame.slice[1]).max(1);
        for (run, out) in (0..runs).zip(out.chunks_exact_mut(length)) {
            let wanted = ((prompts.start + run) * count + maps.start, in_run * maps.len());
            let is_here = fetch == Fetch::All;
            out.copy_from_slice(backend.collected_masks(&mut self.forward, half, wanted, is_here)?);
        }
        Ok(())
    }
}

/// That of [`OnDevice::prepare_masks`].
fn resizer_of<D: Driver>(kept: &Option<(Frame, Arc<MaskResizer<D>>)>) -> Result<&Arc<MaskResizer<D>>> {
    let (_, resizer) = kept.as_ref().ok_or_else(|| Error::internal("the device's engine", "no resizer of masks"))?;
    Ok(resizer)
}

/// First column, column behind the last, first row, row behind the last of a box in maps of `side`; of the map without
/// one.
fn corners(side: usize, region: &Option<[f32; 4]>) -> [u32; 4] {
    let [columns, rows] = region.map_or([0..side, 0..side], |region| pixels_of_box(side, region));
    [columns.start, columns.end, rows.start, rows.end].map(|at| at as u32)
}

fn find(plan: &Plan, name: &str) -> Result<ValueId> {
    plan.graph.find(name).ok_or_else(|| Error::internal("the device's engine", "a graph lacks a value"))
}

/// A device that fails may return any number: within the map they are at least safe to calculate with.
fn counts<D: Driver>(counter: &MapCounter<D>, side: usize, prompt: usize, map: usize) -> Counts {
    let counted = counter.map(prompt, map);
    let [last, pixels] = [side.saturating_sub(1), side * side].map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let tight_box = (counted.area > 0).then_some(counted.bounds.map(|at| at.min(last)));
    let [area, above, below, inside] =
        [counted.area, counted.above, counted.below, counted.inside].map(|count| count.min(pixels));
    Counts { area, above, below, inside, tight_box }
}
