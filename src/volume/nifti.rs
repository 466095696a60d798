//! NIfTI-1 and NIfTI-2 single files: the header, and the voxels of one time point.
//!
//! Source: nifti1.h and nifti2.h of the NIfTI group; where files bend the rules, what nibabel does.

use std::io::BufRead;

use super::body::Body;
use super::options::{OpenOptions, no_such_volume};
use super::source::Source;
use crate::codes::{Code, Warning};
use crate::image::{DataType, Segment};
use crate::{Error, Result};

/// Where the fields of a header version lie, in bytes.
pub(super) struct Layout {
    /// 1 or 2.
    pub version: u8,
    /// Length of the header.
    pub size: usize,
    /// The lowest `vox_offset`: behind the header and the four bytes of the extension flag.
    pub first_voxel: usize,
    magic: usize,
    pub dim: usize,
    /// Bytes of one `dim`.
    pub dim_bytes: usize,
    pub datatype: usize,
    pub bitpix: usize,
    pub pixdim: usize,
    /// Bytes of one `pixdim` and of every other real number.
    pub real_bytes: usize,
    pub vox_offset: usize,
    pub slope: usize,
    pub intercept: usize,
    pub cal_max: usize,
    pub cal_min: usize,
    pub intent_parameters: usize,
    pub intent_code: usize,
    /// Bytes of an intent or form code.
    pub code_bytes: usize,
    pub intent_name: usize,
    pub qform_code: usize,
    pub sform_code: usize,
    pub quaternion: usize,
    pub offset: usize,
    pub rows: usize,
    pub units: usize,
    /// Bytes of `xyzt_units`.
    pub units_bytes: usize,
}

static NIFTI1: Layout = Layout {
    version: 1,
    size: 348,
    first_voxel: 352,
    magic: 344,
    dim: 40,
    dim_bytes: 2,
    datatype: 70,
    bitpix: 72,
    pixdim: 76,
    real_bytes: 4,
    vox_offset: 108,
    slope: 112,
    intercept: 116,
    cal_max: 124,
    cal_min: 128,
    intent_parameters: 56,
    intent_code: 68,
    code_bytes: 2,
    intent_name: 328,
    qform_code: 252,
    sform_code: 254,
    quaternion: 256,
    offset: 268,
    rows: 280,
    units: 123,
    units_bytes: 1,
};

static NIFTI2: Layout = Layout {
    version: 2,
    size: 540,
    first_voxel: 544,
    magic: 4,
    dim: 16,
    dim_bytes: 8,
    datatype: 12,
    bitpix: 14,
    pixdim: 104,
    real_bytes: 8,
    vox_offset: 168,
    slope: 176,
    intercept: 184,
    cal_max: 192,
    cal_min: 200,
    intent_parameters: 80,
    intent_code: 504,
    code_bytes: 4,
    intent_name: 508,
    qform_code: 344,
    sform_code: 348,
    quaternion: 352,
    offset: 376,
    rows: 400,
    units: 500,
    units_bytes: 4,
};

impl Layout {
    /// Where people and programs write what they like: `data_type` and `db_name` of NIfTI-1, `descrip` and `aux_file`.
    pub fn free_text(&self) -> [std::ops::Range<usize>; 2] {
        if self.version == 1 { [4..32, 148..252] } else { [240..344, 0..0] }
    }

    /// The magic of a single file.
    fn single(&self) -> &'static [u8] {
        if self.version == 1 { b"n+1\0" } else { b"n+2\0\r\n\x1a\n" }
    }
}

/// A header as stored, with what its layout says where fields are.
#[derive(Clone)]
pub(super) struct Header {
    pub bytes: Vec<u8>,
    pub layout: &'static Layout,
    pub big_endian: bool,
    /// `dim[1..=dim[0]]`, each at least 1.
    pub dims: Vec<u64>,
    /// Bytes between the header and the voxels beyond the extension flag.
    pub extension_bytes: u64,
}

/// How a NIfTI file stores a voxel.
struct Stored {
    data_type: DataType,
    /// Values of one voxel in the file.
    stored_channels: usize,
    /// Values of one voxel that are kept: alpha is dropped.
    channels: usize,
}

