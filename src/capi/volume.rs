//! `medsegx_segment_volume`: a volume of voxels and 3-D boxes in, labels on its grid out.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::ControlFlow;

use super::boundary::{Outcome, array, array_mut, guard, required};
use super::session::{CancelHandle, SessionHandle, cancelled, session};
use super::slice::{intensity, pixel};
use super::status::{ErrorObject, Status};
use super::structs::{self, ProgressCallback, VolumeTarget, VolumeView};
use crate::prompt::{self, Grid, VolumeBox};
use crate::segment::volume::{Observer, Request, segment_volume};
use crate::taxonomy::Context;
use crate::volume::{Labels, Orientation, Volume, Voxel, Voxels};

/// `medsegx_segment_volume`: segments boxes of a volume. `labels` is written only on success.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_segment_volume(
    handle: *mut SessionHandle,
    volume: *const VolumeView,
    targets: *const VolumeTarget,
    target_size: usize,
    target_count: usize,
    labels: *mut u16,
    labels_count: usize,
    progress: ProgressCallback,
    user: *mut c_void,
    cancel: *const CancelHandle,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            let session = session(handle)?;
            required("volume", volume)?;
            let view = structs::read(volume)?;
            let targets = read_targets(targets, target_size, target_count)?;
            let mut watcher = Watcher { progress, user, stop: || cancelled(cancel) };
            session.run(|session| {
                let volume = copy_volume(&view)?;
                let voxels = volume.dims().iter().product();
                if labels_count < voxels {
                    let found = labels_count.to_string();
                    return Err(ErrorObject::argument("labels_count", &voxels.to_string(), &found));
                }
                let out = array_mut("labels", labels, voxels)?;
                run(session, &view, &volume, &targets, &mut watcher, out)
            })
        })
    }
}

struct Watcher<F> {
    progress: ProgressCallback,
    user: *mut c_void,
    stop: F,
}

impl<F: Fn() -> bool> Observer for Watcher<F> {
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        let told = self.progress.map_or(0, |progress| {
            // SAFETY: the host gave this function and its user data for this call.
            unsafe { progress(self.user, done as u64, total as u64) }
        });
        if told != 0 || (self.stop)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn logits(&mut self, _index: usize, _logits: &[f32]) -> crate::Result<()> {
        Ok(())
    }
}

fn run(
    session: &mut SessionHandle,
    view: &VolumeView,
    volume: &Volume,
    targets: &[VolumeTarget],
    watcher: &mut dyn Observer,
    out: &mut [u16],
) -> Outcome {
    let frame = volume.frame(view.axis as usize, Orientation::Stored)?;
    let map = intensity(view.intensity, view.low, view.high)?.resolve(volume)?;
    let grid = Grid { dims: volume.dims(), axis: frame.axis(), affine: None };
    let requests: Outcome<Vec<Request>> = targets.iter().map(|target| request(target, &grid)).collect();
    let outcome = segment_volume(&mut session.segmenter, volume, &frame, &map, &requests?, watcher)?;
    match outcome.labels.labels() {
        Labels::U8(labels) => out.iter_mut().zip(labels).for_each(|(out, &label)| *out = label.into()),
        Labels::U16(labels) => out.copy_from_slice(labels),
    }
    Ok(())
}

fn request(target: &VolumeTarget, grid: &Grid) -> Outcome<Request> {
    let label = u16::try_from(target.label).ok().filter(|&label| label > 0);
    let label = label.ok_or_else(|| ErrorObject::argument("label", "1 to 65535", &target.label.to_string()))?;
    let boxes = prompt::volume_box(VolumeBox { low: target.low, high: target.high }, "target", grid)?;
    let organ = [target.body_part, target.subregion, target.organ].map(|index| index as usize);
    let context = Context { modality: target.modality as usize, organ, task: target.task as usize };
    Ok(Request { label, context: Some(context), boxes, points: BTreeMap::new() })
}

/// # Safety
/// `targets` is NULL or valid for `count` elements that are `size` bytes apart.
unsafe fn read_targets(targets: *const VolumeTarget, size: usize, count: usize) -> Outcome<Vec<VolumeTarget>> {
    if size < size_of::<VolumeTarget>() || !size.is_multiple_of(align_of::<VolumeTarget>()) {
        return Err(ErrorObject::argument("target_size", "sizeof(medsegx_target)", &size.to_string()));
    }
    let total = size.checked_mul(count).filter(|&bytes| count > 0 && bytes <= isize::MAX as usize);
    if total.is_none() || targets.is_null() || !targets.is_aligned() {
        return Err(ErrorObject::argument("targets", "at least one target", &format!("{count}, or a bad pointer")));
    }
    let mut read = Vec::new();
    let memory = |_| crate::Error::Memory { what: "targets".into(), bytes: (size * count) as u64 };
    read.try_reserve_exact(count).map_err(memory)?;
    // SAFETY: not NULL, aligned, and the caller promises `count` elements `size` bytes apart.
    read.extend((0..count).map(|i| unsafe { targets.byte_add(i * size).read() }));
    Ok(read)
}

/// # Safety
/// `view.voxels` is NULL or valid for `view.size` bytes.
unsafe fn copy_volume(view: &VolumeView) -> Outcome<Volume> {
    let dims = view.dims.map(|n| n as usize);
    // SAFETY: the caller's promise.
    let voxels = unsafe {
        match view.pixel_type {
            pixel::U8 => Voxels::U8(copy(view)?),
            pixel::I16 => Voxels::I16(copy(view)?),
            pixel::U16 => Voxels::U16(copy(view)?),
            pixel::F32 => Voxels::F32(copy(view)?),
            other => return Err(ErrorObject::argument("pixel_type", "0 to 3", &other.to_string())),
        }
    };
    let volume = Volume::from_voxels("<memory>", dims, view.channels as usize, voxels)?;
    Ok(volume.scaled(view.slope, view.intercept)?)
}

/// # Safety
/// As [`copy_volume`].
unsafe fn copy<T: Voxel>(view: &VolumeView) -> Outcome<Vec<T>> {
    let count = view.dims.iter().try_fold(view.channels as usize, |all, &n| all.checked_mul(n as usize));
    let needed = count.and_then(|count| count.checked_mul(size_of::<T>()));
    let (Some(count), Some(needed)) = (count, needed) else {
        return Err(ErrorObject::argument("dims", "a size that exists", &format!("{:?}", view.dims)));
    };
    if view.size != needed {
        return Err(ErrorObject::argument("size", &format!("{needed} bytes"), &view.size.to_string()));
    }
    // SAFETY: the caller's promise.
    let voxels = unsafe { array::<T>("voxels", view.voxels.cast(), count) }?;
    let mut copy = Vec::new();
    let memory = |_| crate::Error::Memory { what: "a volume".into(), bytes: needed as u64 };
    copy.try_reserve_exact(count).map_err(memory)?;
    copy.extend_from_slice(voxels);
    Ok(copy)
}
