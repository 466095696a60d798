//! `bench tune`: a step of tuning beside the forward pass of the same batch, turn by turn.

use std::sync::Arc;
use std::time::Instant;

use medsegx::backend::cpu::CpuOptions;
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Device, Fetch, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
use medsegx::taxonomy::Context;
use medsegx::tune::{Sample, Train, Trainer, TrainerOptions};
use medsegx::weights::{Weights, synth};
use serde::Serialize;

use super::common::{Common, at_least_one, median, status_bytes};
use crate::cli::model_args::step_memory;
use crate::cli::progress::Progress;

/// Options.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Slices of a step
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, default_values_t = [1, 4])]
    batch: Vec<usize>,
    /// What is trained
    #[arg(long, value_delimiter = ',', default_value = "decoder,all", value_name = "decoder|adapters|all")]
    train: Vec<Train>,
    /// Bytes that a step may take above the loaded model, as 800M; default: a row with all blocks of the encoder kept,
    /// then one with none, which asks the system only for what the first has not left
    #[arg(long, value_name = "SIZE", value_parser = step_memory)]
    memory: Option<usize>,
}

#[derive(Serialize)]
struct Row {
    train: &'static str,
    batch: usize,
    /// Before the first step; tools/peers/tune.py compares it with PyTorch's.
    first_loss: f64,
    /// Blocks of the encoder whose passes are kept for the way back, and of how many; the others are computed anew.
    kept_blocks: usize,
    blocks: usize,
    /// Medians of paired turns.
    forward_ms: f64,
    step_ms: f64,
    /// Median of the ratios of each pair.
    step_by_forward: f64,
    /// Above the loaded model: as `plan --tune` says, and what the process had more after the steps (Linux).
    planned_bytes: usize,
    resident_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Report {
    config: &'static str,
    level: String,
    threads: usize,
    /// Of the logits that steps start from, from those of the engine.
    distance: f64,
    rows: Vec<Row>,
}

/// Pictures of the made-up slices.
const SIDE: usize = 256;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let common = &args.common;
    anyhow::ensure!(common.device == Device::Cpu, "--device: tuning runs on the CPU");
    let weights = Weights::synthetic(&common.config(), 0);
    let cpu = CpuOptions { threads: common.threads, level: common.level, precision: common.precision };
    let model = Arc::new(Model::load(&weights, &ModelOptions { device: Device::Cpu, cpu })?);
    let mut rows = Vec::new();
    let mut distance: f64 = 0.0;
    for &train in &args.train {
        for &batch in &args.batch {
            let ways = match args.memory {
                Some(bytes) => vec![bytes],
                None if train == Train::Decoder => vec![usize::MAX],
                None => vec![usize::MAX, 0],
            };
            for memory in ways {
                let options = TrainerOptions {
                    train,
                    memory: Some(memory),
                    threads: common.threads,
                    level: common.level,
                    ..TrainerOptions::default()
                };
                let (row, apart) = measure(common, &model, &weights, options, batch)?;
                distance = distance.max(apart);
                rows.push(row);
            }
        }
    }
    let level = model.arithmetic();
    let threads = common.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    print(&Report { config: common.config.name(), level, threads, distance, rows }, common.json)
}

