//! The whole forward pass as one recording: from uploaded slices to scores and masks at the slices' own size.
//!
//! ```text
//! queue up:   small inputs, slices of batch n + 1
//! queue run:  batch n: pictures -> encoder -> decoder -> counts -> masks                 one launch
//! queue down: scores and masks of batch n - 1
//! ```
//!
//! Whatever crosses between host and device is there twice, so that neither waits for the other.

use std::sync::Arc;

use super::driver::{Driver, Queue};
use super::measure::MapCounter;
use super::recording::{Held, Runs};
use super::resize::MaskResizer;
use super::slice_staging::SliceStaging;
use super::step::Redirects;
use super::{Arena, Cuda};
use crate::backend::imaging::Job;
use crate::error::Result;
use crate::graph::plan::ALIGNMENT;

/// What crosses between host and device for one batch, besides its slices.
struct Half<D: Driver> {
    /// Dropped ahead of the buffers, so behind all copies.
    up: D::Pinned,
    down: D::Pinned,
    inputs: Arc<D::Buffer>,
    results: Arc<D::Buffer>,
    input_bytes: usize,
    result_bytes: usize,
    /// Behind the run that left the results, and behind the copy that brought them last.
    done: Option<D::Event>,
    arrived: Option<D::Event>,
    at: Layout,
}

/// Where results lie, in bytes: predicted IoU at 0, then counts of maps, then masks.
#[derive(Clone, Copy, Default, PartialEq)]
struct Layout {
    prompts: usize,
    counts: usize,
    masks: usize,
    /// Bytes of one mask.
    area: usize,
    end: usize,
}

/// What has to be the same for a recording to be replayed.
#[derive(Clone, Default, PartialEq)]
struct Key {
    half: usize,
    /// Slices and prompts.
    counts: [usize; 2],
    /// Addresses of its inputs and results and of the resizer.
    memory: [u64; 3],
    /// Addresses of slices and their recipes, how they lie in the slots, and the decoder's plan.
    slices: Vec<u64>,
    layout: Layout,
}

/// Memory and recordings of forward passes of one session.
pub struct Forward<D: Driver> {
    runs: Runs<D, Key>,
    halves: [Half<D>; 2],
    /// Of the run that is being queued: kept for their memory.
    key: Key,
    redirects: [Redirects; 2],
}

impl<D: Driver> Cuda<D> {
    /// Memory for forward passes, taken as they come.
    ///
    /// # Errors
    /// A device that fails.
    pub fn forward(&self) -> Result<Forward<D>> {
        let half = || {
            let buffer = || Ok::<_, crate::Error>(Arc::new(self.driver.allocate(0)?));
            Ok::<_, crate::Error>(Half {
                up: self.driver.pinned(0)?,
                down: self.driver.pinned(0)?,
                inputs: buffer()?,
                results: buffer()?,
                input_bytes: 0,
                result_bytes: 0,
                done: None,
                arrived: None,
                at: Layout::default(),
            })
        };
        let (key, redirects) = (Key::default(), [Redirects::new(), Redirects::new()]);
        Ok(Forward { runs: Vec::new(), halves: [half()?, half()?], key, redirects })
    }

    /// Queues one forward pass on the slices of `staging`'s batch; which half of the memory it fills, for
    /// [`Cuda::collect`]. What lay there is gone. `boxes` are first column, column behind the last, first row, row
    /// behind the last of each prompt, in pixels of the maps; masks are those of `resizer`.
    ///
    /// # Errors
    /// Memory; a device that fails.
    pub(crate) fn run_forward(
        &self,
        forward: &mut Forward<D>,
        (staging, counter, arena): (&mut SliceStaging<D>, &MapCounter<D>, &mut Arena<D>),
        job: &Job<'_, Self>,
        boxes: &[[u32; 4]],
        resizer: &Arc<MaskResizer<D>>,
    ) -> Result<usize> {
        let (index, prompts, masks) = (staging.half(), boxes.len(), boxes.len() * counter.maps());
        self.reuse_slices(staging)?;
        let Forward { runs, halves, key, redirects } = forward;
        let half = &mut halves[index];
        let layout = Layout::new(prompts, counter.bytes(prompts), masks, resizer.area());
        let boxes = self.gather(half, redirects, (job, boxes), layout)?;
        half.at = layout;
        self.await_slices(staging, arena)?;

        let [inputs, results] = [&half.inputs, &half.results].map(|buffer| self.driver.address(buffer));
        let memory = [inputs, results, Arc::as_ptr(resizer) as u64];
        (key.half, key.counts, key.memory, key.layout) = (index, [job.slices, prompts], memory, layout);
        key.slices.clear();
        staging.memory(self, &mut key.slices);
        key.slices.push(std::ptr::from_ref(job.parts[1].plan) as u64);
        let launch = |capture: Option<&D::Capture>| {
            let pictures = (&*arena, job.parts[0].plan, job.pictures);
            self.launch_pictures(capture, staging, job.slices, pictures, &redirects[0])?;
            for (i, (part, count)) in job.parts.iter().zip([job.slices, prompts]).enumerate() {
                self.all_steps(capture, arena, part.plan, part.params, count, &redirects[i])?;
            }
            let logits = (job.parts[1].plan, job.logits);
            self.launch_count(capture, arena, logits, prompts, [boxes, results + layout.counts as u64])?;
            self.launch_masks(capture, arena, logits, masks, resizer, results + layout.masks as u64)
        };
        if !runs.iter().any(|(of, _)| of == key) {
            // Memory that was replaced does not come back.
            runs.retain(|(of, _)| of.half != index || (of.memory, &of.slices[..2]) == (key.memory, &key.slices[..2]));
        }
        let held = || {
            let mut held = staging.held();
            held.extend(job.parts.iter().flat_map(|part| self.held(arena, part.params)));
            held.extend([Arc::clone(&half.inputs) as Held, half.results.clone(), resizer.clone()]);
            held
        };
        self.run_recorded(runs, key, held, launch)?;
        self.slices_read(staging)?;
        half.done = Some(self.driver.record_event(Queue::Run, half.done.take())?);
        Ok(index)
    }

