//! The `boxes` of an .npz file as MedSAM's challenges have them: `[N, 4]` of x0, y0, x1, y1 for a picture, `[N, 6]` of x0, y0,
//! z0, x1, y1, z1 for a volume `[z, y, x]`, inclusive. Box n is label n + 1.
//!
//! An .npz is a zip archive; of it only the directory and this one record are read, both within limits.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::file::LARGEST_FILE;
use super::{Grid, PixelBox, Target, VolumeBox, stretch, volume_box};
use crate::codes::{Code, Warning};
use crate::taxonomy::Query;
use crate::volume::npy;
use crate::{Error, Result};

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// The end record and the longest comment behind it.
const LONGEST_END: u64 = 22 + 65535;
/// Longest directory that is read; an .npz has a handful of records.
const LONGEST_DIRECTORY: u64 = 1 << 20;
/// Most boxes of a file, each a target.
const MOST: usize = 4096;

/// Whether the file is a zip archive; it is at its start again then.
pub(super) fn is_npz(path: &Path, file: &mut (impl Read + Seek)) -> Result<bool> {
    let failed = |error| Error::io(path, "read", error);
    let mut start = Vec::new();
    file.by_ref().take(4).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(start == LOCAL_HEADER)
}

/// The targets of an .npz file's boxes; `path` is for messages.
///
/// # Errors
/// [`Error::File`] for an archive that is damaged or has no boxes, and [`Error::Prompt`] for a box outside the grid.
pub fn parse_npz(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    read(path, &mut Cursor::new(bytes), grid)
}

/// Reads its boxes.
pub(super) fn read(path: &Path, file: &mut (impl Read + Seek), grid: &Grid) -> Result<Vec<Target>> {
    let bytes = record(path, file, "boxes.npy")?;
    of_array(&bytes, path, grid)
}

fn damaged(path: &Path, expected: impl ToString, found: impl ToString) -> Error {
    Error::file(path, ".npz archive", expected, found)
}

fn at(path: &Path, file: &mut (impl Read + Seek), place: u64, length: u64) -> Result<Vec<u8>> {
    let failed = |error| Error::io(path, "read", error);
    file.seek(SeekFrom::Start(place)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.by_ref().take(length).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(damaged(path, format!("{length} bytes at {place}"), "its end"))
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The unpacked record `name`.
fn record(path: &Path, file: &mut (impl Read + Seek), name: &str) -> Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0)).map_err(|error| Error::io(path, "read", error))?;
    let tail_length = length.min(LONGEST_END);
    let tail = at(path, file, length - tail_length, tail_length)?;
    let ends = (0..tail.len().saturating_sub(21)).rev();
    let end = ends.map(|start| &tail[start..start + 22]).find(|end| end.starts_with(END));
    let end = end.ok_or_else(|| damaged(path, "an end record", "none"))?;
    let (size, start) = (number(end, 12, 4), number(end, 16, 4));
    if size > LONGEST_DIRECTORY || start.saturating_add(size) > length {
        let found = format!("{size} bytes from byte {start}");
        return Err(damaged(path, format!("a directory of at most {LONGEST_DIRECTORY} bytes within 4 GB"), found));
    }
    let directory = at(path, file, start, size)?;
    let (mut rest, mut names) = (&directory[..], Vec::new());
    while rest.len() >= 46 && rest.starts_with(DIRECTORY_ENTRY) {
        let [title, extra, comment] = [28, 30, 32].map(|at| number(rest, at, 2) as usize);
        let Some(whole) = rest.get(..46 + title + extra + comment) else { break };
        let found = String::from_utf8_lossy(&whole[46..46 + title]).into_owned();
        if found == name {
            return unpack(path, file, whole, length);
        }
        names.push(found.escape_debug().to_string());
        rest = &rest[whole.len()..];
    }
    names.truncate(16);
    Err(Error::file(path, ".npz records", name, if names.is_empty() { "none".into() } else { names.join(", ") }))
}

