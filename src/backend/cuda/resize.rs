//! Launches `kernels/resize.ptx.j2`: logit maps to masks of their slice's own size, with the taps of [`LogitResizer`].

use std::sync::{Mutex, PoisonError};

use super::driver::{Arg, Driver, Queue};
use super::{Arena, Cuda};
use crate::error::Result;
use crate::graph::{Plan, ValueId};
use crate::image::resample::{LogitResizer, Stage, StageTaps};

/// Pixels of a row that one warp makes, and rows that one block makes.
const TILE: [usize; 2] = [128, 4];
/// Results of a sector of 32 bytes: a row's first tile begins up to one less left of the row.
const SECTOR: usize = 32;
/// Values of a sector of f32.
const FLOATS: usize = 8;
/// Maps that are resized by one launch, unless their results are large.
const MOST_MAPS: usize = 48;
/// Bytes of results that are worth keeping on the device at once.
const MOST_BYTES: usize = 32 << 20;

/// One resizing on the device, with memory for its results.
struct DeviceStage<D: Driver> {
    stage: Stage,
    /// Row firsts, row weights, column firsts, column weights.
    taps: [D::Buffer; 4],
    /// f32, or bytes behind the last stage, of as many maps as fit.
    out: D::Buffer,
}

/// What takes logit maps of one size to masks of one size.
pub struct MaskResizer<D: Driver> {
    stages: Vec<DeviceStage<D>>,
    /// Maps that one launch resizes.
    maps: usize,
    /// u32 a map: pixels of its mask. Forward passes, which have counts of the maps, leave it to grow.
    count: D::Buffer,
    /// The zeros that counts start from.
    zeros: D::Pinned,
    landing: Mutex<Landing<D>>,
}

/// Where masks come down, of as many maps as one launch resizes.
struct Landing<D: Driver> {
    pinned: D::Pinned,
    /// Behind the copy that brought them last.
    arrived: Option<D::Event>,
}

impl<D: Driver> MaskResizer<D> {
    /// Pixels of one mask.
    pub fn area(&self) -> usize {
        self.stages.last().map_or(0, |device| device.stage.to[0] * device.stage.to[1])
    }
}

impl<D: Driver> Cuda<D> {
    /// Uploads what `resizer` does.
    ///
    /// # Errors
    /// A mask with more than 65535 rows; a device that fails.
    pub fn mask_resizer(&self, resizer: &LogitResizer) -> Result<MaskResizer<D>> {
        let stages = resizer.stages();
        let last = stages.len() - 1;
        let bytes = |i: usize, stage: &Stage| stage.to[0] * stage.to[1] * if i == last { 1 } else { size_of::<f32>() };
        if let Some(rows) = stages.iter().map(|stage| stage.to[0]).find(|&rows| rows > 65535) {
            return Err(self.out_of_range("rows of the mask", rows, 65535));
        }
        let largest = stages.iter().enumerate().map(|(i, stage)| bytes(i, stage)).max().unwrap_or(1);
        let maps = (MOST_BYTES / largest).clamp(1, MOST_MAPS);
        let stages = stages.into_iter().enumerate().map(|(i, stage)| {
            let room = maps * bytes(i, &stage);
            self.device_stage(stage, room)
        });
        let pinned = self.driver.pinned(maps * resizer.to().iter().product::<usize>())?;
        Ok(MaskResizer {
            stages: stages.collect::<Result<_>>()?,
            maps,
            count: self.uploaded(&vec![0; maps * size_of::<u32>()])?,
            zeros: self.driver.pinned(maps * size_of::<u32>())?,
            landing: Mutex::new(Landing { pinned, arrived: None }),
        })
    }

    fn device_stage(&self, stage: Stage, room: usize) -> Result<DeviceStage<D>> {
        let [rows, columns] = &stage.taps;
        let (firsts, weights) = across(columns, stage.to[1]);
        let taps = [
            self.uploaded(bytemuck::cast_slice(&rows.first))?,
            self.uploaded(bytemuck::cast_slice(&rows.weights))?,
            self.uploaded(bytemuck::cast_slice(&firsts))?,
            self.uploaded(bytemuck::cast_slice(&weights))?,
        ];
        Ok(DeviceStage { stage, taps, out: self.driver.allocate(room)? })
    }

