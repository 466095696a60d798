//! Criterion over the steps of vit_b's plans, each shape once: `cargo bench --bench kernels`. `medsegx bench kernels`
//! has the same list with rates and ceilings, checked before it is timed.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::executor::{Network, Point, Prompt, Session, SessionOptions, Slice};
use medsegx::model::{Masks, Preset};
use medsegx::weights::{Weights, synth};

fn steps(criterion: &mut Criterion) {
    let weights = Weights::synthetic(&Preset::VitB.medsegx(), 0);
    let network = Cpu::new(CpuOptions::default()).and_then(|cpu| Network::load(&weights, cpu));
    let network = Arc::new(network.expect("the network loads"));
    let options = SessionOptions { slices: 1, prompts: 1, points: 2, mask_prompt: false, masks: Masks::Three };
    let mut session = Session::for_probing(network, options).expect("memory for a session");
    let planes = synth::image(0);
    let pixels: Vec<u8> = (0..planes.len()).map(|i| planes[i % 3 * 256 * 256 + i / 3]).collect();
    let scaling = [0.01712, 0.01751, 0.01743, -2.118, -2.036, -1.804, 256.0, 256.0];
    let points = [Point { x: 60.0, y: 40.0, label: 2 }, Point { x: 200.0, y: 190.0, label: 3 }];
    let (mut logits, mut iou) = (vec![0.0; 3 * 256 * 256], [0.0; 4]);
    let mut seen = HashSet::new();
    for decoder in [false, true] {
        // Both plans share memory, so each runs just before its steps are timed.
        if decoder {
            let prompt = Prompt { slot: 0, points: &points, mask: None };
            session.decode(&[prompt], &mut logits, &mut iou).expect("a box is decoded");
        } else {
            let slice = Slice { pixels: &pixels, scaling, context: [2, 1, 4, 17, 59] };
            session.encode(&[slice]).expect("a slice is encoded");
        }
        for step in 0..session.plans()[usize::from(decoder)].graph.nodes.len() {
            let graph = &session.plans()[usize::from(decoder)].graph;
            let op = &graph.nodes[step].op;
            let shapes: Vec<_> = op.reads().into_iter().chain(op.writes()).map(|id| graph[id].shape.clone()).collect();
            let name = format!("{} {}", op.name(), graph.nodes[step].name);
            if seen.insert((op.name(), shapes)) {
                criterion.bench_function(&name, |bencher| {
                    bencher.iter(|| session.repeat_step(black_box(decoder), step, 1, 1).expect("the step runs"));
                });
            }
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
