//! `image_encoder`: pictures to embeddings (MODEL.md section 3).

use super::config::Config;
use super::conmoae;
use super::layers::{linear, norm, residual};
use super::tiny_vit;
use crate::graph::op::{Attention, Conv3x3, LayerNorm, PatchEmbed};
use crate::graph::{Bias, Element, Graph, Role, ValueId};
use crate::params::Recipe;

/// LayerNorm and LayerNorm2d of the encoder.
const EPS: f32 = 1e-6;

/// Names of the values that the host writes and reads.
pub mod io {
    /// u8 `[B, S, S, 3]`.
    pub const PIXELS: &str = "pixels";
    /// f32 `[B, 8]`: three scales, three offsets, valid height, valid width.
    pub const SCALING: &str = "scaling";
    /// i32 `[B, 5]`: modality, three organ indices, task. Only models with adapters have it.
    pub const CONTEXT: &str = "context";
    /// f32 `[B, N, P]`.
    pub const EMBEDDING: &str = "embedding";
}

/// The encoder's graph for `batch` slices.
pub fn graph(config: &Config, batch: usize) -> Graph {
    let mut g = Graph::new(batch);
    if let Some(tiny_vit) = &config.tiny_vit {
        let x = tiny_vit::blocks(&mut g, config, tiny_vit);
        neck(&mut g, config, x);
        return g;
    }
    let context = config.adapters.is_some().then(|| g.value(io::CONTEXT, &[5], Element::I32, Role::Input));
    let mut x = patch_embed(&mut g, config);
    for block in 0..config.depth() {
        x = attention(&mut g, config, block, x);
        x = conmoae::mlp(&mut g, config, block, x, context, EPS);
    }
    neck(&mut g, config, x);
    g
}

/// Pictures to the tokens that enter the first block.
pub(crate) fn patches(config: &Config, batch: usize) -> (Graph, ValueId) {
    let mut g = Graph::new(batch);
    let out = patch_embed(&mut g, config);
    g.values[out.0].role = Role::Output;
    (g, out)
}

fn patch_embed(g: &mut Graph, c: &Config) -> ValueId {
    const PATH: &str = "image_encoder.patch_embed";
    let size = c.image_size;
    let pixels = g.value(io::PIXELS, &[size, size, 3], Element::U8, Role::Input);
    let scaling = g.value(io::SCALING, &[8], Element::F32, Role::Input);
    let proj = format!("{PATH}.proj.weight");
    let weight = g.param(proj.clone(), &[c.width, c.patch, c.patch, 3], Recipe::ChannelsLast(proj));
    let position = "image_encoder.pos_embed".to_string();
    let recipe = Recipe::PatchPosition { position, bias: format!("{PATH}.proj.bias") };
    let token_bias = g.param("image_encoder.pos_embed", &[c.tokens(), c.width], recipe);
    let out = g.activation(PATH, &[c.tokens(), c.width]);
    g.push(PATH, PatchEmbed { pixels, scaling, weight, token_bias, out });
    out
}

/// `x + proj(attention(qkv(norm1(x))))`.
fn attention(g: &mut Graph, c: &Config, block: usize, x: ValueId) -> ValueId {
    let path = format!("image_encoder.blocks.{block}");
    let (tokens, width) = (c.tokens(), c.width);
    let norm1 = norm(g, &format!("{path}.norm1"), width, EPS);
    let normed = g.activation(format!("{path}.norm1"), &[tokens, width]);
    g.push(format!("{path}.norm1"), LayerNorm { input: x, norm: norm1, out: normed, mean: None });

    let qkv_weight = g.tensor(format!("{path}.attn.qkv.weight"), &[3 * width, width]);
    let qkv_bias = g.tensor(format!("{path}.attn.qkv.bias"), &[3 * width]);
    let qkv = g.activation(format!("{path}.attn.qkv"), &[tokens, 3 * width]);
    g.push(format!("{path}.attn.qkv"), linear(normed, qkv_weight, Bias::Row(qkv_bias), qkv));

    let global = c.global[block];
    let side = if global { c.grid() } else { c.window };
    let rel_pos_h = g.tensor(format!("{path}.attn.rel_pos_h"), &[2 * side - 1, c.head_dim]);
    let rel_pos_w = g.tensor(format!("{path}.attn.rel_pos_w"), &[2 * side - 1, c.head_dim]);
    // The bias once more, by a name of its own: a backend may keep what stands for padded keys in another form.
    let bias = Recipe::Tensor(format!("{path}.attn.qkv.bias"));
    let qkv_bias = g.param(format!("{path}.attn.padding"), &[3 * width], bias);
    let attended = g.activation(format!("{path}.attn.heads"), &[tokens, width]);
    let window = (!global).then_some(c.window);
    let (heads, grid) = (c.heads, c.grid());
    let op = Attention { qkv, qkv_bias, rel_pos_h, rel_pos_w, heads, grid, window, out: attended };
    g.push(format!("{path}.attn"), op);

    let proj_weight = g.tensor(format!("{path}.attn.proj.weight"), &[width, width]);
    let proj_bias = g.tensor(format!("{path}.attn.proj.bias"), &[width]);
    let out = g.activation(format!("{path}.attn.proj"), &[tokens, width]);
    g.push(format!("{path}.attn.proj"), residual(attended, proj_weight, Bias::Row(proj_bias), x, out));
    out
}

fn neck(g: &mut Graph, c: &Config, x: ValueId) {
    const PATH: &str = "image_encoder.neck";
    let shape = [c.tokens(), c.prompt_width];
    let weight = g.tensor(format!("{PATH}.0.weight"), &[c.prompt_width, c.width]);
    let narrow = g.activation(format!("{PATH}.0"), &shape);
    g.push(format!("{PATH}.0"), linear(x, weight, Bias::None, narrow));
    let norm1 = norm(g, &format!("{PATH}.1"), c.prompt_width, EPS);
    let normed = g.activation(format!("{PATH}.1"), &shape);
    g.push(format!("{PATH}.1"), LayerNorm { input: narrow, norm: norm1, out: normed, mean: None });
    let name = format!("{PATH}.2.weight");
    let weight = g.param(name.clone(), &[c.prompt_width, 3, 3, c.prompt_width], Recipe::ChannelsLast(name));
    let convolved = g.activation(format!("{PATH}.2"), &shape);
    g.push(format!("{PATH}.2"), Conv3x3 { input: normed, weight, grid: c.grid(), out: convolved });
    let norm3 = norm(g, &format!("{PATH}.3"), c.prompt_width, EPS);
    let out = g.value(io::EMBEDDING, &shape, Element::F32, Role::Embedding);
    g.push(format!("{PATH}.3"), LayerNorm { input: convolved, norm: norm3, out, mean: None });
}
