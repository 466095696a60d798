//! What tuning made of some tensors of a model, in a file of its own: safetensors with these tensors alone in f32,
//! under their names in the merged model, and metadata that say what they belong to and how they came about.
//!
//! ```
//! use std::collections::BTreeMap;
//! use medsegx::weights::tuned::Tuned;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("liver.tuned.safetensors");
//! let tensors = [("mask_decoder.iou_token.weight".to_string(), vec![1, 4], vec![0.5; 4])];
//! Tuned::write(&path, false, &tensors, BTreeMap::from([("task".to_string(), "CT_Liver".to_string())]))?;
//! let tuned = Tuned::open(&path)?;
//! assert_eq!(tuned.tensors().next(), Some(("mask_decoder.iou_token.weight", &[1, 4][..])));
//! assert_eq!((tuned.metadata()["task"].as_str(), tuned.has_encoder()), ("CT_Liver", false));
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::dtype::Dtype;
use super::header::{self, Header};
use super::quote::{shown, wrong};
use super::source::{Access, Source};
use super::{Weights, write};
use crate::memory::{copied, zeros};
use crate::{Error, Result};

pub use super::header::TUNED as KIND;
/// Metadata: SHA-256 of the weights file that the tensors go on top of.
pub const BASE: &str = "base_sha256";

/// Tuned tensors, to go on top of the weights that they were tuned from.
pub struct Tuned {
    path: PathBuf,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Tuned {
    /// Metadata: SHA-256 of each image that was tuned on, spaces between them.
    pub const IMAGES: &str = "images_sha256";
    /// Metadata: what was held out.
    pub const VALIDATION: &str = "validation";
    /// The value of [`Tuned::VALIDATION`] where whole images were held out.
    pub const BY_VOLUME: &str = "volumes";

    /// SHA-256 of the images that were tuned on.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.metadata.get(Tuned::IMAGES).into_iter().flat_map(|hashes| hashes.split(' '))
    }

    /// Reads a file of [`Tuned::write`].
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::File`] when its header is malformed or it is not such a file;
    /// [`Error::Tensor`] for a tensor that is not f32 or has a value that is not finite.
    pub fn open(path: &Path) -> Result<Tuned> {
        let source = Source::open(path, Access::Read)?;
        let Header { tensors: places, metadata } = header::read(path, &source)?;
        let kind = metadata.get("kind").map_or("no kind", String::as_str);
        if kind != KIND {
            return Err(Error::file(path, "kind in the metadata", format!("'{KIND}', a tuned file"), shown(kind)));
        }
        let mut tensors = BTreeMap::new();
        for (name, place) in places {
            if place.dtype != Dtype::F32 {
                return Err(wrong(&name, "F32 in a tuned file", place.dtype.name()));
            }
            let mut values = zeros(place.len(), format_args!("tensor {}", shown(&name)))?;
            source.read_into(path, place.start, bytemuck::cast_slice_mut(&mut values))?;
            if !Dtype::F32.is_memory_format() {
                values.iter_mut().for_each(|value: &mut f32| *value = f32::from_bits(value.to_bits().swap_bytes()));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return Err(wrong(&name, "finite values", "NaN or infinity"));
            }
            tensors.insert(name, (place.shape, values));
        }
        Ok(Tuned { path: path.into(), metadata, tensors })
    }

    /// Writes tensors (name, row-major shape, values) with `metadata`, to which kind and engine version are added.
    ///
    /// # Errors
    /// As [`write()`](super::write()).
    pub fn write(
        path: &Path,
        force: bool,
        tensors: &[(String, Vec<usize>, Vec<f32>)],
        mut metadata: BTreeMap<String, String>,
    ) -> Result<()> {
        metadata.insert("kind".into(), KIND.into());
        metadata.insert("producer".into(), format!("medsegx {}", crate::VERSION));
        let shapes: Vec<_> = tensors.iter().map(|(name, shape, _)| (name.clone(), shape.clone())).collect();
        let values = |wanted: &str| {
            let found = tensors.iter().find(|(name, ..)| name == wanted);
            let (.., values) = found.ok_or_else(|| wrong(wanted, "a tensor of this file", "none of that name"))?;
            copied(values, format_args!("tensor {}", shown(wanted)))
        };
        write(path, force, &shapes, &metadata, Dtype::F32, values)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was tuned on, and how.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Whether it changes the image encoder, and so what that makes of a slice.
    pub fn has_encoder(&self) -> bool {
        self.tensors.keys().any(|name| name.starts_with("image_encoder."))
    }

    /// Names and shapes of the tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice()))
    }
}

impl Weights {
    /// Puts tuned tensors on top; [`Weights::metadata`] and hashes stay those of the base.
    ///
    /// # Errors
    /// [`Error::File`] for tensors of another base or without one; [`Error::Tensor`] for a name or shape that this
    /// model does not have; what reading the base for its hash returns.
    pub fn tune(&mut self, tuned: Tuned) -> Result<()> {
        let own = self.sha256()?.unwrap_or_else(|| "weights without a file".into());
        let base = tuned.metadata.get(BASE).map_or("none", String::as_str);
        if own != base {
            let expected = format!("{own}, that of {}", self.path.display());
            return Err(Error::file(&tuned.path, BASE, expected, shown(base)));
        }
        for (name, (shape, _)) in &tuned.tensors {
            let expected = self
                .shape(name)
                .ok_or_else(|| wrong(name, format!("a tensor of {}", self.path.display()), "none of that name"))?;
            if expected != shape {
                let (expected, found) = (format!("{expected:?}"), format!("{shape:?} in {}", tuned.path.display()));
                return Err(wrong(name, expected, found));
            }
        }
        self.tuned = tuned.tensors.into_iter().map(|(name, (_, values))| (name, values)).collect();
        self.tuned_file = Some((tuned.path, tuned.metadata));
        Ok(())
    }

    /// Puts values of one tensor on top, for as long as these weights are open.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that this model does not have, or another number of values.
    pub(crate) fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let expected = self.count(name)?;
        if values.len() != expected {
            return Err(wrong(name, format!("{expected} values"), values.len().to_string()));
        }
        self.tuned.insert(name.to_string(), copied(values, format_args!("tensor {}", shown(name)))?);
        Ok(())
    }

    /// Takes off again whatever was put on top.
    #[cfg(feature = "capi")]
    pub(crate) fn take_off(&mut self) {
        self.tuned.clear();
    }

    /// The tuned file on top, and its metadata.
    pub(crate) fn tuned_file(&self) -> Option<(&Path, &BTreeMap<String, String>)> {
        self.tuned_file.as_ref().map(|(path, metadata)| (path.as_path(), metadata))
    }

    /// Names and values of the tuned tensors.
    pub(crate) fn tuned_tensors(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.tuned.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Whether the values of this tensor are tuned ones.
    pub(crate) fn is_tuned(&self, name: &str) -> bool {
        self.tuned.contains_key(name)
    }
}
