//! `medsegx_segment_volume`: a volume of voxels and 3-D boxes in, labels on its grid out.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use super::boundary::{Outcome, array, array_mut, check_strided, guard};
use super::codes::medsegx_pixel;
use super::session::{State, flag, medsegx_cancel, medsegx_session, stoppable, with};
use super::slice::intensity;
use super::status::{medsegx_error, medsegx_status};
use super::structs::{
    FIRST_OUTCOME_SIZE, FIRST_TARGET_SIZE, NO_TARGET, medsegx_outcome, medsegx_progress_callback, medsegx_slice_box,
    medsegx_target, medsegx_volume, medsegx_volume_result,
};
use super::versioned;
use crate::codes::Code;
use crate::image::pass::{Cancel, pass};
use crate::memory::reserve;
use crate::prompt::{self, Grid, PixelBox, VolumeBox};
use crate::segment::volume::{Observer, Request, SliceOutcome, segment_volume};
use crate::taxonomy::Context;
use crate::volume::{Labels, LevelCounts, Orientation, Volume, Voxel, Voxels};

/// Segments boxes of a volume, which is copied.
///
/// `session`, `volume`, `targets`, `result` and its labels are required; `progress`, `user` and `cancel` may be NULL.
/// `target_size` is sizeof(medsegx_target). One thread at a time with one session. All that the structs point at has to
/// stay as it is during the call, and is not kept. `result` and its buffers are written only on success. Fails as
/// medsegx_segment_slice does; an answer of `progress` other than 0 is MEDSEGX_STATUS_CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_segment_volume(
    session: *mut medsegx_session,
    volume: *const medsegx_volume,
    targets: *const medsegx_target,
    target_size: usize,
    target_count: usize,
    result: *mut medsegx_volume_result,
    progress: medsegx_progress_callback,
    user: *mut c_void,
    cancel: *const medsegx_cancel,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let view = versioned::required("volume", volume)?;
            let answer = versioned::required("result", result)?;
            let targets = read_targets(targets, target_size, target_count)?;
            let mut watcher = Watcher { progress, user, cancel: flag(cancel) };
            with(session, |state| {
                let volume = copy_volume(&view, watcher.cancel)?;
                let mut out = Out::new(&answer, &volume, targets.len())?;
                let (outcomes_count, warnings) =
                    stoppable(state, cancel, |state| run(state, &view, &volume, &targets, &mut watcher, &mut out))?;
                versioned::write(result, &medsegx_volume_result { outcomes_count, warnings, ..answer })
            })
        })
    }
}

/// The caller's buffers.
struct Out<'a> {
    labels: &'a mut [u16],
    outcomes: Option<*mut medsegx_outcome>,
    outcome_size: usize,
    outcomes_room: usize,
    /// One a target, or none.
    voxels: &'a mut [u64],
}

impl Out<'_> {
    /// # Safety
    /// The buffers of `result` are NULL or valid, and nobody else uses them during the call.
    unsafe fn new(result: &medsegx_volume_result, volume: &Volume, targets: usize) -> Outcome<Self> {
        let voxels = volume.dims().iter().product();
        if result.labels_count < voxels {
            let found = result.labels_count.to_string();
            return Err(medsegx_error::argument("labels_count", &format!("at least {voxels}"), &found));
        }
        // SAFETY: the caller's promise.
        let labels = unsafe { array_mut("labels", result.labels, voxels) }?;
        let (size, room) = (result.outcome_size as usize, result.outcomes_room);
        let outcomes = (!result.outcomes.is_null()).then_some(result.outcomes);
        if outcomes.is_some() {
            // Elements of version 1 are shorter than the struct is now, and aligned alike.
            check_strided("outcomes", result.outcomes.cast::<FirstOutcome>(), size, room)?;
        }
        if !result.voxels.is_null() && result.voxels_room < targets {
            let found = result.voxels_room.to_string();
            return Err(medsegx_error::argument("voxels_room", &format!("at least {targets}, the targets"), &found));
        }
        let counted = if result.voxels.is_null() { 0 } else { targets };
        // SAFETY: the caller's promise; an empty array of NULL is made of nothing.
        let counts = if counted > 0 { unsafe { array_mut("voxels", result.voxels, counted) }? } else { &mut [] };
        Ok(Out { labels, outcomes, outcome_size: size, outcomes_room: room, voxels: counts })
    }

    /// Refuses too little room before anything is computed.
    fn check_room(&self, needed: usize) -> Outcome {
        if self.outcomes.is_some() && self.outcomes_room < needed {
            let expected = format!("at least {needed}, the slices of all targets");
            return Err(medsegx_error::argument("outcomes_room", &expected, &self.outcomes_room.to_string()));
        }
        Ok(())
    }

    fn write(&mut self, labels: &Labels, outcomes: &[SliceOutcome]) {
        match labels {
            Labels::U8(labels) => self.labels.iter_mut().zip(labels).for_each(|(out, &label)| *out = label.into()),
            Labels::U16(labels) => self.labels.copy_from_slice(labels),
        }
        let Some(first) = self.outcomes else { return };
        for (index, outcome) in outcomes.iter().enumerate() {
            let (value, size) = (outcome_of(outcome), self.outcome_size.min(size_of::<medsegx_outcome>()));
            // SAFETY: `check_room` and `new` made sure that the element lies in the caller's array; no more is copied than
            // it has, nor than there is.
            unsafe {
                let element = first.byte_add(index * self.outcome_size).cast::<u8>();
                std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), element, size);
            }
        }
    }
}

