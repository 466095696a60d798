//! Boxes on a few slices into boxes on all slices of a target: from the outermost given ones on, slice after slice,
//! until the target ends.

use std::ops::ControlFlow;

use serde::Serialize;

use super::follow::{Found, Grey, PropagationRule, Trail};
use super::request::Request;
use crate::error::{Error, Result};
use crate::image::Runs;
use crate::memory::zeros;
use crate::prompt::{PixelBox, fill_gaps};
use crate::segment::{Prompt, Segmenter, prompt_points};
use crate::volume::{IntensityMap, SliceFrame, Volume};

/// Why a target goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The next slice does not exist.
    Border,
    /// Too little on the next slice looks like it, or it ended in a tip.
    Share,
    /// The next mask is empty.
    Empty,
    /// The next mask is elsewhere than what was found.
    Dice,
    /// The masks of the next box disagree.
    Agreement,
    /// The next mask covers the whole slice.
    WholeSlice,
}

/// One end of a target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct End {
    /// The last slice that has a box.
    pub slice: usize,
    /// Why it is the last.
    pub stop: Stop,
    /// What fell below or rose above the rule's limit on the next slice, or on a tip itself; `None` at the border and
    /// of an empty mask.
    pub value: Option<f64>,
}

/// What became of one request.
#[derive(Clone, Debug, Serialize)]
pub struct Propagated {
    /// The slices whose boxes were given.
    pub given: Vec<usize>,
    /// The lower and the upper end.
    pub ends: [End; 2],
}

/// A target on its way in one direction.
struct Front {
    request: usize,
    up: bool,
    slice: usize,
    region: PixelBox,
    trail: Option<Trail>,
    /// What its box encloses, but for a given box.
    found: Option<Found>,
}

/// Gives `requests` boxes on all slices that their targets reach: those between given ones on straight lines, those
/// beyond by `rule`. Each target is segmented on the way; with [`Segmenter::keep`] the encoder need not run again for
/// the masks. Calls `go_on` once a batch.
///
/// # Errors
/// [`Error::Prompt`] for requests with points or without boxes, a slice or box outside; [`Error::Cancelled`] where
/// `go_on` breaks; memory; a device that fails.
pub fn propagate(
    segmenter: &mut Segmenter,
    volume: &Volume,
    slices: &SliceFrame,
    map: &IntensityMap,
    requests: &mut [Request],
    rule: &PropagationRule,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<Propagated>> {
    let mut fronts = Vec::new();
    let mut done = Vec::new();
    for (request, of) in requests.iter_mut().enumerate() {
        let given: Vec<usize> = of.boxes.keys().copied().collect();
        let (Some((&first, &low)), Some((&last, &high))) = (of.boxes.first_key_value(), of.boxes.last_key_value())
        else {
            return Err(refused(of, "none"));
        };
        if !of.points.is_empty() {
            return Err(refused(of, "points"));
        }
        if last >= slices.slices() {
            return Err(refused(of, &format!("a box on slice {last} of {}", slices.slices())));
        }
        fill_gaps(&mut of.boxes);
        let end = |slice| End { slice, stop: Stop::Border, value: None };
        done.push(Propagated { given, ends: [end(first), end(last)] });
        for (up, slice, region) in [(false, first, low), (true, last, high)] {
            fronts.push(Front { request, up, slice, region, trail: None, found: None });
        }
    }
    let run = Run { volume, slices, map, rule };
    while !fronts.is_empty() {
        let mut further = Vec::new();
        while !fronts.is_empty() {
            let batch: Vec<Front> = fronts.drain(..fronts.len().min(segmenter.batch())).collect();
            if go_on().is_break() {
                return Err(Error::Cancelled);
            }
            for (front, stop) in run.step(segmenter, requests, batch)? {
                match stop {
                    None => further.push(front),
                    Some((stop, value)) => {
                        let of = &requests[front.request].boxes;
                        let last = if front.up { of.last_key_value() } else { of.first_key_value() };
                        let slice = last.map_or(front.slice, |(&slice, _)| slice);
                        done[front.request].ends[usize::from(front.up)] = End { slice, stop, value };
                    }
                }
            }
        }
        fronts = further;
    }
    Ok(done)
}

fn refused(request: &Request, found: &str) -> Error {
    let what = format!("the target with label {}", request.label);
    Error::Prompt { what, expected: "a box on one slice or more, to propagate".into(), found: found.into() }
}

/// Why a front stopped, and by which value.
type Stopped = Option<(Stop, Option<f64>)>;

struct Run<'a> {
    volume: &'a Volume,
    slices: &'a SliceFrame,
    map: &'a IntensityMap,
    rule: &'a PropagationRule,
}

