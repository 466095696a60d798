//! What NRRD and MetaImage have in common: a header of text, and voxels behind it in one of several encodings.

use std::io::{self, Read};

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::Affine;
use crate::codes::{Code, Warning};
use crate::image::DataType;
use crate::image::Voxels;
use crate::memory::reserve;
use crate::{Error, Result};

/// Deflate cannot expand a byte to more than this many.
const DEFLATE_RATIO: usize = 1032;
/// Bytes around the voxels that are unpacked to reach them or the checksum.
const MOST_EXTRA: u64 = 1 << 24;
/// Longest header: a segmentation of hundreds of segments needs a tenth.
pub(super) const LONGEST_HEADER: usize = 1 << 20;

/// What is wrong with a file that is not known by name here.
#[derive(Debug)]
pub(super) struct Problem {
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Problem {
    pub fn new(what: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Self {
        let found: String = found.to_string().chars().take(120).collect();
        Problem { what: what.into(), expected: expected.into(), found: found.escape_debug().to_string() }
    }

    /// As the error of the file at `path`.
    pub fn of(self, path: &std::path::Path) -> Error {
        Error::file(path, self.what, self.expected, self.found)
    }
}

pub(super) type Parsed<T> = std::result::Result<T, Problem>;

/// How voxels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Raw,
    Gzip,
    Zlib,
    Hex,
    Text,
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Raster {
    /// Extents of the stored axes, the first the fastest, each at least 1.
    pub sizes: Vec<u64>,
    /// Which of them counts values of one voxel instead of voxels.
    pub components: Option<usize>,
    /// Whether these are red, green and blue.
    pub colour: bool,
    pub data_type: DataType,
    pub big_endian: bool,
    pub encoding: Encoding,
    /// Lines before the voxels, packed or not.
    pub skip_lines: u64,
    /// Unpacked bytes before the voxels; `None`: the voxels are the last bytes.
    pub skip_bytes: Option<u64>,
    /// Voxel indices to millimetres, RAS+.
    pub affine: Option<Affine>,
    pub warnings: Vec<Warning>,
}

impl Raster {
    /// Voxels along x, y, z.
    pub fn dims(&self) -> Parsed<[u64; 3]> {
        let axes: Vec<u64> =
            (0..self.sizes.len()).filter(|&i| Some(i) != self.components).map(|i| self.sizes[i]).collect();
        match *axes.as_slice() {
            [x] => Ok([x, 1, 1]),
            [x, y] => Ok([x, y, 1]),
            [x, y, z] => Ok([x, y, z]),
            _ => Err(Problem::new("axes", "one to three of space", format!("{:?}", self.sizes))),
        }
    }

    /// Values of one voxel.
    pub fn values_a_voxel(&self) -> u64 {
        self.components.map_or(1, |axis| self.sizes[axis])
    }

    /// All values, and their bytes.
    fn count(&self) -> Parsed<(usize, usize)> {
        let product = self.sizes.iter().try_fold(1_u64, |all, &n| all.checked_mul(n));
        let bytes = product.and_then(|n| n.checked_mul(self.data_type.bytes()));
        let both = product.zip(bytes).and_then(|(n, b)| Some((usize::try_from(n).ok()?, usize::try_from(b).ok()?)));
        both.ok_or_else(|| Problem::new("sizes", "a size that can be counted", format!("{:?}", self.sizes)))
    }

    /// The values in `payload`, all that follows the header, in their stored order; and what looks wrong.
    pub fn decode(&self, payload: &[u8], warnings: &mut Vec<Warning>) -> Parsed<Result<Voxels>> {
        let (count, bytes) = self.count()?;
        let mut payload = payload;
        for line in 0..self.skip_lines {
            let end = payload.iter().position(|&b| b == b'\n');
            let end = end.ok_or_else(|| Problem::new("line skip", format!("{} lines", self.skip_lines), line))?;
            payload = &payload[end + 1..];
        }
        if self.encoding == Encoding::Text {
            return text(payload, count, self.data_type);
        }
        let whole = match self.encoding {
            Encoding::Raw => raw(payload, bytes, self.skip_bytes)?.to_vec(),
            Encoding::Gzip => unpack(MultiGzDecoder::new(payload), payload.len(), bytes, self.skip_bytes)?,
            Encoding::Zlib if payload.starts_with(&[0x1f, 0x8b]) => {
                unpack(MultiGzDecoder::new(payload), payload.len(), bytes, self.skip_bytes)?
            }
            Encoding::Zlib => unpack(ZlibDecoder::new(payload), payload.len(), bytes, self.skip_bytes)?,
            Encoding::Hex | Encoding::Text => hex(payload, bytes)?,
        };
        if self.encoding == Encoding::Raw
            && self.skip_bytes.is_some_and(|skip| payload.len() as u64 > skip + bytes as u64)
        {
            warnings.push(Warning::new(Code::TrailingBytes, "more bytes follow the voxels"));
        }
        Ok(Voxels::from_bytes(whole, self.data_type, self.big_endian))
    }
}

fn too_short(expected: u64, found: impl ToString) -> Problem {
    Problem::new("voxel data", format!("{expected} bytes"), found.to_string())
}

fn raw(payload: &[u8], bytes: usize, skip: Option<u64>) -> Parsed<&[u8]> {
    let start = match skip {
        Some(skip) => usize::try_from(skip).ok(),
        None => payload.len().checked_sub(bytes),
    };
    let found = start.and_then(|start| payload.get(start..start.checked_add(bytes)?));
    found.ok_or_else(|| too_short(skip.unwrap_or(0).saturating_add(bytes as u64), payload.len()))
}

/// Unpacks `bytes` behind `skip`, or the last ones, and reads on to the checksum.
fn unpack(mut packed: impl Read, length: usize, bytes: usize, skip: Option<u64>) -> Parsed<Vec<u8>> {
    let bad = |error: io::Error| Problem::new("voxel data", "whole gzip or zlib data with a right checksum", error);
    if bytes / DEFLATE_RATIO > length {
        return Err(too_short(bytes as u64, format!("{length} packed bytes")));
    }
    if skip.is_some_and(|skip| skip > MOST_EXTRA) {
        return Err(Problem::new("byte skip", format!("at most {MOST_EXTRA} of packed data"), skip.unwrap_or(0)));
    }
    let wanted = bytes as u64 + skip.unwrap_or(MOST_EXTRA);
    let mut whole = Vec::new();
    (&mut packed).take(wanted).read_to_end(&mut whole).map_err(bad)?;
    let start = skip.map_or(whole.len().checked_sub(bytes), |skip| Some(skip as usize));
    let Some(start) = start.filter(|start| whole.len() - start.min(&whole.len()) >= bytes) else {
        return Err(too_short(wanted, format!("{} unpacked", whole.len())));
    };
    let rest = io::copy(&mut packed.take(MOST_EXTRA), &mut io::sink()).map_err(bad)?;
    if rest == MOST_EXTRA || skip.is_none() && rest > 0 {
        return Err(Problem::new("data after the voxels", "none", format!("{rest} bytes or more")));
    }
    whole.drain(..start);
    whole.truncate(bytes);
    Ok(whole)
}

fn hex(payload: &[u8], bytes: usize) -> Parsed<Vec<u8>> {
    if payload.len() / 2 < bytes {
        return Err(too_short(bytes as u64, format!("{} digits", payload.len())));
    }
    let mut digits = payload.iter().filter(|b| !b.is_ascii_whitespace());
    let mut digit = || {
        let found = digits.next().ok_or_else(|| too_short(bytes as u64, "fewer digits"))?;
        let value = (*found as char).to_digit(16);
        value.ok_or_else(|| Problem::new("voxel data", "hexadecimal digits", *found as char))
    };
    (0..bytes).map(|_| Ok((digit()? * 16 + digit()?) as u8)).collect()
}

fn text(payload: &[u8], count: usize, data_type: DataType) -> Parsed<Result<Voxels>> {
    if payload.len() / 2 + 1 < count {
        return Err(Problem::new("voxel data", format!("{count} numbers"), format!("{} characters", payload.len())));
    }
    let words = payload.split(|b| b.is_ascii_whitespace() || *b == b',').filter(|word| !word.is_empty());
    let mut words = words.map(|word| std::str::from_utf8(word).unwrap_or("?"));
    macro_rules! numbers {
        ($($variant:ident $number:ty),*) => {
            match data_type {
                $(DataType::$variant => {
                    let mut values = match reserve::<$number>(count, "the voxels") {
                        Ok(values) => values,
                        Err(error) => return Ok(Err(error)),
                    };
                    for _ in 0..count {
                        let word = words.next().unwrap_or("the end");
                        let value = word.parse::<$number>();
                        values.push(value.map_err(|_| Problem::new("voxel data", "a number of its type", word))?);
                    }
                    Voxels::$variant(values)
                })*
            }
        };
    }
    let values = numbers!(U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64, F32 f32, F64 f64);
    Ok(Ok(values))
}

/// Which values of a voxel are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// All, side by side.
    All,
    /// One.
    One(usize),
}

/// The values of `raster`'s voxels, those of one voxel side by side.
pub(super) fn arrange(voxels: Voxels, raster: &Raster, wanted: Wanted) -> Result<Voxels> {
    let Some(axis) = raster.components else { return Ok(voxels) };
    let inner = raster.sizes[..axis].iter().product::<u64>() as usize;
    let each = raster.sizes[axis] as usize;
    macro_rules! arranged {
        ($($variant:ident)*) => {
            match voxels {
                $(Voxels::$variant(values) => Voxels::$variant(pick(values, inner, each, wanted)?),)*
            }
        };
    }
    Ok(arranged!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64))
}

