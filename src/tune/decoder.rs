//! The mask decoder of MODEL.md section 5, forward and back, for one prompt on one embedding.

use std::ops::Range;

use super::gains::Gains;
use super::layers::{Attended, Attention, Linear, Norm, Normed, add, sum};
use super::memory::WHAT;
use super::parameters::Table;
use super::upscaling::{Upscaled, Upscaling};
use crate::Result;
use crate::backend::cpu::training::{Multiplier, back_of_dots};
use crate::memory::{copied, zeros};
use crate::model::Config;

/// LayerNorms of the transformer.
const EPS: f32 = 1e-5;
/// IoU token and mask tokens.
const OUTPUT_TOKENS: usize = 5;
/// Pixels whose sum is added to that of all: a long sum in f32 would lose bits.
const STRETCH: usize = 256;

pub(super) struct Decoder {
    iou_token: Range<usize>,
    mask_tokens: Range<usize>,
    layers: Vec<Layer>,
    last: Attention,
    last_norm: Norm,
    /// Of each mask that a loss sees.
    hyper: Vec<[Linear; 3]>,
    /// The first of these masks' tokens: the IoU token stands before all of them.
    first_mask: usize,
    upscaling: Upscaling,
}

struct Layer {
    own: Attention,
    to_image: Attention,
    mlp: [Linear; 2],
    back: Attention,
    norms: [Norm; 4],
}

/// What a prompt and its slice bring: none of it is trained.
pub(super) struct Given<'a> {
    /// The embedding and the dense prompt, `[N, P]`.
    pub image: &'a [f32],
    /// Dense position encoding, `[N, P]`.
    pub position: &'a [f32],
    /// Tokens of the box, `[2, P]`.
    pub corners: &'a [f32],
}

/// A forward pass.
pub(super) struct Pass {
    /// `[M, pixels]`, M the masks that a loss sees, pixels as [`Upscaling::forward`] orders them.
    pub logits: Vec<f32>,
    layers: Vec<LayerPass>,
    last: Attended,
    last_norm: Normed,
    /// Of each hyper-network.
    hyper: Vec<Hyper>,
    upscaled: Upscaled,
}

struct LayerPass {
    own: Attended,
    to_image: Attended,
    /// Input and hidden numbers of the MLP.
    mlp: [Vec<f32>; 2],
    back: Attended,
    norms: [Normed; 4],
}

impl Decoder {
    pub fn new(table: &Table, config: &Config) -> Result<Decoder> {
        const PATH: &str = "mask_decoder.transformer";
        let masks = config.kind.masks();
        let layer = |index: usize| {
            let path = format!("{PATH}.layers.{index}");
            let attention = |name: &str| Attention::new(table, &format!("{path}.{name}"));
            let linear = |name: &str| Linear::new(table, &format!("{path}.mlp.{name}"));
            let norm = |n: usize| Norm::new(table, &format!("{path}.norm{n}"), EPS);
            Ok(Layer {
                own: attention("self_attn")?,
                to_image: attention("cross_attn_token_to_image")?,
                mlp: [linear("lin1")?, linear("lin2")?],
                back: attention("cross_attn_image_to_token")?,
                norms: [norm(1)?, norm(2)?, norm(3)?, norm(4)?],
            })
        };
        let hyper = |mask: usize| {
            let linear =
                |n: usize| Linear::new(table, &format!("mask_decoder.output_hypernetworks_mlps.{mask}.layers.{n}"));
            Ok([linear(0)?, linear(1)?, linear(2)?])
        };
        Ok(Decoder {
            iou_token: table.find("mask_decoder.iou_token.weight")?.range.clone(),
            mask_tokens: table.find("mask_decoder.mask_tokens.weight")?.range.clone(),
            layers: (0..2).map(layer).collect::<Result<_>>()?,
            last: Attention::new(table, &format!("{PATH}.final_attn_token_to_image"))?,
            last_norm: Norm::new(table, &format!("{PATH}.norm_final_attn"), EPS)?,
            hyper: (masks.first()..masks.first() + masks.count()).map(hyper).collect::<Result<_>>()?,
            first_mask: 1 + masks.first(),
            upscaling: Upscaling::new(table, config.upscaling.len())?,
        })
    }

