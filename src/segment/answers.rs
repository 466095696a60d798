//! Batches of prompts under way, and what comes back: scores, logits and masks at the slices' own size.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::engine::Fetch;
use super::flight::Flight;
use super::points::region_of;
use super::{Frame, Prompt, Segmenter};
use crate::error::{Error, Result};
use crate::mask::{self, Rule, Verdict, box_of_logits};

/// A batch of [`Segmenter::submit`], for [`Segmenter::collect`]. Batches come back in the order in which they went in.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a batch that is not collected bars the way of those behind it"]
pub struct Ticket {
    number: u64,
    encoding: Duration,
}

impl Ticket {
    /// How long [`Segmenter::submit`] was at the encoder; on a GPU at queueing the batch.
    pub fn encoding(&self) -> Duration {
        self.encoding
    }
}

/// Answers to the prompts of a batch, by their index in it, until the segmenter is used for something else.
pub struct Answers<'a> {
    segmenter: &'a mut Segmenter,
}

impl Segmenter {
    /// Encodes the slices that were placed since the last batch, if any, and decodes `prompts` on them, or else on
    /// those of the batch before: prompts in the model's frame, all with the same number of points. The device may
    /// still be at it afterwards, while slices of the next batch are placed.
    ///
    /// A GPU does all of it in one run where the slices are of one frame and no embeddings are kept. One more such
    /// batch may then be submitted before this one is collected: [`Segmenter::takes`] says whether.
    ///
    /// # Errors
    /// [`Error::Prompt`] for more prompts than the batch holds or prompts that differ in shape; [`Error::Argument`]
    /// for a slot without a slice, or where the batch before has to be collected first; a device that fails.
    pub fn submit(&mut self, prompts: &[Prompt<'_>], fetch: Fetch) -> Result<Ticket> {
        self.check_prompts(prompts)?;
        if !self.takes(prompts) {
            let (expected, found) = ("the batch before to be collected".into(), "another batch".into());
            return Err(Error::Argument { name: "batch", expected, found });
        }
        let mut flight = self.spare.pop().unwrap_or_default();
        match self.begin(&mut flight, prompts, fetch) {
            Ok(encoding) => {
                self.submitted += 1;
                flight.number = self.submitted;
                self.flights.push_back(flight);
                Ok(Ticket { number: self.submitted, encoding })
            }
            Err(error) => {
                self.spare.push(flight);
                Err(error)
            }
        }
    }

    /// Waits for the batch of `ticket`, which was submitted first of those that are not collected yet, and measures its
    /// masks.
    ///
    /// # Errors
    /// [`Error::Argument`] for another batch; a device that fails, with which the batch is lost.
    pub fn collect(&mut self, ticket: Ticket) -> Result<Answers<'_>> {
        let first = self.flights.front().map(|flight| flight.number);
        if first != Some(ticket.number) {
            let expected = first.map_or("none: no batch is under way".into(), |first| format!("batch {first}"));
            return Err(Error::Argument { name: "ticket", expected, found: format!("batch {}", ticket.number) });
        }
        if let Some(flight) = self.flights.pop_front() {
            self.spare.push(std::mem::replace(&mut self.collected, flight));
        }
        let Flight { pass, regions, .. } = &self.collected;
        let iou = &mut self.iou[..regions.len() * 4];
        self.engine.measure(*pass, regions, iou, &mut self.measures)?;
        Ok(Answers { segmenter: self })
    }

