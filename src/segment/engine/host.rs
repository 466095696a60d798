//! Pictures and masks are made on the host: on a CPU, and for what is made of slices in another way than the CUDA
//! backend's kernels do.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::interface::{Engine, Pass, Source, bilinear_resizer, kept_for, logit_resizer, predicted};
use crate::backend::Backend;
use crate::error::Result;
use crate::executor::{Prompt, Session, Slice};
use crate::image::area::AreaResizer;
use crate::image::resample::{LogitResizer, Resizer};
use crate::mask::{Candidates, Measures};
use crate::memory::grow_to;
use crate::memory::zeros;
use crate::segment::Frame;
use crate::segment::frame::Filter;

pub(super) struct OnHost<B: Backend> {
    session: Session<B>,
    /// Side of a map.
    side: usize,
    /// `[batch, S, S, 3]`.
    pictures: Vec<u8>,
    /// Scaling and context of each picture.
    placed: Vec<([f32; 8], [i32; 5])>,
    /// To the model's picture, for the size of slice and the channels that came last.
    picture: Option<(Frame, usize, PictureResizer)>,
    /// Grey levels of one slice.
    levels: Vec<u8>,
    /// `[b, M, L, L]`.
    logits: Vec<f32>,
    /// For the size of slice that came last.
    resizer: Option<(Frame, LogitResizer)>,
    /// One map at that size.
    restored: Vec<f32>,
}

/// From slices to the model's picture.
enum PictureResizer {
    Bilinear(Resizer),
    Area(AreaResizer),
}

impl PictureResizer {
    fn new(frame: &Frame, channels: usize) -> Result<PictureResizer> {
        Ok(match frame.filter() {
            Filter::Bilinear => PictureResizer::Bilinear(bilinear_resizer(frame, channels)?),
            Filter::Area => PictureResizer::Area(AreaResizer::new(frame.slice, frame.valid, channels)?),
        })
    }

    fn picture(&mut self, source: &[u8], channels: usize, target: &mut [u8], target_width: usize) -> Result<()> {
        match self {
            PictureResizer::Bilinear(resizer) => resizer.picture(source, channels, target, target_width),
            PictureResizer::Area(resizer) => resizer.picture(source, channels, target, target_width),
        }
    }
}

impl<B: Backend> OnHost<B> {
    pub fn new(session: Session<B>) -> Result<Self> {
        let config = session.network().config();
        let (side, size, options) = (config.logits_size(), config.image_size, session.options());
        let pictures = zeros(options.slices * 3 * size * size, "pictures")?;
        let placed = vec![Default::default(); options.slices];
        let logits = zeros(options.prompts * options.masks.count() * side * side, "logits")?;
        Ok(OnHost {
            session,
            side,
            pictures,
            placed,
            picture: None,
            levels: Vec::new(),
            logits,
            resizer: None,
            restored: Vec::new(),
        })
    }

    /// Bytes of one picture.
    fn of_picture(&self) -> usize {
        3 * self.session.network().config().image_size.pow(2)
    }

    /// f32 of one prompt's maps.
    fn stride(&self) -> usize {
        self.session.options().masks.count() * self.side * self.side
    }
}

impl<B: Backend> Engine for OnHost<B> {
    fn place(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()> {
        let (bytes, channels) = (self.of_picture(), source.channels());
        let target = &mut self.pictures[slot * bytes..(slot + 1) * bytes];
        let resizer = picture_resizer(&mut self.picture, frame, channels)?;
        let pixels = match source {
            Source::Picture(picture) => picture.pixels,
            Source::Stored(slice) => {
                slice.levels(&mut self.levels)?;
                &self.levels
            }
        };
        resizer.picture(pixels, channels, target, frame.size)?;
        self.placed[slot] = (frame.scaling(target), context);
        Ok(())
    }

    fn place_again(&mut self, slot: usize, from: usize, context: [i32; 5]) -> Result<()> {
        let bytes = self.of_picture();
        self.pictures.copy_within(from * bytes..(from + 1) * bytes, slot * bytes);
        self.placed[slot] = (self.placed[from].0, context);
        Ok(())
    }

    fn picture(&self, slot: usize) -> Option<Slice<'_>> {
        let pixels = self.pictures.chunks_exact(self.of_picture()).nth(slot)?;
        let &(scaling, context) = self.placed.get(slot)?;
        Some(Slice { pixels, scaling, context })
    }

