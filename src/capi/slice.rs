//! `medsegx_segment_slice`: one slice within its own call, without allocating once a session is made and has seen a slice
//! of this size.

use std::ffi::c_void;

use super::boundary::{Outcome, array, array_mut, guard, required, required_mut};
use super::context::context;
use super::session::{CancelHandle, SessionHandle, cancelled, session};
use super::status::{ErrorObject, Status};
use super::structs::{self, ContextIndices, PointPrompt, PromptView, SliceResult, SliceView};
use crate::executor::Prompt;
use crate::segment::{Frame, Picture, prompt_points};
use crate::volume::{Intensity, Statistics, Voxel};

/// Pixel types of the header.
pub(super) mod pixel {
    pub const U8: i32 = 0;
    pub const I16: i32 = 1;
    pub const U16: i32 = 2;
    pub const F32: i32 = 3;
}

/// `medsegx_segment_slice`: segments one slice. Outputs are written only on success.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_segment_slice(
    handle: *mut SessionHandle,
    slice: *const SliceView,
    indices: *const ContextIndices,
    prompt: *const PromptView,
    result: *mut SliceResult,
    cancel: *const CancelHandle,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let session = session(handle)?;
            required("slice", slice)?;
            required("prompt", prompt)?;
            required_mut("result", result)?;
            let indices = if indices.is_null() { None } else { Some(structs::read(indices)?) };
            let request = Request {
                slice: structs::read(slice)?,
                indices,
                prompt: structs::read(prompt)?,
                result: structs::read(result)?,
            };
            session.run(|session| {
                let answer = request.run(session, || cancelled(cancel))?;
                structs::write(result, &answer)
            })
        })
    }
}

struct Request {
    slice: SliceView,
    indices: Option<ContextIndices>,
    prompt: PromptView,
    result: SliceResult,
}

impl Request {
    /// # Safety
    /// The pointers inside the structs are valid as the header says.
    unsafe fn run(&self, session: &mut SessionHandle, stop: impl Fn() -> bool) -> Outcome<SliceResult> {
        let (height, width) = self.size(session)?;
        let channels = self.slice.channels as usize;
        // SAFETY: the caller's promise about the slice's pixels.
        unsafe { grey_levels(&self.slice, &mut session.grey) }?;
        let region = self.region(width, height)?;
        // SAFETY: the caller's promise about points, mask prompt, mask and logits.
        let (mask_prompt, mask, logits) = unsafe {
            self.clicks(session, width, height)?;
            (self.mask_prompt(session)?, self.mask(height * width)?, self.logits(session)?)
        };
        let context = self.indices.as_ref().map(context);
        let picture = Picture { pixels: &session.grey, height, width, channels };
        let frame = session.segmenter.place(0, &picture, context.as_ref())?;
        prompt_points(&frame, &session.clicks, region, &mut session.points);
        stop_if(&stop)?;
        session.segmenter.encode(1)?;
        stop_if(&stop)?;
        session.segmenter.decode(&[Prompt { slot: 0, points: &session.points, mask: mask_prompt }])?;
        self.answer(session, &frame, mask, logits)
    }

    fn answer(
        &self,
        session: &mut SessionHandle,
        frame: &Frame,
        mask: &mut [u8],
        logits: &mut [f32],
    ) -> Outcome<SliceResult> {
        let verdict = session.segmenter.verdict(0);
        session.restored.clear();
        session.restored.resize(frame.slice[0] * frame.slice[1], 0);
        session.segmenter.mask(0, verdict.chosen, frame, &mut session.restored)?;
        for (out, &inside) in mask.iter_mut().zip(&session.restored) {
            *out = inside;
        }
        if !logits.is_empty() {
            logits.copy_from_slice(session.segmenter.logits(0)?);
        }
        let masks = session.segmenter.masks();
        let chosen = &verdict.measures.masks[verdict.index];
        Ok(SliceResult {
            chosen: verdict.chosen as i32,
            pixels: session.restored.iter().map(|&inside| u64::from(inside)).sum(),
            mask_count: masks.count() as u32,
            first_token: masks.first() as u32,
            scores: verdict.scores,
            agreement: verdict.measures.agreement(),
            box_agreement: chosen.box_agreement,
            stability: chosen.stability,
            ..self.result
        })
    }

