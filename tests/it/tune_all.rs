//! Tuning of the encoder's adapters, alone and with the decoder, against gradients and steps of PyTorch in f64
//! (../shared/oracle/tune), at every SIMD level; and that neither threads nor memory change a bit.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::common::run::tiny_variant;
use crate::common::tensor;
use crate::common::tolerance::{TUNE, find};
use crate::tune::{Oracle, batch, gradients, near, options, strided, unit};
use medsegx::backend::cpu::Level;
use medsegx::model::{Config, Preset};
use medsegx::tune::{AdamW, Train, Trainer, TrainerOptions};
use medsegx::weights::Weights;

fn oracles() -> impl Iterator<Item = Oracle> {
    let configs: [(&str, Config); 2] = [("tiny", Preset::Tiny.medsegx()), ("tiny_variant", tiny_variant())];
    configs.into_iter().filter_map(|(name, config)| Oracle::open(name, &config))
}

#[test]
fn gradients_of_every_trained_tensor() {
    for oracle in oracles() {
        for level in Level::available() {
            gradients(&oracle, Train::All, level);
            gradients(&oracle, Train::Adapters, level);
        }
    }
}

/// Losses, and what five steps change: as a whole, and what only decays to the rounding of the weights.
#[test]
fn five_steps_of_all_that_is_trained() {
    const RATE: f64 = 5e-5;
    for oracle in oracles() {
        for level in Level::available() {
            let (mut trainer, samples) = oracle.trainer(options(Train::All, level, RATE as f32));
            let steps = oracle.meta["steps"].as_array().unwrap();
            assert_eq!(steps.len(), 6);
            for (at, step) in steps.iter().enumerate() {
                let expected = step["loss"].as_f64().unwrap();
                let loss = if at < 5 {
                    trainer.step(&batch(&samples)).unwrap()
                } else {
                    let losses = trainer.gradients(&batch(&samples)).unwrap();
                    losses.iter().map(|loss| loss.total).sum::<f64>() / losses.len() as f64
                };
                near("loss of five steps", loss, expected, &format!("{level} loss {at}"));
            }
            let (mut apart, mut squares, mut far, mut seen) = (0.0, 0.0, 0_usize, 0_usize);
            for trained in trainer.trained() {
                let start = oracle.weights.load(&trained.name).unwrap();
                let value = trainer.value(&trained.name).unwrap();
                let of = &oracle.meta["tensors"][&trained.name];
                let expected = tensor(&oracle.path, &format!("delta.{}", trained.name));
                let stride = of["stride"].as_u64().unwrap() as usize;
                let (start, value) = (strided(&start, stride), strided(value, stride));
                let only_decays = of["gradient"]["norm"].as_f64().unwrap() == 0.0;
                let (mut off_decay, mut size) = (0.0, 0.0);
                for ((&start, &value), &delta) in start.iter().zip(&value).zip(&expected) {
                    let (start, delta) = (f64::from(start), f64::from(delta));
                    let off = (f64::from(value) - start - delta).abs();
                    // Its gradient is rounding alone, of which Adam makes steps either way: left out.
                    if trained.name.ends_with("k_proj.bias") {
                        continue;
                    }
                    if only_decays {
                        (off_decay, size) = (off_decay + off * off, size + start * start);
                    }
                    apart += off * off;
                    squares += delta * delta;
                    far += usize::from(off > 0.1 * RATE);
                    seen += 1;
                }
                let decay = (off_decay / f64::max(size, f64::MIN_POSITIVE)).sqrt();
                find(TUNE, "decay").check(decay, &format!("{level} {}", trained.name));
            }
            let whole = (apart / squares).sqrt();
            let share = far as f64 / seen as f64;
            println!("{level}: five steps {whole:.1e} off as one, {share:.1e} of the elements by a tenth of the rate");
            find(TUNE, "five steps as one").check(whole, &level.to_string());
            find(TUNE, "elements off in five steps").check(share, &level.to_string());
        }
    }
}

/// Of the oracle's twenty losses those within its tolerance for any float32: Adam makes whole steps of rounding, and at
/// this rate one that is apart soon makes more so.
#[test]
fn ten_larger_steps() {
    for oracle in oracles() {
        for level in Level::available() {
            let (mut trainer, samples) = oracle.trainer(options(Train::All, level, 1e-3));
            let losses = oracle.meta["twenty_steps_at_1e_3"].as_array().unwrap();
            assert_eq!(losses.len(), 21);
            for (at, expected) in losses[..10].iter().enumerate() {
                let (loss, expected) = (trainer.step(&batch(&samples)).unwrap(), expected.as_f64().unwrap());
                near("loss of ten steps at 1e-3", loss, expected, &format!("{level} step {at}"));
            }
        }
    }
}

