//! One prompt and the place for its answer, as a caller gives them, checked.

use super::boundary::{Outcome, array, array_mut};
use super::session::State;
use super::status::medsegx_error;
use super::structs::{medsegx_point, medsegx_prompt, medsegx_result};
use crate::codes::Code;
use crate::prompt::Stretch;
use crate::segment::volume::doubts_of_mask;
use crate::segment::{Answers, Frame, check_points_trained};

/// The slice that prompts are about.
pub(super) struct Prompted<'a> {
    pub frame: Frame,
    pub grey: &'a [u8],
    /// Bits of what looks wrong with them.
    pub doubts: u64,
    /// Memory for a mask.
    pub inside: &'a mut Vec<u8>,
}

pub(super) struct Asked {
    pub prompt: medsegx_prompt,
    pub result: medsegx_result,
    /// Bits of what was done to the box.
    notes: u64,
}

impl Asked {
    /// Brings the corners of a box into order, and fractions to voxels.
    pub fn new(mut prompt: medsegx_prompt, result: medsegx_result) -> Asked {
        let mut notes = 0;
        if prompt.has_box != 0 && prompt.r#box.iter().all(|corner| corner.is_finite()) {
            let [x0, y0, x1, y1] = prompt.r#box;
            let [x, y] = [(x0, x1), (y0, y1)].map(|(a, b)| Stretch::of(a, b, true));
            prompt.r#box = [x.first, y.first, x.last, y.last].map(|index| index as f64);
            notes = x.bits() | y.bits();
        }
        Asked { prompt, result, notes }
    }

    pub fn region(&self, width: usize, height: usize) -> Outcome<Option<[f64; 4]>> {
        if self.prompt.has_box == 0 {
            return Ok(None);
        }
        let region @ [x0, y0, x1, y1] = self.prompt.r#box;
        let inside =
            |first: f64, last: f64, length: usize| 0.0 <= first && first <= last && last <= length as f64 - 1.0;
        if inside(x0, x1, width) && inside(y0, y1, height) {
            return Ok(Some(region));
        }
        let (expected, found) = (format!("0 <= x0, x1 < {width}, 0 <= y0, y1 < {height}"), format!("{region:?}"));
        Err(crate::Error::Prompt { what: "box".into(), expected, found }.into())
    }

    /// # Safety
    /// The prompt's points are valid as the header says.
    pub unsafe fn clicks(&self, state: &mut State, width: usize, height: usize) -> Outcome {
        // SAFETY: the caller's promise.
        let points = unsafe { array::<medsegx_point>("points", self.prompt.points, self.prompt.point_count) }?;
        let corners = if self.prompt.has_box != 0 { 2 } else { 0 };
        if points.len() + corners > state.options.max_points as usize {
            let found = format!("{} points and {corners} for the box", points.len());
            return Err(medsegx_error::argument("point_count", "at most max_points of the session", &found));
        }
        if !points.is_empty() {
            check_points_trained(state.segmenter.model().config().kind)?;
        }
        state.clicks.clear();
        for point in points {
            let inside = |at: f64, length: usize| at >= -0.5 && at < length as f64 - 0.5;
            if !inside(point.x, width) || !inside(point.y, height) || !matches!(point.label, 0 | 1) {
                let found = format!("({}, {}) label {}", point.x, point.y, point.label);
                let expected = "a point inside the slice with label 0 or 1".into();
                return Err(crate::Error::Prompt { what: "point".into(), expected, found }.into());
            }
            state.clicks.push((point.x, point.y, point.label == 1));
        }
        Ok(())
    }

    /// # Safety
    /// The prompt's mask is NULL or valid as the header says.
    pub unsafe fn mask_prompt<'a>(&self, state: &State) -> Outcome<Option<&'a [f32]>> {
        if self.prompt.mask.is_null() {
            return Ok(None);
        }
        if state.options.mask_prompts == 0 {
            return Err(medsegx_error::argument("mask prompt", "a session made with mask_prompts", "one without"));
        }
        let side = state.segmenter.model().config().image_size / 4;
        // SAFETY: the caller's promise.
        unsafe { array("mask prompt", self.prompt.mask, side * side) }.map(Some)
    }

    /// # Safety
    /// The result's mask is NULL or valid as the header says.
    pub unsafe fn mask<'a>(&self, area: usize) -> Outcome<&'a mut [u8]> {
        if self.result.mask.is_null() {
            return Ok(&mut []);
        }
        if self.result.mask_size < area {
            return Err(medsegx_error::argument("mask_size", &area.to_string(), &self.result.mask_size.to_string()));
        }
        // SAFETY: the caller's promise.
        unsafe { array_mut("mask", self.result.mask, area) }
    }

    /// `count` logits, those of a prompt.
    ///
    /// # Safety
    /// The result's logits are NULL or valid as the header says.
    pub unsafe fn logits<'a>(&self, count: usize) -> Outcome<&'a mut [f32]> {
        if self.result.logits.is_null() {
            return Ok(&mut []);
        }
        if self.result.logits_count < count {
            let found = self.result.logits_count.to_string();
            return Err(medsegx_error::argument("logits_count", &count.to_string(), &found));
        }
        // SAFETY: the caller's promise.
        unsafe { array_mut("logits", self.result.logits, count) }
    }

    /// Writes the caller's buffers for prompt `index` of the slice, once nothing can fail any more.
    pub fn answer(
        &self,
        answers: &mut Answers<'_>,
        index: usize,
        slice: &mut Prompted<'_>,
        (mask, logits): (&mut [u8], &mut [f32]),
    ) -> Outcome<medsegx_result> {
        let Prompted { frame, grey, doubts, inside } = slice;
        let verdict = answers.verdict(index);
        inside.clear();
        inside.resize(frame.slice[0] * frame.slice[1], 0);
        answers.mask(index, verdict.chosen, inside)?;
        if !logits.is_empty() {
            logits.copy_from_slice(answers.logits(index)?);
        }
        if !mask.is_empty() {
            mask.copy_from_slice(inside);
        }
        let (tokens, chosen) = (answers.tokens(), &verdict.measures.masks[verdict.index]);
        let pixels = inside.iter().map(|&inside| u64::from(inside)).sum();
        Ok(medsegx_result {
            chosen: verdict.chosen as i32,
            pixels,
            mask_count: tokens.len() as u32,
            first_token: tokens.start as u32,
            scores: verdict.scores,
            agreement: if pixels > 0 { verdict.measures.agreement() } else { -1.0 },
            box_agreement: chosen.box_agreement,
            stability: chosen.stability,
            warnings: self.notes | *doubts | self.warnings(grey, frame.slice, pixels),
            ..self.result
        })
    }

    /// Bits of what is doubtful about a slice `[height, width]` of these grey levels and a mask of `pixels`.
    fn warnings(&self, grey: &[u8], [height, width]: [usize; 2], pixels: u64) -> u64 {
        let channels = grey.len() / (height * width).max(1);
        let whole = [0, 0, width.saturating_sub(1), height.saturating_sub(1)];
        let has_box = self.prompt.has_box != 0;
        let [x0, y0, x1, y1] = if has_box { self.prompt.r#box.map(|at| at as usize) } else { whole };
        let in_box = has_box.then_some(((x1 - x0 + 1) * (y1 - y0 + 1)) as u64);
        let pixel = |x: usize, y: usize| grey.get((y * width + x) * channels..(y * width + x + 1) * channels);
        let blank = (y0..=y1).all(|y| (x0..=x1).all(|x| pixel(x, y) == pixel(x0, y0)));
        doubts_of_mask(pixels, in_box, (width * height) as u64) | if blank { Code::SliceBlank.bit() } else { 0 }
    }
}
