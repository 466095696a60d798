//! Slices of a volume that is still being read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::levels::LevelCounts;
use super::opening::{Reading, Rest};
use super::{IntensityMap, Opening, SliceFrame, Volume, VolumeInfo, Voxels};
use crate::codes::Warning;
use crate::{Error, Result};

/// Bytes of voxels in one slab, unless a single plane has more.
const SLAB: usize = 1 << 21;
/// Bytes of voxels that may be read ahead: a CT of 300 slices whole, so that reading does not wait while weights are
/// loaded.
const AHEAD: usize = 1 << 28;

/// Where slices come from: a volume in memory, or one that is still being read.
pub trait SliceSource {
    /// What is known without the voxels.
    fn info(&self) -> &VolumeInfo;

    /// The volume that holds slice `index` of `frame`, and how that volume is cut to get it. Slices are asked for in
    /// ascending order.
    ///
    /// # Errors
    /// Whatever goes wrong with reading.
    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)>;

    /// Told once all slices that a run wants were asked for: what only slices need may go.
    fn all_held(&mut self) {}
}

impl SliceSource for Volume {
    fn info(&self) -> &VolumeInfo {
        self
    }

    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)> {
        Ok((self, *frame, index))
    }
}

impl SliceSource for &Volume {
    fn info(&self) -> &VolumeInfo {
        self
    }

    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)> {
        Ok((self, *frame, index))
    }
}

/// A volume that is read on a thread of its own, as slabs of planes across z in the order of the file. Only the slab of
/// the last slice and those that were read ahead are in memory.
pub struct Arriving {
    info: VolumeInfo,
    slabs: Receiver<Voxels>,
    reading: Option<Reading<Read>>,
    /// The last slab that came, and its first plane.
    slab: Option<(usize, Volume)>,
    /// The grey levels of what came, where they are looked at.
    levels: Option<(LevelCounts, IntensityMap)>,
}

/// What is known when all is read.
struct Read {
    warnings: Vec<Warning>,
    took: Duration,
}

impl Opening<BufReader<File>> {
    /// Reads the voxels on another thread, slab by slab; itself where the file does not have them plane by plane.
    ///
    /// # Errors
    /// [`Error::Io`] where no thread can be had; the errors of reading come with the slices, or from
    /// [`Arriving::finish`].
    pub fn arriving(self) -> Result<std::result::Result<Arriving, Self>> {
        let changed = self.options.labels || self.options.nan.is_some() && self.info.data_type.range().is_none();
        match self.rest {
            _ if changed => return Ok(Err(self)),
            Rest::Planes(_) => {}
            #[cfg(feature = "dicom")]
            Rest::Dicom(_) => {}
            Rest::Components(..) | Rest::Array(_) | Rest::Raster(..) | Rest::Nothing(_) => {
                return Ok(Err(self));
            }
        }
        let info = self.info.clone();
        let [width, height, planes] = info.dims;
        let plane = (width * height * info.channels).saturating_mul(info.data_type.bytes() as usize);
        let together = (SLAB / plane).clamp(1, planes);
        let (sender, slabs) = sync_channel(AHEAD / together.saturating_mul(plane).clamp(1, AHEAD));
        let start = Instant::now();
        let reading = self.on_a_thread(move |opening| {
            let warnings = opening.deliver(together, &sender)?;
            Ok(Read { warnings, took: start.elapsed() })
        })?;
        Ok(Ok(Arriving { info, slabs, reading: Some(reading), slab: None, levels: None }))
    }
}

