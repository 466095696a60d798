//! The CUDA backend on a real device: every operation, the golden tensors, agreement with ptxvm, and what follows the
//! decoder. `MEDSEGX_TEST_DEVICE` names the device (`cuda:1`, `ptxvm`); otherwise it is the first of the machine, and
//! without any each test says that it is SKIPPED.
#![cfg(feature = "cuda")]

mod common;

use std::sync::Arc;

use common::golden::Golden;
use common::run::{boxes, segment, synthetic, tiny_vit_logits, tiny_vit_of_kernels};
use common::stages::{all_logits, stages};
use common::{answers, op_cases, pictures, relative_l2, tolerance};
use medsegx::Error;
use medsegx::backend::Launches;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::Driver;
use medsegx::backend::cuda::driver::nvidia::Nvidia;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::executor::Session;
use medsegx::image::resample::LogitResizer;
use medsegx::mask::{Candidates, MaskChoice, Measures, box_of_logits};
use medsegx::model::Preset;
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
use medsegx::taxonomy::{Query, resolve};
use medsegx::volume::{Intensity, Volume, Voxels};
use medsegx::weights::Weights;

/// The device that tests run on, or `None` after naming the test that is skipped.
fn device(test: &str) -> Option<Device> {
    if let Ok(name) = std::env::var("MEDSEGX_TEST_DEVICE") {
        return Some(name.parse().unwrap_or_else(|e| panic!("MEDSEGX_TEST_DEVICE: {e}")));
    }
    match Nvidia::open(0, Launches::Ordered) {
        Ok(_) => Some(Device::Cuda(0, Launches::Ordered)),
        Err(error) => {
            common::skipped(test, &error.to_string());
            None
        }
    }
}

fn interpreter(launches: Launches) -> Cuda<Interpreter> {
    Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast).with_launches(launches)).unwrap()
}

/// Runs `$check` with something that opens the test device.
macro_rules! on_device {
    ($check:ident) => {
        match device(stringify!($check)) {
            None => {}
            Some(Device::Cuda(ordinal, launches)) => $check(|| Cuda::open(ordinal, launches).unwrap()),
            Some(Device::Ptxvm(_, launches)) => $check(|| interpreter(launches)),
            Some(other) => panic!("MEDSEGX_TEST_DEVICE: a CUDA device or ptxvm, not {other:?}"),
        }
    };
}

#[test]
fn every_operation() {
    on_device!(operations);
}

