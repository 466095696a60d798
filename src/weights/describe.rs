//! What a weights file is, for people and for reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::sizes::kind_name;
use super::{Weights, header};
use crate::model::{Config, Preset};
use crate::{Error, Result};

/// A summary of a weights file.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// `medsegx`, `sam`, `medsam` or `litemedsam`.
    pub kind: &'static str,
    /// `tiny`, `vit_b`, `vit_l`, `vit_h` or `tiny_vit_5m` when the encoder has that size.
    pub size: Option<&'static str>,
    /// Side of the model's picture in pixels.
    pub image_size: usize,
    /// D.
    pub width: usize,
    /// Encoder blocks.
    pub blocks: usize,
    /// Stages of a TinyViT, of whose last one width, heads and window are said: channels, blocks, heads and window of
    /// each.
    pub stages: Option<Vec<[usize; 4]>>,
    /// Blocks with global attention; the others have windows.
    pub global_blocks: Vec<usize>,
    /// Side of a window in tokens.
    pub window: usize,
    /// h.
    pub heads: usize,
    /// d.
    pub head_dim: usize,
    /// The mixture of adapter experts, if there is one.
    pub adapters: Option<AdapterDescription>,
    /// P.
    pub prompt_width: usize,
    /// Side of the logit maps.
    pub logits_size: usize,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values.
    pub parameters: u64,
    /// Number format of most values.
    pub dtype: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// The file's own words: where it comes from.
    pub metadata: BTreeMap<String, String>,
    /// Tensors with NaN or infinity, for which the file is refused.
    pub not_finite: Vec<String>,
}

/// Sizes of the contextual mixture of adapter experts.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterDescription {
    /// E.
    pub experts: usize,
    /// R.
    pub bottleneck: usize,
    /// e.
    pub embedding: usize,
    /// Blocks that have adapters.
    pub blocks: Vec<usize>,
}

/// Whether the file begins as safetensors do, so that it is described as weights and not as an image.
pub fn is_weights(path: &Path) -> bool {
    let mut start = [0; header::LENGTH as usize + 1];
    let read = std::fs::metadata(path).is_ok_and(|found| found.is_file())
        && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok();
    let [length @ .., first] = start;
    read && first == b'{' && u64::from_le_bytes(length) <= header::MAX_HEADER
}

/// Reads the whole file: every value is looked at and the SHA-256 computed.
///
/// # Errors
/// As [`Weights::load`], but values that are not finite are reported and no error.
pub fn describe(weights: &Weights) -> Result<Description> {
    let config = weights.config();
    let (mut not_finite, mut parameters) = (Vec::new(), 0);
    for name in weights.names() {
        match weights.load(name) {
            Ok(values) => parameters += values.len() as u64,
            Err(Error::Tensor { name, .. }) => {
                parameters += weights.shape(&name).map_or(0, |shape| shape.iter().product::<usize>() as u64);
                not_finite.push(name);
            }
            Err(error) => return Err(error),
        }
    }
    let indices = |flags: &[bool]| (0..flags.len()).filter(|&block| flags[block]).collect();
    Ok(Description {
        kind: kind_name(config.kind),
        size: named(config),
        image_size: config.image_size,
        width: config.width,
        blocks: config.depth(),
        stages: config.tiny_vit.as_ref().map(|tiny_vit| {
            tiny_vit.stages.iter().map(|stage| [stage.width, stage.depth, stage.heads, stage.window]).collect()
        }),
        global_blocks: indices(&config.global),
        window: config.window,
        heads: config.heads,
        head_dim: config.head_dim,
        adapters: config.adapters.as_ref().map(|adapters| AdapterDescription {
            experts: adapters.experts,
            bottleneck: adapters.bottleneck,
            embedding: adapters.embedding,
            blocks: indices(&adapters.blocks),
        }),
        prompt_width: config.prompt_width,
        logits_size: config.logits_size(),
        tensors: weights.names().count(),
        parameters,
        dtype: weights.dtype().name(),
        bytes: weights.file_bytes(),
        sha256: weights.sha256()?,
        metadata: weights.metadata().clone(),
        not_finite,
    })
}

fn named(config: &Config) -> Option<&'static str> {
    if let Some(tiny_vit) = &config.tiny_vit {
        let published = [Config::litemedsam(), Config::mobile_sam()];
        return published.iter().any(|known| known.tiny_vit.as_ref() == Some(tiny_vit)).then_some("tiny_vit_5m");
    }
    Preset::ALL.into_iter().find(|preset| same_encoder(config, &preset.sam())).map(Preset::name)
}

fn same_encoder(one: &Config, other: &Config) -> bool {
    let sizes = |config: &Config| (config.width, config.heads, config.mlp, config.window, config.global.clone());
    sizes(one) == sizes(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_recognised() {
        let described = describe(&Weights::synthetic(&Preset::Tiny.medsegx(), 0)).unwrap();
        assert_eq!((described.size, described.kind, described.image_size), (Some("tiny"), "medsegx", 256));
        assert_eq!((described.global_blocks, described.logits_size), (vec![1, 3], 256));
        assert_eq!(described.adapters.unwrap().blocks, [0, 1, 2, 3]);
        assert!(described.not_finite.is_empty() && described.sha256.is_none());
    }
}
