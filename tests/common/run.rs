//! A network with synthetic weights, run as the engine runs it.

use std::sync::Arc;

use medsegx::backend::Backend;
use medsegx::executor::{Network, Point, Prompt, Session, SessionOptions, Slice};
use medsegx::model::{Config, Masks, Preset, Stage};
use medsegx::weights::Weights;

use super::golden::Case;

/// `(pixel - mean) / std` as scale and offset, all pixels valid.
pub fn scaling(side: usize) -> [f32; 8] {
    let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    let mut scaling = [0.0; 8];
    for c in 0..3 {
        scaling[c] = (1.0 / std[c]) as f32;
        scaling[3 + c] = (-mean[c] / std[c]) as f32;
    }
    (scaling[6], scaling[7]) = (side as f32, side as f32);
    scaling
}

/// The two corners of a box.
pub fn corners([x0, y0, x1, y1]: [f32; 4]) -> [Point; 2] {
    [Point { x: x0, y: y0, label: 2 }, Point { x: x1, y: y1, label: 3 }]
}

/// Configuration of the golden file tiny_variant: other sizes of the mixture, in some blocks only.
pub fn tiny_variant() -> Config {
    let mut config = Preset::Tiny.medsegx();
    let adapters = config.adapters.as_mut().unwrap();
    (adapters.experts, adapters.bottleneck, adapters.embedding) = (6, 8, 24);
    adapters.blocks = vec![false, true, false, true];
    config
}

/// LiteMedSAM's network with few channels, and MobileSAM's.
pub fn tiny_vit(stem_kernel: usize) -> Config {
    let mut config = if stem_kernel == 1 { Config::litemedsam() } else { Config::mobile_sam() };
    let tiny = config.tiny_vit.as_mut().unwrap();
    (tiny.stem_width, tiny.expanded) = (4, 8);
    let stage = |width, heads, window| Stage { width, depth: 1, heads, window, mlp: 2 * width };
    let first = Stage { width: 8, depth: 1, heads: 0, window: 0, mlp: 0 };
    tiny.stages = vec![first, stage(8, 1, 7), stage(16, 2, 14), stage(24, 2, 7)];
    tiny.classes = tiny.classes.map(|_| 5);
    (config.width, config.heads, config.head_dim, config.mlp) = (24, 2, 12, 48);
    (config.patch, config.global) = (config.image_size / 32, vec![false; 4]);
    (config.prompt_width, config.decoder_mlp, config.iou_hidden, config.upscaling) = (32, 16, 8, vec![8, 4]);
    config
}

/// As [`tiny_vit`], of widths that the CUDA backend has kernels for.
pub fn tiny_vit_of_kernels(stem_kernel: usize) -> Config {
    let mut config = if stem_kernel == 1 { Config::litemedsam() } else { Config::mobile_sam() };
    let tiny = config.tiny_vit.as_mut().unwrap();
    (tiny.stem_width, tiny.expanded) = (16, 32);
    let stage = |width, heads, window| Stage { width, depth: 1, heads, window, mlp: 2 * width };
    let first = Stage { width: 16, depth: 1, heads: 0, window: 0, mlp: 0 };
    tiny.stages = vec![first, stage(32, 1, 7), stage(64, 2, 14), stage(64, 2, 7)];
    tiny.classes = tiny.classes.map(|_| 5);
    (config.width, config.heads, config.head_dim, config.mlp) = (64, 2, 32, 128);
    (config.patch, config.global) = (config.image_size / 32, vec![false; 4]);
    (config.prompt_width, config.decoder_mlp, config.upscaling) = (64, 128, vec![16, 8]);
    config
}

/// Logits of mask 0 of two pictures with a box each, `batch` at a time.
pub fn tiny_vit_logits<B: Backend>(config: &Config, backend: B, batch: usize) -> Vec<f32> {
    let network = Arc::new(Network::load(&Weights::synthetic(config, 1), backend).unwrap());
    let options = SessionOptions { slices: batch, prompts: batch, points: 2, mask_prompt: false, masks: Masks::Single };
    let mut session = Session::new(network, options).unwrap();
    let side = config.image_size;
    let pictures: Vec<Vec<u8>> = (0..2)
        .map(|case| {
            let pixel = |i: usize| ((i / 3 / side * 7 + i / 3 % side * (3 + case) + i * i % 91) % 251) as u8;
            (0..side * side * 3).map(pixel).collect()
        })
        .collect();
    let scale = 1.0 / 255.0;
    let scaling = [scale, scale, scale, 0.0, 0.0, 0.0, side as f32, side as f32 * 0.75];
    let slices: Vec<Slice<'_>> = pictures.iter().map(|pixels| Slice { pixels, scaling, context: [0; 5] }).collect();
    let points = corners([0.25, 0.25, 0.7, 0.6].map(|at| at * side as f32));
    let area = config.logits_size().pow(2);
    let mut all = Vec::new();
    for slices in slices.chunks(batch) {
        let (mut logits, mut iou) = (vec![0.0; slices.len() * area], vec![0.0; slices.len() * 4]);
        session.encode(slices).unwrap();
        let prompt = |slot| Prompt { slot, points: &points, mask: None };
        let prompts: Vec<_> = (0..slices.len()).map(prompt).collect();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
        all.extend(logits);
    }
    assert!(all.iter().all(|x| x.is_finite()) && all[..area] != all[area..]);
    all
}

/// Room for `count` slices with one box each.
pub fn boxes(count: usize) -> SessionOptions {
    SessionOptions { slices: count, prompts: count, points: 2, mask_prompt: false, masks: Masks::Three }
}

/// A network with the synthetic weights of seed 0.
pub fn synthetic<B: Backend>(config: &Config, backend: B) -> Arc<Network<B>> {
    Arc::new(Network::load(&Weights::synthetic(config, 0), backend).unwrap())
}

/// Logits `[cases, 3, L, L]` of boxes, one slice each.
pub fn segment<B: Backend>(session: &mut Session<B>, cases: &[Case]) -> (Vec<f32>, Vec<f32>) {
    encode(session, cases);
    decode(session, cases)
}

/// Encodes the pictures of `cases`.
pub fn encode<B: Backend>(session: &mut Session<B>, cases: &[Case]) {
    let scaling = scaling(session.network().config().image_size);
    let slices: Vec<Slice> =
        cases.iter().map(|case| Slice { pixels: &case.pixels, scaling, context: case.context }).collect();
    session.encode(&slices).unwrap();
}

/// Decodes the box of each of `cases` on its own slice: logits and IoU.
pub fn decode<B: Backend>(session: &mut Session<B>, cases: &[Case]) -> (Vec<f32>, Vec<f32>) {
    let points: Vec<[Point; 2]> = cases.iter().map(|case| corners(case.rectangle)).collect();
    let prompts: Vec<Prompt> =
        points.iter().enumerate().map(|(slot, points)| Prompt { slot, points, mask: None }).collect();
    let side = session.network().config().logits_size();
    let mut logits = vec![0.0; cases.len() * 3 * side * side];
    let mut iou = vec![0.0; cases.len() * 4];
    session.decode(&prompts, &mut logits, &mut iou).unwrap();
    (logits, iou)
}

/// Tensors by a function of their name.
pub struct Changed<F>(pub F);

impl<F: Fn(&str) -> Result<Vec<f32>, medsegx::Error> + Sync> medsegx::params::Tensors for Changed<F> {
    fn load(&self, name: &str) -> Result<Vec<f32>, medsegx::Error> {
        (self.0)(name)
    }
}
