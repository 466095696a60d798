//! The one table of every tensor of a model: checkpoint paths and shapes.

use crate::model::{Adapters, Config, Stage, TinyVit};

/// Mask tokens of the decoder: one for a single mask, three for the candidates.
pub const MASK_TOKENS: usize = 4;

/// Levels of the organ tree that the organ gate weighs.
const ORGAN_LEVELS: usize = 4;

/// Vectors that the expert gate sees side by side: organ, task, modality, input.
const GATE_INPUTS: usize = 4;

/// Channels of the two strided convolutions on a mask prompt; they do not scale with `P`.
const MASK_DOWNSCALING: [usize; 2] = [4, 16];

/// Every tensor of the model that `config` describes, in the order of the data flow: name and row-major shape.
/// Linear weights are `[out, in]`, convolutions `[out, in, kh, kw]`, transposed convolutions `[in, out, 2, 2]`.
pub fn names(config: &Config) -> Vec<(String, Vec<usize>)> {
    let mut table = Table::default();
    image_encoder(&mut table, config);
    prompt_encoder(&mut table, config);
    mask_decoder(&mut table, config);
    table.0
}

#[derive(Default)]
struct Table(Vec<(String, Vec<usize>)>);

impl Table {
    fn push(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// A weight of `shape` and a bias of `bias` values.
    fn with_bias(&mut self, name: &str, shape: &[usize], bias: usize) {
        self.push(format!("{name}.weight"), shape);
        self.push(format!("{name}.bias"), &[bias]);
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.with_bias(name, &[output, input], output);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.with_bias(name, &[channels], channels);
    }

    /// A convolution without a bias and the batch norm behind it.
    fn convolution(&mut self, path: &str, shape: &[usize]) {
        self.push(format!("{path}.c.weight"), shape);
        for name in ["weight", "bias", "running_mean", "running_var"] {
            self.push(format!("{path}.bn.{name}"), &shape[..1]);
        }
    }

    fn embedding(&mut self, name: &str, rows: usize, width: usize) {
        self.push(format!("{name}.weight"), &[rows, width]);
    }
}

fn image_encoder(table: &mut Table, config: &Config) {
    match &config.tiny_vit {
        Some(tiny_vit) => self::tiny_vit(table, tiny_vit),
        None => vit(table, config),
    }
    let (d, p) = (config.width, config.prompt_width);
    table.push("image_encoder.neck.0.weight", &[p, d, 1, 1]);
    table.norm("image_encoder.neck.1", p);
    table.push("image_encoder.neck.2.weight", &[p, p, 3, 3]);
    table.norm("image_encoder.neck.3", p);
}

fn vit(table: &mut Table, config: &Config) {
    let (d, grid) = (config.width, config.grid());
    table.with_bias("image_encoder.patch_embed.proj", &[d, 3, config.patch, config.patch], d);
    table.push("image_encoder.pos_embed", &[1, grid, grid, d]);
    if let Some(adapters) = &config.adapters {
        table.embedding("image_encoder.modal_embed", adapters.modalities, adapters.embedding);
        for (level, &rows) in adapters.organ_rows.iter().enumerate() {
            table.embedding(&format!("image_encoder.organ_embed.{level}"), rows, adapters.embedding);
        }
    }
    for block in 0..config.depth() {
        encoder_block(table, config, block);
    }
}

fn tiny_vit(table: &mut Table, tiny: &TinyVit) {
    const PATH: &str = "image_encoder";
    let (k, width) = (tiny.stem_kernel, tiny.stages[0].width);
    table.convolution(&format!("{PATH}.patch_embed.seq.0"), &[tiny.stem_width, 3, k, k]);
    table.convolution(&format!("{PATH}.patch_embed.seq.2"), &[width, tiny.stem_width, k, k]);
    for (index, stage) in tiny.stages.iter().enumerate() {
        for block in 0..stage.depth {
            let path = format!("{PATH}.layers.{index}.blocks.{block}");
            match index {
                0 => bottleneck(table, &path, [width, tiny.expanded, width]),
                _ => tiny_vit_block(table, stage, &path),
            }
        }
        if let Some(next) = tiny.stages.get(index + 1) {
            bottleneck(table, &format!("{PATH}.layers.{index}.downsample"), [stage.width, next.width, next.width]);
        }
    }
    if let (Some(classes), Some(last)) = (tiny.classes, tiny.stages.last()) {
        table.norm(&format!("{PATH}.norm_head"), last.width);
        table.linear(&format!("{PATH}.head"), last.width, classes);
    }
}

fn bottleneck(table: &mut Table, path: &str, [input, hidden, output]: [usize; 3]) {
    table.convolution(&format!("{path}.conv1"), &[hidden, input, 1, 1]);
    table.convolution(&format!("{path}.conv2"), &[hidden, 1, 3, 3]);
    table.convolution(&format!("{path}.conv3"), &[output, hidden, 1, 1]);
}

fn tiny_vit_block(table: &mut Table, stage: &Stage, path: &str) {
    let d = stage.width;
    table.norm(&format!("{path}.attn.norm"), d);
    table.linear(&format!("{path}.attn.qkv"), d, 3 * d);
    table.linear(&format!("{path}.attn.proj"), d, d);
    table.push(format!("{path}.attn.attention_biases"), &[stage.heads, stage.window * stage.window]);
    table.convolution(&format!("{path}.local_conv"), &[d, 1, 3, 3]);
    table.norm(&format!("{path}.mlp.norm"), d);
    table.linear(&format!("{path}.mlp.fc1"), d, stage.mlp);
    table.linear(&format!("{path}.mlp.fc2"), stage.mlp, d);
}

fn encoder_block(table: &mut Table, config: &Config, block: usize) {
    let (d, path) = (config.width, format!("image_encoder.blocks.{block}"));
    let side = if config.global[block] { config.grid() } else { config.window };
    table.norm(&format!("{path}.norm1"), d);
    table.linear(&format!("{path}.attn.qkv"), d, 3 * d);
    table.push(format!("{path}.attn.rel_pos_h"), &[2 * side - 1, config.head_dim]);
    table.push(format!("{path}.attn.rel_pos_w"), &[2 * side - 1, config.head_dim]);
    table.linear(&format!("{path}.attn.proj"), d, d);
    table.norm(&format!("{path}.norm2"), d);
    let mlp = match &config.adapters {
        Some(adapters) if adapters.blocks[block] => {
            mixture(table, adapters, &format!("{path}.mlp"), d);
            format!("{path}.mlp.mlp")
        }
        _ => format!("{path}.mlp"),
    };
    table.linear(&format!("{mlp}.lin1"), d, config.mlp);
    table.linear(&format!("{mlp}.lin2"), config.mlp, d);
}

fn mixture(table: &mut Table, adapters: &Adapters, path: &str, d: usize) {
    let (experts, r, e) = (adapters.experts, adapters.bottleneck, adapters.embedding);
    table.linear(&format!("{path}.adapter_organ_gate"), ORGAN_LEVELS * e, ORGAN_LEVELS);
    table.linear(&format!("{path}.adapter_input_embed"), d, e);
    table.linear(&format!("{path}.adapter_gate"), GATE_INPUTS * e, experts);
    for expert in 0..experts {
        table.linear(&format!("{path}.adapter_down.{expert}"), d, r);
        table.linear(&format!("{path}.adapter_up.{expert}"), r, d);
    }
}

fn prompt_encoder(table: &mut Table, config: &Config) {
    let (p, [first, second]) = (config.prompt_width, MASK_DOWNSCALING);
    table.push("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", &[2, p / 2]);
    for kind in 0..4 {
        table.embedding(&format!("prompt_encoder.point_embeddings.{kind}"), 1, p);
    }
    table.embedding("prompt_encoder.not_a_point_embed", 1, p);
    table.embedding("prompt_encoder.no_mask_embed", 1, p);
    table.with_bias("prompt_encoder.mask_downscaling.0", &[first, 1, 2, 2], first);
    table.norm("prompt_encoder.mask_downscaling.1", first);
    table.with_bias("prompt_encoder.mask_downscaling.3", &[second, first, 2, 2], second);
    table.norm("prompt_encoder.mask_downscaling.4", second);
    table.with_bias("prompt_encoder.mask_downscaling.6", &[p, second, 1, 1], p);
}

fn mask_decoder(table: &mut Table, config: &Config) {
    let p = config.prompt_width;
    table.embedding("mask_decoder.iou_token", 1, p);
    table.embedding("mask_decoder.mask_tokens", MASK_TOKENS, p);
    for layer in 0..2 {
        decoder_layer(table, config, &format!("mask_decoder.transformer.layers.{layer}"));
    }
    token_attention(table, "mask_decoder.transformer.final_attn_token_to_image", p, p / 2);
    table.norm("mask_decoder.transformer.norm_final_attn", p);

    let (mut input, last) = (p, config.upscaling.len());
    for (step, &output) in config.upscaling.iter().enumerate() {
        // Each step is a transposed convolution, a LayerNorm and a GELU; the last has no LayerNorm.
        table.with_bias(&format!("mask_decoder.output_upscaling.{}", 3 * step), &[input, output, 2, 2], output);
        if step + 1 < last {
            table.norm(&format!("mask_decoder.output_upscaling.{}", 3 * step + 1), output);
        }
        input = output;
    }
    for mask in 0..MASK_TOKENS {
        head(table, &format!("mask_decoder.output_hypernetworks_mlps.{mask}"), p, p, input);
    }
    head(table, "mask_decoder.iou_prediction_head", p, config.iou_hidden, MASK_TOKENS);
}

fn decoder_layer(table: &mut Table, config: &Config, path: &str) {
    let p = config.prompt_width;
    token_attention(table, &format!("{path}.self_attn"), p, p);
    table.norm(&format!("{path}.norm1"), p);
    token_attention(table, &format!("{path}.cross_attn_token_to_image"), p, p / 2);
    table.norm(&format!("{path}.norm2"), p);
    table.linear(&format!("{path}.mlp.lin1"), p, config.decoder_mlp);
    table.linear(&format!("{path}.mlp.lin2"), config.decoder_mlp, p);
    table.norm(&format!("{path}.norm3"), p);
    table.norm(&format!("{path}.norm4"), p);
    token_attention(table, &format!("{path}.cross_attn_image_to_token"), p, p / 2);
}

fn token_attention(table: &mut Table, path: &str, p: usize, inner: usize) {
    for projection in ["q_proj", "k_proj", "v_proj"] {
        table.linear(&format!("{path}.{projection}"), p, inner);
    }
    table.linear(&format!("{path}.out_proj"), inner, p);
}

/// Three linear layers.
fn head(table: &mut Table, path: &str, input: usize, hidden: usize, output: usize) {
    table.linear(&format!("{path}.layers.0"), input, hidden);
    table.linear(&format!("{path}.layers.1"), hidden, hidden);
    table.linear(&format!("{path}.layers.2"), hidden, output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;

    fn parameters(config: &Config) -> usize {
        names(config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn published_sizes() {
        // Meta's sam_vit_b has 314 tensors and 93,735,728 parameters, the position matrix included.
        assert_eq!(names(&Preset::VitB.sam()).len(), 314);
        assert_eq!(parameters(&Preset::VitB.sam()), 93_735_728);
    }

    #[test]
    fn no_name_twice() {
        for preset in Preset::ALL {
            let table = names(&preset.medsegx());
            let distinct: std::collections::BTreeSet<_> = table.iter().map(|(name, _)| name).collect();
            assert_eq!(distinct.len(), table.len());
        }
    }
}
