//! `mask_decoder`: embedding and prompts to logit maps (MODEL.md sections 4 and 5).

use super::config::{Config, Masks};
use super::layers::{dense, linear, norm, residual};
use super::prompt_encoder::{self, GAUSSIAN, projections};
use crate::graph::op::{
    Dense, ImageSource, ImageToTokens, LayerNorm, TokenHeads, TokenMlp, TokenSelfAttention, TokensToImage, Upscale,
};
use crate::graph::{Bias, Element, Graph, Role, Storage, Value, ValueId};
use crate::params::Recipe;

/// LayerNorms of the transformer.
const EPS: f32 = 1e-5;
/// LayerNorm2d of the upscaling.
const EPS_2D: f32 = 1e-6;
/// Layers of the two-way transformer.
const LAYERS: usize = 2;

/// What distinguishes one decoder graph from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prompts {
    /// Prompt tokens of each prompt: points, box corners (2) and the padding point where there is no box.
    pub points: usize,
    /// True where a mask prompt comes with each.
    pub mask: bool,
    /// Which masks are wanted.
    pub masks: Masks,
}

/// Names of the values that the host writes and reads.
pub mod io {
    /// f32 `[B, points, 2]`: x, y in pixels of the model frame.
    pub const POINTS: &str = "points";
    /// i32 `[B, points]`: -1 not a point, 0 background, 1 foreground, 2 and 3 the corners of a box.
    pub const LABELS: &str = "labels";
    /// f32 `[B, 4g, 4g]`: mask prompt, logits.
    pub const MASK: &str = "mask";
    /// i32 `[B, 1]`: which slice of the encoder's batch.
    pub const SLOT: &str = "slot";
    /// f32 `[B, M, L, L]`.
    pub const LOGITS: &str = "logits";
    /// f32 `[B, 4]`.
    pub const IOU: &str = "iou";
}

/// The decoder's graph for `batch` prompts on the embeddings of `slots` slices.
pub fn graph(c: &Config, batch: usize, slots: usize, prompts: Prompts) -> Graph {
    let mut g = Graph::new(batch);
    let dense = prompts.mask.then(|| prompt_encoder::mask(&mut g, c));
    // Side by side, since a backend may do both at once.
    let position = prompt_encoder::tokens(&mut g, c, prompts.points);
    let mut image = image_source(&mut g, c, slots, dense);
    let mut tokens = position;
    for layer in 0..LAYERS {
        (tokens, image) = two_way_layer(&mut g, c, layer, tokens, position, image);
    }
    const FINAL: &str = "mask_decoder.transformer.final_attn_token_to_image";
    let projected = project_image(&mut g, c, FINAL, &[("k_proj", true), ("v_proj", false)], FINAL, image);
    let final_norm = "mask_decoder.transformer.norm_final_attn";
    let tokens = tokens_to_image(&mut g, c, FINAL, final_norm, tokens, position, projected);
    let hyper = token_heads(&mut g, c, prompts.masks, tokens);
    upscale(&mut g, c, prompts.masks, image, hyper);
    g
}

fn image_source(g: &mut Graph, c: &Config, slots: usize, dense: Option<ValueId>) -> ValueId {
    let shape = [c.tokens(), c.prompt_width];
    let name = super::image_encoder::io::EMBEDDING.to_string();
    let full = vec![slots, shape[0], shape[1]];
    g.values.push(Value { name, shape: full, element: Element::F32, role: Role::Embedding, storage: Storage::Native });
    let embedding = ValueId(g.values.len() - 1);
    let slot = g.value(io::SLOT, &[1], Element::I32, Role::Input);
    let no_mask = g.tensor("prompt_encoder.no_mask_embed.weight", &[1, c.prompt_width]);
    let out = g.activation("mask_decoder.src", &shape);
    g.push("mask_decoder.src", ImageSource { embedding, slot, dense, no_mask, out });
    out
}

/// One product for all projections that read the image: k, v and (inside a layer) q of the way back.
fn project_image(
    g: &mut Graph,
    c: &Config,
    name: &str,
    linears: &[(&str, bool)],
    path: &str,
    image: ValueId,
) -> ValueId {
    let full = |l: &str| if l.contains('.') { l.to_string() } else { format!("{path}.{l}") };
    let columns = linears.len() * c.prompt_width / 2;
    let weights = linears.iter().map(|(l, _)| format!("{}.weight", full(l))).collect();
    let weight = g.param(format!("{name}.image.weight"), &[columns, c.prompt_width], Recipe::Rows(weights));
    let linears = linears.iter().map(|(l, reads)| (full(l), *reads)).collect();
    let recipe = Recipe::DensePosition { gaussian: GAUSSIAN.to_string(), grid: c.grid(), linears };
    let bias = Bias::Token(g.param(format!("{name}.image.bias"), &[c.tokens(), columns], recipe));
    let out = g.activation(format!("{name}.image"), &[c.tokens(), columns]);
    g.push(format!("{name}.image"), linear(image, weight, bias, out));
    out
}

