//! TinyViT in place of SAM's encoder, as LiteMedSAM and MobileSAM have it, up to the neck. Batch norms are folded into
//! the convolutions before them.

use super::config::{Config, Stage, TinyVit};
use super::image_encoder::io;
use super::layers::{dense, linear, norm, residual};
use crate::graph::op::{
    Activation, Convolution, Dense, Depthwise, InvertedBottleneck, LayerNorm, Linear, WindowAttention,
};
use crate::graph::{Bias, Element, Graph, Role, ValueId};
use crate::params::Recipe;

/// LayerNorms of attention and MLP.
const EPS: f32 = 1e-5;

/// Stem and stages; the last stage's tokens.
pub(super) fn blocks(g: &mut Graph, c: &Config, tiny: &TinyVit) -> ValueId {
    let mut x = stem(g, c, tiny);
    for (index, stage) in tiny.stages.iter().enumerate() {
        let side = tiny.grid(c.image_size, index);
        for block in 0..stage.depth {
            let path = format!("image_encoder.layers.{index}.blocks.{block}");
            x = match index {
                0 => bottleneck(g, &path, x, [stage.width, tiny.expanded, stage.width], side, 1, true),
                _ => transformer_block(g, stage, &path, x, side),
            };
        }
        if let Some(next) = tiny.stages.get(index + 1) {
            let (path, widths) =
                (format!("image_encoder.layers.{index}.downsample"), [stage.width, next.width, next.width]);
            x = bottleneck(g, &path, x, widths, side, tiny.stride(index), false);
        }
    }
    x
}

/// A convolution and the norm behind it.
fn normed(g: &mut Graph, path: &str, shape: &[usize]) -> Dense {
    let weight = g.param(format!("{path}.weight"), shape, Recipe::Normed(path.into()));
    Dense { weight, bias: g.param(format!("{path}.bias"), &shape[..1], Recipe::NormedBias(path.into())) }
}

/// A 3x3 convolution of each channel by itself and the norm behind it.
fn normed_taps(g: &mut Graph, path: &str, channels: usize) -> Dense {
    let weight = g.param(format!("{path}.weight"), &[3, 3, channels], Recipe::NormedTaps(path.into()));
    Dense { weight, bias: g.param(format!("{path}.bias"), &[channels], Recipe::NormedBias(path.into())) }
}

/// Two convolutions with GELU between them.
fn stem(g: &mut Graph, c: &Config, tiny: &TinyVit) -> ValueId {
    const PATH: &str = "image_encoder.patch_embed";
    let (k, stride, width) = (tiny.stem_kernel, tiny.stem_stride(), tiny.stages[0].width);
    let pixels = g.value(io::PIXELS, &[c.image_size, c.image_size, 3], Element::U8, Role::Input);
    let scaling = Some(g.value(io::SCALING, &[8], Element::F32, Role::Input));
    let mut convolve = |input, scaling: Option<ValueId>, name: String, shape: [usize; 4], activation, side: usize| {
        let Dense { weight, bias } = normed(g, &name, &shape);
        let path = if scaling.is_some() { name } else { PATH.to_string() };
        let out = g.activation(&path, &[side.div_ceil(stride).pow(2), shape[0]]);
        g.push(path, Convolution { input, scaling, weight, bias, activation, side, stride, out });
        out
    };
    let (first, second) = ([tiny.stem_width, k, k, 3], [width, k, k, tiny.stem_width]);
    let x = convolve(pixels, scaling, format!("{PATH}.seq.0"), first, Activation::Gelu, c.image_size);
    convolve(x, None, format!("{PATH}.seq.2"), second, Activation::Identity, c.image_size.div_ceil(stride))
}

/// `widths`: in, between, out.
fn bottleneck(
    g: &mut Graph,
    path: &str,
    input: ValueId,
    widths: [usize; 3],
    side: usize,
    stride: usize,
    shortcut: bool,
) -> ValueId {
    let [inputs, hidden, outputs] = widths;
    let expand = normed(g, &format!("{path}.conv1"), &[hidden, 1, 1, inputs]);
    let depthwise = normed_taps(g, &format!("{path}.conv2"), hidden);
    let project = normed(g, &format!("{path}.conv3"), &[outputs, 1, 1, hidden]);
    let out = g.activation(path, &[side.div_ceil(stride).pow(2), outputs]);
    g.push(path, InvertedBottleneck { input, expand, depthwise, project, side, stride, shortcut, out });
    out
}

/// `x + proj(attention(qkv(norm(x))))`, a convolution of each channel by itself, and `x + fc2(gelu(fc1(norm(x))))`.
fn transformer_block(g: &mut Graph, stage: &Stage, path: &str, x: ValueId, grid: usize) -> ValueId {
    let (d, shape) = (stage.width, [grid * grid, stage.width]);
    let x = attention(g, stage, path, x, grid);
    let name = format!("{path}.local_conv");
    let Dense { weight, bias } = normed_taps(g, &name, d);
    let convolved = g.activation(&name, &shape);
    g.push(&name, Depthwise { input: x, weight, bias, side: grid, out: convolved });

    let name = format!("{path}.mlp");
    let mlp_norm = norm(g, &format!("{name}.norm"), d, EPS);
    let normed = g.activation(format!("{name}.norm"), &shape);
    g.push(format!("{name}.norm"), LayerNorm { input: convolved, norm: mlp_norm, out: normed, mean: None });
    let fc1 = dense(g, &format!("{name}.fc1"), d, stage.mlp);
    let hidden = g.activation(format!("{name}.fc1"), &[grid * grid, stage.mlp]);
    let op = Linear { activation: Activation::Gelu, ..linear(normed, fc1.weight, Bias::Row(fc1.bias), hidden) };
    g.push(format!("{name}.fc1"), op);
    let fc2 = dense(g, &format!("{name}.fc2"), stage.mlp, d);
    let out = g.activation(path, &shape);
    g.push(format!("{name}.fc2"), residual(hidden, fc2.weight, Bias::Row(fc2.bias), convolved, out));
    out
}

fn attention(g: &mut Graph, stage: &Stage, block: &str, x: ValueId, grid: usize) -> ValueId {
    let path = format!("{block}.attn");
    let (d, tokens) = (stage.width, grid * grid);
    let attn_norm = norm(g, &format!("{path}.norm"), d, EPS);
    let normed = g.activation(format!("{path}.norm"), &[tokens, d]);
    g.push(format!("{path}.norm"), LayerNorm { input: x, norm: attn_norm, out: normed, mean: None });
    let qkv = dense(g, &format!("{path}.qkv"), d, 3 * d);
    let projected = g.activation(format!("{path}.qkv"), &[tokens, 3 * d]);
    g.push(format!("{path}.qkv"), linear(normed, qkv.weight, Bias::Row(qkv.bias), projected));

    let zeros = Recipe::OfZeros { norm: format!("{path}.norm"), linear: format!("{path}.qkv") };
    let padding = g.param(format!("{path}.padding"), &[3 * d], zeros);
    let (heads, window) = (stage.heads, stage.window);
    let biases = g.tensor(format!("{path}.attention_biases"), &[heads, window * window]);
    let attended = g.activation(format!("{path}.heads"), &[tokens, d]);
    g.push(&path, WindowAttention { qkv: projected, padding, biases, heads, grid, window, out: attended });

    let proj = dense(g, &format!("{path}.proj"), d, d);
    let out = g.activation(format!("{path}.proj"), &[tokens, d]);
    g.push(format!("{path}.proj"), residual(attended, proj.weight, Bias::Row(proj.bias), x, out));
    out
}
