//! NumPy's .npy files, versions 1 to 3: arrays of plain numbers in C or Fortran order, any byte order.
//!
//! Source: numpy/lib/format.py. Nothing in the header is evaluated; it is read by a small parser of exactly its form.
//!
//! ```
//! use medsegx::volume::{Voxels, npy};
//!
//! # fn main() -> medsegx::Result<()> {
//! let mut file = Vec::new();
//! npy::write(&mut file, &[2, 3], &[1_u8, 2, 3, 4, 5, 6]).unwrap();
//! let array = npy::from_bytes("array.npy".as_ref(), &file, 100)?;
//! assert_eq!((array.shape, array.values), (vec![2, 3], Voxels::U8(vec![1, 2, 3, 4, 5, 6])));
//! assert!(npy::from_bytes("array.npy".as_ref(), &file, 5).is_err(), "more values than were asked for");
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use super::source::{Kind, Source};
use crate::image::Voxels;
use crate::image::{DataType, Voxel};
use crate::memory::reserve;
use crate::{Error, Result};

/// Longest header that is read; NumPy itself stops at 10,000 bytes unless told otherwise.
const HEADER_LIMIT: usize = 1 << 16;
/// Most axes that NumPy allows.
const MOST_AXES: usize = 64;

/// An array of numbers, in C order: the last axis is the fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, each at least 1.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Voxels,
}

/// Reads the array in the file at `path`; more than `max_values` values are refused.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for anything that is not a complete array of numbers.
pub fn read(path: &Path, max_values: u64) -> Result<Array> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    let (mut source, kind) = Source::new(path, BufReader::new(file), length)?;
    if kind != Kind::Npy {
        return Err(Error::file(path, "format", "NumPy (.npy)", format!("{kind:?}")));
    }
    read_array(&mut source, max_values)
}

/// Reads the array in `bytes`, as [`read`] does; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: &[u8], max_values: u64) -> Result<Array> {
    let (mut source, kind) = Source::new(path, bytes, bytes.len() as u64)?;
    if kind != Kind::Npy {
        return Err(Error::file(path, "format", "NumPy (.npy)", format!("{kind:?}")));
    }
    read_array(&mut source, max_values)
}

/// Reads an array from the start of `source`.
pub(super) fn read_array<R: BufRead>(source: &mut Source<R>, max_values: u64) -> Result<Array> {
    let body = read_head(source, max_values)?;
    let values = read_body(source, &body)?;
    Ok(Array { shape: body.shape, values })
}

/// What follows the header.
pub(super) struct Body {
    pub shape: Vec<usize>,
    pub data_type: DataType,
    pub big_endian: bool,
    /// Whether the first axis is the fastest, and not the only one.
    pub fortran_order: bool,
    /// Whether values are stored as floats of 16 bits; [`read_body`] hands out 32.
    pub half: bool,
    count: usize,
}

/// Reads the header, and checks that the file has the size that it promises.
pub(super) fn read_head<R: BufRead>(source: &mut Source<R>, max_values: u64) -> Result<Body> {
    let header = read_header(source)?;
    let error = |what: &str, expected: &str, found: String| Error::file(&source.path, what, expected, found);
    let half = header.descr.get(1..) == Some(b"f2");
    // Numbers of as many bytes, until they are read.
    let stored: Vec<u8> = if half { [&header.descr[..1], b"u2"].concat() } else { header.descr.clone() };
    let (data_type, big_endian) = number_type(&stored).ok_or_else(|| {
        error("npy descr", "integers or floats of 1 to 8 bytes, or bool", format!("'{}'", header.descr.escape_ascii()))
    })?;
    let count = header.shape.iter().try_fold(1_u64, |all, &n| all.checked_mul(n));
    let count = match count {
        Some(0) => return Err(error("npy shape", "at least one value", format!("{:?}", header.shape))),
        Some(count) if count <= max_values => count,
        _ => return Err(error("npy shape", &format!("at most {max_values} values"), format!("{:?}", header.shape))),
    };
    let bytes = count.checked_mul(data_type.bytes()).and_then(|n| n.checked_add(source.taken()));
    let bytes = bytes.ok_or_else(|| error("npy shape", "a size that can be counted", format!("{:?}", header.shape)))?;
    source.check_holds("npy data", bytes)?;
    if source.length > bytes {
        return Err(error("npy data", &format!("{bytes} bytes in all"), "more".into()));
    }
    let count = usize::try_from(count).map_err(|_| Error::Memory { what: "the array".into(), bytes })?;
    let data_type = if half { DataType::F32 } else { data_type };
    let shape: Vec<usize> = header.shape.iter().map(|&n| n as usize).collect();
    let fortran_order = header.fortran_order && shape.len() > 1;
    Ok(Body { shape, data_type, big_endian, fortran_order, half, count })
}

