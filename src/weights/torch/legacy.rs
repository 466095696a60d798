//! The container before torch 1.6: five pickles (magic number, protocol, system, object, keys of the storages), then
//! for each key eight bytes of length and the raw values.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::quote::shown;
use super::super::source::Source;
use super::pickle::{Pickle, Value};
use super::storage::{Storage, read};
use crate::{Error, Result};

/// The first pickle: the number 0x1950a86a20f9469cfc6c.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The second pickle: the number 1001.
const PROTOCOL: &[u8] = b"\x80\x02M\xe9\x03.";

pub(super) struct Stream<'a> {
    pub object: Pickle<'a>,
    pub storages: BTreeMap<String, Storage>,
}

impl<'a> Stream<'a> {
    /// `bytes` is the start of the file, with all its pickles.
    pub fn read(path: &Path, bytes: &'a [u8], source: &Source) -> Result<Self> {
        let rest = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(PROTOCOL));
        let rest = rest.ok_or_else(|| damaged(path, "protocol 1001", "another"))?;
        let system = Pickle::read(path, rest)?;
        check_system(path, &system)?;
        let rest = &rest[system.length..];
        let object = Pickle::read(path, rest)?;
        let rest = &rest[object.length..];
        let keys = Pickle::read(path, rest)?;
        let rest = &rest[keys.length..];
        let storages = storages(path, &object, &keys, (bytes.len() - rest.len()) as u64, source)?;
        Ok(Self { object, storages })
    }
}

fn damaged(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::file(path, "checkpoint in the older format", expected.into(), found.into())
}

fn check_system(path: &Path, system: &Pickle) -> Result<()> {
    let Value::Dict(entries) = system.root() else {
        return Err(damaged(path, "a description of the system", system.root().kind()));
    };
    let little = |(key, value): &(_, _)| {
        matches!((system.get(*key), system.get(*value)), (Value::Text("little_endian"), Value::Bool(true)))
    };
    if entries.iter().any(little) { Ok(()) } else { Err(damaged(path, "little_endian", "another byte order")) }
}

/// Where each storage lies, its own length compared with what the object says; they end with the file.
fn storages(
    path: &Path,
    object: &Pickle,
    keys: &Pickle,
    start: u64,
    source: &Source,
) -> Result<BTreeMap<String, Storage>> {
    let (file, mut wanted) = (source.length(), BTreeMap::new());
    for storage in object.storages() {
        if wanted.insert(storage.key, *storage).is_some_and(|before| before != *storage) {
            return Err(damaged(path, "storages of one type and length", format!("two of {}", shown(storage.key))));
        }
    }
    let Value::List(keys_in_order) = keys.root() else {
        return Err(damaged(path, "a list of storages", keys.root().kind()));
    };
    let (mut storages, mut next) = (BTreeMap::new(), start);
    for &key in keys_in_order {
        let Value::Text(key) = keys.get(key) else {
            return Err(damaged(path, "keys of storages", keys.get(key).kind()));
        };
        let Some(storage) = wanted.remove(key) else {
            return Err(damaged(path, "storages of the object, each once", shown(key)));
        };
        let begin = next.checked_add(8);
        let end = begin.and_then(|begin| begin.checked_add(storage.length.checked_mul(storage.element.size())?));
        let (Some(begin), Some(end)) = (begin, end.filter(|&end| end <= file)) else {
            return Err(damaged(path, format!("{} values of {}", storage.length, shown(key)), "the end (cut short?)"));
        };
        let (element, length) = (storage.element, storage.length);
        if read(source, path, next..begin)? != length.to_le_bytes() {
            return Err(damaged(path, format!("length {length} before {}", shown(key)), "another"));
        }
        storages.insert(key.to_string(), Storage { element, length, start: begin, checksum: None });
        next = end;
    }
    if let Some((key, _)) = wanted.first_key_value() {
        return Err(damaged(path, format!("storage {}", shown(key)), "none"));
    }
    if next != file {
        return Err(damaged(path, format!("{next} bytes"), format!("{file} bytes")));
    }
    Ok(storages)
}
