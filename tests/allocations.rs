//! A run allocates nothing: every allocation of the process is counted while slices are encoded and decoded.

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::golden::Golden;
use common::run::{boxes, corners, scaling, synthetic, tiny_vit};
use common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::executor::{Prompt, Session, Slice};
use medsegx::model::{Config, Preset};

#[test]
fn runs_allocate_nothing() {
    // One test for both: allocations are the whole process's.
    for (config, runs) in [(Preset::Tiny.medsegx(), 200), (tiny_vit(1), 20)] {
        check(&config, runs);
    }
}

fn check(config: &Config, runs: usize) {
    let case = Golden::portable("tiny", tolerance::F32).case(0);
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap();
    let mut session = Session::new(synthetic(config, cpu), boxes(1)).unwrap();
    let (mut logits, mut iou) = (vec![0.0; 3 * config.logits_size().pow(2)], [0.0; 4]);
    let slices = [Slice { pixels: &case.pixels, scaling: scaling(256), context: case.context }];
    let points = corners(case.rectangle);
    let prompts = [Prompt { slot: 0, points: &points, mask: None }];
    let mut run = || {
        session.encode(&slices).unwrap();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
    };
    run();
    let found = counting::allocations(|| (0..runs).for_each(|_| run()));
    assert_eq!(found, 0, "allocations in {runs} runs of {:?}", config.kind);
}
