//! One window block, one global block and the rest of the network at every published width through the CUDA backend on
//! ptxvm, against the CPU backend in f32, which is itself compared with golden tensors.
#![cfg(feature = "cuda")]

use crate::common::golden::Golden;
use crate::common::relative_l2;
use crate::common::run::{boxes, decode, encode, synthetic};
use crate::common::tolerance;
use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::executor::Session;
use medsegx::model::{Config, Preset};

const STAGES: [(&str, &str); 8] = [
    ("norm", "image_encoder.blocks.0.norm1"),
    ("block", "image_encoder.blocks.0.attn.proj"),
    ("gate", "image_encoder.blocks.0.gate"),
    ("block", "image_encoder.blocks.0"),
    ("block", "image_encoder.blocks.1.attn.proj"),
    ("gate", "image_encoder.blocks.1.gate"),
    ("block", "image_encoder.blocks.1"),
    ("neck", "embedding"),
];

/// The first block in windows and the second over the whole grid.
fn two_blocks(preset: Preset) -> Config {
    let mut config = preset.medsegx();
    config.global = vec![false, true];
    if let Some(adapters) = &mut config.adapters {
        adapters.blocks = vec![true, true];
    }
    config
}

fn probes<B: Backend>(config: &Config, backend: B) -> Vec<Vec<f32>> {
    let mut session = Session::for_probing(synthetic(config, backend), boxes(1)).unwrap();
    let case = Golden::portable("tiny", tolerance::F16).case(0);
    encode(&mut session, std::slice::from_ref(&case));
    let mut found: Vec<_> = STAGES.iter().map(|(_, name)| session.probe(name).unwrap()).collect();
    found.push(decode(&mut session, &[case]).0);
    found
}

fn check(preset: Preset) {
    let config = two_blocks(preset);
    let expected = probes(&config, Cpu::new(CpuOptions::default()).unwrap());
    let found = probes(&config, Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast)).unwrap());
    let mut good = true;
    let stages = STAGES.iter().chain([&("logits", "logits")]);
    for ((stage, name), (found, expected)) in stages.zip(found.iter().zip(&expected)) {
        let row = tolerance::find(tolerance::F16, stage);
        let distance = relative_l2(found, expected);
        let share = 100.0 * distance / row.limit;
        println!("{}: {name}: {distance:.2e}, {share:.0} % of the tolerance ({})", preset.name(), row.reason);
        good &= distance <= row.limit;
    }
    assert!(good);
}

#[test]
fn blocks_of_vit_b() {
    check(Preset::VitB);
}

#[test]
fn blocks_of_vit_l() {
    check(Preset::VitL);
}

#[test]
fn blocks_of_vit_h() {
    check(Preset::VitH);
}
