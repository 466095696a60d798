//! Every operation of the CPU backend against arithmetic in f64, at every instruction level and precision.

use crate::common;

use crate::common::op_cases::{self, OpCase};
use crate::common::tolerance::{self, Tolerance};
use medsegx::backend::cpu::{Cpu, CpuOptions, Level, Precision, has_bf16};

/// Runs every case on `backend` and returns those that are too far off.
fn misses(backend: &Cpu, row: impl Fn(&OpCase) -> &'static Tolerance) -> Vec<String> {
    let (level, precision) = (backend.level(), backend.precision());
    let mut bad = Vec::new();
    for case in op_cases::all() {
        let row = row(&case);
        for distance in case.distances(backend) {
            let share = 100.0 * distance / row.limit;
            let name = format!("{level} {precision:?} {} ({})", case.op, case.name);
            let line = format!("{name}: {distance:.1e}, {share:.0} % of the tolerance");
            println!("{line} ({})", row.reason);
            if distance.is_nan() || distance > row.limit {
                bad.push(line);
            }
        }
    }
    bad
}

#[test]
fn operations_agree_with_their_definitions() {
    for level in Level::available() {
        let backend = Cpu::new(CpuOptions { level: Some(level), ..CpuOptions::default() }).unwrap();
        let bad = misses(&backend, |case| tolerance::find(tolerance::F32_OPS, case.op));
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

/// In bf16 only products whose left side was stored by the step before differ from f32, and those have to.
#[test]
fn operations_in_bf16_agree_with_their_definitions() {
    if !has_bf16() {
        return common::skipped("operations in bf16", "this processor has no AVX512-BF16");
    }
    let backend = Cpu::new(CpuOptions { precision: Precision::Bf16, ..CpuOptions::default() }).unwrap();
    let own = |case: &OpCase| tolerance::BF16_OPS.iter().find(|row| row.what == case.op);
    let bad = misses(&backend, |case| own(case).unwrap_or_else(|| tolerance::find(tolerance::F32_OPS, case.op)));
    assert!(bad.is_empty(), "{bad:#?}");
    for case in op_cases::all().iter().filter(|case| own(case).is_some()) {
        let distances = case.distances(&backend);
        assert!(distances.iter().all(|&distance| distance > 1e-4), "{} was computed in f32: {distances:?}", case.name);
    }
}