/// Reads the values, in C order whatever the file has.
pub(super) fn read_body<R: BufRead>(source: &mut Source<R>, body: &Body) -> Result<Voxels> {
    let values = match body.half {
        true => widened(source.voxels(DataType::U16, body.count, body.big_endian)?)?,
        false => source.voxels(body.data_type, body.count, body.big_endian)?,
    };
    if body.fortran_order { to_c_order(values, &body.shape) } else { Ok(values) }
}

/// Bits of 16-bit floats as floats.
fn widened(stored: Voxels) -> Result<Voxels> {
    let Voxels::U16(bits) = stored else { return Ok(stored) };
    let mut values = reserve(bits.len(), "the array")?;
    values.extend(bits.iter().map(|&bits| half::f16::from_bits(bits).to_f32()));
    Ok(Voxels::F32(values))
}

/// Writes `values` with `shape`, little endian, C order, version 1.0: the bytes that `numpy.save` writes.
///
/// # Errors
/// Whatever `out` returns; [`io::ErrorKind::InvalidInput`] when `shape` does not fit the number of values.
pub fn write<T: Element>(out: &mut impl Write, shape: &[usize], values: &[T]) -> io::Result<()> {
    if shape.iter().try_fold(1_usize, |all, &n| all.checked_mul(n)) != Some(values.len()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "npy shape does not fit the values"));
    }
    write_header::<T>(out, shape)?;
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values.iter().try_for_each(|v| out.write_all(bytemuck::bytes_of(&v.swapped())))
}

/// Writes the header alone, for values that follow in pieces.
///
/// # Errors
/// Whatever `out` returns.
pub fn write_header<T: Element>(out: &mut impl Write, shape: &[usize]) -> io::Result<()> {
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}{comma}), }}", T::DESCR);
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let stored =
        u16::try_from(length).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "npy shape too long"))?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&stored.to_le_bytes())?;
    writeln!(out, "{text:<width$}", width = length - 1)
}

/// A number that is written to .npy files.
pub trait Element: Voxel {
    /// NumPy's name of the type, little endian.
    const DESCR: &'static str;
}

impl Element for u8 {
    const DESCR: &'static str = "|u1";
}
impl Element for u16 {
    const DESCR: &'static str = "<u2";
}
impl Element for f32 {
    const DESCR: &'static str = "<f4";
}

struct Header {
    descr: Vec<u8>,
    fortran_order: bool,
    shape: Vec<u64>,
}

fn read_header<R: BufRead>(source: &mut Source<R>) -> Result<Header> {
    let mut start = [0; 8];
    source.fill("npy header", &mut start)?;
    let length = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            source.fill("npy header", &mut bytes)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            source.fill("npy header", &mut bytes)?;
            u32::from_le_bytes(bytes) as usize
        }
        other => return Err(Error::file(&source.path, "npy version", "1 to 3", other)),
    };
    if length > HEADER_LIMIT {
        return Err(Error::file(&source.path, "npy header length", format!("at most {HEADER_LIMIT}"), length));
    }
    let mut text = vec![0; length];
    source.fill("npy header", &mut text)?;
    Parser { text: &text, at: 0 }.header().map_err(|(at, expected)| {
        let found = text[at.min(length)..length.min(at.saturating_add(24))].escape_ascii();
        Error::file(&source.path, format!("npy header, byte {at}"), expected, format!("'{found}'"))
    })
}

