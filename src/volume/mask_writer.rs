//! Masks out: labels on the input's own grid, in the format that the output's name asks for.
//!
//! A NIfTI mask of a NIfTI input keeps the header bit for bit (version, byte order, forms, codes, `pixdim`, units) save
//! for what describes the voxels and for free text. A PNG mask is made to be seen: 0 and 255 of one label, colours of a
//! palette whose indices are the labels of several. The file is read back and compared before it takes its name.
//!
//! ```
//! use medsegx::volume::{LabelVolume, OpenOptions, Orientation, Volume, Voxels, mask_writer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = Volume::from_voxels("made here", [4, 3, 2], 1, Voxels::I16(vec![7; 24]))?;
//! let mut mask = LabelVolume::new(image.dims(), 1)?;
//! mask.paint(&image.frame(2, Orientation::Stored)?, 1, &[true; 12], 1)?;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("mask.npy");
//! mask_writer::write(&image, &mask, &path, false)?;
//! assert_eq!(Volume::open(&path, &OpenOptions::LABELS)?.dims(), [4, 3, 2]);
//! assert!(mask_writer::write(&image, &mask, &path, false).is_err(), "it is there already");
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use ::png::BitDepth;

#[cfg(feature = "dicom")]
use super::dicom_mask::{DicomMask, DicomOptions};
use super::info::Container;
use super::label_names;
use super::mask_bytes::{all_segments, gzip, plane_bytes, wrong};
use super::nifti::Header;
use super::raster_writer;
use super::{OpenOptions, Opening, VolumeInfo, npy, npz, png};
use crate::atomic::write_atomically;
use crate::image::legend::{Legend, Segment, colour};
use crate::image::{LabelVolume, Labels};
use crate::memory::reserve;
use crate::{Error, Result};

/// `NIFTI_INTENT_LABEL`.
const INTENT_LABEL: i64 = 1002;

/// What a mask is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Nifti,
    NiftiGz,
    Npy,
    Npz,
    Png,
    Nrrd,
    SegNrrd,
    MetaImage,
    #[cfg(feature = "dicom")]
    Dicom,
}

/// Whether a mask of `volume` can be written to `path`, by its name: for a long job that should fail before it starts.
///
/// # Errors
/// [`Error::File`] when the name does not end in .nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .npy, .npz, .png or .dcm, a
/// volume of slices is asked for as PNG, or an image that belongs to no series as DICOM.
pub fn check(volume: &VolumeInfo, path: &Path) -> Result<()> {
    match format_of(volume, path)? {
        #[cfg(feature = "dicom")]
        Format::Dicom => DicomMask::prepare(volume, path, &DicomOptions::default()).map(drop),
        _ => Ok(()),
    }
}

/// Writes `mask` on the grid of `volume` to `path`. `force` replaces an existing file.
///
/// # Errors
/// As [`check`] and [`write_atomically`]; [`Error::Argument`] when the grids differ; [`Error::Internal`] when the file
/// does not read back as it was meant.
pub fn write(volume: &VolumeInfo, mask: &LabelVolume, path: &Path, force: bool) -> Result<()> {
    write_named(volume, mask, &Legend::default(), path, force)
}

/// As [`write()`], with the names of labels where the format has them: .nii, .nii.gz, .seg.nrrd and .dcm. In .seg.nrrd
/// and .dcm labels without one are numbered.
///
/// # Errors
/// As [`write()`].
pub fn write_named(volume: &VolumeInfo, mask: &LabelVolume, legend: &Legend, path: &Path, force: bool) -> Result<()> {
    write_shown(volume, mask, legend, shown(mask, &legend.segments), path, force)
}

/// As [`write()`], but the grey levels of a PNG are the labels themselves: nearly black to the eye.
///
/// # Errors
/// As [`write()`].
pub fn write_values(volume: &VolumeInfo, mask: &LabelVolume, path: &Path, force: bool) -> Result<()> {
    write_shown(volume, mask, &Legend::default(), Shown::Values, path, force)
}

/// How a PNG shows labels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// As 255.
    White,
    /// By a palette.
    Colours,
    /// As grey levels of their own number.
    Values,
}

