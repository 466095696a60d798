//! `medsegx plan`: the steps of a run with shapes, FLOP and bytes, and a bound of the memory, before anything runs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions, Precision};
use medsegx::executor::every_graph;
use medsegx::graph::{Graph, ParamId, Plan};
use medsegx::model::{Config, Kind, Preset, Prompts, image_encoder, mask_decoder};
use medsegx::tune::{StepMemory, Train, free_memory};
use medsegx::volume::{DataType, OpenOptions, Opening, Orientation, SeriesChoice};
use medsegx::weights::{Access, Dtype, Weights};
use serde::Serialize;

use super::named::{Named, named};
use super::real_world::RealWorld;
use super::segment::Axis;

/// Show the steps of a run with shapes, FLOP, bytes and memory
#[derive(clap::Args)]
#[command(mut_arg("real_world", |arg| arg.requires("image")))]
pub struct Args {
    /// Image to plan for, a box on each of its slices: any that `medsegx segment` takes. Headers are read, no voxels
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Time point of a 4-D image, from 0; volume of a DICOM series, by its key or its number from 1
    #[arg(long, value_name = "N|KEY", requires = "image")]
    volume: Option<String>,
    /// DICOM series, where there are several
    #[arg(long, value_name = "UID", requires = "image")]
    series: Option<String>,
    #[command(flatten)]
    values: RealWorld,
    /// Axis of the stored array that slices lie across
    #[arg(long, default_value = "k", ignore_case = true)]
    axis: Axis,
    /// Weights file whose model to plan
    #[arg(long, value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    weights: Option<PathBuf>,
    /// Instead of a file: tiny, vit_b, vit_l, vit_h, litemedsam or mobile_sam
    #[arg(long, value_parser = named)]
    config: Option<Named>,
    /// With --config: 256 is MedSegX, 1024 plain SAM
    #[arg(long, default_value = "256", value_parser = ["256", "1024"], conflicts_with = "weights")]
    image_size: String,
    /// Slices in a batch, each with one box
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,
    /// CPU threads; default: all
    #[arg(long, value_parser = super::model_args::threads())]
    threads: Option<u16>,
    /// Numbers of the large products: f32, or bf16 where the processor multiplies it
    #[arg(long, default_value = "f32", value_parser = super::model_args::precision)]
    precision: Precision,
    /// Also the memory of a step of `medsegx tune` above the loaded model: for each --train at 1 and 4 slices and
    /// those of --batch, where the encoder's blocks are kept and where they are computed anew
    #[arg(long)]
    tune: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Step {
    name: String,
    op: &'static str,
    /// Of what it writes, batch first.
    shapes: Vec<Vec<usize>>,
    flop: u64,
    param_bytes: u64,
    value_bytes: u64,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    flop: u64,
    arena_bytes: usize,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Memory {
    /// Checkpoint tensors as f32.
    parameters: usize,
    /// As the kernels read them.
    prepared: usize,
    /// Arena, embeddings and scratch of all threads.
    session: usize,
    /// What preparing a parameter needs for a moment, on each thread.
    loading: usize,
    /// Of these together; the program itself and its pictures come on top.
    peak: usize,
}

#[derive(Serialize)]
struct Report {
    batch: usize,
    parts: [Part; 2],
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<OnImage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tune: Option<Vec<TuneRow>>,
}

/// What a box on every slice of an image comes to.
#[derive(Serialize)]
struct OnImage {
    file: String,
    /// Voxels along i, j, k.
    dims: [usize; 3],
    channels: usize,
    data_type: DataType,
    /// 0, 1 or 2.
    axis: usize,
    slices: usize,
    /// Columns and rows of a slice.
    slice: [usize; 2],
    /// Of all voxels as they are stored.
    voxel_bytes: u64,
    batches: usize,
    flop: u64,
}

/// Bytes of a step of tuning above the loaded model.
#[derive(Serialize)]
struct TuneRow {
    train: &'static str,
    batch: usize,
    /// Parameters, gradients and moments; part of both.
    optimiser: usize,
    kept: usize,
    recomputed: usize,
    /// Blocks of the encoder that are kept without --memory, of how many, on this machine as it is now.
    kept_by_default: usize,
    blocks: usize,
}

/// Prints both plans and the memory.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (config, dtype) = match (&args.weights, args.config) {
        (Some(file), _) => {
            let weights = Weights::open(file, Access::Map)?;
            (weights.config().clone(), weights.dtype())
        }
        (None, named) => (named.unwrap_or(Named::Preset(Preset::VitB)).config(args.image_size == "256"), Dtype::F32),
    };
    let threads = args.threads.map(usize::from);
    let cpu = Cpu::new(CpuOptions { threads, precision: args.precision, ..CpuOptions::default() })?;
    let batch = usize::from(args.batch);
    let prompts = Prompts { points: 2, mask: false, masks: config.kind.masks() };
    let plan = |graph: Graph| Plan::new(cpu.lower(graph));
    let plans = [plan(image_encoder::graph(&config, batch)), plan(mask_decoder::graph(&config, batch, batch, prompts))];
    let memory = memory(&config, dtype, &cpu, &plans);
    let [encoder, decoder] = &plans;
    let tune = args.tune.then(|| tuning(&config, batch, cpu.threads()));
    let parts = [part("encoder", encoder), part("decoder", decoder)];
    let flop_of_batch = parts.iter().map(|part| part.flop).sum();
    let image = args.image.as_ref().map(|path| on_image(path, &args, flop_of_batch)).transpose()?;
    let report = Report { batch, parts, memory, image, tune };
    super::console::print(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { table(&report)? })
}

