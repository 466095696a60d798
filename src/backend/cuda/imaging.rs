//! Pictures and masks on the device: slices go up as they are stored, pictures are made where the network runs, and
//! logits are counted and resized where they are.

use std::ops::Range;
use std::sync::Arc;

use super::driver::Driver;
use super::forward::Forward;
use super::measure::MapCounter;
use super::resize::MaskResizer;
use super::slice_staging::{self, SliceStaging};
use super::{Arena, Cuda};
use crate::backend::imaging::{Answered, Decoded, Encoder, Imaging, Job, MapBox, Pass, Room};
use crate::error::Result;
use crate::image::area::AreaResizer;
use crate::image::picture::{Levels, PictureResizer, Pixels, Preprocessing, copy_rows};
use crate::image::resample::{LogitResizer, Resizer};
use crate::mask::{Counts, Measures, pixels_of_box};
use crate::memory::{reserve, zeros};

/// Memory for slices on their way up, and for what comes down.
pub struct Images<D: Driver> {
    room: Room,
    staging: SliceStaging<D>,
    forward: Forward<D>,
    counter: MapCounter<D>,
    corners: Vec<[u32; 4]>,
    /// Pixels of each mask; the counts of measures are those of the maps.
    pixels: Vec<u32>,
}

/// What makes pictures of slices of one kind.
pub struct Recipe<D: Driver> {
    device: Arc<slice_staging::Recipe<D>>,
    shrinking: Option<Shrinking>,
}

/// On the host, where no kernel does it: what goes up then are pictures.
struct Shrinking {
    resizer: AreaResizer,
    /// Grey levels of one slice, and its picture `[valid height, valid width, 3]`.
    levels: Vec<u8>,
    picture: Vec<u8>,
    width: usize,
}

impl<D: Driver> Imaging for Cuda<D> {
    type Images = Images<D>;
    type Recipe = Recipe<D>;
    type MaskResizer = Arc<MaskResizer<D>>;

    const OWN_MEMORY: bool = true;

    fn images(&self, room: &Room) -> Result<Images<D>> {
        Ok(Images {
            room: *room,
            staging: self.slice_staging(room.slices)?,
            forward: self.forward()?,
            counter: self.map_counter(room.prompts, room.maps)?,
            corners: Vec::with_capacity(room.prompts),
            pixels: zeros(room.prompts * room.maps, "counts of masks")?,
        })
    }

    fn recipe_for(&self, preprocessing: &Preprocessing) -> Result<Recipe<D>> {
        let &Preprocessing { slice, channels, levels, valid, by_range, .. } = preprocessing;
        let recipe = |resizer: &Resizer, channels, Levels { data_type, map, scaling }: Levels| {
            Ok::<_, crate::Error>(Arc::new(self.recipe(resizer, channels, (&map, data_type, scaling), by_range)?))
        };
        Ok(match preprocessing.resizer()? {
            PictureResizer::Bilinear(resizer) => {
                Recipe { device: recipe(&resizer, channels, levels)?, shrinking: None }
            }
            PictureResizer::Area(resizer) => {
                let device = recipe(&Resizer::new(valid, valid, 3)?, 3, Levels::AS_THEY_ARE)?;
                let [levels, picture] = [slice[0] * slice[1] * channels, valid[0] * valid[1] * 3];
                let (levels, picture) = (reserve(levels, "grey levels of a slice")?, zeros(picture, "a picture")?);
                Recipe { device, shrinking: Some(Shrinking { resizer, levels, picture, width: valid[1] }) }
            }
        })
    }

    fn resizer_for(&self, resizer: LogitResizer) -> Result<Arc<MaskResizer<D>>> {
        Ok(Arc::new(self.mask_resizer(&resizer)?))
    }

    fn reserve(&self, images: &mut Images<D>, recipe: &Recipe<D>) -> Result<()> {
        self.make_room(&mut images.staging, &recipe.device)
    }

    fn take(&self, images: &mut Images<D>, slot: usize, recipe: &mut Recipe<D>, pixels: &dyn Pixels) -> Result<()> {
        let (device, pitch) = (&recipe.device, recipe.device.pitch());
        let Some(Shrinking { resizer, levels, picture, width }) = &mut recipe.shrinking else {
            return self.take_slice(&mut images.staging, slot, device, |rows| pixels.gather(rows, pitch));
        };
        resizer.picture(pixels.levels(levels)?, pixels.channels(), picture, *width)?;
        self.take_slice(&mut images.staging, slot, device, |rows| copy_rows(picture, 3 * *width, rows, pitch))
    }

