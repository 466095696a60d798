//! `bench model` and `bench kernels` on a CUDA device, or on the interpreter of its kernels.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use medsegx::backend::Backend;
use medsegx::backend::cuda::driver::Driver;
use medsegx::backend::cuda::param_bytes;
use medsegx::backend::cuda::{Ceiling, Cuda};
use medsegx::executor::{Network, Session};
use medsegx::graph::Plan;
use serde::Serialize;

use super::common::{Common, Work, median};
use crate::cli::progress::Progress;

/// How far f16 operands may take the logits from the CPU's in f32, and a step of the network from the same step there.
const TOLERANCE: f64 = 5e-3;

/// Runs that are queued ahead of timed steps, so that the device never waits for the host.
const COVER: usize = 16;

/// Which device, and what it reaches.
#[derive(Serialize)]
struct About {
    config: &'static str,
    device: String,
    description: String,
    free_bytes: Option<usize>,
    tensor_ceiling_tflops: f64,
    copy_ceiling_gbytes: f64,
}

impl About {
    fn new<D: Driver>(common: &Common, cuda: &Cuda<D>) -> anyhow::Result<(About, Ceiling)> {
        let ceiling = cuda.ceiling()?;
        let about = About {
            config: common.config.name(),
            device: cuda.name(),
            description: cuda.driver().describe(),
            free_bytes: cuda.free_bytes()?,
            tensor_ceiling_tflops: ceiling.tflops,
            copy_ceiling_gbytes: ceiling.gbytes,
        };
        Ok((about, ceiling))
    }

    fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let About { config, device, description, tensor_ceiling_tflops, copy_ceiling_gbytes, .. } = self;
        writeln!(out, "{config} with synthetic weights on {device} ({description});")?;
        writeln!(
            out,
            "measured ceiling {tensor_ceiling_tflops:.4} TFLOP/s of mma.sync in f16, {copy_ceiling_gbytes:.3} GB/s of copies"
        )?;
        Ok(())
    }
}

#[derive(Serialize)]
struct ModelRow {
    batch: usize,
    /// Encoder and decoder on a device that has the pictures, without the way back.
    ms: f64,
    slices_per_second: f64,
    tflops: f64,
    share_of_ceiling: f64,
    /// From the call to its answer: upload, run, download of all logits.
    ms_with_copies: f64,
}

#[derive(Serialize)]
struct ModelReport {
    #[serde(flatten)]
    about: About,
    load_seconds: f64,
    distance_from_cpu: f64,
    rows: Vec<ModelRow>,
}

/// `bench model`.
pub(super) fn model<D: Driver>(common: &Common, batches: &[usize], cuda: Cuda<D>) -> anyhow::Result<()> {
    let start = Instant::now();
    let network = common.network(cuda)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let distance_from_cpu = distance_from_cpu(common, &network)?;
    let (about, ceiling) = About::new(common, network.backend())?;
    let progress = Progress::new(batches.len(), "batches", false);
    let rows = batches.iter().map(|&batch| {
        let row = model_row(common, &network, &ceiling, batch);
        progress.step();
        row
    });
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    progress.finish();
    let report = ModelReport { about, load_seconds, distance_from_cpu, rows };
    let mut out = std::io::stdout().lock();
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?);
    }
    report.about.print(&mut out)?;
    writeln!(out, "logits {distance_from_cpu:.1e} from the CPU's; loaded in {load_seconds:.2} s")?;
    writeln!(out, "batch        ms   slices/s   TFLOP/s  of ceiling  ms with copies")?;
    for ModelRow { batch, ms, slices_per_second, tflops, share_of_ceiling, ms_with_copies } in &report.rows {
        let share = 100.0 * share_of_ceiling;
        writeln!(out, "{batch:5} {ms:9.3} {slices_per_second:10.2} {tflops:9.4} {share:9.1} % {ms_with_copies:15.3}")?;
    }
    Ok(())
}

