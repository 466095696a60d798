//! What the kernels cost in instructions, bank conflicts and sectors, counted by ptxvm; written in kernels/README.md.
#![cfg(feature = "cuda")]

use crate::common::masks;
use crate::common::one_op;
use crate::common::pictures;
use crate::common::readme;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use medsegx::backend::Backend;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::backend::cuda::{Cuda, kernels};
use medsegx::executor::{Network, Point, Prompt, Session, SessionOptions, Slice};
use medsegx::graph::op::{self, Activation, Dense, Norm};
use medsegx::graph::{Bias, Element, Gated, Graph, Op, Plan, Role, ValueId};
use medsegx::image::resample::Fit;
use medsegx::model::{Config, Masks, Preset};
use medsegx::volume::{Intensity, Volume, Voxels};
use medsegx::weights::Weights;
use one_op::{Case, Random};
use ptxvm::{Class, Counters};

#[derive(Default)]
struct Costs {
    /// Longest launch of every kernel, with the size of the launch in words and its blocks.
    longest: BTreeMap<&'static str, (String, u64, Counters)>,
    /// Lines of all launches that move more sectors than their bytes fill.
    part_sectors: Vec<String>,
}

impl Costs {
    fn run(&mut self, size: &str, case: &Case, out: ValueId) {
        self.run_of("", size, case, out);
    }

    /// Of kernels whose names begin with `stem`.
    fn run_of(&mut self, stem: &str, size: &str, case: &Case, out: ValueId) {
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).expect("the interpreter starts");
        case.run(&backend, case.graph.batch, &[out]).unwrap_or_else(|e| panic!("{size}: {e}"));
        self.take(size, &backend, |entry| entry.starts_with(stem));
    }

    /// Of the kernels of sm_90a.
    fn run_wgmma(&mut self, size: &str, case: &Case, out: ValueId) {
        let device = Interpreter::new(2, ptxvm::Checks::Full).counting().with_wgmma();
        let backend = Cuda::new(device).expect("the interpreter starts");
        case.run(&backend, case.graph.batch, &[out]).unwrap_or_else(|e| panic!("{size}: {e}"));
        let own = |entry: &str| kernels::find(entry).is_ok_and(|(_, kernel, _)| kernel.target() == "sm_90a");
        self.take(size, &backend, own);
    }

    /// Counts the launches since the last call, of those kernels that are `wanted`.
    fn take(&mut self, size: &str, backend: &Cuda<Interpreter>, wanted: impl Fn(&str) -> bool) {
        for (entry, report) in backend.driver().take_reports().into_iter().filter(|(entry, _)| wanted(entry)) {
            for line in report.counters.lines.iter().filter(|line| line.sectors != line.sectors_ideal) {
                let found = format!("{entry}, {size}: {} / {} in {}", line.sectors, line.sectors_ideal, line.text);
                self.part_sectors.push(found);
            }
            let longest = self.longest.entry(entry).or_default();
            if report.counters.issued > longest.2.issued {
                *longest = (size.to_string(), report.ctas, report.counters);
            }
        }
    }
}

