//! Many boxes on many slices of a volume: batches of (slice, context) for the encoder, of prompts for the decoder, labels
//! painted on the volume's own grid.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Frame, Prompt, Segmenter, prompt_points};
use crate::error::{Error, Result};
use crate::executor::Point;
use crate::mask::{CONTINUITY_WEIGHT, Runs, Verdict, continuous};
use crate::memory::{reserve, zeros};
use crate::prompt::PixelBox;
use crate::taxonomy::Context;
use crate::volume::{IntensityMap, LabelVolume, SliceFrame, StoredSlice, Volume};

/// One thing to segment.
#[derive(Clone, Debug)]
pub struct Request {
    /// Value in the mask.
    pub label: u16,
    /// Where it stands in MedSegDB's tree; plain SAM needs none.
    pub context: Option<Context>,
    /// A box a slice, in stored indices, by index along the slicing axis.
    pub boxes: std::collections::BTreeMap<usize, PixelBox>,
    /// Points `(x, y, foreground)` in stored indices, for requests without boxes: a slice and its points.
    pub points: std::collections::BTreeMap<usize, Vec<(f64, f64, bool)>>,
}

/// What happens between the batches of a long run.
pub trait Observer {
    /// Called after each batch with how many prompts are done, of how many. `Break` cancels the run.
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()>;

    /// Whether [`Observer::logits`] is to be called; it costs a GPU their download.
    fn wants_logits(&self) -> bool {
        false
    }

    /// Raw logits `[M, L, L]` of prompt `index`: prompts are counted by ascending slice, then in the order of requests.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn logits(&mut self, index: usize, logits: &[f32]) -> Result<()>;
}

/// One segmented slice of one request.
#[derive(Clone, Debug)]
pub struct SliceOutcome {
    /// Which request.
    pub request: usize,
    /// Index along the slicing axis.
    pub slice: usize,
    /// The box, in stored indices.
    pub region: Option<PixelBox>,
    /// The chosen mask, and what is known of all of them.
    pub verdict: Verdict,
    /// Foreground pixels of the chosen mask.
    pub pixels: u64,
    /// Mean Dice of the chosen mask with those of the same request on the slices before and after; `None` without any.
    pub continuity: Option<f64>,
}

/// Where the time of a run went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// Cutting slices and mapping them to grey levels and to the model's picture.
    pub prepare: Duration,
    /// Image encoder. A GPU has the work in its queue by then and not behind it: what is left counts as decoding.
    pub encode: Duration,
    /// Prompt encoder, mask decoder, and scores of the masks.
    pub decode: Duration,
    /// Choosing masks, resizing them, painting labels.
    pub restore: Duration,
}

/// A segmented volume.
pub struct Outcome {
    /// Labels on the volume's own grid. Where masks overlap, the later request wins.
    pub labels: LabelVolume,
    /// By ascending slice, then in the order of requests.
    pub slices: Vec<SliceOutcome>,
    /// Where the time went.
    pub stages: Stages,
}

/// A prompt whose picture is placed in the batch.
struct Pending {
    request: usize,
    slice: usize,
    slot: usize,
    frame: Frame,
    points: Vec<Point>,
    region: Option<PixelBox>,
}

impl Pending {
    fn outcome(&self, verdict: Verdict) -> SliceOutcome {
        let Pending { request, slice, region, .. } = *self;
        SliceOutcome { request, slice, region, verdict, pixels: 0, continuity: None }
    }
}

/// Bytes of masks that are made at once, unless a single prompt has more.
const MOST_BYTES: usize = 32 << 20;

