//! The network on the CPU against golden tensors, stage by stage: a failure names the stage and how far it is off.

use crate::common;

use crate::common::golden::Golden;
use crate::common::run::tiny_variant;
use crate::common::stages::{all_logits, sam, stages};
use crate::common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level, Precision, has_bf16};
use medsegx::model::Preset;

fn cpu(level: Option<Level>) -> Cpu {
    Cpu::new(CpuOptions { level, ..CpuOptions::default() }).unwrap()
}

#[test]
fn portable_goldens_at_every_level() {
    let tiny = Golden::portable("tiny", tolerance::F32);
    let vit_b = Golden::portable("vit_b", tolerance::F32);
    for level in Level::available() {
        println!("{level}");
        assert!(stages(&tiny, &Preset::Tiny.medsegx(), cpu(Some(level))));
        assert!(all_logits(&tiny, &Preset::Tiny.medsegx(), cpu(Some(level))));
        assert!(all_logits(&vit_b, &Preset::VitB.medsegx(), cpu(Some(level))));
    }
}

#[test]
fn tiny() {
    let Some(golden) = Golden::shared("tiny", tolerance::F32) else { return };
    for level in Level::available() {
        println!("{level}");
        assert!(stages(&golden, &Preset::Tiny.medsegx(), cpu(Some(level))));
        assert!(all_logits(&golden, &Preset::Tiny.medsegx(), cpu(Some(level))));
    }
}

#[test]
fn adapters_of_other_sizes_in_some_blocks() {
    let Some(golden) = Golden::shared("tiny_variant", tolerance::F32) else { return };
    let config = tiny_variant();
    assert!(stages(&golden, &config, cpu(None)));
    assert!(all_logits(&golden, &config, cpu(None)));
}

#[test]
fn vit_b() {
    let Some(golden) = Golden::shared("vit_b", tolerance::F32) else { return };
    for level in Level::available() {
        println!("{level}");
        assert!(stages(&golden, &Preset::VitB.medsegx(), cpu(Some(level))));
    }
    assert!(all_logits(&golden, &Preset::VitB.medsegx(), cpu(None)));
}

#[test]
fn vit_l() {
    let Some(golden) = Golden::shared("vit_l", tolerance::F32) else { return };
    assert!(all_logits(&golden, &Preset::VitL.medsegx(), cpu(None)));
}

#[test]
fn tiny_sam1024() {
    let Some(golden) = Golden::shared("tiny_sam1024", tolerance::F32) else { return };
    assert!(sam(&golden, &Preset::Tiny.sam(), cpu(None)));
}

#[test]
fn vit_b_sam1024() {
    let Some(golden) = Golden::shared("vit_b_sam1024", tolerance::F32) else { return };
    assert!(sam(&golden, &Preset::VitB.sam(), cpu(None)));
}

/// The same in bf16, where the processor has it.
#[test]
fn bf16() {
    if !has_bf16() {
        return common::skipped("goldens in bf16", "this processor has no AVX512-BF16");
    }
    let cpu = || Cpu::new(CpuOptions { precision: Precision::Bf16, ..CpuOptions::default() }).unwrap();
    for (name, preset) in [("tiny", Preset::Tiny), ("vit_b", Preset::VitB)] {
        let golden = Golden::portable(name, tolerance::BF16);
        assert!(all_logits(&golden, &preset.medsegx(), cpu()));
        if let Some(golden) = Golden::shared(name, tolerance::BF16) {
            assert!(stages(&golden, &preset.medsegx(), cpu()));
            assert!(all_logits(&golden, &preset.medsegx(), cpu()));
        }
    }
}

#[test]
fn bf16_needs_its_instructions() {
    for level in Level::available().into_iter().filter(|level| *level != Level::Avx512) {
        let level = Some(level);
        let error = Cpu::new(CpuOptions { precision: Precision::Bf16, level, ..CpuOptions::default() }).err().unwrap();
        let message = error.to_string();
        assert!(message.contains("AVX512-BF16") && message.contains(&Level::detect().to_string()), "{message}");
    }
}