/// A product of `batch` slices of 256 tokens, as the table of launches names it.
fn product(costs: &mut Costs, name: &str, batch: usize, [tokens, depth, columns]: [usize; 3], kind: Kind) {
    let random = &mut Random(depth as u64);
    let mut case = Case::new(batch);
    let input = random.vec(batch * tokens * depth, 1.0);
    let x = case.floats(&[tokens, depth], &input);
    let weight = random.vec(columns * depth, 0.05);
    let weight = case.param(&[columns, depth], &weight);
    let row = case.param(&[columns], &random.vec(columns, 1.0));
    let gate = case.floats(&[4], &random.vec(batch * 4, 1.0));
    let biases = case.param(&[4, columns], &random.vec(4 * columns, 1.0));
    let residual = case.floats(&[tokens, columns], &random.vec(batch * tokens * columns, 1.0));
    let out = case.output(&[tokens, columns]);
    let mut op = Op::Linear(op::Linear {
        input: x,
        weight,
        bias: Bias::Row(row),
        activation: Activation::Identity,
        gated: None,
        residual: None,
        out,
    });
    if let Op::Linear(op::Linear { activation, gated, residual: added, .. }) = &mut op {
        match kind {
            Kind::Plain { .. } => {}
            Kind::Gelu { .. } => {
                *activation = Activation::Gelu;
                *gated = Some(Gated::Columns { gate, bottleneck: 16, scale: 0.1 });
            }
            Kind::Residual { .. } => {
                *gated = Some(Gated::Biases { gate, biases, scale: 0.1 });
                *added = Some(residual);
            }
        }
    }
    case.graph.push("product", op);
    let read = |case: &mut Case, value, width| {
        let weight = case.param(&[8, width], &vec![0.0; 8 * width]);
        let out = case.output(&[tokens, 8]);
        let (bias, activation) = (Bias::None, Activation::Identity);
        case.graph.push(
            "reader",
            Op::Linear(op::Linear { input: value, weight, bias, activation, gated: None, residual: None, out }),
        );
    };
    let (half_out, float_in) = match kind {
        Kind::Plain { half_out, float_in } => (half_out, float_in),
        Kind::Gelu { half_out } | Kind::Residual { half_out } => (half_out, false),
    };
    if half_out {
        read(&mut case, out, columns);
    }
    if float_in {
        let norm = Norm { gain: row, bias: row, eps: 1e-6 };
        let out = case.output(&[tokens, depth]);
        case.graph.push("reader", Op::LayerNorm(op::LayerNorm { input: x, norm, out, mean: None }));
    }
    let size = format!("{name}: {} x {depth} -> {columns}", batch * tokens);
    costs.run(&size, &case, out);
    costs.run_wgmma(&size, &case, out);
}

#[derive(Clone, Copy)]
enum Kind {
    Plain { half_out: bool, float_in: bool },
    Gelu { half_out: bool },
    Residual { half_out: bool },
}

fn products(costs: &mut Costs) {
    let plain = |half_out, float_in| Kind::Plain { half_out, float_in };
    // As many rows as take the small tile with one team.
    product(costs, "lin2, batch 3", 3, [256, 832, 768], Kind::Residual { half_out: false });
    product(costs, "lin2 to f16, batch 3", 3, [256, 832, 768], Kind::Residual { half_out: true });
    product(costs, "image projection, batch 3", 3, [256, 256, 768], plain(false, true));
    for (batch, suffix) in [(1, "batch 1"), (8, "batch 8")] {
        // At batch 8 only so many columns that the large tile is taken, to keep the count quick.
        let name = |what: &str| format!("{what}, {suffix}");
        let [qkv, lin1] = if batch == 1 { [2304, 3136] } else { [768, 832] };
        product(costs, &name("qkv"), batch, [256, 768, qkv], plain(true, false));
        product(costs, &name("lin1"), batch, [256, 768, lin1], Kind::Gelu { half_out: true });
        product(costs, &name("lin1 to f32"), batch, [256, 768, lin1], Kind::Gelu { half_out: false });
        product(costs, &name("lin2"), batch, [256, 832, 768], Kind::Residual { half_out: false });
        product(costs, &name("lin2 to f16"), batch, [256, 832, 768], Kind::Residual { half_out: true });
        product(costs, &name("image projection"), batch, [256, 256, 768], plain(false, true));
        product(costs, &name("image projection to f16"), batch, [256, 256, 768], plain(true, true));
    }
}

