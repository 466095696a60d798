//! Sizes of a TinyViT, read off its shapes.

use crate::model::{Config, Kind, Stage, TinyVit};
use crate::weights::shapes::{MAX_BLOCKS, Reader, most_common};

/// What the names of a TinyViT's stem begin with; no other encoder has one.
pub(crate) const STEM: &str = "image_encoder.patch_embed.seq.";

/// Beyond it a number of a stage is not believed. Published models have 4.
const MAX_STAGES: usize = 8;

/// What most tensors say of the encoder; the rest is that of `config`.
pub(super) fn likely(read: &Reader, config: Config) -> Config {
    const PATH: &str = "image_encoder";
    let stem_kernel = read.axis(&format!("{STEM}0.c.weight"), 4, 2).unwrap_or(1);
    let bottleneck = |name: &str| read.axis(&format!("{PATH}.layers.0.blocks.0.{name}.c.weight"), 4, 0);
    let tiny_vit = TinyVit {
        stem_kernel,
        stem_width: read.axis(&format!("{STEM}0.c.weight"), 4, 0).unwrap_or(32),
        expanded: most_common(["conv1", "conv2"].into_iter().filter_map(bottleneck)).unwrap_or(256),
        stages: (0..read.count(&format!("{PATH}.layers."), MAX_STAGES).max(1))
            .map(|index| stage(read, index))
            .collect(),
        classes: read.axis(&format!("{PATH}.head.bias"), 1, 0),
    };
    let image_size = tiny_vit.image_size();
    let last = tiny_vit.stages.len() - 1;
    let Stage { width, heads, window, mlp, .. } = tiny_vit.stages[last];
    Config {
        image_size,
        patch: image_size / tiny_vit.grid(image_size, last).max(1),
        width,
        heads,
        head_dim: width / heads.max(1),
        mlp,
        window,
        global: vec![false; tiny_vit.stages.iter().map(|stage| stage.depth).sum()],
        tiny_vit: Some(tiny_vit),
        adapters: None,
        ..config
    }
}

fn stage(read: &Reader, index: usize) -> Stage {
    let path = format!("image_encoder.layers.{index}.blocks.");
    let depth = read.count(&path, MAX_BLOCKS);
    let over = |rest: &'static str, rank: usize, axis: usize| {
        most_common((0..depth).filter_map(|block| read.axis(&format!("{path}{block}.{rest}"), rank, axis)))
    };
    if index == 0 {
        let width = read.axis(&format!("{STEM}2.c.weight"), 4, 0).or(over("conv3.c.weight", 4, 0)).unwrap_or(64);
        return Stage { width, depth, heads: 0, window: 0, mlp: 0 };
    }
    let width = over("attn.norm.weight", 1, 0).or(over("mlp.fc2.bias", 1, 0)).unwrap_or(64);
    Stage {
        width,
        depth,
        heads: over("attn.attention_biases", 2, 0).unwrap_or(width.div_ceil(32)),
        window: over("attn.attention_biases", 2, 1).unwrap_or(49).isqrt(),
        mlp: over("mlp.fc1.bias", 1, 0).unwrap_or(4 * width),
    }
}

/// The stem says for which pictures it was made, and with it the kind.
pub(super) fn chosen_kind(config: &Config, known: Option<Kind>, said: Option<&str>) -> Result<Kind, String> {
    let (allowed, names): (&[Kind], _) = match config.image_size {
        256 => (&[Kind::LiteMedSam], "litemedsam"),
        _ => (&[Kind::Sam, Kind::MedSam], "sam or medsam"),
    };
    match (known, said) {
        (None, None) => Ok(allowed[0]),
        (Some(kind), _) if allowed.contains(&kind) => Ok(kind),
        (_, said) => {
            let (size, found) = (config.image_size, said.unwrap_or_default());
            Err(format!("metadata kind: got {}; needs {names} of a TinyViT at {size} px", super::shown(found)))
        }
    }
}

/// What the operations ask of the sizes.
pub(super) fn require(config: &Config, tiny: &TinyVit, require: &mut impl FnMut(bool, &str, String, usize)) {
    let kernel = tiny.stem_kernel;
    require(kernel == 1 || kernel == 3, "kernel of the stem", "1 or 3 pixels".into(), kernel);
    require(tiny.stages.len() > 1, "stages", "at least 2".into(), tiny.stages.len());
    for (index, stage) in tiny.stages.iter().enumerate().skip(1) {
        let (width, heads, grid) = (stage.width, stage.heads, tiny.grid(config.image_size, index));
        require(
            width.is_multiple_of(heads),
            &format!("width of stage {index}"),
            format!("a multiple of {heads}"),
            width,
        );
        let window = &format!("window of stage {index}");
        require(stage.window <= grid, window, format!("at most {grid} tokens"), stage.window);
    }
}
