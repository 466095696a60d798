//! Neither the number of threads nor the size of the batch changes a bit.

use crate::common::golden::{Case, Golden};
use crate::common::run::{boxes, segment, synthetic};
use crate::common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
use medsegx::executor::Session;
use medsegx::model::Preset;

fn logits(preset: Preset, level: Level, threads: usize, batch: usize, cases: &[Case]) -> Vec<u32> {
    let backend = Cpu::new(CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() }).unwrap();
    let mut session = Session::new(synthetic(&preset.medsegx(), backend), boxes(batch)).unwrap();
    cases.chunks(batch).flat_map(|cases| segment(&mut session, cases).0).map(f32::to_bits).collect()
}

#[test]
fn threads_and_batches_change_no_bit() {
    let golden = Golden::portable("tiny", tolerance::F32);
    let cases: Vec<Case> = (0..golden.cases()).map(|case| golden.case(case)).collect();
    for level in Level::available() {
        let expected = logits(Preset::Tiny, level, 1, 1, &cases);
        // A batch of 2 leaves one place of the last run empty.
        for (threads, batch) in [(2, 1), (3, 1), (1, 2), (2, 3), (3, 2), (5, 3)] {
            let found = logits(Preset::Tiny, level, threads, batch, &cases);
            assert!(found == expected, "{level}: {threads} threads, batch {batch}");
        }
    }
}

#[test]
fn a_large_model_is_as_steady() {
    let golden = Golden::portable("vit_b", tolerance::F32);
    let cases: Vec<Case> = (0..2).map(|case| golden.case(case)).collect();
    let expected = logits(Preset::VitB, Level::detect(), 1, 1, &cases);
    assert!(logits(Preset::VitB, Level::detect(), 3, 2, &cases) == expected);
}