impl<R: BufRead> Opening<R> {
    /// Reads all planes, sends them `together` at once, and returns the warnings.
    fn deliver(self, together: usize, slabs: &SyncSender<Voxels>) -> Result<Vec<Warning>> {
        let Opening { info, mut source, rest, .. } = self;
        let [width, height, planes] = info.dims;
        #[cfg(feature = "dicom")]
        if let Rest::Dicom(slices) = rest {
            let stop = source.stop.unwrap_or_default();
            let together = together.max(slices.threads());
            for first in (0..planes).step_by(together) {
                let slab = slices.read(first..(first + together).min(planes), &stop)?;
                taken(slabs.send(slab))?;
            }
            return Ok(info.warnings);
        }
        let Rest::Planes(body) = rest else { return Ok(info.warnings) };
        body.begin(&mut source)?;
        for first in (0..planes).step_by(together) {
            let slab = body.read(&mut source, width * height * together.min(planes - first))?;
            taken(slabs.send(slab))?;
        }
        let mut warnings = info.warnings;
        body.end(&mut source, &mut warnings)?;
        Ok(warnings)
    }
}

/// Nobody takes the voxels any more: the reader is asked to stop.
fn taken<T>(sent: std::result::Result<(), std::sync::mpsc::SendError<T>>) -> Result<()> {
    sent.map_err(|_| Error::Cancelled)
}

impl Arriving {
    /// Waits for the next slab.
    fn advance(&mut self) -> Result<()> {
        let first = self.slab.as_ref().map_or(0, |(first, slab)| first + slab.dims()[2]);
        let Ok(voxels) = self.slabs.recv() else {
            let lost = || Error::Internal { place: "reading".into(), what: format!("no plane {first}") };
            return Err(self.join().err().unwrap_or_else(lost));
        };
        self.slab = Some((first, self.take(voxels)?));
        Ok(())
    }

    fn take(&mut self, voxels: Voxels) -> Result<Volume> {
        let [width, height, _] = self.info.dims();
        let planes = voxels.len() / (width * height * self.info.channels()).max(1);
        let slab = Volume::slab(&self.info, planes, voxels)?;
        if let Some((counts, map)) = &mut self.levels {
            counts.add(&slab, map);
        }
        Ok(slab)
    }

    /// Looks at the grey levels that `map` makes of what comes; [`Arriving::finish`] adds to the warnings what they
    /// say.
    pub fn check_levels(&mut self, map: &IntensityMap) {
        let values = self.info.dims().iter().product::<usize>() * self.info.channels();
        self.levels = Some((LevelCounts::new(values), *map));
    }

    fn join(&mut self) -> Result<Read> {
        let lost = || Error::Internal { place: "reading".into(), what: "its end is lost".into() };
        self.reading.take().ok_or_else(lost)?.join()
    }

    /// Reads on to the end of the file, whose checksum decides whether all before it was right, and returns how long
    /// reading took. [`SliceSource::info`] then has all warnings.
    ///
    /// # Errors
    /// As [`Opening::finish`].
    pub fn finish(&mut self) -> Result<Duration> {
        while let Ok(voxels) = self.slabs.recv() {
            self.take(voxels)?;
        }
        let Read { warnings, took } = self.join()?;
        self.info.warnings = warnings;
        if let Some((counts, map)) = self.levels.take() {
            self.info.warnings.extend(counts.warnings(&map));
        }
        Ok(took)
    }
}

impl SliceSource for Arriving {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)> {
        if frame.axis() != 2 || !frame.is_of(self.info.dims()) {
            let (expected, found) = ("slices across z of this volume".into(), format!("axis {}", frame.axis()));
            return Err(Error::Argument { name: "frame", expected, found });
        }
        frame.check_index(index)?;
        while self.slab.as_ref().is_none_or(|(first, slab)| index >= first + slab.dims()[2]) {
            self.advance()?;
        }
        match &self.slab {
            Some((first, slab)) if index >= *first => Ok((slab, frame.of_planes(slab.dims()[2]), index - first)),
            _ => {
                let (expected, found) = ("slices in ascending order".into(), index.to_string());
                Err(Error::Argument { name: "slice", expected, found })
            }
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // The reader may be waiting for room; it goes on when nobody can take what it sends.
        let (_, nothing) = sync_channel(0);
        self.slabs = nothing;
        self.reading = None;
    }
}
