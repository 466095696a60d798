//! A block's way back alone, and the neck's, at every level, against difference quotients of their definitions in f64.
//! What comes in is so small that what the norms add to its variance is felt.

use super::block::{Block, BlockPass, Work};
use super::neck::{Neck, NeckPass};
use super::*;
use crate::backend::cpu::training::Crew;
use crate::backend::cpu::training::tests::{Attention, gelu64, numbers, wide};
use crate::backend::cpu::{CpuOptions, Level};
use crate::model::Preset;
use crate::tolerance::{BACKWARD, find};
use crate::tune::reference::{Quotients, dot, linear, norm, sum};
use crate::weights::Weights;

/// Three by three tokens in windows of two by two, some of which are padded; no experts.
fn weights() -> Weights {
    let mut config = Preset::Tiny.medsegx();
    (config.image_size, config.window, config.prompt_width) = (48, 2, 32);
    config.global[0] = false;
    config.adapters.as_mut().unwrap().blocks[0] = false;
    Weights::synthetic(&config, 3)
}

/// Tensors of the encoder in f64.
struct Reference<'a> {
    weights: &'a Weights,
    eps: f64,
    grid: usize,
}

impl Reference<'_> {
    fn tensor(&self, name: &str) -> Vec<f64> {
        wide(&self.weights.load(&format!("image_encoder.{name}")).unwrap())
    }

    fn linear(&self, path: &str, x: &[f64]) -> Vec<f64> {
        let [weight, bias] = ["weight", "bias"].map(|part| self.tensor(&format!("{path}.{part}")));
        linear(x, &weight, &bias, weight.len() / bias.len())
    }

    fn norm(&self, path: &str, x: &[f64]) -> Vec<f64> {
        norm(x, &self.tensor(&format!("{path}.weight")), &self.tensor(&format!("{path}.bias")), self.eps)
    }

    fn block(&self, x: &[f64]) -> Vec<f64> {
        let config = self.weights.config();
        let attention = Attention {
            bias: self.tensor("blocks.0.attn.qkv.bias"),
            tables: ["h", "w"].map(|axis| self.tensor(&format!("blocks.0.attn.rel_pos_{axis}"))),
            width: config.width,
            heads: config.heads,
            grid: self.grid,
            side: config.window,
            relative: 1.0,
            with_padding: true,
        };
        let qkv = self.linear("blocks.0.attn.qkv", &self.norm("blocks.0.norm1", x));
        let middle = sum(x, &self.linear("blocks.0.attn.proj", &attention.result(&qkv)));
        let before = self.linear("blocks.0.mlp.lin1", &self.norm("blocks.0.norm2", &middle));
        let hidden: Vec<f64> = before.into_iter().map(gelu64).collect();
        sum(&middle, &self.linear("blocks.0.mlp.lin2", &hidden))
    }

    fn neck(&self, x: &[f64]) -> Vec<f64> {
        let (grid, width) = (self.grid, self.weights.config().prompt_width);
        let x = self.norm("neck.1", &linear(x, &self.tensor("neck.0.weight"), &[], self.weights.config().width));
        // [outputs, inputs, 3, 3]
        let weight = self.tensor("neck.2.weight");
        let mut y = vec![0.0; x.len()];
        for (at, y) in y.iter_mut().enumerate() {
            let (token, output) = (at / width, at % width);
            for tap in 0..9 {
                let (row, column) = (token / grid + tap / 3, token % grid + tap % 3);
                if (1..=grid).contains(&row) && (1..=grid).contains(&column) {
                    let from = ((row - 1) * grid + column - 1) * width;
                    let weights = weight[output * width * 9 + tap..].iter().step_by(9);
                    *y += x[from..from + width].iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
                }
            }
        }
        self.norm("neck.3", &y)
    }
}