/// What [`read_head`] found.
pub(super) struct Head {
    pub header: Header,
    pub body: Body,
    pub channels: usize,
    /// Values of a voxel that stand planes apart, as ITK writes colour; 1 where they stand together.
    pub components: usize,
    pub dims: [usize; 3],
    pub time_points: usize,
    pub slope: f64,
    pub intercept: f64,
    /// What a header extension calls the labels.
    pub label_names: Vec<Segment>,
    pub warnings: Vec<Warning>,
}

impl Header {
    /// The integer of `size` bytes at `at`.
    pub fn integer(&self, at: usize, size: usize) -> i64 {
        let mut bytes = [0; 8];
        for (i, byte) in bytes.iter_mut().take(size).enumerate() {
            *byte = self.bytes[if self.big_endian { at + size - 1 - i } else { at + i }];
        }
        let unused = 64 - 8 * size as u32;
        (i64::from_le_bytes(bytes) << unused) >> unused
    }

    /// The real number at `at`.
    pub fn real(&self, at: usize) -> f64 {
        let bits = self.integer(at, self.layout.real_bytes);
        if self.layout.real_bytes == 4 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits as u64) }
    }

    /// `count` real numbers from `at` on.
    pub fn reals<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|i| self.real(at + i * self.layout.real_bytes))
    }

    /// Stores an integer of `size` bytes at `at`.
    pub fn set_integer(&mut self, at: usize, size: usize, value: i64) {
        for (i, byte) in value.to_le_bytes().into_iter().take(size).enumerate() {
            self.bytes[if self.big_endian { at + size - 1 - i } else { at + i }] = byte;
        }
    }

    /// Stores a real number at `at`.
    pub fn set_real(&mut self, at: usize, value: f64) {
        let size = self.layout.real_bytes;
        let bits = if size == 4 { i64::from((value as f32).to_bits()) } else { value.to_bits() as i64 };
        self.set_integer(at, size, bits);
    }

    /// Says where the voxels begin.
    pub fn set_voxel_offset(&mut self, offset: usize) {
        match self.layout.version {
            1 => self.set_real(self.layout.vox_offset, offset as f64),
            _ => self.set_integer(self.layout.vox_offset, 8, offset as i64),
        }
    }

    /// `xyzt_units`.
    pub fn units(&self) -> i64 {
        self.integer(self.layout.units, self.layout.units_bytes)
    }

    /// The code at `at`.
    pub fn code(&self, at: usize) -> i64 {
        self.integer(at, self.layout.code_bytes)
    }

    /// A header that says nothing of space, for masks of pictures and arrays: neither form, spacing 1. NIfTI-2 where a
    /// side is too long for NIfTI-1.
    pub fn without_geometry(dims: [usize; 3]) -> Self {
        let layout = if dims.iter().all(|&n| n <= i16::MAX as usize) { &NIFTI1 } else { &NIFTI2 };
        let mut header =
            Header { bytes: vec![0; layout.size], layout, big_endian: false, dims: Vec::new(), extension_bytes: 0 };
        header.set_integer(0, 4, layout.size as i64);
        let magic = layout.single();
        header.bytes[layout.magic..layout.magic + magic.len()].copy_from_slice(magic);
        let extents = dims.map(|n| n as i64);
        for (i, extent) in [3, extents[0], extents[1], extents[2], 1, 1, 1, 1].into_iter().enumerate() {
            header.set_integer(layout.dim + i * layout.dim_bytes, layout.dim_bytes, extent);
            header.set_real(layout.pixdim + i * layout.real_bytes, 1.0);
        }
        header.dims = dims.map(|n| n as u64).to_vec();
        header
    }

    /// Whether voxels have several values along the fifth axis, x, y, z, 1, n, as ITK writes vectors and colour.
    fn is_vector(&self) -> bool {
        matches!(*self.dims, [_, _, _, 1, count, ref rest @ ..] if count > 1 && rest.iter().all(|&n| n == 1))
    }

    fn read<R: BufRead>(source: &mut Source<R>) -> Result<Self> {
        let mut bytes = vec![0; NIFTI1.size];
        source.fill("NIfTI header", &mut bytes)?;
        let size = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let big_endian = matches!(i32::from_be_bytes(size), 348 | 540);
        let size = if big_endian { i32::from_be_bytes(size) } else { i32::from_le_bytes(size) };
        let layout = if size == 540 { &NIFTI2 } else { &NIFTI1 };
        bytes.resize(layout.size, 0);
        source.fill("NIfTI header", &mut bytes[NIFTI1.size..])?;
        let mut header = Header { bytes, layout, big_endian, dims: Vec::new(), extension_bytes: 0 };
        header.check_magic(source)?;
        header.dims = header.read_dims(source)?;
        Ok(header)
    }

    fn check_magic<R>(&self, source: &Source<R>) -> Result<()> {
        let single = self.layout.single();
        let pair: &[u8] = if self.layout.version == 1 { b"ni1\0" } else { b"ni2\0\r\n\x1a\n" };
        let found = &self.bytes[self.layout.magic..self.layout.magic + single.len()];
        let what = if found == single {
            return Ok(());
        } else if found == pair {
            "the header of a .hdr/.img pair: convert it to one .nii file".to_string()
        } else if found.starts_with(&single[..3]) {
            format!("{}, as if the file had been sent as text", found.escape_ascii())
        } else {
            format!("'{}' (ANALYZE 7.5 files have none and no known orientation)", found.escape_ascii())
        };
        Err(Error::file(&source.path, "NIfTI magic", single.escape_ascii(), what))
    }

    fn read_dims<R>(&self, source: &Source<R>) -> Result<Vec<u64>> {
        let Layout { dim, dim_bytes, .. } = *self.layout;
        let rank = self.integer(dim, dim_bytes);
        if !(1..=7).contains(&rank) {
            return Err(Error::file(&source.path, "dim[0]", "1 to 7", rank));
        }
        (1..=rank as usize)
            .map(|i| match self.integer(dim + i * dim_bytes, dim_bytes) {
                extent @ 1.. => Ok(extent as u64),
                extent => Err(Error::file(&source.path, format!("dim[{i}]"), "at least 1", extent)),
            })
            .collect()
    }

    /// How a voxel is stored; `bitpix` has to agree.
    fn stored<R>(&self, source: &Source<R>) -> Result<Stored> {
        let code = self.integer(self.layout.datatype, 2);
        let (data_type, stored_channels) = match code {
            2 => (DataType::U8, 1),
            4 => (DataType::I16, 1),
            8 => (DataType::I32, 1),
            16 => (DataType::F32, 1),
            64 => (DataType::F64, 1),
            128 => (DataType::U8, 3),
            256 => (DataType::I8, 1),
            512 => (DataType::U16, 1),
            768 => (DataType::U32, 1),
            1024 => (DataType::I64, 1),
            1280 => (DataType::U64, 1),
            2304 => (DataType::U8, 4),
            _ => {
                let name = match code {
                    1 => " (one bit a voxel)",
                    32 | 1792 | 2048 => " (complex)",
                    1536 => " (128-bit float)",
                    _ => "",
                };
                let expected = "8- to 64-bit integers, 32- or 64-bit floats, RGB24 or RGBA32";
                return Err(Error::file(&source.path, "datatype", expected, format!("code {code}{name}")));
            }
        };
        let (bits, found) = (data_type.bytes() as i64 * stored_channels * 8, self.integer(self.layout.bitpix, 2));
        if found != bits {
            return Err(Error::file(&source.path, "bitpix", format!("{bits} for datatype {code}"), found));
        }
        Ok(Stored { data_type, stored_channels: stored_channels as usize, channels: stored_channels.min(3) as usize })
    }

    fn vox_offset<R>(&self, source: &Source<R>) -> Result<u64> {
        let Layout { vox_offset, first_voxel, version, .. } = *self.layout;
        let found = if version == 1 { self.real(vox_offset) } else { self.integer(vox_offset, 8) as f64 };
        if found.fract() != 0.0 || found < first_voxel as f64 || found > (1_u64 << 53) as f64 {
            let expected = format!("a whole number from {first_voxel} on");
            return Err(Error::file(&source.path, "vox_offset", expected, found));
        }
        Ok(found as u64)
    }

    /// Slope and intercept: a slope of 0 or one that is not finite means that there is no scaling.
    fn scaling<R>(&self, source: &Source<R>, warnings: &mut Vec<Warning>) -> Result<(f64, f64)> {
        let (slope, intercept) = (self.real(self.layout.slope), self.real(self.layout.intercept));
        if slope == 0.0 || !slope.is_finite() {
            if !slope.is_finite() || intercept != 0.0 {
                let message = format!(
                    "scl_slope {slope}, scl_inter {intercept}: voxels are taken as stored, as nibabel does; ITK adds the intercept"
                );
                warnings.push(Warning::new(Code::SlopeIgnored, message));
            }
            return Ok((1.0, 0.0));
        }
        if !intercept.is_finite() {
            return Err(Error::file(&source.path, "scl_inter", "a finite number beside a valid scl_slope", intercept));
        }
        Ok((slope, intercept))
    }
}