fn operations<D: Driver>(open: impl Fn() -> Cuda<D>) {
    let (cuda, interpreter, mut bad) = (open(), interpreter(Launches::Ordered), Vec::new());
    for case in op_cases::all() {
        let row = tolerance::find(tolerance::F16_OPS, case.op);
        let found = match case.outputs(&cuda) {
            Ok(found) => found,
            // Sizes that no model has; tests/cuda_ops.rs lists them.
            Err(Error::Tensor { .. }) => continue,
            Err(error) => {
                bad.push(format!("{} ({}): {error}", case.op, case.name));
                continue;
            }
        };
        let interpreted = case.outputs(&interpreter).unwrap();
        let from_ptxvm = found.iter().zip(&interpreted).map(|(found, other)| relative_l2(found, other));
        for (from_truth, from_ptxvm) in case.distances_of(&found).into_iter().zip(from_ptxvm) {
            let line = format!("{} ({}): {from_truth:.1e} from f64, {from_ptxvm:.1e} from ptxvm", case.op, case.name);
            println!("{line}, tolerance {:.0e} ({})", row.limit, row.reason);
            if from_truth.max(from_ptxvm).is_nan() || from_truth.max(from_ptxvm) > row.limit {
                bad.push(line);
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn goldens_of_the_small_network() {
    on_device!(small_goldens);
}

fn small_goldens<D: Driver>(open: impl Fn() -> Cuda<D>) {
    let golden = Golden::portable("tiny", tolerance::F16);
    assert!(stages(&golden, &Preset::Tiny.medsegx(), open()));
    assert!(all_logits(&golden, &Preset::Tiny.medsegx(), open()));
}

#[test]
fn goldens_of_the_large_network() {
    on_device!(large_goldens);
}

fn large_goldens<D: Driver>(open: impl Fn() -> Cuda<D>) {
    assert!(all_logits(&Golden::portable("vit_b", tolerance::F16), &Preset::VitB.medsegx(), open()));
}

#[test]
fn networks_with_a_tiny_vit() {
    on_device!(tiny_vits);
}

fn tiny_vits<D: Driver>(open: impl Fn() -> Cuda<D>) {
    for stem in [1, 3] {
        let config = tiny_vit_of_kernels(stem);
        let expected = tiny_vit_logits(&config, Cpu::new(CpuOptions::default()).unwrap(), 1);
        let distance = relative_l2(&tiny_vit_logits(&config, open(), 2), &expected);
        let row = tolerance::find(tolerance::F16, "logits");
        println!("stem of {stem} x {stem}: logits {distance:.1e} from the CPU's, tolerance {:.0e}", row.limit);
        assert!(distance <= row.limit);
    }
}

#[test]
fn the_same_bits_each_time_and_those_of_ptxvm_nearly() {
    on_device!(agreement);
}

fn agreement<D: Driver>(open: impl Fn() -> Cuda<D>) {
    let golden = Golden::portable("tiny", tolerance::F16);
    let cases = [golden.case(0), golden.case(1)];
    let mut session = Session::new(synthetic(&Preset::Tiny.medsegx(), open()), boxes(2)).unwrap();
    let first = segment(&mut session, &cases);
    for run in 1..4 {
        // The first run launches kernel by kernel, the second records, the others replay.
        assert!(segment(&mut session, &cases) == first, "run {run}: other bits");
    }
    let mut interpreted =
        Session::new(synthetic(&Preset::Tiny.medsegx(), interpreter(Launches::Ordered)), boxes(2)).unwrap();
    let distance = relative_l2(&first.0, &segment(&mut interpreted, &cases).0);
    let row = tolerance::find(tolerance::F16, "logits");
    println!("logits {distance:.1e} from ptxvm's, tolerance {:.0e}", row.limit);
    assert!(distance <= row.limit);
}

#[test]
fn masks_and_scores_are_those_of_the_logits() {
    let Some(device) = device("masks_and_scores_are_those_of_the_logits") else { return };
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 22);
    let model = Arc::new(Model::load(&weights, &ModelOptions { device, ..ModelOptions::default() }).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity { batch: 2, ..Capacity::default() }, MaskChoice::Auto).unwrap();
    let (height, width, side) = (190, 301, 256);
    let pixels: Vec<u8> = (0..height * width).map(|i| ((i % width) * 5 + (i / width) * 3) as u8 / 2).collect();
    let picture = Picture { pixels: &pixels, height, width, channels: 1 };
    let context = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() }).unwrap();
    let regions = [[20.0, 30.0, 200.0, 150.0], [0.0, 0.0, 300.0, 189.0]];
    let mut points = [Vec::new(), Vec::new()];
    let frame = segmenter.place(0, &picture, Some(&context)).unwrap();
    segmenter.encode().unwrap();
    points.iter_mut().zip(regions).for_each(|(points, region)| prompt_points(&frame, &[], Some(region), points));
    let prompts = [0, 1].map(|i| Prompt { slot: 0, points: &points[i], mask: None });
    let mut answers = segmenter.answer(&prompts).unwrap();

    let area = height * width;
    let mut masks = vec![7; 2 * 3 * area];
    answers.masks(0..2, 1..4, &mut masks).unwrap();
    let mut resizer = LogitResizer::new(side, frame.size, frame.slice, frame.fit()).unwrap();
    let mut inside = 0;
    for (prompt, region) in regions.into_iter().enumerate() {
        let verdict = answers.verdict(prompt);
        let mut chosen = vec![7; area];
        answers.mask(prompt, verdict.chosen, &mut chosen).unwrap();
        let of_prompt = &masks[3 * prompt * area..][..3 * area];
        assert_eq!(chosen, of_prompt[verdict.index * area..][..area], "prompt {prompt}: the chosen mask alone");
        let logits = answers.logits(prompt).unwrap();
        let in_maps = Some(box_of_logits(frame.region(region), frame.size, side));
        let candidates = Candidates { logits, side, first_token: 1, prompt: in_maps, predicted_iou: &[] };
        let mut measures = Measures::new(&candidates);
        let asked = verdict.measures.masks.map(|mask| mask.predicted_iou);
        measures.masks.iter_mut().zip(asked).for_each(|(mask, asked)| mask.predicted_iou = asked);
        assert_eq!(verdict.measures, measures, "prompt {prompt}");
        let mut restored = vec![0.0; area];
        for (map, mask) in of_prompt.chunks_exact(area).enumerate() {
            resizer.run(&logits[map * side * side..][..side * side], &mut restored).unwrap();
            assert!(mask.iter().zip(&restored).all(|(&m, &r)| m == u8::from(r > 0.0)), "prompt {prompt}, map {map}");
            inside += mask.iter().filter(|&&m| m == 1).count();
        }
    }
    assert!(inside > 0 && inside < masks.len(), "the case says something");
}

#[test]
fn pictures_are_those_of_the_cpu() {
    on_device!(pictures_on);
}

fn pictures_on<D: Driver>(open: impl Fn() -> Cuda<D>) {
    let (cuda, dims) = (open(), [301, 190, 2]);
    let values = |channels: usize| (0..301 * 190 * 2 * channels).map(|i| (i * 7919 % 2503) as f32 - 700.0);
    for (voxels, channels, rule) in [
        (Voxels::I16(values(1).map(|v| v as i16).collect()), 1, Intensity::Soft),
        (Voxels::F32(values(1).map(|v| 0.3 * v).collect()), 1, Intensity::MinMax),
        (Voxels::F64(values(1).map(|v| f64::from(v) / 7.0).collect()), 1, Intensity::Bone),
        (Voxels::U8(values(3).map(|v| v as u8).collect()), 3, Intensity::Raw),
    ] {
        let name = format!("{:?}, {rule}", voxels.data_type());
        let volume = Volume::from_voxels("v", dims, channels, voxels).unwrap();
        let map = rule.resolve(&volume).unwrap();
        for side in [256, 1024] {
            let (found, scaling) = pictures::make(&cuda, (&volume, 2, &map), ([side, side], side), true);
            let expected = pictures::expected((&volume, 2, &map), ([side, side], side));
            assert!(found == expected, "{name} to {side}: other bytes");
            let most = f32::from(*expected[..3 * side * side].iter().max().unwrap());
            let least = f32::from(*expected[..3 * side * side].iter().min().unwrap());
            let scale = 1.0 / (most - least);
            assert_eq!(scaling[..4], [scale, scale, scale, -least * scale], "{name}");
        }
    }
}

#[test]
fn a_whole_run_has_the_bits_of_its_parts() {
    let Some(device) = device("a_whole_run_has_the_bits_of_its_parts") else { return };
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 22);
    let [mut whole, mut apart] = [0; 2].map(|_| {
        let model = Arc::new(Model::load(&weights, &ModelOptions { device, ..ModelOptions::default() }).unwrap());
        Segmenter::new(&model, Capacity { batch: 2, ..Capacity::default() }, MaskChoice::Auto).unwrap()
    });
    let volume = answers::volume();
    // Twice each half of the memory outside of a recording or to be recorded, then replayed.
    for pair in [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2], [3, 4]] {
        let found = answers::answers(&mut whole, &volume, &pair, true);
        assert!(found == answers::answers(&mut apart, &volume, &pair, false), "slices {pair:?}: other bits");
    }
}
