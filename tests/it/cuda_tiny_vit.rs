//! TinyViT through the CUDA backend on ptxvm: whole models of LiteMedSAM's and of MobileSAM's kind beside the CPU, and
//! its kernels with one instruction taken out.
#![cfg(feature = "cuda")]

use std::sync::Arc;

use crate::common::answers::run;
use crate::common::op_cases::{self, OpCase};
use crate::common::relative_l2;
use crate::common::run::{tiny_vit_logits, tiny_vit_of_kernels};
use crate::common::watched::Watched;
use medsegx::backend::Launches;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::executor::{Network, Session, SessionOptions, Slice};
use medsegx::image::area::AreaResizer;
use medsegx::mask::MaskChoice;
use medsegx::model::Masks;
use medsegx::segment::{
    Capacity, Device, Frame, Model, ModelOptions, Picture, Point, Prompt, Segmenter, prompt_points,
};
use medsegx::weights::Weights;

/// Required of the kernels: f16 operands, f32 sums.
const LIMIT: f64 = 5e-3;

#[test]
fn models_of_both_stems_beside_the_cpu() {
    for (stem, batch) in [(1, 2), (3, 1)] {
        let config = tiny_vit_of_kernels(stem);
        let expected = tiny_vit_logits(&config, Cpu::new(CpuOptions::default()).unwrap(), 1);
        let found = tiny_vit_logits(&config, Cuda::new(Interpreter::new(2, Checks::Fast)).unwrap(), batch);
        let distance = relative_l2(&found, &expected);
        println!("stem of {stem} x {stem}: {distance:.1e}, {:.0} % of the tolerance", 100.0 * distance / LIMIT);
        assert!(distance < LIMIT, "stem of {stem} x {stem}: {distance:e}");
    }
}

/// Embedding, logits and mask of a picture that is shrunk by means over areas.
fn segmented(device: Device) -> (Vec<f32>, Vec<f32>, Vec<u8>) {
    let weights = Weights::synthetic(&tiny_vit_of_kernels(1), 3);
    let model = Arc::new(Model::load(&weights, &ModelOptions { device, ..ModelOptions::default() }).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), "auto".parse().unwrap()).unwrap();
    let (height, width) = (290, 410);
    let pixels: Vec<u8> = (0..height * width).map(|i| ((i / width * 3 + i % width * (i / 7000)) % 251) as u8).collect();
    let frame = segmenter.set_slice(&Picture { pixels: &pixels, height, width, channels: 1 }, None).unwrap();
    let mut embedding = vec![0.0; segmenter.embedding_len()];
    segmenter.embeddings(&mut embedding).unwrap();
    let mut points: Vec<Point> = Vec::new();
    prompt_points(&frame, &[], Some([100.0, 60.0, 300.0, 200.0]), &mut points);
    let mut answers = segmenter.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap();
    let logits = answers.logits(0).unwrap().to_vec();
    let mut mask = vec![9; height * width];
    answers.mask(0, 0, &mut mask).unwrap();
    (embedding, logits, mask)
}

#[test]
fn a_picture_to_its_mask() {
    let (embedding, logits, mask) = segmented(Device::Cpu);
    let found = segmented(Device::Ptxvm(Checks::Fast, Launches::Ordered));
    for (name, found, expected) in [("embedding", &found.0, &embedding), ("logits", &found.1, &logits)] {
        let distance = relative_l2(found, expected);
        println!("{name}: {distance:.1e}, {:.0} % of the tolerance", 100.0 * distance / LIMIT);
        assert!(distance < LIMIT, "{name}: {distance:e}");
    }
    assert!(mask.contains(&0) && mask.contains(&1));
    let differing = mask.iter().zip(&found.2).filter(|(a, b)| a != b).count();
    println!("{differing} of {} pixels differ", mask.len());
    assert!(differing * 200 < mask.len(), "{differing} pixels");
}

