//! The engine as a [`Predictor`].

use super::{Prediction, Predictor, Slice};
use crate::Result;
use crate::segment::{Picture, Prompt, Segmenter, prompt_points};

impl Predictor for Segmenter {
    fn batch(&self) -> usize {
        Segmenter::batch(self)
    }

    fn predict(&mut self, slices: &[Slice]) -> Result<Vec<Prediction>> {
        let mut frames = Vec::with_capacity(slices.len());
        let mut points = vec![Vec::new(); slices.len()];
        for (slot, slice) in slices.iter().enumerate() {
            let Slice { height, width, .. } = *slice;
            let picture = Picture { pixels: &slice.pixels, height, width, channels: 3 };
            let frame = self.place(slot, &picture, slice.context.as_ref())?;
            prompt_points(&frame, &[], Some(slice.region.corners()), &mut points[slot]);
            frames.push(frame);
        }
        let prompt = |(slot, points)| Prompt { slot, points, mask: None };
        let prompts: Vec<Prompt<'_>> = points.iter().map(Vec::as_slice).enumerate().map(prompt).collect();
        let whole = match frames.first() {
            Some(frame) => self.begin_forward(slices.len(), &prompts, frame, true)?,
            None => false,
        };
        if whole {
            self.finish()?;
        } else {
            self.encode(slices.len())?;
            self.decode(&prompts)?;
        }
        let mut predictions = Vec::with_capacity(slices.len());
        for (index, (slice, frame)) in slices.iter().zip(&frames).enumerate() {
            let verdict = self.verdict(index);
            let mut mask = vec![0; slice.height * slice.width];
            let mut masks = Vec::new();
            for token in self.masks().first()..self.masks().first() + self.masks().count() {
                self.mask(index, token, frame, &mut mask)?;
                masks.push(mask.iter().map(|&inside| inside != 0).collect());
            }
            predictions.push(Prediction { masks, verdict });
        }
        Ok(predictions)
    }
}
