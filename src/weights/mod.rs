//! Weight files: safetensors, validated completely before anything is used, read once.
//!
//! The sizes of the model are read off the tensor shapes; only the kind of a 1024 px model is metadata.
//!
//! ```
//! use medsegx::model::Preset;
//! use medsegx::weights::Weights;
//!
//! # fn main() -> medsegx::Result<()> {
//! // Random weights of a small model; those of a file come with `Weights::open`.
//! let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 7);
//! let name = weights.names().find(|name| name.ends_with("pos_embed")).expect("every encoder has one");
//! let shape = weights.shape(name).expect("a tensor has a shape");
//! assert_eq!(weights.load(name)?.len(), shape.iter().product::<usize>());
//! # Ok(())
//! # }
//! ```

mod convert;
#[cfg(feature = "demo-weights")]
pub mod demo;
mod describe;
mod digest;
mod dtype;
mod foreign;
mod hashing;
mod header;
mod names;
mod quote;
mod shapes;
mod sizes;
mod source;
pub mod synth;
pub mod torch;
pub mod tuned;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use convert::{convert, convert_tiny_vit};
pub use describe::{AdapterDescription, Description, describe, is_weights};
pub use digest::sha256_of;
pub use dtype::Dtype;
#[doc(hidden)]
pub use hashing::Hashing;
pub use names::{MASK_TOKENS, names};
pub use source::{Access, Digest, sha256};
pub use write::write;

#[cfg(feature = "capi")]
use crate::memory::grow_to;
use crate::memory::zeros;
use crate::model::Config;
use crate::params::{Half, Tensors};
use crate::{Error, Result};
use header::{Header, Tensor};
use quote::{shown, wrong};
use source::Source;

/// A complete, valid model, whose values are read when they are asked for. Drop it after loading.
///
/// Several threads may load tensors at the same time.
pub struct Weights {
    path: PathBuf,
    values: Values,
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    config: Config,
    /// Values that stand in for those of the file.
    tuned: BTreeMap<String, Vec<f32>>,
    /// The file that they come from, and its metadata.
    tuned_file: Option<(PathBuf, BTreeMap<String, String>)>,
    stop: Option<Arc<AtomicBool>>,
}

enum Values {
    Stored(Source),
    /// From this seed.
    Synthetic(u64),
}