    fn take_again(&self, images: &mut Images<D>, slot: usize, from: usize) -> Result<()> {
        images.staging.again(slot, from)
    }

    fn give_pictures(&self, images: &mut Images<D>, count: usize, encoder: Encoder<'_, Self>) -> Result<()> {
        self.make_pictures(&mut images.staging, count, encoder)
    }

    fn measure(
        &self,
        images: &mut Images<D>,
        answered: Answered<'_, Self>,
        boxes: &[MapBox],
        iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()> {
        let Images { room, forward, counter, .. } = images;
        match answered {
            Answered::Apart((arena, plan, logits)) => {
                let corners = boxes.iter().map(|region| corners(room.side, region));
                self.count(arena, plan, logits, corners, counter)?;
            }
            Answered::Pass(Pass { half, masks }) => self.collect(forward, half, iou, counter, masks)?,
        }
        for (prompt, (&region, measures)) in boxes.iter().zip(out).enumerate() {
            let counts = |map| within(counter.map(prompt, map), room.side);
            let both = |a: usize, b: usize| counter.both(prompt, a + b - 1);
            *measures = Measures::of_counts(room.maps, counts, both, region, &[]);
        }
        Ok(())
    }

    fn masks_of(
        &self,
        images: &mut Images<D>,
        (arena, plan, logits): Decoded<'_, Self>,
        resizer: &mut Arc<MaskResizer<D>>,
        [prompts, maps]: [Range<usize>; 2],
        out: &mut [u8],
    ) -> Result<()> {
        let count = images.room.maps;
        let step = if maps.len() == 1 { count } else { 1 };
        let together = together(&prompts, &maps, if step == count { 1 } else { count });
        let pixels = &mut images.pixels[..together * maps.len()];
        for (prompt, masks) in prompts.step_by(together).zip(out.chunks_exact_mut(pixels.len() * resizer.area())) {
            let first = prompt * count + maps.start;
            self.masks(arena, plan, logits, (first, step), resizer, (masks, pixels))?;
        }
        Ok(())
    }

    fn masks_of_pass(
        &self,
        images: &mut Images<D>,
        Pass { half, masks }: Pass,
        [prompts, maps]: [Range<usize>; 2],
        out: &mut [u8],
    ) -> Result<()> {
        let (count, length) = (images.room.maps, (out.len() / prompts.len().max(1)).max(1));
        let together = together(&prompts, &maps, count);
        for (prompt, out) in prompts.step_by(together).zip(out.chunks_exact_mut(together * length)) {
            let wanted = (prompt * count + maps.start, together * maps.len());
            out.copy_from_slice(self.collected_masks(&mut images.forward, half, wanted, masks)?);
        }
        Ok(())
    }

    fn run_pass(
        &self,
        images: &mut Images<D>,
        arena: &mut Arena<D>,
        job: &Job<'_, Self>,
        resizer: &Arc<MaskResizer<D>>,
        boxes: &[MapBox],
    ) -> Result<usize> {
        let Images { room, staging, forward, counter, corners: to, .. } = images;
        to.clear();
        to.extend(boxes.iter().map(|region| corners(room.side, region)));
        self.run_forward(forward, (staging, counter, arena), job, to, resizer)
    }
}

/// Prompts whose maps are taken at once: all, where as many maps of each are wanted as lie evenly.
fn together(prompts: &Range<usize>, maps: &Range<usize>, evenly: usize) -> usize {
    if maps.len() == evenly { prompts.len().max(1) } else { 1 }
}

/// A device that fails may return any number: within the map they are at least safe to calculate with.
fn within(counts: Counts, side: usize) -> Counts {
    let [last, pixels] = [side.saturating_sub(1), side * side].map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let Counts { area, above, below, inside, tight_box } = counts;
    let [area, above, below, inside] = [area, above, below, inside].map(|count| count.min(pixels));
    Counts { area, above, below, inside, tight_box: tight_box.map(|bounds| bounds.map(|at| at.min(last))) }
}

/// First column, column behind the last, first row, row behind the last of a box in maps of `side`; of the map without
/// one.
fn corners(side: usize, region: &MapBox) -> [u32; 4] {
    let [columns, rows] = region.map_or([0..side, 0..side], |region| pixels_of_box(side, region));
    [columns.start, columns.end, rows.start, rows.end].map(|at| at as u32)
}
