//! Many boxes on many slices of a volume: batches of (slice, context) for the encoder, of prompts for the decoder,
//! labels composed on the volume's own grid.
//!
//! ```
//! use std::sync::Arc;
//! use medsegx::mask::MaskChoice;
//! use medsegx::model::Preset;
//! use medsegx::prompt::PixelBox;
//! use medsegx::segment::volume::{Request, segment_volume};
//! use medsegx::segment::{Capacity, Model, ModelOptions, Segmenter};
//! use medsegx::taxonomy::{Query, resolve};
//! use medsegx::volume::{Intensity, Orientation, Volume, Voxels};
//! use medsegx::weights::Weights;
//!
//! # fn main() -> medsegx::Result<()> {
//! // Random weights of a small model: its masks mean nothing.
//! let model = Model::load(&Weights::synthetic(&Preset::Tiny.medsegx(), 7), &ModelOptions::default())?;
//! let mut session = Segmenter::new(&Arc::new(model), Capacity::default(), MaskChoice::Auto)?;
//! let voxels = Voxels::I16((0..48 * 40 * 4).map(|at| (at * 31 % 997) as i16).collect());
//! let image = Volume::from_voxels("made here", [48, 40, 4], 1, voxels)?;
//! let (slices, map) = (image.frame(2, Orientation::Stored)?, Intensity::MinMax.resolve(&image)?);
//! let context = Some(resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() })?);
//! let boxes = [1, 2].map(|slice| (slice, PixelBox { x0: 9, y0: 8, x1: 30, y1: 28 })).into();
//! let liver = Request { label: 5, context, boxes, points: Default::default() };
//! let outcome = segment_volume(&mut session, &image, &slices, &map, &[liver], &mut ())?;
//! assert_eq!((outcome.labels.dims(), outcome.slices.len()), ([48, 40, 4], 2));
//! # Ok(())
//! # }
//! ```

mod compositor;
mod doubts;
mod evidence;
mod follow;
mod online_viterbi;
mod outcome;
mod propagate;
mod region;
mod request;

use std::time::Instant;

use super::{Frame, Prompt, Segmenter, check_points_trained, prompt_points};
use crate::codes::Code;
use crate::error::{Error, Result};
use crate::executor::Point;
use crate::image::Runs;
use crate::mask::Verdict;
use crate::memory::{reserve, zeros};
use crate::prompt::PixelBox;
use crate::taxonomy::Context;
use crate::volume::{IntensityMap, LabelVolume, SliceFrame, SliceSource, StoredSlice, Volume};
use compositor::Compositor;
pub use doubts::doubts_of_mask;
pub use follow::PropagationRule;
use online_viterbi::{Chosen, Decoded, OnlineViterbi};
pub use outcome::{Outcome, SliceOutcome, Stages};
pub use propagate::{End, Propagated, Stop, propagate};
pub use request::{Observer, Request};

/// A prompt whose picture is placed in the batch.
struct Pending {
    request: usize,
    slice: usize,
    slot: usize,
    frame: Frame,
    points: Vec<Point>,
    region: Option<PixelBox>,
    /// Whether the picture has one grey level in the box, or in the slice where there is none.
    blank: bool,
}

impl Pending {
    fn outcome(&self, verdict: Verdict) -> SliceOutcome {
        let Pending { request, slice, region, blank, .. } = *self;
        let doubts = if blank { Code::SliceBlank.bit() } else { 0 };
        SliceOutcome { request, slice, region, verdict, pixels: 0, continuity: None, doubts }
    }
}

/// Bytes of masks that are made at once, unless a single prompt has more.
const MOST_BYTES: usize = 32 << 20;

struct Run<'a> {
    segmenter: &'a mut Segmenter,
    slices: &'a SliceFrame,
    requests: &'a [Request],
    observer: &'a mut dyn Observer,
    total: usize,
    outcomes: Vec<SliceOutcome>,
    stages: Stages,
    /// (slice, context) of each filled slot.
    slots: Vec<(usize, Option<Context>, Frame)>,
    pending: Vec<Pending>,
    /// Prompts that are being decoded.
    in_flight: Vec<Pending>,
    /// Whether they are a forward pass, beside which another one can begin.
    whole_in_flight: bool,
    /// `[prompts, masks, height, width]`, 1 inside, of as many prompts as [`MOST_BYTES`] hold.
    masks: Vec<u8>,
    /// Whether neighbouring slices take part in the choice of the mask.
    neighbours_count: bool,
    /// One a request.
    choices: Vec<OnlineViterbi>,
    compositor: Compositor<'a>,
}

/// Segments all requests on the slices of `volume` that `slices` cuts.
///
/// # Errors
/// [`Error::Prompt`] when there is nothing to do; [`Error::Cancelled`]; what the observer or a device returns.
pub fn segment_volume(
    segmenter: &mut Segmenter,
    volume: &Volume,
    slices: &SliceFrame,
    map: &IntensityMap,
    requests: &[Request],
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    segment_slices(segmenter, &mut { volume }, slices, map, requests, observer)
}