fn norms(costs: &mut Costs) {
    let all = [256, 768, 1280].into_iter().flat_map(|channels| {
        [false, true].into_iter().flat_map(move |half| [false, true].map(|gated| (channels, half, gated)))
    });
    for (channels, half, gated) in all {
        let random = &mut Random(channels as u64);
        let mut case = Case::new(1);
        let x = case.floats(&[256, channels], &random.vec(256 * channels, 1.0));
        let gain = case.param(&[channels], &random.vec(channels, 1.0));
        let norm = Norm { gain, bias: gain, eps: 1e-6 };
        let (out, mean) = (case.output(&[256, channels]), gated.then(|| case.output(&[channels])));
        case.graph.push("norm", Op::LayerNorm(op::LayerNorm { input: x, norm, out, mean }));
        if let Some(mean) = mean {
            push_gate(&mut case, mean, channels);
            let again = case.output(&[256, channels]);
            case.graph.push("again", Op::LayerNorm(op::LayerNorm { input: x, norm, out: again, mean: None }));
        }
        if half {
            let weight = case.param(&[8, channels], &vec![0.0; 8 * channels]);
            let reader = case.output(&[256, 8]);
            let (bias, activation) = (Bias::None, Activation::Identity);
            let op = Op::Linear(op::Linear {
                input: out,
                weight,
                bias,
                activation,
                gated: None,
                residual: None,
                out: reader,
            });
            case.graph.push("reader", op);
        }
        let gate = if gated { ", E = 4, e = 16" } else { "" };
        costs.run(&format!("256 x {channels}{gate}"), &case, out);
    }
}

/// The gate of the published models.
fn push_gate(case: &mut Case, mean: ValueId, width: usize) {
    let random = &mut Random(8);
    let mut param = |shape: &[usize]| case.param(shape, &random.vec(shape.iter().product(), 0.5));
    let organ_embed = [1, 5, 12, 39, 112].map(|rows| param(&[rows, 16]));
    let modal_embed = param(&[10, 16]);
    let mut dense = |[out, inputs]: [usize; 2]| Dense { weight: param(&[out, inputs]), bias: param(&[out]) };
    let (organ_gate, input_embed, gate) = (dense([4, 64]), dense([16, width]), dense([4, 64]));
    let context = case.input(&[5], Element::I32, bytemuck::cast_slice(&[9i32, 4, 11, 38, 111]));
    let out = case.output(&[4]);
    let op = Op::Gate(op::Gate { mean, context, organ_embed, modal_embed, organ_gate, input_embed, gate, out });
    case.graph.push("gate", op);
}

fn implicit_products(costs: &mut Costs) {
    for batch in [1, 8, 24] {
        let random = &mut Random(3);
        let (channels, outputs) = if batch == 1 { (256, 256) } else { (64, 256) };
        let mut case = Case::new(batch);
        let x = case.floats(&[256, channels], &random.vec(batch * 256 * channels, 1.0));
        let weight = case.param(&[outputs, 3, 3, channels], &random.vec(outputs * 9 * channels, 0.05));
        let out = case.output(&[256, outputs]);
        case.graph.push("conv", Op::Conv3x3(op::Conv3x3 { input: x, weight, grid: 16, out }));
        costs.run(&format!("{} x 9 * {channels} -> {outputs}", batch * 256), &case, out);
    }
    for batch in [1, 8] {
        let random = &mut Random(4);
        let width = 768;
        let pixels: Vec<u8> = random.vec(batch * 256 * 256 * 3, 128.0).iter().map(|x| (x + 128.0) as u8).collect();
        let scaling = [0.017, 0.018, 0.0174, -2.1, -2.0, -1.8, 256.0, 256.0].repeat(batch);
        let mut case = Case::new(batch);
        let pixels = case.input(&[256, 256, 3], Element::U8, &pixels);
        let scaling = case.floats(&[8], &scaling);
        let weight = case.param(&[width, 16, 16, 3], &random.vec(width * 768, 0.05));
        let token_bias = case.param(&[256, width], &random.vec(256 * width, 1.0));
        let out = case.output(&[256, width]);
        case.graph.push("patch", Op::PatchEmbed(op::PatchEmbed { pixels, scaling, weight, token_bias, out }));
        costs.run(&format!("{} x 768 -> {width}", batch * 256), &case, out);
    }
}

