//! The engine as a [`Predictor`].

use super::{Prediction, Predictor, Slice};
use crate::Result;
use crate::segment::{Fetch, Picture, Prompt, Segmenter, prompt_points};

impl Predictor for Segmenter {
    fn batch(&self) -> usize {
        Segmenter::batch(self)
    }

    fn predict(&mut self, slices: &[Slice]) -> Result<Vec<Prediction>> {
        let mut points = vec![Vec::new(); slices.len()];
        for (slot, slice) in slices.iter().enumerate() {
            let Slice { height, width, .. } = *slice;
            let picture = Picture { pixels: &slice.pixels, height, width, channels: 3 };
            let frame = self.place(slot, &picture, slice.context.as_ref())?;
            prompt_points(&frame, &[], Some(slice.region.corners()), &mut points[slot]);
        }
        let prompt = |(slot, points)| Prompt { slot, points, mask: None };
        let prompts: Vec<Prompt<'_>> = points.iter().map(Vec::as_slice).enumerate().map(prompt).collect();
        self.abandon();
        let ticket = self.submit(&prompts, Fetch::All)?;
        let mut answers = self.collect(ticket)?;
        let mut predictions = Vec::with_capacity(slices.len());
        for (index, slice) in slices.iter().enumerate() {
            let verdict = answers.verdict(index);
            let mut mask = vec![0; slice.height * slice.width];
            let mut masks = Vec::new();
            for token in answers.tokens() {
                answers.mask(index, token, &mut mask)?;
                masks.push(mask.iter().map(|&inside| inside != 0).collect());
            }
            predictions.push(Prediction { masks, verdict });
        }
        Ok(predictions)
    }
}
