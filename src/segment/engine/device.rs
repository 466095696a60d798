//! A CUDA device: slices go up as they are stored, pictures are made where the network runs, and logits are counted and
//! resized where they are.

use std::ops::Range;
use std::sync::Arc;

use super::{Engine, Source, kept_for};
use crate::backend::cuda::Cuda;
use crate::backend::cuda::driver::Driver;
use crate::backend::cuda::intake::{Intake, Recipe};
use crate::backend::cuda::measure::MapCounter;
use crate::backend::cuda::resize::MaskResizer;
use crate::error::Result;
use crate::executor::{Prompt, Session, Slice};
use crate::mask::{Counts, Measures, pixels_of_box};
use crate::segment::{Frame, zeros};
use crate::volume::{DataType, Intensity, IntensityMap};

pub(super) struct OnDevice<D: Driver> {
    session: Session<Cuda<D>>,
    intake: Intake<D>,
    /// For the kind of slice that came last.
    recipe: Option<(Kind, Arc<Recipe<D>>)>,
    /// Scaling, where it does not depend on the picture, and context of each slot.
    placed: Vec<([f32; 8], [i32; 5])>,
    /// Side of a map.
    side: usize,
    /// Prompts of the last decoded batch.
    decoded: usize,
    /// `[b, M, L, L]`, empty until somebody asks for logits.
    logits: Vec<f32>,
    /// Whether they are those of the last batch.
    fetched: bool,
    /// For the size of slice that came last.
    resizer: Option<(Frame, MaskResizer<D>)>,
    counter: MapCounter<D>,
    /// Pixels of each mask; the counts of measures are those of the maps.
    pixels: Vec<u32>,
}

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
        let resizer = super::picture_resizer(&self.frame, self.channels)?;
        let levels = (&self.map, self.data_type, self.scaling);
        Ok(Arc::new(backend.recipe(&resizer, self.channels, levels, self.frame.scales_by_range())?))
    }
}

impl<D: Driver> OnDevice<D> {
    pub fn new(session: Session<Cuda<D>>) -> Result<Self> {
        let (side, options) = (session.network().config().logits_size(), session.options());
        let counter = session.network().backend().map_counter(options.prompts, options.masks.count())?;
        let pixels = zeros(options.prompts * options.masks.count(), "counts of masks")?;
        let intake = session.network().backend().intake(options.slices)?;
        let placed = vec![Default::default(); options.slices];
        Ok(OnDevice {
            session,
            intake,
            recipe: None,
            placed,
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
        backend.take_slice(&mut self.intake, slot, recipe, |rows| match source {
            Source::Picture(picture) => {
                let own = picture.width * picture.channels;
                let lines = rows.chunks_exact_mut(pitch).zip(picture.pixels.chunks_exact(own));
                lines.for_each(|(to, from)| to[..own].copy_from_slice(from));
            }
            Source::Stored(slice) => slice.gather(rows, pitch),
        })?;
        self.placed[slot] = (frame.scaling(&[]), context);
        Ok(())
    }

    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()> {
        self.intake.again(slot, from)?;
        self.placed[slot] = (self.placed[from].0, context);
        Ok(())
    }

    fn encode(&mut self, count: usize) -> Result<()> {
        let slice = |&(scaling, context): &([f32; 8], [i32; 5])| Slice { pixels: &[], scaling, context };
        let slices: Vec<Slice<'_>> = self.placed.iter().take(count).map(slice).collect();
        let intake = &mut self.intake;
        self.session.encode_made(&slices, |backend, arena, plan, values| {
            backend.make_pictures(intake, count, (arena, plan, values))
        })
    }

    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        (self.decoded, self.fetched) = (0, false);
        self.session.answer(prompts)?;
        self.decoded = prompts.len();
        Ok(())
    }

    fn measure(&mut self, regions: &[Option<[f32; 4]>], iou: &mut [f32], out: &mut [Measures]) -> Result<()> {
        self.session.iou(iou)?;
        let (side, masks) = (self.side, self.session.options().masks);
        let corners = |region: &Option<[f32; 4]>| {
            let [columns, rows] = region.map_or([0..side, 0..side], |region| pixels_of_box(side, region));
            [columns.start, columns.end, rows.start, rows.end].map(|at| at as u32)
        };
        let counter = &mut self.counter;
        self.session.answers(|backend, arena, plan, logits| {
            backend.count(arena, plan, logits, regions.iter().map(corners), counter)
        })?;
        for (prompt, (&region, measures)) in regions.iter().zip(out).enumerate() {
            let predicted = super::predicted(iou, prompt, masks.first());
            let both = |a: usize, b: usize| counter.both(prompt, a + b - 1);
            *measures = Measures::of_counts(masks.count(), |m| counts(counter, prompt, m), both, region, predicted);
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
        let (session, side) = (&self.session, self.side);
        let (backend, kind) = (session.network().backend(), Kind::picture(frame, channels));
        let recipe = kept_for(&mut self.recipe, &kind, || kind.recipe(backend))?;
        backend.make_room(&mut self.intake, recipe)?;
        kept_for(&mut self.resizer, frame, || resizer_for(session, side, frame)).map(drop)
    }

    fn masks(&mut self, prompts: Range<usize>, maps: Range<usize>, frame: &Frame, out: &mut [u8]) -> Result<()> {
        let (session, side) = (&self.session, self.side);
        let resizer = kept_for(&mut self.resizer, frame, || resizer_for(session, side, frame))?;
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

/// The resizer of masks, on the device.
fn resizer_for<D: Driver>(session: &Session<Cuda<D>>, side: usize, frame: &Frame) -> Result<MaskResizer<D>> {
    session.network().backend().mask_resizer(&super::logit_resizer(side, frame)?)
}

fn counts<D: Driver>(counter: &MapCounter<D>, prompt: usize, map: usize) -> Counts {
    let counted = counter.map(prompt, map);
    let tight_box = (counted.area > 0).then_some(counted.bounds);
    let (area, above, below, inside) = (counted.area, counted.above, counted.below, counted.inside);
    Counts { area, above, below, inside, tight_box }
}