fn two_way_layer(
    g: &mut Graph,
    c: &Config,
    layer: usize,
    tokens: ValueId,
    position: ValueId,
    image: ValueId,
) -> (ValueId, ValueId) {
    let path = format!("mask_decoder.transformer.layers.{layer}");
    let p = c.prompt_width;
    let shape = [g[tokens].shape[1], p];

    let name = format!("{path}.self_attn");
    let attention = projections(g, &name, ["q", "k", "v", "out"], p, p);
    let norm1 = norm(g, &format!("{path}.norm1"), p, EPS);
    let out = g.activation(&name, &shape);
    let first = layer == 0;
    g.push(name, TokenSelfAttention { tokens, position, projections: attention, norm: norm1, first, out });

    let back = format!("{path}.cross_attn_image_to_token");
    let to_image = format!("{path}.cross_attn_token_to_image");
    let q_back = format!("{back}.q_proj");
    let linears = [("k_proj", true), ("v_proj", false), (q_back.as_str(), true)];
    let projected = project_image(g, c, &path, &linears, &to_image, image);
    let tokens = tokens_to_image(g, c, &to_image, &format!("{path}.norm2"), out, position, projected);

    let layers = [
        dense(g, &format!("{path}.mlp.lin1"), p, c.decoder_mlp),
        dense(g, &format!("{path}.mlp.lin2"), c.decoder_mlp, p),
    ];
    let norm3 = norm(g, &format!("{path}.norm3"), p, EPS);
    let out = g.activation(format!("{path}.mlp"), &shape);
    g.push(format!("{path}.mlp"), TokenMlp { tokens, layers, norm: norm3, out });
    let tokens = out;

    let [k, v, out_proj] = projections(g, &back, ["k", "v", "out"], p, p / 2);
    let attended = g.activation(format!("{back}.heads"), &[c.tokens(), p / 2]);
    let op = ImageToTokens { image: projected, tokens, position, projections: [k, v], out: attended };
    g.push(&back, op);
    let added = g.activation(&back, &[c.tokens(), p]);
    g.push(format!("{back}.out_proj"), residual(attended, out_proj.weight, Bias::Row(out_proj.bias), image, added));
    let norm4 = norm(g, &format!("{path}.norm4"), p, EPS);
    let image = g.activation(format!("{path}.norm4"), &[c.tokens(), p]);
    g.push(format!("{path}.norm4"), LayerNorm { input: added, norm: norm4, out: image, mean: None });
    (tokens, image)
}

fn tokens_to_image(
    g: &mut Graph,
    c: &Config,
    path: &str,
    norm_path: &str,
    tokens: ValueId,
    position: ValueId,
    image: ValueId,
) -> ValueId {
    let p = c.prompt_width;
    let projections = projections(g, path, ["q", "out"], p, p / 2);
    let norm = norm(g, norm_path, p, EPS);
    let shape = [g[tokens].shape[1], p];
    let out = g.activation(path, &shape);
    g.push(path, TokensToImage { tokens, position, image, projections, norm, out });
    out
}

/// Channels of the upscaled image and of each hyper vector.
fn channels(c: &Config) -> usize {
    c.upscaling.last().copied().unwrap_or(c.prompt_width)
}

fn token_heads(g: &mut Graph, c: &Config, masks: Masks, tokens: ValueId) -> ValueId {
    let p = c.prompt_width;
    let mut mlp = |path: String, widths: [usize; 4]| -> [Dense; 3] {
        std::array::from_fn(|i| dense(g, &format!("{path}.layers.{i}"), widths[i], widths[i + 1]))
    };
    let wanted = masks.first()..masks.first() + masks.count();
    let hyper: Vec<[Dense; 3]> =
        wanted.map(|m| mlp(format!("mask_decoder.output_hypernetworks_mlps.{m}"), [p, p, p, channels(c)])).collect();
    let iou = mlp("mask_decoder.iou_prediction_head".into(), [p, c.iou_hidden, c.iou_hidden, 4]);
    let hyper_out = g.activation("mask_decoder.hyper", &[masks.count(), channels(c)]);
    let iou_out = g.value(io::IOU, &[4], Element::F32, Role::Output);
    let first_mask = masks.first();
    g.push("mask_decoder.heads", TokenHeads { tokens, hyper, first_mask, iou, hyper_out, iou_out });
    hyper_out
}

fn upscale(g: &mut Graph, c: &Config, masks: Masks, input: ValueId, hyper: ValueId) {
    const PATH: &str = "mask_decoder.output_upscaling";
    let mut inputs = c.prompt_width;
    let (mut convs, mut norms) = (Vec::new(), Vec::new());
    for (i, &outputs) in c.upscaling.iter().enumerate() {
        let name = format!("{PATH}.{}.weight", 3 * i);
        let weight = g.param(name.clone(), &[2, 2, outputs, inputs], Recipe::FourTokens(name));
        convs.push(Dense { weight, bias: g.tensor(format!("{PATH}.{}.bias", 3 * i), &[outputs]) });
        if i + 1 < c.upscaling.len() {
            norms.push(norm(g, &format!("{PATH}.{}", 3 * i + 1), outputs, EPS_2D));
        }
        inputs = outputs;
    }
    let size = c.logits_size();
    let out = g.value(io::LOGITS, &[masks.count(), size, size], Element::F32, Role::Output);
    g.push(PATH, Upscale { input, hyper, convs, norms, grid: c.grid(), out });
}