/// Attention of one head; a head is a block of its own, so more of them change nothing.
fn attention(costs: &mut Costs) {
    for (head_dim, grid, window) in [(64, 16, Some(14)), (80, 16, Some(14)), (64, 32, None), (80, 32, None)] {
        let random = &mut Random(5);
        let side = window.unwrap_or(grid);
        let mut case = Case::new(1);
        let qkv = case.floats(&[grid * grid, 3 * head_dim], &random.vec(grid * grid * 3 * head_dim, 1.0));
        let qkv_bias = case.param(&[3 * head_dim], &random.vec(3 * head_dim, 1.0));
        let table = [2 * side - 1, head_dim];
        let [rel_pos_h, rel_pos_w] = [0, 1].map(|_| case.param(&table, &random.vec(table[0] * table[1], 0.5)));
        let out = case.output(&[grid * grid, head_dim]);
        let op = Op::Attention(op::Attention { qkv, qkv_bias, rel_pos_h, rel_pos_w, heads: 1, grid, window, out });
        case.graph.push("attention", op);
        let cut = window.map_or(String::new(), |side| format!(" in windows of {side}"));
        costs.run(&format!("1 head, grid {grid}{cut}"), &case, out);
    }
}

/// LiteMedSAM's operations at their widths, grids as large as the tiles need.
fn tiny_vit(costs: &mut Costs) {
    let random = &mut Random(10);
    let pixels: Vec<u8> = random.vec(256 * 256 * 3, 128.0).iter().map(|x| (x + 128.0) as u8).collect();
    let scaling = [0.01, 0.01, 0.01, -0.5, -0.5, -0.5, 256.0, 256.0];
    let mut case = Case::new(1);
    let (input, scaling) = (case.input(&[256, 256, 3], Element::U8, &pixels), Some(case.floats(&[8], &scaling)));
    let out = case.output(&[65536, 32]);
    convolve(&mut case, random, (input, scaling, out), [256, 1, 1, 3, 32]);
    costs.run("256 x 256 pixels, 1 x 1 to 32", &case, out);
    for (kernel, stride) in [(1, 1), (3, 2)] {
        let mut case = Case::new(1);
        let input = case.floats(&[128 * 128, 32], &random.vec(128 * 128 * 32, 1.0));
        let out = case.output(&[(128 / stride) * (128 / stride), 64]);
        convolve(&mut case, random, (input, None, out), [128, kernel, stride, 32, 64]);
        costs.run(&format!("grid 128, {kernel} x {kernel} at stride {stride}, 32 to 64"), &case, out);
    }

    let mut case = Case::new(1);
    let input = case.floats(&[64 * 64, 160], &random.vec(64 * 64 * 160, 1.0));
    let (weight, bias) = (case.param(&[3, 3, 160], &random.vec(9 * 160, 0.3)), case.param(&[160], &[0.5; 160]));
    let out = case.output(&[64 * 64, 160]);
    case.graph.push("depthwise", op::Depthwise { input, weight, bias, side: 64, out });
    costs.run("grid 64, 160 channels", &case, out);
    for (batch, stride, [inputs, hidden, outputs]) in
        [(1, 1, [64, 256, 64]), (6, 1, [64, 256, 64]), (1, 2, [64, 128, 128])]
    {
        bottleneck(costs, random, batch, stride, [inputs, hidden, outputs]);
    }
    for window in [7, 14] {
        let mut case = Case::new(1);
        let qkv = case.floats(&[64 * 64, 96], &random.vec(64 * 64 * 96, 1.0));
        let padding = case.param(&[96], &random.vec(96, 1.0));
        let biases = case.param(&[1, window * window], &random.vec(window * window, 1.0));
        let out = case.output(&[64 * 64, 32]);
        let op = op::WindowAttention { qkv, padding, biases, heads: 1, grid: 64, window, out };
        case.graph.push("windows", op);
        costs.run(&format!("1 head, grid 64 in windows of {window}"), &case, out);
    }
}

/// `[side, k, stride, inputs, outputs]`.
fn convolve(
    case: &mut Case,
    random: &mut Random,
    (input, scaling, out): (ValueId, Option<ValueId>, ValueId),
    [side, kernel, stride, inputs, outputs]: [usize; 5],
) {
    let shape = [outputs, kernel, kernel, inputs];
    let weight = case.param(&shape, &random.vec(shape.iter().product(), 0.1));
    let bias = case.param(&[outputs], &random.vec(outputs, 1.0));
    let activation = if scaling.is_some() { Activation::Gelu } else { Activation::Identity };
    case.graph.push("convolution", op::Convolution { input, scaling, weight, bias, activation, side, stride, out });
}