/// The run on the image's grid; a last batch that is not full costs what its slices do.
fn on_image(path: &Path, args: &Args, flop_of_batch: u64) -> medsegx::Result<OnImage> {
    let choice = SeriesChoice {
        series: args.series.clone(),
        volume: args.volume.clone(),
        real_world: args.values.real_world.clone(),
        threads: args.threads.map(usize::from),
    };
    let opening = Opening::open_chosen(path, &OpenOptions::default(), &choice)?;
    let info = opening.info();
    let frame = info.frame(args.axis.index(), Orientation::Stored)?;
    let (slices, (rows, columns)) = (frame.slices(), frame.shape());
    let batch = usize::from(args.batch);
    let voxels = info.dims().iter().map(|&n| n as u64).product::<u64>();
    Ok(OnImage {
        file: path.display().to_string(),
        dims: info.dims(),
        channels: info.channels(),
        data_type: info.data_type(),
        axis: frame.axis(),
        slices,
        slice: [columns, rows],
        voxel_bytes: voxels * info.channels() as u64 * info.data_type().bytes(),
        batches: slices.div_ceil(batch),
        flop: (u128::from(flop_of_batch) * slices as u128 / batch as u128) as u64,
    })
}

/// What steps of tuning take, of what can be trained.
fn tuning(config: &Config, batch: usize, threads: usize) -> Vec<TuneRow> {
    let trained: &[Train] = match config.kind {
        Kind::MedSegX if config.adapters.is_some() => &Train::EVERY,
        Kind::MedSegX | Kind::LiteMedSam => &[Train::Decoder],
        Kind::Sam | Kind::MedSam => &[],
    };
    let mut batches = vec![1, 4, batch];
    batches.sort_unstable();
    batches.dedup();
    let free = free_memory().map_or(usize::MAX, |bytes| bytes / 2);
    let rows = trained.iter().flat_map(|&train| batches.iter().map(move |&batch| (train, batch)));
    rows.map(|(train, batch)| {
        let memory = StepMemory::new(config, train, batch, threads);
        let train = train.name();
        let (kept, recomputed) = (memory.bytes(memory.blocks), memory.bytes(0));
        let (kept_by_default, blocks) = (memory.kept(free), memory.blocks);
        TuneRow { train, batch, optimiser: memory.optimiser, kept, recomputed, kept_by_default, blocks }
    })
    .collect()
}

/// The most memory of a model and a session on a CPU, as a run with `args` makes them. On another device this is a
/// bound of what it takes of the host.
pub fn bound(config: &Config, args: &super::model_args::ModelArgs) -> anyhow::Result<usize> {
    let threads = args.threads.map(usize::from);
    let cpu = Cpu::new(CpuOptions { threads, precision: args.precision, ..CpuOptions::default() })?;
    let batch = args.batch.map_or(if config.kind == Kind::MedSegX { 4 } else { 1 }, usize::from);
    let prompts = Prompts { points: 2, mask: false, masks: config.kind.masks() };
    let plan = |graph: Graph| Plan::new(cpu.lower(graph));
    let plans = [plan(image_encoder::graph(config, batch)), plan(mask_decoder::graph(config, batch, batch, prompts))];
    Ok(memory(config, Dtype::F32, &cpu, &plans).peak)
}

