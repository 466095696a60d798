//! `medsegx_segment_slice`: one slice within its own call, without allocating once the session knows the slice's size.

use super::asked::{Asked, Prompted};
use super::boundary::{Outcome, check_strided, guard, null};
use super::codes::{medsegx_intensity, medsegx_pixel};
use super::context::to_engine;
use super::session::{State, cancelled, medsegx_cancel, medsegx_session, stoppable, with};
use super::status::{medsegx_error, medsegx_status};
use super::structs::{medsegx_context, medsegx_prompt, medsegx_result, medsegx_slice};
use super::versioned;
use crate::codes::Code;
use crate::executor::Prompt;
use crate::image::intensity::{are_fractions, percentiles_of};
use crate::image::rank::Ranked;
use crate::image::robust::robust_of;
use crate::segment::{Picture, prompt_points};
use crate::volume::{Intensity, IntensityMap, LevelCounts, Statistics};

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
                asked: Asked::new(versioned::required("prompt", prompt)?, versioned::required("result", result)?),
            };
            with(session, |state| {
                let answer = stoppable(state, cancel, |state| request.run(state, || cancelled(cancel)))?;
                versioned::write(result, &answer)
            })
        })
    }
}

struct Request {
    slice: medsegx_slice,
    context: Option<medsegx_context>,
    asked: Asked,
}

impl Request {
    /// # Safety
    /// The pointers inside the structs are valid as the header says.
    unsafe fn run(&self, state: &mut State, stop: impl Fn() -> bool) -> Outcome<medsegx_result> {
        let Request { slice, asked, .. } = self;
        let (height, width) = size(slice, state)?;
        state.slice = None;
        let channels = slice.channels as usize;
        // SAFETY: the caller's promise about the slice's pixels.
        unsafe { grey_levels(slice, state) }?;
        let region = asked.region(width, height)?;
        // SAFETY: the caller's promise about points, mask prompt, mask and logits.
        let (mask_prompt, mask, logits) = unsafe {
            asked.clicks(state, width, height)?;
            (asked.mask_prompt(state)?, asked.mask(height * width)?, asked.logits(state.of_logits())?)
        };
        let context = self.context.as_ref().map(to_engine);
        let picture = Picture { pixels: &state.grey, height, width, channels };
        let frame = state.segmenter.place(0, &picture, context.as_ref())?;
        prompt_points(&frame, &state.clicks, region, &mut state.points);
        stop_if(&stop)?;
        let State { segmenter, points, grey, doubts, inside, .. } = state;
        let mut answers = segmenter.answer(&[Prompt { slot: 0, points, mask: mask_prompt }])?;
        asked.answer(&mut answers, 0, &mut Prompted { frame, grey, doubts: *doubts, inside }, (mask, logits))
    }
}

pub(super) fn size(slice: &medsegx_slice, state: &State) -> Outcome<(usize, usize)> {
    let (height, width) = (slice.height, slice.width);
    let options = &state.options;
    if !(1..=options.max_height).contains(&height) || !(1..=options.max_width).contains(&width) {
        let expected = format!("1 x 1 to {} x {}, as the session was made", options.max_height, options.max_width);
        return Err(medsegx_error::argument("slice", &expected, &format!("{height} x {width}")));
    }
    if !matches!(slice.channels, 1 | 3) {
        return Err(medsegx_error::argument("channels", "1 or 3", &slice.channels.to_string()));
    }
    Ok((height as usize, width as usize))
}

pub(super) fn stop_if(stop: &impl Fn() -> bool) -> Outcome {
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

/// Fills `state.grey`, and says in `state.doubts` what looks wrong with it.
///
/// # Safety
/// `slice.pixels` is NULL or valid for the rows that the struct says.
pub(super) unsafe fn grey_levels(slice: &medsegx_slice, state: &mut State) -> Outcome {
    let State { grey, scratch, .. } = state;
    // SAFETY: the caller's promise.
    state.doubts = unsafe {
        match medsegx_pixel::of(slice.pixel_type) {
            Some(medsegx_pixel::U8) => Rows::<u8>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::I16) => Rows::<i16>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::U16) => Rows::<u16>::new(slice)?.grey(scratch, grey),
            Some(medsegx_pixel::F32) => Rows::<f32>::new(slice)?.grey(scratch, grey),
            None => Err(medsegx_error::argument("pixel_type", "0 to 3", &slice.pixel_type.to_string())),
        }
    }?;
    state.doubts |= other_rule(state, intensity(slice.intensity, slice.low, slice.high)?);
    Ok(())
}

/// The bit of a model that was tuned with other rules than `rule`.
fn other_rule(state: &State, rule: Intensity) -> u64 {
    let tuned_on = state.segmenter.model().tuned_on();
    if tuned_on.is_some_and(|on| on.setting.is_other_rule(rule)) { Code::TunedOtherwise.bit() } else { 0 }
}

