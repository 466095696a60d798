//! `bench turns`: one slice for each line that comes in, so that other engines can take turns with it on the same
//! cores.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use medsegx::atomic::write_atomically;
use medsegx::backend::cpu::{CpuOptions, Precision};
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Point, Prompt, Segmenter};
use medsegx::taxonomy::Context;
use medsegx::volume::{Voxels, npy};
use medsegx::weights::Access;

/// Options.
#[derive(clap::Args)]
pub struct Args {
    /// Weights file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Picture `[height, width, 3]` of bytes
    #[arg(long, value_name = "FILE.npy")]
    picture: PathBuf,
    /// Box in pixels of the picture
    #[arg(long = "box", value_name = "x0,y0,x1,y1", value_delimiter = ',')]
    region: Vec<f64>,
    /// Rows of the context embeddings: modality, body part, subregion, organ, task
    #[arg(long, value_name = "m,p,s,o,t", value_delimiter = ',')]
    context: Vec<usize>,
    /// Where the logits of the last slice go, float32 [masks, side, side]
    #[arg(long, value_name = "FILE.npy")]
    logits: PathBuf,
    /// CPU threads; default: all
    #[arg(long)]
    threads: Option<usize>,
    /// f32, or bf16 for the large products
    #[arg(long, default_value = "f32", value_parser = crate::cli::model_args::precision)]
    precision: Precision,
    /// Another prompt on a slice that is kept: the encoder runs once, before the first turn
    #[arg(long)]
    kept: bool,
}

/// Says `ready`, then answers each line of standard input with the milliseconds of one slice, or of one prompt on a
/// kept one; at its end writes the logits.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (&[x0, y0, x1, y1], &[modality, part, subregion, organ, task]) = (&args.region[..], &args.context[..]) else {
        return Err(crate::cli::console::usage("--box takes four numbers and --context five"));
    };
    let array = npy::read(&args.picture, 1 << 26)?;
    let (&[height, width, channels @ (1 | 3)], Voxels::U8(pixels)) = (&array.shape[..], &array.values) else {
        anyhow::bail!("{}: needs bytes [height, width, 1 or 3]", args.picture.display());
    };
    let cpu = CpuOptions { threads: args.threads, precision: args.precision, ..CpuOptions::default() };
    let model = Model::open(&args.weights, Access::Map, &ModelOptions { device: Device::Cpu, cpu })?;
    let model = Arc::new(model);
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto)?;
    let picture = Picture { pixels, height, width, channels };
    let context = Context { modality, organ: [part, subregion, organ], task };
    let frame = segmenter.place(0, &picture, model.config().adapters.is_some().then_some(&context))?;
    let [x0, y0, x1, y1] = frame.region([x0, y0, x1, y1]);
    // Labels of the corners of a box (MODEL.md section 4).
    let points = [Point { x: x0, y: y0, label: 2 }, Point { x: x1, y: y1, label: 3 }];

    let prompts = [Prompt { slot: 0, points: &points, mask: None }];

    segmenter.encode()?;
    crate::cli::console::print("ready\n")?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        if !args.kept {
            segmenter.encode()?;
        }
        segmenter.answer(&prompts)?;
        crate::cli::console::print(&format!("{:.3}\n", 1e3 * start.elapsed().as_secs_f64()))?;
    }
    let side = model.config().logits_size();
    let mut answers = segmenter.answer(&prompts)?;
    let logits = answers.logits(0)?;
    write_atomically(&args.logits, true, |file| npy::write(file, &[logits.len() / (side * side), side, side], logits))?;
    Ok(())
}
