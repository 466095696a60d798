//! The voxels of an input file, which are read beside everything else that a run needs.

use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::{
    Arriving, Intensity, IntensityMap, Opening, Reading, SetAside, SliceFrame, SliceSource, Volume, VolumeInfo,
};
use crate::{Error, Result};

/// Voxels on their way.
pub enum Incoming {
    /// All of them are looked at before the first slice: for their range, or to find what is not a number.
    Whole(Reading<Image>),
    /// Slices can run while later ones are read.
    Arriving(Box<Image>),
}

/// Voxels that slices can be cut from, and how values become grey levels.
pub struct Image {
    source: Source,
    intensity: IntensityMap,
    /// Whether voxels are still wanted when all slices were cut.
    keep: bool,
    /// What the rule left out of its limits, where it does that.
    pub set_aside: Option<SetAside>,
}

enum Source {
    /// How long reading took.
    Whole(Box<Volume>, Duration),
    Arriving(Box<Arriving>),
    /// All slices were cut, and nothing else wants voxels. How long reading took.
    Cut(Box<VolumeInfo>, Duration),
}

impl Incoming {
    /// Begins to read. `rule` is the one asked for; without one it is the rule for such a file. With `keep` all voxels
    /// are there at the end; without it they go once the last slice of a run is cut.
    ///
    /// # Errors
    /// [`Error::Io`] where no thread can be had.
    pub fn start(
        opening: Opening<BufReader<File>>,
        rule: Option<Intensity>,
        frame: &SliceFrame,
        keep: bool,
    ) -> Result<Incoming> {
        let unseen = rule.unwrap_or_else(|| Intensity::default_for(opening.info())).resolve_unseen(opening.info());
        let unseen = unseen.filter(|_| frame.axis() == 2 && !keep);
        let opening = match unseen {
            None => opening,
            Some(intensity) => match opening.arriving()? {
                Ok(mut arriving) => {
                    arriving.check_levels(&intensity);
                    let source = Source::Arriving(Box::new(arriving));
                    return Ok(Incoming::Arriving(Box::new(Image { source, intensity, keep, set_aside: None })));
                }
                Err(opening) => opening,
            },
        };
        let start = Instant::now();
        let whole = opening.beside(move |mut volume| {
            let rule = rule.unwrap_or_else(|| Intensity::default_for_values(&volume));
            let (intensity, set_aside) = rule.examine(&volume)?;
            volume.check_levels(&intensity);
            let source = Source::Whole(Box::new(volume), start.elapsed());
            Ok(Image { source, intensity, keep, set_aside })
        })?;
        Ok(Incoming::Whole(whole))
    }

    /// Waits until slices can be cut.
    ///
    /// # Errors
    /// As [`Opening::finish`] and [`Intensity::examine`].
    pub fn wait(self) -> Result<Image> {
        match self {
            Incoming::Whole(reading) => reading.join(),
            Incoming::Arriving(image) => Ok(*image),
        }
    }

    /// As [`Incoming::wait`], for a caller who may lose interest: soon after `stop` is set, reading ends.
    ///
    /// # Errors
    /// As [`Incoming::wait`]; [`Error::Cancelled`].
    pub fn wait_unless(self, stop: &AtomicBool) -> Result<Image> {
        match self {
            Incoming::Whole(reading) => reading.join_unless(stop),
            Incoming::Arriving(image) => Ok(*image),
        }
    }
}

impl Image {
    /// What is known of it; of what is still being read without the warnings that its end may bring.
    pub fn info(&self) -> &VolumeInfo {
        match &self.source {
            Source::Whole(volume, _) => volume,
            Source::Arriving(arriving) => arriving.info(),
            Source::Cut(info, _) => info,
        }
    }

    /// All voxels, where they are kept.
    pub fn volume(&self) -> Option<&Volume> {
        match &self.source {
            Source::Whole(volume, _) => Some(volume),
            Source::Arriving(_) | Source::Cut(..) => None,
        }
    }

    /// Where slices come from, and how their values become grey levels.
    pub fn parts(&mut self) -> (&mut dyn SliceSource, IntensityMap) {
        let intensity = self.intensity;
        (self, intensity)
    }

    /// Reads to the end of the file, whose checksum decides whether the slices were right, and returns how long reading
    /// took.
    ///
    /// # Errors
    /// As [`Opening::finish`].
    pub fn finish(&mut self) -> Result<Duration> {
        match &mut self.source {
            Source::Whole(_, took) | Source::Cut(_, took) => Ok(*took),
            Source::Arriving(arriving) => arriving.finish(),
        }
    }
}

impl SliceSource for Image {
    fn info(&self) -> &VolumeInfo {
        Image::info(self)
    }

    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)> {
        match &mut self.source {
            Source::Whole(volume, _) => volume.holding(frame, index),
            Source::Arriving(arriving) => arriving.holding(frame, index),
            Source::Cut(..) => {
                let (expected, found) = ("none after the last one of a run".into(), index.to_string());
                Err(Error::Argument { name: "slice", expected, found })
            }
        }
    }

    fn all_held(&mut self) {
        if let (Source::Whole(volume, took), false) = (&mut self.source, self.keep) {
            self.source = Source::Cut(Box::new(VolumeInfo::clone(volume)), *took);
        }
    }
}
