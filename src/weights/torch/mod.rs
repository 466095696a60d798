//! PyTorch checkpoints (`.pth`): the tensors of a state dict, and nothing else. Nothing in the file is ever executed.
//!
//! A file is a pickle that describes tensors and their storages, and the raw storages. Two containers exist: a zip
//! archive since torch 1.6, and a stream of pickles before.
//!
//! ```
//! use medsegx::weights::torch::Checkpoint;
//!
//! let refused = Checkpoint::from_bytes(b"no checkpoint".to_vec(), "model.pth").err().unwrap();
//! assert!(refused.to_string().starts_with("model.pth: "), "{refused}");
//! ```

mod legacy;
mod pickle;
mod storage;
mod tensor;
mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::quote::{shown, wrong};
use super::source::{Access, Digest, Source};
use super::{Dtype, foreign};
use crate::memory::{reserve, zeros};
use crate::{Error, Result};
use pickle::{Pickle, Value};
use storage::{MAX_PICKLE, Storage, read};
use tensor::View;

/// The state dict of a checkpoint file.
pub struct Checkpoint {
    path: PathBuf,
    source: Source,
    storages: BTreeMap<String, Storage>,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor in a storage; [`View::check`] has passed.
struct Stored {
    storage: String,
    view: View,
    shape: Vec<usize>,
}

impl Checkpoint {
    /// Opens and validates a file and reads off its tensors' shapes; no values are read yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::File`] when it is anything but a state dict as torch saves it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path.to_path_buf(), Source::open(path, Access::Read)?)
    }

    /// The contents of a file in memory. `name` stands in error messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self> {
        Self::parse(name.into(), Source::Owned(Arc::new(bytes)))
    }

    fn parse(path: PathBuf, source: Source) -> Result<Self> {
        let start = read(&source, &path, 0..source.length().min(legacy::MAGIC.len() as u64))?;
        let (storages, views) = if start.starts_with(zip::LOCAL_HEADER) {
            let archive = zip::Archive::read(&path, &source)?;
            let bytes = archive.pickle(&path, &source)?;
            let pickle = Pickle::read(&path, &bytes)?;
            (archive.storages(&path, &pickle)?, state_dict(&path, &pickle)?)
        } else if start == legacy::MAGIC {
            let bytes = read(&source, &path, 0..source.length().min(MAX_PICKLE))?;
            let stream = legacy::Stream::read(&path, &bytes, &source)?;
            let views = state_dict(&path, &stream.object)?;
            (stream.storages, views)
        } else {
            let first = read(&source, &path, 0..source.length().min(16))?;
            let known = foreign::format(&first).filter(|_| !first.starts_with(&[0x80]));
            let found = known.unwrap_or("something else (a download cut short, an old .tar file or no checkpoint)");
            return Err(Error::file(path, "start of the file", "a checkpoint written by torch.save", found));
        };
        let mut tensors = BTreeMap::new();
        for (name, (storage, view)) in views {
            let Some(place) = storages.get(&storage) else {
                return Err(Error::file(path, format!("tensor {}", shown(&name)), "its storage", "none"));
            };
            let shape = view.check(place.length).map_err(|found| {
                let what = format!("tensor {}", shown(&name));
                Error::file(&path, what, format!("a view of {} values", place.length), found)
            })?;
            tensors.insert(name, Stored { storage, view, shape });
        }
        Ok(Self { path, source, storages, tensors: foreign::renamed(tensors) })
    }

    /// Every tensor's name and row-major shape, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    /// The values of a tensor as f32, row-major.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is none of that name or its values are no f32, f16 or bf16, [`Error::File`] when
    /// the stored checksum differs, [`Error::Memory`], [`Error::Io`].
    pub fn load(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self.tensors.get(name).ok_or_else(|| wrong(name, "a tensor of the checkpoint", "none"))?;
        let missing = || wrong(name, "its storage", "none");
        let storage = self.storages.get(&stored.storage).ok_or_else(missing)?;
        let element = storage.element;
        let dtype = element.dtype().ok_or_else(|| wrong(name, "float32, float16 or bfloat16", element.name()))?;
        let values = self.load_storage(storage, dtype, name)?;
        let length = stored.shape.iter().product();
        if stored.view.is_whole(values.len()) {
            return Ok(values);
        }
        let mut gathered = reserve(length, format_args!("tensor {}", shown(name)))?;
        stored.view.each(|index| gathered.extend(values.get(index)));
        Ok(gathered)
    }

    /// All values of one storage, its checksum compared.
    fn load_storage(&self, storage: &Storage, dtype: Dtype, name: &str) -> Result<Vec<f32>> {
        let length = usize::try_from(storage.length).map_err(|_| wrong(name, "a length that fits", "a longer one"))?;
        let mut values = zeros(length, format_args!("tensor {}", shown(name)))?;
        let (mut rest, mut checksum) = (values.as_mut_slice(), flate2::Crc::new());
        let range = storage.start..storage.start + storage.length * dtype.size() as u64;
        self.source.read(&self.path, range, |bytes| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len() / dtype.size());
            dtype.decode(bytes, now);
            checksum.update(bytes);
            rest = later;
        })?;
        match storage.checksum {
            Some(expected) if expected != checksum.sum() => {
                let what = format!("checksum of tensor {}", shown(name));
                let found = format!("{:08x} (a damaged file)", checksum.sum());
                Err(Error::file(&self.path, what, format!("{expected:08x}"), found))
            }
            _ => Ok(values),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What computes the SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.source.digest()
    }
}

/// The tensors of the pickled dictionary, or of its entry `model` or `state_dict` as training scripts save it: name to
/// storage and view.
fn state_dict(path: &Path, pickle: &Pickle) -> Result<BTreeMap<String, (String, View)>> {
    let wrong = |what: &str, expected: &str, found: &str| Error::file(path, what, expected, found);
    let Value::Dict(outer) = pickle.root() else {
        return Err(wrong("pickle", "a dictionary", pickle.root().kind()));
    };
    let inner = |(key, value): &(_, _)| match (pickle.get(*key), pickle.get(*value)) {
        (Value::Text("model" | "state_dict"), Value::Dict(inner)) => Some(inner),
        _ => None,
    };
    let entries = outer.iter().find_map(inner).unwrap_or(outer);
    let mut tensors = BTreeMap::new();
    for &(key, value) in entries {
        let Value::Text(name) = pickle.get(key) else {
            return Err(wrong("state dict", "names of tensors", pickle.get(key).kind()));
        };
        let Value::Tensor(tensor) = pickle.get(value) else {
            return Err(wrong(&format!("state dict: {}", shown(name)), "a tensor", pickle.get(value).kind()));
        };
        let Value::Storage(storage) = pickle.get(tensor.storage) else {
            return Err(wrong(&format!("state dict: {}", shown(name)), "a storage", "none"));
        };
        let place = (storage.key.to_string(), tensor.view.clone());
        if tensors.insert(name.to_string(), place).is_some() {
            return Err(wrong("state dict", "names that differ", &format!("two entries named {}", shown(name))));
        }
    }
    if tensors.is_empty() {
        return Err(wrong("state dict", "tensors", "none"));
    }
    Ok(tensors)
}
