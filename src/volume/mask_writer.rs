//! Masks out: labels on the input's own grid, in the format that the output's name asks for.
//!
//! A NIfTI mask of a NIfTI input keeps the header bit for bit (version, byte order, forms, codes, `pixdim`, units) save
//! for what describes the voxels. The file is read back and compared before it takes its name.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};

use super::info::Container;
use super::labels::{LabelVolume, Labels};
use super::nifti::Header;
use super::{OpenOptions, Opening, VolumeInfo, npy, png};
use crate::atomic::write_atomically;
use crate::memory::reserve;
use crate::{Error, Result};

/// `NIFTI_INTENT_LABEL`.
const INTENT_LABEL: i64 = 1002;

/// What a mask is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Nifti,
    NiftiGz,
    Npy,
    Png,
}

/// Whether a mask of `volume` can be written to `path`, by its name: for a long job that should fail before it starts.
///
/// # Errors
/// [`Error::File`] when the name does not end in .nii, .nii.gz, .npy or .png, or a volume of slices is asked for as PNG.
pub fn check(volume: &VolumeInfo, path: &Path) -> Result<()> {
    format_of(volume, path).map(|_| ())
}

/// Writes `mask` on the grid of `volume` to `path`. `force` replaces an existing file.
///
/// # Errors
/// As [`check`] and [`write_atomically`]; [`Error::Argument`] when the grids differ; [`Error::Internal`] when the file
/// does not read back as it was meant.
pub fn write(volume: &VolumeInfo, mask: &LabelVolume, path: &Path, force: bool) -> Result<()> {
    let format = format_of(volume, path)?;
    if mask.dims() != volume.dims() {
        let (expected, found) = (format!("dims {:?}", volume.dims()), format!("{:?}", mask.dims()));
        return Err(Error::Argument { name: "mask", expected, found });
    }
    write_atomically(path, force, |file| {
        write_as(format, volume, mask, file)?;
        file.flush()?;
        read_back(format, volume, mask, path, file).map_err(io::Error::other)
    })
}

fn format_of(volume: &VolumeInfo, path: &Path) -> Result<Format> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let known = [(".nii.gz", Format::NiftiGz), (".nii", Format::Nifti), (".npy", Format::Npy), (".png", Format::Png)];
    let Some((_, format)) = known.into_iter().find(|(end, _)| name.ends_with(end)) else {
        return Err(Error::file(path, "name of the output", "one ending in .nii, .nii.gz, .npy or .png", name));
    };
    if format == Format::Png && volume.dims()[2] != 1 {
        let found = format!("{} slices", volume.dims()[2]);
        return Err(Error::file(path, "mask as PNG", "a single slice (use .nii.gz or .npy)", found));
    }
    Ok(format)
}

