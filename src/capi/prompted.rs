//! `medsegx_session_set_slice` and `medsegx_session_prompt`: one slice, then any number of prompts on it.

use super::asked::{Asked, Prompted};
use super::boundary::{Outcome, check_strided, guard};
use super::session::{State, cancelled, medsegx_cancel, medsegx_session, stoppable, with};
use super::slice::{grey_levels, size, stop_if};
use super::status::{medsegx_error, medsegx_status};
use super::structs::{medsegx_context, medsegx_prompt, medsegx_result, medsegx_slice};
use super::versioned;
use crate::executor::{Point, Prompt};
use crate::memory::reserve;
use crate::segment::{Frame, Picture, prompt_points};

/// Takes a slice for the prompts that follow, and encodes it unless its embedding is kept (kept_slices).
///
/// `session` and `slice` are required. `context` may be NULL where the model needs none, `cancel` always. One thread at a
/// time with one session. The slice is there until another one comes, by this call or by medsegx_segment_slice or
/// medsegx_segment_volume, or this call fails; its pixels are not kept. Fails as medsegx_segment_slice does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_set_slice(
    session: *mut medsegx_session,
    slice: *const medsegx_slice,
    context: *const medsegx_context,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let context = if context.is_null() { None } else { Some(versioned::read(context)?) };
            let slice: medsegx_slice = versioned::required("slice", slice)?;
            with(session, |state| {
                state.slice = None;
                let (height, width) = size(&slice, state)?;
                grey_levels(&slice, state)?;
                stop_if(&|| cancelled(cancel))?;
                let context = context.as_ref().map(super::context::to_engine);
                stoppable(state, cancel, |state| {
                    let picture = Picture { pixels: &state.grey, height, width, channels: slice.channels as usize };
                    state.slice = Some(state.segmenter.set_slice(&picture, context.as_ref())?);
                    Ok(())
                })
            })
        })
    }
}

/// Answers prompts on the slice of medsegx_session_set_slice, as many at once as the session's batch.
///
/// `session`, `prompts` and `results` are required: `count` structs each, `prompt_size` and `result_size` bytes apart,
/// which are sizeof(medsegx_prompt) and sizeof(medsegx_result); `cancel` may be NULL. Prompts that follow each other share
/// a batch where they have the same number of points and all or none of them bring a mask. One thread at a time with one
/// session. All prompts are checked before the first is answered; where a later one then fails, results and buffers of
/// earlier ones may be written. Fails as medsegx_segment_slice does, and with MEDSEGX_STATUS_INVALID_ARGUMENT where no
/// slice is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_prompt(
    session: *mut medsegx_session,
    prompts: *const medsegx_prompt,
    prompt_size: usize,
    results: *mut medsegx_result,
    result_size: usize,
    count: usize,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            check_strided("prompts", prompts, prompt_size, count)?;
            check_strided("results", results, result_size, count)?;
            let mut asked = reserve(count, "prompts")?;
            for index in 0..count {
                asked.push(Asked::new(
                    versioned::required("prompts", prompts.byte_add(index * prompt_size))?,
                    versioned::required("results", results.byte_add(index * result_size))?,
                ));
            }
            with(session, |state| {
                let none = || medsegx_error::argument("session", "a slice, by medsegx_session_set_slice", "none");
                let frame = state.slice.ok_or_else(none)?;
                let checked = check(&asked, state, &frame)?;
                let mut first = 0;
                while first < count {
                    stop_if(&|| cancelled(cancel))?;
                    let alike = checked[first..].iter().take_while(|other| other.is_like(&checked[first])).count();
                    let last = first + alike.min(state.segmenter.batch());
                    let prompts: Vec<Prompt<'_>> = checked[first..last].iter().map(Checked::prompt).collect();
                    stoppable(state, cancel, |state| {
                        let of_logits = state.of_logits();
                        let State { segmenter, grey, doubts, inside, .. } = state;
                        let mut answers = segmenter.answer(&prompts)?;
                        let mut slice = Prompted { frame, grey, doubts: *doubts, inside };
                        for (index, one) in asked[first..last].iter().enumerate() {
                            let buffers = buffers(one, &frame, of_logits)?;
                            let answer = one.answer(&mut answers, index, &mut slice, buffers)?;
                            versioned::write(results.byte_add((first + index) * result_size), &answer)?;
                        }
                        Ok(())
                    })?;
                    first = last;
                }
                Ok(())
            })
        })
    }
}

/// A prompt in the model's frame.
struct Checked<'a> {
    points: Vec<Point>,
    mask: Option<&'a [f32]>,
}

impl Checked<'_> {
    fn prompt(&self) -> Prompt<'_> {
        Prompt { slot: 0, points: &self.points, mask: self.mask }
    }

    fn is_like(&self, other: &Checked<'_>) -> bool {
        self.points.len() == other.points.len() && self.mask.is_some() == other.mask.is_some()
    }
}

/// # Safety
/// What the prompts and results point at is NULL or valid as the header says.
unsafe fn check<'a>(asked: &'a [Asked], state: &mut State, frame: &Frame) -> Outcome<Vec<Checked<'a>>> {
    let mut checked = reserve(asked.len(), "prompts")?;
    for (index, one) in asked.iter().enumerate() {
        // SAFETY: the caller's promise.
        let one = unsafe { check_one(one, state, frame) };
        checked.push(one.map_err(|error| error.about(&format!("prompts[{index}]")))?);
    }
    Ok(checked)
}

/// # Safety
/// As [`check`].
unsafe fn check_one<'a>(one: &'a Asked, state: &mut State, frame: &Frame) -> Outcome<Checked<'a>> {
    let [height, width] = frame.slice;
    let region = one.region(width, height)?;
    let mut points = reserve(state.options.max_points as usize + 1, "points of a prompt")?;
    // SAFETY: the caller's promise.
    let mask = unsafe {
        one.clicks(state, width, height)?;
        buffers(one, frame, state.of_logits())?;
        one.mask_prompt(state)?
    };
    prompt_points(frame, &state.clicks, region, &mut points);
    Ok(Checked { points, mask })
}

/// # Safety
/// The result's buffers are NULL or valid as the header says.
unsafe fn buffers<'a>(asked: &Asked, frame: &Frame, logits: usize) -> Outcome<(&'a mut [u8], &'a mut [f32])> {
    // SAFETY: the caller's promise.
    unsafe { Ok((asked.mask(frame.slice[0] * frame.slice[1])?, asked.logits(logits)?)) }
}
