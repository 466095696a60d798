//! A run allocates nothing: every allocation of the process is counted while slices are encoded and decoded.

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::golden::Golden;
use common::run::{boxes, corners, scaling, synthetic};
use common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::executor::{Prompt, Session, Slice};
use medsegx::model::Preset;

#[test]
fn runs_allocate_nothing() {
    const RUNS: usize = 200;
    let case = Golden::portable("tiny", tolerance::F32).case(0);
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap();
    let mut session = Session::new(synthetic(&Preset::Tiny.medsegx(), cpu), boxes(1)).unwrap();
    let (mut logits, mut iou) = (vec![0.0; 3 * 256 * 256], [0.0; 4]);
    let slices = [Slice { pixels: &case.pixels, scaling: scaling(256), context: case.context }];
    let points = corners(case.rectangle);
    let prompts = [Prompt { slot: 0, points: &points, mask: None }];
    let mut run = || {
        session.encode(&slices).unwrap();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
    };
    run();
    let found = counting::allocations(|| (0..RUNS).for_each(|_| run()));
    assert_eq!(found, 0, "allocations in {RUNS} runs");
}