    pub fn forward(&self, m: &mut Multiplier, p: &[f32], given: &Given<'_>) -> Result<Pass> {
        let first = [&p[self.iou_token.clone()], &p[self.mask_tokens.clone()], given.corners].concat();
        let (mut tokens, mut image) = (first.clone(), copied(given.image, WHAT)?);
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            layers.push(layer.forward(m, p, [&mut tokens, &mut image], &first, given.position, index == 0)?);
        }
        let inputs = [sum(&tokens, &first)?, sum(&image, given.position)?, copied(&image, WHAT)?];
        let (attended, last) = self.last.forward(m, p, inputs)?;
        let (tokens, last_norm) = self.last_norm.forward(m, p, &sum(&tokens, &attended)?)?;
        let width = self.iou_token.len();
        let hyper = self
            .hyper
            .iter()
            .enumerate()
            .map(|(mask, layers)| {
                let token = &tokens[(self.first_mask + mask) * width..][..width];
                hyper_forward(layers, m, p, token)
            })
            .collect::<Result<Vec<_>>>()?;
        let channels = self.upscaling.channels();
        let count = image.len() / width * self.upscaling.pixels();
        let mut logits = zeros(hyper.len() * count, WHAT)?;
        let upscaled = self.upscaling.forward(m, p, &image, |first, pixels| {
            for ((_, vector), logits) in hyper.iter().zip(logits.chunks_exact_mut(count)) {
                let to = logits[first..].iter_mut();
                to.zip(pixels.chunks_exact(channels)).for_each(|(to, pixel)| *to = dot(pixel, vector));
            }
        })?;
        Ok(Pass { logits, layers, last, last_norm, hyper, upscaled })
    }

    /// Adds to `g` what the parameters gain for `d` `[M, pixels]` by the logits. The derivative by the image, where it
    /// is wanted.
    pub fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        pass: &Pass,
        d: &[f32],
        g: &mut Gains,
        wants_image: bool,
    ) -> Result<Vec<f32>> {
        let width = self.iou_token.len();
        let tokens = OUTPUT_TOKENS + pass_corners(pass, width);
        let mut d_tokens = zeros(tokens * width, WHAT)?;
        let mut d_image = self.back_of_heads(m, p, pass, d, g, &mut d_tokens)?;

        let mut d_tokens = self.last_norm.back(m, p, &pass.last_norm, &d_tokens, g)?;
        let [dq, dk, dv] = self.last.back(m, p, &pass.last, &d_tokens, g, [true; 3])?;
        let mut d_first = dq.clone();
        add(&mut d_tokens, &dq);
        add(&mut d_image, &dk);
        add(&mut d_image, &dv);
        for (index, (layer, pass)) in self.layers.iter().zip(&pass.layers).enumerate().rev() {
            layer.back(
                m,
                p,
                pass,
                [&mut d_tokens, &mut d_image, &mut d_first],
                g,
                index == 0,
                wants_image || index > 0,
            )?;
        }
        // The tokens that enter the first layer are the initial ones.
        add(&mut d_first, &d_tokens);
        g.set(&self.iou_token, d_first[..width].to_vec());
        g.set(&self.mask_tokens, d_first[width..OUTPUT_TOKENS * width].to_vec());
        Ok(d_image)
    }

    /// From the logits through the pixels to the image, whose derivative it is, and through the hyper-networks to the
    /// tokens.
    fn back_of_heads(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        pass: &Pass,
        d: &[f32],
        g: &mut Gains,
        d_tokens: &mut [f32],
    ) -> Result<Vec<f32>> {
        let (width, count) = (self.iou_token.len(), d.len() / self.hyper.len().max(1));
        let (channels, level) = (self.upscaling.channels(), m.level());
        let seen: Vec<bool> = d.chunks_exact(count).map(|d| d.iter().any(|&d| d != 0.0)).collect();
        let mut d_vectors = vec![vec![0.0; channels]; self.hyper.len()];
        let mut part = vec![0.0; channels];
        let d_image = self.upscaling.back(m, p, &pass.upscaled, g, |first, pixels, d_pixels| {
            let stretch = STRETCH * channels;
            for (at, (pixels, d_pixels)) in pixels.chunks(stretch).zip(d_pixels.chunks_mut(stretch)).enumerate() {
                let these = first + at * STRETCH..first + at * STRETCH + pixels.len() / channels;
                let masks = d.chunks_exact(count).zip(&pass.hyper).zip(&mut d_vectors).zip(&seen);
                for (((d, (_, vector)), d_vector), _) in masks.filter(|(_, seen)| **seen) {
                    part.fill(0.0);
                    back_of_dots(level, &d[these.clone()], [pixels, vector], d_pixels, &mut part);
                    add(d_vector, &part);
                }
            }
        })?;
        let networks = self.hyper.iter().zip(&pass.hyper).zip(d_vectors).enumerate();
        for (mask, ((layers, (inputs, _)), mut d)) in networks.filter(|(mask, _)| seen[*mask]) {
            for (n, (linear, input)) in layers.iter().zip(inputs).enumerate().rev() {
                linear.gain(m, input, &d, g)?;
                d = linear.back(m, p, &d)?;
                if n > 0 {
                    back_of_relu(&mut d, input);
                }
            }
            add(&mut d_tokens[(self.first_mask + mask) * width..][..width], &d);
        }
        Ok(d_image)
    }
}

