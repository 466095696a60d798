//! A file in a folder of kept embeddings, under the name that a run looks for: whatever is in it, the run's embedding
//! is the one that the encoder gives. The input is laid over the right file, or stands in its place.
#![no_main]

mod on_disk;
mod small;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use medsegx::backend::cpu::CpuOptions;
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Device, EmbeddingFolder, Model, ModelOptions, Picture, Segmenter};
use medsegx::taxonomy::Context;
use medsegx::weights::Weights;

/// A model, its folder, the file in it, and what belongs there.
struct Right {
    model: Arc<Model>,
    folder: PathBuf,
    file: PathBuf,
    bytes: Vec<u8>,
    embedding: Vec<f32>,
}

fn embedding(model: &Arc<Model>, folder: &std::path::Path) -> (Vec<f32>, u64) {
    let mut session = Segmenter::new(model, Capacity::default(), MaskChoice::Auto).expect("a session");
    let folder = EmbeddingFolder::open(folder, &"0".repeat(64), model).expect("a folder");
    session.keep(1, Some(folder)).expect("room");
    let pixels: Vec<u8> = (0..20 * 20).map(|i: u32| (i * i >> 3) as u8).collect();
    let picture = Picture { pixels: &pixels, height: 20, width: 20, channels: 1 };
    session.set_slice(&picture, Some(&Context { modality: 1, organ: [1, 2, 3], task: 4 })).expect("a slice");
    let mut values = vec![0.0; session.embedding_len()];
    session.embeddings(&mut values).expect("an embedding");
    (values, session.kept().found)
}

fn right() -> &'static Right {
    static RIGHT: OnceLock<Right> = OnceLock::new();
    RIGHT.get_or_init(|| {
        let folder = on_disk::write("x", b"").with_file_name("embeddings");
        let cpu = CpuOptions { threads: Some(1), ..CpuOptions::default() };
        let options = ModelOptions { device: Device::Cpu, cpu };
        let model = Arc::new(Model::load(&Weights::synthetic(&small::config(), 7), &options).expect("a model"));
        let (values, found) = embedding(&model, &folder);
        assert_eq!(found, 0);
        let inner = std::fs::read_dir(&folder).expect("a folder").next().expect("one").expect("an entry").path();
        let file = std::fs::read_dir(inner).expect("a folder").next().expect("one").expect("an entry").path();
        let bytes = std::fs::read(&file).expect("an embedding");
        Right { model, folder, file, bytes, embedding: values }
    })
}

fuzz_target!(|input: &[u8]| {
    let right = right();
    let laid = match input {
        // Two bytes of place, then bytes to put there; beyond the end they make the file longer.
        [0, low, high, put @ ..] => {
            let (mut bytes, at) = (right.bytes.clone(), usize::from(u16::from_le_bytes([*low, *high])));
            bytes.resize(bytes.len().max(at + put.len()), 0);
            bytes[at..at + put.len()].copy_from_slice(put);
            bytes
        }
        // Cut.
        [1, low, high, ..] => {
            let at = usize::from(u16::from_le_bytes([*low, *high])) % (right.bytes.len() + 1);
            right.bytes[..at].to_vec()
        }
        other => other.to_vec(),
    };
    std::fs::write(&right.file, &laid).expect("room");
    let (values, found) = embedding(&right.model, &right.folder);
    assert!(values == right.embedding, "another embedding than the encoder's");
    assert_eq!(found == 1, laid == right.bytes, "a file that is not the run's own was taken, or its own was not");
});
