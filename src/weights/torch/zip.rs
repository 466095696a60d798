//! The zip container of `torch.save`: every record stored as it is, so a storage is read in place. Whatever torch does
//! not write is refused: compression, encryption, several disks, comments, gaps in the directory, records that overlap.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::quote::shown;
use super::super::source::Source;
use super::pickle::Pickle;
use super::storage::{MAX_PICKLE, Storage, read};
use crate::{Error, Result};

/// How such a file begins.
pub(super) const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

const LOCAL_HEADER_LENGTH: u64 = 30;
const END_LENGTH: u64 = 22;
const END_64_LENGTH: u64 = 56;
const LOCATOR_64_LENGTH: u64 = 20;

/// A training checkpoint of vit_h has 4 thousand records in 0.5 MB of directory.
const MAX_RECORDS: u64 = 1 << 16;
const MAX_DIRECTORY: u64 = 16 << 20;

/// Records by name.
pub(super) struct Archive {
    records: BTreeMap<String, Record>,
    /// The archive's own folder, with its slash.
    folder: String,
}

#[derive(Clone, Copy)]
struct Record {
    header: u64,
    start: u64,
    length: u64,
    checksum: u32,
}

impl Archive {
    pub fn read(path: &Path, source: &Source) -> Result<Self> {
        let (count, directory) = find_directory(path, source)?;
        let bytes = read(source, path, directory.clone())?;
        let mut fields = Fields { path, bytes: &bytes };
        let mut records = BTreeMap::new();
        for _ in 0..count {
            let (name, mut record) = directory_entry(&mut fields)?;
            record.start = start_of_data(path, source, &name, &record, directory.start)?;
            if records.insert(name.clone(), record).is_some() {
                return Err(damaged(path, "names that differ", format!("two records named {}", shown(&name))));
            }
        }
        if !fields.bytes.is_empty() {
            return Err(damaged(path, format!("{count} records"), "more in the directory".into()));
        }
        check_overlap(path, &records, directory.start)?;

        let mut pickles = records.keys().filter_map(|name| name.strip_suffix("data.pkl"));
        let (Some(folder), None) = (pickles.next(), pickles.next()) else {
            return Err(damaged(path, "one record data.pkl", "none or several".into()));
        };
        let archive = Self { folder: folder.to_string(), records };
        archive.check_byte_order(path, source)?;
        Ok(archive)
    }

    /// The bytes of data.pkl.
    pub fn pickle(&self, path: &Path, source: &Source) -> Result<Vec<u8>> {
        self.small(path, source, "data.pkl", MAX_PICKLE)?
            .ok_or_else(|| damaged(path, "a record data.pkl", "none".into()))
    }

    /// Where every storage lies that the pickle mentions.
    pub fn storages(&self, path: &Path, pickle: &Pickle) -> Result<BTreeMap<String, Storage>> {
        let mut storages = BTreeMap::new();
        for wanted in pickle.storages() {
            let name = format!("{}data/{}", self.folder, wanted.key);
            let Some(record) = self.records.get(&name) else {
                return Err(damaged(path, format!("a record {}", shown(&name)), "none".into()));
            };
            if wanted.length.checked_mul(wanted.element.size()) != Some(record.length) {
                let expected = format!("{} {} values in {}", wanted.length, wanted.element.name(), shown(&name));
                return Err(damaged(path, expected, format!("{} bytes", record.length)));
            }
            let (element, length) = (wanted.element, wanted.length);
            let storage = Storage { element, length, start: record.start, checksum: Some(record.checksum) };
            // The bytes are the same, so one with another element type would read them as something else.
            let before = storages.insert(wanted.key.to_string(), storage);
            if before.is_some_and(|before| before.element != element) {
                return Err(damaged(path, format!("one type of {}", shown(&name)), "two".into()));
            }
        }
        Ok(storages)
    }

    fn check_byte_order(&self, path: &Path, source: &Source) -> Result<()> {
        match self.small(path, source, "byteorder", 16)?.as_deref() {
            None | Some(b"little") => Ok(()),
            Some(other) => Err(damaged(path, "byte order little", shown(&String::from_utf8_lossy(other)))),
        }
    }

