//! The network through the CUDA backend on ptxvm against golden tensors: the same goldens and stages as on the CPU.
#![cfg(feature = "cuda")]

use std::sync::Arc;

use crate::common::golden::Golden;
use crate::common::relative_l2;
use crate::common::run::Changed;
use crate::common::run::{boxes, segment, tiny_variant};
use crate::common::stages::{all_logits, sam, stages};
use crate::common::tolerance;
use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::executor::{Network, Session};
use medsegx::model::{Config, Preset};
use medsegx::weights::Weights;

fn ptxvm(checks: ptxvm::Checks) -> Cuda<Interpreter> {
    Cuda::new(Interpreter::new(2, checks)).unwrap()
}

#[test]
fn portable_goldens() {
    let golden = Golden::portable("tiny", tolerance::F16);
    assert!(stages(&golden, &Preset::Tiny.medsegx(), ptxvm(ptxvm::Checks::Full)));
    assert!(all_logits(&golden, &Preset::Tiny.medsegx(), ptxvm(ptxvm::Checks::Fast)));
}

#[test]
fn portable_vit_b() {
    let golden = Golden::portable("vit_b", tolerance::F16);
    assert!(all_logits(&golden, &Preset::VitB.medsegx(), ptxvm(ptxvm::Checks::Fast)));
}

#[test]
fn tiny() {
    let Some(golden) = Golden::shared("tiny", tolerance::F16) else { return };
    assert!(stages(&golden, &Preset::Tiny.medsegx(), ptxvm(ptxvm::Checks::Fast)));
    assert!(all_logits(&golden, &Preset::Tiny.medsegx(), ptxvm(ptxvm::Checks::Fast)));
}

#[test]
fn adapters_of_other_sizes_in_some_blocks() {
    let Some(golden) = Golden::shared("tiny_variant", tolerance::F16) else { return };
    assert!(stages(&golden, &tiny_variant(), ptxvm(ptxvm::Checks::Full)));
    assert!(all_logits(&golden, &tiny_variant(), ptxvm(ptxvm::Checks::Fast)));
}

/// Logits of case 0 of the small network with 3 experts, `bottleneck` channels each. Of those, 5 have synthetic weights
/// and the rest weights of 0, which change nothing.
fn three_experts<B: Backend>(backend: B, bottleneck: usize) -> Vec<f32> {
    let mut config = tiny_variant();
    let sizes = |bottleneck| {
        move |config: &mut Config| {
            let adapters = config.adapters.as_mut().unwrap();
            (adapters.experts, adapters.bottleneck, adapters.embedding) = (3, bottleneck, 7);
        }
    };
    sizes(5)(&mut config);
    let weights = Weights::synthetic(&config, 0);
    let width = config.width;
    sizes(bottleneck)(&mut config);
    let tensor = |name: &str| {
        let mut data = weights.load(name)?;
        if name.contains("adapter_down") {
            data.resize(data.len() / 5 * bottleneck, 0.0);
        } else if name.contains("adapter_up") && name.ends_with("weight") {
            let padded = |row: &[f32]| [row, &vec![0.0; bottleneck - 5][..]].concat();
            data = data.chunks_exact(5).flat_map(padded).collect();
            assert_eq!(data.len(), width * bottleneck);
        }
        Ok(data)
    };
    let network = Arc::new(Network::new(&config, &Changed(tensor), backend).unwrap());
    let mut session = Session::new(network, boxes(1)).unwrap();
    segment(&mut session, &[Golden::portable("tiny", tolerance::F16).case(0)]).0
}

#[test]
fn experts_whose_channels_fill_no_row_of_16_bytes() {
    let cpu = || Cpu::new(CpuOptions::default()).unwrap();
    // 3 * 8 channels need no filling up, 3 * 5 do.
    let expected = three_experts(cpu(), 8);
    for (found, table) in
        [(three_experts(cpu(), 5), tolerance::F32), (three_experts(ptxvm(ptxvm::Checks::Full), 5), tolerance::F16)]
    {
        let (row, distance) = (tolerance::find(table, "logits"), relative_l2(&found, &expected));
        assert!(distance <= row.limit, "{distance:.2e}, tolerance {:.0e} ({})", row.limit, row.reason);
    }
}

#[test]
fn tiny_sam1024() {
    let Some(golden) = Golden::shared("tiny_sam1024", tolerance::F16) else { return };
    assert!(sam(&golden, &Preset::Tiny.sam(), ptxvm(ptxvm::Checks::Fast)));
}