    fn size(&self, session: &SessionHandle) -> Outcome<(usize, usize)> {
        let (height, width) = (self.slice.height, self.slice.width);
        let options = &session.options;
        if !(1..=options.max_height).contains(&height) || !(1..=options.max_width).contains(&width) {
            let expected = format!("1 x 1 to {} x {}, as the session was made", options.max_height, options.max_width);
            return Err(ErrorObject::argument("slice", &expected, &format!("{height} x {width}")));
        }
        if !matches!(self.slice.channels, 1 | 3) {
            return Err(ErrorObject::argument("channels", "1 or 3", &self.slice.channels.to_string()));
        }
        Ok((height as usize, width as usize))
    }

    fn region(&self, width: usize, height: usize) -> Outcome<Option<[f64; 4]>> {
        if self.prompt.has_box == 0 {
            return Ok(None);
        }
        let region @ [x0, y0, x1, y1] = self.prompt.region;
        let inside =
            |first: f64, last: f64, length: usize| 0.0 <= first && first <= last && last <= length as f64 - 1.0;
        if inside(x0, x1, width) && inside(y0, y1, height) {
            return Ok(Some(region));
        }
        let (expected, found) = (format!("0 <= x0 <= x1 < {width}, 0 <= y0 <= y1 < {height}"), format!("{region:?}"));
        Err(crate::Error::Prompt { what: "box".into(), expected, found }.into())
    }

    /// # Safety
    /// The prompt's points are valid as the header says.
    unsafe fn clicks(&self, session: &mut SessionHandle, width: usize, height: usize) -> Outcome {
        // SAFETY: the caller's promise.
        let points = unsafe { array::<PointPrompt>("points", self.prompt.points, self.prompt.point_count) }?;
        let corners = if self.prompt.has_box != 0 { 2 } else { 0 };
        if points.len() + corners > session.options.max_points as usize {
            let found = format!("{} points and {corners} for the box", points.len());
            return Err(ErrorObject::argument("point_count", "at most max_points of the session", &found));
        }
        session.clicks.clear();
        for point in points {
            let inside = |at: f64, length: usize| at >= -0.5 && at < length as f64 - 0.5;
            if !inside(point.x, width) || !inside(point.y, height) || !matches!(point.label, 0 | 1) {
                let found = format!("({}, {}) label {}", point.x, point.y, point.label);
                let expected = "a point inside the slice with label 0 or 1".into();
                return Err(crate::Error::Prompt { what: "point".into(), expected, found }.into());
            }
            session.clicks.push((point.x, point.y, point.label == 1));
        }
        Ok(())
    }

    /// # Safety
    /// The prompt's mask is NULL or valid as the header says.
    unsafe fn mask_prompt<'a>(&self, session: &SessionHandle) -> Outcome<Option<&'a [f32]>> {
        if self.prompt.mask.is_null() {
            return Ok(None);
        }
        if session.options.mask_prompts == 0 {
            return Err(ErrorObject::argument("mask prompt", "a session made with mask_prompts", "one without"));
        }
        let side = session.segmenter.model().config().image_size / 4;
        // SAFETY: the caller's promise.
        unsafe { array("mask prompt", self.prompt.mask, side * side) }.map(Some)
    }

    /// # Safety
    /// The result's mask is NULL or valid as the header says.
    unsafe fn mask<'a>(&self, area: usize) -> Outcome<&'a mut [u8]> {
        if self.result.mask.is_null() {
            return Ok(&mut []);
        }
        if self.result.mask_size < area {
            return Err(ErrorObject::argument("mask_size", &area.to_string(), &self.result.mask_size.to_string()));
        }
        // SAFETY: the caller's promise.
        unsafe { array_mut("mask", self.result.mask, area) }
    }

