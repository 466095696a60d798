//! What a labelled slice becomes: its embedding, its box and its label in the decoder's order of pixels.

use super::encoder::Beginning;
use super::memory::WHAT;
use crate::Result;
#[cfg(feature = "capi")]
use crate::executor::Slice;
use crate::mask::{self, Candidates, MaskChoice, Measures, Rule, box_of_logits};
use crate::memory::{copied, reserve};
use crate::model::Config;
#[cfg(feature = "capi")]
use crate::segment::Segmenter;
use crate::weights::Weights;

/// One labelled slice.
pub struct Sample {
    /// Embedding and dense prompt, `[N, P]`; empty where the encoder is trained.
    pub(super) image: Vec<f32>,
    /// Where every step of the encoder starts from.
    pub(super) beginning: Option<Beginning>,
    /// The label's box, in pixels of the model's frame.
    pub(super) region: [f32; 4],
    /// 1 inside, 0 outside, in the decoder's order.
    pub(super) label: Vec<f32>,
}

/// A slice as the encoder takes it, for a trainer that comes later.
#[cfg(feature = "capi")]
pub(crate) struct Placed {
    pixels: Vec<u8>,
    scaling: [f32; 8],
    context: [i32; 5],
}

#[cfg(feature = "capi")]
impl Placed {
    /// What was placed in `slot`; none where that is not on the CPU.
    pub fn of(segmenter: &Segmenter, slot: usize) -> Result<Option<Placed>> {
        let Some(Slice { pixels, scaling, context }) = segmenter.placed(slot) else { return Ok(None) };
        Ok(Some(Placed { pixels: copied(pixels, "a labelled slice")?, scaling, context }))
    }

    pub(super) fn slice(&self) -> Slice<'_> {
        Slice { pixels: &self.pixels, scaling: self.scaling, context: self.context }
    }
}

impl Sample {
    /// The label's own box in pixels of the model's frame: x0, y0, x1, y1, inclusive.
    pub fn region(&self) -> [f32; 4] {
        self.region
    }
}

/// Dice of a sample's masks with its label, at the size of the logit maps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Of the ellipse that the box encloses.
    pub ellipse: f64,
    /// Of the mask that the engine chooses.
    pub choice: f64,
    /// Of the best of the three masks.
    pub best: f64,
}

/// Tensors of the prompt encoder: never trained.
pub(super) struct Frozen {
    /// `[2, P/2]`.
    gaussian: Vec<f32>,
    /// Of the first and the last corner of a box, `[P]`.
    corner: [Vec<f32>; 2],
    /// `[P]`.
    no_mask: Vec<f32>,
    /// `[N, P]`.
    pub position: Vec<f32>,
    image_size: usize,
}

impl Frozen {
    pub fn load(weights: &Weights) -> Result<Frozen> {
        let tensor = |name: &str| weights.load(&format!("prompt_encoder.{name}"));
        let gaussian = tensor("pe_layer.positional_encoding_gaussian_matrix")?;
        let (grid, width) = (weights.config().grid(), weights.config().prompt_width);
        let mut position = reserve(grid * grid * width, "the dense positions")?;
        let centre = |index: usize| (index as f64 + 0.5) / grid as f64;
        for token in 0..grid * grid {
            encode(&gaussian, [centre(token % grid), centre(token / grid)], &mut position);
        }
        Ok(Frozen {
            corner: [tensor("point_embeddings.2.weight")?, tensor("point_embeddings.3.weight")?],
            no_mask: tensor("no_mask_embed.weight")?,
            gaussian,
            position,
            image_size: weights.config().image_size,
        })
    }

    /// An embedding with the dense prompt of a box.
    pub fn with_prompt(&self, embedding: &[f32]) -> Result<Vec<f32>> {
        let mut image = copied(embedding, WHAT)?;
        image.chunks_exact_mut(self.no_mask.len()).for_each(|token| super::layers::add(token, &self.no_mask));
        Ok(image)
    }

    /// The two tokens of a box, `[2, P]`.
    pub fn corners(&self, [x0, y0, x1, y1]: [f32; 4]) -> Vec<f32> {
        let at = |c: f32| (f64::from(c) + 0.5) / self.image_size as f64;
        let mut tokens = Vec::with_capacity(2 * self.no_mask.len());
        for ([x, y], corner) in [[x0, y0], [x1, y1]].into_iter().zip(&self.corner) {
            let first = tokens.len();
            encode(&self.gaussian, [at(x), at(y)], &mut tokens);
            super::layers::add(&mut tokens[first..], corner);
        }
        tokens
    }
}

