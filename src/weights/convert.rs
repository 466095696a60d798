//! PyTorch checkpoints to one weights file: a SAM-type model as it is, or SAM with MedSegX's tensors on top.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::quote::{shown, wrong};
use super::shapes::Shapes;
use super::sizes::{self, kind_name};
use super::torch::Checkpoint;
use super::{Dtype, names, write};
use crate::atomic::check_writable;
use crate::memory::reserve;
use crate::model::{Config, Kind};
use crate::{Error, Result};

/// SHA-256 of Meta's own files, which are kind `sam`: vit_b, vit_l, vit_h.
const META: [&str; 3] = [
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
];

/// Side of MedSegX's token grid.
const GRID: usize = 16;

/// What MedSegX does not take from SAM, because it has its own or none.
const DROPPED: [&str; 3] =
    ["mask_decoder.mask_tokens.", "mask_decoder.output_hypernetworks_mlps.", "mask_decoder.iou_prediction_head."];

/// Writes `output` from `sam`, a checkpoint of SAM or MedSAM at 1024 px, and `medsegx`, the tensors that MedSegX adds.
/// Without `medsegx` the model is kept as it is and `kind` says what it is; Meta's own files need none. Names and
/// SHA-256 of the sources go into the metadata. `watch` is called before each tensor; its error ends the conversion and
/// leaves no file. Returns the converted model's sizes.
///
/// # Errors
/// [`Error::Argument`] when `kind` is missing or contradicts the files, [`Error::File`] and [`Error::Weights`] when a
/// source is malformed or not a complete model, [`Error::Tensor`] when a value is not finite or too large for `dtype`,
/// those of [`write()`] and of `watch`.
pub fn convert(
    sam: &Path,
    medsegx: Option<&Path>,
    kind: Option<Kind>,
    output: &Path,
    dtype: Dtype,
    force: bool,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<Config> {
    check_writable(output, force)?;
    let base = Checkpoint::open(sam)?;
    let extra = medsegx.map(Checkpoint::open).transpose()?;
    check_roles(&base, extra.as_ref())?;
    let mut metadata = BTreeMap::from([("producer".to_string(), format!("medsegx {}", crate::VERSION))]);
    let sha256 = provenance(&mut metadata, "sam", &base)?;
    if let Some(extra) = &extra {
        provenance(&mut metadata, "medsegx", extra)?;
    }
    let kind = chosen_kind(kind, extra.is_some(), META.contains(&&*sha256))?;
    metadata.insert("kind".into(), kind_name(kind).into());

    let base_shapes: Shapes = base.tensors().collect();
    let base_kind = if kind == Kind::MedSam { Kind::MedSam } else { Kind::Sam };
    let base_config = sizes::config(sam, &base_shapes, Some(kind_name(base_kind)))?;
    let Some(extra) = extra else {
        let load = |name: &str| watch().and_then(|()| base.load(name));
        write(output, force, &names(&base_config), &metadata, dtype, load)?;
        return Ok(base_config);
    };
    let merged = Merged::new(&base_config, &base_shapes, &extra)?;
    let load = |name: &str| watch().and_then(|()| merged.load(name, &base, &extra));
    write(output, force, &names(&merged.config), &metadata, dtype, load)?;
    Ok(merged.config)
}

/// Writes `output` from `checkpoint`, one of LiteMedSAM or of MobileSAM, whose encoder is the same: the file's own
/// names and values, without the counters of its batch norms. Running means and variances stay in f32 whatever `dtype`
/// is. `watch` is called before each tensor; its error ends the conversion and leaves no file. Returns the model's
/// sizes.
///
/// # Errors
/// As [`convert`]; [`Error::File`] for a checkpoint with another encoder.
pub fn convert_tiny_vit(
    checkpoint: &Path,
    output: &Path,
    dtype: Dtype,
    force: bool,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<Config> {
    check_writable(output, force)?;
    let file = Checkpoint::open(checkpoint)?;
    let (expected, found) = ("LiteMedSAM or MobileSAM", "an encoder that is no TinyViT (--sam is for SAM and MedSAM)");
    if !has_tiny_vit(&file) {
        return Err(Error::file(checkpoint, "checkpoint", expected, found));
    }
    let mut metadata = BTreeMap::from([("producer".to_string(), format!("medsegx {}", crate::VERSION))]);
    provenance(&mut metadata, "litemedsam", &file)?;
    let shapes: Shapes = file.tensors().filter(|(name, _)| !name.ends_with(".num_batches_tracked")).collect();
    let config = sizes::config(checkpoint, &shapes, None)?;
    metadata.insert("kind".into(), kind_name(config.kind).into());
    let load = |name: &str| watch().and_then(|()| file.load(name));
    write(output, force, &names(&config), &metadata, dtype, load)?;
    Ok(config)
}

fn has_tiny_vit(file: &Checkpoint) -> bool {
    file.tensors().any(|(name, _)| name.starts_with(sizes::tiny_vit::STEM))
}

/// The two files are easily swapped, and the list of all missing tensors would not say so.
fn check_roles(base: &Checkpoint, extra: Option<&Checkpoint>) -> Result<()> {
    let has_adapters = |file: &Checkpoint| file.tensors().any(|(name, _)| name.contains(".adapter_"));
    let wrong = |file: &Checkpoint, expected, found| Err(Error::file(file.path(), "checkpoint", expected, found));
    match extra {
        _ if has_tiny_vit(base) => wrong(base, "SAM or MedSAM", "a TinyViT, which --litemedsam converts"),
        _ if has_adapters(base) => wrong(base, "SAM or MedSAM", "tensors of MedSegX, which are added to SAM's"),
        Some(extra) if !has_adapters(extra) => wrong(extra, "tensors of MedSegX", "none of its adapters"),
        _ => Ok(()),
    }
}

/// Records where a tensor comes from, without the folder: paths are nobody's business. Returns the SHA-256.
fn provenance(metadata: &mut BTreeMap<String, String>, role: &str, file: &Checkpoint) -> Result<String> {
    let name = file.path().file_name().unwrap_or_default().to_string_lossy();
    let sha256 = file.digest().compute(file.path())?;
    metadata.insert(format!("{role}.file"), name.into());
    metadata.insert(format!("{role}.sha256"), sha256.clone());
    Ok(sha256)
}

fn chosen_kind(kind: Option<Kind>, merged: bool, meta: bool) -> Result<Kind> {
    let wrong = |expected: &str, found: Option<Kind>| {
        let found = found.map_or("none", kind_name).to_string();
        Err(Error::Argument { name: "kind", expected: expected.to_string(), found })
    };
    match (merged, kind, meta) {
        (true, None | Some(Kind::MedSegX), _) => Ok(Kind::MedSegX),
        (true, other, _) => wrong("none, as the result is medsegx", other),
        (false, None | Some(Kind::Sam), true) => Ok(Kind::Sam),
        (false, other, true) => wrong("sam, as the file is Meta's own", other),
        (false, Some(kind @ (Kind::Sam | Kind::MedSam)), false) => Ok(kind),
        (false, other, false) => wrong("sam or medsam, which no tensor shows", other),
    }
}

/// Which file each tensor of the merged model comes from.
struct Merged {
    config: Config,
    from_extra: BTreeSet<String>,
    /// Grid side of SAM.
    base_grid: usize,
}

impl Merged {
    fn new(base: &Config, base_shapes: &Shapes, extra: &Checkpoint) -> Result<Self> {
        let from_extra: BTreeSet<String> = extra.tensors().map(|(name, _)| name.to_string()).collect();
        let renamed = |name: &str| merged_name(name, &from_extra);
        let mut shapes: BTreeMap<String, Vec<usize>> = base_shapes
            .iter()
            .filter(|(name, _)| !DROPPED.iter().any(|part| name.starts_with(part)))
            .map(|(name, shape)| (renamed(name), merged_shape(name, shape, base.grid())))
            .collect();
        shapes.extend(extra.tensors().map(|(name, shape)| (name.to_string(), shape.to_vec())));

        // What only SAM has and the merged model does not want goes too.
        let wanted: BTreeSet<String> = {
            let likely = sizes::likely(extra.path(), &borrowed(&shapes))?;
            names(&likely).into_iter().map(|(name, _)| name).collect()
        };
        shapes.retain(|name, _| wanted.contains(name) || from_extra.contains(name));
        let config = sizes::config(extra.path(), &borrowed(&shapes), Some(kind_name(Kind::MedSegX)))?;
        Ok(Self { config, from_extra, base_grid: base.grid() })
    }

    fn load(&self, name: &str, base: &Checkpoint, extra: &Checkpoint) -> Result<Vec<f32>> {
        if self.from_extra.contains(name) {
            return extra.load(name);
        }
        let values = base.load(&name.replace(".mlp.mlp.", ".mlp."))?;
        match resized_axes(name) {
            None => Ok(values),
            // A window's table has another length and stays as it is.
            Some(Resized::Positions) if !self.is_global(name) => Ok(values),
            Some(Resized::Positions) => resize(name, &values, 1, 2 * self.base_grid - 1, 2 * GRID - 1),
            Some(Resized::Grid) => {
                let rows = resize(name, &values, 1, self.base_grid, GRID)?;
                resize(name, &rows, GRID, self.base_grid, GRID)
            }
        }
    }

    fn is_global(&self, name: &str) -> bool {
        let block = name.strip_prefix("image_encoder.blocks.").and_then(|rest| rest.split('.').next()?.parse().ok());
        block.and_then(|block: usize| self.config.global.get(block).copied()).unwrap_or(false)
    }
}

fn borrowed(shapes: &BTreeMap<String, Vec<usize>>) -> Shapes<'_> {
    shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()
}

/// A block with adapters keeps its own MLP one level deeper.
fn merged_name(name: &str, extra: &BTreeSet<String>) -> String {
    let deeper = || {
        let (block, rest) = name.split_once(".mlp.lin")?;
        let adapters = format!("{block}.mlp.adapter_");
        let first = extra.range(adapters.clone()..).next()?;
        (block.starts_with("image_encoder.") && first.starts_with(&adapters))
            .then(|| format!("{block}.mlp.mlp.lin{rest}"))
    };
    deeper().unwrap_or_else(|| name.to_string())
}

/// Which tensors depend on the side of the token grid.
enum Resized {
    /// `pos_embed [1, grid, grid, D]`, both axes.
    Grid,
    /// `rel_pos_h`, `rel_pos_w` `[2 grid - 1, d]` of a block with global attention, the first axis.
    Positions,
}

fn resized_axes(name: &str) -> Option<Resized> {
    if name == "image_encoder.pos_embed" {
        Some(Resized::Grid)
    } else if name.ends_with(".rel_pos_h") || name.ends_with(".rel_pos_w") {
        Some(Resized::Positions)
    } else {
        None
    }
}

fn merged_shape(name: &str, shape: &[usize], base_grid: usize) -> Vec<usize> {
    match (resized_axes(name), shape) {
        (Some(Resized::Grid), [one, _, _, d]) => vec![*one, GRID, GRID, *d],
        (Some(Resized::Positions), [rows, d]) if *rows == 2 * base_grid - 1 => vec![2 * GRID - 1, *d],
        _ => shape.to_vec(),
    }
}

/// Linear interpolation of the middle axis of `[outer, from, inner]` to `to` places, as torch's `interpolate` with
/// `align_corners=False` and no antialiasing; bilinear is this on one axis and then the other. In f32 because torch
/// computes the places so, which differ from the exact ones by up to 1e-5 rows.
fn resize(name: &str, values: &[f32], outer: usize, from: usize, to: usize) -> Result<Vec<f32>> {
    let inner = values.len() / (outer * from);
    if inner == 0 || values.len() != outer * from * inner {
        return Err(wrong(name, format!("{outer} x {from} rows"), format!("{} values", values.len())));
    }
    let scale = from as f32 / to as f32;
    let mut resized = reserve(outer * to * inner, format_args!("tensor {}", shown(name)))?;
    for plane in values.chunks_exact(from * inner) {
        for place in 0..to {
            let source = (scale * (place as f32 + 0.5) - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            let (high, weight) = ((low + 1).min(from - 1), source - low as f32);
            let row = |row: usize| &plane[row * inner..(row + 1) * inner];
            let mix = |(&low, &high): (&f32, &f32)| low * (1.0 - weight) + high * weight;
            resized.extend(row(low).iter().zip(row(high)).map(mix));
        }
    }
    Ok(resized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        use Kind::{MedSam, MedSegX, Sam};
        for (kind, merged, meta, expected) in [
            (None, true, false, Some(MedSegX)),
            (Some(MedSegX), true, true, Some(MedSegX)),
            (Some(Sam), true, true, None),
            (None, false, true, Some(Sam)),
            (Some(Sam), false, true, Some(Sam)),
            (Some(MedSam), false, true, None),
            (None, false, false, None),
            (Some(MedSegX), false, false, None),
            (Some(Sam), false, false, Some(Sam)),
            (Some(MedSam), false, false, Some(MedSam)),
        ] {
            assert_eq!(chosen_kind(kind, merged, meta).ok(), expected, "{kind:?} {merged} {meta}");
        }
    }

    #[test]
    fn linear_interpolation_without_aligned_corners() {
        // A straight line stays one, but for the ends that have no neighbour.
        let line: Vec<f32> = (0..8).map(|x| x as f32).collect();
        assert_eq!(resize("x", &line, 1, 8, 4).unwrap(), [0.5, 2.5, 4.5, 6.5]);
        assert_eq!(resize("x", &line, 1, 4, 8).unwrap()[..4], [0.0, 1.0, 0.5, 1.5]);
        assert_eq!(resize("x", &line, 2, 4, 2).unwrap(), [0.5, 2.5, 4.5, 6.5]);
        assert_eq!(resize("x", &line, 1, 8, 8).unwrap(), line);
        assert!(resize("x", &line, 1, 3, 2).is_err());
    }
}