fn bottleneck(costs: &mut Costs, random: &mut Random, batch: usize, stride: usize, widths: [usize; 3]) {
    let [inputs, hidden, outputs] = widths;
    let mut case = Case::new(batch);
    let input = case.floats(&[64 * 64, inputs], &random.vec(batch * 64 * 64 * inputs, 1.0));
    let mut dense = |shape: &[usize], outputs: usize| Dense {
        weight: case.param(shape, &random.vec(shape.iter().product(), 0.1)),
        bias: case.param(&[outputs], &random.vec(outputs, 1.0)),
    };
    let expand = dense(&[hidden, 1, 1, inputs], hidden);
    let depthwise = dense(&[3, 3, hidden], hidden);
    let project = dense(&[outputs, 1, 1, hidden], outputs);
    let (side, shortcut) = (64, inputs == outputs);
    let out = case.output(&[(side / stride).pow(2), outputs]);
    let op = op::InvertedBottleneck { input, expand, depthwise, project, side, stride, shortcut, out };
    case.graph.push("bottleneck", op);
    let name = format!("grid 64, batch {batch}, {inputs} to {hidden} to {outputs} at stride {stride}");
    costs.run(&name, &case, out);
}

/// The decoder on the small encoder: with the published width and with those of small models.
fn decoder(costs: &mut Costs) {
    for (width, mask_prompt, layers) in
        [(256, false, 4), (256, true, 2), (128, false, 4), (128, true, 2), (64, false, 4), (64, true, 2)]
    {
        let upscaling = (2..2 + layers).map(|layer| width >> layer).collect();
        let config = Config { upscaling, prompt_width: width, ..Preset::Tiny.medsegx() };
        let random = &mut Random(6);
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).expect("the interpreter starts");
        let network = Arc::new(Network::load(&Weights::synthetic(&config, 0), backend).expect("weights are made"));
        let options = SessionOptions { slices: 1, prompts: 1, points: 2, mask_prompt, masks: Masks::Three };
        let mut session = Session::new(network.clone(), options).expect("a session");
        let pixels: Vec<u8> = random.vec(256 * 256 * 3, 128.0).iter().map(|x| (x + 128.0) as u8).collect();
        let scaling = [0.017, 0.018, 0.0174, -2.1, -2.0, -1.8, 256.0, 256.0];
        session.encode(&[Slice { pixels: &pixels, scaling, context: [0; 5] }]).expect("the slice is encoded");
        costs.take("", network.backend(), |_| false);
        let points = [Point { x: 50.0, y: 60.0, label: 2 }, Point { x: 150.0, y: 160.0, label: 3 }];
        let mask = random.vec(64 * 64, 4.0);
        let prompt = Prompt { slot: 0, points: &points, mask: mask_prompt.then_some(&mask) };
        let side = config.logits_size();
        let (mut logits, mut iou) = (vec![0.0; 3 * side * side], [0.0; 4]);
        session.decode(&[prompt], &mut logits, &mut iou).expect("the prompt is decoded");
        costs.take("one box on 16 x 16 tokens", network.backend(), |_| true);
    }
}

/// Slices as they are stored to pictures.
fn slices(costs: &mut Costs) {
    let random = &mut Random(9);
    let (dims, count) = ([400, 512, 1], 400 * 512);
    let mut numbers = || random.vec(count, 1000.0);
    for voxels in [
        Voxels::I8(numbers().iter().map(|v| (v / 8.0) as i8).collect()),
        Voxels::I16(numbers().iter().map(|&v| v as i16).collect()),
        Voxels::I32(numbers().iter().map(|&v| v as i32).collect()),
        Voxels::I64(numbers().iter().map(|&v| v as i64).collect()),
        Voxels::F32(numbers()),
        Voxels::F64(numbers().iter().map(|&v| f64::from(v)).collect()),
    ] {
        let volume = Volume::from_voxels("v", dims, 1, voxels).expect("a volume");
        slice_of(costs, &volume, Intensity::Soft);
    }
    let colour = random.vec(3 * count, 128.0).iter().map(|v| (v + 128.0) as u8).collect();
    slice_of(costs, &Volume::from_voxels("v", dims, 3, Voxels::U8(colour)).expect("a volume"), Intensity::Raw);
}