/// Pictures that are shrunk by means over areas are made on the host; how they go up changes no bit, whether encoder
/// and decoder are one run or two.
#[test]
fn pictures_from_the_host_are_those_of_a_session() {
    let config = tiny_vit_of_kernels(1);
    let weights = Weights::synthetic(&config, 3);
    let interpreter = || Interpreter::new(2, Checks::Fast);
    let model = Arc::new(Model::on_driver(&weights, interpreter()).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
    let network = Arc::new(Network::load(&weights, Cuda::new(interpreter()).unwrap()).unwrap());
    let options = SessionOptions { slices: 1, prompts: 1, points: 2, mask_prompt: false, masks: Masks::Single };
    let mut session = Session::new(network, options).unwrap();
    // Shrunk, enlarged; the smaller one leaves padding where the one before had pixels.
    for [height, width, channels] in [[290, 410, 1], [61, 150, 3]] {
        let pixels: Vec<u8> = (0..height * width * channels).map(|i| (i % 241 / 2 + i / 900) as u8).collect();
        let frame = Frame::new(&config, height, width).unwrap();
        let mut picture = vec![0; 3 * frame.size * frame.size];
        let mut resizer = AreaResizer::new(frame.slice, frame.valid, channels).unwrap();
        resizer.picture(&pixels, channels, &mut picture, frame.size).unwrap();
        let (mut logits, mut iou) = (vec![0.0; config.logits_size().pow(2)], [0.0; 4]);
        let mut points = Vec::new();
        prompt_points(&frame, &[], Some([20.0, 10.0, 120.0, 55.0]), &mut points);
        let prompts = [Prompt { slot: 0, points: &points, mask: None }];
        session.encode(&[Slice { pixels: &picture, scaling: frame.scaling(&picture), context: [0; 5] }]).unwrap();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
        for in_one in [false, true] {
            segmenter.place(0, &Picture { pixels: &pixels, height, width, channels }, None).unwrap();
            let mut answers = run(&mut segmenter, &prompts, in_one);
            assert!(answers.logits(0).unwrap() == logits, "{height} x {width} x {channels}, in one run {in_one}");
        }
    }
}

fn case(op: &str, name: &str) -> OpCase {
    let found = op_cases::all().into_iter().find(|case| case.op == op && case.name == name);
    found.unwrap_or_else(|| panic!("no case {name} of {op}"))
}

/// Instruction number `which` of the kernel `entry` left out.
#[track_caller]
fn check(case: &OpCase, entry: &'static str, instruction: &'static str, which: usize, expected: &str) {
    let edit = move |kernel: &'static medsegx::backend::cuda::kernels::Kernel, ptx: &str| {
        if kernel.entry != entry {
            return ptx.to_string();
        }
        let found = ptx.match_indices(instruction).nth(which);
        let (at, _) = found.unwrap_or_else(|| panic!("{entry} has no {instruction}"));
        let end = at + ptx[at..].find(';').unwrap() + 1;
        [&ptx[..at], &ptx[end..]].concat()
    };
    let (driver, _) = Watched::new(Interpreter::new(2, Checks::Full));
    let message = case.try_distances(&Cuda::new(driver.editing(edit)).unwrap()).unwrap_err().to_string();
    assert!(message.contains(&format!("{entry}, line ")), "{message}");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn kernels_without_their_waits() {
    let windows = case("window_attention", "windows of 7 on 16, 2 heads of 32");
    check(&windows, "window_attention_64", "cp.async.wait_group", 0, "cp.async");
    check(&windows, "window_attention_64", "bar.sync", 0, "race on shared memory");
    check(&windows, "window_attention_64", "bar.warp.sync", 0, "race on shared memory");
    check(&windows, "window_attention_64", "bar.warp.sync", 1, "race on shared memory");
    let pixels = case("convolution", "pixels, k 3, side 10");
    check(&pixels, "convolution_u8_f32", "bar.sync", 0, "uninitialised memory");
    let tokens = case("convolution", "1 x 1, stride 1, grid 12, 32 to 64");
    check(&tokens, "convolution_f32_f32_row", "bar.sync", 0, "race on shared memory");
    let rows = case("convolution", "3 x 3, stride 2, grid 130, 32 to 64");
    check(&rows, "convolution_f32_f32_rows", "bar.sync", 0, "race on shared memory");
}
