//! A CUDA device: it counts and resizes its logits where they are.

use std::ops::Range;

use super::{Engine, kept_for};
use crate::backend::cuda::Cuda;
use crate::backend::cuda::driver::Driver;
use crate::backend::cuda::measure::MapCounter;
use crate::backend::cuda::resize::MaskResizer;
use crate::error::Result;
use crate::executor::{Prompt, Session, Slice};
use crate::mask::{Counts, Measures, pixels_of_box};
use crate::segment::{Frame, zeros};

pub(super) struct OnDevice<D: Driver> {
    session: Session<Cuda<D>>,
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

impl<D: Driver> OnDevice<D> {
    pub fn new(session: Session<Cuda<D>>) -> Result<Self> {
        let (side, options) = (session.network().config().logits_size(), session.options());
        let counter = session.network().backend().map_counter(options.prompts, options.masks.count())?;
        let pixels = zeros(options.prompts * options.masks.count(), "counts of masks")?;
        Ok(OnDevice { session, side, decoded: 0, logits: Vec::new(), fetched: false, resizer: None, counter, pixels })
    }
}

impl<D: Driver> Engine for OnDevice<D> {
    fn encode(&mut self, slices: &[Slice<'_>]) -> Result<()> {
        self.session.encode(slices)
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

    fn prepare(&mut self, frame: &Frame) -> Result<()> {
        let (session, side) = (&self.session, self.side);
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