/// Kept or computed anew, on any number of threads: the same bits.
#[test]
fn neither_threads_nor_memory_change_a_bit() {
    for oracle in oracles() {
        let run = |train: Train, threads: usize, memory: usize| {
            let memory = Some(memory);
            let with = TrainerOptions { train, threads: Some(threads), memory, ..TrainerOptions::default() };
            let (mut trainer, samples) = oracle.trainer(with);
            let losses: Vec<u64> = (0..2).map(|_| trainer.step(&batch(&samples)).unwrap().to_bits()).collect();
            let values: Vec<u32> = trainer
                .trained()
                .iter()
                .flat_map(|trained| {
                    trainer.value(&trained.name).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                })
                .collect();
            let logits: Vec<u32> = trainer
                .logits(&samples.iter().collect::<Vec<_>>())
                .unwrap()
                .concat()
                .iter()
                .map(|x| x.to_bits())
                .collect();
            (losses, values, logits)
        };
        let memory = Trainer::new(&oracle.weights, TrainerOptions { train: Train::All, ..TrainerOptions::default() })
            .unwrap()
            .step_memory(2);
        let one_block = memory.bytes(1);
        // All but one and one that is shared take as much as all: of two blocks either both are kept or none.
        assert!(memory.kept(0) == 0 && memory.kept(one_block) == if memory.blocks == 2 { 2 } else { 1 });
        assert!(memory.bytes(0) <= one_block && one_block < memory.bytes(memory.blocks) + memory.block);
        let all = run(Train::All, 1, usize::MAX);
        for (threads, memory) in [(2, usize::MAX), (3, usize::MAX), (1, 0), (3, 0), (2, one_block)] {
            assert!(run(Train::All, threads, memory) == all, "{threads} threads, {memory} bytes");
        }
        let adapters = run(Train::Adapters, 1, usize::MAX);
        assert!(run(Train::Adapters, 3, 0) == adapters && adapters.1.len() < all.1.len());
    }
}

#[test]
fn a_step_ends_when_it_is_told_to() {
    for oracle in oracles() {
        let with = TrainerOptions { train: Train::All, ..TrainerOptions::default() };
        let (mut trainer, samples) = oracle.trainer(with);
        let stop = Arc::new(AtomicBool::new(true));
        trainer.set_stop(&stop);
        let before = trainer.value(&trainer.trained()[0].name).unwrap().to_vec();
        let error = trainer.step(&batch(&samples)).unwrap_err();
        assert!(matches!(error, medsegx::Error::Cancelled), "{error}");
        assert!(trainer.value(&trainer.trained()[0].name).unwrap() == before);
        stop.store(false, std::sync::atomic::Ordering::Relaxed);
        trainer.step(&batch(&samples)).unwrap();
    }
}

#[test]
fn what_has_no_adapters_is_refused() {
    let lite = Config::litemedsam();
    for train in [Train::Adapters, Train::All] {
        let with = TrainerOptions { train, adam: AdamW::default(), ..TrainerOptions::default() };
        let error = Trainer::new(&Weights::synthetic(&lite, 0), with).err().unwrap().to_string();
        assert!(error.contains("MedSegX") && error.contains("--train decoder"), "{error}");
    }
    assert!(Trainer::new(&Weights::synthetic(&lite, 0), TrainerOptions::default()).is_ok());
    // A sample of one trainer is none of the other.
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 0);
    let decoder = Trainer::new(&weights, TrainerOptions::default()).unwrap();
    let with = TrainerOptions { train: Train::All, ..TrainerOptions::default() };
    let mut all = Trainer::new(&weights, with).unwrap();
    let config = Preset::Tiny.medsegx();
    let frame = medsegx::segment::Frame::new(&config, 256, 256).unwrap();
    let embedding: Vec<f32> = (0..config.tokens() * config.prompt_width).map(|i| unit("embedding", i) as f32).collect();
    let sample = decoder.sample(&embedding, &frame, &crate::tune::label(11)).unwrap();
    let error = all.step(&batch(&[sample])).unwrap_err().to_string();
    assert!(error.contains("sample_placed"), "{error}");
}
