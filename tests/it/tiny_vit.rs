//! The operations of TinyViT against their definitions in f64, and its models of other sizes than the published one.

use std::sync::Arc;

use crate::common::one_op::{Case, Random};
use crate::common::pth;
use crate::common::relative_l2;
use crate::common::run::{corners, tiny_vit as small};
use medsegx::backend::Backend as _;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
use medsegx::executor::{Network, Prompt, Session, SessionOptions, Slice};
use medsegx::graph::op::{Activation, Convolution, Dense, Depthwise, InvertedBottleneck, WindowAttention};
use medsegx::graph::{Element, Graph, Op, Plan, ValueId};
use medsegx::mask::MaskChoice;
use medsegx::model::{Config, Kind, Masks, Preset, image_encoder};
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Segmenter};
use medsegx::tune::{Trainer, TrainerOptions};
use medsegx::weights::{self, Access, Dtype, Weights, convert, convert_tiny_vit};

/// f32 sums of at most some hundred products, exact GELU, one softmax.
const LIMIT: f64 = 1e-6;

fn gelu(x: f64) -> f64 {
    crate::common::gelu::gelu(x)
}

/// Runs a graph of one operation at every level, with one slice of the batch left out too.
fn check(name: &str, mut case: Case, op: impl Into<Op>, out: ValueId, expected: &[f64]) {
    case.graph.push("op", op);
    case.graph.check().unwrap();
    let batch = case.graph.batch;
    for level in Level::available() {
        let cpu = Cpu::new(CpuOptions { level: Some(level), threads: Some(2), ..CpuOptions::default() }).unwrap();
        for active in [batch, 1] {
            let found = case.run(&cpu, active, &[out]).unwrap().remove(0);
            let expected: Vec<f32> = expected[..found.len()].iter().map(|&x| x as f32).collect();
            let distance = relative_l2(&found, &expected);
            println!("{level} {name}: {distance:.1e}");
            assert!(distance < LIMIT, "{level} {name}, {active} of {batch}: {distance:e}");
        }
    }
}

/// `[side^2, channels]`, zeros outside.
struct Grid<'a> {
    data: &'a [f64],
    side: usize,
    channels: usize,
}

impl Grid<'_> {
    fn at(&self, y: isize, x: isize, c: usize) -> f64 {
        let inside = |i: isize| usize::try_from(i).is_ok_and(|i| i < self.side);
        if inside(y) && inside(x) { self.data[(y as usize * self.side + x as usize) * self.channels + c] } else { 0.0 }
    }
}

fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| x.into()).collect()
}

fn convolved(grid: &Grid<'_>, weight: &[f64], bias: &[f64], kernel: usize, stride: usize) -> Vec<f64> {
    let (across, half) = (grid.side.div_ceil(stride), kernel as isize / 2);
    let each = kernel * kernel * grid.channels;
    let mut out = Vec::new();
    for token in 0..across * across {
        let (y, x) = ((token / across * stride) as isize - half, (token % across * stride) as isize - half);
        for (row, b) in weight.chunks(each).zip(bias) {
            let cell = |i: usize| {
                let tap = (i / grid.channels) as isize;
                grid.at(y + tap / kernel as isize, x + tap % kernel as isize, i % grid.channels)
            };
            out.push(b + row.iter().enumerate().map(|(i, w)| w * cell(i)).sum::<f64>());
        }
    }
    out
}

fn depthwise(grid: &Grid<'_>, weight: &[f64], bias: &[f64], stride: usize) -> Vec<f64> {
    let across = grid.side.div_ceil(stride);
    let mut out = Vec::new();
    for token in 0..across * across {
        let (y, x) = ((token / across * stride) as isize - 1, (token % across * stride) as isize - 1);
        for (c, b) in bias.iter().enumerate() {
            let tap = |t: usize| weight[t * grid.channels + c] * grid.at(y + t as isize / 3, x + t as isize % 3, c);
            out.push(b + (0..9).map(tap).sum::<f64>());
        }
    }
    out
}

