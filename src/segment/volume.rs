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

use std::collections::VecDeque;
use std::time::Instant;

use super::{Answers, Fetch, Frame, Prompt, Segmenter, Ticket, check_points_trained, prompt_points};
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
    /// Batches that are under way, the one that began first ahead.
    submitted: VecDeque<(Ticket, Vec<Pending>)>,
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
        submitted: VecDeque::new(),
        masks: zeros(together * of_prompt, "masks of a batch")?,
        neighbours_count,
        choices: requests.iter().map(choice).collect(),
        compositor: Compositor::new(slices, requests, LabelVolume::new(dims, highest)?),
    };
    run.segmenter.abandon();
    let done = run.all(source, map);
    run.segmenter.abandon(); // what a run that failed has left under way
    done?;
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
        self.collect_all()
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

    /// Submits what waits on the placed pictures. The last batch is left under way, so that a device works while the
    /// next pictures are placed.
    fn flush(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.pending);
        while let Some(first) = waiting.first() {
            let alike = waiting.iter().take_while(|pending| pending.points.len() == first.points.len()).count();
            let rest = waiting.split_off(alike.min(self.segmenter.batch()));
            self.submit(waiting)?;
            waiting = rest;
        }
        self.slots.clear();
        Ok(())
    }

    /// Submits a batch, and collects the one before while it runs, where the device takes both at once.
    fn submit(&mut self, batch: Vec<Pending>) -> Result<()> {
        let prompts: Vec<Prompt<'_>> =
            batch.iter().map(|p| Prompt { slot: p.slot, points: &p.points, mask: None }).collect();
        // The logits of one batch are gone with the next.
        if !self.segmenter.takes(&prompts) || self.observer.wants_logits() {
            self.collect_all()?;
        }
        let start = Instant::now();
        let fetch = if self.neighbours_count { Fetch::All } else { Fetch::OnDemand };
        let ticket = self.segmenter.submit(&prompts, fetch)?;
        self.stages.encode += ticket.encoding();
        self.stages.decode += start.elapsed() - ticket.encoding();
        self.submitted.push_back((ticket, batch));
        if self.submitted.len() > 1 { self.collect() } else { Ok(()) }
    }

    fn collect_all(&mut self) -> Result<()> {
        while !self.submitted.is_empty() {
            self.collect()?;
        }
        Ok(())
    }

    /// Waits for the batch that began first, if there is one, and keeps its masks.
    fn collect(&mut self) -> Result<()> {
        let Some((ticket, batch)) = self.submitted.pop_front() else { return Ok(()) };
        let start = Instant::now();
        let mut answers = self.segmenter.collect(ticket)?;
        self.stages.decode += start.elapsed();
        let start = Instant::now();
        if self.observer.wants_logits() {
            for index in 0..batch.len() {
                self.observer.logits(self.outcomes.len() + index, answers.logits(index)?)?;
            }
        }
        let decoded = if self.neighbours_count {
            all_masks(&mut answers, &batch, &mut self.masks)?
        } else {
            chosen_masks(&mut answers, &batch, &mut self.masks)?
        };
        for (pending, (verdict, masks)) in batch.iter().zip(decoded) {
            self.choose(pending, verdict, masks);
        }
        self.compositor.compose(self.observer)?;
        self.stages.restore += start.elapsed();
        if self.observer.progress(self.outcomes.len(), self.total).is_break() {
            return Err(Error::Cancelled);
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

/// The verdict on each prompt and its masks: all of them, until their neighbours are known. `memory` holds those of
/// some prompts at once.
fn all_masks(answers: &mut Answers<'_>, batch: &[Pending], memory: &mut [u8]) -> Result<Vec<(Verdict, Vec<Runs>)>> {
    let (tokens, mut found) = (answers.tokens(), reserve(batch.len(), "masks")?);
    while let Some(pending) = batch.get(found.len()) {
        let area = pending.frame.slice[0] * pending.frame.slice[1];
        let of_prompt = tokens.len() * area;
        let prompts = found.len()..batch.len().min(found.len() + (memory.len() / of_prompt).max(1));
        let masks = &mut memory[..prompts.len() * of_prompt];
        answers.masks(prompts.clone(), tokens.clone(), masks)?;
        for (index, masks) in prompts.zip(masks.chunks_exact(of_prompt)) {
            let masks = masks.chunks_exact(area).map(Runs::new).collect::<Result<_>>()?;
            found.push((answers.verdict(index), masks));
        }
    }
    Ok(found)
}

/// As [`all_masks`], of each prompt the chosen one.
fn chosen_masks(answers: &mut Answers<'_>, batch: &[Pending], memory: &mut [u8]) -> Result<Vec<(Verdict, Vec<Runs>)>> {
    let mut found = reserve(batch.len(), "masks")?;
    for (index, pending) in batch.iter().enumerate() {
        let (verdict, mask) = (answers.verdict(index), &mut memory[..pending.frame.slice[0] * pending.frame.slice[1]]);
        answers.mask(index, verdict.chosen, mask)?;
        found.push((verdict, vec![Runs::new(mask)?]));
    }
    Ok(found)
}
