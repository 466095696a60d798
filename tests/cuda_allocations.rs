//! Forward passes of the CUDA backend, once they are recorded, allocate nothing: no memory of the host, none of the
//! device, no object of the driver. On a driver that does nothing, so that only what happens around its calls is
//! counted.
#![cfg(feature = "cuda")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;

use common::answers::{context, place, volume};
use common::run::{corners, tiny_vit_of_kernels};
use common::watched::{Counts, Watched};
use medsegx::backend::cuda::driver::null::Null;
use medsegx::mask::MaskChoice;
use medsegx::model::Preset;
use medsegx::segment::{Capacity, Fetch, Model, Picture, Prompt, Segmenter};
use medsegx::volume::{Intensity, Orientation};
use medsegx::weights::Weights;

/// One test, since allocations are counted for the whole process.
#[test]
fn recorded_runs_allocate_nothing() {
    batches();
    slices_of_litemedsam();
}

fn batches() {
    const BATCHES: usize = 50;
    let (driver, seen) = Watched::new(Null::default());
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 22);
    let model = Arc::new(Model::on_driver(&weights, driver).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity { batch: 2, ..Capacity::default() }, MaskChoice::Auto).unwrap();
    let volume = volume();
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    let cut = volume.frame(2, Orientation::Stored).unwrap();
    let (frame, points) = place(&mut segmenter, &volume, &map, &[0, 1]);
    let context = context("CT_Liver");
    let prompts = [0, 1].map(|slot| Prompt { slot, points: &points[slot], mask: None });
    let mut masks = vec![9; 2 * 3 * frame.slice[0] * frame.slice[1]];
    let mut batch = || {
        for slot in 0..2 {
            let slice = volume.stored_slice(&cut, slot, &map).unwrap();
            segmenter.place_stored(slot, &slice, Some(&context)).unwrap();
        }
        let ticket = segmenter.submit(&prompts, Fetch::All).unwrap();
        segmenter.collect(ticket).unwrap().masks(0..2, 1..4, &mut masks).unwrap();
    };
    // Each half of the memory: outside of a recording, recorded, replayed.
    (0..6).for_each(|_| batch());
    let mut found = 0;
    let counts = seen.during(|| found = counting::allocations(|| (0..BATCHES).for_each(|_| batch())));
    // A copy for each slice and one for the rest; scores and masks.
    let expected = Counts { replays: BATCHES, queued_writes: 3 * BATCHES, queued_reads: BATCHES, ..Counts::default() };
    assert_eq!(counts, expected);
    assert_eq!(found, 0, "allocations in {BATCHES} batches");
}

/// Pictures of LiteMedSAM are made on the host; encoder and decoder run apart.
fn slices_of_litemedsam() {
    const SLICES: usize = 20;
    let (driver, seen) = Watched::new(Null::default());
    let weights = Weights::synthetic(&tiny_vit_of_kernels(1), 22);
    let model = Arc::new(Model::on_driver(&weights, driver).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
    let pixels: Vec<u8> = (0..300 * 400).map(|i| (i % 251) as u8).collect();
    let picture = Picture { pixels: &pixels, height: 300, width: 400, channels: 1 };
    let (points, mut mask) = (corners([50.0, 60.0, 150.0, 120.0]), vec![9; 300 * 400]);
    let mut slice = || {
        segmenter.set_slice(&picture, None).unwrap();
        let mut answers = segmenter.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap();
        answers.mask(0, 0, &mut mask).unwrap();
    };
    // Outside of a recording, recorded, replayed.
    (0..3).for_each(|_| slice());
    let mut found = 0;
    let counts = seen.during(|| found = counting::allocations(|| (0..SLICES).for_each(|_| slice())));
    // Encoder and decoder.
    assert_eq!(counts.replays, 2 * SLICES);
    assert_eq!(found, 0, "allocations in {SLICES} slices");
}