    /// # Safety
    /// The result's logits are NULL or valid as the header says.
    unsafe fn logits<'a>(&self, session: &SessionHandle) -> Outcome<&'a mut [f32]> {
        if self.result.logits.is_null() {
            return Ok(&mut []);
        }
        let side = session.segmenter.model().config().logits_size();
        let count = session.segmenter.masks().count() * side * side;
        if self.result.logits_count < count {
            let found = self.result.logits_count.to_string();
            return Err(ErrorObject::argument("logits_count", &count.to_string(), &found));
        }
        // SAFETY: the caller's promise.
        unsafe { array_mut("logits", self.result.logits, count) }
    }
}

fn stop_if(stop: &impl Fn() -> bool) -> Outcome {
    if stop() { Err(crate::Error::Cancelled.into()) } else { Ok(()) }
}

/// The rule behind the header's number.
pub(super) fn intensity(rule: i32, low: f64, high: f64) -> Outcome<Intensity> {
    Ok(match rule {
        0 => Intensity::MinMax,
        1 => Intensity::Percentile,
        2 if low.is_finite() && high.is_finite() && low < high => {
            Intensity::Window { level: (low + high) / 2.0, width: high - low }
        }
        2 => return Err(ErrorObject::argument("low, high", "low < high", &format!("{low}, {high}"))),
        3 => Intensity::Raw,
        4 => Intensity::Soft,
        5 => Intensity::Lung,
        6 => Intensity::Brain,
        7 => Intensity::Bone,
        8 => Intensity::Mediastinum,
        other => return Err(ErrorObject::argument("intensity", "0 to 8", &other.to_string())),
    })
}

/// # Safety
/// `slice.pixels` is NULL or valid for the rows that the struct says.
unsafe fn grey_levels(slice: &SliceView, grey: &mut Vec<u8>) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe {
        match slice.pixel_type {
            pixel::U8 => rows_to_grey::<u8>(slice, grey),
            pixel::I16 => rows_to_grey::<i16>(slice, grey),
            pixel::U16 => rows_to_grey::<u16>(slice, grey),
            pixel::F32 => rows_to_grey::<f32>(slice, grey),
            other => Err(ErrorObject::argument("pixel_type", "0 to 3", &other.to_string())),
        }
    }
}

/// # Safety
/// As [`grey_levels`].
unsafe fn rows_to_grey<T: Voxel>(slice: &SliceView, grey: &mut Vec<u8>) -> Outcome {
    let row = slice.width as usize * slice.channels as usize;
    let stride = if slice.row_stride == 0 { row * size_of::<T>() } else { slice.row_stride };
    if stride < row * size_of::<T>() || stride % align_of::<T>() != 0 {
        let expected = format!("0, or a multiple of {} of at least {}", align_of::<T>(), row * size_of::<T>());
        return Err(ErrorObject::argument("row_stride", &expected, &stride.to_string()));
    }
    if !slice.slope.is_finite() || !slice.intercept.is_finite() {
        let found = format!("{}, {}", slice.slope, slice.intercept);
        return Err(ErrorObject::argument("slope, intercept", "finite numbers", &found));
    }
    let first = slice.pixels.cast::<c_void>();
    let rows = |y: usize| {
        // SAFETY: the caller promises height rows, stride bytes apart; a NULL first row is refused by `array`.
        unsafe { array::<T>("pixels", first.byte_add(y * stride).cast(), row) }
    };
    if first.is_null() {
        return Err(ErrorObject::argument("pixels", "a pointer", "NULL"));
    }
    let mut all = Statistics::of::<T>(&[], slice.slope, slice.intercept);
    for y in 0..slice.height as usize {
        let one = Statistics::of(rows(y)?, slice.slope, slice.intercept);
        all.minimum = all.minimum.min(one.minimum);
        all.maximum = all.maximum.max(one.maximum);
        all.not_finite += one.not_finite;
    }
    let map = intensity(slice.intensity, slice.low, slice.high)?.resolve_range(&all)?;
    grey.clear();
    for y in 0..slice.height as usize {
        grey.extend(rows(y)?.iter().map(|value| map.level(slice.slope * value.to_f64() + slice.intercept)));
    }
    Ok(())
}