fn pick<T: Copy>(values: Vec<T>, inner: usize, each: usize, wanted: Wanted) -> Result<Vec<T>> {
    let chosen = match wanted {
        Wanted::One(_) if each == 1 => return Ok(values),
        Wanted::All if inner == 1 => return Ok(values),
        Wanted::One(chosen) => chosen..chosen + 1,
        Wanted::All => 0..each,
    };
    let mut found = reserve(values.len() / each * chosen.len(), "the voxels")?;
    for block in values.chunks_exact(inner * each) {
        for at in 0..inner {
            found.extend(chosen.clone().map(|component| block[component * inner + at]));
        }
    }
    Ok(found)
}

/// Reads a header line by line until `last` says that a line is the last; lines without their ends.
pub(super) fn lines(
    mut byte: impl FnMut() -> Result<u8>,
    last: impl Fn(&[u8]) -> bool,
) -> Result<Parsed<Vec<Vec<u8>>>> {
    let (mut lines, mut line, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        if length == LONGEST_HEADER {
            let expected = format!("at most {LONGEST_HEADER} bytes");
            return Ok(Err(Problem::new("header", expected, "more")));
        }
        length += 1;
        let next = byte()?;
        if next != b'\n' {
            line.push(next);
            continue;
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let end = last(&line);
        lines.push(std::mem::take(&mut line));
        if end {
            return Ok(Ok(lines));
        }
    }
}

/// Numbers between blanks or tabs.
pub(super) fn numbers<T: std::str::FromStr>(what: &str, text: &str) -> Parsed<Vec<T>> {
    let number = |word: &str| word.parse().map_err(|_| Problem::new(what, "numbers", word));
    text.split_whitespace().take(64).map(number).collect()
}

/// As [`numbers`], each finite.
pub(super) fn reals(what: &str, text: &str) -> Parsed<Vec<f64>> {
    let found = numbers::<f64>(what, text)?;
    match found.iter().find(|value| !value.is_finite()) {
        None => Ok(found),
        Some(value) => Err(Problem::new(what, "finite numbers", value)),
    }
}

/// The affine of axes and an origin whose first two coordinates grow to the left and to the back.
pub(super) fn from_lps(axes: [[f64; 3]; 3], origin: [f64; 3]) -> Affine {
    let row = |r: usize, sign: f64| [axes[0][r], axes[1][r], axes[2][r], origin[r]].map(|value| sign * value + 0.0);
    [row(0, -1.0), row(1, -1.0), row(2, 1.0), [0.0, 0.0, 0.0, 1.0]]
}

/// The axes and the origin of `affine` in such coordinates.
pub(super) fn to_lps(affine: &Affine) -> ([[f64; 3]; 3], [f64; 3]) {
    let signs = [-1.0, -1.0, 1.0];
    let column = |c: usize| [0, 1, 2].map(|r| signs[r] * affine[r][c] + 0.0);
    ([column(0), column(1), column(2)], column(3))
}

/// A third axis of length 1 mm for a slice of two.
pub(super) fn third(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let length = normal.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 { normal.map(|v| v / length) } else { [0.0, 0.0, 1.0] }
}
