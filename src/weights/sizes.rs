//! The configuration read off tensor shapes, and the comparison with the one table of tensors.

pub(super) mod tiny_vit;

use std::collections::BTreeMap;
use std::path::Path;

use super::foreign;
use super::names::names;
use super::quote::shown;
use super::shapes::{MAX_BLOCKS, Reader, Shapes, most_common};
use crate::model::{Adapters, Config, Kind};
use crate::{Error, Result};

/// As [`MAX_BLOCKS`].
const MAX_EXPERTS: usize = 256;
/// No axis of a real model is longer than a few thousand; with this limit no product of three overflows.
const MAX_AXIS: usize = 1 << 20;
const MAX_UPSCALINGS: usize = 4;

/// An error names at most this many tensors.
const MAX_PROBLEMS: usize = 1000;

/// And of a network that is known to be another one this many.
const SHOWN_OF_ANOTHER: usize = 3;

/// Heads of the decoder's attention, which no shape shows.
const DECODER_HEADS: usize = 8;

/// The configuration of the model with exactly these tensors. `kind` is what the metadata say; a 1024 px model needs
/// it.
///
/// # Errors
/// [`Error::Weights`] with every missing, unexpected and misshapen tensor.
pub(crate) fn config(path: &Path, shapes: &Shapes, kind: Option<&str>) -> Result<Config> {
    let fail = |problems| Err(Error::Weights { path: path.to_path_buf(), problems });
    let parts = ["image_encoder.", "prompt_encoder.", "mask_decoder."];
    if !shapes.keys().any(|name| parts.iter().any(|part| name.starts_with(part))) {
        let none = "no tensor of image_encoder, prompt_encoder or mask_decoder in it";
        return fail(vec![foreign::network(shapes).unwrap_or(none).into()]);
    }
    let mut config = likely(path, shapes)?;
    let mut problems = unsupported(&config);
    match chosen_kind(&config, kind) {
        Ok(kind) => config.kind = kind,
        Err(problem) => problems.push(problem),
    }
    problems.extend(differences(shapes, &config));
    if let (Some(network), false) = (foreign::network(shapes), problems.is_empty()) {
        let more = problems.len().saturating_sub(SHOWN_OF_ANOTHER);
        problems.truncate(SHOWN_OF_ANOTHER);
        problems.insert(0, network.into());
        problems.extend((more > 0).then(|| format!("and {more} more")));
    }
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    if problems.is_empty() { Ok(config) } else { fail(problems) }
}

/// The name of a kind in a file's metadata.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::MedSegX => "medsegx",
        Kind::Sam => "sam",
        Kind::MedSam => "medsam",
        Kind::LiteMedSam => "litemedsam",
    }
}

fn chosen_kind(config: &Config, kind: Option<&str>) -> std::result::Result<Kind, String> {
    let all = [Kind::MedSegX, Kind::Sam, Kind::MedSam, Kind::LiteMedSam];
    let known = all.into_iter().find(|&k| Some(kind_name(k)) == kind);
    if config.tiny_vit.is_some() {
        return tiny_vit::chosen_kind(config, known, kind);
    }
    match (config.image_size, known, kind) {
        (256, None | Some(Kind::MedSegX), _) => Ok(Kind::MedSegX),
        (256, Some(_), _) => Err("metadata kind: got a kind of 1024 px; needs medsegx at 256 px".into()),
        (_, Some(kind @ (Kind::Sam | Kind::MedSam)), _) => Ok(kind),
        (_, Some(Kind::MedSegX | Kind::LiteMedSam), _) => {
            let found = kind.unwrap_or_default();
            Err(format!("metadata kind: got {found}; needs sam or medsam at 1024 px"))
        }
        (_, None, Some(other)) => Err(format!("metadata kind: got {}; needs sam or medsam", shown(other))),
        (_, None, None) => {
            Err("metadata kind: got none; needs sam or medsam, which no shape shows (medsegx convert sets it)".into())
        }
    }
}

