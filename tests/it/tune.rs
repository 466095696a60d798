//! Tuning of the decoder against gradients and steps of PyTorch in f64 (../shared/oracle/tune), at every SIMD level.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::run::tiny_variant;
use crate::common::tolerance::{TUNE, find};
use crate::common::{relative_l2, shared, tensor};
use medsegx::backend::cpu::{CpuOptions, Level};
use medsegx::mask::MaskChoice;
use medsegx::model::{Config, Preset};
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Segmenter};
use medsegx::taxonomy::Context;
use medsegx::tune::{AdamW, Sample, Train, Trainer, TrainerOptions};
use medsegx::weights::{Weights, synth};
use serde_json::Value;

const SIDE: usize = 256;
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The 24 bits behind element `index` of a name, as ../shared/oracle/synth.py makes them.
fn bits24(name: &str, index: usize) -> u32 {
    let base = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let z = base.wrapping_add((index as u64 + 1).wrapping_mul(GOLDEN));
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ z >> 31) >> 40) as u32
}

fn bits(name: &str, index: usize, keep: u32) -> i64 {
    i64::from(bits24(name, index) >> (24 - keep))
}

pub(crate) fn unit(name: &str, index: usize) -> f64 {
    f64::from(bits24(name, index)) / f64::from(1 << 23) - 1.0
}