    /// A record that is read whole, its checksum compared.
    fn small(&self, path: &Path, source: &Source, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(record) = self.records.get(&format!("{}{name}", self.folder)) else { return Ok(None) };
        if record.length > limit {
            return Err(damaged(path, format!("at most {limit} bytes of {name}"), record.length.to_string()));
        }
        let bytes = read(source, path, record.start..record.start + record.length)?;
        let mut checksum = flate2::Crc::new();
        checksum.update(&bytes);
        if checksum.sum() != record.checksum {
            let found = format!("{:08x} (a damaged file)", checksum.sum());
            return Err(damaged(path, format!("checksum {:08x} of {name}", record.checksum), found));
        }
        Ok(Some(bytes))
    }
}

fn damaged(path: &Path, expected: impl Into<String>, found: String) -> Error {
    Error::file(path, "zip archive", expected.into(), found)
}

/// Number of records, and where their directory lies. It ends where the end records begin, which end the file.
fn find_directory(path: &Path, source: &Source) -> Result<(u64, std::ops::Range<u64>)> {
    let cut = || damaged(path, "a directory at the end", "none (a download cut short?)".into());
    let end_start = source.length().checked_sub(END_LENGTH).ok_or_else(cut)?;
    let bytes = read(source, path, end_start..source.length())?;
    let mut fields = Fields { path, bytes: &bytes };
    if fields.take(4)? != END {
        return Err(cut());
    }
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (count_here, count) = (fields.u16()?, fields.u16()?);
    let (length, start, comment) = (fields.u32()?, fields.u32()?, fields.u16()?);
    if (disk, directory_disk, comment) != (0, 0, 0) || count_here != count {
        return Err(damaged(path, "one disk and no comment", "something else".into()));
    }
    let short = Directory { count: count.into(), length: length.into(), start: start.into() };
    let long = find_directory_64(path, source, end_start)?;
    let (directory, end) = match long {
        Some((long, end)) if short.agrees(&long) => (long, end),
        Some(_) => return Err(damaged(path, "two end records that agree", "others".into())),
        None => (short, end_start),
    };
    let range = directory.start..directory.start.saturating_add(directory.length);
    if directory.count > MAX_RECORDS || directory.length > MAX_DIRECTORY || range.end != end {
        let found = format!("{} records in bytes {range:?}", directory.count);
        return Err(damaged(path, format!("a directory that ends at byte {end}"), found));
    }
    Ok((directory.count, range))
}

struct Directory {
    count: u64,
    length: u64,
    start: u64,
}

impl Directory {
    /// Whether the short fields are those of `long`, or say that they are too short.
    fn agrees(&self, long: &Directory) -> bool {
        let same = |short: u64, long: u64, limit: u64| short == limit || short == long;
        same(self.count, long.count, u16::MAX.into())
            && same(self.length, long.length, u32::MAX.into())
            && same(self.start, long.start, u32::MAX.into())
    }
}

