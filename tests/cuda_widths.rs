//! One window block, one global block and the rest of the encoder at the published widths, on ptxvm, against the CPU.
#![cfg(feature = "cuda")]

#[path = "common/one_op.rs"]
mod one_op;

use std::sync::Arc;

use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::interpreter::Interpreter;
use medsegx::executor::{Network, Point, Prompt, Session, SessionOptions, Slice};
use medsegx::model::{Config, Masks, Preset};
use medsegx::weights::Weights;
use one_op::Random;

/// f16 operands with f32 sums in two blocks and the neck.
const EMBEDDING: f64 = 1.5e-3;
/// As the goldens: the decoder's nearly one-hot attention amplifies the embedding's rounding.
const LOGITS: f64 = 5e-3;

/// A model of the preset's sizes with a window block and a global block.
fn two_blocks(preset: Preset) -> Config {
    let mut config = preset.medsegx();
    config.global = vec![false, true];
    if let Some(adapters) = &mut config.adapters {
        adapters.blocks = vec![true, true];
    }
    config
}

/// Embedding and logits of a made-up slice and box.
fn run<B: Backend>(config: &Config, backend: B) -> (Vec<f32>, Vec<f32>) {
    let network = Arc::new(Network::load(&Weights::synthetic(config, 0), backend).expect("weights are made"));
    let options = SessionOptions { slices: 1, prompts: 1, points: 2, mask_prompt: false, masks: Masks::Three };
    let mut session = Session::for_probing(network, options).expect("a session");
    let pixels: Vec<u8> = Random(9).vec(256 * 256 * 3, 128.0).iter().map(|x| (x + 128.0) as u8).collect();
    let scaling = [0.017, 0.018, 0.0174, -2.1, -2.0, -1.8, 256.0, 256.0];
    session.encode(&[Slice { pixels: &pixels, scaling, context: [1, 2, 3, 4, 5] }]).expect("the slice is encoded");
    let embedding = session.probe("embedding").expect("the embedding");
    let points = [Point { x: 50.0, y: 60.0, label: 2 }, Point { x: 150.0, y: 160.0, label: 3 }];
    let (mut logits, mut iou) = (vec![0.0; 3 * 256 * 256], [0.0; 4]);
    let prompt = Prompt { slot: 0, points: &points, mask: None };
    session.decode(&[prompt], &mut logits, &mut iou).expect("the prompt is decoded");
    (embedding, logits)
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = found.iter().zip(expected).map(|(&f, &e)| square(f - e)).sum();
    (difference / expected.iter().map(|&e| square(e)).sum::<f64>()).sqrt()
}

fn check(preset: Preset, name: &str) {
    let config = two_blocks(preset);
    let expected = run(&config, Cpu::new(CpuOptions::default()).expect("a CPU"));
    let found = run(&config, Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast)).expect("the interpreter starts"));
    let (embedding, logits) = (distance(&found.0, &expected.0), distance(&found.1, &expected.1));
    println!("{name}: embedding {embedding:.2e}, logits {logits:.2e}");
    assert!(embedding <= EMBEDDING, "{name}: embedding {embedding:.2e}, tolerance {EMBEDDING:.1e}");
    assert!(logits <= LOGITS, "{name}: logits {logits:.2e}, tolerance {LOGITS:.1e}");
}

#[test]
fn vit_b() {
    check(Preset::VitB, "vit_b");
}

#[test]
fn vit_l() {
    check(Preset::VitL, "vit_l");
}

#[test]
fn vit_h() {
    check(Preset::VitH, "vit_h");
}