/// White for one label, colours for several as far as a palette goes.
fn shown(mask: &LabelVolume, segments: &[Segment]) -> Shown {
    match (all_segments(mask, segments).len(), mask.labels()) {
        (..=1, _) => Shown::White,
        (_, Labels::U8(_)) => Shown::Colours,
        (_, Labels::U16(_)) => Shown::Values,
    }
}

fn write_shown(
    volume: &VolumeInfo,
    mask: &LabelVolume,
    legend: &Legend,
    shown: Shown,
    path: &Path,
    force: bool,
) -> Result<()> {
    let format = format_of(volume, path)?;
    if mask.dims() != volume.dims() {
        let (expected, found) = (format!("dims {:?}", volume.dims()), format!("{:?}", mask.dims()));
        return Err(Error::Argument { name: "mask", expected, found });
    }
    #[cfg(feature = "dicom")]
    if format == Format::Dicom {
        let prepared = DicomMask::prepare(volume, path, &DicomOptions::default())?;
        return prepared.write(mask, &legend.segments, path, force).map(drop);
    }
    if format == Format::Npz {
        let bytes = npz::archive(mask, &npy_shape(volume)).map_err(|e| Error::io(path, "pack", e))?;
        return write_atomically(path, force, |file| {
            file.write_all(&bytes)?;
            file.flush()?;
            same_bytes(file, &bytes, path).map_err(io::Error::other)
        });
    }
    write_atomically(path, force, |file| {
        write_as(format, volume, mask, legend, shown, file)?;
        file.flush()?;
        read_back(format, volume, (mask, legend), shown, path, file).map_err(io::Error::other)
    })
}

pub(super) fn format_of(volume: &VolumeInfo, path: &Path) -> Result<Format> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let known = [
        (".nii.gz", Format::NiftiGz),
        (".nii", Format::Nifti),
        (".seg.nrrd", Format::SegNrrd),
        (".nrrd", Format::Nrrd),
        (".mha", Format::MetaImage),
        (".npy", Format::Npy),
        (".npz", Format::Npz),
        (".png", Format::Png),
        #[cfg(feature = "dicom")]
        (".dcm", Format::Dicom),
    ];
    let Some((_, format)) = known.into_iter().find(|(end, _)| name.ends_with(end)) else {
        let expected = "a name ending in .nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .npy, .npz, .png or .dcm".into();
        return Err(Error::Argument { name: "output", expected, found: path.display().to_string() });
    };
    if format == Format::Png && volume.dims()[2] != 1 {
        let found = format!("{} slices", volume.dims()[2]);
        return Err(Error::file(path, "mask as PNG", "a single slice (use .nii.gz or .npy)", found));
    }
    Ok(format)
}

fn write_as(
    format: Format,
    volume: &VolumeInfo,
    mask: &LabelVolume,
    legend: &Legend,
    shown: Shown,
    out: &mut BufWriter<File>,
) -> io::Result<()> {
    match format {
        Format::Nifti => write_nifti(volume, mask, legend, out),
        Format::NiftiGz => {
            let mut gzip = gzip(out);
            write_nifti(volume, mask, legend, &mut gzip)?;
            gzip.finish().map(|_| ())
        }
        Format::Nrrd => raster_writer::write_nrrd(volume, mask, None, out),
        Format::SegNrrd => raster_writer::write_nrrd(volume, mask, Some(&all_segments(mask, &legend.segments)), out),
        Format::MetaImage => raster_writer::write_metaimage(volume, mask, out),
        Format::Npy => {
            let shape = npy_shape(volume);
            match mask.labels() {
                Labels::U8(labels) => npy::write(out, &shape, labels),
                Labels::U16(labels) => npy::write(out, &shape, labels),
            }
        }
        Format::Npz => Err(io::Error::other(Error::internal("mask", "an archive is packed as a whole"))),
        #[cfg(feature = "dicom")]
        Format::Dicom => Err(io::Error::other(Error::internal("mask", "a DICOM object has a writer of its own"))),
        Format::Png => write_png(mask, shown, out),
    }
}

