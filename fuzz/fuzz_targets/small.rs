//! The smallest weights that a model can be made of, so that a whole run is a few milliseconds under a sanitizer.
#![allow(dead_code, reason = "targets compile it too and use a part")]

use std::path::Path;

use medsegx::model::{Config, Preset};
use medsegx::weights::{self, Dtype, Weights};

pub fn config() -> Config {
    Config { image_size: 64, ..Preset::Tiny.medsegx() }
}

/// Writes them as a file.
pub fn write(path: &Path) {
    let weights = Weights::synthetic(&config(), 7);
    let shape = |name: &str| weights.shape(name).expect("a tensor of its own").to_vec();
    let tensors: Vec<_> = weights.names().map(|name| (name.to_owned(), shape(name))).collect();
    let values = |name: &str| weights.load(name);
    weights::write(path, true, &tensors, weights.metadata(), Dtype::F32, values).expect("a file of weights");
}