#[test]
fn convolutions() {
    for (side, stride, kernel, inputs, outputs) in
        [(9, 1, 1, 3, 32), (11, 2, 3, 5, 70), (8, 2, 3, 32, 17), (7, 1, 3, 4, 8)]
    {
        let (mut random, mut case) = (Random(side as u64), Case::new(2));
        let x = random.vec(2 * side * side * inputs, 1.0);
        let weight = random.vec(outputs * kernel * kernel * inputs, 0.3);
        let bias = random.vec(outputs, 1.0);
        let input = case.floats(&[side * side, inputs], &x);
        let ids = (case.param(&[outputs, kernel, kernel, inputs], &weight), case.param(&[outputs], &bias));
        let out = case.output(&[side.div_ceil(stride).pow(2), outputs]);
        let mut expected = Vec::new();
        for slice in wide(&x).chunks(side * side * inputs) {
            let grid = Grid { data: slice, side, channels: inputs };
            expected.extend(convolved(&grid, &wide(&weight), &wide(&bias), kernel, stride).into_iter().map(gelu));
        }
        let activation = Activation::Gelu;
        let op = Convolution { input, scaling: None, weight: ids.0, bias: ids.1, activation, side, stride, out };
        check(&format!("convolution {kernel} x {kernel}, {inputs} to {outputs}"), case, op, out, &expected);
    }
}

/// Pixels outside the valid rectangle are 0 behind the scaling.
#[test]
fn convolutions_of_pixels() {
    let (side, kernel, stride, outputs) = (10, 3, 2, 12);
    let (mut random, mut case) = (Random(5), Case::new(1));
    let pixels: Vec<u8> = random.vec(side * side * 3, 127.0).iter().map(|x| (x + 128.0) as u8).collect();
    let scaling = [0.01, 0.02, 0.03, -0.5, 0.25, 0.125, 7.0, 9.0];
    let (weight, bias) = (random.vec(outputs * 27, 0.3), random.vec(outputs, 1.0));
    let scaled: Vec<f64> = (0..pixels.len())
        .map(|i| {
            let (y, x, c) = (i / 3 / side, i / 3 % side, i % 3);
            if y < 7 && x < 9 { f64::from(f32::from(pixels[i]) * scaling[c] + scaling[3 + c]) } else { 0.0 }
        })
        .collect();
    let grid = Grid { data: &scaled, side, channels: 3 };
    let expected = convolved(&grid, &wide(&weight), &wide(&bias), kernel, stride);
    let input = case.input(&[side, side, 3], Element::U8, &pixels);
    let scaling = Some(case.floats(&[8], &scaling));
    let (weight, bias) = (case.param(&[outputs, 3, 3, 3], &weight), case.param(&[outputs], &bias));
    let out = case.output(&[25, outputs]);
    let op = Convolution { input, scaling, weight, bias, activation: Activation::Identity, side, stride, out };
    check("convolution of pixels", case, op, out, &expected);
}

#[test]
fn depthwise_convolutions() {
    for (side, channels) in [(1, 16), (2, 5), (9, 16), (14, 40)] {
        let (mut random, mut case) = (Random(side as u64), Case::new(3));
        let x = random.vec(3 * side * side * channels, 1.0);
        let (weight, bias) = (random.vec(9 * channels, 0.5), random.vec(channels, 1.0));
        let input = case.floats(&[side * side, channels], &x);
        let ids = (case.param(&[3, 3, channels], &weight), case.param(&[channels], &bias));
        let out = case.output(&[side * side, channels]);
        let slices = wide(&x);
        let expected: Vec<f64> = slices
            .chunks(side * side * channels)
            .flat_map(|data| depthwise(&Grid { data, side, channels }, &wide(&weight), &wide(&bias), 1))
            .collect();
        let op = Depthwise { input, weight: ids.0, bias: ids.1, side, out };
        check(&format!("depthwise, {side} x {side}, {channels}"), case, op, out, &expected);
    }
}

