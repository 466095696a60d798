//! Slices on their way to the encoder: gathered in pinned memory as they are stored, uploaded in a queue of their own
//! while the run before is still at work, and made into pictures where they are.

use std::sync::Arc;

use super::driver::{Driver, Queue};
use super::grey_level::{GreyTable, Slices};
use super::picture::{PictureTaps, Ranges};
use super::recording::Held;
use super::{Arena, Cuda};
use crate::error::{Error, Result};
use crate::graph::{Plan, ValueId};
use crate::image::resample::Resizer;
use crate::image::thresholds::Thresholds;
use crate::image::{DataType, IntensityMap};

/// Rows are so many values long, or a multiple, so that each row of levels starts at a sector.
const ROW: usize = 32;

/// What makes pictures of slices of one size, type and rule.
pub struct Recipe<D: Driver> {
    /// `None` where the stored bytes are levels.
    grey: Option<GreyTable<D>>,
    taps: PictureTaps<D>,
    rows: usize,
    /// Values of a row, behind its own whatever was there before.
    row: usize,
    /// Bytes of a stored value.
    bytes: usize,
    /// Whether the encoder scales pictures by their own range.
    ranges: bool,
}

impl<D: Driver> Recipe<D> {
    /// Bytes from one row of a slice to the next.
    pub fn pitch(&self) -> usize {
        self.row * self.bytes
    }

    fn values(&self) -> usize {
        self.rows * self.row
    }

    fn stored(&self) -> usize {
        self.rows * self.pitch()
    }

    /// Bytes of the levels of a slice, besides what is stored.
    fn levels(&self) -> usize {
        self.grey.as_ref().map_or(0, |_| self.values())
    }
}

/// A slice in the memory of a batch.
struct Region<D: Driver> {
    offset: usize,
    /// Where its levels go, unless they are what is stored.
    levels: usize,
    recipe: Arc<Recipe<D>>,
}

/// One of two batches, of which one is filled while a run reads the other.
struct Half<D: Driver> {
    /// Dropped ahead of `stored`, so behind all copies to it.
    pinned: D::Pinned,
    stored: Arc<D::Buffer>,
    bytes: usize,
    used: usize,
    /// Bytes of the levels of its slices.
    levels: usize,
    regions: Vec<Region<D>>,
    /// Region of each slot.
    slots: Vec<Option<usize>>,
    /// Behind the last copy to the device.
    uploaded: Option<D::Event>,
    /// Behind the last launch that reads the slices.
    read: Option<D::Event>,
}

/// Memory for the slices of two batches.
pub struct SliceStaging<D: Driver> {
    halves: [Half<D>; 2],
    current: usize,
    /// Whether the current half takes slices; else the next slice begins the other one.
    open: bool,
    levels: Arc<D::Buffer>,
    levels_bytes: usize,
    ranges: Arc<Ranges<D>>,
}

impl<D: Driver> SliceStaging<D> {
    /// Which half the batch is in.
    pub(super) fn half(&self) -> usize {
        self.current
    }

    /// Appends what decides the launches for the batch: addresses of its memory, and how slots, slices and recipes lie.
    pub(super) fn memory(&self, cuda: &Cuda<D>, to: &mut Vec<u64>) {
        let half = &self.halves[self.current];
        let buffers = [&half.stored, &self.levels].map(|buffer| cuda.driver.address(buffer));
        let recipes = half.regions.iter().map(|region| Arc::as_ptr(&region.recipe) as u64);
        let slots = half.slots.iter().map(|slot| slot.map_or(u64::MAX, |region| region as u64));
        to.extend(buffers.into_iter().chain(recipes).chain(slots));
    }

    /// A share in that memory.
    pub(super) fn held(&self) -> Vec<Held> {
        let half = &self.halves[self.current];
        let recipes = half.regions.iter().map(|region| Arc::clone(&region.recipe) as Held);
        recipes.chain([half.stored.clone() as Held, self.levels.clone(), self.ranges.clone()]).collect()
    }

    /// Puts the slice of slot `from` in `slot` too.
    ///
    /// # Errors
    /// A slot that is not there, or without a slice.
    pub fn again(&mut self, slot: usize, from: usize) -> Result<()> {
        let slots = &mut self.halves[self.current].slots;
        match slots.get(from).copied().flatten().filter(|_| self.open && slot < slots.len()) {
            Some(region) => slots[slot] = Some(region),
            None => {
                return Err(Error::internal(
                    "the slices of a batch",
                    format!("slot {from} has no slice for slot {slot}"),
                ));
            }
        }
        Ok(())
    }
}

