//! Activations with channels that stand out, as real SAM encoders have them: f32 must stay near f64, and f16 must hold
//! them or saturate and say so.
#![cfg(feature = "cuda")]

use std::path::Path;
use std::sync::Arc;

use crate::common::golden::Golden;
use crate::common::run::Changed;
use crate::common::run::{boxes, decode, encode};
use crate::common::tolerance::{self, Tolerance};
use crate::common::{relative_l2, tensor};
use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::executor::{Network, Session};
use medsegx::model::Preset;
use medsegx::weights::Weights;

/// The LayerNorms of tools/make_outliers.py: every 32nd gain is larger.
const NORMS: [&str; 3] = [
    "image_encoder.blocks.0.norm2.weight",
    "image_encoder.blocks.1.norm1.weight",
    "image_encoder.blocks.2.norm2.weight",
];

/// The synthetic tiny network with those gains `factor` times larger.
fn network<B: Backend>(backend: B, factor: f32) -> Arc<Network<B>> {
    let config = Preset::Tiny.medsegx();
    let weights = Weights::synthetic(&config, 0);
    let tensor = |name: &str| {
        let mut data = weights.load(name)?;
        if NORMS.contains(&name) {
            data.iter_mut().step_by(32).for_each(|gain| *gain *= factor);
        }
        Ok(data)
    };
    Arc::new(Network::new(&config, &Changed(tensor), backend).unwrap())
}

/// A stage of the tolerance table, the value's name, and how far it is off.
type Distance = (&'static str, String, f64);

/// Distances of gates, neck and logits from what reference.py computes in f64 with gains 50 times larger.
fn distances<B: Backend>(backend: B) -> (Vec<Distance>, Arc<Network<B>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/outliers.safetensors");
    let network = network(backend, 50.0);
    let mut session = Session::for_probing(network.clone(), boxes(1)).unwrap();
    let case = Golden::portable("tiny", tolerance::F16).case(0);
    encode(&mut session, std::slice::from_ref(&case));
    let mut found = Vec::new();
    for block in 0..4 {
        let gate = session.probe(&format!("image_encoder.blocks.{block}.gate")).unwrap();
        let name = format!("blocks.{block}.gate");
        found.push(("gate", name.clone(), relative_l2(&gate, &tensor(&path, &format!("case0.{name}")))));
    }
    // [256, 256] tokens x channels to the golden [channels, 8, 8].
    let embedding = session.probe("embedding").unwrap();
    let every_second = (0..256 * 64).map(|i| embedding[((i % 64 / 8) * 32 + i % 8 * 2) * 256 + i / 64]);
    let neck: Vec<f32> = every_second.collect();
    found.push(("neck", "neck".into(), relative_l2(&neck, &tensor(&path, "case0.neck"))));
    let (logits, _) = decode(&mut session, &[case]);
    let every_fourth: Vec<f32> =
        (0..3 * 64 * 64).map(|i| logits[i / 4096 * 65536 + i % 4096 / 64 * 1024 + i % 64 * 4]).collect();
    found.push(("logits", "logits".into(), relative_l2(&every_fourth, &tensor(&path, "case0.logits"))));
    (found, network)
}

fn check(distances: &[Distance], table: &'static [Tolerance]) {
    let mut good = true;
    for (stage, name, distance) in distances {
        let row = tolerance::find(table, stage);
        println!("{name}: {distance:.2e}, {:.0} % of the tolerance ({})", 100.0 * distance / row.limit, row.reason);
        good &= *distance <= row.limit;
    }
    assert!(good);
}

#[test]
fn gains_fifty_times_larger_on_the_cpu() {
    for level in Level::available() {
        println!("{level}");
        let options = CpuOptions { level: Some(level), ..CpuOptions::default() };
        let (distances, _) = distances(Cpu::new(options).unwrap());
        check(&distances, tolerance::F32_OUTLIERS);
    }
}

#[test]
fn gains_fifty_times_larger() {
    let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast)).unwrap();
    let (distances, network) = distances(backend);
    check(&distances, tolerance::F16_OUTLIERS);
    assert_eq!(network.backend().saturated().unwrap().values, 0, "f16 holds 50 times larger values");
}

#[test]
fn what_f16_cannot_hold_is_counted_and_stays_finite() {
    let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast)).unwrap();
    let network = network(backend, 1e5);
    let mut session = Session::new(network.clone(), boxes(1)).unwrap();
    let case = Golden::portable("tiny", tolerance::F16).case(0);
    encode(&mut session, std::slice::from_ref(&case));
    let (logits, _) = decode(&mut session, &[case]);
    assert!(network.backend().saturated().unwrap().values > 0, "LayerNorm gives values above 65504");
    assert!(logits.iter().all(|x| x.is_finite()), "a saturated value is finite, and so are the logits");
}