    /// Gathers inputs and boxes, and uploads them in one copy: where the boxes are then, and in `redirects` all else.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    fn gather(
        &self,
        half: &mut Half<D>,
        redirects: &mut [Redirects; 2],
        (job, corners): (&Job<'_, Self>, &[[u32; 4]]),
        layout: Layout,
    ) -> Result<u64> {
        let mut end = 0;
        for input in job.inputs.iter().flatten() {
            place(&mut end, input.bytes.len());
        }
        let boxes = place(&mut end, size_of_val(corners));
        self.grow_half(half, end, layout.end)?;
        let (host, start) = (self.driver.host(&mut half.up), self.driver.address(&half.inputs));
        redirects.iter_mut().for_each(Redirects::clear);
        let mut behind = 0;
        for input in job.inputs.iter().flatten() {
            let at = place(&mut behind, input.bytes.len());
            host[at..behind].copy_from_slice(input.bytes);
            redirects[usize::from(input.decoder)].push((input.id, start + at as u64));
        }
        host[boxes..boxes + size_of_val(corners)].copy_from_slice(bytemuck::cast_slice(corners));
        // SAFETY: the bytes change only in a later batch of this half, which begins behind a wait for the upload of its
        // slices, queued behind this copy; the buffer is dropped behind the pinned memory, whose drop waits.
        unsafe { self.driver.queue_write(Queue::Up, &half.inputs, 0, &half.up, 0..end) }?;
        redirects[1].push((job.iou, self.driver.address(&half.results)));
        Ok(start + boxes as u64)
    }

    fn grow_half(&self, half: &mut Half<D>, inputs: usize, results: usize) -> Result<()> {
        // Pinned memory first: dropping the old waits for the copies of the old buffer.
        if inputs > half.input_bytes {
            half.up = self.driver.pinned(inputs)?;
            half.inputs = Arc::new(self.driver.allocate(inputs)?);
            half.input_bytes = inputs;
        }
        if results > half.result_bytes {
            half.down = self.driver.pinned(results)?;
            half.results = Arc::new(self.driver.allocate(results)?);
            half.result_bytes = results;
        }
        Ok(())
    }

    /// Waits for the forward pass that filled half `index`; copies its scores to `iou` `[b, 4]` and its counts to
    /// `counter`. With `masks` all masks come down too.
    ///
    /// # Errors
    /// A device that fails.
    pub fn collect(
        &self,
        forward: &mut Forward<D>,
        index: usize,
        iou: &mut [f32],
        counter: &mut MapCounter<D>,
        masks: bool,
    ) -> Result<()> {
        let half = &mut forward.halves[index];
        let Layout { prompts, counts, masks: first_mask, end, .. } = half.at;
        self.fetch(half, 0, if masks { end } else { first_mask })?;
        let host = self.driver.host(&mut half.down);
        bytemuck::cast_slice_mut(iou).copy_from_slice(&host[..16 * prompts]);
        counter.take(&host[counts..counts + counter.bytes(prompts)]);
        Ok(())
    }

    /// Masks `[count, h, w]` from mask `first` on of the forward pass that filled half `index`, counted over prompts
    /// and maps. `collected` where they came down with the scores.
    ///
    /// # Errors
    /// Masks that are not there; a device that fails.
    pub fn collected_masks<'a>(
        &self,
        forward: &'a mut Forward<D>,
        index: usize,
        (first, count): (usize, usize),
        collected: bool,
    ) -> Result<&'a [u8]> {
        let half = &mut forward.halves[index];
        let Layout { masks, area, end, .. } = half.at;
        let range = masks + first * area..masks + (first + count) * area;
        if range.end > end {
            return Err(self.out_of_range("masks", first + count, (end - masks) / area.max(1)));
        }
        if !collected {
            self.fetch(half, range.start, range.end)?;
        }
        Ok(&self.driver.host(&mut half.down)[range])
    }

    /// Copies a range of results to pinned memory, behind the run that left them and besides any later one.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    fn fetch(&self, half: &mut Half<D>, from: usize, to: usize) -> Result<()> {
        if let Some(done) = &half.done {
            self.driver.wait_event(Queue::Down, done)?;
        }
        // SAFETY: nobody touches the bytes until the wait below is over; the buffer is dropped behind the pinned
        // memory.
        unsafe { self.driver.queue_read(Queue::Down, &half.results, from, &mut half.down, from..to) }?;
        let arrived = self.driver.record_event(Queue::Down, half.arrived.take())?;
        self.driver.wait(half.arrived.insert(arrived))
    }
}

impl Layout {
    fn new(prompts: usize, count_bytes: usize, masks: usize, area: usize) -> Layout {
        let mut end = 0;
        place(&mut end, 16 * prompts);
        let counts = place(&mut end, count_bytes);
        let masks = place(&mut end, masks * area);
        Layout { prompts, counts, masks, area, end }
    }
}

/// The next aligned place for `bytes` bytes, behind which `end` then lies.
fn place(end: &mut usize, bytes: usize) -> usize {
    let at = end.next_multiple_of(ALIGNMENT);
    *end = at + bytes;
    at
}