/// The end record with 64-bit fields, if there is one, and where it begins.
fn find_directory_64(path: &Path, source: &Source, end_start: u64) -> Result<Option<(Directory, u64)>> {
    let Some(record_start) = end_start.checked_sub(LOCATOR_64_LENGTH + END_64_LENGTH) else { return Ok(None) };
    let bytes = read(source, path, record_start..end_start)?;
    let (record, locator) = bytes.split_at(END_64_LENGTH as usize);
    let mut fields = Fields { path, bytes: locator };
    if fields.take(4)? != LOCATOR_64 {
        return Ok(None);
    }
    let (disk, place, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
    let mut fields = Fields { path, bytes: record };
    let (signature, length) = (fields.take(4)?, fields.u64()?);
    if signature != END_64 || length != END_64_LENGTH - 12 || place != record_start || disk != 0 || disks > 1 {
        return Err(damaged(path, format!("a 64-bit end record at byte {record_start}"), "something else".into()));
    }
    let (_versions, disk, directory_disk) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (count_here, count, length, start) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    if (disk, directory_disk) != (0, 0) || count_here != count {
        return Err(damaged(path, "one disk", "several".into()));
    }
    Ok(Some((Directory { count, length, start }, record_start)))
}

/// One entry of the directory; `start` is still that of the local header.
fn directory_entry(fields: &mut Fields) -> Result<(String, Record)> {
    let path = fields.path;
    if fields.take(4)? != DIRECTORY_ENTRY {
        return Err(damaged(path, "a record in the directory", "something else".into()));
    }
    fields.take(4)?; // versions
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(4)?; // time and date
    let (checksum, stored, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.take(6)?; // attributes
    let header = fields.u32()?;
    let name = fields.take(name.into())?;
    let extra = fields.take(extra.into())?;
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(damaged(path, "names in UTF-8", "other bytes".into()));
    };
    let refuse = |expected: &str, found: String| Err(damaged(path, format!("{expected} in {}", shown(name)), found));
    // Bit 0, 6 and 13 are kinds of encryption; 3 (sizes after the data) and 11 (UTF-8) are what torch sets.
    if flags & !0x0808 != 0 {
        return refuse("no encryption or other special record", format!("flags {flags:04x}"));
    }
    if method != 0 {
        return refuse("stored data", format!("compression method {method}"));
    }
    if comment != 0 || disk != 0 {
        return refuse("no comment and one disk", "something else".into());
    }
    let [length, stored, header] = widen(path, extra, [length, stored, header])?;
    if stored != length {
        return refuse("stored data", format!("{stored} bytes for {length}"));
    }
    Ok((name.to_string(), Record { header, start: header, length, checksum }))
}

/// Sizes whose 32 bits are all set stand in the 64-bit extra field, in this order.
fn widen(path: &Path, extra: &[u8], short: [u32; 3]) -> Result<[u64; 3]> {
    let mut wide = short.map(u64::from);
    let mut fields = Fields { path, bytes: extra };
    while !fields.bytes.is_empty() {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let mut field = Fields { path, bytes: fields.take(length.into())? };
        if kind == 1 {
            for wide in wide.iter_mut().filter(|wide| **wide == u64::from(u32::MAX)) {
                *wide = field.u64()?;
            }
        }
    }
    Ok(wide)
}

/// Where a record's data begin, behind its local header, which must say the same as the directory.
fn start_of_data(path: &Path, source: &Source, name: &str, record: &Record, end: u64) -> Result<u64> {
    let outside = || damaged(path, format!("{} before byte {end}", shown(name)), format!("at byte {}", record.header));
    let fixed = record.header.checked_add(LOCAL_HEADER_LENGTH).filter(|&fixed| fixed <= end).ok_or_else(outside)?;
    let bytes = read(source, path, record.header..fixed)?;
    let mut fields = Fields { path, bytes: &bytes };
    let signature = fields.take(4)?;
    fields.take(2)?; // version
    let (_flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(16)?; // time, checksum and sizes, which may stand behind the data
    let (name_length, extra) = (fields.u16()?, fields.u16()?);
    let start = fixed + u64::from(name_length) + u64::from(extra);
    start.checked_add(record.length).filter(|&data_end| data_end <= end).ok_or_else(outside)?;
    let same_length = usize::from(name_length) == name.len();
    let same_name = same_length && read(source, path, fixed..fixed + name.len() as u64)? == name.as_bytes();
    if signature != LOCAL_HEADER || method != 0 || !same_name {
        return Err(damaged(path, format!("the record {} at byte {}", shown(name), record.header), "another".into()));
    }
    Ok(start)
}

fn check_overlap(path: &Path, records: &BTreeMap<String, Record>, end: u64) -> Result<()> {
    let mut ranges: Vec<_> = records.iter().map(|(name, r)| (r.header, r.start + r.length, name)).collect();
    ranges.sort_unstable();
    let next = ranges.iter().skip(1).map(|next| next.0).chain([end]);
    match ranges.iter().zip(next).find(|(record, next)| record.1 > *next) {
        None => Ok(()),
        Some((record, _)) => Err(damaged(path, "records apart", format!("{} reaching into another", shown(record.2)))),
    }
}

/// Little-endian fields, one after the other.
struct Fields<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(damaged(self.path, format!("{count} more bytes"), "the end of its part".into()));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
