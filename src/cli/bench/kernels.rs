//! `bench kernels`: the steps of the model's own plans, each shape once.

use std::io::Write;
use std::time::Instant;

use medsegx::backend::Backend;
use medsegx::executor::Session;
use medsegx::graph::op;
use medsegx::graph::{Graph, Op};
use serde::Serialize;

use super::common::{Common, Rates, Work, at_least_one, describe, ensure_ceiling, median};
use crate::cli::progress::Progress;

/// Options.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Slices in the batch
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(super) batch: usize,
    /// On CUDA: blocks a multiprocessor that kernels ask for besides those of their templates
    #[cfg(feature = "cuda")]
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i8).range(-8..=8))]
    pub(super) more_blocks: i8,
    /// On CUDA: products by mma.sync alone, on a device that has wgmma too
    #[cfg(feature = "cuda")]
    #[arg(long)]
    pub(super) mma_sync: bool,
}

#[derive(Serialize)]
struct Row {
    op: &'static str,
    /// Shapes of what it reads and writes.
    shapes: String,
    /// How often the model runs it.
    count: usize,
    microseconds: f64,
    gflops: f64,
    gbytes: f64,
    /// Of the rate of its multiply-adds, measured on both sides of the step.
    share_of_fma_ceiling: f64,
    /// Of the rate at which as many bytes are copied, in a cache where they fit.
    share_of_copies: f64,
    distance_from_portable: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let common = &args.common;
    let network = common.network(common.cpu()?)?;
    let portable = common.network(common.portable()?)?;
    let mut work = Work::new(network.config(), args.batch);
    let options = work.options();
    let mut sessions = (Session::for_probing(network.clone(), options)?, Session::for_probing(portable, options)?);
    let cpu = network.backend();
    let mut ceiling = cpu.ceiling()?;
    let mut rows: Vec<Row> = Vec::new();
    let steps = [false, true].map(|decoder| sessions.0.plans()[usize::from(decoder)].graph.nodes.len());
    let progress = Progress::new(steps.iter().sum(), "operations", false);
    for decoder in [false, true] {
        // Both plans share memory, so each is run just before its steps are looked at.
        work.half(&mut sessions.0, decoder)?;
        work.half(&mut sessions.1, decoder)?;
        for step in 0..steps[usize::from(decoder)] {
            progress.step();
            let graph = &sessions.0.plans()[usize::from(decoder)].graph;
            let node = &graph.nodes[step];
            let (op, shapes, cost) = (node.op.name(), shapes(graph, &node.op), graph.cost(step));
            let is_pairs = cpu.multiplies_pairs(graph, &node.op);
            let outputs: Vec<String> = node.op.writes().iter().map(|&id| graph[id].name.clone()).collect();
            sessions.0.repeat_step(decoder, step, args.batch, 1)?;
            sessions.1.repeat_step(decoder, step, args.batch, 1)?;
            let mut distance: f64 = 0.0;
            for name in outputs {
                distance = distance.max(super::model::distance(&sessions.0.probe(&name)?, &sessions.1.probe(&name)?));
            }
            anyhow::ensure!(
                distance <= common.tolerance(),
                "{op} {shapes}: {distance:.1e} away from the portable path"
            );
            if let Some(row) = rows.iter_mut().find(|row| row.op == op && row.shapes == shapes) {
                row.count += 1;
                row.distance_from_portable = row.distance_from_portable.max(distance);
                continue;
            }
            let bytes = (cost.param_bytes + cost.value_bytes) as usize;
            let before = Rates::measure(cpu)?;
            let seconds = time(&mut sessions.0, decoder, step, args.batch, common.repeats)?;
            let rates = before.best(Rates::measure(cpu)?);
            rates.lift(&mut ceiling);
            let gflops = cost.flop as f64 / seconds * 1e-9;
            let gbytes = bytes as f64 / seconds * 1e-9;
            let share_of_fma_ceiling =
                rates.seconds(if is_pairs { [0.0, cost.flop as f64] } else { [cost.flop as f64, 0.0] }) / seconds;
            ensure_ceiling(share_of_fma_ceiling, &format!("{op} {shapes}"))?;
            rows.push(Row {
                op,
                shapes,
                count: 1,
                microseconds: seconds * 1e6,
                gflops,
                gbytes,
                share_of_fma_ceiling,
                share_of_copies: gbytes / cpu.copy_rate(bytes)?,
                distance_from_portable: distance,
            });
        }
    }
    progress.finish();
    print(&rows, &describe(network.backend(), &ceiling), common.json)
}

pub(super) fn shapes(graph: &Graph, op: &Op) -> String {
    let list = |ids: Vec<medsegx::graph::ValueId>| -> Vec<String> {
        ids.iter().map(|&id| graph[id].shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join("x")).collect()
    };
    let window = if let Op::Attention(op::Attention { window: Some(window), .. }) = op {
        format!(", windows of {window}")
    } else {
        String::new()
    };
    format!("{} -> {}{window}", list(op.reads()).join(" + "), list(op.writes()).join(" + "))
}

/// Median seconds of a step, several runs in a row where it is short.
fn time<B: Backend>(
    session: &mut Session<B>,
    decoder: bool,
    step: usize,
    batch: usize,
    repeats: usize,
) -> anyhow::Result<f64> {
    let mut once = |times: usize| -> anyhow::Result<f64> {
        let start = Instant::now();
        session.repeat_step(decoder, step, batch, times)?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    };
    let times = (1e-3 / once(1)?.max(1e-9)).clamp(1.0, 1000.0) as usize;
    Ok(median((0..repeats.max(1)).map(|_| once(times)).collect::<anyhow::Result<_>>()?))
}

fn print(rows: &[Row], header: &str, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(rows)?)?);
    }
    writeln!(out, "{header}")?;
    writeln!(
        out,
        "{:22} {:52} {:>5} {:>10} {:>8} {:>7} {:>7} {:>9}",
        "op", "shapes", "times", "us", "GFLOP/s", "GB/s", "of FMA", "of copies"
    )?;
    for row in rows {
        let Row { op, shapes, count, microseconds, gflops, gbytes, share_of_fma_ceiling, share_of_copies, .. } = row;
        let [fma, copies] = [100.0 * share_of_fma_ceiling, 100.0 * share_of_copies];
        writeln!(
            out,
            "{op:22} {shapes:52} {count:5} {microseconds:10.1} {gflops:8.1} {gbytes:7.1} {fma:5.0} % {copies:7.0} %"
        )?;
    }
    Ok(())
}
