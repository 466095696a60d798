//! Every operation of the CUDA backend, run by ptxvm with all its checks, against arithmetic in f64.
#![cfg(feature = "cuda")]

mod common;
#[path = "common/interpreter.rs"]
mod interpreter;

use common::{op_cases, tolerance};
use interpreter::Interpreter;
use medsegx::Error;
use medsegx::backend::cuda::Cuda;

/// Cases of sizes that no model has and the kernels refuse by name.
const REFUSED: &[(&str, &str)] = &[];

#[test]
fn operations_agree_with_their_definitions() {
    let mut bad = Vec::new();
    for case in op_cases::all() {
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full)).unwrap();
        let row = tolerance::find(tolerance::F16_OPS, case.op);
        let refused = REFUSED.contains(&(case.op, &*case.name));
        let distances = match case.try_distances(&backend) {
            Ok(distances) if !refused => distances,
            Err(Error::Tensor { .. }) if refused => continue,
            Ok(_) => {
                bad.push(format!("{} ({}): was not refused", case.op, case.name));
                continue;
            }
            Err(error) => {
                bad.push(format!("{} ({}): {error}", case.op, case.name));
                continue;
            }
        };
        for distance in distances {
            let share = 100.0 * distance / row.limit;
            let line = format!("{} ({}): {distance:.1e}, {share:.0} % of the tolerance", case.op, case.name);
            println!("{line} ({})", row.reason);
            if distance.is_nan() || distance > row.limit {
                bad.push(line);
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
