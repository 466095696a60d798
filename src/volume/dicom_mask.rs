//! Masks as DICOM objects that belong to a series: on the series' own grid, whatever order the image stored it in.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::grid::other_grid;
use super::info::Container;
use super::mask_bytes::{all_segments, wrong};
use super::{Geometry, LabelVolume, Segment, SeriesChoice, VolumeInfo};
use crate::atomic::write_atomically;
use crate::codes::{Code, Warning};
use crate::dicom::{self, OnGrid, SegForm, Segmentation, Source, Study};
use crate::{Error, Result};

/// How masks are written as DICOM.
#[derive(Clone, Debug, Default)]
pub struct DicomOptions {
    /// Folder, file or archive of the one series that the mask belongs to; for images that are not DICOM themselves.
    pub series: Option<PathBuf>,
    /// Segments as numbers of one frame a slice (LABELMAP), not as bits of a frame for each.
    pub label_map: bool,
    /// A file for each segment: its name has the label before its ending.
    pub split: bool,
    /// Deflated as a whole.
    pub deflated: bool,
}

/// A mask that can be written, all that it takes over from its series known.
pub struct DicomMask {
    source: std::sync::Arc<Source>,
    study: Study,
    way: Way,
    options: DicomOptions,
}

/// Where the voxels of the series lie in the image: the first one, and steps along columns, rows and slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    start: usize,
    steps: [isize; 3],
}

/// Whether the name of `path` asks for an RTSTRUCT.
pub fn is_rtstruct_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().ends_with(".rtstruct.dcm"))
}

/// Whether the name of `path` asks for a DICOM object.
pub fn is_dicom_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().ends_with(".dcm"))
}

impl DicomMask {
    /// Reads what a mask of `volume` takes over, and refuses what cannot be written to `path`.
    ///
    /// # Errors
    /// [`Error::File`] for an image that belongs to no series, or to one of another grid or without identifiers.
    pub fn prepare(volume: &VolumeInfo, path: &Path, options: &DicomOptions) -> Result<DicomMask> {
        let (source, way) = match (&volume.container, &options.series) {
            (Container::Dicom { source, .. }, None) => {
                let source = source.clone().ok_or_else(|| {
                    let found = "frames that do not say where in the patient they lie";
                    Error::file(&volume.path, "series", "slices with a place, to which a DICOM mask refers", found)
                })?;
                (source, Way::same(volume.dims()))
            }
            (_, Some(series)) => of_series(volume, series)?,
            (_, None) => {
                let expected = "a DICOM image, or the series that the mask belongs to (--series FOLDER)";
                return Err(Error::file(path, "mask as DICOM", expected, "an image of no series"));
            }
        };
        let study = Study::read(&source)?;
        Ok(DicomMask { source, study, way, options: options.clone() })
    }

    /// Refuses more labels than the file at `path` can have, before masks of them are made.
    ///
    /// # Errors
    /// [`Error::File`].
    #[doc(hidden)]
    pub fn check_labels(&self, path: &Path, labels: &[u16]) -> Result<()> {
        if self.options.split || is_rtstruct_name(path) { Ok(()) } else { dicom::check_count(labels.len(), path) }
    }

    /// The files that a mask of these labels becomes.
    pub fn paths(&self, path: &Path, labels: &[u16]) -> Vec<PathBuf> {
        if self.options.split {
            labels.iter().map(|&label| split_path(path, label)).collect()
        } else {
            vec![path.into()]
        }
    }

    /// Writes the mask with these segments and those of its labels that have none. `force` replaces existing files; of
    /// several either all are written or none that is new.
    ///
    /// # Errors
    /// As [`write_atomically`]; [`Error::File`] for more than 255 segments; [`Error::Internal`] for a file that does
    /// not read back.
    pub fn write(&self, mask: &LabelVolume, segments: &[Segment], path: &Path, force: bool) -> Result<Vec<Warning>> {
        let segments = &all_segments(mask, segments);
        let grid = OnGrid { mask, dims: self.source.dims, start: self.way.start, steps: self.way.steps };
        if is_rtstruct_name(path) {
            let (study, source) = (&self.study, &self.source);
            write_checked(path, force, |out| dicom::write_structures(out, study, source, &grid, segments))?;
            return Ok(Vec::new());
        }
        let form = SegForm { label_map: self.options.label_map, deflated: self.options.deflated };
        let series = dicom::new_uid(&path.to_string_lossy());
        let mut warnings = Vec::new();
        let files: Vec<(PathBuf, &[Segment])> = if self.options.split {
            segments.chunks(1).map(|one| (split_path(path, one[0].label), one)).collect()
        } else {
            vec![(path.to_path_buf(), segments)]
        };
        let mut new: Vec<&Path> = Vec::new();
        for (number, (file, segments)) in files.iter().enumerate() {
            dicom::check_count(segments.len(), file)?;
            let segmentation = Segmentation::of(&self.study, &self.source, &grid, form, segments);
            if segmentation.is_ragged() {
                let message = format!(
                    "{}: {} bits of frames fill no whole byte at their end, which some readers cut off",
                    file.display(),
                    segmentation.pixels()
                );
                warnings.push(Warning::new(Code::SegRagged, message));
            }
            let existed = file.exists();
            let written = write_checked(file, force, |out| segmentation.write(out, &series, number + 1));
            if let Err(error) = written {
                new.iter().for_each(|file| drop(std::fs::remove_file(file)));
                return Err(error);
            }
            if !existed {
                new.push(file);
            }
        }
        Ok(warnings)
    }
}