fn write_png(mask: &LabelVolume, shown: Shown, out: &mut impl Write) -> io::Result<()> {
    let [width, height, _] = mask.dims();
    let mut write = |depth, palette, values: &[u8]| png::write(out, [width, height], depth, palette, values);
    match (shown, mask.labels()) {
        (Shown::White, labels) => {
            let inside = |label: u16| if label > 0 { 255 } else { 0 };
            let mut bytes = reserve(width * height, "the picture").map_err(io::Error::other)?;
            match labels {
                Labels::U8(labels) => bytes.extend(labels.iter().map(|&label| inside(label.into()))),
                Labels::U16(labels) => bytes.extend(labels.iter().map(|&label| inside(label))),
            }
            write(BitDepth::Eight, None, &bytes)
        }
        (Shown::Colours, Labels::U8(labels)) => {
            let highest = u16::from(labels.iter().copied().max().unwrap_or(0));
            let colours = (1..=highest).flat_map(colour);
            write(BitDepth::Eight, Some([0; 3].into_iter().chain(colours).collect()), labels)
        }
        (_, Labels::U8(labels)) => write(BitDepth::Eight, None, labels),
        (_, Labels::U16(labels)) => {
            let mut bytes = reserve(2 * labels.len(), "the picture").map_err(io::Error::other)?;
            bytes.extend(labels.iter().flat_map(|l| l.to_be_bytes()));
            write(BitDepth::Sixteen, None, &bytes)
        }
    }
}

/// H x W for a picture, else slices x H x W.
fn npy_shape(volume: &VolumeInfo) -> Vec<usize> {
    let [width, height, slices] = volume.dims();
    match volume.container {
        Container::Npy { picture: true } | Container::Png => vec![height, width],
        _ => vec![slices, height, width],
    }
}

fn write_nifti(volume: &VolumeInfo, mask: &LabelVolume, legend: &Legend, out: &mut impl Write) -> io::Result<()> {
    let (header, start) = nifti_start(volume, is_wide(mask), legend);
    out.write_all(&start)?;
    (0..mask.dims()[2]).try_for_each(|plane| {
        let bytes = plane_bytes(mask, plane..plane + 1, header.big_endian).map_err(io::Error::other)?;
        out.write_all(&bytes)
    })
}

fn is_wide(mask: &LabelVolume) -> bool {
    matches!(mask.labels(), Labels::U16(_))
}

/// The header of a mask of 16-bit labels if `wide`, else of 8 bits, and what stands before its voxels: that and the
/// extension with the names of its labels, if any.
pub(super) fn nifti_start(volume: &VolumeInfo, wide: bool, legend: &Legend) -> (Header, Vec<u8>) {
    let mut header = mask_header(volume, wide);
    let extension = label_names::extension(legend, header.big_endian);
    header.set_voxel_offset(header.layout.first_voxel + extension.len());
    let flag = [u8::from(!extension.is_empty()), 0, 0, 0];
    let start = [&header.bytes[..], &flag, &extension].concat();
    (header, start)
}

/// The input's header with only those fields changed that describe voxels instead of space, and without free text,
/// which may name the patient. Of a 4-D file with several
/// time points the mask has three axes; axes of one are kept.
fn mask_header(volume: &VolumeInfo, wide: bool) -> Header {
    let mut header = match &volume.container {
        Container::Nifti { header, .. } | Container::Raster { header, .. } => header.clone(),
        #[cfg(feature = "dicom")]
        Container::Dicom { header, .. } => header.clone(),
        _ => Header::without_geometry(volume.dims()),
    };
    let layout = header.layout;
    if header.dims.iter().skip(3).any(|&n| n > 1) {
        header.set_integer(layout.dim, layout.dim_bytes, 3);
        (4..8).for_each(|i| header.set_integer(layout.dim + i * layout.dim_bytes, layout.dim_bytes, 1));
    }
    let (code, bits) = if wide { (512, 16) } else { (2, 8) };
    header.set_integer(layout.datatype, 2, code);
    header.set_integer(layout.bitpix, 2, bits);
    header.set_real(layout.slope, 1.0);
    header.set_real(layout.intercept, 0.0);
    header.set_real(layout.cal_max, 0.0);
    header.set_real(layout.cal_min, 0.0);
    header.set_integer(layout.intent_code, layout.code_bytes, INTENT_LABEL);
    (0..3).for_each(|i| header.set_real(layout.intent_parameters + i * layout.real_bytes, 0.0));
    header.bytes[layout.intent_name..layout.intent_name + 16].fill(0);
    layout.free_text().into_iter().for_each(|text| header.bytes[text].fill(0));
    header
}