struct Run<'a> {
    segmenter: &'a mut Segmenter,
    volume: &'a Volume,
    slices: &'a SliceFrame,
    requests: &'a [Request],
    observer: &'a mut dyn Observer,
    total: usize,
    outcome: Outcome,
    /// (slice, context) of each filled slot.
    slots: Vec<(usize, Option<Context>, Frame)>,
    pending: Vec<Pending>,
    /// Prompts that are being decoded.
    in_flight: Vec<Pending>,
    /// Whether they are a whole run, beside which another one can begin.
    whole_in_flight: bool,
    /// `[prompts, masks, height, width]`, 1 inside, of as many prompts as [`MOST_BYTES`] hold.
    masks: Vec<u8>,
    /// Whether neighbouring slices take part in the choice of the mask.
    neighbours_count: bool,
    /// For each outcome the masks that may still be chosen, in the slice's own pixels.
    kept: Vec<Vec<Runs>>,
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
    let highest = requests.iter().map(|r| r.label).max().unwrap_or(0);
    let total = requests.iter().map(|r| r.boxes.len() + r.points.len()).sum();
    if total == 0 {
        let (expected, found) = ("at least one box or point".into(), "none".into());
        return Err(Error::Prompt { what: "targets".into(), expected, found });
    }
    let labels = LabelVolume::new(volume.dims(), highest)?;
    let outcome = Outcome { labels, slices: reserve(total, "the outcomes")?, stages: Stages::default() };
    let (height, width) = slices.shape();
    let of_prompt = segmenter.masks().count() * height * width;
    let together = (MOST_BYTES / of_prompt.max(1)).clamp(1, segmenter.batch());
    let mut run = Run {
        segmenter,
        volume,
        slices,
        requests,
        observer,
        total,
        outcome,
        slots: Vec::new(),
        pending: Vec::new(),
        in_flight: Vec::new(),
        whole_in_flight: false,
        masks: zeros(together * of_prompt, "masks of a batch")?,
        neighbours_count: false,
        kept: Vec::new(),
    };
    run.segmenter.abandon();
    run.neighbours_count = run.segmenter.chooses_among_neighbours();
    run.all(map)?;
    let start = Instant::now();
    run.settle();
    run.paint()?;
    run.outcome.stages.restore += start.elapsed();
    Ok(run.outcome)
}