/// As [`segment_volume`], of a volume that may still be on its way.
///
/// # Errors
/// As [`segment_volume`]; what reading returns.
pub fn segment_slices(
    segmenter: &mut Segmenter,
    source: &mut dyn SliceSource,
    slices: &SliceFrame,
    map: &IntensityMap,
    requests: &[Request],
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let highest = requests.iter().map(|r| r.label).max().unwrap_or(0);
    let total = requests.iter().map(|r| r.boxes.len() + r.points.len()).sum();
    if total == 0 {
        let (expected, found) = ("at least one box or point".into(), "none".into());
        return Err(Error::Prompt { what: "targets".into(), expected, found });
    }
    let kind = segmenter.model().config().kind;
    if requests.iter().any(|request| !request.points.is_empty()) {
        check_points_trained(kind)?;
    }
    let ((height, width), dims) = (slices.shape(), source.info().dims());
    let masks = segmenter.masks().count();
    let of_prompt = masks * height * width;
    let together = (MOST_BYTES / of_prompt.max(1)).clamp(1, segmenter.batch());
    let neighbours_count = segmenter.chooses_among_neighbours();
    let choice = |_: &Request| OnlineViterbi::new(if neighbours_count { masks } else { 1 });
    let mut run = Run {
        segmenter,
        slices,
        requests,
        observer,
        total,
        outcomes: reserve(total, "the outcomes")?,
        stages: Stages::default(),
        slots: Vec::new(),
        pending: Vec::new(),
        in_flight: Vec::new(),
        whole_in_flight: false,
        masks: zeros(together * of_prompt, "masks of a batch")?,
        neighbours_count,
        choices: requests.iter().map(choice).collect(),
        compositor: Compositor::new(slices, requests, LabelVolume::new(dims, highest)?),
    };
    run.segmenter.abandon();
    run.all(source, map)?;
    run.outcomes.iter_mut().for_each(|outcome| outcome.judge((height * width) as u64));
    let (labels, voxels, covered) = run.compositor.finish();
    Ok(Outcome { labels, voxels, covered, slices: run.outcomes, stages: run.stages })
}

