//! `medsegx_segment_slice`: one slice within its own call, without allocating once the session knows the slice's size.

use super::boundary::{Outcome, array, array_mut, check_strided, guard, null};
use super::codes::{medsegx_intensity, medsegx_pixel};
use super::context::to_engine;
use super::session::{State, cancelled, medsegx_cancel, medsegx_session, watched, with};
use super::status::{medsegx_error, medsegx_status};
use super::structs::{medsegx_context, medsegx_point, medsegx_prompt, medsegx_result, medsegx_slice};
use super::versioned;
use crate::codes::Code;
use crate::executor::Prompt;
use crate::image::intensity::{are_fractions, percentiles_of};
use crate::image::robust::robust_of;
use crate::segment::volume::doubts_of_mask;
use crate::segment::{Frame, Picture, check_points_trained, prompt_points};
use crate::volume::{Intensity, IntensityMap, Statistics, Voxel};

/// Segments one slice. Where the session was made for slices of this size, or has seen one, the call takes no memory but
/// an error object when it fails.
///
/// `session`, `slice`, `prompt` and `result` are required. `context` may be NULL where the model needs none, `cancel`
/// always. One thread at a time with one session; any number of threads with sessions of their own. All that the structs
/// point at has to stay as it is during the call, and is not kept. `result` and its buffers are written only on success.
/// Fails with MEDSEGX_STATUS_INVALID_ARGUMENT, _BAD_PROMPT, _CANCELLED, _OUT_OF_MEMORY, _DEVICE, _DEVICE_LOST,
/// _POISONED and _INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_segment_slice(
    session: *mut medsegx_session,
    slice: *const medsegx_slice,
    context: *const medsegx_context,
    prompt: *const medsegx_prompt,
    result: *mut medsegx_result,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let context = if context.is_null() { None } else { Some(versioned::read(context)?) };
            let request = Request {
                slice: versioned::required("slice", slice)?,
                context,
                prompt: versioned::required("prompt", prompt)?,
                result: versioned::required("result", result)?,
            };
            with(session, |state| {
                state.segmenter.set_stop(watched(cancel));
                let answer = request.run(state, || cancelled(cancel));
                state.segmenter.set_stop(None);
                versioned::write(result, &answer?)
            })
        })
    }
}

struct Request {
    slice: medsegx_slice,
    context: Option<medsegx_context>,
    prompt: medsegx_prompt,
    result: medsegx_result,
}

impl Request {
    /// # Safety
    /// The pointers inside the structs are valid as the header says.
    unsafe fn run(&self, state: &mut State, stop: impl Fn() -> bool) -> Outcome<medsegx_result> {
        let (height, width) = self.size(state)?;
        let channels = self.slice.channels as usize;
        // SAFETY: the caller's promise about the slice's pixels.
        unsafe { grey_levels(&self.slice, state) }?;
        let region = self.region(width, height)?;
        // SAFETY: the caller's promise about points, mask prompt, mask and logits.
        let (mask_prompt, mask, logits) = unsafe {
            self.clicks(state, width, height)?;
            (self.mask_prompt(state)?, self.mask(height * width)?, self.logits(state)?)
        };
        let context = self.context.as_ref().map(to_engine);
        let picture = Picture { pixels: &state.grey, height, width, channels };
        let frame = state.segmenter.place(0, &picture, context.as_ref())?;
        prompt_points(&frame, &state.clicks, region, &mut state.points);
        stop_if(&stop)?;
        let prompts = [Prompt { slot: 0, points: &state.points, mask: mask_prompt }];
        if state.segmenter.begin_whole(1, &prompts, &frame, false)? {
            state.segmenter.finish()?;
        } else {
            state.segmenter.encode(1)?;
            stop_if(&stop)?;
            state.segmenter.decode(&prompts)?;
        }
        self.answer(state, &frame, mask, logits)
    }

    /// Writes the caller's buffers, once nothing can fail any more.
    fn answer(&self, state: &mut State, frame: &Frame, mask: &mut [u8], logits: &mut [f32]) -> Outcome<medsegx_result> {
        let verdict = state.segmenter.verdict(0);
        state.inside.clear();
        state.inside.resize(frame.slice[0] * frame.slice[1], 0);
        state.segmenter.mask(0, verdict.chosen, frame, &mut state.inside)?;
        if !logits.is_empty() {
            logits.copy_from_slice(state.segmenter.logits(0)?);
        }
        if !mask.is_empty() {
            mask.copy_from_slice(&state.inside);
        }
        let masks = state.segmenter.masks();
        let chosen = &verdict.measures.masks[verdict.index];
        let pixels = state.inside.iter().map(|&inside| u64::from(inside)).sum();
        Ok(medsegx_result {
            chosen: verdict.chosen as i32,
            pixels,
            mask_count: masks.count() as u32,
            first_token: masks.first() as u32,
            scores: verdict.scores,
            agreement: if pixels > 0 { verdict.measures.agreement() } else { -1.0 },
            box_agreement: chosen.box_agreement,
            stability: chosen.stability,
            warnings: self.warnings(&state.grey, pixels),
            ..self.result
        })
    }