/// The label of a case, as the README there defines it.
pub(crate) fn label(case: u64) -> Vec<u8> {
    let pair = |what: &str, add: i64, keep: u32| {
        let name = format!("label.{what}.{case}");
        [add + bits(&name, 0, keep), add + bits(&name, 1, keep)]
    };
    let ([cx, cy], [rx, ry]) = (pair("centre", 64, 7), pair("radius", 20, 5));
    let cells = format!("label.cells.{case}");
    let pixel = |at: usize| {
        let (x, y) = ((at % SIDE) as i64, (at / SIDE) as i64);
        let d = 4 * ((x - cx).pow(2) * ry * ry + (y - cy).pow(2) * rx * rx);
        let full = rx * rx * ry * ry;
        let cell = bits(&cells, at / SIDE / 8 * 32 + at % SIDE / 8, 1) == 1;
        u8::from(d <= full || d <= 4 * full && cell)
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// A golden case.
pub(crate) struct Case {
    pixels: Vec<u8>,
    context: Context,
    label: Vec<u8>,
}

pub(crate) struct Oracle {
    pub path: PathBuf,
    pub meta: Value,
    pub weights: Weights,
    pub cases: Vec<Case>,
}

impl Oracle {
    pub fn open(name: &str, config: &Config) -> Option<Oracle> {
        let path = shared(&format!("tuning of {name}"), &format!("oracle/tune/{name}.safetensors"))?;
        let meta: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let weights = Weights::synthetic(config, meta["seed"].as_u64().unwrap());
        let case = |case: &Value| {
            let planes = synth::image(case["image"].as_u64().unwrap() as usize);
            let area = SIDE * SIDE;
            let row = |value: &Value| value.as_u64().unwrap() as usize;
            let organ = &case["organ"];
            let context = Context {
                modality: row(&case["modal"]),
                organ: [row(&organ[0]), row(&organ[1]), row(&organ[2])],
                task: row(&organ[3]),
            };
            let label = label(case["label"].as_u64().unwrap());
            assert_eq!(label.iter().map(|&l| u64::from(l)).sum::<u64>(), case["pixels"].as_u64().unwrap());
            Case { pixels: (0..3 * area).map(|i| planes[i % 3 * area + i / 3]).collect(), context, label }
        };
        let cases = meta["samples"].as_array().unwrap().iter().map(case).collect();
        Some(Oracle { path, meta, weights, cases })
    }

    pub fn trainer(&self, options: TrainerOptions) -> (Trainer, Vec<Sample>) {
        let cpu = CpuOptions { threads: options.threads, level: options.level, ..CpuOptions::default() };
        let model = Arc::new(Model::load(&self.weights, &ModelOptions { device: Device::Cpu, cpu }).unwrap());
        let trainer = Trainer::on(&model, &self.weights, options).unwrap();
        let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
        let sample = |case: &Case| {
            let picture = Picture { pixels: &case.pixels, height: SIDE, width: SIDE, channels: 3 };
            let frame = segmenter.set_slice(&picture, Some(&case.context)).unwrap();
            if options.train != Train::Decoder {
                return trainer.sample_placed(&segmenter, 0, &frame, &case.label).unwrap();
            }
            let mut embedding = vec![0.0; segmenter.embedding_len()];
            segmenter.embeddings(&mut embedding).unwrap();
            trainer.sample(&embedding, &frame, &case.label).unwrap()
        };
        let samples: Vec<Sample> = self.cases.iter().map(sample).collect();
        for (sample, case) in samples.iter().zip(self.meta["samples"].as_array().unwrap()) {
            let expected: Vec<f64> = case["box"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            assert_eq!(sample.region().map(f64::from).to_vec(), expected);
        }
        (trainer, samples)
    }
}

/// Two threads, and the published loss.
pub(crate) fn options(train: Train, level: Level, rate: f32) -> TrainerOptions {
    let adam = AdamW { rate, ..AdamW::default() };
    let (threads, level) = (Some(2), Some(level));
    TrainerOptions { train, threads, level, adam, mean_share: 0.0, ..TrainerOptions::default() }
}

pub(crate) fn batch(samples: &[Sample]) -> Vec<(&Sample, [f32; 4])> {
    samples.iter().map(|sample| (sample, sample.region())).collect()
}

/// Compares a number by the row `what` of the tolerances.
pub(crate) fn near(what: &str, found: f64, expected: f64, of: &str) {
    let distance = if found == expected { 0.0 } else { (found - expected).abs() / expected.abs() };
    find(TUNE, what).check(distance, of);
}

/// The stored elements of a tensor.
pub(crate) fn strided(values: &[f32], stride: usize) -> Vec<f32> {
    values.iter().copied().step_by(stride).collect()
}

pub(crate) fn gradients(oracle: &Oracle, train: Train, level: Level) {
    let (mut trainer, samples) = oracle.trainer(options(train, level, 5e-5));
    let losses = trainer.gradients(&batch(&samples)).unwrap();
    for (which, loss) in losses.iter().enumerate() {
        for mask in 0..3 {
            let expected = |what: &str| oracle.meta[what][which][mask].as_f64().unwrap();
            near("dice and entropy", loss.dice[mask], expected("dice"), "dice");
            near("dice and entropy", loss.entropy[mask], expected("bce"), "bce");
        }
        assert_eq!(loss.chosen as u64, oracle.meta["chosen"][which].as_u64().unwrap());
    }
    let mean = losses.iter().map(|loss| loss.total).sum::<f64>() / losses.len() as f64;
    near("loss", mean, oracle.meta["loss"].as_f64().unwrap(), &format!("{level} {train:?}"));

    let (mut worst, mut squares, mut apart, mut seen) = (0.0_f64, 0.0, 0.0, 0);
    for trained in trainer.trained() {
        let found = trainer.gradient(&trained.name).unwrap();
        let of = &oracle.meta["tensors"][&trained.name];
        assert_eq!(of["shape"], serde_json::json!(trained.shape));
        if trained.name.ends_with("k_proj.bias") {
            // Exactly zero but for rounding: softmax does not see a constant.
            assert!(found.iter().all(|g| g.abs() < 1e-6), "{}", trained.name);
            continue;
        }
        let expected = tensor(&oracle.path, &format!("gradient.{}", trained.name));
        let stored = strided(&found, of["stride"].as_u64().unwrap() as usize);
        let (norm, probe) = (of["gradient"]["norm"].as_f64().unwrap(), of["gradient"]["probe"].as_f64().unwrap());
        if norm == 0.0 {
            assert!(found.iter().all(|&g| g == 0.0), "{} has a gradient", trained.name);
            continue;
        }
        let distance = relative_l2(&stored, &expected);
        let is_decoder = trained.name.starts_with("mask_decoder.");
        let what = if is_decoder { "gradient in the decoder" } else { "gradient in the encoder" };
        find(TUNE, what).check(distance, &format!("{level} {}", trained.name));
        // Norm and probe see what is not stored.
        let name = format!("probe.{}", trained.name);
        let wide = |i: usize| f64::from(found[i]);
        let found_norm = (0..found.len()).map(|i| wide(i).powi(2)).sum::<f64>().sqrt();
        near(what, found_norm, norm, &format!("{level} norm of {}", trained.name));
        let found_probe: f64 = (0..found.len()).map(|i| wide(i) * unit(&name, i)).sum();
        find(TUNE, what).check((found_probe - probe).abs() / norm, &format!("{level} probe of {}", trained.name));
        worst = worst.max(distance);
        squares += expected.iter().map(|&e| f64::from(e).powi(2)).sum::<f64>();
        apart += stored.iter().zip(&expected).map(|(&f, &e)| (f64::from(f) - f64::from(e)).powi(2)).sum::<f64>();
        seen += 1;
    }
    let all = (apart / squares).sqrt();
    println!("{level} {train:?}: {seen} tensors, worst {worst:.1e}, all as one {all:.1e}");
    let what = if train == Train::Adapters { "gradients of the encoder as one" } else { "gradients as one" };
    find(TUNE, what).check(all, &format!("{level} {train:?}"));
    assert!(seen > 30, "{level}: {seen} tensors");
}

/// Five steps against AdamW's formulas in f64, from the gradients that the trainer had.
fn five_steps(oracle: &Oracle, level: Level) {
    const RATE: f64 = 5e-5;
    let (mut trainer, samples) = oracle.trainer(options(Train::Decoder, level, RATE as f32));
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let names: Vec<String> = trainer.trained().iter().map(|trained| trained.name.clone()).collect();
    let mut exact: Vec<[Vec<f64>; 3]> = names
        .iter()
        .map(|name| wide(trainer.value(name).unwrap()))
        .map(|p| [p.clone(), vec![0.0; p.len()], vec![0.0; p.len()]])
        .collect();
    for step in 1..=5 {
        let loss = trainer.step(&batch(&samples)).unwrap();
        // Later golden steps train the adapters too, which changes the loss.
        if step == 1 {
            near("loss", loss, oracle.meta["loss"].as_f64().unwrap(), &format!("{level} first step"));
        }
        let power = |beta: f64| 1.0 - beta.powi(step);
        for (name, [p, m, v]) in names.iter().zip(&mut exact) {
            for (i, &g) in wide(&trainer.gradient(name).unwrap()).iter().enumerate() {
                p[i] -= RATE * 0.01 * p[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                p[i] -= RATE * (m[i] / power(0.9)) / ((v[i] / power(0.999)).sqrt() + 1e-8);
            }
        }
    }
    let mut moved = 0.0_f64;
    for (name, [exact, ..]) in names.iter().zip(&exact) {
        for (&found, &exact) in trainer.value(name).unwrap().iter().zip(exact) {
            // Each step rounds twice; the step itself is a few roundings of f32 off.
            let limit = 10.0 * exact.abs() * 2.0_f64.powi(-24) + 1e-5 * RATE;
            assert!((f64::from(found) - exact).abs() <= limit, "{level} {name}: {found} {exact}");
        }
        let start = oracle.weights.load(name).unwrap();
        moved = exact.iter().zip(&start).fold(moved, |most, (now, &start)| most.max((now - f64::from(start)).abs()));
    }
    assert!(moved > 4.0 * RATE, "five steps went {moved:.1e}");
}

#[test]
fn gradients_and_steps_of_tiny() {
    let Some(oracle) = Oracle::open("tiny", &Preset::Tiny.medsegx()) else { return };
    for level in Level::available() {
        gradients(&oracle, Train::Decoder, level);
        five_steps(&oracle, level);
    }
}

#[test]
fn gradients_and_steps_of_another_size_and_of_two_masks() {
    let Some(oracle) = Oracle::open("tiny_variant", &tiny_variant()) else { return };
    for level in Level::available() {
        gradients(&oracle, Train::Decoder, level);
        five_steps(&oracle, level);
    }
}

#[test]
fn neither_threads_nor_company_change_a_bit() {
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 0);
    let length = Preset::Tiny.medsegx().tokens() * Preset::Tiny.medsegx().prompt_width;
    let frame = medsegx::segment::Frame::new(&Preset::Tiny.medsegx(), SIDE, SIDE).unwrap();
    let run = |threads: usize| {
        let options = TrainerOptions { threads: Some(threads), ..TrainerOptions::default() };
        let mut trainer = Trainer::new(&weights, options).unwrap();
        let samples: Vec<Sample> = [11, 13, 12]
            .into_iter()
            .map(|case| {
                let embedding: Vec<f32> = (0..length).map(|i| unit(&format!("embedding.{case}"), i) as f32).collect();
                trainer.sample(&embedding, &frame, &label(case)).unwrap()
            })
            .collect();
        let losses: Vec<f64> = (0..2).map(|_| trainer.step(&batch(&samples)).unwrap()).collect();
        assert!(losses[0] != losses[1]);
        let values: Vec<f32> =
            trainer.trained().iter().flat_map(|t| trainer.value(&t.name).unwrap().to_vec()).collect();
        let logits = trainer.logits(&samples.iter().collect::<Vec<_>>()).unwrap();
        (losses, values, logits)
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn labels_that_teach_nothing_are_refused() {
    let config = Preset::Tiny.medsegx();
    let weights = Weights::synthetic(&config, 0);
    let trainer = Trainer::new(&weights, TrainerOptions::default()).unwrap();
    let embedding = vec![0.5; config.tokens() * config.prompt_width];
    // Wider than the model's picture, so that a single pixel is lost there.
    let frame = medsegx::segment::Frame::new(&config, 4 * SIDE, 4 * SIDE).unwrap();
    let mut one = vec![0; 16 * SIDE * SIDE];
    one[16 * 4 * SIDE + 16] = 1;
    for (label, found) in [(vec![0; one.len()], "no pixel inside"), (vec![1; one.len()], "none outside"), (one, "size")]
    {
        let error = trainer.sample(&embedding, &frame, &label).err().unwrap().to_string();
        assert!(error.contains(found), "{error}");
    }
    assert!(trainer.sample(&embedding, &frame, &[1]).is_err());
    assert!(Trainer::new(&Weights::synthetic(&Preset::Tiny.sam(), 0), TrainerOptions::default()).is_err());
}