impl Run<'_> {
    fn all(&mut self, source: &mut dyn SliceSource, map: &IntensityMap) -> Result<()> {
        for slice in self.compositor.prompted() {
            let start = Instant::now();
            let (volume, frame, index) = source.holding(self.slices, slice)?;
            self.stages.wait += start.elapsed();
            let stored = volume.stored_slice(&frame, index, map)?;
            for request in 0..self.requests.len() {
                self.add(slice, request, &stored)?;
            }
        }
        source.all_held();
        self.flush()?;
        self.finish()
    }

    /// Queues the prompt of `request` on `slice`, if it has one there.
    fn add(&mut self, slice: usize, request: usize, stored: &StoredSlice<'_>) -> Result<()> {
        let Request { context, boxes, points, .. } = &self.requests[request];
        if !self.requests[request].is_on(slice) {
            return Ok(());
        }
        let region = boxes.get(&slice).copied();
        let clicks = points.get(&slice).map_or(&[][..], Vec::as_slice);
        let (slot, frame) = self.slot(slice, *context, stored)?;
        let mut points = Vec::new();
        let clicks: Vec<_> = clicks.iter().map(|&(x, y, inside)| self.click_in_slice(x, y, inside)).collect();
        prompt_points(&frame, &clicks, region.map(|r| self.slices.to_slice(r.corners())), &mut points);
        let blank = stored.is_blank(region.map(|r| self.slices.to_slice(r.corners())));
        self.pending.push(Pending { request, slice, slot, frame, points, region, blank });
        Ok(())
    }

    fn click_in_slice(&self, x: f64, y: f64, foreground: bool) -> (f64, f64, bool) {
        let [x, y, ..] = self.slices.to_slice([x, y, x, y]);
        (x, y, foreground)
    }

    /// The slot that holds `slice` under `context`, placed now if need be.
    fn slot(&mut self, slice: usize, context: Option<Context>, stored: &StoredSlice<'_>) -> Result<(usize, Frame)> {
        let same = |s: &(usize, Option<Context>, Frame)| s.0 == slice && s.1 == context;
        if let Some(slot) = self.slots.iter().position(same) {
            return Ok((slot, self.slots[slot].2));
        }
        if self.slots.len() == self.segmenter.batch() {
            self.flush()?;
        }
        let start = Instant::now();
        let slot = self.slots.len();
        let frame = match self.slots.iter().position(|s| s.0 == slice) {
            Some(from) => {
                self.segmenter.place_again(slot, from, context.as_ref())?;
                self.slots[from].2
            }
            None => self.segmenter.place_stored(slot, stored, context.as_ref())?,
        };
        self.slots.push((slice, context, frame));
        self.stages.prepare += start.elapsed();
        Ok((slot, frame))
    }

    /// Encodes the placed pictures and begins to decode what waits on them. The last prompts are left in flight, so
    /// that a device works while the next pictures are placed.
    fn flush(&mut self) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        if self.begin_forward()? {
            return Ok(());
        }
        self.finish()?;
        let start = Instant::now();
        self.segmenter.encode(self.slots.len())?;
        self.stages.encode += start.elapsed();
        let mut waiting = std::mem::take(&mut self.pending);
        while let Some(first) = waiting.first() {
            let alike = waiting.iter().take_while(|pending| pending.points.len() == first.points.len()).count();
            let rest = waiting.split_off(alike.min(self.segmenter.batch()));
            self.finish()?;
            self.begin(waiting)?;
            waiting = rest;
        }
        self.slots.clear();
        Ok(())
    }

    /// Begins what waits as one run, where the prompts are alike and fit a batch, and finishes the batch before while
    /// that runs.
    fn begin_forward(&mut self) -> Result<bool> {
        let Some(first) = self.pending.first() else { return Ok(false) };
        let (frame, points) = (first.frame, first.points.len());
        let alike = self.pending.iter().all(|pending| pending.points.len() == points);
        if !alike || self.pending.len() > self.segmenter.batch() {
            return Ok(false);
        }
        // The logits of one run are gone with the next.
        if !self.whole_in_flight || self.observer.wants_logits() {
            self.finish()?;
        }
        let start = Instant::now();
        let prompts: Vec<Prompt<'_>> =
            self.pending.iter().map(|p| Prompt { slot: p.slot, points: &p.points, mask: None }).collect();
        if !self.segmenter.begin_forward(self.slots.len(), &prompts, &frame, self.neighbours_count)? {
            return Ok(false);
        }
        self.stages.encode += start.elapsed();
        let batch = std::mem::take(&mut self.pending);
        self.slots.clear();
        self.finish()?;
        (self.in_flight, self.whole_in_flight) = (batch, true);
        Ok(true)
    }

    fn begin(&mut self, batch: Vec<Pending>) -> Result<()> {
        let start = Instant::now();
        let prompts: Vec<Prompt<'_>> =
            batch.iter().map(|p| Prompt { slot: p.slot, points: &p.points, mask: None }).collect();
        self.segmenter.begin(&prompts)?;
        (self.in_flight, self.whole_in_flight) = (batch, false);
        self.stages.decode += start.elapsed();
        Ok(())
    }

    /// Waits for the prompts in flight, if there are any, and keeps their masks.
    fn finish(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.in_flight);
        if batch.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        self.segmenter.finish()?;
        self.stages.decode += start.elapsed();
        let start = Instant::now();
        if self.observer.wants_logits() {
            for index in 0..batch.len() {
                self.observer.logits(self.outcomes.len() + index, self.segmenter.logits(index)?)?;
            }
        }
        if self.neighbours_count {
            self.keep_all(&batch)?
        } else {
            self.keep_chosen(&batch)?
        }
        self.compositor.compose(self.observer)?;
        self.stages.restore += start.elapsed();
        if self.observer.progress(self.outcomes.len(), self.total).is_break() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Keeps all masks of the decoded prompts until their neighbours are known.
    fn keep_all(&mut self, batch: &[Pending]) -> Result<()> {
        let (first, count) = (self.segmenter.masks().first(), self.segmenter.masks().count());
        let mut done = 0;
        while let Some(pending) = batch.get(done) {
            let area = pending.frame.slice[0] * pending.frame.slice[1];
            let prompts = done..batch.len().min(done + (self.masks.len() / (count * area)).max(1));
            let masks = &mut self.masks[..prompts.len() * count * area];
            self.segmenter.mask_run(prompts.clone(), first..first + count, &pending.frame, masks)?;
            let of_prompt = |masks: &[u8]| masks.chunks_exact(area).map(Runs::new).collect::<Result<Vec<_>>>();
            let kept: Vec<_> = masks.chunks_exact(count * area).map(of_prompt).collect::<Result<_>>()?;
            for (index, masks) in prompts.clone().zip(kept) {
                self.choose(&batch[index], self.segmenter.verdict(index), masks);
            }
            done = prompts.end;
        }
        Ok(())
    }

    /// Keeps the chosen mask of each decoded prompt.
    fn keep_chosen(&mut self, chunk: &[Pending]) -> Result<()> {
        for (index, pending) in chunk.iter().enumerate() {
            let verdict = self.segmenter.verdict(index);
            let mask = &mut self.masks[..pending.frame.slice[0] * pending.frame.slice[1]];
            self.segmenter.mask(index, verdict.chosen, &pending.frame, mask)?;
            let masks = vec![Runs::new(mask)?];
            self.choose(pending, verdict, masks);
        }
        Ok(())
    }

    /// Adds an outcome, and passes on the masks that are certain with it.
    fn choose(&mut self, pending: &Pending, verdict: Verdict, masks: Vec<Runs>) {
        let Pending { request, slice, .. } = *pending;
        let decoded = Decoded { place: self.outcomes.len(), masks, followed: self.requests[request].is_on(slice + 1) };
        self.outcomes.push(pending.outcome(verdict));
        let mut certain = Vec::new();
        self.choices[request].add(decoded, &mut self.outcomes, &mut certain);
        for Chosen { place, mask } in certain {
            self.compositor.add(self.outcomes[place].slice, request, mask);
        }
    }
}