    /// Bits of what is doubtful about a picture of these grey levels and a mask of `pixels`.
    fn warnings(&self, grey: &[u8], pixels: u64) -> u64 {
        let (width, height, channels) =
            (self.slice.width as usize, self.slice.height as usize, self.slice.channels as usize);
        let whole = [0, 0, width.saturating_sub(1), height.saturating_sub(1)];
        let has_box = self.prompt.has_box != 0;
        let [x0, y0, x1, y1] = if has_box { self.prompt.r#box.map(|at| at as usize) } else { whole };
        let in_box = has_box.then_some(((x1 - x0 + 1) * (y1 - y0 + 1)) as u64);
        let pixel = |x: usize, y: usize| grey.get((y * width + x) * channels..(y * width + x + 1) * channels);
        let blank = (y0..=y1).all(|y| (x0..=x1).all(|x| pixel(x, y) == pixel(x0, y0)));
        doubts_of_mask(pixels, in_box, (width * height) as u64) | if blank { Code::SliceBlank.bit() } else { 0 }
    }

    fn size(&self, state: &State) -> Outcome<(usize, usize)> {
        let (height, width) = (self.slice.height, self.slice.width);
        let options = &state.options;
        if !(1..=options.max_height).contains(&height) || !(1..=options.max_width).contains(&width) {
            let expected = format!("1 x 1 to {} x {}, as the session was made", options.max_height, options.max_width);
            return Err(medsegx_error::argument("slice", &expected, &format!("{height} x {width}")));
        }
        if !matches!(self.slice.channels, 1 | 3) {
            return Err(medsegx_error::argument("channels", "1 or 3", &self.slice.channels.to_string()));
        }
        Ok((height as usize, width as usize))
    }

    fn region(&self, width: usize, height: usize) -> Outcome<Option<[f64; 4]>> {
        if self.prompt.has_box == 0 {
            return Ok(None);
        }
        let region @ [x0, y0, x1, y1] = self.prompt.r#box;
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
    unsafe fn clicks(&self, state: &mut State, width: usize, height: usize) -> Outcome {
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
    unsafe fn mask_prompt<'a>(&self, state: &State) -> Outcome<Option<&'a [f32]>> {
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
    unsafe fn mask<'a>(&self, area: usize) -> Outcome<&'a mut [u8]> {
        if self.result.mask.is_null() {
            return Ok(&mut []);
        }
        if self.result.mask_size < area {
            return Err(medsegx_error::argument("mask_size", &area.to_string(), &self.result.mask_size.to_string()));
        }
        // SAFETY: the caller's promise.
        unsafe { array_mut("mask", self.result.mask, area) }
    }

    /// # Safety
    /// The result's logits are NULL or valid as the header says.
    unsafe fn logits<'a>(&self, state: &State) -> Outcome<&'a mut [f32]> {
        if self.result.logits.is_null() {
            return Ok(&mut []);
        }
        let side = state.segmenter.model().config().logits_size();
        let count = state.segmenter.masks().count() * side * side;
        if self.result.logits_count < count {
            let found = self.result.logits_count.to_string();
            return Err(medsegx_error::argument("logits_count", &count.to_string(), &found));
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
    Ok(match medsegx_intensity::of(rule) {
        Some(medsegx_intensity::Minmax) => Intensity::MinMax,
        Some(medsegx_intensity::Percentile) => Intensity::Percentile,
        Some(medsegx_intensity::Window) if low.is_finite() && high.is_finite() && low < high => {
            Intensity::Window { level: (low + high) / 2.0, width: high - low }
        }
        Some(medsegx_intensity::Window) => {
            return Err(medsegx_error::argument("low, high", "low < high", &format!("{low}, {high}")));
        }
        Some(medsegx_intensity::Raw) => Intensity::Raw,
        Some(medsegx_intensity::Soft) => Intensity::Soft,
        Some(medsegx_intensity::Lung) => Intensity::Lung,
        Some(medsegx_intensity::Brain) => Intensity::Brain,
        Some(medsegx_intensity::Bone) => Intensity::Bone,
        Some(medsegx_intensity::Mediastinum) => Intensity::Mediastinum,
        Some(medsegx_intensity::Unit) => Intensity::Unit,
        Some(medsegx_intensity::Robust) => Intensity::Robust,
        None => return Err(medsegx_error::argument("intensity", "0 to 10", &rule.to_string())),
    })
}

/// Fills `state.grey`.
///
/// # Safety
/// `slice.pixels` is NULL or valid for the rows that the struct says.
unsafe fn grey_levels(slice: &medsegx_slice, state: &mut State) -> Outcome {
    let State { grey, scratch, .. } = state;
    // SAFETY: the caller's promise.
    unsafe {
        match medsegx_pixel::of(slice.pixel_type) {
            Some(medsegx_pixel::U8) => Rows::<u8>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::I16) => Rows::<i16>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::U16) => Rows::<u16>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::F32) => Rows::<f32>::new(slice)?.grey(scratch, grey),
            None => Err(medsegx_error::argument("pixel_type", "0 to 3", &slice.pixel_type.to_string())),
        }
    }
}

/// A caller's pixels of one type.
struct Rows<'a, T> {
    slice: &'a medsegx_slice,
    first: *const T,
    /// Pixels of a row, channels counted.
    row: usize,
    /// Bytes from one row to the next.
    stride: usize,
}

impl<'a, T: Voxel> Rows<'a, T> {
    /// # Safety
    /// `slice.pixels` is NULL or valid for the rows that the struct says, as long as this lives.
    unsafe fn new(slice: &'a medsegx_slice) -> Outcome<Rows<'a, T>> {
        let row = slice.width as usize * slice.channels as usize;
        let least = row * size_of::<T>();
        let stride = if slice.row_stride == 0 { least } else { slice.row_stride };
        if stride < least || !stride.is_multiple_of(align_of::<T>()) {
            let expected = format!("0, or a multiple of {} of at least {least}", align_of::<T>());
            return Err(medsegx_error::argument("row_stride", &expected, &stride.to_string()));
        }
        if !slice.slope.is_finite() || !slice.intercept.is_finite() {
            let found = format!("{}, {}", slice.slope, slice.intercept);
            return Err(medsegx_error::argument("slope, intercept", "finite numbers", &found));
        }
        let first = slice.pixels.cast::<T>();
        if first.is_null() {
            return Err(null("pixels"));
        }
        check_strided("pixels", first, stride, slice.height as usize)?;
        Ok(Rows { slice, first, row, stride })
    }

    fn rows(&self) -> impl Iterator<Item = &[T]> {
        // SAFETY: `new` checked the first pointer and the stride; the rest is its caller's promise.
        (0..self.slice.height as usize)
            .map(|y| unsafe { std::slice::from_raw_parts(self.first.byte_add(y * self.stride), self.row) })
    }

    fn value(&self, pixel: T) -> f64 {
        self.slice.slope * pixel.to_f64() + self.slice.intercept
    }

    /// Writes grey levels; `scratch` is for the pixels of which percentiles are taken.
    fn grey(&self, scratch: &mut Vec<f32>, grey: &mut Vec<u8>) -> Outcome {
        let medsegx_slice { slope, intercept, intensity: rule, low, high, .. } = *self.slice;
        let mut all = Statistics::of::<T>(&[], slope, intercept);
        for row in self.rows() {
            let one = Statistics::of(row, slope, intercept);
            all.minimum = all.minimum.min(one.minimum);
            all.maximum = all.maximum.max(one.maximum);
            all.not_finite += one.not_finite;
        }
        let map = match intensity(rule, low, high)? {
            Intensity::Percentile => self.percentiles(&all, scratch)?,
            Intensity::Robust => self.robust(&all, scratch)?,
            Intensity::Raw if !T::INTEGER && are_fractions(&all) => {
                let found = format!("{} to {}", all.minimum, all.maximum);
                return Err(medsegx_error::argument("pixels", "0 to 255 for raw (unit takes 0 to 1)", &found));
            }
            other => other.resolve_range(&all)?,
        };
        grey.clear();
        for row in self.rows() {
            grey.extend(row.iter().map(|&pixel| map.level(self.value(pixel))));
        }
        Ok(())
    }

    fn robust(&self, all: &Statistics, scratch: &mut Vec<f32>) -> Outcome<IntensityMap> {
        Intensity::MinMax.resolve_range(all)?; // refuses values that are not finite
        scratch.clear();
        scratch.resize(self.row * self.slice.height as usize, 0.0);
        let pixels: &mut [T] = bytemuck::cast_slice_mut(scratch);
        let count = pixels.iter_mut().zip(self.rows().flatten()).map(|(to, &from)| *to = from).count();
        let limits = robust_of(&mut pixels[..count], self.slice.slope, self.slice.intercept);
        let none = || medsegx_error::argument("pixels", "some", "none");
        let ([low, high], _) = limits.ok_or_else(none)?;
        Ok(IntensityMap { rule: Intensity::Robust, low, high })
    }

    /// Every pixel type fits the alignment and size of f32, which `scratch` is made of.
    fn percentiles(&self, all: &Statistics, scratch: &mut Vec<f32>) -> Outcome<IntensityMap> {
        Intensity::MinMax.resolve_range(all)?; // refuses values that are not finite
        scratch.clear();
        scratch.resize(self.row * self.slice.height as usize, 0.0);
        let pixels: &mut [T] = bytemuck::cast_slice_mut(scratch);
        let mut count = 0;
        for &pixel in self.rows().flatten().filter(|&&pixel| self.value(pixel) > 0.0) {
            pixels[count] = pixel;
            count += 1;
        }
        let range = percentiles_of(&mut pixels[..count], self.slice.slope, self.slice.intercept);
        let none = || medsegx_error::argument("pixels", "some above 0 for the percentile rule", "none");
        let [low, high] = range.ok_or_else(none)?;
        Ok(IntensityMap { rule: Intensity::Percentile, low, high })
    }
}
