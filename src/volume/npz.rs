//! NumPy's .npz archives as the MedSAM challenges of CVPR have them: `imgs` with `spacing` in, `segs` out.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::info::Container;
use super::nifti::Header;
use super::options::count_voxels;
use super::source::{Kind, Source};
use super::{Geometry, OpenOptions, Volume, VolumeInfo, Voxels, npy};
use crate::codes::{Code, Warning};
use crate::image::{LabelVolume, Labels};
use crate::memory::Growing;
use crate::{Error, Result, zip};

/// The array of a mask in its archive.
const MASK: &str = "segs.npy";

/// The archive of a mask of this shape: one deflated array, the bytes that `numpy.savez_compressed` packs.
pub(super) fn archive(mask: &LabelVolume, shape: &[usize]) -> io::Result<Vec<u8>> {
    let mut plain = Plain {
        packed: DeflateEncoder::new(Growing::of("the compressed mask"), Compression::default()),
        crc: flate2::Crc::new(),
        bytes: 0,
    };
    match mask.labels() {
        Labels::U8(labels) => npy::write(&mut plain, shape, labels)?,
        Labels::U16(labels) => npy::write(&mut plain, shape, labels)?,
    }
    let packed = plain.packed.finish()?.bytes;
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a mask of more than 4 GiB is too long for .npz");
    let sizes = [packed.len() as u64, plain.bytes].map(u32::try_from);
    let [short, long] = [sizes[0].map_err(too_long)?, sizes[1].map_err(too_long)?];
    // Version 2.0, no flags, deflate, 1980-01-01: the same mask gives the same bytes.
    let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];
    common.extend_from_slice(&plain.crc.sum().to_le_bytes());
    common.extend_from_slice(&short.to_le_bytes());
    common.extend_from_slice(&long.to_le_bytes());
    common.extend_from_slice(&(MASK.len() as u16).to_le_bytes());
    common.extend_from_slice(&[0, 0]);
    let mut out = b"PK\x03\x04".to_vec();
    out.extend_from_slice(&common);
    out.extend_from_slice(MASK.as_bytes());
    out.extend_from_slice(&packed);
    let start = u32::try_from(out.len()).map_err(too_long)?;
    let mut entry = b"PK\x01\x02\x14\0".to_vec();
    entry.extend_from_slice(&common);
    entry.extend_from_slice(&[0; 14]);
    entry.extend_from_slice(MASK.as_bytes());
    out.extend_from_slice(&entry);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    Ok(out)
}

/// What goes in, before it is packed.
struct Plain {
    packed: DeflateEncoder<Growing>,
    crc: flate2::Crc,
    bytes: u64,
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.packed.write_all(bytes)?;
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.packed.flush()
    }
}

/// The arrays that are an image, the first one counts.
pub(super) const IMAGES: &[&str] = &["imgs", "img", "image"];
/// The arrays that are masks.
pub(super) const MASKS: &[&str] = &["segs", "gts"];

/// The archive at `path` and its records.
struct Archive<'a> {
    path: &'a Path,
    file: File,
    records: Vec<zip::Record>,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let records = zip::records(path, &mut file)?;
        Ok(Archive { path, file, records })
    }

    fn find(&self, keys: &[&str]) -> Option<&zip::Record> {
        keys.iter().find_map(|key| self.records.iter().find(|record| record.name == format!("{key}.npy")))
    }

    fn name(&self, record: &zip::Record) -> PathBuf {
        self.path.join(&record.name)
    }

    fn array(&self, record: &zip::Record, most: u64) -> Result<npy::Array> {
        let reader = BufReader::new(record.reader(self.path, &self.file)?);
        let (mut source, kind) = Source::new(&self.name(record), reader, record.unpacked)?;
        if kind != Kind::Npy {
            return Err(Error::file(self.name(record), "format", "NumPy (.npy)", format!("{kind:?}")));
        }
        npy::read_array(&mut source, most)
    }
}

/// Whether the file at `path` is an archive with one of these arrays.
pub(super) fn holds(path: &Path, keys: &[&str]) -> bool {
    let archive = || {
        let mut file = File::open(path).ok()?;
        let found = zip::holds_archive(path, &mut file).ok()?;
        Archive::open(path).ok().filter(|_| found)
    };
    path.is_file() && archive().is_some_and(|archive| archive.find(keys).is_some())
}

/// Opens the first of the arrays `keys`: H x W, H x W x 3, or slices x H x W, whose `spacing` is x, y, z.
pub(super) fn open(path: &Path, options: &OpenOptions, keys: &[&str]) -> Result<Volume> {
    let archive = Archive::open(path)?;
    let missing = || Error::file(path, "npz", format!("an array named {}", keys.join(" or ")), "none");
    let record = archive.find(keys).ok_or_else(missing)?;
    let npy::Array { shape, values } = archive.array(record, options.max_voxels.saturating_mul(3))?;
    let (dims, channels) = match *shape {
        [h, w] => ([w, h, 1], 1),
        [h, w, 3] => ([w, h, 1], 3),
        [slices, h, w] => ([w, h, slices], 1),
        _ => {
            let expected = "H x W, H x W x 3 (colour) or slices x H x W";
            return Err(Error::file(archive.name(record), "shape", expected, format!("{shape:?}")));
        }
    };
    count_voxels(path, dims.map(|n| n as u64), options)?;
    let picture = shape.len() == 2 || channels == 3;
    let spacing = match archive.find(&["spacing"]) {
        Some(record) if !picture => Some(spacing(&archive, record)?),
        _ => None,
    };
    let info = match spacing {
        None => VolumeInfo::new(path, Container::Npy { picture }, dims, channels, values.data_type()),
        Some(spacing) => placed(path, dims, spacing, &values)?,
    };
    info.one_time_point(options.time_point)?;
    Ok(Volume { info, voxels: values })
}

fn spacing(archive: &Archive, record: &zip::Record) -> Result<[f64; 3]> {
    let found = archive.array(record, 16)?;
    let numbers: Vec<f64> = (0..found.values.len()).filter_map(|at| found.values.get(at)).collect();
    let fits = <[f64; 3]>::try_from(numbers).ok().filter(|s| s.iter().all(|v| v.is_finite() && *v > 0.0));
    fits.ok_or_else(|| {
        Error::file(archive.name(record), "spacing", "three numbers above 0, x, y, z", format!("{:?}", found.shape))
    })
}

/// Of an image whose spacing is known and whose place is not: as ITK places what says no more, Left, Posterior,
/// Superior.
fn placed(path: &Path, dims: [usize; 3], [x, y, z]: [f64; 3], values: &Voxels) -> Result<VolumeInfo> {
    let affine = [[-x, 0.0, 0.0, 0.0], [0.0, -y, 0.0, 0.0], [0.0, 0.0, z, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let header = Header::with_affine(dims, &affine, 1);
    let geometry = Geometry::read(path, &header, None, &mut Vec::new())?;
    let container = Container::Raster { format: "npz", header, volumes: 1 };
    let mut info = VolumeInfo::new(path, container, dims, 1, values.data_type());
    info.geometry = Some(geometry);
    let text = "the archive has a spacing and no orientation: left and right are a guess (Left, Posterior, Superior)";
    info.warnings.push(Warning::new(Code::NoOrientation, text));
    Ok(info)
}