fn part(name: &'static str, plan: &Plan) -> Part {
    let graph = &plan.graph;
    let step = |index: usize| {
        let (node, cost) = (&graph.nodes[index], graph.cost(index));
        Step {
            name: node.name.clone(),
            op: node.op.name(),
            shapes: node.op.writes().into_iter().map(|id| graph[id].shape.clone()).collect(),
            flop: cost.flop,
            param_bytes: cost.param_bytes,
            value_bytes: cost.value_bytes,
        }
    };
    let steps: Vec<Step> = (0..graph.nodes.len()).map(step).collect();
    Part { name, flop: steps.iter().map(|step| step.flop).sum(), arena_bytes: plan.arena_bytes, steps }
}

fn memory(config: &Config, dtype: Dtype, cpu: &Cpu, plans: &[Plan; 2]) -> Memory {
    let mut seen = std::collections::HashSet::new();
    let (mut parameters, mut prepared, mut loading) = (0, 0, 0);
    for graph in every_graph(config).map(|graph| cpu.lower(graph)) {
        for (index, param) in graph.params.iter().enumerate().filter(|(_, param)| seen.insert(param.name.clone())) {
            let bytes = size_of::<f32>() * param.len();
            parameters += bytes;
            prepared += cpu.param_bytes(&graph, ParamId(index), dtype != Dtype::F32);
            loading = loading.max(cpu.loading_bytes(&graph, ParamId(index)));
        }
    }
    // Each thread prepares one parameter at a time.
    loading *= cpu.threads();
    let session = cpu.arena_bytes(&[&plans[0], &plans[1]]);
    Memory { parameters, prepared, session, loading, peak: prepared + session.max(loading) }
}

fn table(report: &Report) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for part in &report.parts {
        for step in &part.steps {
            let shapes: Vec<String> = step.shapes.iter().map(|shape| format!("{shape:?}")).collect();
            let (flop, bytes) = (step.flop as f64 * 1e-9, (step.param_bytes + step.value_bytes) as f64 * 1e-6);
            let (name, op) = (&step.name, step.op);
            writeln!(out, "{name:62} {op:20} {:18} {flop:8.3} GFLOP {bytes:8.2} MB", shapes.join(" + "))?;
        }
        let (flop, arena) = (part.flop as f64 * 1e-9, part.arena_bytes as f64 * 1e-6);
        writeln!(out, "{}: {flop:.2} GFLOP, arena {arena:.1} MB\n", part.name)?;
    }
    let mb = |bytes: usize| bytes as f64 * 1e-6;
    let Memory { parameters, prepared, session, loading, peak } = &report.memory;
    let [parameters, prepared, session] = [parameters, prepared, session].map(|bytes| mb(*bytes));
    writeln!(out, "parameters {parameters:.1} MB, prepared {prepared:.1} MB, session {session:.1} MB")?;
    writeln!(
        out,
        "loading adds {:.1} MB for a moment; at most {:.1} MB, program and pictures apart",
        mb(*loading),
        mb(*peak)
    )?;
    if let Some(image) = &report.image {
        let OnImage { dims: [i, j, k], channels, data_type, slices, slice: [columns, rows], batches, .. } = image;
        let (axis, colour) = (["i", "j", "k"][image.axis], if *channels == 3 { ", colour" } else { "" });
        let (megabytes, flop) = (image.voxel_bytes as f64 * 1e-6, image.flop as f64 * 1e-9);
        writeln!(out, "\n{}: {i} x {j} x {k} voxels, {data_type:?}{colour}, {megabytes:.1} MB as stored", image.file)?;
        writeln!(
            out,
            "a box on each slice along {axis}: {slices} of {columns} x {rows} pixels, {batches} batches of {}, {flop:.1} \
            GFLOP",
            report.batch
        )?;
    }
    for row in report.tune.iter().flatten() {
        let TuneRow { train, batch, optimiser, kept, recomputed, kept_by_default, blocks } = row;
        let [optimiser, kept, recomputed] = [optimiser, kept, recomputed].map(|bytes| mb(*bytes));
        write!(out, "tune --train {train}, {batch} slices a step: {kept:.1} MB above the model")?;
        if *blocks > 0 {
            write!(
                out,
                ", {recomputed:.1} MB with blocks computed anew ({kept_by_default} of {blocks} kept by default)"
            )?;
        }
        writeln!(out, ", {optimiser:.1} MB of it the optimiser's")?;
    }
    Ok(out)
}