    /// [`Segmenter::submit`] and [`Segmenter::collect`] at once. Batches that were submitted before and not collected
    /// are given up.
    ///
    /// # Errors
    /// As those.
    pub fn answer(&mut self, prompts: &[Prompt<'_>]) -> Result<Answers<'_>> {
        self.abandon();
        let ticket = self.submit(prompts, Fetch::OnDemand)?;
        self.collect(ticket)
    }

    /// Whether `prompts` on the slices that were placed can be submitted beside what is not collected yet.
    pub fn takes(&self, prompts: &[Prompt<'_>]) -> bool {
        match (self.flights.len(), self.flights.front()) {
            (1, Some(before)) => before.pass.is_some() && self.one_pass(prompts.len()).is_some(),
            (flights, _) => flights == 0,
        }
    }

    /// Gives up what was submitted and not collected, so that the session is as good as new.
    pub fn abandon(&mut self) {
        self.spare.extend(self.flights.drain(..));
    }

    /// The frame of all placed slices, where they and `prompts` prompts can be one forward pass.
    fn one_pass(&self, prompts: usize) -> Option<Frame> {
        let frame = *self.frames.first()?;
        let alike = self.is_open && self.kept.is_none() && self.frames.iter().all(|other| *other == frame);
        (alike && self.engine.takes_pass(prompts, &frame)).then_some(frame)
    }

    /// How long the encoder took.
    fn begin(&mut self, flight: &mut Flight, prompts: &[Prompt<'_>], fetch: Fetch) -> Result<Duration> {
        let config = self.model.config();
        let region = |prompt: &Prompt<'_>| {
            region_of(prompt.points).map(|region| box_of_logits(region, config.image_size, config.logits_size()))
        };
        flight.regions.clear();
        flight.regions.extend(prompts.iter().map(region));
        flight.frames.clear();
        for prompt in prompts {
            flight.frames.push(self.frame(prompt.slot)?);
        }
        let start = Instant::now();
        if let Some(frame) = self.one_pass(prompts.len()) {
            let slices = self.frames.len();
            flight.pass = Some(self.engine.begin_pass(slices, prompts, &flight.regions, &frame, fetch)?);
            self.is_open = false;
            return Ok(start.elapsed());
        }
        flight.pass = None;
        let mut encoding = Duration::ZERO;
        if self.is_open {
            self.encode()?;
            encoding = start.elapsed();
        }
        self.engine.decode(prompts)?;
        Ok(encoding)
    }

    fn check_prompts(&self, prompts: &[Prompt<'_>]) -> Result<()> {
        if prompts.len() <= self.batch {
            return Ok(());
        }
        let (expected, found) = (format!("at most {}", self.batch), prompts.len().to_string());
        Err(Error::Prompt { what: "batch".into(), expected, found })
    }

    /// The frame of the slice in `slot`.
    fn frame(&self, slot: usize) -> Result<Frame> {
        let missing = || Error::Argument {
            name: "slot",
            expected: format!("one of {} placed slices", self.frames.len()),
            found: slot.to_string(),
        };
        self.frames.get(slot).copied().ok_or_else(missing)
    }
}

impl Answers<'_> {
    /// The masks that each prompt has, counted as in the checkpoint: 0 is the single mask, 1 to 3 the candidates.
    pub fn tokens(&self) -> Range<usize> {
        let masks = self.segmenter.masks;
        masks.first()..masks.first() + masks.count()
    }

    /// Which mask to take for prompt `index`, how sure, and how far the masks agree; of a prompt that the batch does
    /// not have as of empty masks.
    pub fn verdict(&self, index: usize) -> Verdict {
        let Segmenter { measures, collected, masks, choice, model, .. } = &*self.segmenter;
        let measures = measures[..collected.regions.len()].get(index).copied().unwrap_or_default();
        mask::judge(measures, masks.first(), *choice, Rule::of(model.config().kind))
    }

    /// Raw logits `[M, L, L]` of prompt `index`. On a GPU the first call after a batch downloads those of all prompts.
    ///
    /// # Errors
    /// [`Error::Argument`] for a prompt that the batch does not have, or once another batch was submitted behind this
    /// one; memory; a device that fails.
    pub fn logits(&mut self, index: usize) -> Result<&[f32]> {
        let Segmenter { engine, collected, flights, .. } = &mut *self.segmenter;
        let argument = |name, expected, found| Err(Error::Argument { name, expected, found });
        if index >= collected.regions.len() {
            return argument("prompt", format!("below {}", collected.regions.len()), index.to_string());
        }
        if !flights.is_empty() {
            return argument("logits", "no batch behind this one".into(), "another batch".into());
        }
        engine.logits(index)
    }

    /// One mask of prompt `index` at its slice's own size, `[height, width]`, 1 inside; `token` is one of
    /// [`Answers::tokens`].
    ///
    /// # Errors
    /// [`Error::Argument`] for a mask that was not decoded or a buffer of another size; a device that fails.
    pub fn mask(&mut self, index: usize, token: usize, out: &mut [u8]) -> Result<()> {
        self.masks(index..index + 1, token..token + 1, out)
    }

    /// As [`Answers::mask`], several masks of several prompts on slices of one size: `[prompts, tokens, height,
    /// width]`.
    ///
    /// # Errors
    /// As [`Answers::mask`]; slices of several sizes.
    pub fn masks(&mut self, prompts: Range<usize>, tokens: Range<usize>, out: &mut [u8]) -> Result<()> {
        let wanted = self.tokens();
        let Segmenter { engine, collected, .. } = &mut *self.segmenter;
        let argument = |expected, found| Err(Error::Argument { name: "mask", expected, found });
        if tokens.is_empty() || tokens.start < wanted.start || tokens.end > wanted.end {
            return argument(format!("some of {wanted:?}"), format!("{tokens:?}"));
        }
        let decoded = collected.frames.len();
        let frames = collected.frames.get(prompts.clone()).unwrap_or_default();
        let Some((frame, others)) = frames.split_first() else {
            return argument(format!("some of {decoded} prompts"), format!("{prompts:?}"));
        };
        if others.iter().any(|other| other != frame) {
            return argument("prompts on slices of one size".into(), format!("{prompts:?}"));
        }
        let length = prompts.len() * tokens.len() * frame.slice[0] * frame.slice[1];
        if out.len() != length {
            return argument(format!("{length} pixels"), out.len().to_string());
        }
        let maps = tokens.start - wanted.start..tokens.end - wanted.start;
        engine.masks(collected.pass, prompts, maps, frame, out)
    }
}
