//! The decoder's way back alone, at every level, against difference quotients of its definition in f64. Its numbers are
//! such that what its norms add to the variance is felt.

use super::*;
use crate::backend::cpu::Level;
use crate::backend::cpu::training::tests::{gelu64, numbers, wide};
use crate::model::Preset;
use crate::tolerance::{BACKWARD, find};
use crate::tune::layers::HEADS;
use crate::tune::reference::{Quotients, dot, linear, norm, sum};

/// Image tokens.
const TOKENS: usize = 3;

/// The definition (MODEL.md, section 5), and the derivative by its logits.
struct Reference<'a> {
    table: &'a Table,
    position: Vec<f64>,
    corners: Vec<f64>,
    d: Vec<f64>,
    width: usize,
    upscaling: &'a [usize],
    /// Of the transformer's norms, and of those between the transposed convolutions.
    eps: [f64; 2],
}

impl Reference<'_> {
    fn tensor<'a>(&self, p: &'a [f64], name: &str) -> &'a [f64] {
        &p[self.table.find(&format!("mask_decoder.{name}")).unwrap().range.clone()]
    }

    fn pair<'a>(&self, p: &'a [f64], path: &str) -> [&'a [f64]; 2] {
        ["weight", "bias"].map(|part| self.tensor(p, &format!("{path}.{part}")))
    }

    fn linear(&self, p: &[f64], path: &str, x: &[f64]) -> Vec<f64> {
        let [weight, bias] = self.pair(p, path);
        linear(x, weight, bias, weight.len() / bias.len())
    }

    fn norm(&self, p: &[f64], path: &str, x: &[f64]) -> Vec<f64> {
        let [gain, bias] = self.pair(p, &format!("transformer.{path}"));
        norm(x, gain, bias, self.eps[0])
    }

    fn attention(&self, p: &[f64], path: &str, inputs: [&[f64]; 3]) -> Vec<f64> {
        let path = format!("transformer.{path}");
        let project = |name: &str, x: &[f64]| self.linear(p, &format!("{path}.{name}_proj"), x);
        let (q, k, v) = (project("q", inputs[0]), project("k", inputs[1]), project("v", inputs[2]));
        let inner = self.tensor(p, &format!("{path}.q_proj.bias")).len();
        let (head, mut mixed) = (inner / HEADS, vec![0.0; q.len()]);
        for (q, mixed) in q.chunks(inner).zip(mixed.chunks_mut(inner)) {
            for first in (0..inner).step_by(head) {
                let part = first..first + head;
                let score = |k: &[f64]| (dot(&q[part.clone()], &k[part.clone()]) / (head as f64).sqrt()).exp();
                let weights: Vec<f64> = k.chunks(inner).map(score).collect();
                let all: f64 = weights.iter().sum();
                for (weight, v) in weights.iter().zip(v.chunks(inner)) {
                    mixed[part.clone()].iter_mut().zip(&v[part.clone()]).for_each(|(m, v)| *m += weight / all * v);
                }
            }
        }
        self.linear(p, &format!("{path}.out_proj"), &mixed)
    }

    fn layer(&self, p: &[f64], index: usize, first: &[f64], tokens: &[f64], image: &[f64]) -> [Vec<f64>; 2] {
        let at = |name: &str| format!("layers.{index}.{name}");
        let own = if index == 0 {
            self.attention(p, &at("self_attn"), [tokens; 3])
        } else {
            let placed = sum(tokens, first);
            sum(tokens, &self.attention(p, &at("self_attn"), [&placed, &placed, tokens]))
        };
        let x = self.norm(p, &at("norm1"), &own);
        let placed = sum(image, &self.position);
        let seen = self.attention(p, &at("cross_attn_token_to_image"), [&sum(&x, first), &placed, image]);
        let x = self.norm(p, &at("norm2"), &sum(&x, &seen));
        let hidden = relu(self.linear(p, &format!("transformer.{}", at("mlp.lin1")), &x));
        let mlp = self.linear(p, &format!("transformer.{}", at("mlp.lin2")), &hidden);
        let x = self.norm(p, &at("norm3"), &sum(&x, &mlp));
        let back = self.attention(p, &at("cross_attn_image_to_token"), [&placed, &sum(&x, first), &x]);
        [x, self.norm(p, &at("norm4"), &sum(image, &back))]
    }

    /// Pixels in the order of [`Upscaling::forward`].
    fn upscaled(&self, p: &[f64], image: Vec<f64>) -> Vec<f64> {
        let (mut x, mut inputs) = (image, self.width);
        for (step, &outputs) in self.upscaling.iter().enumerate() {
            let [weight, bias] = self.pair(p, &format!("output_upscaling.{}", 3 * step));
            let pixel = |x: &[f64], at: usize| {
                let (quarter, output) = (at / outputs, at % outputs);
                let weights = weight[4 * output + quarter..].iter().step_by(4 * outputs);
                bias[output] + x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()
            };
            x = x.chunks(inputs).flat_map(|x| (0..4 * outputs).map(move |at| pixel(x, at))).collect();
            if step + 1 < self.upscaling.len() {
                let [gain, bias] = self.pair(p, &format!("output_upscaling.{}", 3 * step + 1));
                x = norm(&x, gain, bias, self.eps[1]);
            }
            x.iter_mut().for_each(|x| *x = gelu64(*x));
            inputs = outputs;
        }
        x
    }

    /// The logits times `d`.
    fn value(&self, p: &[f64], image: &[f64]) -> f64 {
        let first = [self.tensor(p, "iou_token.weight"), self.tensor(p, "mask_tokens.weight"), &self.corners].concat();
        let (mut tokens, mut image) = (first.clone(), image.to_vec());
        for index in 0..2 {
            [tokens, image] = self.layer(p, index, &first, &tokens, &image);
        }
        let inputs = [&*sum(&tokens, &first), &sum(&image, &self.position), &image];
        let seen = self.attention(p, "final_attn_token_to_image", inputs);
        let tokens = self.norm(p, "norm_final_attn", &sum(&tokens, &seen));
        let pixels = self.upscaled(p, image);
        let channels = *self.upscaling.last().unwrap();
        let mask = |(index, d): (usize, &[f64])| {
            let mut x = tokens[(index + 2) * self.width..][..self.width].to_vec();
            for n in 0..3 {
                x = self.linear(p, &format!("output_hypernetworks_mlps.{}.layers.{n}", index + 1), &x);
                x = if n < 2 { relu(x) } else { x };
            }
            pixels.chunks(channels).zip(d).map(|(pixel, d)| d * dot(pixel, &x)).sum::<f64>()
        };
        self.d.chunks(self.d.len() / 3).enumerate().map(mask).sum()
    }
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