fn model_row<D: Driver>(
    common: &Common,
    network: &Arc<Network<Cuda<D>>>,
    ceiling: &Ceiling,
    batch: usize,
) -> anyhow::Result<ModelRow> {
    let mut work = Work::new(network.config(), batch);
    let mut session = Session::new(network.clone(), work.options())?;
    // The first run loads the kernels, the second is recorded.
    for _ in 0..2 {
        work.run(&mut session)?;
    }
    let repeats = common.repeats.max(1);
    let with_copies = (0..repeats).map(|_| Ok(work.run(&mut session)?.iter().sum())).collect::<anyhow::Result<_>>()?;
    let runs = (0..repeats).map(|_| Ok(work.time(&mut session)?)).collect::<anyhow::Result<_>>()?;
    let seconds = median(runs);
    let steps = |plan: &Plan| (0..plan.graph.nodes.len()).map(|i| plan.graph.cost(i).flop).sum::<u64>();
    let tflops = session.plans().into_iter().map(steps).sum::<u64>() as f64 / seconds * 1e-12;
    Ok(ModelRow {
        batch,
        ms: 1e3 * seconds,
        slices_per_second: batch as f64 / seconds,
        tflops,
        share_of_ceiling: tflops / ceiling.tflops,
        ms_with_copies: 1e3 * median(with_copies),
    })
}

fn distance_from_cpu<D: Driver>(common: &Common, network: &Arc<Network<Cuda<D>>>) -> anyhow::Result<f64> {
    let mut work = Work::new(network.config(), 1);
    let options = work.options();
    work.run(&mut Session::new(common.network(common.cpu()?)?, options)?)?;
    let expected = work.logits.clone();
    let mut session = Session::new(network.clone(), options)?;
    // The first run loads the kernels, the second is recorded; what is timed is replayed.
    for _ in 0..3 {
        work.run(&mut session)?;
    }
    let distance = super::model::distance(&work.logits, &expected);
    anyhow::ensure!(
        distance <= TOLERANCE,
        "logits are {distance:.1e} away from the CPU's, more than {TOLERANCE:.0e}: nothing is timed"
    );
    Ok(distance)
}

#[derive(Serialize)]
struct KernelRow {
    op: &'static str,
    shapes: String,
    /// How often the model runs it.
    count: usize,
    /// In the place that it has in a run, with what that leaves in the caches.
    microseconds: f64,
    tflops: f64,
    gbytes: f64,
    /// Of the measured rate of mma.sync or of copies, whichever binds more; by wgmma it may be more than all of it.
    share_of_ceiling: f64,
    distance_from_cpu: f64,
}

#[derive(Serialize)]
struct KernelReport {
    #[serde(flatten)]
    about: About,
    batch: usize,
    more_blocks: i8,
    /// What a full batch is multiplied by: `wgmma` or `mma.sync`.
    products: &'static str,
    rows: Vec<KernelRow>,
}

/// `bench kernels`.
pub(super) fn kernels<D: Driver>(args: &super::kernels::Args, cuda: Cuda<D>) -> anyhow::Result<()> {
    let (common, batch, more_blocks) = (&args.common, args.batch, args.more_blocks);
    let cuda = if args.mma_sync { cuda.with_mma_sync() } else { cuda };
    let products = if cuda.has_wgmma() { "wgmma" } else { "mma.sync" };
    let network = common.network(cuda.with_more_blocks(more_blocks))?;
    let cpu = common.network(common.cpu()?)?;
    let (about, ceiling) = About::new(common, network.backend())?;
    let mut work = Work::new(network.config(), batch);
    let options = work.options();
    let mut sessions = (Session::for_probing(network, options)?, Session::for_probing(cpu, options)?);
    let mut rows = Vec::new();
    let steps = [false, true].map(|decoder| sessions.0.plans()[usize::from(decoder)].graph.nodes.len());
    let progress = Progress::new(steps.iter().sum(), "operations", false);
    for decoder in [false, true] {
        // Both plans share memory, so each is run just before its steps are looked at.
        work.half(&mut sessions.0, decoder)?;
        work.half(&mut sessions.1, decoder)?;
        let cover = if about.free_bytes.is_some() { COVER } else { 0 };
        let times = (0..common.repeats.max(1)).map(|_| sessions.0.time_steps(decoder, batch, cover));
        let times = times.collect::<medsegx::Result<Vec<_>>>()?;
        for step in 0..steps[usize::from(decoder)] {
            progress.step();
            let seconds = median(times.iter().map(|run| run[step].as_secs_f64()).collect());
            let mut row = kernel_row(sessions.0.plans()[usize::from(decoder)], step, seconds, &ceiling);
            row.distance_from_cpu = step_distance(&mut sessions, decoder, step)?;
            anyhow::ensure!(
                row.distance_from_cpu <= TOLERANCE,
                "{} {}: {:.1e} away from the CPU",
                row.op,
                row.shapes,
                row.distance_from_cpu
            );
            add(&mut rows, row);
        }
    }
    progress.finish();
    print(&KernelReport { about, batch, more_blocks, products, rows }, common.json)
}