fn measure(
    common: &Common,
    model: &Arc<Model>,
    weights: &Weights,
    options: TrainerOptions,
    batch: usize,
) -> anyhow::Result<(Row, f64)> {
    let mut segmenter = Segmenter::new(model, Capacity { batch, ..Capacity::default() }, MaskChoice::Auto)?;
    let (mut frames, mut points) = (Vec::new(), vec![Vec::new(); batch]);
    let context = Context { modality: 2, organ: [1, 4, 17], task: 59 };
    let context = model.config().adapters.is_some().then_some(&context);
    for slot in 0..batch {
        let planes = synth::image(slot % 3);
        let area = SIDE * SIDE;
        let pixels: Vec<u8> = (0..3 * area).map(|i| planes[i % 3 * area + i / 3]).collect();
        let picture = Picture { pixels: &pixels, height: SIDE, width: SIDE, channels: 3 };
        frames.push(segmenter.place(slot, &picture, context)?);
    }
    // A disc in the middle.
    let inside = |at: usize| (at / SIDE).abs_diff(SIDE / 2).pow(2) + (at % SIDE).abs_diff(SIDE / 2).pow(2) < 2500;
    let label: Vec<u8> = (0..SIDE * SIDE).map(|at| u8::from(inside(at))).collect();
    segmenter.encode()?;

    let before = status_bytes("VmRSS:");
    let mut trainer = Trainer::on(model, weights, options)?;
    let samples = samples(&mut segmenter, &trainer, &frames, &label, batch)?;
    for (sample, points) in samples.iter().zip(&mut points) {
        let [x0, y0, x1, y1] = sample.region().map(f64::from);
        prompt_points(&frames[0], &[], Some([x0, y0, x1, y1]), points);
    }
    let prompts: Vec<Prompt<'_>> =
        points.iter().enumerate().map(|(slot, points)| Prompt { slot, points, mask: None }).collect();
    let steps: Vec<(&Sample, [f32; 4])> = samples.iter().map(|sample| (sample, sample.region())).collect();
    let distance = distance(&mut segmenter, &mut trainer, &samples, &prompts)?;
    anyhow::ensure!(
        distance <= common.tolerance(),
        "logits of training are {distance:.1e} away from the engine's: nothing is timed"
    );
    let first_loss = trainer.step(&steps)?;

    let progress = Progress::new(common.repeats.max(1), "pairs", false);
    let (mut forward, mut step) = (Vec::new(), Vec::new());
    for _ in 0..common.repeats.max(1) {
        let start = Instant::now();
        segmenter.encode()?;
        let ticket = segmenter.submit(&prompts, Fetch::OnDemand)?;
        forward.push(1e3 * start.elapsed().as_secs_f64());
        segmenter.collect(ticket)?;
        let start = Instant::now();
        trainer.step(&steps)?;
        step.push(1e3 * start.elapsed().as_secs_f64());
        progress.step();
    }
    progress.finish();
    let memory = trainer.step_memory(batch);
    let kept = memory.kept(options.memory.unwrap_or(usize::MAX));
    let row = Row {
        train: options.train.name(),
        batch,
        first_loss,
        kept_blocks: kept,
        blocks: memory.blocks,
        step_by_forward: median(step.iter().zip(&forward).map(|(step, forward)| step / forward).collect()),
        forward_ms: median(forward),
        step_ms: median(step),
        planned_bytes: memory.bytes(kept),
        resident_bytes: status_bytes("VmRSS:").zip(before).map(|(after, before)| after.saturating_sub(before)),
    };
    Ok((row, distance))
}

/// A sample of each placed and encoded slice.
fn samples(
    segmenter: &mut Segmenter,
    trainer: &Trainer,
    frames: &[medsegx::segment::Frame],
    label: &[u8],
    batch: usize,
) -> anyhow::Result<Vec<Sample>> {
    let length = segmenter.embedding_len();
    let mut embeddings = vec![0.0; batch * length];
    segmenter.embeddings(&mut embeddings)?;
    let sample = |slot: usize| match trainer.train() {
        Train::Decoder => trainer.sample(&embeddings[slot * length..][..length], &frames[slot], label),
        Train::Adapters | Train::All => trainer.sample_placed(segmenter, slot, &frames[slot], label),
    };
    Ok((0..batch).map(sample).collect::<medsegx::Result<_>>()?)
}

/// How far the logits that training starts from are from those of the engine, as a share of these.
fn distance(
    segmenter: &mut Segmenter,
    trainer: &mut Trainer,
    samples: &[Sample],
    prompts: &[Prompt<'_>],
) -> anyhow::Result<f64> {
    let mut answers = segmenter.answer(prompts)?;
    let found = trainer.logits(&samples.iter().collect::<Vec<_>>())?;
    let mut worst: f64 = 0.0;
    for (index, found) in found.iter().enumerate() {
        let expected = answers.logits(index)?;
        let square = |x: f64| x * x;
        let apart: f64 = found.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
        worst = worst.max((apart / expected.iter().map(|&b| square(f64::from(b))).sum::<f64>()).sqrt());
    }
    Ok(worst)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return crate::cli::console::print(&(serde_json::to_string_pretty(report)? + "\n"));
    }
    let Report { config, level, threads, distance, rows } = report;
    let mut text = format!("{config}, {level}, {threads} threads; logits {distance:.1e} from the engine's\n");
    text += "train     batch  kept   forward ms    step ms  ratio  planned MB  resident MB\n";
    for row in rows {
        let resident = row.resident_bytes.map_or("-".into(), |bytes| format!("{:.1}", bytes as f64 * 1e-6));
        text += &format!(
            "{:9} {:5} {:2}/{:2} {:12.1} {:10.1} {:6.2} {:11.1} {resident:>12}\n",
            row.train,
            row.batch,
            row.kept_blocks,
            row.blocks,
            row.forward_ms,
            row.step_ms,
            row.step_by_forward,
            row.planned_bytes as f64 * 1e-6,
        );
    }
    crate::cli::console::print(&text)
}
