//! `bench floors`: the time of a run on paper. For every step the FLOP and bytes, how long a GPU needs for them at
//! least, and what the machine code of the kernels says (`paper.rs`); no GPU is asked.

use std::io::Write;
use std::path::PathBuf;

use medsegx::backend::cuda::driver::null::Launched;
use medsegx::backend::cuda::dry_run::launches;
use medsegx::backend::cuda::param_bytes;
use medsegx::graph::Plan;
use medsegx::model::{Masks, Preset, Prompts, image_encoder, mask_decoder};
use serde::Serialize;

use super::cards::{Arithmetic, Card, card};
use super::paper::{Cycles, Table};

/// Options.
#[derive(clap::Args)]
pub struct Args {
    /// tiny, vit_b, vit_l or vit_h
    #[arg(long, default_value = "vit_b", value_parser = preset)]
    config: Preset,
    /// Batch sizes, each slice with one box
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..), default_values_t = [1, 8, 32])]
    batch: Vec<u16>,
    /// a100, h100, h200, rtx4090, rtx5090
    #[arg(long, value_delimiter = ',', default_values = ["h100", "h200", "rtx4090"], value_parser = card)]
    card: Vec<Card>,
    /// Microseconds from the end of one node of a CUDA graph to the start of the next that waits for it
    #[arg(long, default_value_t = 1.2)]
    node: f64,
    /// Machine code of other kernels, to be put through the same model: a table of tools/sass
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// Only the last line of each
    #[arg(long)]
    summary: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A size by its name.
fn preset(text: &str) -> Result<Preset, String> {
    let known = || Preset::ALL.map(Preset::name).join(", ");
    Preset::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| format!("needs one of {}", known()))
}

/// Templates whose kernels multiply on tensor cores.
const ON_TENSOR_CORES: [&str; 5] = ["attention", "conv3x3", "gemm", "patch_embed", "upscale"];

/// Steps of one kind and shape.
#[derive(Serialize)]
struct Row {
    op: &'static str,
    shapes: String,
    /// How often the model runs it.
    count: usize,
    /// Kernels of one.
    kernels: Vec<&'static str>,
    blocks: u64,
    /// Of one, as are the rest.
    flop: u64,
    param_bytes: u64,
    value_bytes: u64,
    flop_us: f64,
    bytes_us: f64,
    /// The larger of the two.
    floor_us: f64,
    /// No faster than the floor, nor than whole rounds of blocks of this machine code.
    counted_us: f64,
    /// The same without the code outside of main loops.
    loops_us: f64,
}

#[derive(Serialize)]
struct Report {
    config: &'static str,
    batch: usize,
    card: Card,
    nodes: usize,
    floor_us: f64,
    counted_us: f64,
    /// `counted_us` and the gaps between nodes.
    total_us: f64,
    slices_per_second: f64,
    rows: Vec<Row>,
}

/// Prints a model of time for each card and batch.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (mut reports, table) = (Vec::new(), Table::of(args.code.as_deref())?);
    for &batch in &args.batch {
        let (batch, config) = (usize::from(batch), args.config.medsegx());
        let prompts = Prompts { points: 2, mask: false, masks: Masks::Three };
        let graphs = [image_encoder::graph(&config, batch), mask_decoder::graph(&config, batch, batch, prompts)];
        for card in &args.card {
            let plans = graphs.clone().map(|graph| launches(graph, card.wgmma_share.is_some()));
            let plans = plans.into_iter().collect::<medsegx::Result<Vec<_>>>()?;
            reports.push(report(args, batch, card, &table, &plans)?);
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&reports)?)?);
    }
    reports.iter().try_for_each(|report| print(report, args, &mut out))
}

fn report(
    args: &Args,
    batch: usize,
    card: &Card,
    table: &Table,
    plans: &[(Plan, Vec<Vec<Launched>>)],
) -> anyhow::Result<Report> {
    let mut rows: Vec<Row> = Vec::new();
    for (plan, steps) in plans {
        for (step, launched) in steps.iter().enumerate() {
            let row = row(card, table, plan, step, launched)?;
            match rows.iter_mut().find(|seen| seen.op == row.op && seen.shapes == row.shapes) {
                Some(seen) => seen.count += 1,
                None => rows.push(row),
            }
        }
    }
    let sum = |of: &dyn Fn(&Row) -> f64| rows.iter().map(|row| row.count as f64 * of(row)).sum::<f64>();
    let nodes = plans.iter().flat_map(|(_, steps)| steps).map(Vec::len).sum();
    let (floor_us, counted_us) = (sum(&|row| row.floor_us), sum(&|row| row.counted_us));
    let total_us = counted_us + args.node * nodes as f64;
    Ok(Report {
        config: args.config.name(),
        batch,
        card: *card,
        nodes,
        floor_us,
        counted_us,
        total_us,
        slices_per_second: batch as f64 / total_us * 1e6,
        rows,
    })
}