/// Gains are about 1. What the first norm and those between the transposed convolutions see is small.
fn parameters(table: &Table) -> Vec<f32> {
    let mut p = numbers(table.len(), 3);
    for trained in &table.0 {
        let is_gain = trained.shape.len() == 1 && trained.name.ends_with("weight");
        let is_small = trained.name.contains("layers.0.self_attn.out_proj")
            || trained.name.contains("output_upscaling.0.")
            || trained.name.contains("output_upscaling.3.");
        let (scale, offset) = if is_gain { (0.3, 1.0) } else { (if is_small { 2e-3 } else { 0.3 }, 0.0) };
        p[trained.range.clone()].iter_mut().for_each(|x| *x = scale * *x + offset);
    }
    p
}

#[test]
fn every_tensor_gains_its_difference_quotients() {
    let mut config = Preset::Tiny.medsegx();
    (config.prompt_width, config.decoder_mlp, config.upscaling) = (32, 24, vec![16, 8, 4]);
    let (table, width) = (Table::decoder_of(&config), config.prompt_width);
    let p = parameters(&table);
    let (image, position) = (numbers(TOKENS * width, 4), numbers(TOKENS * width, 5));
    let (corners, d) = (numbers(2 * width, 6), numbers(3 * TOKENS * 64, 7));
    let reference = |eps: [f64; 2]| Reference {
        table: &table,
        position: wide(&position),
        corners: wide(&corners),
        d: wide(&d),
        width,
        upscaling: &config.upscaling,
        eps,
    };
    let (p64, image64) = (wide(&p), wide(&image));
    let quotients_of = |eps: [f64; 2], range: &Range<usize>| {
        let reference = reference(eps);
        Quotients::new(range.len(), |by| {
            let mut p = p64.clone();
            p[range.clone()].iter_mut().zip(by).for_each(|(p, by)| *p += by);
            reference.value(&p, &image64)
        })
    };
    let right = [1e-5, 1e-6];
    let by_image = Quotients::new(image.len(), |by| reference(right).value(&p64, &sum(&image64, by)));
    let expected: Vec<Quotients> = table.0.iter().map(|trained| quotients_of(right, &trained.range)).collect();
    let faulty =
        [("transformer.layers.0.self_attn.out_proj.weight", [1e-6; 2]), ("output_upscaling.0.weight", [1e-5; 2])]
            .map(|(name, eps)| (table.find(&format!("mask_decoder.{name}")).unwrap(), eps))
            .map(|(trained, eps)| (&trained.range, quotients_of(eps, &trained.range)));
    let decoder = Decoder::new(&table, &config).unwrap();
    for level in Level::available() {
        let (m, mut gains) = (&mut Multiplier::new(level), [Gains::default()]);
        let given = Given { image: &image, position: &position, corners: &corners };
        let pass = decoder.forward(m, &p, &given).unwrap();
        let found: f64 = pass.logits.iter().zip(&d).map(|(&x, &d)| f64::from(x) * f64::from(d)).sum();
        let value = reference(right).value(&p64, &image64);
        let limit = find(BACKWARD, "decoder");
        limit.check((found - value).abs() / value.abs(), &format!("{level}: its value"));
        let dx = decoder.back(m, &p, &pass, &d, &mut gains[0], true).unwrap();
        let mut g = vec![0.0; p.len()];
        for trained in &table.0 {
            trained.gradient(&gains).numbers(level, 0, &mut g[trained.range.clone()]);
        }
        limit.check(by_image.apart(&dx), &format!("{level}: the image"));
        let mut worst = 0.0_f64;
        for (trained, expected) in table.0.iter().zip(&expected) {
            let found = &g[trained.range.clone()];
            // Exactly 0: softmax does not see a constant. So it is with the hyper-network of a mask not taken.
            if trained.name.ends_with("k_proj.bias") || trained.name.contains("mlps.0.") {
                assert!(found.iter().all(|g| g.abs() < 1e-4), "{level}: {} has a gradient", trained.name);
                continue;
            }
            let apart = expected.apart(found);
            worst = worst.max(apart);
            limit.check(apart, &format!("{level}: {}", trained.name));
        }
        println!("{level} decoder: worst tensor {worst:.1e} off");
        let faults = faulty.each_ref().map(|(range, faulty)| faulty.apart(&g[(*range).clone()]));
        assert!(faults.iter().all(|&fault| fault > 1e-3), "{level}: another eps is not seen: {faults:?}");
    }
}
