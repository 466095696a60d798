//! `prompt_encoder`: points, box corners and a mask prompt to tokens and a dense embedding (MODEL.md section 4).

use super::config::Config;
use super::layers::{dense, norm};
use crate::graph::op::{Dense, MaskEmbed, PromptTokens};
use crate::graph::{Element, Graph, Role, ValueId};
use crate::params::Recipe;

/// The Gaussian matrix of the position encoding.
pub(super) const GAUSSIAN: &str = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix";

/// LayerNorm2d of the mask prompt.
const EPS: f32 = 1e-6;

/// IoU token, mask tokens, then `points` prompt tokens: `[5 + points, P]`.
pub(super) fn tokens(g: &mut Graph, c: &Config, points: usize) -> ValueId {
    const PATH: &str = "prompt_encoder";
    let p = c.prompt_width;
    let coordinates = g.value("points", &[points, 2], Element::F32, Role::Input);
    let labels = g.value("labels", &[points], Element::I32, Role::Input);
    let gaussian = g.tensor(GAUSSIAN, &[2, p / 2]);
    let names = (0..4).map(|i| format!("{PATH}.point_embeddings.{i}.weight")).collect();
    let point_embeddings = g.param(format!("{PATH}.point_embeddings"), &[4, p], Recipe::Rows(names));
    let not_a_point = g.tensor(format!("{PATH}.not_a_point_embed.weight"), &[1, p]);
    let names = ["iou_token", "mask_tokens"].map(|t| format!("mask_decoder.{t}.weight")).to_vec();
    let output_tokens = g.param("mask_decoder.output_tokens", &[5, p], Recipe::Rows(names));
    let out = g.activation(PATH, &[5 + points, p]);
    let image_size = c.image_size;
    let op = PromptTokens {
        points: coordinates,
        labels,
        gaussian,
        point_embeddings,
        not_a_point,
        output_tokens,
        image_size,
        out,
    };
    g.push(PATH, op);
    out
}

/// The dense embedding of a mask prompt, `[N, P]`.
pub(super) fn mask(g: &mut Graph, c: &Config) -> ValueId {
    const PATH: &str = "prompt_encoder.mask_downscaling";
    let side = 4 * c.grid();
    let mask = g.value("mask", &[side, side], Element::F32, Role::Input);
    let mut conv = |index: usize, inputs: usize, outputs: usize, kernel: usize| -> Dense {
        let name = format!("{PATH}.{index}.weight");
        let weight = g.param(name.clone(), &[outputs, kernel, kernel, inputs], Recipe::ChannelsLast(name));
        Dense { weight, bias: g.tensor(format!("{PATH}.{index}.bias"), &[outputs]) }
    };
    let convs = [conv(0, 1, 4, 2), conv(3, 4, 16, 2), conv(6, 16, c.prompt_width, 1)];
    let norms = [norm(g, &format!("{PATH}.1"), 4, EPS), norm(g, &format!("{PATH}.4"), 16, EPS)];
    let out = g.activation(PATH, &[c.tokens(), c.prompt_width]);
    g.push(PATH, MaskEmbed { mask, convs, norms, out });
    out
}

/// The four projections of an attention of the decoder, in the order of `names`; `inner` is their inner width.
pub(super) fn projections<const K: usize>(
    g: &mut Graph,
    path: &str,
    names: [&str; K],
    p: usize,
    inner: usize,
) -> [Dense; K] {
    names.map(|name| {
        let (inputs, outputs) = if name == "out" { (inner, p) } else { (p, inner) };
        dense(g, &format!("{path}.{name}_proj"), inputs, outputs)
    })
}
