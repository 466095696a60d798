//! Opening a file in two steps: its header, by which most jobs that cannot be done are refused, then its voxels, which
//! may be read on a thread of their own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::body::Body;
use super::info::Container;
use super::options::{SeriesChoice, count_voxels, no_such_volume};
use super::raster::{self, Encoding, Raster, Wanted};
use super::source::{Kind, Source};
use super::{Geometry, OpenOptions, Volume, VolumeInfo, Voxels, metaimage, nifti, npy, nrrd, png};
use crate::codes::{Code, Warning};
use crate::{Error, Result};

/// A file whose header is read and checked, and whose voxels are not read yet.
pub struct Opening<R> {
    pub(super) info: VolumeInfo,
    pub(super) source: Source<R>,
    pub(super) rest: Rest,
    /// How the voxels are to be changed once they are read.
    pub(super) options: OpenOptions,
}

/// What is left to read.
pub(super) enum Rest {
    /// Voxels, x fastest, then y, then z.
    Planes(Body),
    /// So many planes of values, one for each component of a voxel, of which the first ones become channels.
    Components(Body, usize),
    /// An array whose first axis is the fastest, or of 16-bit floats.
    Array(npy::Body),
    /// Values that are packed, or stand in another order than that of [`Rest::Planes`].
    Raster(Box<Raster>, Wanted),
    /// Nothing of a picture, which is only known for certain when it is decoded.
    Nothing(Voxels),
    /// Slices of a DICOM series.
    #[cfg(feature = "dicom")]
    Dicom(Box<crate::dicom::Slices>),
}

impl Opening<BufReader<File>> {
    /// Opens .nii, .nii.gz, .nrrd, .mha, .npy (H x W, H x W x 1, 3 or 4, or slices x H x W) or .png, or an .npz
    /// (`imgs` and `spacing`); with the feature `dicom` also a DICOM file, or a folder or zip archive of one series of
    /// one volume.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`], and [`Error::File`] for a header that is malformed or not supported.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::open_chosen(path, options, &SeriesChoice::default())
    }

    /// As [`Opening::open`]; of a DICOM input the volume that is chosen.
    ///
    /// # Errors
    /// As [`Opening::open`]; [`Error::Argument`] for a series or volume that is not there.
    pub fn open_chosen(path: &Path, options: &OpenOptions, choice: &SeriesChoice) -> Result<Self> {
        #[cfg(feature = "dicom")]
        if crate::dicom::is_input(path) {
            let (info, slices) = super::dicom::head(path, options, choice)?;
            let rest = Rest::Dicom(Box::new(slices));
            return Ok(Opening { info, source: Source::nothing(path), rest, options: *options });
        }
        let options = &OpenOptions { time_point: options.time_point.or(choice.time_point()?), ..*options };
        if super::npz::holds(path, &[super::npz::IMAGES, super::npz::MASKS].concat()) {
            let Volume { info, voxels } =
                super::npz::open(path, options, &[super::npz::IMAGES, super::npz::MASKS].concat())?;
            return Ok(Opening { info, source: Source::nothing(path), rest: Rest::Nothing(voxels), options: *options });
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "read", e))?;
        if !metadata.is_file() {
            const FOLDER: &str = "a folder (of DICOM files? this build is without the feature dicom)";
            let found = if metadata.is_dir() { FOLDER } else { "a device or pipe" };
            return Err(Error::file(path, "input", "an ordinary file", found));
        }
        let mut opening = Self::of(path, BufReader::with_capacity(1 << 15, file), metadata.len(), options)?;
        opening.info.check_name();
        Ok(opening)
    }

    /// Reads the voxels on another thread, and does there what follows from them.
    ///
    /// # Errors
    /// [`Error::Io`] where no thread can be had; the errors of reading come from [`Reading::join`].
    pub fn beside<T: Send + 'static>(
        self,
        then: impl FnOnce(Volume) -> Result<T> + Send + 'static,
    ) -> Result<Reading<T>> {
        self.on_a_thread(|opening| opening.finish().and_then(then))
    }

    /// Does `work` with it on another thread; reading ends early when the answer is dropped.
    pub(super) fn on_a_thread<T: Send + 'static>(
        mut self,
        work: impl FnOnce(Self) -> Result<T> + Send + 'static,
    ) -> Result<Reading<T>> {
        let (path, stop) = (self.info.path.clone(), Arc::new(AtomicBool::new(false)));
        self.source.stop = Some(Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("medsegx-read".into())
            .spawn(move || work(self))
            .map_err(|e| Error::io(path, "start a thread to read", e))?;
        Ok(Reading { stop, thread: Some(thread) })
    }
}