fn write_as(format: Format, volume: &VolumeInfo, mask: &LabelVolume, out: &mut BufWriter<File>) -> io::Result<()> {
    match format {
        Format::Nifti => write_nifti(volume, mask, out),
        Format::NiftiGz => {
            let mut gzip = GzBuilder::new().write(out, Compression::default()); // no name, no time: same mask, same bytes
            write_nifti(volume, mask, &mut gzip)?;
            gzip.finish().map(|_| ())
        }
        Format::Npy => {
            let shape = npy_shape(volume);
            match mask.labels() {
                Labels::U8(labels) => npy::write(out, &shape, labels),
                Labels::U16(labels) => npy::write(out, &shape, labels),
            }
        }
        Format::Png => {
            let [width, height, _] = mask.dims();
            match mask.labels() {
                Labels::U8(labels) => png::write(out, [width, height], ::png::BitDepth::Eight, labels),
                Labels::U16(labels) => {
                    let mut bytes = reserve(2 * labels.len(), "the picture").map_err(io::Error::other)?;
                    bytes.extend(labels.iter().flat_map(|l| l.to_be_bytes()));
                    png::write(out, [width, height], ::png::BitDepth::Sixteen, &bytes)
                }
            }
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

fn write_nifti(volume: &VolumeInfo, mask: &LabelVolume, out: &mut impl Write) -> io::Result<()> {
    let header = mask_header(volume, mask);
    out.write_all(&header.bytes)?;
    out.write_all(&[0; 4])?; // no extensions
    match mask.labels() {
        Labels::U8(labels) => out.write_all(labels),
        Labels::U16(labels) => labels.chunks(1 << 16).try_for_each(|chunk| {
            let bytes = |l: &u16| if header.big_endian { l.to_be_bytes() } else { l.to_le_bytes() };
            out.write_all(&chunk.iter().flat_map(bytes).collect::<Vec<u8>>())
        }),
    }
}

/// The input's header with only those fields changed that describe voxels instead of space. Of a 4-D file with several
/// time points the mask has three axes; axes of one are kept.
fn mask_header(volume: &VolumeInfo, mask: &LabelVolume) -> Header {
    let mut header = match &volume.container {
        Container::Nifti { header, .. } => header.clone(),
        _ => Header::without_geometry(volume.dims()),
    };
    let layout = header.layout;
    if volume.time_points() > 1 {
        header.set_integer(layout.dim, layout.dim_bytes, 3);
        (4..8).for_each(|i| header.set_integer(layout.dim + i * layout.dim_bytes, layout.dim_bytes, 1));
    }
    let (code, bits) = match mask.labels() {
        Labels::U8(_) => (2, 8),
        Labels::U16(_) => (512, 16),
    };
    header.set_integer(layout.datatype, 2, code);
    header.set_integer(layout.bitpix, 2, bits);
    match layout.version {
        1 => header.set_real(layout.vox_offset, layout.first_voxel as f64),
        _ => header.set_integer(layout.vox_offset, 8, layout.first_voxel as i64),
    }
    header.set_real(layout.slope, 1.0);
    header.set_real(layout.intercept, 0.0);
    header.set_real(layout.cal_max, 0.0);
    header.set_real(layout.cal_min, 0.0);
    header.set_integer(layout.intent_code, layout.code_bytes, INTENT_LABEL);
    (0..3).for_each(|i| header.set_real(layout.intent_parameters + i * layout.real_bytes, 0.0));
    header.bytes[layout.intent_name..layout.intent_name + 16].fill(0);
    header
}

/// Reads the finished file and compares it with what was meant: geometry bit for bit, every label.
fn read_back(
    format: Format,
    volume: &VolumeInfo,
    mask: &LabelVolume,
    path: &Path,
    out: &mut BufWriter<File>,
) -> Result<()> {
    let wrong = |what: &str| Error::Internal { place: format!("mask {}", path.display()), what: what.into() };
    let file = out.get_mut();
    file.rewind().map_err(|e| Error::io(path, "read", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    let reader = BufReader::with_capacity(1 << 18, &*file);
    let written =
        Opening::of(path, reader, length, &OpenOptions { time_point: None, max_voxels: u64::MAX })?.finish()?;
    if matches!(format, Format::Nifti | Format::NiftiGz) {
        let Container::Nifti { header, .. } = &written.container else { return Err(wrong("it is not NIfTI")) };
        if header.bytes != mask_header(volume, mask).bytes {
            return Err(wrong("its header does not read back"));
        }
        if let Some(geometry) = volume.geometry()
            && written.geometry() != Some(geometry)
        {
            return Err(wrong("its geometry is not that of the image"));
        }
    }
    let same = match (mask.labels(), written.voxels()) {
        (Labels::U8(meant), super::Voxels::U8(found)) => meant == found,
        (Labels::U16(meant), super::Voxels::U16(found)) => meant == found,
        _ => false,
    };
    if written.dims() == mask.dims() && same { Ok(()) } else { Err(wrong("its voxels do not read back")) }
}
