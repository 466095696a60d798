//! Launches `kernels/measure.ptx.j2`: what the choice of a mask needs to know of logit maps, without the maps.

use super::driver::{Arg, Driver, Queue};
use super::{Arena, Cuda};
use crate::error::{Error, Result};
use crate::graph::{Plan, ValueId};
use crate::mask::Counts;

/// Blocks of one prompt.
const PARTS: usize = 16;
/// Counts of a map.
const OF_MAP: usize = 8;

/// Device and host memory for the counts of a batch.
pub struct MapCounter<D: Driver> {
    prompts: usize,
    boxes: D::Buffer,
    pinned: D::Pinned,
    out: D::Buffer,
    /// `[prompts, PARTS, counts]`.
    collected: Vec<u32>,
    /// Of a part, filled up to whole sectors.
    counts: usize,
    maps: usize,
}

impl<D: Driver> MapCounter<D> {
    /// Maps of a prompt.
    pub(super) fn maps(&self) -> usize {
        self.maps
    }

    /// Bytes of the counts of `prompts` prompts.
    pub(super) fn bytes(&self, prompts: usize) -> usize {
        self.counts * PARTS * size_of::<u32>() * prompts
    }

    /// Takes counts that came from the device.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        bytemuck::cast_slice_mut(&mut self.collected)[..bytes.len()].copy_from_slice(bytes);
    }

    /// Counts of map `map` of prompt `prompt` of the last [`Cuda::count`].
    pub fn map(&self, prompt: usize, map: usize) -> Counts {
        let parts = || self.parts(prompt).map(|part| &part[OF_MAP * map..][..OF_MAP]);
        // A device that fails may return any number; counts of a map are far below the limit.
        let sum = |at: usize| parts().fold(0, |sum: u32, part| sum.saturating_add(part[at]));
        let least = |at: usize| parts().map(|part| part[at]).min().unwrap_or(u32::MAX);
        let most = |at: usize| parts().map(|part| part[at]).max().unwrap_or(0);
        let bounds = [least(4), least(5), most(6), most(7)];
        let tight_box = (sum(0) > 0).then_some(bounds);
        Counts { area: sum(0), above: sum(1), below: sum(2), inside: sum(3), tight_box }
    }

    /// Pixels of both masks of pair `pair` (0-1, 0-2, 1-2) of prompt `prompt`.
    pub fn both(&self, prompt: usize, pair: usize) -> u32 {
        self.parts(prompt).fold(0, |sum: u32, part| sum.saturating_add(part[OF_MAP * self.maps + pair]))
    }

    fn parts(&self, prompt: usize) -> impl Iterator<Item = &[u32]> {
        self.collected.chunks_exact(self.counts).skip(PARTS * prompt).take(PARTS)
    }
}

/// Pairs of so many maps.
fn pairs(maps: usize) -> usize {
    maps * (maps - 1) / 2
}

impl<D: Driver> Cuda<D> {
    /// Memory for the counts of `prompts` prompts of `maps` maps, which are 1 or 3.
    ///
    /// # Errors
    /// Another number of maps; a device that fails.
    pub fn map_counter(&self, prompts: usize, maps: usize) -> Result<MapCounter<D>> {
        if !matches!(maps, 1 | 3) {
            return Err(self.out_of_range("maps of a prompt", maps, 3));
        }
        let counts = (OF_MAP * maps + pairs(maps)).next_multiple_of(OF_MAP);
        let word = size_of::<u32>();
        Ok(MapCounter {
            prompts,
            boxes: self.driver.allocate(4 * word * prompts)?,
            pinned: self.driver.pinned(4 * word * prompts)?,
            out: self.driver.allocate(counts * PARTS * word * prompts)?,
            collected: vec![0; counts * PARTS * prompts],
            counts,
            maps,
        })
    }

    /// Counts the maps of the first prompts of the value `logits` `[prompts, maps, side, side]`, one a box: first
    /// column, column behind the last, first row, row behind the last.
    ///
    /// # Errors
    /// More boxes than there is room for, maps of another shape; a device that fails.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    pub fn count(
        &self,
        arena: &mut Arena<D>,
        plan: &Plan,
        logits: ValueId,
        boxes: impl ExactSizeIterator<Item = [u32; 4]>,
        counter: &mut MapCounter<D>,
    ) -> Result<()> {
        let &[held, maps, side, width] = &plan.graph[logits].shape[..] else {
            return Err(self.out_of_range("axes of the logits", plan.graph[logits].shape.len(), 4));
        };
        let prompts = boxes.len();
        let fits = side == width && maps == counter.maps;
        if !fits || prompts > counter.prompts.min(held) || side > 1 << 12 {
            return Err(self.out_of_range("prompts", prompts, counter.prompts.min(held)));
        }
        arena.flush(&self.driver)?;
        let host = self.driver.host(&mut counter.pinned);
        for (place, corners) in host.chunks_exact_mut(4 * size_of::<u32>()).zip(boxes) {
            place.copy_from_slice(bytemuck::bytes_of(&corners));
        }
        // SAFETY: the bytes change only in the next call, and this one ends by waiting for the queue.
        unsafe {
            let bytes = 0..4 * size_of::<u32>() * prompts;
            self.driver.queue_write(Queue::Run, &counter.boxes, 0, &counter.pinned, bytes)
        }?;
        let addresses = [&counter.boxes, &counter.out].map(|buffer| self.driver.address(buffer));
        self.launch_count(None, arena, (plan, logits), prompts, addresses)?;
        let collected = &mut counter.collected[..counter.counts * PARTS * prompts];
        self.driver.read(&counter.out, 0, bytemuck::cast_slice_mut(collected))?;
        arena.waited();
        Ok(())
    }

    /// Launches the counting of the first prompts' maps: `addresses` of boxes `[prompts, 4]` and of the counts.
    pub(super) fn launch_count(
        &self,
        capture: Option<&D::Capture>,
        arena: &Arena<D>,
        (plan, logits): (&Plan, ValueId),
        prompts: usize,
        [boxes, out]: [u64; 2],
    ) -> Result<()> {
        let [_, maps, side, ..] = plan.graph[logits].shape[..] else {
            return Err(self.out_of_range("axes of the logits", plan.graph[logits].shape.len(), 4));
        };
        let args = [
            Arg::Pointer(arena.memory.address(&self.driver, plan, logits)),
            Arg::Pointer(boxes),
            Arg::Pointer(out),
            Arg::U32(side as u32),
            Arg::U32(side.div_ceil(PARTS) as u32),
        ];
        let entry = if maps == 1 { "measure_1" } else { "measure_3" };
        self.launch(capture, entry, [PARTS as u32, prompts as u32, 1], &args)
    }

    /// An error for what has no room.
    pub(super) fn out_of_range(&self, what: &str, found: usize, limit: usize) -> Error {
        Error::Internal { place: self.driver.name(), what: format!("{what}: {found}, there is room for {limit}") }
    }
}