impl Run<'_> {
    /// Segments the fronts' slices and moves each front on.
    fn step(
        &self,
        segmenter: &mut Segmenter,
        requests: &mut [Request],
        batch: Vec<Front>,
    ) -> Result<Vec<(Front, Stopped)>> {
        let mut points = Vec::new();
        for (slot, front) in batch.iter().enumerate() {
            let stored = self.volume.stored_slice(self.slices, front.slice, self.map)?;
            let frame = segmenter.place_stored(slot, &stored, requests[front.request].context.as_ref())?;
            let mut corners = Vec::new();
            prompt_points(&frame, &[], Some(self.slices.to_slice(front.region.corners())), &mut corners);
            points.push(corners);
        }
        let prompts = points.iter().enumerate().map(|(slot, points)| Prompt { slot, points, mask: None });
        let mut answers = segmenter.answer(&prompts.collect::<Vec<_>>())?;
        let (height, width) = self.slices.shape();
        let mut mask = zeros(height * width, "a mask")?;
        let mut moved = Vec::new();
        for (index, mut front) in batch.into_iter().enumerate() {
            let verdict = answers.verdict(index);
            answers.mask(index, verdict.chosen, &mut mask)?;
            let mut stop = self.judge(&front, &mask, verdict.measures.agreement())?;
            if stop.is_none() {
                requests[front.request].boxes.insert(front.slice, front.region);
                stop = self.advance(&mut front, &mask)?;
            }
            moved.push((front, stop));
        }
        Ok(moved)
    }

    /// Whether the mask of the front's slice ends the target. That of a given box ends it only by being empty.
    fn judge(&self, front: &Front, mask: &[u8], agreement: f64) -> Result<Stopped> {
        let pixels = mask.iter().filter(|&&pixel| pixel != 0).count();
        if pixels == 0 {
            return Ok(Some((Stop::Empty, None)));
        }
        let Some(found) = &front.found else { return Ok(None) };
        let covered = pixels as f64 / mask.len() as f64;
        let found: Vec<u8> = found.mask.iter().map(|&inside| u8::from(inside)).collect();
        let dice = Runs::new(mask)?.dice(&Runs::new(&found)?);
        let PropagationRule { least_dice, least_agreement, most_of_slice, .. } = *self.rule;
        Ok([
            (covered >= most_of_slice, Stop::WholeSlice, covered),
            (dice < least_dice, Stop::Dice, dice),
            (agreement < least_agreement, Stop::Agreement, agreement),
        ]
        .into_iter()
        .find_map(|(ends, stop, value)| ends.then_some((stop, Some(value)))))
    }

    /// Puts the front on the next slice, with its box there.
    fn advance(&self, front: &mut Front, mask: &[u8]) -> Result<Stopped> {
        let next = if front.up { front.slice.checked_add(1) } else { front.slice.checked_sub(1) };
        let Some(next) = next.filter(|&next| next < self.slices.slices()) else {
            return Ok(Some((Stop::Border, None)));
        };
        let grey = |slice| Grey::of(self.volume, self.slices, slice);
        let mut trail = match front.trail.take() {
            Some(trail) => trail,
            None => {
                let mask: Vec<bool> = mask.iter().map(|&pixel| pixel != 0).collect();
                let corners = self.slices.to_slice(front.region.corners());
                Trail::new(grey(front.slice)?, &mask, corners, self.map, self.rule)?
            }
        };
        if let Some(found) = front.found.take() {
            if found.is_tip {
                return Ok(Some((Stop::Share, Some(found.like))));
            }
            trail.moved(found)?;
        }
        let found = trail.follow(grey(next)?, self.rule)?;
        let share = found.as_ref().map_or(0.0, |found| found.like);
        let Some(found) = found.filter(|found| found.is_tip || share >= self.rule.least_share) else {
            return Ok(Some((Stop::Share, Some(share))));
        };
        let ((height, width), [x0, y0, x1, y1]) = (self.slices.shape(), found.corners);
        let (low, margin) = (|at: usize| at.saturating_sub(self.rule.margin), self.rule.margin);
        let corners = [low(x0), low(y0), (x1 + margin).min(width - 1), (y1 + margin).min(height - 1)];
        let [x0, y0, x1, y1] = self.slices.to_stored(corners.map(|at| at as f64)).map(|at| at as i64);
        (front.slice, front.region) = (next, PixelBox { x0, y0, x1, y1 });
        (front.trail, front.found) = (Some(trail), Some(found));
        Ok(None)
    }
}
