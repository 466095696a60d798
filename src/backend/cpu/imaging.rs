//! Pictures and masks on the processor, by the resampling and the counts of `image` and `mask`.

use std::ops::Range;

use super::{Cpu, outside};
use crate::backend::imaging::{Answered, Decoded, Encoder, Imaging, MapBox, Room};
use crate::error::Result;
use crate::image::picture::{PictureResizer, Pixels, Preprocessing};
use crate::image::resample::LogitResizer;
use crate::mask::{Candidates, Measures};
use crate::memory::{grow_to, zeros};

/// Pictures of a batch: they are no values of the arena, since slices of the next batch come while that holds logits.
pub struct Images {
    room: Room,
    /// `[slices, S, S, 3]`.
    pictures: Vec<u8>,
    /// Grey levels of one slice.
    levels: Vec<u8>,
}

impl Images {
    /// Bytes of one picture.
    fn stride(&self) -> usize {
        3 * self.room.picture * self.room.picture
    }
}

/// What makes pictures of slices of one size.
pub struct Recipe {
    preprocessing: Preprocessing,
    resizer: PictureResizer,
}

/// What makes masks of one size.
pub struct MaskResizer {
    resizer: LogitResizer,
    /// One map at that size.
    restored: Vec<f32>,
}

/// The maps of all prompts that there is room for.
fn maps<'a>((arena, plan, logits): Decoded<'a, Cpu>) -> Result<&'a [f32]> {
    Ok(bytemuck::cast_slice(arena.bytes_mut(plan, logits)?))
}

impl Imaging for Cpu {
    type Images = Images;
    type Recipe = Recipe;
    type MaskResizer = MaskResizer;

    const OWN_MEMORY: bool = false;

    fn images(&self, room: &Room) -> Result<Images> {
        let bytes = room.slices * 3 * room.picture * room.picture;
        Ok(Images { room: *room, pictures: zeros(bytes, "pictures")?, levels: Vec::new() })
    }

    fn recipe_for(&self, preprocessing: &Preprocessing) -> Result<Recipe> {
        Ok(Recipe { preprocessing: *preprocessing, resizer: preprocessing.resizer()? })
    }

    fn resizer_for(&self, resizer: LogitResizer) -> Result<MaskResizer> {
        let restored = zeros(resizer.to().iter().product(), "a restored slice")?;
        Ok(MaskResizer { resizer, restored })
    }

    fn reserve(&self, images: &mut Images, recipe: &Recipe) -> Result<()> {
        let Preprocessing { slice, channels, .. } = recipe.preprocessing;
        grow_to(&mut images.levels, slice[0] * slice[1] * channels, "grey levels of a slice")
    }

    fn take(&self, images: &mut Images, slot: usize, recipe: &mut Recipe, pixels: &dyn Pixels) -> Result<()> {
        let stride = images.stride();
        let target = images.pictures.chunks_exact_mut(stride).nth(slot).ok_or_else(|| outside("pictures"))?;
        let levels = pixels.levels(&mut images.levels)?;
        recipe.resizer.picture(levels, pixels.channels(), target, images.room.picture)
    }

    fn take_again(&self, images: &mut Images, slot: usize, from: usize) -> Result<()> {
        let stride = images.stride();
        images.pictures.copy_within(from * stride..(from + 1) * stride, slot * stride);
        Ok(())
    }

    fn picture<'a>(&self, images: &'a Images, slot: usize) -> Option<&'a [u8]> {
        images.pictures.chunks_exact(images.stride()).nth(slot)
    }

    fn give_pictures(&self, images: &mut Images, count: usize, encoder: Encoder<'_, Cpu>) -> Result<()> {
        let (arena, plan, [pixels, _]) = encoder;
        let value = arena.bytes_mut(plan, pixels)?.get_mut(..count * images.stride());
        value.ok_or_else(|| outside("pixels"))?.copy_from_slice(&images.pictures[..count * images.stride()]);
        Ok(())
    }

    fn measure(
        &self,
        images: &mut Images,
        answered: Answered<'_, Cpu>,
        boxes: &[MapBox],
        _iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()> {
        let Room { maps: count, side, .. } = images.room;
        let Answered::Apart(decoded) = answered else { return Err(self.no_pass()) };
        let prompts = maps(decoded)?.chunks_exact(count * side * side);
        for ((logits, &prompt), measures) in prompts.zip(boxes).zip(out) {
            *measures = Measures::new(&Candidates { logits, side, first_token: 0, prompt, predicted_iou: &[] });
        }
        Ok(())
    }

    fn masks_of(
        &self,
        images: &mut Images,
        decoded: Decoded<'_, Cpu>,
        MaskResizer { resizer, restored }: &mut MaskResizer,
        [prompts, wanted]: [Range<usize>; 2],
        out: &mut [u8],
    ) -> Result<()> {
        let Room { maps: count, side, .. } = images.room;
        let (logits, plane) = (maps(decoded)?, side * side);
        let wanted = prompts.flat_map(|prompt| wanted.clone().map(move |map| prompt * count + map));
        for (map, mask) in wanted.zip(out.chunks_exact_mut(restored.len())) {
            resizer.run(&logits[map * plane..(map + 1) * plane], restored)?;
            mask.iter_mut().zip(&*restored).for_each(|(inside, &logit)| *inside = u8::from(logit > 0.0));
        }
        Ok(())
    }
}