/// Reads the finished file and compares it with what was meant: geometry bit for bit, every label.
fn read_back(
    format: Format,
    volume: &VolumeInfo,
    (mask, legend): (&LabelVolume, &Legend),
    shown: Shown,
    path: &Path,
    out: &mut BufWriter<File>,
) -> Result<()> {
    let (reader, length) = rewound(path, out)?;
    let written = Opening::of(path, reader, length, &as_read(volume))?.finish()?;
    if matches!(format, Format::Nifti | Format::NiftiGz) {
        compare_headers(volume, &nifti_start(volume, is_wide(mask), legend).0, &written, path)?;
    }
    if matches!(format, Format::Nrrd | Format::SegNrrd | Format::MetaImage) {
        compare_places(volume, &written, path)?;
    }
    let same = match (mask.labels(), written.voxels()) {
        (labels, super::Voxels::U8(found)) if format == Format::Png && shown == Shown::White => {
            let inside = |index: usize| mask.get(index).is_some_and(|label| label > 0);
            labels.len() == found.len() && found.iter().enumerate().all(|(i, &v)| v == if inside(i) { 255 } else { 0 })
        }
        (Labels::U8(meant), super::Voxels::U8(found)) => meant == found,
        (Labels::U16(meant), super::Voxels::U16(found)) => meant == found,
        _ => false,
    };
    if written.dims() == mask.dims() && same { Ok(()) } else { Err(wrong(path, "its voxels do not read back")) }
}

/// The mask is our own, however large, and its place is read as the image's.
fn as_read(volume: &VolumeInfo) -> OpenOptions {
    let form = volume.geometry().and_then(|geometry| geometry.chosen);
    OpenOptions { max_voxels: u64::MAX, form, labels: true, ..OpenOptions::DEFAULT }
}

/// The file behind `out` from its start, and its length.
fn rewound<'a>(path: &Path, out: &'a mut BufWriter<File>) -> Result<(BufReader<&'a File>, u64)> {
    let file = out.get_mut();
    file.rewind().map_err(|e| Error::io(path, "read", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    Ok((BufReader::with_capacity(1 << 15, &*file), length))
}

/// Reads the finished file, which has to be `meant`.
pub(super) fn same_bytes(out: &mut BufWriter<File>, meant: &[u8], path: &Path) -> Result<()> {
    let (mut reader, length) = rewound(path, out)?;
    let mut left = meant;
    loop {
        let found = reader.fill_buf().map_err(|e| Error::io(path, "read", e))?;
        if found.is_empty() || !left.starts_with(found) {
            break;
        }
        left = &left[found.len()..];
        let count = found.len();
        reader.consume(count);
    }
    if left.is_empty() && length == meant.len() as u64 { Ok(()) } else { Err(wrong(path, "it does not read back")) }
}

/// Reads `start`, what stands before the voxels of a mask with `header`, and compares it with what was meant.
pub(super) fn check_header(volume: &VolumeInfo, header: &Header, start: &[u8], path: &Path) -> Result<()> {
    let written = Opening::of(path, start, u64::MAX, &as_read(volume))?;
    if written.info().dims() != volume.dims() {
        return Err(wrong(path, "its dims do not read back"));
    }
    compare_headers(volume, header, written.info(), path)
}

fn compare_headers(volume: &VolumeInfo, meant: &Header, written: &VolumeInfo, path: &Path) -> Result<()> {
    let Container::Nifti { header, .. } = &written.container else { return Err(wrong(path, "it is not NIfTI")) };
    if header.bytes != meant.bytes {
        return Err(wrong(path, "its header does not read back"));
    }
    match volume.geometry() {
        Some(geometry) if written.geometry() != Some(geometry) => {
            Err(wrong(path, "its geometry is not that of the image"))
        }
        _ => Ok(()),
    }
}

/// Whether a mask whose header is text lies where its image does, to a thousandth of a millimetre.
fn compare_places(volume: &VolumeInfo, written: &VolumeInfo, path: &Path) -> Result<()> {
    match (volume.geometry(), written.geometry()) {
        (Some(own), Some(found)) if own.distance(found, volume.dims()) > 1e-3 => {
            Err(wrong(path, "its geometry is not that of the image"))
        }
        (Some(_), None) => Err(wrong(path, "its geometry is not there")),
        _ => Ok(()),
    }
}