/// Tokens of the prompt.
fn pass_corners(pass: &Pass, width: usize) -> usize {
    pass.layers.first().map_or(0, |layer| layer.mlp[0].len() / width - OUTPUT_TOKENS)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn relu(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

/// `after` is what the ReLU gave; its derivative at 0 is 0.
fn back_of_relu(d: &mut [f32], after: &[f32]) {
    d.iter_mut().zip(after).for_each(|(d, &x)| *d = if x > 0.0 { *d } else { 0.0 });
}

/// Inputs of the three layers, and the result.
type Hyper = ([Vec<f32>; 3], Vec<f32>);

fn hyper_forward(layers: &[Linear; 3], m: &mut Multiplier, p: &[f32], token: &[f32]) -> Result<Hyper> {
    let mut first = layers[0].forward(m, p, token)?;
    relu(&mut first);
    let mut second = layers[1].forward(m, p, &first)?;
    relu(&mut second);
    let vector = layers[2].forward(m, p, &second)?;
    Ok(([token.to_vec(), first, second], vector))
}

impl Layer {
    fn forward(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        [tokens, image]: [&mut Vec<f32>; 2],
        first_tokens: &[f32],
        position: &[f32],
        first: bool,
    ) -> Result<LayerPass> {
        let own_inputs = if first {
            [tokens.clone(), tokens.clone(), tokens.clone()]
        } else {
            let placed = sum(tokens, first_tokens)?;
            [placed.clone(), placed, tokens.clone()]
        };
        let (mut x, own) = self.own.forward(m, p, own_inputs)?;
        if !first {
            add(&mut x, tokens);
        }
        let (x, norm1) = self.norms[0].forward(m, p, &x)?;

        let placed_image = sum(image, position)?;
        let inputs = [sum(&x, first_tokens)?, copied(&placed_image, WHAT)?, copied(image, WHAT)?];
        let (attended, to_image) = self.to_image.forward(m, p, inputs)?;
        let (x, norm2) = self.norms[1].forward(m, p, &sum(&x, &attended)?)?;

        let mut hidden = self.mlp[0].forward(m, p, &x)?;
        relu(&mut hidden);
        let mlp = self.mlp[1].forward(m, p, &hidden)?;
        let (after, norm3) = self.norms[2].forward(m, p, &sum(&x, &mlp)?)?;

        let inputs = [placed_image, sum(&after, first_tokens)?, after.clone()];
        let (attended, back) = self.back.forward(m, p, inputs)?;
        let (new_image, norm4) = self.norms[3].forward(m, p, &sum(image, &attended)?)?;
        (*tokens, *image) = (after, new_image);
        Ok(LayerPass { own, to_image, mlp: [x, hidden], back, norms: [norm1, norm2, norm3, norm4] })
    }

    /// `d_tokens` and `d_image` become the derivatives by what came into the layer, the latter only where it is wanted:
    /// what comes into the first layer as image may not be trained. `d_first` gains.
    #[allow(clippy::too_many_arguments, reason = "the way back of one layer")]
    fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        pass: &LayerPass,
        [d_tokens, d_image, d_first]: [&mut Vec<f32>; 3],
        g: &mut Gains,
        first: bool,
        wants_image: bool,
    ) -> Result<()> {
        let mut di = self.norms[3].back(m, p, &pass.norms[3], d_image, g)?;
        let [dq, dk, dv] = self.back.back(m, p, &pass.back, &di, g, [wants_image, true, true])?;
        add(&mut di, &dq);
        add(d_tokens, &dk);
        add(d_tokens, &dv);
        add(d_first, &dk);

        let mut d = self.norms[2].back(m, p, &pass.norms[2], d_tokens, g)?;
        self.mlp[1].gain(m, &pass.mlp[1], &d, g)?;
        let mut d_hidden = self.mlp[1].back(m, p, &d)?;
        back_of_relu(&mut d_hidden, &pass.mlp[1]);
        self.mlp[0].gain(m, &pass.mlp[0], &d_hidden, g)?;
        add(&mut d, &self.mlp[0].back(m, p, &d_hidden)?);

        let mut d = self.norms[1].back(m, p, &pass.norms[1], &d, g)?;
        let [dq, dk, dv] = self.to_image.back(m, p, &pass.to_image, &d, g, [true, wants_image, wants_image])?;
        add(&mut d, &dq);
        add(d_first, &dq);
        add(&mut di, &dk);
        add(&mut di, &dv);

        let d = self.norms[0].back(m, p, &pass.norms[0], &d, g)?;
        let [dq, dk, dv] = self.own.back(m, p, &pass.own, &d, g, [true; 3])?;
        // In the first layer the result replaces the tokens, so that they gain through q, k and v alone.
        let mut dx = if first { zeros(d.len(), WHAT)? } else { d };
        for part in [&dq, &dk, &dv] {
            add(&mut dx, part);
        }
        if !first {
            add(d_first, &dq);
            add(d_first, &dk);
        }
        (*d_tokens, *d_image) = (dx, di);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