/// `organs.dcm` and 5 as `organs-5.dcm`.
fn split_path(path: &Path, label: u16) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{label}.dcm"))
}

/// Writes a file and reads it again: what is on the disk has the checksum of what went there.
fn write_checked(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut Summed<&mut io::BufWriter<std::fs::File>>) -> io::Result<()>,
) -> Result<()> {
    write_atomically(path, force, |file| {
        let mut out = Summed { inner: &mut *file, sum: flate2::Crc::new() };
        write(&mut out)?;
        let meant = (out.sum.sum(), out.sum.amount());
        file.flush()?;
        let file = file.get_mut();
        file.rewind()?;
        let (mut found, mut piece) = (flate2::Crc::new(), vec![0; 1 << 18]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => found.update(&piece[..count]),
            }
        }
        let same = meant == (found.sum(), found.amount());
        if same { Ok(()) } else { Err(io::Error::other(wrong(path, "it does not read back"))) }
    })
}

struct Summed<W> {
    inner: W,
    sum: flate2::Crc,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The series at `path`, whose grid has to be that of `volume`.
fn of_series(volume: &VolumeInfo, path: &Path) -> Result<(std::sync::Arc<Source>, Way)> {
    let (series, _) = super::dicom::head(path, &super::OpenOptions::default(), &SeriesChoice::default())?;
    let Container::Dicom { source: Some(source), .. } = &series.container else {
        return Err(Error::file(path, "series", "slices with a place, to which a DICOM mask refers", "none"));
    };
    let (Some(own), Some(other)) = (volume.geometry(), series.geometry()) else {
        let found = "none: which of its voxels are the series' is unknown";
        return Err(Error::file(volume.path(), "place of the image", "that of the series", found));
    };
    let way = Way::between(own, volume.dims(), other, series.dims()).ok_or_else(|| {
        let whose = "the series with axes in any order";
        other_grid(volume.path(), whose, series.dims(), format!("{:?} elsewhere", volume.dims()))
    })?;
    Ok((source.clone(), way))
}

impl Way {
    fn same([columns, rows, _]: [usize; 3]) -> Way {
        Way { start: 0, steps: [1, columns as isize, (columns * rows) as isize] }
    }

    /// From a grid of `dims` to one of `wanted` that has the same voxels with its axes in another order or direction.
    fn between(own: &Geometry, dims: [usize; 3], other: &Geometry, wanted: [usize; 3]) -> Option<Way> {
        let inverse = own.inverse()?;
        let place = |index: [f64; 3]| -> [f64; 3] {
            let apply = |m: &super::Affine, v: [f64; 3]| -> [f64; 3] {
                std::array::from_fn(|r| m[r][0] * v[0] + m[r][1] * v[1] + m[r][2] * v[2] + m[r][3])
            };
            apply(&inverse, apply(&other.affine, index))
        };
        // Headers of 32-bit floats keep places of large volumes to a few hundredths of a voxel.
        const NEAR: f64 = 0.05;
        let whole = |at: [f64; 3]| -> Option<[usize; 3]> {
            let near = |axis: usize| (at[axis] - at[axis].round()).abs() <= NEAR;
            let inside = |axis: usize| (0.0..dims[axis] as f64).contains(&at[axis].round());
            (0..3).all(|axis| near(axis) && inside(axis)).then(|| at.map(|v| v.round() as usize))
        };
        let strides = [1, dims[0] as isize, (dims[0] * dims[1]) as isize];
        let first = whole(place([0.0; 3]))?;
        let (mut steps, mut along) = ([0; 3], [usize::MAX; 3]);
        for axis in 0..3 {
            let mut last = [0.0; 3];
            last[axis] = wanted[axis] as f64 - 1.0;
            let end = whole(place(last))?;
            let moved: Vec<usize> = (0..3).filter(|&a| end[a] != first[a]).collect();
            let Some(&to) = moved.first() else { continue };
            if moved.len() > 1 || end[to].abs_diff(first[to]) != wanted[axis] - 1 || along.contains(&to) {
                return None;
            }
            along[axis] = to;
            steps[axis] = if end[to] > first[to] { strides[to] } else { -strides[to] };
        }
        let opposite = whole(place(wanted.map(|n| n as f64 - 1.0)))?;
        let reached = |axis: usize| first[axis].abs_diff(opposite[axis]) + 1 == dims[axis];
        let voxels = |dims: [usize; 3]| dims.iter().product::<usize>();
        let start = (0..3).map(|axis| first[axis] * strides[axis] as usize).sum();
        ((0..3).all(reached) && voxels(dims) == voxels(wanted)).then_some(Way { start, steps })
    }
}