/// pe of a place in 0..1: sines, then cosines. In f64: the angle may be many turns.
fn encode(gaussian: &[f32], [x, y]: [f64; 2], out: &mut Vec<f32>) {
    let (columns, rows) = gaussian.split_at(gaussian.len() / 2);
    let angle = |(&a, &b): (&f32, &f32)| {
        std::f64::consts::TAU * ((2.0 * x - 1.0) * f64::from(a) + (2.0 * y - 1.0) * f64::from(b))
    };
    out.extend(columns.iter().zip(rows).map(|pair| angle(pair).sin() as f32));
    out.extend(columns.iter().zip(rows).map(|pair| angle(pair).cos() as f32));
}

pub(super) fn score(config: &Config, places: &[usize], sample: &Sample, logits: &[f32]) -> Score {
    let side = config.logits_size();
    let inside = |pixel: usize| sample.label[places[pixel]] > 0.0;
    let dice = |found: &dyn Fn(usize) -> bool| {
        let (mut both, mut sum) = (0u32, 0u32);
        for pixel in 0..side * side {
            let (found, inside) = (found(pixel), inside(pixel));
            both += u32::from(found && inside);
            sum += u32::from(found) + u32::from(inside);
        }
        if sum == 0 { 1.0 } else { f64::from(2 * both) / f64::from(sum) }
    };
    let region = box_of_logits(sample.region, config.image_size, side);
    let first_token = config.kind.masks().first();
    let candidates = Candidates { logits, side, first_token, prompt: Some(region), predicted_iou: &[] };
    let verdict = mask::judge(Measures::new(&candidates), first_token, MaskChoice::Auto, Rule::of(config.kind));
    let masks: Vec<f64> = logits.chunks_exact(side * side).map(|map| dice(&|pixel| map[pixel] > 0.0)).collect();
    let [x0, y0, x1, y1] = region.map(f64::from);
    let in_ellipse = |pixel: usize| {
        let along = |at: usize, low: f64, high: f64| (2.0 * at as f64 - low - high) / (high - low + 1.0);
        along(pixel % side, x0, x1).powi(2) + along(pixel / side, y0, y1).powi(2) <= 1.0
    };
    Score {
        ellipse: dice(&in_ellipse),
        choice: masks.get(verdict.index).copied().unwrap_or(0.0),
        best: masks.iter().copied().fold(0.0, f64::max),
    }
}

/// x0, y0, x1, y1, inclusive, of the pixels that are not 0.
pub(super) fn tight_box(label: &[u8], width: usize) -> Option<[f64; 4]> {
    let mut found: Option<[usize; 4]> = None;
    for at in label.iter().enumerate().filter(|(_, inside)| **inside != 0).map(|(at, _)| at) {
        let (x, y) = (at % width, at / width);
        let [x0, y0, x1, y1] = found.unwrap_or([x, y, x, y]);
        found = Some([x0.min(x), y0.min(y), x1.max(x), y1.max(y)]);
    }
    found.map(|region| region.map(|c| c as f64))
}

/// To the `valid` rows and columns of a square of `side`: bilinear between the centres of pixels, without smoothing;
/// at least half is inside.
pub(super) fn resize(label: &[u8], [height, width]: [usize; 2], valid: [usize; 2], side: usize) -> Result<Vec<bool>> {
    let along = |at: usize, length: usize, valid: usize| {
        let place = ((at as f64 + 0.5) * length as f64 / valid as f64 - 0.5).max(0.0);
        let low = (place as usize).min(length - 1);
        (low, (low + 1).min(length - 1), place - low as f64)
    };
    let inside = |y: usize, x: usize| f64::from(u8::from(label[y * width + x] != 0));
    let pixel = |at: usize| {
        let (y, x) = (at / side, at % side);
        if y >= valid[0] || x >= valid[1] {
            return false;
        }
        let ((top, bottom, down), (left, right, across)) = (along(y, height, valid[0]), along(x, width, valid[1]));
        let between = |y: usize| inside(y, left) * (1.0 - across) + inside(y, right) * across;
        between(top) * (1.0 - down) + between(bottom) * down >= 0.5
    };
    let mut resized = reserve(side * side, "a label")?;
    resized.extend((0..side * side).map(pixel));
    Ok(resized)
}
