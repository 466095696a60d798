//! From labelled slices to samples, and how well they are found.

use super::Trainer;
#[cfg(feature = "capi")]
use super::sample::Placed;
use super::sample::{Sample, Score, resize, score, tight_box};
#[cfg(feature = "capi")]
use crate::memory::copied;
use crate::memory::zeros;
use crate::segment::{Frame, Segmenter};
use crate::{Error, Result};

impl Trainer {
    /// A sample of a slice of `frame`: its `embedding` `[N, P]`, and its `label` `[height, width]`, not 0 inside. For a
    /// trainer of the decoder.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a label that is empty, fills the slice, or is lost at the model's size;
    /// [`Error::Argument`] for lengths that do not fit.
    pub fn sample(&self, embedding: &[f32], frame: &Frame, label: &[u8]) -> Result<Sample> {
        if embedding.len() != self.frozen.position.len() {
            let expected = format!("{} numbers of the embedding", self.frozen.position.len());
            return Err(Error::Argument { name: "sample", expected, found: embedding.len().to_string() });
        }
        let sample = self.labelled(frame, label)?;
        Ok(Sample { image: self.frozen.with_prompt(embedding)?, ..sample })
    }

    /// A sample of the slice that was placed in `slot` of `segmenter`, for a trainer of the encoder: what never changes
    /// of it is computed here.
    ///
    /// # Errors
    /// As [`Trainer::sample`]; [`Error::Argument`] for a session that is not on the CPU, or a trainer of the decoder
    /// alone.
    pub fn sample_placed(&self, segmenter: &Segmenter, slot: usize, frame: &Frame, label: &[u8]) -> Result<Sample> {
        let wrong = |expected: &str| {
            let found = segmenter.model().device().to_string();
            Error::Argument { name: "sample", expected: expected.into(), found }
        };
        let encoder = self.encoder.as_ref().ok_or_else(|| wrong("an embedding, for a trainer of the decoder"))?;
        let slice = segmenter.placed(slot).ok_or_else(|| wrong("a slice that was placed in a session on the CPU"))?;
        let sample = self.labelled(frame, label)?;
        Ok(Sample { beginning: Some(encoder.begin(&slice, self.stop())?), ..sample })
    }

    /// As [`Trainer::sample_placed`], of a slice that was kept when `sample` was made of it for a trainer of the
    /// decoder.
    #[cfg(feature = "capi")]
    pub(crate) fn sample_kept(&self, sample: &Sample, kept: &Placed) -> Result<Sample> {
        let none = || Error::internal("tune", "a kept slice for a trainer of the decoder");
        let beginning = self.encoder.as_ref().ok_or_else(none)?.begin(&kept.slice(), self.stop())?;
        let label = copied(&sample.label, "a label")?;
        Ok(Sample { image: Vec::new(), beginning: Some(beginning), region: sample.region, label })
    }

    /// Box and label.
    fn labelled(&self, frame: &Frame, label: &[u8]) -> Result<Sample> {
        let [height, width] = frame.slice;
        if label.len() != height * width {
            let (expected, found) = (format!("{height} x {width} labels"), label.len().to_string());
            return Err(Error::Argument { name: "sample", expected, found });
        }
        let wrong = |found: &str| {
            let expected = "pixels inside and pixels outside, also at the model's size".into();
            Error::Prompt { what: "label".into(), expected, found: found.into() }
        };
        let region = tight_box(label, width).ok_or_else(|| wrong("no pixel inside"))?;
        let side = self.config.logits_size();
        // Padding right and below is outside.
        let valid = frame.valid.map(|valid| valid * side / frame.size);
        let resized = resize(label, [height, width], valid, side)?;
        let inside = resized.iter().filter(|&&inside| inside).count();
        if inside == 0 || inside == resized.len() {
            return Err(wrong(if inside == 0 { "none inside at the model's size" } else { "none outside" }));
        }
        let mut ordered = zeros(side * side, "a label")?;
        for (&place, &inside) in self.places.iter().zip(&resized) {
            ordered[place] = f32::from(u8::from(inside));
        }
        Ok(Sample { image: Vec::new(), beginning: None, region: frame.region(region), label: ordered })
    }

    /// How well the decoder as it is by now finds each sample from its box.
    ///
    /// # Errors
    /// As [`Trainer::logits`].
    pub fn scores(&mut self, samples: &[&Sample]) -> Result<Vec<Score>> {
        let logits = self.logits(samples)?;
        let (config, places) = (&self.config, &self.places);
        Ok(samples.iter().zip(&logits).map(|(sample, logits)| score(config, places, sample, logits)).collect())
    }
}