    fn encode(&mut self, count: usize) -> Result<()> {
        let pictures = self.pictures.chunks_exact(self.of_picture()).zip(&self.placed);
        let slice = |(pixels, &(scaling, context))| Slice { pixels, scaling, context };
        if let (1, Some(first)) = (count, pictures.clone().next()) {
            return self.session.encode(&[slice(first)]);
        }
        let slices: Vec<Slice<'_>> = pictures.take(count).map(slice).collect();
        self.session.encode(&slices)
    }

    fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.session.set_stop(stop);
    }

    fn embedding_len(&self) -> usize {
        self.session.embedding_len()
    }

    fn embeddings(&mut self, values: &mut [f32]) -> Result<()> {
        self.session.embeddings(values)
    }

    fn set_embeddings(&mut self, values: &[f32]) -> Result<()> {
        self.session.set_embeddings(values)
    }

    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        self.session.answer(prompts)
    }

    fn measure(
        &mut self,
        _pass: Option<Pass>,
        regions: &[Option<[f32; 4]>],
        iou: &mut [f32],
        out: &mut [Measures],
    ) -> Result<()> {
        let length = regions.len() * self.stride();
        self.session.logits(&mut self.logits[..length])?;
        self.session.iou(iou)?;
        let first_token = self.session.options().masks.first();
        let maps = self.logits.chunks_exact(self.stride());
        for (prompt, ((&region, logits), measures)) in regions.iter().zip(maps).zip(out).enumerate() {
            let predicted_iou = predicted(iou, prompt, first_token);
            *measures =
                Measures::new(&Candidates { logits, side: self.side, first_token, prompt: region, predicted_iou });
        }
        Ok(())
    }

    fn logits(&mut self, prompt: usize) -> Result<&[f32]> {
        let stride = self.stride();
        Ok(&self.logits[prompt * stride..(prompt + 1) * stride])
    }

    fn prepare(&mut self, frame: &Frame, channels: usize) -> Result<()> {
        picture_resizer(&mut self.picture, frame, channels)?;
        grow_to(&mut self.levels, frame.slice[0] * frame.slice[1] * channels, "grey levels of a slice")?;
        self.prepare_masks(frame)
    }

    fn masks(
        &mut self,
        _pass: Option<Pass>,
        prompts: Range<usize>,
        maps: Range<usize>,
        frame: &Frame,
        out: &mut [u8],
    ) -> Result<()> {
        self.prepare_masks(frame)?;
        let resizer = kept_for(&mut self.resizer, frame, || logit_resizer(self.side, frame))?;
        let (area, plane) = (frame.slice[0] * frame.slice[1], self.side * self.side);
        self.restored.clear();
        self.restored.resize(area, 0.0);
        let count = self.session.options().masks.count();
        let wanted = prompts.flat_map(|prompt| maps.clone().map(move |map| prompt * count + map));
        for (map, mask) in wanted.zip(out.chunks_exact_mut(area)) {
            resizer.run(&self.logits[map * plane..(map + 1) * plane], &mut self.restored)?;
            mask.iter_mut().zip(&self.restored).for_each(|(inside, &logit)| *inside = u8::from(logit > 0.0));
        }
        Ok(())
    }
}

impl<B: Backend> OnHost<B> {
    fn prepare_masks(&mut self, frame: &Frame) -> Result<()> {
        kept_for(&mut self.resizer, frame, || logit_resizer(self.side, frame))?;
        grow_to(&mut self.restored, frame.slice[0] * frame.slice[1], "a restored slice")
    }
}

/// To the model's picture; made only when the size of the slices changes or more channels come, since making it
/// allocates.
fn picture_resizer<'a>(
    kept: &'a mut Option<(Frame, usize, PictureResizer)>,
    frame: &Frame,
    channels: usize,
) -> Result<&'a mut PictureResizer> {
    let resizer = match kept.take() {
        Some(kept) if kept.0 == *frame && kept.1 >= channels => kept,
        _ => (*frame, channels, PictureResizer::new(frame, channels)?),
    };
    Ok(&mut kept.insert(resizer).2)
}
