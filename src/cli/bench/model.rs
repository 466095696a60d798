//! `bench model`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use medsegx::backend::Backend;
use medsegx::backend::cpu::Cpu;
use medsegx::executor::{Network, Session};
use serde::Serialize;

use super::common::{Common, Rates, Work, at_least_one, describe, ensure_ceiling, median};
use crate::cli::progress::Progress;

/// Options.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, default_values_t = [1, 4, 16])]
    pub(super) batch: Vec<usize>,
}

#[derive(Serialize)]
struct Row {
    batch: usize,
    ms_per_slice: f64,
    encoder_ms_per_slice: f64,
    decoder_ms_per_slice: f64,
    gflops: f64,
    /// The time of all multiply-adds at the rates measured just before and after each run, as a share of the run's.
    share_of_fma_ceiling: f64,
    /// Milliseconds of each kind of operation, a whole batch.
    stages: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
struct Report {
    config: &'static str,
    level: String,
    threads: usize,
    load_seconds: f64,
    fma_ceiling_gflops: f64,
    copy_ceiling_gbytes: f64,
    distance_from_portable: f64,
    rows: Vec<Row>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let common = &args.common;
    let start = Instant::now();
    let network = common.network(common.cpu()?)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let cpu = network.backend();
    let mut ceiling = cpu.ceiling()?;

    let mut work = Work::new(network.config(), 1);
    let options = work.options();
    let portable = common.network(common.portable()?)?;
    work.run(&mut Session::new(portable, options)?)?;
    let expected = work.logits.clone();
    work.run(&mut Session::new(network.clone(), options)?)?;
    let distance = distance(&work.logits, &expected);
    anyhow::ensure!(
        distance <= common.tolerance(),
        "logits are {distance:.1e} away from the portable path's: nothing is timed"
    );

    let progress = Progress::new(args.batch.len() * common.repeats.max(1), "runs", false);
    let rows = args.batch.iter().map(|&batch| {
        let mut work = Work::new(network.config(), batch);
        let mut session = Session::new(network.clone(), work.options())?;
        work.run(&mut session)?;
        let mut times = Vec::new();
        let mut ceilings = Vec::new();
        for _ in 0..common.repeats.max(1) {
            let before = Rates::measure(cpu)?;
            times.push(work.run(&mut session)?);
            let rates = before.best(Rates::measure(cpu)?);
            rates.lift(&mut ceiling);
            ceilings.push(rates);
            progress.step();
        }
        let part = |i: usize| median(times.iter().map(|t| t[i]).collect());
        let total = median(times.iter().map(|t| t[0] + t[1]).collect());
        let flop = flop(cpu, &session);
        let gflops = flop.iter().sum::<f64>() / total * 1e-9;
        let shares = times.iter().zip(&ceilings).map(|(t, rates)| rates.seconds(flop) / (t[0] + t[1]));
        let share_of_fma_ceiling = median(shares.collect());
        ensure_ceiling(share_of_fma_ceiling, &format!("batch {batch}"))?;
        let per_slice = 1e3 / batch as f64;
        Ok(Row {
            batch,
            ms_per_slice: total * per_slice,
            encoder_ms_per_slice: part(0) * per_slice,
            decoder_ms_per_slice: part(1) * per_slice,
            gflops,
            share_of_fma_ceiling,
            stages: stages(&network, &mut work)?,
        })
    });
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    progress.finish();
    let report = Report {
        config: common.config.name(),
        level: cpu.level().to_string(),
        threads: cpu.threads(),
        load_seconds,
        fma_ceiling_gflops: ceiling.gflops,
        copy_ceiling_gbytes: ceiling.gbytes,
        distance_from_portable: distance,
        rows,
    };
    print(&report, &describe(cpu, &ceiling), common.json)
}

/// Floating-point operations of a run in f32, and in products of bf16.
fn flop(cpu: &Cpu, session: &Session<Cpu>) -> [f64; 2] {
    let mut flop = [0.0; 2];
    for graph in session.plans().map(|plan| &plan.graph) {
        for (index, node) in graph.nodes.iter().enumerate() {
            flop[usize::from(cpu.multiplies_pairs(graph, &node.op))] += graph.cost(index).flop as f64;
        }
    }
    flop
}

pub(super) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 = found.iter().zip(expected).map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    (difference / expected.iter().map(|&e| square(f64::from(e))).sum::<f64>()).sqrt()
}

/// Time of each kind of operation, step by step, in a session whose steps find their inputs as they were.
fn stages<B: Backend>(network: &Arc<Network<B>>, work: &mut Work) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut session = Session::for_probing(network.clone(), work.options())?;
    let mut stages = BTreeMap::new();
    for decoder in [false, true] {
        work.half(&mut session, decoder)?;
        for step in 0..session.plans()[usize::from(decoder)].graph.nodes.len() {
            let start = Instant::now();
            session.repeat_step(decoder, step, work.pixels.len(), 1)?;
            let name = session.plans()[usize::from(decoder)].graph.nodes[step].op.name();
            *stages.entry(name).or_insert(0.0) += start.elapsed().as_secs_f64() * 1e3;
        }
    }
    Ok(stages)
}

fn print(report: &Report, header: &str, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(report)?)?);
    }
    writeln!(out, "{} with synthetic weights, loaded in {:.2} s; {header}", report.config, report.load_seconds)?;
    writeln!(out, "batch  ms/slice  encoder  decoder  GFLOP/s  of ceiling")?;
    for row in &report.rows {
        let [total, encoder, decoder] = [row.ms_per_slice, row.encoder_ms_per_slice, row.decoder_ms_per_slice];
        let share = 100.0 * row.share_of_fma_ceiling;
        writeln!(out, "{:5} {total:9.1} {encoder:8.1} {decoder:8.2} {:8.0} {share:9.0} %", row.batch, row.gflops)?;
    }
    for row in &report.rows {
        let stages: Vec<String> = row.stages.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        writeln!(out, "batch {}, ms: {}", row.batch, stages.join(", "))?;
    }
    Ok(())
}
