//! The batch that is chosen from free memory, on an interpreter that has as much as each case says.
#![cfg(feature = "cuda")]

use std::sync::Arc;

use medsegx::Error;
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::mask::MaskChoice;
use medsegx::model::Preset;
use medsegx::segment::{Capacity, Model, Segmenter};
use medsegx::weights::Weights;

/// The small model on a device of so many bytes.
fn model(bytes: u64) -> Result<Arc<Model>, Error> {
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 1);
    Model::on_driver(&weights, Interpreter::new(1, Checks::Fast).with_memory(bytes)).map(Arc::new)
}

fn free(model: &Model) -> u64 {
    model.free_bytes().unwrap().unwrap() as u64
}

fn chosen(model: &Model, slices: usize) -> usize {
    Capacity::default().with_batch_for(model, MaskChoice::Auto, slices).unwrap().batch
}

const PLENTY: u64 = 1 << 32;

#[test]
fn the_batch_halves_until_it_fits_half_of_the_free_memory() {
    let large = model(PLENTY).unwrap();
    let weights = PLENTY - free(&large);
    let session = |batch| {
        let before = free(&large);
        let held = Segmenter::new(&large, Capacity { batch, ..Capacity::default() }, MaskChoice::Auto).unwrap();
        let bytes = before - free(&large);
        drop(held);
        assert_eq!(free(&large), before, "a session gives its memory back");
        bytes
    };
    let sizes = [1, 2, 4, 8, 16].map(session);
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{sizes:?}");
    for (index, batch) in [1, 2, 4, 8, 16].into_iter().enumerate() {
        let room = weights + 2 * sizes[index];
        assert_eq!(chosen(&model(room).unwrap(), 64), batch, "room for two sessions of {batch}");
        // A session is mostly its arena, so a twentieth less is too little for the same batch.
        let less = weights + 2 * sizes[index] * 19 / 20;
        assert_eq!(chosen(&model(less).unwrap(), 64), (batch / 2).max(1), "a little less than that");
        let fits = model(room).unwrap();
        Segmenter::new(&fits, Capacity { batch: chosen(&fits, 64), ..Capacity::default() }, MaskChoice::Auto).unwrap();
    }
}

#[test]
fn the_batch_is_no_larger_than_the_slices_fill() {
    let large = model(PLENTY).unwrap();
    assert_eq!([1, 2, 3, 5, 8].map(|slices| chosen(&large, slices)), [1, 2, 4, 8, 8]);
    assert_eq!(chosen(&large, 100_000), 64);
}

#[test]
fn a_batch_beyond_the_memory_is_an_error_that_says_so() {
    let large = model(PLENTY).unwrap();
    let weights = PLENTY - free(&large);
    let small = model(weights + (8 << 20)).unwrap();
    let capacity = Capacity { batch: 64, ..Capacity::default() };
    let Err(error) = Segmenter::new(&small, capacity, MaskChoice::Auto) else { panic!("there is no room for it") };
    let text = error.to_string();
    assert!(text.contains("ptxvm") && text.contains("allocate") && text.contains("out of memory"), "{text}");
    assert!(text.contains(&format!("of {} bytes are free", weights + (8 << 20))), "{text}");
    // The device is as good as before.
    assert_eq!(free(&small), 8 << 20);
    let Err(error) = model(weights / 2) else { panic!("there is no room for the weights") };
    assert!(error.to_string().contains("out of memory"), "{error}");
}