impl<D: Driver> Cuda<D> {
    /// What makes pictures of slices of `channels` channels that `resizer` takes to them, of grey levels by `map` of
    /// stored values that stand for `slope x stored + intercept`, all of them finite. With `ranges` the encoder scales
    /// each picture by its own range.
    ///
    /// # Errors
    /// A device that fails.
    pub fn recipe(
        &self,
        resizer: &Resizer,
        channels: usize,
        (map, data_type, scaling): (&IntensityMap, DataType, (f64, f64)),
        ranges: bool,
    ) -> Result<Recipe<D>> {
        let thresholds = Thresholds::new(map, data_type, scaling);
        let [rows, width] = resizer.from();
        let row = (width * channels).next_multiple_of(ROW);
        let grey = if thresholds.keep_bytes() { None } else { Some(self.grey_table(&thresholds)?) };
        let (taps, bytes) = (self.picture_taps(resizer, channels, row)?, data_type.bytes() as usize);
        Ok(Recipe { grey, taps, rows, row, bytes, ranges })
    }

    /// Memory for batches of `slots` slices, taken as slices come.
    ///
    /// # Errors
    /// A device that fails.
    pub fn slice_staging(&self, slots: usize) -> Result<SliceStaging<D>> {
        let half = || {
            let (pinned, stored) = (self.driver.pinned(0)?, Arc::new(self.driver.allocate(0)?));
            let slots = vec![None; slots];
            Ok::<_, Error>(Half {
                pinned,
                stored,
                bytes: 0,
                used: 0,
                levels: 0,
                regions: Vec::new(),
                slots,
                uploaded: None,
                read: None,
            })
        };
        let levels = Arc::new(self.driver.allocate(0)?);
        let (halves, ranges) = ([half()?, half()?], Arc::new(self.picture_ranges(slots)?));
        Ok(SliceStaging { halves, current: 0, open: false, levels, levels_bytes: 0, ranges })
    }

    /// Makes room for a whole batch of slices of `recipe`.
    ///
    /// # Errors
    /// Memory that cannot be had.
    pub fn make_room(&self, staging: &mut SliceStaging<D>, recipe: &Recipe<D>) -> Result<()> {
        let slots = staging.halves[0].slots.len();
        for half in &mut staging.halves {
            self.grow(half, slots * recipe.stored())?;
        }
        self.grow_levels(staging, slots * recipe.levels())
    }

