//! PyTorch checkpoints in both containers: an error, or tensors of their shapes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use medsegx::weights::torch::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes.to_vec(), "fuzz") else { return };
    for (name, shape) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.load(name) {
            assert_eq!(values.len(), shape.iter().product::<usize>());
        }
    }
});
