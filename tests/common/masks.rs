//! A logit map resized to a mask on a device.

use medsegx::backend::Backend;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::Driver;
use medsegx::graph::{Element, Graph, Plan, Role};
use medsegx::image::resample::{Fit, LogitResizer};

/// The mask of a slice from the second of two maps `[256, 256]`, and how many pixels it has.
pub fn resize<D: Driver>(backend: &Cuda<D>, logits: &[f32], fit: Fit, slice: [usize; 2]) -> (Vec<u8>, u32) {
    let mut graph = Graph::new(1);
    let id = graph.value("logits", &[2, 256, 256], Element::F32, Role::Input);
    let plan = Plan::new(backend.lower(graph));
    let mut arena = backend.arena(&[&plan]).expect("memory");
    let both: Vec<f32> = logits.iter().map(|x| -x).chain(logits.iter().copied()).collect();
    backend.write(&mut arena, &plan, id, 0, bytemuck::cast_slice(&both)).expect("logits are written");
    let side = if fit == Fit::Stretch { 256 } else { 1024 };
    let resizer = LogitResizer::new(256, side, slice, fit).expect("sizes");
    let device = backend.mask_resizer(&resizer).expect("taps are uploaded");
    let area = slice[0] * slice[1];
    let (mut masks, mut counts) = (vec![9; 2 * area], [7; 2]);
    backend.masks(&mut arena, &plan, id, (0, 1), &device, (&mut masks, &mut counts)).expect("the masks are resized");
    // One alone is what it is beside others.
    let (mut mask, mut count) = (vec![9; area], [7]);
    backend.masks(&mut arena, &plan, id, (1, 2), &device, (&mut mask, &mut count)).expect("the mask is resized");
    assert_eq!((&masks[area..], counts[1]), (&mask[..], count[0]));
    (mask, count[0])
}
