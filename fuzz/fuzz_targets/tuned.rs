//! Files of `medsegx tune`: an error, or tensors and metadata that a model takes or refuses. `fuzz/seeds.py` makes
//! files to begin with.
#![no_main]

mod on_disk;

use libfuzzer_sys::fuzz_target;
use medsegx::model::Preset;
use medsegx::weights::Weights;
use medsegx::weights::tuned::Tuned;

fuzz_target!(|bytes: &[u8]| {
    let path = on_disk::write("tuned.safetensors", bytes);
    let Ok(tuned) = Tuned::open(&path) else { return };
    assert_eq!(tuned.path(), path);
    let values: usize = tuned.tensors().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert!(values * 4 <= bytes.len());
    let _ = (tuned.images().count(), tuned.has_encoder(), tuned.metadata().len());
    // Of other weights, whatever it says of its base.
    assert!(Weights::synthetic(&Preset::Tiny.medsegx(), 7).tune(tuned).is_err());
});