#[test]
fn inverted_bottlenecks() {
    for (side, stride, [inputs, hidden, outputs]) in
        [(18, 1, [16, 48, 16]), (35, 1, [8, 33, 8]), (37, 2, [5, 24, 70]), (40, 2, [16, 16, 9]), (1, 1, [4, 8, 4])]
    {
        let shortcut = stride == 1;
        let (mut random, mut case) = (Random(side as u64), Case::new(2));
        let x = random.vec(2 * side * side * inputs, 1.0);
        let weights =
            [random.vec(hidden * inputs, 0.5), random.vec(9 * hidden, 0.5), random.vec(outputs * hidden, 0.3)];
        let biases = [random.vec(hidden, 1.0), random.vec(hidden, 1.0), random.vec(outputs, 1.0)];
        let input = case.floats(&[side * side, inputs], &x);
        let shapes: [&[usize]; 3] = [&[hidden, 1, 1, inputs], &[3, 3, hidden], &[outputs, 1, 1, hidden]];
        let mut layer = |i: usize| Dense {
            weight: case.param(shapes[i], &weights[i]),
            bias: case.param(&[biases[i].len()], &biases[i]),
        };
        let (expand, taps, project) = (layer(0), layer(1), layer(2));
        let across = side.div_ceil(stride);
        let out = case.output(&[across * across, outputs]);
        let (w, b) = (weights.map(|w| wide(&w)), biases.map(|b| wide(&b)));
        let mut expected = Vec::new();
        for data in wide(&x).chunks(side * side * inputs) {
            let gelus = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(gelu).collect() };
            let h = gelus(convolved(&Grid { data, side, channels: inputs }, &w[0], &b[0], 1, 1));
            let h = gelus(depthwise(&Grid { data: &h, side, channels: hidden }, &w[1], &b[1], stride));
            let y = convolved(&Grid { data: &h, side: across, channels: hidden }, &w[2], &b[2], 1, 1);
            expected.extend(y.iter().enumerate().map(|(i, y)| if shortcut { gelu(y + data[i]) } else { *y }));
        }
        let op = InvertedBottleneck { input, expand, depthwise: taps, project, side, stride, shortcut, out };
        check(&format!("bottleneck {side}, stride {stride}"), case, op, out, &expected);
    }
}

/// Padded keys one by one, as the network is defined.
#[test]
fn windows_with_learned_biases() {
    for (grid, window, heads, d) in
        [(7, 7, 2, 8), (16, 7, 2, 32), (22, 14, 1, 32), (10, 3, 3, 12), (5, 7, 1, 16), (9, 4, 2, 20)]
    {
        let (mut random, mut case) = (Random((grid * window) as u64), Case::new(2));
        let (tokens, width) = (grid * grid, heads * d);
        let x = random.vec(2 * tokens * 3 * width, 1.5);
        let padding = random.vec(3 * width, 1.5);
        let biases = random.vec(heads * window * window, 2.0);
        let qkv = case.floats(&[tokens, 3 * width], &x);
        let (padding_id, biases_id) =
            (case.param(&[3 * width], &padding), case.param(&[heads, window * window], &biases));
        let out = case.output(&[tokens, width]);
        let (x, padding, biases) = (wide(&x), wide(&padding), wide(&biases));
        let mut expected = vec![0.0; 2 * tokens * width];
        for i in 0..2 * tokens * heads {
            let (slice, token, head) = (i / heads / tokens, i / heads % tokens, i % heads);
            let part = |y: usize, x_: usize, part: usize| {
                let from = (3 * head + part) * d;
                let row = if y < grid && x_ < grid {
                    &x[(slice * tokens + y * grid + x_) * 3 * width..]
                } else {
                    &padding[..]
                };
                row[from..from + d].to_vec()
            };
            let (y, x_) = (token / grid, token % grid);
            let (top, left) = (y / window * window, x_ / window * window);
            let q = part(y, x_, 0);
            let keys: Vec<_> = (0..window * window).map(|key| (top + key / window, left + key % window)).collect();
            let scores: Vec<f64> = keys
                .iter()
                .map(|&(ky, kx)| {
                    let dot: f64 = q.iter().zip(part(ky, kx, 1)).map(|(a, b)| a * b).sum();
                    let bias = biases[(head * window + y.abs_diff(ky)) * window + x_.abs_diff(kx)];
                    (dot / (d as f64).sqrt() + bias).exp()
                })
                .collect();
            let total: f64 = scores.iter().sum();
            for (score, &(ky, kx)) in scores.iter().zip(&keys) {
                let to = &mut expected[(slice * tokens + token) * width + head * d..][..d];
                to.iter_mut().zip(part(ky, kx, 2)).for_each(|(to, v)| *to += score / total * v);
            }
        }
        let op = WindowAttention { qkv, padding: padding_id, biases: biases_id, heads, grid, window, out };
        check(&format!("windows of {window} on {grid}"), case, op, out, &expected);
    }
}