/// What no backend computes, whatever the tensors.
fn unsupported(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut require = |fine: bool, what: &str, expected: String, found: usize| {
        if !fine {
            problems.push(format!("{what}: got {found}; needs {expected}"));
        }
    };
    let (size, width, p) = (config.image_size, config.width, config.prompt_width);
    require(p.is_multiple_of(2 * DECODER_HEADS), "prompt width", format!("a multiple of {}", 2 * DECODER_HEADS), p);
    if let Some(tiny_vit) = &config.tiny_vit {
        tiny_vit::require(config, tiny_vit, &mut require);
        return problems;
    }
    require(config.patch == 16, "patch", "16 pixels".into(), config.patch);
    require(size == 256 || size == 1024, "image size", "256 or 1024 pixels".into(), size);
    require(
        width == config.heads * config.head_dim,
        "width",
        format!("a multiple of head dim {}", config.head_dim),
        width,
    );
    require(config.window <= config.grid(), "window", format!("at most {} tokens", config.grid()), config.window);
    if config.adapters.is_some() {
        require(size == 256, "image size of a model with adapters", "256 pixels".into(), size);
    }
    problems
}

fn differences(shapes: &Shapes, config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let expected: BTreeMap<String, Vec<usize>> = names(config).into_iter().collect();
    for (name, shape) in &expected {
        match shapes.get(name.as_str()) {
            None => problems.push(format!("{name}: missing; needs {shape:?}")),
            Some(found) if found != shape => problems.push(format!("{name}: got {found:?}; needs {shape:?}")),
            Some(_) => {}
        }
    }
    for (name, shape) in shapes {
        if !expected.contains_key(*name) {
            problems.push(format!("{}: got {shape:?}; the model has no such tensor", shown(name)));
        }
    }
    problems
}

/// The configuration that most tensors speak for. What is wrong shows when the tensors are compared with the table that
/// it gives.
///
/// # Errors
/// [`Error::Weights`] with every tensor that has an axis beyond all reason.
pub(crate) fn likely(path: &Path, shapes: &Shapes) -> Result<Config> {
    let endless = shapes.iter().filter(|(_, shape)| shape.iter().any(|axis| !(1..=MAX_AXIS).contains(axis)));
    let problems: Vec<String> = endless
        .map(|(name, shape)| format!("{}: got {shape:?}; needs axes from 1 to {MAX_AXIS}", shown(name)))
        .take(MAX_PROBLEMS)
        .collect();
    if problems.is_empty() {
        Ok(most_likely(shapes))
    } else {
        Err(Error::Weights { path: path.to_path_buf(), problems })
    }
}

fn most_likely(shapes: &Shapes) -> Config {
    let read = Reader { shapes };
    let config = with_vit(&read);
    if read.any(tiny_vit::STEM) { tiny_vit::likely(&read, config) } else { config }
}

fn with_vit(read: &Reader) -> Config {
    let depth = read.count("image_encoder.blocks.", MAX_BLOCKS);
    let block = |i: usize, rest: &str, rank: usize, axis: usize| {
        read.axis(&format!("image_encoder.blocks.{i}.{rest}"), rank, axis)
    };
    let blocks =
        |rest: &'static str, rank: usize, axis: usize| (0..depth).filter_map(move |i| block(i, rest, rank, axis));

    let patch = read.axis("image_encoder.patch_embed.proj.weight", 4, 2).unwrap_or(16);
    let grid = read.axis("image_encoder.pos_embed", 4, 1).unwrap_or(16);
    let width = most_common(
        [read.axis("image_encoder.pos_embed", 4, 3), read.axis("image_encoder.patch_embed.proj.bias", 1, 0)]
            .into_iter()
            .flatten()
            .chain(blocks("norm1.weight", 1, 0)),
    )
    .unwrap_or(768);
    let head_dim = most_common(blocks("attn.rel_pos_h", 2, 1)).unwrap_or(64);
    let global: Vec<bool> = (0..depth).map(|i| block(i, "attn.rel_pos_h", 2, 0) == Some(2 * grid - 1)).collect();
    let windows = (0..depth).filter(|&i| !global[i]).filter_map(|i| block(i, "attn.rel_pos_h", 2, 0));
    let window = most_common(windows).map_or(14, |rows| rows.div_ceil(2));
    let prompt_width = most_common(
        [
            "prompt_encoder.no_mask_embed.weight",
            "prompt_encoder.not_a_point_embed.weight",
            "mask_decoder.iou_token.weight",
        ]
        .into_iter()
        .filter_map(|name| read.axis(name, 2, 1)),
    )
    .unwrap_or(256);
    Config {
        kind: Kind::MedSegX,
        image_size: grid * patch,
        patch,
        width,
        heads: width / head_dim,
        head_dim,
        mlp: most_common(blocks("mlp.lin1.bias", 1, 0).chain(blocks("mlp.mlp.lin1.bias", 1, 0))).unwrap_or(4 * width),
        window,
        global,
        adapters: adapters(read, depth),
        tiny_vit: None,
        prompt_width,
        decoder_mlp: decoder_mlp(read).unwrap_or(2048),
        iou_hidden: iou_hidden(read).unwrap_or(256),
        upscaling: upscaling(read, grid, prompt_width),
    }
}