    /// Takes a slice into `slot`: `fill` writes its rows, [`Recipe::pitch`] bytes each, and they are on their way. The
    /// first slice behind [`Cuda::make_pictures`] begins a new batch.
    ///
    /// # Errors
    /// A slot that is not there; memory; a device that fails.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    pub fn take_slice(
        &self,
        staging: &mut SliceStaging<D>,
        slot: usize,
        recipe: &Arc<Recipe<D>>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        if !staging.open {
            self.begin_batch(staging)?;
        }
        let (half, bytes) = (&mut staging.halves[staging.current], recipe.stored());
        if slot >= half.slots.len() {
            return Err(self.out_of_range("slots", slot, half.slots.len()));
        }
        if half.used + bytes > half.bytes {
            let room = (half.slots.len() * bytes).max(half.used + bytes);
            self.grow(half, room)?;
        }
        let range = half.used..half.used + bytes;
        fill(&mut self.driver.host(&mut half.pinned)[range.clone()]);
        // SAFETY: bytes below `used` are written again only in a later batch of this half, behind a wait for
        // `uploaded`; the buffer is dropped behind the pinned memory, whose drop waits.
        unsafe { self.driver.queue_write(Queue::Up, &half.stored, range.start, &half.pinned, range.clone()) }?;
        half.used = range.end;
        half.slots[slot] = Some(half.regions.len());
        half.regions.push(Region { offset: range.start, levels: half.levels, recipe: Arc::clone(recipe) });
        half.levels += recipe.levels();
        Ok(())
    }

    /// To be called before more is uploaded for the batch: where its run has begun, what goes up waits for that.
    pub(super) fn reuse_slices(&self, staging: &SliceStaging<D>) -> Result<()> {
        if staging.open { Ok(()) } else { self.wait_until_read(&staging.halves[staging.current]) }
    }

    /// Waits for the uploads of a half; what goes up from here on waits for the run that reads it.
    fn wait_until_read(&self, half: &Half<D>) -> Result<()> {
        half.uploaded.as_ref().map_or(Ok(()), |uploaded| self.driver.wait(uploaded))?;
        half.read.as_ref().map_or(Ok(()), |read| self.driver.wait_event(Queue::Up, read))
    }

    /// Begins a batch in the other half, once nothing uses what that held.
    fn begin_batch(&self, staging: &mut SliceStaging<D>) -> Result<()> {
        staging.current ^= 1;
        let half = &mut staging.halves[staging.current];
        self.wait_until_read(half)?;
        (half.used, half.levels) = (0, 0);
        half.regions.clear();
        half.slots.fill(None);
        staging.open = true;
        Ok(())
    }

    /// Room for `bytes` in a half; what it holds stays there.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    fn grow(&self, half: &mut Half<D>, bytes: usize) -> Result<()> {
        if bytes <= half.bytes {
            return Ok(());
        }
        let (mut pinned, stored) = (self.driver.pinned(bytes)?, self.driver.allocate(bytes)?);
        self.driver.host(&mut pinned)[..half.used].copy_from_slice(&self.driver.host(&mut half.pinned)[..half.used]);
        // SAFETY: as in `take_slice`.
        unsafe { self.driver.queue_write(Queue::Up, &stored, 0, &pinned, 0..half.used) }?;
        // The old pinned memory goes first, behind all copies, then the buffer.
        half.pinned = pinned;
        half.stored = Arc::new(stored);
        half.bytes = bytes;
        Ok(())
    }

    fn grow_levels(&self, staging: &mut SliceStaging<D>, bytes: usize) -> Result<()> {
        if bytes > staging.levels_bytes {
            staging.levels = Arc::new(self.driver.allocate(bytes)?);
            staging.levels_bytes = bytes;
        }
        Ok(())
    }

    /// Ends the batch, and makes the pictures of its first `count` slots: the values `pixels` `[slots, S, S, 3]`, of
    /// which what lies behind a picture is left as it is, and where a recipe has ranges `scaling` `[slots, 8]`. What
    /// waits for the arena goes ahead. May be called again for the same batch.
    ///
    /// # Errors
    /// A slot without a slice; memory; a device that fails.
    pub fn make_pictures(
        &self,
        staging: &mut SliceStaging<D>,
        count: usize,
        (arena, plan, values): (&mut Arena<D>, &Plan, [ValueId; 2]),
    ) -> Result<()> {
        self.await_slices(staging, arena)?;
        self.launch_pictures(None, staging, count, (arena, plan, values), &[])?;
        self.slices_read(staging)
    }

    /// Ends the batch: what is queued from here on runs behind the upload of its slices and of what waits for `arena`.
    pub(super) fn await_slices(&self, staging: &mut SliceStaging<D>, arena: &mut Arena<D>) -> Result<()> {
        arena.flush(&self.driver)?;
        let half = &mut staging.halves[staging.current];
        let uploaded = self.driver.record_event(Queue::Up, half.uploaded.take())?;
        self.driver.wait_event(Queue::Run, &uploaded)?;
        half.uploaded = Some(uploaded);
        staging.open = false;
        let bytes = half.levels;
        self.grow_levels(staging, bytes)
    }

    /// Launches what makes the pictures of the first `count` slots, behind [`Cuda::await_slices`].
    pub(super) fn launch_pictures(
        &self,
        capture: Option<&D::Capture>,
        staging: &SliceStaging<D>,
        count: usize,
        target: (&Arena<D>, &Plan, [ValueId; 2]),
        redirects: &[(ValueId, u64)],
    ) -> Result<()> {
        let half = &staging.halves[staging.current];
        self.launch_levels(capture, staging, half)?;
        let slot = |at: usize| half.slots.get(at).copied().flatten().map(|region| &half.regions[region]);
        if (0..count).any(|at| slot(at).is_none()) {
            let what = format!("not all of {count} slots have a slice");
            return Err(Error::internal("the slices of a batch", what));
        }
        let mut first = 0;
        while let Some(region) = slot(first).filter(|_| first < count) {
            // As many pictures in one launch as have the same recipe and lie evenly.
            let (recipe, start) = (&region.recipe, self.levels_of(staging, region));
            let next = slot(first + 1).filter(|_| first + 1 < count);
            let step = next.map_or(0, |next| self.levels_of(staging, next).saturating_sub(start));
            let alike = |&(i, other): &(usize, &Region<D>)| {
                self.levels_of(staging, other) == start + i as u64 * step && Arc::ptr_eq(&other.recipe, recipe)
            };
            let alike = (first..count).map_while(slot).enumerate().take_while(alike).count();
            let ranges = recipe.ranges.then_some(&*staging.ranges);
            let slices = Slices { start, step: step as usize };
            self.pictures(capture, target, redirects, (first, alike), &recipe.taps, slices, ranges)?;
            first += alike;
        }
        Ok(())
    }

    /// Marks that what was launched so far is the last to read the slices of the batch.
    pub(super) fn slices_read(&self, staging: &mut SliceStaging<D>) -> Result<()> {
        let read = &mut staging.halves[staging.current].read;
        *read = Some(self.driver.record_event(Queue::Run, read.take())?);
        Ok(())
    }

    /// Device address of the levels of a slice of the batch.
    fn levels_of(&self, staging: &SliceStaging<D>, region: &Region<D>) -> u64 {
        match region.recipe.grey {
            Some(_) => self.driver.address(&staging.levels) + region.levels as u64,
            None => self.driver.address(&staging.halves[staging.current].stored) + region.offset as u64,
        }
    }

    /// Launches what makes levels of all slices of the batch.
    fn launch_levels(&self, capture: Option<&D::Capture>, staging: &SliceStaging<D>, half: &Half<D>) -> Result<()> {
        let stored = self.driver.address(&half.stored);
        for run in half.regions.chunk_by(|a, b| Arc::ptr_eq(&a.recipe, &b.recipe)) {
            let recipe = &run[0].recipe;
            let Some(grey) = &recipe.grey else { continue };
            let from = Slices { start: stored + run[0].offset as u64, step: recipe.stored() };
            let to = Slices { start: self.levels_of(staging, &run[0]), step: recipe.values() };
            self.grey_levels(capture, grey, [from, to], recipe.values(), run.len())?;
        }
        Ok(())
    }
}