#[test]
fn sizes_are_read_off_the_shapes() {
    for expected in [Config::litemedsam(), Config::mobile_sam(), small(1), small(3)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let made_up = Weights::synthetic(&expected, 3);
        let load = |name: &str| made_up.load(name);
        if expected.width < 100 {
            weights::write(&path, false, &weights::names(&expected), made_up.metadata(), Dtype::F16, load).unwrap();
            let weights = Weights::open(&path, Access::Read).unwrap();
            assert_eq!(weights.config(), &expected);
            // Halves would lose small variances.
            let name = "image_encoder.layers.0.blocks.0.conv1.bn.running_var";
            assert_eq!(weights.load(name).unwrap(), made_up.load(name).unwrap());
        }
        let plan = Plan::new(image_encoder::graph(&expected, 2));
        plan.graph.check().unwrap();
    }
    let parameters: usize = weights::names(&Config::litemedsam())
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    // As published, the position matrix included.
    assert_eq!(parameters, 9_791_556);
    let flop = |graph: &Graph| (0..graph.nodes.len()).map(|step| graph.cost(step).flop).sum::<u64>();
    let encoder = flop(&image_encoder::graph(&Config::litemedsam(), 1)) as f64 * 1e-9;
    assert!((encoder - 71.2).abs() < 0.1, "{encoder} GFLOP");
    let encoder = flop(&image_encoder::graph(&Config::mobile_sam(), 1)) as f64 * 1e-9;
    assert!((encoder - 73.8).abs() < 0.1, "{encoder} GFLOP");
}

fn logits(config: &Config, level: Level, threads: usize, batch: usize) -> Vec<u32> {
    let cpu = Cpu::new(CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() }).unwrap();
    let network = Arc::new(Network::load(&Weights::synthetic(config, 1), cpu).unwrap());
    let options = SessionOptions { slices: batch, prompts: batch, points: 2, mask_prompt: false, masks: Masks::Single };
    let mut session = Session::new(network, options).unwrap();
    let side = config.image_size;
    let pictures: Vec<Vec<u8>> = (0..2)
        .map(|case| {
            let pixel = |i: usize| ((i / 3 / side * 7 + i / 3 % side * (3 + case) + i * i % 91) % 251) as u8;
            (0..side * side * 3).map(pixel).collect()
        })
        .collect();
    let scale = 1.0 / 255.0;
    let scaling = [scale, scale, scale, 0.0, 0.0, 0.0, side as f32, side as f32 * 0.75];
    let slices: Vec<Slice<'_>> = pictures.iter().map(|pixels| Slice { pixels, scaling, context: [0; 5] }).collect();
    let points = corners([0.25, 0.25, 0.7, 0.6].map(|at| at * side as f32));
    let area = config.logits_size().pow(2);
    let mut all = Vec::new();
    for slices in slices.chunks(batch) {
        let (mut logits, mut iou) = (vec![0.0; slices.len() * area], vec![0.0; slices.len() * 4]);
        session.encode(slices).unwrap();
        let prompt = |slot| Prompt { slot, points: &points, mask: None };
        let prompts: Vec<_> = (0..slices.len()).map(prompt).collect();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
        all.extend(logits);
    }
    assert!(all.iter().all(|x| x.is_finite()) && all[..area] != all[area..]);
    all.into_iter().map(f32::to_bits).collect()
}