fn decoder_mlp(read: &Reader) -> Option<usize> {
    let layers = ["0", "1"].map(|layer| format!("mask_decoder.transformer.layers.{layer}.mlp.lin1.bias"));
    let weight = read.axis("mask_decoder.transformer.layers.0.mlp.lin2.weight", 2, 1);
    most_common(layers.iter().filter_map(|name| read.axis(name, 1, 0)).chain(weight))
}

fn iou_hidden(read: &Reader) -> Option<usize> {
    let layers = ["0", "1"].map(|layer| format!("mask_decoder.iou_prediction_head.layers.{layer}.bias"));
    let weight = read.axis("mask_decoder.iou_prediction_head.layers.2.weight", 2, 1);
    most_common(layers.iter().filter_map(|name| read.axis(name, 1, 0)).chain(weight))
}

fn adapters(read: &Reader, depth: usize) -> Option<Adapters> {
    let path = |block: usize| format!("image_encoder.blocks.{block}.mlp.");
    let blocks: Vec<bool> =
        (0..depth).map(|i| ["adapter_", "mlp."].iter().any(|part| read.any(&format!("{}{part}", path(i))))).collect();
    let with: Vec<String> = (0..depth).filter(|&i| blocks[i]).map(path).collect();
    if with.is_empty() {
        return None;
    }
    let over = |rest: &'static str, rank: usize, axis: usize| {
        most_common(with.iter().filter_map(move |path| read.axis(&format!("{path}{rest}"), rank, axis)))
    };
    let rows = |level: usize| read.axis(&format!("image_encoder.organ_embed.{level}.weight"), 2, 0).unwrap_or(1);
    let experts = with.iter().map(|path| read.count(&format!("{path}adapter_down."), MAX_EXPERTS));
    Some(Adapters {
        experts: over("adapter_gate.bias", 1, 0).filter(|&e| e <= MAX_EXPERTS).or(most_common(experts)).unwrap_or(4),
        bottleneck: over("adapter_down.0.bias", 1, 0).unwrap_or(16),
        embedding: over("adapter_input_embed.bias", 1, 0).unwrap_or(16),
        blocks,
        modalities: read.axis("image_encoder.modal_embed.weight", 2, 0).unwrap_or(10),
        organ_rows: std::array::from_fn(rows),
    })
}

