//! Weight files: an error, or a model whose every tensor has its length and is finite.
#![no_main]

use libfuzzer_sys::fuzz_target;
use medsegx::weights::Weights;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = Weights::from_bytes(bytes.to_vec(), "fuzz") else { return };
    for name in weights.names() {
        if let Ok(values) = weights.load(name) {
            assert_eq!(Some(values.len()), weights.shape(name).map(|shape| shape.iter().product()));
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
});