impl Weights {
    /// Opens and validates a safetensors file; no values are read yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::File`] when its header is malformed, [`Error::Weights`] with
    /// every missing, unexpected and misshapen tensor.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        Self::validate(path.to_path_buf(), Source::open(path, access)?)
    }

    /// The contents of a safetensors file in memory. `name` stands in error messages.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self> {
        Self::validate(name.into(), Source::Owned(Arc::new(bytes)))
    }

    /// A safetensors file of `size` bytes of which `read` fills a buffer from an offset on. Memory for the whole is
    /// asked for once its header bears that size out. `name` stands in error messages.
    ///
    /// # Errors
    /// As [`Weights::open`]; those of `read`; [`Error::Memory`].
    #[cfg(feature = "capi")]
    pub(crate) fn from_reader(
        name: &str,
        size: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let length = isize::try_from(size).map_err(|_| Error::Memory { what: "weights".into(), bytes: size })?;
        let mut bytes = header::front(name.as_ref(), size, &mut read)?;
        let header = header::parse(name.as_ref(), &bytes, size)?;
        Self::new(name.into(), header, || {
            let front = bytes.len();
            grow_to(&mut bytes, length as usize, "weights")?;
            bytes.resize(length as usize, 0);
            read(front as u64, &mut bytes[front..])?;
            Ok(Source::Owned(Arc::new(bytes)))
        })
    }

    /// A safetensors file that is part of the program. `name` stands in error messages.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_static(bytes: &'static [u8], name: &str) -> Result<Self> {
        Self::validate(name.into(), Source::Static(bytes))
    }

    /// Made-up weights of any size, for tests and benchmarks; values are computed when they are loaded.
    pub fn synthetic(config: &Config, seed: u64) -> Self {
        let place = |shape| Tensor { dtype: Dtype::F32, shape, start: 0 };
        Self {
            path: "<synthetic>".into(),
            values: Values::Synthetic(seed),
            tensors: names(config).into_iter().map(|(name, shape)| (name, place(shape))).collect(),
            metadata: synth::metadata(config, seed),
            config: config.clone(),
            tuned: BTreeMap::new(),
            tuned_file: None,
            stop: None,
        }
    }

    fn validate(path: PathBuf, source: Source) -> Result<Self> {
        let header = header::read(&path, &source)?;
        Self::new(path, header, || Ok(source))
    }

    /// `source` is asked for once the header is that of a model.
    fn new(path: PathBuf, header: Header, source: impl FnOnce() -> Result<Source>) -> Result<Self> {
        let Header { tensors, metadata } = header;
        let kind = metadata.get("kind").map(String::as_str);
        if kind == Some(header::TUNED) {
            let found = "a tuned file, which goes on top of them (--tuned)";
            return Err(Error::file(path, "kind in the metadata", "weights of a whole model", found));
        }
        let shapes = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
        let config = sizes::config(&path, &shapes, kind)?;
        let (values, tuned) = (Values::Stored(source()?), BTreeMap::new());
        Ok(Self { path, values, tensors, metadata, config, tuned, tuned_file: None, stop: None })
    }

    /// Ends reading of values, and with it the loading of a model, with [`Error::Cancelled`] soon after `stop` is set.
    pub fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.stop = stop;
    }

    fn check_stop(&self) -> Result<()> {
        match &self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// The file, or what stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every size of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file's `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Every tensor's name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The row-major shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &*tensor.shape)
    }

    /// The format in which most values are stored.
    pub fn dtype(&self) -> Dtype {
        let values = |dtype| self.tensors.values().filter(|t| t.dtype == dtype).map(|t| t.len() as u64).sum::<u64>();
        [Dtype::BF16, Dtype::F16, Dtype::F32].into_iter().max_by_key(|&dtype| values(dtype)).unwrap_or(Dtype::F32)
    }

    /// Bytes of the file, header included; 0 for synthetic weights.
    pub fn file_bytes(&self) -> u64 {
        match &self.values {
            Values::Stored(source) => source.length(),
            Values::Synthetic(_) => 0,
        }
    }

    /// The values of a tensor as f32, row-major.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is none of that name or a value is NaN or infinite, [`Error::Memory`],
    /// [`Error::Io`] and [`Error::File`] when the file can no longer be read whole.
    pub fn load(&self, name: &str) -> Result<Vec<f32>> {
        let length = self.tensor(name)?.len();
        let mut values = zeros(length, format_args!("tensor {}", shown(name)))?;
        self.load_into(name, &mut values)?;
        Ok(values)
    }

    /// As [`Weights::load`], into the caller's memory, which has the tensor's length.
    ///
    /// # Errors
    /// As [`Weights::load`]; also [`Error::Tensor`] when the length differs.
    pub fn load_into(&self, name: &str, values: &mut [f32]) -> Result<()> {
        let tensor = self.tensor(name)?;
        if values.len() != tensor.len() {
            return Err(wrong(name, format!("room for {} values", tensor.len()), values.len().to_string()));
        }
        self.load_part(name, 0, values)
    }

    /// The values of a tensor from element `first` on, as many as fit in the caller's memory.
    ///
    /// # Errors
    /// As [`Weights::load`], of these values; also [`Error::Tensor`] when the tensor has fewer.
    pub fn load_part(&self, name: &str, first: usize, values: &mut [f32]) -> Result<()> {
        self.read_part(name, first, values)?;
        // On the copy, so that a file that changes meanwhile cannot slip one in.
        const EXPONENT: u32 = 0x7f80_0000;
        let endless = |value: &f32| u32::from(value.to_bits() & EXPONENT == EXPONENT);
        let finite = values.iter().fold(0, |found, value| found | endless(value)) == 0;
        if finite { Ok(()) } else { Err(wrong(name, "finite values", "NaN or infinity")) }
    }

    /// As [`Weights::load_part`], of values that the caller looks at: they may be NaN or infinite.
    ///
    /// # Errors
    /// As [`Weights::load_part`], but for the values themselves.
    pub(crate) fn read_part(&self, name: &str, first: usize, values: &mut [f32]) -> Result<()> {
        self.check_stop()?;
        let tensor = self.tensor(name)?;
        if first.checked_add(values.len()).is_none_or(|end| end > tensor.len()) {
            let (expected, found) =
                (format!("a part of {} values", tensor.len()), format!("{first} + {}", values.len()));
            return Err(wrong(name, expected, found));
        }
        if let Some(tuned) = self.tuned.get(name) {
            values.copy_from_slice(&tuned[first..first + values.len()]);
            return Ok(());
        }
        match &self.values {
            Values::Synthetic(seed) => synth::fill_from(name, &tensor.shape, *seed, first, values),
            Values::Stored(source) => self.read(source, tensor, first, values)?,
        }
        Ok(())
    }

    /// The number of values of a tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is none of that name.
    pub fn count(&self, name: &str) -> Result<usize> {
        Ok(self.tensor(name)?.len())
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| wrong(name, "a tensor of this model", "none of that name"))
    }

    fn read(&self, source: &Source, tensor: &Tensor, first: usize, values: &mut [f32]) -> Result<()> {
        let size = tensor.dtype.size();
        let start = tensor.start + (first * size) as u64;
        if tensor.dtype.is_memory_format() {
            return source.read_into(&self.path, start, bytemuck::cast_slice_mut(values));
        }
        let range = start..start + (values.len() * size) as u64;
        let mut rest = values;
        source.read(&self.path, range, |bytes| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len() / size);
            tensor.dtype.decode(bytes, now);
            rest = later;
        })
    }

    /// What computes the SHA-256 of the file, for a thread that has time; `None` for synthetic weights.
    pub fn digest(&self) -> Option<Digest> {
        match &self.values {
            Values::Stored(source) => Some(source.digest()),
            Values::Synthetic(_) => None,
        }
    }

    /// The SHA-256 of the file in lower-case hexadecimal; reads it whole. `None` for synthetic weights.
    ///
    /// # Errors
    /// As [`Digest::compute`].
    pub fn sha256(&self) -> Result<Option<String>> {
        self.digest().map(|digest| digest.compute_while(&self.path, &|| self.check_stop())).transpose()
    }
}

impl Tensors for Weights {
    fn load(&self, name: &str) -> Result<Vec<f32>> {
        self.load(name)
    }

    fn count(&self, name: &str) -> Result<usize> {
        self.count(name)
    }

    fn half(&self, name: &str) -> Option<Half> {
        match self.tensors.get(name)?.dtype {
            Dtype::F32 => None,
            Dtype::F16 => Some(Half::F16),
            Dtype::BF16 => Some(Half::Bf16),
        }
    }

    fn read_part(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        self.read_part(name, first, out)
    }
}