#[test]
fn threads_and_batches_change_no_bit_of_a_tiny_vit() {
    let config = small(1);
    for level in Level::available() {
        let expected = logits(&config, level, 1, 1);
        for (threads, batch) in [(2, 1), (1, 2), (3, 2)] {
            assert!(logits(&config, level, threads, batch) == expected, "{level}: {threads} threads, batch {batch}");
        }
    }
    let config = small(3);
    assert!(logits(&config, Level::detect(), 1, 1) == logits(&config, Level::detect(), 2, 2));
}

fn checkpoint(folder: &std::path::Path, config: &Config, counters: bool) -> std::path::PathBuf {
    let made_up = Weights::synthetic(config, 2);
    let tensor =
        |(name, shape): (String, Vec<usize>)| pth::Tensor { values: made_up.load(&name).unwrap(), name, shape };
    let mut tensors: Vec<_> = weights::names(config).into_iter().map(tensor).collect();
    if counters {
        let name = "image_encoder.patch_embed.seq.0.bn.num_batches_tracked".to_string();
        tensors.push(pth::Tensor { name, shape: vec![1], values: vec![7.0] });
    }
    let path = folder.join(format!("{:?}{}.pth", config.kind, config.tiny_vit.is_some()));
    std::fs::write(&path, pth::plain_zip(&tensors)).unwrap();
    path
}

#[test]
fn checkpoints_are_converted_under_their_own_names() {
    let folder = tempfile::tempdir().unwrap();
    for (config, kind) in [(small(1), "litemedsam"), (small(3), "sam")] {
        let source = checkpoint(folder.path(), &config, true);
        let output = folder.path().join(format!("{kind}.safetensors"));
        let found = convert_tiny_vit(&source, &output, Dtype::F32, false, &mut || Ok(())).unwrap();
        assert_eq!(found, config);
        let (weights, made_up) = (Weights::open(&output, Access::Read).unwrap(), Weights::synthetic(&config, 2));
        assert!(weights.names().eq(made_up.names()));
        for name in weights.names() {
            assert_eq!(weights.load(name).unwrap(), made_up.load(name).unwrap(), "{name}");
        }
        assert_eq!(weights.metadata()["kind"], kind);
        assert_eq!(weights.metadata()["litemedsam.sha256"], weights::sha256(&std::fs::read(&source).unwrap()));
    }
}

