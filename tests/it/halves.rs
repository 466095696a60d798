//! A file of 16-bit weights stays 16 bits in memory and gives the bits of the same file widened first.

use std::path::Path;
use std::sync::Arc;

use crate::common::golden::{Case, Golden};
use crate::common::run::{boxes, segment};
use crate::common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
use medsegx::executor::{Network, Session};
use medsegx::model::Preset;
use medsegx::weights::{self, Access, Dtype, Weights};

fn logits(weights: &Weights, level: Level, cases: &[Case]) -> Vec<u32> {
    let backend = Cpu::new(CpuOptions { threads: Some(2), level: Some(level), ..CpuOptions::default() }).unwrap();
    let network = Arc::new(Network::load(weights, backend).unwrap());
    let mut session = Session::new(network, boxes(cases.len())).unwrap();
    segment(&mut session, cases).0.into_iter().map(f32::to_bits).collect()
}

/// Writes the values of `from` to `path` as `dtype`.
fn written(path: &Path, from: &Weights, dtype: Dtype) -> Weights {
    weights::write(path, false, &weights::names(from.config()), from.metadata(), dtype, |name| from.load(name))
        .unwrap();
    Weights::open(path, Access::Map).unwrap()
}

#[test]
fn weights_of_16_bits_give_the_bits_of_the_file_widened_first() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Golden::portable("tiny", tolerance::F32);
    let cases: Vec<Case> = (0..2).map(|case| golden.case(case)).collect();
    let made = Weights::synthetic(&Preset::Tiny.medsegx(), 0);
    for dtype in [Dtype::BF16, Dtype::F16] {
        let path = |format: &str| folder.path().join(format!("{}_{format}.safetensors", dtype.name()));
        let halves = written(&path("stored"), &made, dtype);
        let widened = written(&path("widened"), &halves, Dtype::F32);
        assert_eq!((halves.dtype(), widened.dtype()), (dtype, Dtype::F32));
        for level in Level::available() {
            let (found, expected) = (logits(&halves, level, &cases), logits(&widened, level, &cases));
            assert!(found == expected, "{} at {level}", dtype.name());
            assert!(found != logits(&made, level, &cases), "{} at {level}: rounding changed nothing", dtype.name());
        }
    }
}