fn row(card: &Card, table: &Table, plan: &Plan, step: usize, launched: &[Launched]) -> anyhow::Result<Row> {
    let graph = &plan.graph;
    let op = &graph.nodes[step].op;
    let flop = graph.cost(step).flop;
    let param_bytes = op.params().into_iter().map(|id| param_bytes(graph, id) as u64).sum();
    let value_bytes = op.reads().into_iter().chain(op.writes()).map(|id| plan.graph[id].bytes() as u64).sum();
    let arithmetic = launched.iter().map(|launch| match launch.kernel.target() {
        "sm_90a" => Arithmetic::Wgmma,
        _ if ON_TENSOR_CORES.contains(&launch.kernel.template) => Arithmetic::MmaSync,
        _ => Arithmetic::Fma,
    });
    let flop_us = 1e6 * card.seconds_of_flop(flop, arithmetic.max().unwrap_or(Arithmetic::Fma));
    let bytes_us = 1e6 * card.seconds_of_bytes(param_bytes, value_bytes);
    let floor_us = flop_us.max(bytes_us);
    let blocks = launched.iter().map(Launched::blocks).max().unwrap_or(0);
    let mut cycles = Cycles::default();
    for launch in launched {
        let one = table.cycles(card, launch.kernel.entry, launch.blocks(), flop)?;
        cycles = Cycles { whole: cycles.whole + one.whole, loops: cycles.loops + one.loops };
    }
    let microseconds = |cycles: f64| cycles / (card.ghz * 1e3);
    Ok(Row {
        op: op.name(),
        shapes: super::kernels::shapes(graph, op),
        count: 1,
        kernels: launched.iter().map(|launch| launch.kernel.entry).collect(),
        blocks,
        flop,
        param_bytes,
        value_bytes,
        flop_us,
        bytes_us,
        floor_us,
        counted_us: floor_us.max(microseconds(cycles.whole)),
        loops_us: floor_us.max(microseconds(cycles.loops)),
    })
}

fn print(report: &Report, args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let Report { config, batch, card, nodes, floor_us, counted_us, total_us, slices_per_second, rows } = report;
    if !args.summary {
        let (tensor, share) = (card.tensor_tflops, 100.0 * card.mma_sync_share);
        let wgmma = card.wgmma_share.map(|share| format!(", {:.0} % by wgmma", 100.0 * share)).unwrap_or_default();
        writeln!(
            out,
            "{config}, batch {batch}, {}: {} multiprocessors at {} GHz, {tensor} TFLOP/s of f16, of it {share:.0} % by \
             mma.sync{wgmma}, {} GB/s, {} MB of L2",
            card.name, card.multiprocessors, card.ghz, card.gbytes, card.l2_mbytes
        )?;
        let columns = ["GFLOP", "MB params", "MB values", "floor us", "paper us"];
        let [a, b, c, d, e] = columns;
        writeln!(
            out,
            "{:20} {:44} {:>5} {:>7} {a:>8} {b:>9} {c:>9} {d:>9} {e:>10}",
            "op", "shapes", "times", "blocks"
        )?;
        for row in rows {
            let Row { op, shapes, count, blocks, floor_us, counted_us, .. } = row;
            let [gflop, params, values] =
                [row.flop as f64 * 1e-9, row.param_bytes as f64 * 1e-6, row.value_bytes as f64 * 1e-6];
            writeln!(
                out,
                "{op:20} {shapes:44} {count:5} {blocks:7} {gflop:8.3} {params:9.2} {values:9.2} {floor_us:9.2} \
                 {counted_us:10.2}"
            )?;
        }
    }
    writeln!(
        out,
        "{config} batch {batch:3} on {:8} floor {floor_us:8.0} us, on paper {counted_us:8.0} us, with {} us for each of \
         {nodes} nodes {total_us:8.0} us: {slices_per_second:6.0} slices/s",
        card.name, args.node
    )?;
    Ok(())
}