/// Output channels of the transposed convolutions, which have every third name.
fn upscaling(read: &Reader, grid: usize, prompt_width: usize) -> Vec<usize> {
    let name = |step: usize| format!("mask_decoder.output_upscaling.{}.", 3 * step);
    let steps =
        (0..MAX_UPSCALINGS).rev().find(|&step| read.any(&name(step))).map_or(if grid == 16 { 4 } else { 2 }, |s| s + 1);
    let channels = |step: usize| {
        let weight = read.axis(&format!("{}weight", name(step)), 4, 1);
        let bias = read.axis(&format!("{}bias", name(step)), 1, 0);
        let next = read.axis(&format!("{}weight", name(step + 1)), 4, 0);
        let head =
            (step + 1 == steps).then(|| read.axis("mask_decoder.output_hypernetworks_mlps.0.layers.2.bias", 1, 0));
        most_common([weight, bias, next, head.flatten()].into_iter().flatten())
            .unwrap_or((prompt_width >> (step + 2)).max(1))
    };
    (0..steps).map(channels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;

    fn variants() -> Vec<Config> {
        let mut all: Vec<Config> =
            Preset::ALL.into_iter().flat_map(|preset| [preset.medsegx(), preset.sam()]).collect();
        all.extend(all.clone().into_iter().filter(|c| c.kind == Kind::Sam).map(|c| Config { kind: Kind::MedSam, ..c }));
        let mut odd = Preset::Tiny.medsegx();
        (odd.width, odd.heads, odd.head_dim, odd.mlp) = (120, 5, 24, 77);
        odd.global = vec![true, false, false, true, false, true];
        (odd.window, odd.prompt_width, odd.decoder_mlp, odd.iou_hidden) = (7, 48, 33, 9);
        odd.upscaling = vec![11, 7];
        let adapters = odd.adapters.as_mut().unwrap();
        (adapters.experts, adapters.bottleneck, adapters.embedding) = (6, 8, 24);
        adapters.blocks = vec![false, true, false, true, false, false];
        (adapters.modalities, adapters.organ_rows) = (3, [1, 2, 3, 4, 5]);
        all.push(Config { adapters: None, ..odd.clone() });
        all.push(Config { global: vec![true; 6], window: 14, ..odd.clone() });
        all.push(odd);
        all
    }

    fn shapes(table: &[(String, Vec<usize>)]) -> Shapes<'_> {
        table.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()
    }

    fn problems(shapes: &Shapes) -> Vec<String> {
        match config(Path::new("w"), shapes, None) {
            Err(Error::Weights { problems, .. }) => problems,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_configuration_is_read_off_the_shapes() {
        for expected in variants() {
            let table = names(&expected);
            assert_eq!(config(Path::new("w"), &shapes(&table), Some(kind_name(expected.kind))).unwrap(), expected);
        }
    }

    #[test]
    fn one_missing_tensor_is_the_only_one_named() {
        let table = names(&Preset::Tiny.medsegx());
        for (missing, _) in &table {
            let mut rest = shapes(&table);
            rest.remove(missing.as_str());
            let found = problems(&rest);
            // A lone missing tensor may change what its like would say, so the one must be named, and few others.
            assert!(found.iter().any(|problem| problem.starts_with(missing)), "{missing}: {found:?}");
            assert!(found.len() <= 3, "{missing}: {found:?}");
        }
    }

    #[test]
    fn one_misshapen_tensor_is_named() {
        let table = names(&Preset::Tiny.medsegx());
        for (misshapen, shape) in &table {
            let rows_are_free = misshapen.contains("modal_embed") || misshapen.contains("organ_embed");
            for axis in usize::from(rows_are_free)..shape.len() {
                let (mut wrong, mut all) = (shape.clone(), shapes(&table));
                wrong[axis] += 2;
                all.insert(misshapen, &wrong);
                let found = problems(&all);
                assert!(found.iter().any(|problem| problem.starts_with(misshapen)), "{misshapen} {axis}: {found:?}");
            }
        }
    }

    #[test]
    fn all_kinds_of_problems_stand_in_one_error() {
        let table = names(&Preset::Tiny.medsegx());
        let mut all = shapes(&table);
        all.remove("prompt_encoder.no_mask_embed.weight");
        all.insert("image_encoder.blocks.2.norm1.bias", &[127]);
        all.insert("image_encoder.blocks.2.norm3.bias", &[128]);
        assert_eq!(
            problems(&all),
            [
                "image_encoder.blocks.2.norm1.bias: got [127]; needs [128]",
                "prompt_encoder.no_mask_embed.weight: missing; needs [1, 256]",
                "image_encoder.blocks.2.norm3.bias: got [128]; the model has no such tensor",
            ]
        );
    }

    #[test]
    fn sizes_without_sense_are_refused() {
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 5] = [
            ("patch", |c| c.patch = 8),
            ("image size", |c| c.image_size = 512),
            ("width", |c| c.head_dim = 60),
            ("prompt width", |c| c.prompt_width = 40),
            ("window", |c| c.window = 17),
        ];
        for (what, change) in cases {
            let mut config = Preset::Tiny.medsegx();
            change(&mut config);
            let found = problems(&shapes(&names(&config)));
            assert!(found.iter().any(|problem| problem.starts_with(what)), "{what}: {found:?}");
        }
    }

    #[test]
    fn axes_that_would_overflow_are_refused() {
        let table = names(&Preset::Tiny.medsegx());
        let mut all = shapes(&table);
        all.insert("image_encoder.pos_embed", &[1, usize::MAX, usize::MAX, usize::MAX]);
        all.insert("image_encoder.neck.1.bias", &[0]);
        assert_eq!(problems(&all).len(), 2);
    }
}