impl Run<'_> {
    fn all(&mut self, map: &IntensityMap) -> Result<()> {
        let indices: BTreeSet<usize> =
            self.requests.iter().flat_map(|r| r.boxes.keys().chain(r.points.keys()).copied()).collect();
        for slice in indices {
            let stored = self.volume.stored_slice(self.slices, slice, map)?;
            for request in 0..self.requests.len() {
                self.add(slice, request, &stored)?;
            }
        }
        self.flush()?;
        self.finish()
    }

    /// Queues the prompt of `request` on `slice`, if it has one there.
    fn add(&mut self, slice: usize, request: usize, stored: &StoredSlice<'_>) -> Result<()> {
        let Request { context, boxes, points, .. } = &self.requests[request];
        let region = boxes.get(&slice).copied();
        let clicks = points.get(&slice).map_or(&[][..], Vec::as_slice);
        if region.is_none() && clicks.is_empty() {
            return Ok(());
        }
        let (slot, frame) = self.slot(slice, *context, stored)?;
        let mut points = Vec::new();
        let clicks: Vec<_> = clicks.iter().map(|&(x, y, inside)| self.click_in_slice(x, y, inside)).collect();
        prompt_points(&frame, &clicks, region.map(|r| self.slices.to_slice(r.corners())), &mut points);
        self.pending.push(Pending { request, slice, slot, frame, points, region });
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
        self.outcome.stages.prepare += start.elapsed();
        Ok((slot, frame))
    }

    /// Encodes the placed pictures and begins to decode what waits on them. The last prompts are left in flight, so that a
    /// device works while the next pictures are placed.
    fn flush(&mut self) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        if self.begin_whole()? {
            return Ok(());
        }
        self.finish()?;
        let start = Instant::now();
        self.segmenter.encode(self.slots.len())?;
        self.outcome.stages.encode += start.elapsed();
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

    /// Begins what waits as one run, where each picture has its own prompt, and finishes the batch before while that runs.
    fn begin_whole(&mut self) -> Result<bool> {
        let Some(first) = self.pending.first() else { return Ok(false) };
        let (frame, points) = (first.frame, first.points.len());
        let alone = self.pending.iter().enumerate().all(|(i, p)| p.slot == i && p.points.len() == points);
        if !alone || self.pending.len() != self.slots.len() {
            return Ok(false);
        }
        // The logits of one run are gone with the next.
        if !self.whole_in_flight || self.observer.wants_logits() {
            self.finish()?;
        }
        let start = Instant::now();
        let prompts: Vec<Prompt<'_>> =
            self.pending.iter().map(|p| Prompt { slot: p.slot, points: &p.points, mask: None }).collect();
        if !self.segmenter.begin_whole(&prompts, &frame, self.neighbours_count)? {
            return Ok(false);
        }
        self.outcome.stages.encode += start.elapsed();
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
        self.outcome.stages.decode += start.elapsed();
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
        self.outcome.stages.decode += start.elapsed();
        let start = Instant::now();
        if self.observer.wants_logits() {
            for index in 0..batch.len() {
                self.observer.logits(self.outcome.slices.len() + index, self.segmenter.logits(index)?)?;
            }
        }
        if self.neighbours_count {
            self.keep_all(&batch)?
        } else {
            self.keep_chosen(&batch)?
        }
        self.outcome.stages.restore += start.elapsed();
        if self.observer.progress(self.outcome.slices.len(), self.total).is_break() {
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
            for (index, masks) in prompts.clone().zip(masks.chunks_exact(count * area)) {
                self.kept.push(masks.chunks_exact(area).map(Runs::new).collect::<Result<_>>()?);
                self.outcome.slices.push(batch[index].outcome(self.segmenter.verdict(index)));
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
            self.kept.push(vec![Runs::new(mask)?]);
            self.outcome.slices.push(pending.outcome(verdict));
        }
        Ok(())
    }

    /// Chooses among the kept masks of each request, and leaves the chosen ones.
    fn settle(&mut self) {
        for request in 0..self.requests.len() {
            let places: Vec<usize> =
                (0..self.kept.len()).filter(|&place| self.outcome.slices[place].request == request).collect();
            if self.neighbours_count {
                self.choose(&places);
            }
            self.measure_continuity(&places);
        }
    }

    fn adjacent(&self, before: usize, after: usize) -> bool {
        self.outcome.slices[before].slice + 1 == self.outcome.slices[after].slice
    }

    /// The second pass over the outcomes at `places`, which are of one request on ascending slices.
    fn choose(&mut self, places: &[usize]) {
        let scores: Vec<_> = places.iter().map(|&place| self.outcome.slices[place].verdict.scores).collect();
        let masks = places.first().map_or(0, |&place| self.kept[place].len());
        let together = |s: usize, a: usize, b: usize| match self.adjacent(places[s - 1], places[s]) {
            // Masks that are bad in the same way on every slice must not win by that.
            true => {
                self.kept[places[s - 1]][a].dice(&self.kept[places[s]][b]) * (scores[s - 1][a] * scores[s][b]).sqrt()
            }
            false => 0.0,
        };
        for (&place, chosen) in places.iter().zip(continuous(&scores, masks, CONTINUITY_WEIGHT, together)) {
            let verdict = &mut self.outcome.slices[place].verdict;
            (verdict.index, verdict.chosen) = (chosen, verdict.chosen - verdict.index + chosen);
            self.kept[place].swap(0, chosen);
            self.kept[place].truncate(1);
        }
    }

    fn measure_continuity(&mut self, places: &[usize]) {
        let dice: Vec<Option<f64>> = places
            .windows(2)
            .map(|pair| self.adjacent(pair[0], pair[1]).then(|| self.kept[pair[0]][0].dice(&self.kept[pair[1]][0])))
            .collect();
        for (index, &place) in places.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| dice[before]);
            let around: Vec<f64> = before.into_iter().chain(dice.get(index).copied().flatten()).collect();
            let mean = around.iter().sum::<f64>() / around.len() as f64;
            self.outcome.slices[place].continuity = (!around.is_empty()).then_some(mean);
        }
    }

    /// Writes the chosen masks into the labels, in the order of the outcomes.
    fn paint(&mut self) -> Result<()> {
        let (height, width) = self.slices.shape();
        let mut inside = zeros(height * width, "a slice's mask")?;
        for (outcome, masks) in self.outcome.slices.iter_mut().zip(&self.kept) {
            let mask = &masks[0];
            mask.fill(&mut inside);
            outcome.pixels = u64::from(mask.area());
            let label = self.requests[outcome.request].label;
            self.outcome.labels.paint(self.slices, outcome.slice, &inside, label)?;
        }
        Ok(())
    }
}