fn slice_of(costs: &mut Costs, volume: &Volume, rule: Intensity) {
    let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).expect("the interpreter starts");
    let map = rule.resolve(volume).expect("levels");
    pictures::make(&backend, (volume, 2, &map), ([256, 256], 256), false);
    costs.take("512 x 400 to 256 x 256", &backend, |_| true);
}

/// Logits to the mask of a slice.
fn resizing(costs: &mut Costs) {
    for (fit, slice) in [(Fit::Stretch, [512, 400]), (Fit::LongestSide, [512, 400]), (Fit::Stretch, [150, 333])] {
        let random = &mut Random(7);
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).expect("the interpreter starts");
        let logits = random.vec(256 * 256, 4.0);
        let (_, _) = masks::resize(&backend, &logits, fit, slice);
        costs.take(&format!("256 x 256 to {} x {}", slice[0], slice[1]), &backend, |_| true);
    }
}

/// What chooses a mask: counts of the maps of two prompts.
fn measuring(costs: &mut Costs) {
    for maps in [1, 3] {
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).expect("the interpreter starts");
        let mut graph = Graph::new(2);
        let id = graph.value("logits", &[maps, 256, 256], Element::F32, Role::Input);
        let plan = Plan::new(backend.lower(graph));
        let mut arena = backend.arena(&[&plan]).expect("memory");
        let logits = Random(9).vec(2 * maps * 256 * 256, 3.0);
        backend.write(&mut arena, &plan, id, 0, bytemuck::cast_slice(&logits)).expect("logits are written");
        let mut counter = backend.map_counter(2, maps).expect("memory");
        let boxes = [[50, 150, 60, 160], [3, 255, 7, 90]].into_iter();
        backend.count(&mut arena, &plan, id, boxes, &mut counter).expect("the maps are counted");
        costs.take("2 prompts, 256 x 256", &backend, |_| true);
    }
}

#[test]
fn the_table_of_costs_is_fresh_and_the_main_loops_are_clean() {
    let mut costs = Costs::default();
    products(&mut costs);
    norms(&mut costs);
    implicit_products(&mut costs);
    attention(&mut costs);
    tiny_vit(&mut costs);
    decoder(&mut costs);
    resizing(&mut costs);
    measuring(&mut costs);
    slices(&mut costs);
    let mut table = String::from(
        "| kernel | launch | instructions / mma | / block | wavefronts | sectors |\n|---|---|---|---|---|---|\n",
    );
    for kernel in kernels::all() {
        let Some((size, blocks, c)) = costs.longest.get(kernel.entry) else { continue };
        let per_mma = c.instructions_per_mma().map_or("-".into(), |x| format!("{x:.2}"));
        let per_block = c.issued / blocks;
        let waves = if c.wavefronts == 0 { "-".into() } else { format!("{} / {}", c.wavefronts, c.wavefronts_ideal) };
        let _ = writeln!(
            table,
            "| {} | {size} | {per_mma} | {per_block} | {waves} | {} / {} |",
            kernel.entry, c.sectors, c.sectors_ideal
        );
        // The lines that read operands of tensor cores or copy them asynchronously are the main loop.
        let main_loop = c.lines.iter().filter(|l| matches!(l.class, Class::Ldmatrix | Class::CpAsync));
        for line in main_loop {
            assert_eq!(line.wavefronts, line.wavefronts_ideal, "{}: bank conflicts in {}", kernel.entry, line.text);
        }
    }
    assert!(costs.part_sectors.is_empty(), "accesses that fill no whole sectors: {:#?}", costs.part_sectors);
    readme::check("costs", &table);
}