/// The type of a `descr` such as `<f4`, and whether it is big endian.
fn number_type(descr: &[u8]) -> Option<(DataType, bool)> {
    let (&order, name) = descr.split_first()?;
    let big_endian = match order {
        b'<' | b'|' => false,
        b'>' => true,
        b'=' => cfg!(target_endian = "big"),
        _ => return None,
    };
    let data_type = match name {
        b"u1" | b"b1" => DataType::U8,
        b"i1" => DataType::I8,
        b"u2" => DataType::U16,
        b"i2" => DataType::I16,
        b"u4" => DataType::U32,
        b"i4" => DataType::I32,
        b"u8" => DataType::U64,
        b"i8" => DataType::I64,
        b"f4" => DataType::F32,
        b"f8" => DataType::F64,
        _ => return None,
    };
    Some((data_type, big_endian))
}

/// Reads the literal `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

/// Where the header stopped making sense, and what was expected there.
type Unexpected = (usize, &'static str);

impl Parser<'_> {
    fn header(&mut self) -> std::result::Result<Header, Unexpected> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b"{", "a dictionary")?;
        while !self.accept(b"}") {
            let start = self.at;
            let key = self.string()?;
            self.expect(b":", "a colon")?;
            let first = match key.as_slice() {
                b"descr" => descr.replace(self.string()?).is_none(),
                b"fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                b"shape" => shape.replace(self.tuple()?).is_none(),
                _ => false,
            };
            if !first {
                return Err((start, "the keys descr, fortran_order and shape, once each"));
            }
            if !self.accept(b",") {
                self.expect(b"}", "the end of the dictionary")?;
                break;
            }
        }
        self.spaces();
        match (descr, fortran_order, shape) {
            _ if self.at != self.text.len() => Err((self.at, "nothing after the dictionary")),
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
            _ => Err((self.at, "the keys descr, fortran_order and shape")),
        }
    }

    fn spaces(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn accept(&mut self, word: &[u8]) -> bool {
        self.spaces();
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &[u8], name: &'static str) -> std::result::Result<(), Unexpected> {
        if self.accept(word) { Ok(()) } else { Err((self.at, name)) }
    }

    fn string(&mut self) -> std::result::Result<Vec<u8>, Unexpected> {
        let quote = if self.accept(b"'") { b'\'' } else { b'"' };
        if quote == b'"' {
            self.expect(b"\"", "a string")?;
        }
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|&b| b == quote).ok_or((self.at, "a closed string"))?;
        self.at += length + 1;
        Ok(rest[..length].to_vec())
    }

    fn boolean(&mut self) -> std::result::Result<bool, Unexpected> {
        if self.accept(b"True") {
            return Ok(true);
        }
        self.expect(b"False", "True or False").map(|()| false)
    }

    fn tuple(&mut self) -> std::result::Result<Vec<u64>, Unexpected> {
        let mut extents = Vec::new();
        self.expect(b"(", "a tuple")?;
        while !self.accept(b")") {
            if extents.len() == MOST_AXES {
                return Err((self.at, "at most 64 axes"));
            }
            extents.push(self.number()?);
            if !self.accept(b",") {
                self.expect(b")", "the end of the tuple")?;
                break;
            }
        }
        Ok(extents)
    }

    fn number(&mut self) -> std::result::Result<u64, Unexpected> {
        self.spaces();
        let start = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.text.get(self.at).filter(|b| b.is_ascii_digit()) {
            let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
            value = next.ok_or((start, "an extent that fits 64 bits"))?;
            self.at += 1;
        }
        self.accept(b"L"); // Python 2 wrote long integers so
        if self.at == start { Err((start, "an extent")) } else { Ok(value) }
    }
}

/// The same array with the last axis fastest instead of the first.
fn to_c_order(values: Voxels, shape: &[usize]) -> Result<Voxels> {
    macro_rules! reorder {
        ($($variant:ident)*) => {
            match values {
                $(Voxels::$variant(values) => Voxels::$variant(transposed(&values, shape)?),)*
            }
        };
    }
    Ok(reorder!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64))
}

fn transposed<T: Voxel>(values: &[T], shape: &[usize]) -> Result<Vec<T>> {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let mut index = vec![0; shape.len()];
    let mut result = reserve(values.len(), "the array in C order")?;
    let mut at = 0;
    for _ in 0..values.len() {
        result.push(values[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(result)
}
