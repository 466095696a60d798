//! The header of a safetensors file: 8 bytes of length, JSON, then the tensors without gaps.
//!
//! Read here and not by crate `safetensors`, which (0.8.0) takes the last of two entries of one name over the same
//! bytes, ignores unknown fields, accepts empty tensors of any shape, and overflows when lengths add up past 2^64.
//! The crate reads what `write` makes in the tests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::dtype::Dtype;
use super::foreign;
use super::quote::shown;
use super::source::Source;
use crate::memory::zeros;
use crate::{Error, Result};

/// What `kind` is in the metadata of a tuned file.
pub const TUNED: &str = "medsegx-tuned";

/// Bytes before the JSON: its length, little-endian.
pub(super) const LENGTH: u64 = 8;

/// No model of this kind needs more: vit_h has 1.2 thousand tensors and 0.2 MB of header.
pub(super) const MAX_HEADER: u64 = 16 << 20;
const MAX_TENSORS: usize = 1 << 16;
const MAX_RANK: usize = 8;

/// Where a tensor lies.
#[derive(Debug)]
pub(super) struct Tensor {
    pub dtype: Dtype,
    /// Row-major; no axis is 0.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub start: u64,
}

impl Tensor {
    /// Number of values; the header was checked, so that it fits in memory's address range.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A header whose every tensor lies inside the file.
#[derive(Debug)]
pub(super) struct Header {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: BTreeMap<String, String>,
}

/// Length of the JSON, from the file's first bytes.
fn json_length(path: &Path, first: [u8; LENGTH as usize], file: u64) -> Result<usize> {
    let length = u64::from_le_bytes(first);
    if first.starts_with(b"PK\x03\x04") || matches!(first, [0x80, 2..=5, ..]) {
        let found = "a PyTorch checkpoint, which `medsegx convert` makes one of";
        return Err(Error::file(path, "format", "a safetensors file", found));
    }
    if length > MAX_HEADER {
        if let Some(format) = foreign::format(&first) {
            let found = format!("{format}: `medsegx convert` makes one of PyTorch checkpoints (.pth) only");
            return Err(Error::file(path, "format", "a safetensors file", found));
        }
        let found = format!("{length} (not a safetensors file? `medsegx convert` makes one of a PyTorch checkpoint)");
        return Err(Error::file(path, "header length", format!("at most {MAX_HEADER}"), found));
    }
    if length > file.saturating_sub(LENGTH) {
        return Err(Error::file(path, "file length", format!("a header of {length} bytes"), format!("{file} bytes")));
    }
    Ok(length as usize) // at most MAX_HEADER
}

/// The checked header of a source.
pub(super) fn read(path: &Path, source: &Source) -> Result<Header> {
    let front = front(path, source.length(), |start, bytes| source.read_into(path, start, bytes))?;
    parse(path, &front, source.length())
}

/// What comes before the tensors of a file of `file` bytes, of which `read` fills a buffer from an offset on.
pub(super) fn front(path: &Path, file: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<Vec<u8>> {
    if file < LENGTH {
        return Err(Error::file(path, "file length", "a safetensors file", format!("{file} bytes")));
    }
    let mut first = [0; LENGTH as usize];
    read(0, &mut first)?;
    let mut front = zeros(first.len() + json_length(path, first, file)?, "the safetensors header")?;
    front[..first.len()].copy_from_slice(&first);
    read(LENGTH, &mut front[first.len()..])?;
    Ok(front)
}

/// Parses and checks the header of a file of `file` bytes, of which `front` is [`front`].
pub(super) fn parse(path: &Path, front: &[u8], file: u64) -> Result<Header> {
    let json = &front[LENGTH as usize..];
    if json.first() != Some(&b'{') {
        return Err(Error::file(path, "safetensors header", "a JSON object", "something else"));
    }
    let raw: RawHeader = serde_json::from_slice(json)
        .map_err(|e| Error::file(path, "safetensors header", "the entries of a safetensors file", e))?;
    let data = LENGTH + json.len() as u64;
    let mut tensors = BTreeMap::new();
    for (name, entry) in &raw.tensors {
        tensors.insert(name.clone(), tensor(path, name, entry, data, file)?);
    }
    check_contiguous(path, &raw, file - data)?;
    Ok(Header { tensors, metadata: raw.metadata })
}

fn tensor(path: &Path, name: &str, entry: &Entry, data: u64, file: u64) -> Result<Tensor> {
    let wrong = |what: &str, expected: String, found: String| {
        Error::file(path, format!("tensor {}: {what}", shown(name)), expected, found)
    };
    let Some(dtype) = Dtype::parse(&entry.dtype) else {
        return Err(wrong("dtype", "F32, F16 or BF16".into(), shown(&entry.dtype)));
    };
    if entry.shape.len() > MAX_RANK {
        return Err(wrong("shape", format!("at most {MAX_RANK} axes"), entry.shape.len().to_string()));
    }
    let bytes = entry.shape.iter().try_fold(dtype.size() as u64, |n, &axis| n.checked_mul(axis));
    let (start, end) = entry.data_offsets;
    if start > end || end > file - data {
        let found = format!("{start}..{end}");
        return Err(wrong("data_offsets", format!("a range within {} bytes of data", file - data), found));
    }
    if bytes != Some(end - start) || bytes == Some(0) {
        let expected = format!("{:?} of {} (and no empty axis)", entry.shape, dtype.name());
        return Err(wrong("length", expected, format!("{} bytes", end - start)));
    }
    let shape = entry.shape.iter().map(|&axis| usize::try_from(axis)).collect::<std::result::Result<_, _>>();
    let shape = shape.map_err(|_| wrong("shape", "axes that fit in memory".into(), format!("{:?}", entry.shape)))?;
    Ok(Tensor { dtype, shape, start: data + start })
}

/// The tensors must fill the data without gap or overlap, so that every byte means one thing.
fn check_contiguous(path: &Path, raw: &RawHeader, data: u64) -> Result<()> {
    let mut ranges: Vec<(u64, u64, &str)> =
        raw.tensors.iter().map(|(name, entry)| (entry.data_offsets.0, entry.data_offsets.1, &**name)).collect();
    ranges.sort_unstable();
    let mut next = 0;
    for (start, end, name) in ranges {
        if start != next {
            let what = format!("tensor {}: data_offsets", shown(name));
            return Err(Error::file(path, what, format!("to begin at {next}, where the one before ends"), start));
        }
        next = end;
    }
    if next != data {
        return Err(Error::file(path, "data", format!("{next} bytes, as the header says"), format!("{data} bytes")));
    }
    Ok(())
}

#[derive(Default)]
struct RawHeader {
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A map whose keys are all different; serde's own maps keep the last of two.
struct Distinct(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from tensor names to their places")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawHeader, A::Error> {
                let (mut header, mut has_metadata) = (RawHeader::default(), false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(de::Error::custom("two __metadata__"));
                        }
                        header.metadata = map.next_value::<Distinct>()?.0;
                        continue;
                    }
                    let entry = map.next_value()?;
                    insert(&mut header.tensors, name, entry)?;
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Distinct;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from strings to strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Distinct, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    insert(&mut entries, key, value)?;
                }
                Ok(Distinct(entries))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}

fn insert<V, E: de::Error>(map: &mut BTreeMap<String, V>, key: String, value: V) -> std::result::Result<(), E> {
    if map.len() == MAX_TENSORS {
        return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} entries")));
    }
    if map.contains_key(&key) {
        return Err(de::Error::custom(format_args!("two entries named {}", shown(&key))));
    }
    map.insert(key, value);
    Ok(())
}