    /// Resizes maps of the value `logits`, counted over batch and masks: every `step`-th from `first` on, as many as
    /// `counts` has room for. Writes 1 where a map is above 0 to `masks` `[maps, h, w]`, and the number of such pixels
    /// to `counts`.
    ///
    /// # Errors
    /// A map that is not there, masks of another size; a device that fails.
    pub fn masks(
        &self,
        arena: &mut Arena<D>,
        plan: &Plan,
        logits: ValueId,
        (first, step): (usize, usize),
        resizer: &MaskResizer<D>,
        (masks, counts): (&mut [u8], &mut [u32]),
    ) -> Result<()> {
        let [.., height, width] = plan.graph[logits].shape[..] else {
            return Err(self.out_of_range("axes of the logits", plan.graph[logits].shape.len(), 2));
        };
        let held = plan.graph[logits].len() / (height * width);
        let [from, .., to] = [&resizer.stages[0].stage, &resizer.stages[resizer.stages.len() - 1].stage];
        let (area, wanted) = (to.to[0] * to.to[1], counts.len());
        if wanted == 0 {
            return Ok(());
        }
        if from.from != [height, width] || masks.len() != wanted * area || first + (wanted - 1) * step >= held {
            return Err(self.out_of_range("maps or masks", first + wanted * step, held));
        }
        arena.flush(&self.driver)?;
        let (buffer, offset) = arena.memory.place(plan, logits);
        let start = self.driver.address(buffer) + offset as u64;
        let plane = height * width;
        let parts = masks.chunks_mut(resizer.maps * area).zip(counts.chunks_mut(resizer.maps));
        for (part, (masks, counts)) in parts.enumerate() {
            let map = first + part * resizer.maps * step;
            self.resize_some(start + (4 * map * plane) as u64, [width, step * plane], resizer, (masks, counts))?;
        }
        arena.waited();
        Ok(())
    }

    /// Launches the resizing of the first `maps` maps of the value `logits`, counted over batch and masks, to masks
    /// `[maps, h, w]` at `out`.
    pub(super) fn launch_masks(
        &self,
        capture: Option<&D::Capture>,
        arena: &Arena<D>,
        (plan, logits): (&Plan, ValueId),
        maps: usize,
        resizer: &MaskResizer<D>,
        out: u64,
    ) -> Result<()> {
        let [.., height, width] = plan.graph[logits].shape[..] else {
            return Err(self.out_of_range("axes of the logits", plan.graph[logits].shape.len(), 2));
        };
        let (start, plane) = (arena.memory.address(&self.driver, plan, logits), height * width);
        for first in (0..maps).step_by(resizer.maps) {
            let from = (start + (size_of::<f32>() * first * plane) as u64, [width, plane]);
            let part = resizer.maps.min(maps - first);
            self.launch_stages(capture, from, resizer, part, Some(out + (first * resizer.area()) as u64))?;
        }
        Ok(())
    }

    /// Launches the stages for `maps` maps; the last goes to `out`, or to memory of its own.
    fn launch_stages(
        &self,
        capture: Option<&D::Capture>,
        (mut source, mut steps): (u64, [usize; 2]),
        resizer: &MaskResizer<D>,
        maps: usize,
        out: Option<u64>,
    ) -> Result<()> {
        let last = resizer.stages.len() - 1;
        for (i, device) in resizer.stages.iter().enumerate() {
            let entry = if i == last { "resize_mask" } else { "resize_plane" };
            let own = self.driver.address(&device.out);
            let to = out.filter(|_| i == last).unwrap_or(own);
            self.resize((capture, entry), device, (source, steps), [to, self.driver.address(&resizer.count)], maps)?;
            source = own;
            steps = [device.stage.to[1], device.stage.to[0] * device.stage.to[1]];
        }
        Ok(())
    }