impl<R: BufRead> Opening<R> {
    /// From a `reader` of `length` bytes; `path` is named in messages.
    pub(super) fn of(path: &Path, reader: R, length: u64, options: &OpenOptions) -> Result<Self> {
        let (mut source, kind) = Source::new(path, reader, length)?;
        let (info, rest) = match kind {
            Kind::Nifti => nifti_header(&mut source, options)?,
            Kind::Npy => npy_header(&mut source, options)?,
            Kind::Nrrd | Kind::MetaImage => raster_header(&mut source, kind, options)?,
            Kind::Png => {
                let picture = png::read(&mut source, options)?;
                let ([width, height], data_type) = (picture.size, picture.values.data_type());
                let info = VolumeInfo::new(path, Container::Png, [width, height, 1], picture.channels, data_type);
                info.one_time_point(options.time_point)?;
                (VolumeInfo { warnings: picture.warnings, ..info }, Rest::Nothing(picture.values))
            }
        };
        Ok(Opening { info, source, rest, options: *options })
    }

    /// What is known before the voxels.
    pub fn info(&self) -> &VolumeInfo {
        &self.info
    }

    /// Reads the voxels.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`], and [`Error::File`] for a file that is cut short or does not fit its checksum.
    pub fn finish(self) -> Result<Volume> {
        let Opening { mut info, mut source, rest, options } = self;
        let voxels = match rest {
            Rest::Planes(body) => {
                body.begin(&mut source)?;
                let voxels = body.read(&mut source, info.dims.iter().product())?;
                body.end(&mut source, &mut info.warnings)?;
                voxels
            }
            Rest::Components(body, count) => {
                body.begin(&mut source)?;
                let values = body.read(&mut source, info.dims.iter().product::<usize>() * count)?;
                body.end(&mut source, &mut info.warnings)?;
                interleaved(values, count, info.channels)?
            }
            Rest::Array(body) => match npy::read_body(&mut source, &body)? {
                values if values.len() > info.channels * info.dims.iter().product::<usize>() => values.without_alpha(),
                values => values,
            },
            Rest::Raster(raster, wanted) => {
                let payload = source.read_all()?;
                let decoded = raster.decode(&payload, &mut info.warnings);
                drop(payload);
                raster::arrange(decoded.map_err(|problem| problem.of(&source.path))??, &raster, wanted)?
            }
            Rest::Nothing(voxels) => voxels,
            #[cfg(feature = "dicom")]
            Rest::Dicom(slices) => slices.read(0..info.dims[2], &source.stop.unwrap_or_default())?,
        };
        let mut volume = Volume { info, voxels };
        if let Some(value) = options.nan {
            volume.replace_not_finite(value)?;
        }
        if options.labels {
            volume.one_of_alike_channels();
        }
        Ok(volume)
    }
}

/// The first `channels` of `count` components that stand one behind the other, as the channels of each voxel.
fn interleaved(values: Voxels, count: usize, channels: usize) -> Result<Voxels> {
    let Voxels::U8(planar) = values else { return Ok(values) };
    let voxels = planar.len() / count;
    let mut together = crate::memory::reserve(voxels * channels, "the voxels")?;
    together.extend(
        (0..voxels)
            .flat_map(|voxel| (0..channels).map(move |channel| (voxel, channel)))
            .map(|(voxel, channel)| planar[channel * voxels + voxel]),
    );
    Ok(Voxels::U8(together))
}

fn nifti_header<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<(VolumeInfo, Rest)> {
    let head = nifti::read_head(source, options)?;
    let nifti::Head { header, body, channels, components, dims, time_points, slope, intercept, .. } = head;
    let (label_names, mut warnings) = (head.label_names, head.warnings);
    let geometry = Some(Geometry::read(&source.path, &header, options.form, &mut warnings)?);
    let container = Container::Nifti { header, compressed: source.compressed, time_points };
    let info = VolumeInfo::new(&source.path, container, dims, channels, body.data_type);
    let rest = if components == 1 { Rest::Planes(body) } else { Rest::Components(body, components) };
    Ok((VolumeInfo { slope, intercept, geometry, label_names, warnings, ..info }, rest))
}

fn npy_header<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<(VolumeInfo, Rest)> {
    let body = npy::read_head(source, options.max_voxels.saturating_mul(4))?;
    let (dims, channels, picture) = match *body.shape {
        [h, w] => ([w, h, 1], 1, true),
        [h, w, 1] => ([w, h, 1], 1, true),
        [h, w, 3] => ([w, h, 1], 3, true),
        [h, w, 4] if h > LEAST_SIDE && w > LEAST_SIDE => ([w, h, 1], 3, true),
        [slices, h, w] => ([w, h, slices], 1, false),
        _ => {
            let expected = "H x W, H x W x 1, H x W x 3 (colour), H x W x 4 (with alpha) or slices x H x W";
            return Err(Error::file(&source.path, "npy shape", expected, format!("{:?}", body.shape)));
        }
    };
    count_voxels(&source.path, dims.map(|n| n as u64), options)?;
    let mut info = VolumeInfo::new(&source.path, Container::Npy { picture }, dims, channels, body.data_type);
    info.one_time_point(options.time_point)?;
    let stored_channels = if picture { body.shape.get(2).copied().unwrap_or(1) } else { 1 };
    if stored_channels > channels {
        let message = "the last axis is 4: read as colour with alpha, which is left out";
        info.warnings.push(Warning::new(Code::AlphaIgnored, message));
    } else if dims[0] == 4 && dims[1].max(dims[2]) > LEAST_SIDE {
        let message = "the last axis is 4: read as slices x H x W, not as colour with alpha";
        info.warnings.push(Warning::new(Code::AxisOfFour, message));
    }
    let npy::Body { data_type, big_endian, .. } = body;
    let rest = match body.fortran_order || body.half {
        true => Rest::Array(body),
        false => Rest::Planes(Body { data_type, big_endian, stored_channels, extensions: 0, before: 0, after: 0 }),
    };
    Ok((info, rest))
}