fn outcome_of(outcome: &SliceOutcome) -> medsegx_outcome {
    let verdict = &outcome.verdict;
    let measures = &verdict.measures;
    medsegx_outcome {
        target: outcome.request as u32,
        slice: outcome.slice as u32,
        chosen: verdict.chosen as i32,
        mask_count: measures.count as u32,
        first_token: (verdict.chosen - verdict.index) as u32,
        reserved: 0,
        pixels: outcome.pixels,
        scores: verdict.scores,
        agreement: outcome.agreement().unwrap_or(-1.0),
        box_agreement: measures.masks[verdict.index].box_agreement,
        stability: measures.masks[verdict.index].stability,
        continuity: outcome.continuity.unwrap_or(-1.0),
        warnings: outcome.doubts,
    }
}

/// As long and as aligned as a medsegx_outcome of version 1.
type FirstOutcome = [u64; FIRST_OUTCOME_SIZE / 8];

struct Watcher<'a> {
    progress: medsegx_progress_callback,
    user: *mut c_void,
    cancel: Cancel<'a>,
}

impl Observer for Watcher<'_> {
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        let told = self.progress.map_or(0, |progress| {
            // SAFETY: the host gave this function and its user data for this call.
            unsafe { progress(self.user, done as u64, total as u64) }
        });
        if told != 0 || self.cancel.is_some_and(|cancel| cancel.load(Ordering::SeqCst)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// How many outcomes there are, and the bits of all that is doubtful.
fn run(
    state: &mut State,
    view: &medsegx_volume,
    volume: &Volume,
    targets: &[medsegx_target],
    watcher: &mut Watcher,
    out: &mut Out,
) -> Outcome<(usize, u64)> {
    let frame = volume.frame(view.axis as usize, Orientation::Stored)?;
    let (map, _) = intensity(view.intensity, view.low, view.high)?.examine_unless(volume, watcher.cancel)?;
    let mut levels = LevelCounts::new(volume.voxels().len());
    levels.add(volume, &map);
    let mut bits = volume.warnings().iter().fold(levels.bits(&map), |bits, warning| bits | warning.code.bit());
    if state.segmenter.model().tuned_on().is_some_and(|on| on.otherwise(volume, &frame, map.rule).is_some()) {
        bits |= Code::TunedOtherwise.bit();
    }
    let grid = Grid::of(volume, frame.axis());
    let mut requests = reserve(targets.len(), "targets")?;
    for (index, target) in targets.iter().enumerate() {
        // SAFETY: the targets were read from the caller's, who promises that their boxes are valid.
        requests.push(unsafe { request(target, &format!("targets[{index}]"), &grid, &mut bits) }?);
    }
    out.check_room(requests.iter().map(|request| request.boxes.len()).sum())?;
    state.slice = None;
    let outcome = segment_volume(&mut state.segmenter, volume, &frame, &map, &requests, watcher)?;
    out.write(outcome.labels.labels(), &outcome.slices);
    out.voxels.iter_mut().zip(&outcome.voxels).for_each(|(out, &voxels)| *out = voxels);
    if outcome.covered.iter().any(|&voxels| voxels > 0) {
        bits |= Code::TargetsOverlap.bit();
    }
    Ok((outcome.slices.len(), outcome.slices.iter().fold(bits, |bits, slice| bits | slice.doubts)))
}

/// `name` is the target's in messages.
///
/// # Safety
/// `target.boxes` is NULL or valid for `target.box_count` elements.
unsafe fn request(target: &medsegx_target, name: &str, grid: &Grid, bits: &mut u64) -> Outcome<Request> {
    let label = u16::try_from(target.label).ok().filter(|&label| label > 0);
    let wrong = || medsegx_error::argument(&format!("{name}.label"), "1 to 65535", &target.label.to_string());
    let label = label.ok_or_else(wrong)?;
    let boxes = if target.box_count > 0 {
        // SAFETY: the caller's promise.
        let boxes = unsafe { array(&format!("{name}.boxes"), target.boxes, target.box_count) }?;
        slice_boxes(boxes, name, grid, bits)?
    } else {
        let (mut low, mut high) = (target.low, target.high);
        order(&mut low, &mut high, bits);
        prompt::volume_box(VolumeBox { low, high }, name, grid)?
    };
    let organ = [target.body_part, target.subregion, target.organ].map(|index| index as usize);
    let context = Context { modality: target.modality as usize, organ, task: target.task as usize };
    Ok(Request { label, context: Some(context), boxes, points: BTreeMap::new() })
}

/// Swaps corners that stand the other way round.
fn order(low: &mut [i64], high: &mut [i64], bits: &mut u64) {
    for (low, high) in low.iter_mut().zip(high).filter(|(low, high)| low > high) {
        std::mem::swap(low, high);
        *bits |= Code::CornersSwapped.bit();
    }
}

fn slice_boxes(
    boxes: &[medsegx_slice_box],
    name: &str,
    grid: &Grid,
    bits: &mut u64,
) -> Outcome<BTreeMap<usize, PixelBox>> {
    let (mut found, (width, height)) = (BTreeMap::new(), grid.slice_size());
    for (index, one) in boxes.iter().enumerate() {
        let name = format!("{name}.boxes[{index}]");
        let slice = usize::try_from(one.slice).ok().filter(|&slice| slice < grid.slices());
        let wrong =
            |expected: &str| medsegx_error::argument(&format!("{name}.slice"), expected, &one.slice.to_string());
        let slice = slice.ok_or_else(|| wrong(&format!("0 to {}", grid.slices().saturating_sub(1))))?;
        let (mut low, mut high) = (one.low, one.high);
        order(&mut low, &mut high, bits);
        let rectangle = PixelBox { x0: low[0], y0: low[1], x1: high[0], y1: high[1] };
        rectangle.check(&name, width, height)?;
        if found.insert(slice, rectangle).is_some() {
            return Err(wrong("a slice without another box of the target (more targets may share a label)"));
        }
    }
    Ok(found)
}

/// As large and as aligned as a medsegx_target of version 1.
type FirstTarget = [u64; FIRST_TARGET_SIZE / 8];

/// # Safety
/// `targets` is NULL or valid for `count` elements that are `size` bytes apart.
unsafe fn read_targets(targets: *const medsegx_target, size: usize, count: usize) -> Outcome<Vec<medsegx_target>> {
    if count == 0 {
        return Err(medsegx_error::argument("target_count", "at least 1", "0"));
    }
    // Elements of version 1 are shorter than the struct is now, and aligned alike.
    check_strided("targets", targets.cast::<FirstTarget>(), size, count)?;
    let known = if size < size_of::<medsegx_target>() { FIRST_TARGET_SIZE } else { size_of::<medsegx_target>() };
    let mut read = reserve(count, "targets")?;
    for index in 0..count {
        let mut target = NO_TARGET;
        // SAFETY: not NULL, aligned, and the caller promises `count` elements `size` bytes apart, of which no more is
        // copied than they have.
        unsafe {
            let element = targets.byte_add(index * size).cast::<u8>();
            std::ptr::copy_nonoverlapping(element, (&raw mut target).cast::<u8>(), known);
        }
        read.push(target);
    }
    Ok(read)
}

/// # Safety
/// `view.voxels` is NULL or valid for `view.size` bytes.
unsafe fn copy_volume(view: &medsegx_volume, cancel: Cancel) -> Outcome<Volume> {
    let dims = view.dims.map(|n| n as usize);
    // SAFETY: the caller's promise.
    let voxels = unsafe {
        match medsegx_pixel::of(view.pixel_type) {
            Some(medsegx_pixel::U8) => Voxels::U8(copy(view, cancel)?),
            Some(medsegx_pixel::I16) => Voxels::I16(copy(view, cancel)?),
            Some(medsegx_pixel::U16) => Voxels::U16(copy(view, cancel)?),
            Some(medsegx_pixel::F32) => Voxels::F32(copy(view, cancel)?),
            None => return Err(medsegx_error::argument("pixel_type", "0 to 3", &view.pixel_type.to_string())),
        }
    };
    let volume = Volume::from_voxels("<memory>", dims, view.channels as usize, voxels)?;
    let mut volume = volume.scaled(view.slope, view.intercept)?;
    if !view.nan_value.is_nan() {
        volume.replace_not_finite_unless(view.nan_value, cancel)?;
    }
    Ok(volume)
}

/// # Safety
/// As [`copy_volume`].
unsafe fn copy<T: Voxel>(view: &medsegx_volume, cancel: Cancel) -> Outcome<Vec<T>> {
    let count = view.dims.iter().try_fold(view.channels as usize, |all, &n| all.checked_mul(n as usize));
    let needed = count.and_then(|count| count.checked_mul(size_of::<T>()));
    let (Some(count), Some(needed)) = (count, needed) else {
        return Err(medsegx_error::argument("dims", "a size that exists", &format!("{:?}", view.dims)));
    };
    if view.size != needed {
        return Err(medsegx_error::argument("size", &format!("{needed} bytes"), &view.size.to_string()));
    }
    // SAFETY: the caller's promise.
    let voxels = unsafe { array::<T>("voxels", view.voxels.cast(), count) }?;
    let mut copy = reserve(count, "a volume")?;
    pass(voxels, cancel, |piece| copy.extend_from_slice(piece))?;
    Ok(copy)
}