    /// Resizes as many maps as `counts` has room for: their rows and the maps themselves lie `steps` f32 apart.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    fn resize_some(
        &self,
        source: u64,
        steps: [usize; 2],
        resizer: &MaskResizer<D>,
        (masks, counts): (&mut [u8], &mut [u32]),
    ) -> Result<()> {
        // SAFETY: the zeros never change.
        unsafe { self.driver.queue_write(Queue::Run, &resizer.count, 0, &resizer.zeros, 0..size_of_val(counts)) }?;
        self.launch_stages(None, (source, steps), resizer, counts.len(), None)?;
        let last = resizer.stages.len() - 1;
        let mut landing = resizer.landing.lock().unwrap_or_else(PoisonError::into_inner);
        let Landing { pinned, arrived } = &mut *landing;
        // SAFETY: nobody touches the bytes until the wait is over, for the lock is held, and the buffer is the
        // resizer's.
        unsafe {
            let (from, bytes) = (&resizer.stages[last].out, 0..masks.len());
            self.driver.queue_read(Queue::Run, from, 0, pinned, bytes)?;
        }
        let event = self.driver.record_event(Queue::Run, arrived.take())?;
        self.driver.wait(arrived.insert(event))?;
        masks.copy_from_slice(&self.driver.host(pinned)[..masks.len()]);
        self.driver.read(&resizer.count, 0, bytemuck::cast_slice_mut(counts))
    }

    fn resize(
        &self,
        (capture, entry): (Option<&D::Capture>, &str),
        device: &DeviceStage<D>,
        (source, [row, plane]): (u64, [usize; 2]),
        [out, count]: [u64; 2],
        maps: usize,
    ) -> Result<()> {
        let Stage { from, to, taps: [rows, columns] } = &device.stage;
        let plane = u32::try_from(plane).map_err(|_| self.out_of_range("values of a map", plane, u32::MAX as usize))?;
        let [row_first, row_weights, column_first, column_weights] =
            device.taps.each_ref().map(|buffer| Arg::Pointer(self.driver.address(buffer)));
        // Sides are at most 2^20, see `Resizer`; maps at most `MOST_MAPS` and their rows at most 65535.
        let size = |size: usize| Arg::U32(size as u32);
        let args = [
            Arg::Pointer(source),
            row_first,
            row_weights,
            column_first,
            column_weights,
            Arg::Pointer(out),
            Arg::Pointer(count),
            Arg::U32(plane),
            size(row),
            size(from[0] - 1),
            size(from[1] - 1),
            size(rows.taps),
            size(columns.taps),
            size(to[0]),
            size(to[1]),
            size(pitch(to[1])),
        ];
        let before = if to[1].is_multiple_of(SECTOR) { 0 } else { SECTOR - 1 };
        let grid = [(to[1] + before).div_ceil(TILE[0]), to[0].div_ceil(TILE[1]), maps];
        self.launch(capture, entry, grid.map(|blocks| blocks as u32), &args)
    }
}

/// Values of one row of the column tables: pixels left of the first and behind the last, for tiles that reach there.
fn pitch(width: usize) -> usize {
    (width + 2 * SECTOR + TILE[0] + FLOATS).next_multiple_of(FLOATS)
}

/// First samples `[copies, pitch]` and weights `[copies, taps, pitch]` of the columns, as `kernels/resize.ptx.j2` has
/// them: neighbouring threads make neighbouring pixels, so the weights of one tap lie together, and copy c is c further
/// right, so that rows which begin anywhere read whole sectors.
fn across(columns: &StageTaps, width: usize) -> (Vec<u32>, Vec<f32>) {
    let copies = if width.is_multiple_of(FLOATS) { 1 } else { FLOATS };
    let pixels = |copy: usize| (0..pitch(width)).map(move |at| at.saturating_sub(SECTOR + copy).min(width - 1));
    let firsts = (0..copies).flat_map(|copy| pixels(copy).map(|x| columns.first[x]));
    let rows = (0..copies).flat_map(|copy| (0..columns.taps).map(move |tap| (copy, tap)));
    let weights = rows.flat_map(|(copy, tap)| pixels(copy).map(move |x| columns.weights[x * columns.taps + tap]));
    (firsts.collect(), weights.collect())
}
