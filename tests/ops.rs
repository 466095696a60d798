//! Every operation of the CPU backend against arithmetic in f64, at every instruction level.

mod common;

use common::{op_cases, tolerance};
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};

#[test]
fn operations_agree_with_their_definitions() {
    let cases = op_cases::all();
    let mut bad = Vec::new();
    for level in Level::available() {
        let backend = Cpu::new(CpuOptions { level: Some(level), ..CpuOptions::default() }).unwrap();
        for case in &cases {
            let row = tolerance::find(tolerance::F32_OPS, case.op);
            for distance in case.distances(&backend) {
                let share = 100.0 * distance / row.limit;
                let line =
                    format!("{level} {} ({}): {distance:.1e}, {share:.0} % of the tolerance", case.op, case.name);
                println!("{line} ({})", row.reason);
                if distance.is_nan() || distance > row.limit {
                    bad.push(line);
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
