//! Logits to masks of a slice's own size on ptxvm: the same pixels as on the CPU.
#![cfg(feature = "cuda")]

#[path = "common/masks.rs"]
mod masks;
#[path = "common/one_op.rs"]
mod one_op;

use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::interpreter::Interpreter;
use medsegx::volume::resize::{Fit, LogitResizer};
use one_op::Random;

fn backend() -> Cuda<Interpreter> {
    Cuda::new(Interpreter::new(2, ptxvm::Checks::Full)).expect("the interpreter starts")
}

#[test]
fn masks_are_those_of_the_cpu() {
    let logits = Random(11).vec(256 * 256, 3.0);
    for (fit, slice) in [
        (Fit::Stretch, [256, 256]),
        (Fit::Stretch, [512, 400]),
        (Fit::Stretch, [70, 131]),
        (Fit::Stretch, [1, 300]),
        (Fit::LongestSide, [512, 400]),
        (Fit::LongestSide, [90, 200]),
    ] {
        let side = if fit == Fit::Stretch { 256 } else { 1024 };
        let mut values = vec![0.0; slice[0] * slice[1]];
        LogitResizer::new(256, side, slice, fit).expect("sizes").run(&logits, &mut values).expect("resized");
        let expected: Vec<u8> = values.iter().map(|&v| u8::from(v > 0.0)).collect();
        let (mask, count) = masks::resize(&backend(), &logits, fit, slice);
        let inside = expected.iter().filter(|&&v| v == 1).count();
        assert!(inside > 0 && inside < expected.len(), "{fit:?} {slice:?}: the case says something");
        let differing = mask.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{fit:?} {slice:?}: pixels that differ");
        assert_eq!(count as usize, inside, "{fit:?} {slice:?}: count");
    }
}