#[test]
fn a_checkpoint_of_another_encoder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.safetensors");
    let vit = Config { width: 8, heads: 2, head_dim: 4, mlp: 12, prompt_width: 32, ..Preset::Tiny.sam() };
    let (vit, tiny) = (checkpoint(folder.path(), &vit, false), checkpoint(folder.path(), &small(1), false));
    let error = convert_tiny_vit(&vit, &output, Dtype::F32, false, &mut || Ok(())).unwrap_err().to_string();
    assert!(error.contains("LiteMedSAM or MobileSAM") && error.contains("--sam"), "{error}");
    let error =
        convert(&tiny, None, Some(Kind::Sam), &output, Dtype::F32, false, &mut || Ok(())).unwrap_err().to_string();
    assert!(error.contains("--litemedsam"), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_kind_that_the_stem_contradicts_is_refused() {
    for (config, said, expected) in [(small(1), "medsam", "litemedsam"), (small(3), "litemedsam", "sam or medsam")] {
        let made_up = Weights::synthetic(&config, 0);
        let metadata = [("kind".to_string(), said.to_string())].into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let load = |name: &str| made_up.load(name);
        weights::write(&path, false, &weights::names(&config), &metadata, Dtype::F32, load).unwrap();
        let error = Weights::open(&path, Access::Read).err().unwrap().to_string();
        assert!(error.contains(&format!("; needs {expected} of a TinyViT")), "{error}");
    }
}

/// A GPU has no kernels for it: asked for, it is refused; else the CPU is taken, and why is said.
#[test]
fn a_gpu_is_refused_and_not_chosen() {
    let weights = Weights::synthetic(&small(1), 0);
    let options = |device| ModelOptions { device, ..ModelOptions::default() };
    let model = Model::load(&weights, &options(Device::Auto)).unwrap();
    assert_eq!(model.device(), "cpu");
    assert!(model.fallback().is_some_and(|why| why.contains("TinyViT")));
    let error = Model::load(&weights, &options("cuda".parse().unwrap())).err().unwrap().to_string();
    assert!(!cfg!(feature = "cuda") || error.contains("TinyViT"), "{error}");
}

/// Neither window padding nor the wide channels of a bottleneck take memory: the arena stays near the largest value.
#[test]
fn the_published_model_needs_little_memory() {
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap();
    let plan = Plan::new(cpu.lower(image_encoder::graph(&Config::litemedsam(), 1)));
    assert!(plan.arena_bytes < 64_000_000, "{} MB", plan.arena_bytes / 1_000_000);
}

/// The gradient of mask 0's loss is what the loss gains along it, tensor by tensor.
#[test]
fn gradients_of_mask_0_are_difference_quotients() {
    let config = small(1);
    let made_up = Weights::synthetic(&config, 4);
    let options = ModelOptions { device: Device::Cpu, ..ModelOptions::default() };
    let model = Arc::new(Model::load(&made_up, &options).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
    let (height, width) = (90, 120);
    let pixels: Vec<u8> = (0..height * width).map(|i| (i * i % 251) as u8).collect();
    let frame = segmenter.set_slice(&Picture { pixels: &pixels, height, width, channels: 1 }, None).unwrap();
    let mut embedding = vec![0.0; segmenter.embedding_len()];
    segmenter.embeddings(&mut embedding).unwrap();
    let inside = |i: usize| (i / width).abs_diff(40).pow(2) + (i % width).abs_diff(70).pow(2) < 500;
    let label: Vec<u8> = (0..height * width).map(|i| u8::from(inside(i))).collect();

    let trainer = |weights: &Weights| {
        let mut trainer = Trainer::new(weights, TrainerOptions::default()).unwrap();
        let sample = trainer.sample(&embedding, &frame, &label).unwrap();
        let loss = trainer.gradients(&[(&sample, sample.region())]).unwrap()[0];
        assert_eq!((loss.chosen, loss.dice[1], loss.entropy[2]), (0, 0.0, 0.0));
        (trainer, loss.total)
    };
    let (tuned, _) = trainer(&made_up);
    assert!(tuned.trained().iter().all(|trained| !trained.name.contains("output_hypernetworks_mlps.1")));
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "mask_decoder.iou_token.weight",
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.transformer.layers.0.self_attn.q_proj.weight",
        "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.weight",
        "mask_decoder.transformer.layers.1.mlp.lin1.weight",
        "mask_decoder.transformer.norm_final_attn.bias",
        "mask_decoder.output_upscaling.0.weight",
        "mask_decoder.output_upscaling.1.weight",
        "mask_decoder.output_hypernetworks_mlps.0.layers.2.bias",
    ] {
        let gradient = tuned.gradient(name).unwrap();
        let size = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let moved = |by: f64| {
            let path = folder.path().join("moved.safetensors");
            let load = |wanted: &str| {
                let mut values = made_up.load(wanted)?;
                if wanted == name {
                    let step = |(w, &g): (&mut f32, &f32)| *w += (by * f64::from(g) / size) as f32;
                    values.iter_mut().zip(&gradient).for_each(step);
                }
                Ok(values)
            };
            weights::write(&path, true, &weights::names(&config), made_up.metadata(), Dtype::F32, load).unwrap();
            trainer(&Weights::open(&path, Access::Read).unwrap()).1
        };
        const STEP: f64 = 5e-3;
        let quotient = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        println!("{name}: {size:.5e} and {quotient:.5e}");
        assert!((quotient / size - 1.0).abs() < 1e-2, "{name}: {size} and {quotient}");
    }
}
