//! From labelled volumes to examples.

use super::{Example, Sample, Trainer};
use crate::memory::zeros;
use crate::segment::{Frame, Segmenter};
use crate::taxonomy::Context;
use crate::volume::{IntensityMap, SliceFrame, Volume, check_grid};
use crate::{Error, Result};

/// Which labelled slices to tune on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slices {
    /// All that have the label.
    All,
    /// The first of them, and each so many further on.
    Every(usize),
    /// These, along the slicing axis; each must have the label.
    List(Vec<usize>),
}

impl std::str::FromStr for Slices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Argument {
            name: "slices",
            expected: "all, every:N or a list as 12,20,28".into(),
            found: format!("'{text}'"),
        };
        if text == "all" {
            return Ok(Slices::All);
        }
        if let Some(every) = text.strip_prefix("every:") {
            return every.parse().ok().filter(|&n| n > 0).map(Slices::Every).ok_or_else(wrong);
        }
        let list: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        let mut list = list.ok_or_else(wrong)?;
        list.sort_unstable();
        list.dedup();
        Ok(Slices::List(list))
    }
}

/// A labelled volume.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// What is seen.
    pub image: &'a Volume,
    /// Labels on its grid.
    pub labels: &'a Volume,
    /// How both are cut.
    pub frame: &'a SliceFrame,
    /// How values become grey levels.
    pub map: &'a IntensityMap,
    /// The label that is tuned for.
    pub label: u16,
    /// Where it stands in MedSegDB's tree.
    pub context: Option<&'a Context>,
    /// Number of the volume among those given.
    pub volume: usize,
}

impl Labelled<'_> {
    /// Whether the labels lie on the image's grid, by dimensions and, where both say, by where that lies.
    ///
    /// # Errors
    /// [`Error::File`] that names the labels.
    pub fn check_grid(&self) -> Result<()> {
        check_grid(self.image, self.labels, "the image")
    }

    /// The slices to tune on, ascending, with the label `[height, width]` of each, 1 inside.
    ///
    /// # Errors
    /// [`Error::File`] where no slice has the label, or one of a list has not.
    pub fn choose(&self, slices: &Slices) -> Result<Vec<(usize, Vec<u8>)>> {
        let count = self.image.dims()[self.frame.axis()];
        let mut found = Vec::new();
        for slice in 0..count {
            let label = self.labels.label_slice(self.frame, slice, self.label)?;
            if label.contains(&1) {
                found.push((slice, label));
            }
        }
        let wrong = |expected: String, found: String| {
            Error::file(self.labels.path(), format!("label {}", self.label), expected, found)
        };
        if found.is_empty() {
            return Err(wrong("voxels on some slice".into(), "none".into()));
        }
        Ok(match slices {
            Slices::All => found,
            Slices::Every(every) => found.into_iter().step_by(*every).collect(),
            Slices::List(list) => {
                if let Some(missing) = list.iter().find(|&wanted| found.iter().all(|(slice, _)| slice != wanted)) {
                    return Err(wrong("voxels on it".into(), format!("none on slice {missing}")));
                }
                found.into_iter().filter(|(slice, _)| list.contains(slice)).collect()
            }
        })
    }

    /// Encodes the chosen slices and makes examples of them. Of a whole volume, slices whose label is lost at the
    /// model's size are left out, as long as some remain; `skipped` gets them.
    ///
    /// # Errors
    /// As [`Labelled::choose`] and [`Trainer::sample`], with the slice; what encoding returns.
    pub fn examples(
        &self,
        segmenter: &mut Segmenter,
        trainer: &Trainer,
        slices: &Slices,
        skipped: &mut Vec<usize>,
    ) -> Result<Vec<Example>> {
        self.check_grid()?;
        let chosen = self.choose(slices)?;
        let mut encoded = Encoded::new(slices);
        for batch in chosen.chunks(segmenter.batch()) {
            let mut frames = Vec::with_capacity(batch.len());
            for (slot, (slice, _)) in batch.iter().enumerate() {
                let stored = self.image.stored_slice(self.frame, *slice, self.map)?;
                frames.push(segmenter.place_stored(slot, &stored, self.context)?);
            }
            let labels = frames.iter().zip(batch).map(|(frame, (_, label))| (frame, label.as_slice()));
            for ((slice, _), sample) in batch.iter().zip(samples(segmenter, trainer, labels)?) {
                let is_skipped = encoded.take(sample, self.volume, *slice, |expected, found| {
                    let what = format!("label {} on slice {slice}", self.label);
                    Error::file(self.labels.path(), what, expected, found)
                })?;
                if is_skipped {
                    skipped.push(*slice);
                }
            }
        }
        encoded.finish()
    }
}

/// Encodes the slices that were placed, slot by slot, and makes a sample of each with its label.
pub(super) fn samples<'a>(
    segmenter: &mut Segmenter,
    trainer: &Trainer,
    placed: impl ExactSizeIterator<Item = (&'a Frame, &'a [u8])>,
) -> Result<Vec<Result<Sample>>> {
    let length = segmenter.embedding_len();
    let mut embeddings = Vec::new();
    if trainer.encoder.is_none() {
        embeddings = zeros(placed.len() * length, "embeddings of slices")?;
        segmenter.encode()?;
        segmenter.embeddings(&mut embeddings)?;
    }
    let sample = |(slot, (frame, label)): (usize, (&Frame, &[u8]))| match trainer.encoder {
        Some(_) => trainer.sample_placed(segmenter, slot, frame, label),
        None => trainer.sample(&embeddings[slot * length..][..length], frame, label),
    };
    Ok(placed.enumerate().map(sample).collect())
}

/// Examples of slices, of which those whose label is lost at the model's size are left out, unless they were asked for
/// by number or none remains.
pub(super) struct Encoded {
    examples: Vec<Example>,
    refused: Option<Error>,
    are_listed: bool,
}

impl Encoded {
    pub fn new(slices: &Slices) -> Encoded {
        Encoded { examples: Vec::new(), refused: None, are_listed: matches!(slices, Slices::List(_)) }
    }

    /// Whether the slice is left out. `wrong` says with which slice of which file something is wrong.
    pub fn take(
        &mut self,
        sample: Result<Sample>,
        volume: usize,
        slice: usize,
        wrong: impl Fn(String, String) -> Error,
    ) -> Result<bool> {
        match sample {
            Ok(sample) => self.examples.push(Example { sample, volume, slice }),
            Err(Error::Prompt { expected, found, .. }) if self.are_listed => return Err(wrong(expected, found)),
            Err(Error::Prompt { expected, found, .. }) => {
                self.refused = Some(wrong(expected, found));
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    pub fn finish(self) -> Result<Vec<Example>> {
        match self.refused {
            Some(error) if self.examples.is_empty() => Err(error),
            _ => Ok(self.examples),
        }
    }
}