fn kernel_row(plan: &Plan, step: usize, seconds: f64, ceiling: &Ceiling) -> KernelRow {
    let graph = &plan.graph;
    let op = &graph.nodes[step].op;
    let values = op.reads().into_iter().chain(op.writes()).map(|id| plan.graph[id].bytes()).sum::<usize>();
    let bytes = values + op.params().into_iter().map(|id| param_bytes(graph, id)).sum::<usize>();
    let (tflops, gbytes) = (graph.cost(step).flop as f64 / seconds * 1e-12, bytes as f64 / seconds * 1e-9);
    KernelRow {
        op: op.name(),
        shapes: super::kernels::shapes(graph, op),
        count: 1,
        microseconds: 1e6 * seconds,
        tflops,
        gbytes,
        share_of_ceiling: (tflops / ceiling.tflops).max(gbytes / ceiling.gbytes),
        distance_from_cpu: 0.0,
    }
}

fn step_distance<A: Backend, B: Backend>(
    sessions: &mut (Session<A>, Session<B>),
    decoder: bool,
    step: usize,
) -> anyhow::Result<f64> {
    let graph = &sessions.0.plans()[usize::from(decoder)].graph;
    let outputs: Vec<String> = graph.nodes[step].op.writes().iter().map(|&id| graph[id].name.clone()).collect();
    let mut largest: f64 = 0.0;
    for name in outputs {
        largest = largest.max(super::model::distance(&sessions.0.probe(&name)?, &sessions.1.probe(&name)?));
    }
    Ok(largest)
}

/// Steps of the same kind and shape are one row: of their times the mean, of their distances the largest.
fn add(rows: &mut Vec<KernelRow>, row: KernelRow) {
    let Some(seen) = rows.iter_mut().find(|seen| seen.op == row.op && seen.shapes == row.shapes) else {
        return rows.push(row);
    };
    let count = seen.count as f64;
    let mean = |seen: f64, one: f64| (count * seen + one) / (count + 1.0);
    seen.microseconds = mean(seen.microseconds, row.microseconds);
    // Rates are of the mean time, so their harmonic mean is taken.
    let rate = |seen: f64, one: f64| if one > 0.0 { mean(seen.recip(), one.recip()).recip() } else { seen };
    seen.tflops = rate(seen.tflops, row.tflops);
    seen.gbytes = rate(seen.gbytes, row.gbytes);
    seen.share_of_ceiling = rate(seen.share_of_ceiling, row.share_of_ceiling);
    seen.distance_from_cpu = seen.distance_from_cpu.max(row.distance_from_cpu);
    seen.count += 1;
}

fn print(report: &KernelReport, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(report)?)?);
    }
    report.about.print(&mut out)?;
    writeln!(
        out,
        "{:22} {:52} {:>5} {:>10} {:>8} {:>8} {:>11} {:>9}",
        "op", "shapes", "times", "us", "TFLOP/s", "GB/s", "of ceiling", "from CPU"
    )?;
    for row in &report.rows {
        let KernelRow { op, shapes, count, microseconds, tflops, gbytes, share_of_ceiling, distance_from_cpu } = row;
        let share = 100.0 * share_of_ceiling;
        writeln!(
            out,
            "{op:22} {shapes:52} {count:5} {microseconds:10.2} {tflops:8.3} {gbytes:8.2} {share:9.1} % \
             {distance_from_cpu:9.1e}"
        )?;
    }
    let sum: f64 = report.rows.iter().map(|row| row.count as f64 * row.microseconds).sum();
    writeln!(out, "all steps {:.3} ms a batch of {}", 1e-3 * sum, report.batch)?;
    Ok(())
}