/// The contents of the record that a directory's `entry` tells of.
fn unpack(path: &Path, file: &mut (impl Read + Seek), entry: &[u8], length: u64) -> Result<Vec<u8>> {
    let [method, checksum] = [(10, 2), (16, 4)].map(|(at, length)| number(entry, at, length));
    let [packed, unpacked, offset] = [20, 24, 42].map(|at| number(entry, at, 4));
    if packed > length || unpacked > LARGEST_FILE {
        let expected = format!("a record of at most {LARGEST_FILE} bytes");
        return Err(damaged(path, expected, format!("{unpacked}, packed {packed}")));
    }
    let local = at(path, file, offset, 30)?;
    if !local.starts_with(LOCAL_HEADER) || number(entry, 8, 2) & 1 == 1 {
        return Err(damaged(path, "a record that is not encrypted", "something else"));
    }
    let data = offset + 30 + number(&local, 26, 2) + number(&local, 28, 2);
    let stored = at(path, file, data, packed)?;
    let mut bytes = Vec::new();
    match method {
        0 => bytes = stored,
        8 => {
            let inflated = DeflateDecoder::new(&stored[..]).take(unpacked + 1).read_to_end(&mut bytes);
            inflated.map_err(|error| damaged(path, "deflated bytes", error))?;
        }
        other => return Err(damaged(path, "a record stored or deflated", format!("method {other}"))),
    }
    let mut crc = Crc::new();
    crc.update(&bytes);
    if bytes.len() as u64 != unpacked || u64::from(crc.sum()) != checksum {
        return Err(damaged(path, format!("{unpacked} bytes with their checksum"), format!("{} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// The targets of an array of boxes; `path` is for messages.
fn of_array(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    let array = npy::from_bytes(path, bytes, 6 * MOST as u64)?;
    let columns = array.shape.last().copied().unwrap_or(0);
    let picture = grid.dims[2] == 1 && grid.axis == 2;
    let wanted = if columns == 4 && picture { 4 } else { 6 };
    if array.shape.len() > 2 || columns != wanted {
        let expected = if picture { "[N, 4], x0, y0, x1, y1 a box" } else { "[N, 6], x0, y0, z0, x1, y1, z1 a box" };
        return Err(Error::file(path, "shape of boxes", expected, format!("{:?}", array.shape)));
    }
    let value = |index: usize| array.values.get(index).unwrap_or(f64::NAN);
    let target = |number: usize| {
        let what = format!("{}: box {number}", path.display());
        let mut warnings = Vec::new();
        let half = columns / 2;
        let mut ends = [(0, 0); 3];
        for (axis, end) in ends.iter_mut().enumerate().take(half) {
            let [a, b] = [axis, half + axis].map(|column| value(number * columns + column));
            if !a.is_finite() || !b.is_finite() || a.abs().max(b.abs()) > f64::from(u32::MAX) {
                return Err(Error::Prompt { what, expected: "voxel indices".into(), found: format!("{a}, {b}") });
            }
            *end = stretch(a, b, true, &what, &mut warnings);
            // The challenges' own jitter ends one voxel behind the picture.
            let length = grid.dims[axis] as i64;
            if end.1 == length && end.0 < length {
                end.1 -= 1;
                let message = format!("{what}: {length} along {} cut to the image", ['x', 'y', 'z'][axis]);
                warnings.push(Warning::new(Code::BoxCut, message));
            }
        }
        let [(x0, x1), (y0, y1), _] = ends;
        let boxes = if columns == 4 {
            let found = PixelBox { x0, y0, x1, y1 };
            found.check(&what, grid.dims[0], grid.dims[1])?;
            BTreeMap::from([(0, found)])
        } else {
            volume_box(VolumeBox { low: ends.map(|end| end.0), high: ends.map(|end| end.1) }, &what, grid)?
        };
        let (name, label) = (format!("box {}", number + 1), number as u16 + 1);
        Ok(Target { name, label, query: Query::default(), boxes, points: BTreeMap::new(), warnings })
    };
    (0..array.values.len() / columns).map(target).collect()
}