/// Reads the header, and checks all that can be checked without the voxels.
pub(super) fn read_head<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<Head> {
    let mut warnings = Vec::new();
    let mut header = Header::read(source)?;
    let Stored { data_type, stored_channels, channels } = header.stored(source)?;
    let (slope, intercept) = header.scaling(source, &mut warnings)?;
    let vox_offset = header.vox_offset(source)?;
    header.extension_bytes = vox_offset - header.layout.first_voxel as u64;

    let extent = |i: usize| header.dims.get(i).copied().unwrap_or(1);
    let dims = [extent(0), extent(1), extent(2)];
    let voxels = super::options::count_voxels(&source.path, dims, options)?;
    let time_points = header.dims.iter().skip(3).try_fold(1_u64, |all, &n| all.checked_mul(n));
    let time_points =
        time_points.ok_or_else(|| Error::file(&source.path, "dim[4..]", "a countable number", "overflow"))?;
    let colour = header.is_vector() && is_colour(data_type, time_points) && stored_channels == 1;
    let components = if colour && options.time_point.is_none() { time_points } else { 1 };
    let time_points = time_points / components;
    let time_point = chosen_time_point(source, &header, time_points, options)?;

    let values = (voxels as u64).checked_mul(stored_channels as u64).and_then(|n| n.checked_mul(components));
    let bytes = values.and_then(|n| n.checked_mul(data_type.bytes()));
    let end = bytes.and_then(|n| n.checked_mul(time_points)).and_then(|n| n.checked_add(vox_offset));
    let (Some(bytes), Some(end)) = (bytes, end) else {
        return Err(Error::file(&source.path, "dim", "a size that can be counted", format!("{:?}", header.dims)));
    };
    source.check_holds("voxel data", end)?;
    let extensions = vox_offset - header.layout.size as u64;
    let (label_names, taken) = super::label_names::read(source, header.big_endian, extensions)?;
    let body = Body {
        data_type,
        big_endian: header.big_endian,
        stored_channels,
        extensions: extensions - taken,
        before: bytes * time_point,
        after: bytes * (time_points - 1 - time_point),
    };
    let components = components as usize; // at most 4
    let channels = channels.max(components.min(3));
    if stored_channels.max(components) != channels {
        warnings.push(Warning::new(Code::AlphaIgnored, "the alpha channel is left out"));
    }
    let (dims, time_points) = (dims.map(|n| n as usize), usize::try_from(time_points).unwrap_or(usize::MAX));
    let (slope, intercept) = if stored_channels == 1 { (slope, intercept) } else { (1.0, 0.0) };
    Ok(Head { header, body, channels, components, dims, time_points, slope, intercept, label_names, warnings })
}

/// Whether so many components of a vector are red, green, blue and perhaps alpha.
fn is_colour(data_type: DataType, components: u64) -> bool {
    data_type == DataType::U8 && matches!(components, 3 | 4)
}

fn chosen_time_point<R>(source: &Source<R>, header: &Header, count: u64, options: &OpenOptions) -> Result<u64> {
    let vector = header.is_vector();
    if !vector && header.dims.iter().skip(4).any(|&n| n != 1) {
        let found = format!("{:?}", header.dims);
        return Err(Error::file(&source.path, "dim", "at most three space axes and time", found));
    }
    match options.time_point {
        None if count == 1 => Ok(0),
        None => {
            let what = if vector { "values of a voxel" } else { "time points" };
            Err(Error::file(&source.path, what, options.one_of_several(), count))
        }
        Some(chosen) if (chosen as u64) < count => Ok(chosen as u64),
        Some(chosen) => Err(no_such_volume(chosen, count)),
    }
}
