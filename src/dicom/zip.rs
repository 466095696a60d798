//! The records of a zip archive, stored or deflated, by its central directory. Counts, sizes and ratios are checked before
//! anything is unpacked; encryption, several disks and other methods are refused.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::input::Place;
use crate::{Error, Result};

pub const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

/// The end record with the longest comment.
const LONGEST_END: u64 = 22 + 65535;
const MOST_RECORDS: u64 = 1 << 17;
const LONGEST_DIRECTORY: u64 = 64 << 20;
/// Bytes of all records unpacked.
const MOST_BYTES: u64 = 64 << 30;
/// Deflate cannot expand a byte to more than this many.
const DEFLATE_RATIO: u64 = 1032;

/// The places of all files in the archive at `path`.
pub fn records(path: &Path) -> Result<Vec<Place>> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    let (count, start, size) = directory(path, &mut file, length)?;
    if count > MOST_RECORDS || size > LONGEST_DIRECTORY || start.saturating_add(size) > length {
        let found = format!("{count} records in {size} bytes from byte {start}");
        return Err(damaged(path, format!("a directory of at most {MOST_RECORDS} records within the file"), found));
    }
    let bytes = read(path, &mut file, start, size)?;
    let (archive, mut places, mut rest, mut total) = (Arc::new(PathBuf::from(path)), Vec::new(), &bytes[..], 0_u64);
    for _ in 0..count {
        let entry = rest.get(..46).filter(|e| e.starts_with(DIRECTORY_ENTRY));
        let entry = entry.ok_or_else(|| damaged(path, "an entry of the directory", "something else".into()))?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(entry, at)));
        let whole = rest.get(..46 + name + extra + comment);
        let whole = whole.ok_or_else(|| damaged(path, "a whole entry of the directory", "its end".into()))?;
        rest = &rest[whole.len()..];
        let title = String::from_utf8_lossy(&whole[46..46 + name]).into_owned();
        if title.ends_with('/') || title.is_empty() {
            continue;
        }
        let record = record(path, entry, &whole[46 + name..46 + name + extra])?;
        total = total.saturating_add(record.unpacked);
        if total > MOST_BYTES {
            return Err(damaged(path, format!("at most {MOST_BYTES} bytes unpacked"), format!("{total} or more")));
        }
        let data = start_of_data(path, &mut file, &record, length)?;
        places.push(Place::record(&archive, &title, data, [record.packed, record.unpacked], record.deflated));
    }
    Ok(places)
}

struct Record {
    header: u64,
    packed: u64,
    unpacked: u64,
    deflated: bool,
}

fn record(path: &Path, entry: &[u8], extra: &[u8]) -> Result<Record> {
    let (flags, method) = (u16_at(entry, 8), u16_at(entry, 10));
    if flags & 1 != 0 || !matches!(method, 0 | 8) {
        return Err(damaged(path, "records stored or deflated", format!("method {method}, flags {flags:#x}")));
    }
    let mut long = long_fields(extra);
    let mut wide = |at: usize| match u32_at(entry, at) {
        u32::MAX => long.next().ok_or_else(|| damaged(path, "a 64-bit size", "none".into())),
        short => Ok(short.into()),
    };
    // The long fields stand in this order, and only those that are needed.
    let (unpacked, packed, header) = (wide(24)?, wide(20)?, wide(42)?);
    let deflated = method == 8;
    let possible =
        if deflated { unpacked <= packed.saturating_add(1).saturating_mul(DEFLATE_RATIO) } else { unpacked == packed };
    if !possible {
        return Err(damaged(path, "sizes that can be", format!("{packed} bytes for {unpacked}")));
    }
    Ok(Record { header, packed, unpacked, deflated })
}

/// The numbers of the 64-bit extra field.
fn long_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut field: &[u8] = &[];
    while extra.len() >= 4 {
        let length = usize::from(u16_at(extra, 2)).min(extra.len() - 4);
        if u16_at(extra, 0) == 1 {
            field = &extra[4..4 + length];
        }
        extra = &extra[4 + length..];
    }
    field.chunks_exact(8).map(|raw| raw.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte)))
}

fn start_of_data(path: &Path, file: &mut File, record: &Record, length: u64) -> Result<u64> {
    let header = read(path, file, record.header, 30.min(length.saturating_sub(record.header)))?;
    if header.len() < 30 || !header.starts_with(LOCAL_HEADER) {
        return Err(damaged(path, format!("a record at byte {}", record.header), "none".into()));
    }
    let start = record.header + 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
    if start.saturating_add(record.packed) > length {
        return Err(damaged(path, "records within the file", format!("one of {} bytes at {start}", record.packed)));
    }
    Ok(start)
}

/// Number of records, and where their directory starts and how long it is.
fn directory(path: &Path, file: &mut File, length: u64) -> Result<(u64, u64, u64)> {
    let cut = || damaged(path, "a directory at the end", "none (a download cut short?)".into());
    let from = length.saturating_sub(LONGEST_END);
    let tail = read(path, file, from, length - from)?;
    let ends = |at: &usize| tail[*at..].starts_with(END) && tail.len() - at >= 22;
    let at = (0..tail.len().saturating_sub(21)).rev().find(ends).ok_or_else(cut)?;
    let end = &tail[at..];
    let short = (u64::from(u16_at(end, 10)), u64::from(u32_at(end, 16)), u64::from(u32_at(end, 12)));
    let Some(locator) = at.checked_sub(20).map(|l| &tail[l..at]).filter(|l| l.starts_with(LOCATOR_64)) else {
        return Ok(short);
    };
    let place = u64_at(locator, 8);
    if place.saturating_add(56) > length {
        return Err(cut());
    }
    let long = read(path, file, place, 56)?;
    if !long.starts_with(END_64) {
        return Err(cut());
    }
    Ok((u64_at(&long, 32), u64_at(&long, 48), u64_at(&long, 40)))
}

fn read(path: &Path, file: &mut File, start: u64, count: u64) -> Result<Vec<u8>> {
    let failed = |e| Error::io(path, "read", e);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn damaged(path: &Path, expected: impl Into<String>, found: String) -> Error {
    Error::file(path, "zip archive", expected.into(), found)
}
