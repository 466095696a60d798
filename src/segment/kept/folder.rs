//! A folder of embeddings, each in a file of its own that is named by a hash of all it depends on.
//!
//! Any number of processes may use one: a file appears whole under its name or not at all, and two writers of one name
//! write the same bytes. Nothing in a file is believed: what has not the right length, key and checksum counts as
//! absent and is written anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Key;
use crate::atomic::write_atomically;
use crate::segment::Model;
use crate::{Error, Result, VERSION};

/// First bytes of a file. The digit changes with the form of the file and with what a key is made of.
const MAGIC: &[u8; 8] = b"MSXEMB1\n";

/// The embeddings of one model on one kind of device within a folder that others may share.
pub struct EmbeddingFolder {
    folder: PathBuf,
    model: Key,
}

impl EmbeddingFolder {
    /// The part of `folder` for `model`, whose encoder comes from a weights file of hash `weights` in hexadecimal. The
    /// folder is made where it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be made, [`Error::File`] where it is no folder.
    pub fn open(folder: &Path, weights: &str, model: &Model) -> Result<EmbeddingFolder> {
        if folder.exists() && !folder.is_dir() {
            return Err(Error::file(folder, "embeddings", "a folder", "a file"));
        }
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let all = format!("{VERSION}\n{weights}\n{}\n", model.arithmetic());
        Ok(EmbeddingFolder { folder: folder.into(), model: Sha256::digest(all).into() })
    }

    /// Model and slice together.
    fn name(&self, key: &Key) -> Key {
        Sha256::new().chain_update(self.model).chain_update(key).finalize().into()
    }

    /// Two levels, so that no folder gets too many entries.
    fn path(&self, name: &Key) -> PathBuf {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(&hex[..2]).join(format!("{}.embedding", &hex[2..]))
    }

    /// Fills `values` if they are there.
    pub(super) fn read(&self, key: &Key, values: &mut [f32]) -> bool {
        let name = self.name(key);
        let path = self.path(&name);
        let length = MAGIC.len() + name.len() + size_of_val(values) + size_of::<Key>();
        if !fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == length as u64) {
            return false;
        }
        let Ok(bytes) = fs::read(&path) else { return false };
        let Some((rest, checksum)) = bytes.split_last_chunk::<32>() else { return false };
        let Some(numbers) = rest.strip_prefix(MAGIC.as_slice()).and_then(|rest| rest.strip_prefix(&name)) else {
            return false;
        };
        if numbers.len() != size_of_val(values) || Key::from(Sha256::digest(rest)) != *checksum {
            return false;
        }
        for (value, bytes) in values.iter_mut().zip(numbers.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        true
    }

    /// Writes them for later runs.
    pub(super) fn write(&self, key: &Key, values: &[f32]) -> Result<()> {
        let name = self.name(key);
        let path = self.path(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        }
        let mut bytes = Vec::with_capacity(MAGIC.len() + size_of_val(values) + 2 * size_of::<Key>());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&name);
        values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        write_atomically(&path, true, |file| file.write_all(&bytes))
    }
}
