//! What follows the decoder on ptxvm: the counts that choose a mask, and logits to masks of a slice's own size, both
//! the same as on the CPU.
#![cfg(feature = "cuda")]

use crate::common::masks;
use crate::common::one_op;

use medsegx::backend::Backend;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::graph::{Element, Graph, Plan, Role};
use medsegx::image::resample::{Fit, LogitResizer};
use medsegx::mask::{Candidates, Measures, pixels_of_box};
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
        (Fit::Stretch, [6, 9]),
        (Fit::Stretch, [33, 1017]),
        (Fit::LongestSide, [512, 400]),
        (Fit::LongestSide, [90, 200]),
        (Fit::LongestSide, [61, 43]),
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

/// Boxes as prompts give them: inside, over an edge, off by halves, of no pixel.
const BOXES: [Option<[f32; 4]>; 4] =
    [Some([40.0, 60.5, 199.5, 120.0]), Some([-9.0, 0.0, 300.0, 17.2]), None, Some([90.7, 90.7, 90.9, 90.9])];

/// Measures of maps `[4, maps, side, side]` as the kernel counts them.
fn counted(maps: usize, side: usize, logits: &[f32]) -> Vec<Measures> {
    let (backend, prompts) = (backend(), BOXES.len());
    let mut graph = Graph::new(prompts);
    let id = graph.value("logits", &[maps, side, side], Element::F32, Role::Input);
    let plan = Plan::new(backend.lower(graph));
    let mut arena = backend.arena(&[&plan]).expect("memory");
    backend.write(&mut arena, &plan, id, 0, bytemuck::cast_slice(logits)).expect("logits are written");
    let mut counter = backend.map_counter(prompts, maps).expect("memory");
    let corners = |region: &Option<[f32; 4]>| {
        let [columns, rows] = region.map_or([0..side, 0..side], |region| pixels_of_box(side, region));
        [columns.start, columns.end, rows.start, rows.end].map(|at| at as u32)
    };
    backend.count(&mut arena, &plan, id, BOXES.iter().map(corners), &mut counter).expect("the maps are counted");
    let measures = |prompt: usize| {
        let counts = |map: usize| counter.map(prompt, map);
        Measures::of_counts(maps, counts, |a, b| counter.both(prompt, a + b - 1), BOXES[prompt], &[])
    };
    (0..prompts).map(measures).collect()
}

#[test]
fn measures_are_those_of_the_cpu() {
    for (maps, side) in [(3, 256), (1, 256), (3, 37), (1, 5)] {
        let plane = side * side;
        let mut logits = Random(maps as u64).vec(BOXES.len() * maps * plane, 3.0);
        // Structure, so that tight boxes are not the whole map; an empty mask; numbers that are none.
        for (i, logit) in logits.iter_mut().enumerate() {
            let [x, y] = [i % plane % side, i % plane / side];
            if x < side / 5 || y > side - side / 7 || i / plane == 1 {
                *logit = -logit.abs();
            }
        }
        logits[plane / 2] = f32::NAN;
        logits[plane / 2 + 1] = 1.0;
        let found = counted(maps, side, &logits);
        for (prompt, found) in found.iter().enumerate() {
            let logits = &logits[prompt * maps * plane..][..maps * plane];
            let candidates = Candidates { logits, side, first_token: 0, prompt: BOXES[prompt], predicted_iou: &[] };
            assert_eq!(*found, Measures::new(&candidates), "{maps} maps of {side}, prompt {prompt}");
        }
        if maps == 3 {
            assert_eq!(found[0].masks[1].area, 0, "the case has an empty mask");
        }
    }
}
