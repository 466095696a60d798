//! The network through the CUDA backend on ptxvm against golden tensors: the same goldens and stages as on the CPU.
#![cfg(feature = "cuda")]

mod common;

use common::golden::Golden;
use common::run::tiny_variant;
use common::stages::{all_logits, sam, stages};
use common::tolerance;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::interpreter::Interpreter;
use medsegx::model::Preset;

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

#[test]
fn tiny_sam1024() {
    let Some(golden) = Golden::shared("tiny_sam1024", tolerance::F16) else { return };
    assert!(sam(&golden, &Preset::Tiny.sam(), ptxvm(ptxvm::Checks::Fast)));
}
