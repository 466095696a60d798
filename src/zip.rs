//! The records of a zip archive, stored or deflated, by its central directory. Counts, sizes and ratios are checked
//! before anything is unpacked; encryption, several disks and other methods are refused.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use crate::{Error, Result};

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
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

/// A file of an archive.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name in the archive.
    pub name: String,
    /// The first byte of its data in the archive.
    pub start: u64,
    /// Bytes in the archive.
    pub packed: u64,
    /// Bytes when they are inflated, by the directory.
    pub unpacked: u64,
    /// Whether they are deflated.
    pub deflated: bool,
    checksum: u32,
}

/// Whether a file with these first bytes is an archive.
pub fn is_archive(start: &[u8]) -> bool {
    start.starts_with(LOCAL_HEADER)
}

/// Whether `file` is an archive; it is at its start again then.
pub fn holds_archive(path: &Path, file: &mut (impl Read + Seek)) -> Result<bool> {
    let start = read(path, file, 0, LOCAL_HEADER.len() as u64)?;
    file.rewind().map_err(|e| Error::io(path, "read", e))?;
    Ok(is_archive(&start))
}

/// All files of the archive `file`; `path` is for messages.
pub fn records(path: &Path, file: &mut (impl Read + Seek)) -> Result<Vec<Record>> {
    let length = file.seek(SeekFrom::End(0)).map_err(|e| Error::io(path, "read", e))?;
    let (count, start, size) = directory(path, file, length)?;
    if count > MOST_RECORDS || size > LONGEST_DIRECTORY || start.saturating_add(size) > length {
        let found = format!("{count} records in {size} bytes from byte {start}");
        return Err(damaged(path, format!("a directory of at most {MOST_RECORDS} records within the file"), found));
    }
    let bytes = read(path, file, start, size)?;
    let (mut records, mut rest, mut total) = (Vec::new(), &bytes[..], 0_u64);
    for _ in 0..count {
        let entry = rest.get(..46).filter(|e| e.starts_with(DIRECTORY_ENTRY));
        let entry = entry.ok_or_else(|| damaged(path, "an entry of the directory", "something else"))?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(entry, at)));
        let whole = rest.get(..46 + name + extra + comment);
        let whole = whole.ok_or_else(|| damaged(path, "a whole entry of the directory", "its end"))?;
        rest = &rest[whole.len()..];
        let title = String::from_utf8_lossy(&whole[46..46 + name]).into_owned();
        if title.ends_with('/') || title.is_empty() {
            continue;
        }
        let (mut record, header) = record(path, entry, &whole[46 + name..46 + name + extra], title)?;
        total = total.saturating_add(record.unpacked);
        if total > MOST_BYTES {
            return Err(damaged(path, format!("at most {MOST_BYTES} bytes unpacked"), format!("{total} or more")));
        }
        record.start = start_of_data(path, file, &record, header, length)?;
        records.push(record);
    }
    Ok(records)
}

impl Record {
    /// Its bytes, at most `most`, with the checksum of the directory.
    pub fn unpack(&self, path: &Path, file: &mut (impl Read + Seek), most: u64) -> Result<Vec<u8>> {
        if self.unpacked > most {
            let what = format!("at most {most} bytes in {}", self.name.escape_debug());
            return Err(damaged(path, what, self.unpacked));
        }
        let mut bytes = Vec::new();
        let read = self.reader(path, file)?.read_to_end(&mut bytes);
        read.map_err(|e| damaged(path, format!("the contents of {}", self.name.escape_debug()), e))?;
        Ok(bytes)
    }

    /// Its bytes as they are inflated. Reading fails where they are not as many as the directory says, or have another
    /// checksum.
    pub fn reader<R: Read + Seek>(&self, path: &Path, mut file: R) -> Result<impl Read + use<R>> {
        file.seek(SeekFrom::Start(self.start)).map_err(|e| Error::io(path, "read", e))?;
        let packed = BufReader::new(file.take(self.packed));
        let bytes = if self.deflated { Bytes::Deflated(DeflateDecoder::new(packed)) } else { Bytes::Stored(packed) };
        Ok(Checked { bytes, checksum: Crc::new(), left: self.unpacked, expected: self.checksum })
    }
}

enum Bytes<R: Read> {
    Stored(BufReader<io::Take<R>>),
    Deflated(DeflateDecoder<BufReader<io::Take<R>>>),
}

struct Checked<R: Read> {
    bytes: Bytes<R>,
    checksum: Crc,
    left: u64,
    expected: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..most];
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match &mut self.bytes {
            Bytes::Stored(stored) => stored.read(buffer)?,
            Bytes::Deflated(deflated) => deflated.read(buffer)?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.checksum.update(&buffer[..count]);
        self.left -= count as u64;
        if self.left == 0 && self.checksum.sum() != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another checksum than the directory's"));
        }
        Ok(count)
    }
}

/// What an entry of the directory says, and where the record's own header is.
fn record(path: &Path, entry: &[u8], extra: &[u8], name: String) -> Result<(Record, u64)> {
    let (flags, method) = (u16_at(entry, 8), u16_at(entry, 10));
    if flags & 1 != 0 || !matches!(method, 0 | 8) {
        return Err(damaged(path, "records stored or deflated", format!("method {method}, flags {flags:#x}")));
    }
    let mut long = long_fields(extra);
    let mut wide = |at: usize| match u32_at(entry, at) {
        u32::MAX => long.next().ok_or_else(|| damaged(path, "a 64-bit size", "none")),
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
    Ok((Record { name, start: 0, packed, unpacked, deflated, checksum: u32_at(entry, 16) }, header))
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

fn start_of_data(path: &Path, file: &mut (impl Read + Seek), record: &Record, at: u64, length: u64) -> Result<u64> {
    let header = read(path, file, at, 30.min(length.saturating_sub(at)))?;
    if header.len() < 30 || !header.starts_with(LOCAL_HEADER) {
        return Err(damaged(path, format!("a record at byte {at}"), "none"));
    }
    let start = at.saturating_add(30) + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
    if start.saturating_add(record.packed) > length {
        return Err(damaged(path, "records within the file", format!("one of {} bytes at {start}", record.packed)));
    }
    Ok(start)
}

/// Number of records, and where their directory starts and how long it is.
fn directory(path: &Path, file: &mut (impl Read + Seek), length: u64) -> Result<(u64, u64, u64)> {
    let cut = || damaged(path, "a directory at the end", "none (a download cut short?)");
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

fn read(path: &Path, file: &mut (impl Read + Seek), start: u64, count: u64) -> Result<Vec<u8>> {
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

fn damaged(path: &Path, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::file(path, "zip archive", expected.into(), found)
}