/// A caller's pixels of one type.
struct Rows<'a, T> {
    slice: &'a medsegx_slice,
    first: *const T,
    /// Pixels of a row, channels counted.
    row: usize,
    /// Bytes from one row to the next.
    stride: usize,
    /// Stands for pixels that are no finite numbers.
    nan: Option<T>,
}

impl<'a, T: Ranked> Rows<'a, T> {
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
        Ok(Rows { slice, first, row, stride, nan: Self::replacement(slice)? })
    }

    fn replacement(slice: &medsegx_slice) -> Outcome<Option<T>> {
        if slice.nan_value.is_nan() || T::INTEGER || size_of::<T>() != size_of::<f32>() {
            return Ok(None);
        }
        let stored = ((slice.nan_value - slice.intercept) / slice.slope) as f32;
        if !stored.is_finite() {
            let found = slice.nan_value.to_string();
            return Err(medsegx_error::argument("nan_value", "NaN, or a number that a pixel can hold", &found));
        }
        Ok(Some(bytemuck::pod_read_unaligned(bytemuck::bytes_of(&stored))))
    }

    fn rows(&self) -> impl Iterator<Item = &[T]> {
        // SAFETY: `new` checked the first pointer and the stride; the rest is its caller's promise.
        (0..self.slice.height as usize)
            .map(|y| unsafe { std::slice::from_raw_parts(self.first.byte_add(y * self.stride), self.row) })
    }

    /// The pixel, or what stands for it.
    fn taken(&self, pixel: T) -> T {
        match self.nan {
            Some(with) if !pixel.to_f64().is_finite() => with,
            _ => pixel,
        }
    }

    fn value(&self, pixel: T) -> f64 {
        self.slice.slope * self.taken(pixel).to_f64() + self.slice.intercept
    }

    /// Minimum and maximum of the slice, and whether pixels were replaced.
    fn statistics(&self) -> (Statistics, bool) {
        let medsegx_slice { slope, intercept, .. } = *self.slice;
        let (mut all, mut replaced) = (Statistics::of::<T>(&[], slope, intercept), false);
        for row in self.rows() {
            let mut one = Statistics::of(row, slope, intercept);
            if let (Some(with), true) = (self.nan, one.not_finite > 0) {
                one.not_finite = 0;
                one.widen(&Statistics::of(&[with], slope, intercept));
                replaced = true;
            }
            all.widen(&one);
        }
        (all, replaced)
    }

    /// Writes grey levels, and returns the bits of what looks wrong with them; `scratch` is for the pixels of which
    /// percentiles are taken.
    fn grey(&self, scratch: &mut Vec<f32>, grey: &mut Vec<u8>) -> Outcome<u64> {
        let medsegx_slice { intensity: rule, low, high, .. } = *self.slice;
        let (all, replaced) = self.statistics();
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
        Ok(self.doubts(grey, &map) | if replaced { Code::NanReplaced.bit() } else { 0 })
    }

    /// What the grey levels in use say. Values are looked at only where the levels alone leave it open.
    fn doubts(&self, grey: &[u8], map: &IntensityMap) -> u64 {
        if LevelCounts::of_levels(grey).bits(map) == 0 {
            return 0;
        }
        let mut counts = LevelCounts::new(grey.len());
        counts.add_each(self.rows().flatten().map(|&pixel| self.value(pixel)), map);
        counts.bits(map)
    }

    fn robust(&self, all: &Statistics, scratch: &mut Vec<f32>) -> Outcome<IntensityMap> {
        Intensity::MinMax.resolve_range(all)?; // refuses values that are not finite
        let limits = robust_of(self.gathered(scratch), self.slice.slope, self.slice.intercept, None)?;
        let none = || medsegx_error::argument("pixels", "some", "none");
        let ([low, high], _) = limits.ok_or_else(none)?;
        Ok(IntensityMap { rule: Intensity::Robust, low, high })
    }

    fn percentiles(&self, all: &Statistics, scratch: &mut Vec<f32>) -> Outcome<IntensityMap> {
        Intensity::MinMax.resolve_range(all)?; // refuses values that are not finite
        let range = percentiles_of(self.gathered(scratch), self.slice.slope, self.slice.intercept, None)?;
        let none = || medsegx_error::argument("pixels", "some above 0 for the percentile rule", "none");
        let [low, high] = range.ok_or_else(none)?;
        Ok(IntensityMap { rule: Intensity::Percentile, low, high })
    }

    /// The slice's pixels without what lies between rows. Every pixel type fits the alignment and size of f32, which
    /// `scratch` is made of.
    fn gathered<'b>(&self, scratch: &'b mut Vec<f32>) -> &'b [T] {
        scratch.clear();
        scratch.resize(self.row * self.slice.height as usize, 0.0);
        let pixels: &mut [T] = bytemuck::cast_slice_mut(scratch);
        let count = pixels.iter_mut().zip(self.rows().flatten()).map(|(to, &from)| *to = self.taken(from)).count();
        &pixels[..count]
    }
}