fn raster_header<R: BufRead>(source: &mut Source<R>, kind: Kind, options: &OpenOptions) -> Result<(VolumeInfo, Rest)> {
    let (path, is_nrrd) = (source.path.clone(), kind == Kind::Nrrd);
    let byte = || {
        let mut byte = [0];
        source.fill("header", &mut byte)?;
        Ok(byte[0])
    };
    let lines = raster::lines(byte, |line| if is_nrrd { nrrd::is_last(line) } else { metaimage::is_last(line) })?;
    let lines = lines.map_err(|problem| problem.of(&path))?;
    let behind = source.length.saturating_sub(source.taken());
    let parsed = if is_nrrd { nrrd::parse(&lines) } else { metaimage::parse(&lines, behind) };
    let mut raster = parsed.map_err(|problem| problem.of(&path))?;
    let dims = raster.dims().map_err(|problem| problem.of(&path))?;
    count_voxels(&path, dims, options)?;
    let (channels, wanted, volumes) = chosen_values(&path, &raster, options)?;
    let dims = dims.map(|n| n as usize);
    let mut warnings = std::mem::take(&mut raster.warnings);
    let header = match &raster.affine {
        Some(affine) => nifti::Header::with_affine(dims, affine, 1),
        None => nifti::Header::without_geometry(dims),
    };
    let geometry = raster.affine.map(|_| Geometry::read(&path, &header, None, &mut warnings)).transpose()?;
    let format = if is_nrrd { "NRRD" } else { "MetaImage" };
    let container = Container::Raster { format, header, volumes };
    let info = VolumeInfo::new(&path, container, dims, channels, raster.data_type);
    // Of layers each has names of its own.
    let label_names = if is_nrrd && volumes == 1 { nrrd::label_names(&lines) } else { Vec::new() };
    let info = VolumeInfo { geometry, label_names, warnings, ..info };
    let Raster { data_type, big_endian, .. } = raster;
    let plain = raster.encoding == Encoding::Raw && raster.components.is_none() && raster.skip_lines == 0;
    let Some(skip) = raster.skip_bytes.filter(|_| plain) else {
        return Ok((info, Rest::Raster(Box::new(raster), wanted)));
    };
    let values = dims.iter().product::<usize>() as u64;
    let end = values.checked_mul(data_type.bytes()).and_then(|n| n.checked_add(skip)?.checked_add(source.taken()));
    source.check_holds("voxel data", end.unwrap_or(u64::MAX))?;
    let body = Body { data_type, big_endian, stored_channels: 1, extensions: skip, before: 0, after: 0 };
    Ok((info, Rest::Planes(body)))
}

/// Shorter sides than this, an array whose last axis is 4 is not taken for a picture with alpha.
const LEAST_SIDE: usize = 32;

/// Channels, which values of a voxel are taken, and how many volumes there are to choose from.
fn chosen_values(path: &Path, raster: &Raster, options: &OpenOptions) -> Result<(usize, Wanted, usize)> {
    let count = usize::try_from(raster.values_a_voxel()).unwrap_or(usize::MAX);
    if raster.colour && raster.data_type.bytes() == 1 && options.time_point.is_none() {
        return Ok((3, Wanted::All, 1));
    }
    match options.time_point {
        None if count == 1 => Ok((1, Wanted::One(0), 1)),
        None => Err(Error::file(path, "values of a voxel", options.one_of_several(), count)),
        Some(chosen) if chosen < count => Ok((1, Wanted::One(chosen), count)),
        Some(chosen) => Err(no_such_volume(chosen, count as u64)),
    }
}

/// A volume on its way. Dropped before [`Reading::join`] it stops reading, and its thread has ended.
pub struct Reading<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T> Reading<T> {
    /// Waits for the volume and what was made of it.
    ///
    /// # Errors
    /// As [`Opening::finish`], and what was returned by the function that followed.
    pub fn join(mut self) -> Result<T> {
        let lost = || Error::Internal { place: "reading".into(), what: "its thread is lost".into() };
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(|| Err(lost()))
    }

    /// As [`Reading::join`], until `stop` is set.
    ///
    /// # Errors
    /// As [`Reading::join`]; [`Error::Cancelled`].
    pub fn join_unless(self, stop: &AtomicBool) -> Result<T> {
        const LOOK: Duration = Duration::from_micros(200);
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(LOOK);
        }
        self.join()
    }
}

impl<T> Drop for Reading<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