/// Compares the way back of `part` with the quotients of `expected`, and shows that those of another eps are apart.
fn check(
    what: &str,
    scale: f32,
    outputs: usize,
    expected: impl Fn(&Reference<'_>, &[f64]) -> Vec<f64>,
    part: impl Fn(Crew<'_>, &Network<Cpu>, &[f32], &[f32]) -> [Vec<f32>; 2] + Sync,
) {
    let weights = weights();
    let (config, grid) = (weights.config(), weights.config().grid());
    let x: Vec<f32> = numbers(grid * grid * config.width, 1).iter().map(|x| scale * x).collect();
    let d = numbers(grid * grid * outputs, 2);
    let (x64, d64) = (wide(&x), wide(&d));
    let value = |eps: f64, x: &[f64]| dot(&expected(&Reference { weights: &weights, eps, grid }, x), &d64);
    // In numbers of the size that a quotient's step is made for.
    let moved = |by: &[f64]| x64.iter().zip(by).map(|(x, by)| x + f64::from(scale) * by).collect::<Vec<_>>();
    let [right, faulty] = [1e-6, 1e-5].map(|eps| Quotients::new(x.len(), |by| value(eps, &moved(by))));
    let limit = find(BACKWARD, what);
    for level in Level::available() {
        let cpu = Cpu::new(CpuOptions { level: Some(level), threads: Some(2), ..CpuOptions::default() }).unwrap();
        let network = Network::load(&weights, cpu).unwrap();
        let cpu = network.backend();
        let workshop = cpu.workshop(1 << 19).unwrap();
        let mut results = [Vec::new(), Vec::new()];
        let run = |crew: Crew<'_>| {
            results = part(crew, &network, &x, &d);
            Ok(())
        };
        cpu.with_crew(&workshop, None, run).unwrap();
        let [out, dx] = results;
        let (found, size) = (dot(&wide(&out), &d64), dot(&d64, &d64).sqrt() * dot(&wide(&out), &wide(&out)).sqrt());
        limit.check((found - value(1e-6, &x64)).abs() / size, &format!("{level}: its value"));
        let scaled: Vec<f32> = dx.iter().map(|d| scale * d).collect();
        let apart = right.apart(&scaled);
        println!("{level} {what}: {apart:.1e} off");
        limit.check(apart, &format!("{level}: what comes in"));
        assert!(faulty.apart(&scaled) > 1e-2, "{level}: another eps is not seen");
    }
}

#[test]
fn a_block_goes_back_as_its_difference_quotients() {
    let width = Preset::Tiny.medsegx().width;
    check(
        "block",
        2e-3,
        width,
        |reference, x| reference.block(x),
        |crew, network, x, d| {
            let config = network.config();
            let table = Table::encoder_of(config);
            let block = Block::new(network, &table, config, 0).unwrap();
            let embeddings = Embeddings::new(&table, config.adapters.as_ref().unwrap().embedding).unwrap();
            let given = Given { p: &[], embeddings: &embeddings, contexts: &[], tokens: config.tokens() };
            let (mut pass, mut work) = (BlockPass::default(), Work::default());
            pass.fit(config.tokens(), config.width, config.mlp).unwrap();
            work.fit(config.tokens(), config.width, config.mlp).unwrap();
            let (mut out, mut by) = (vec![0.0; x.len()], d.to_vec());
            block.forward(crew, given, x, &mut pass, &mut work, Some(&mut out)).unwrap();
            block.back(crew, given, x, &pass, &mut work, &mut by, &mut []).unwrap();
            [out, by]
        },
    );
}

#[test]
fn the_neck_goes_back_as_its_difference_quotients() {
    check(
        "neck",
        2e-3,
        32,
        |reference, x| reference.neck(x),
        |crew, network, x, d| {
            let neck = Neck::new(network, network.config()).unwrap();
            let (mut pass, mut out, mut by) = (NeckPass::default(), vec![0.0; d.len()], vec![0.0; x.len()]);
            pass.fit(d.len()).unwrap();
            neck.forward(crew, x, &mut pass, &mut out);
            neck.back(crew, &mut pass, d, &mut by);
            [out, by]
        },
    );
}
