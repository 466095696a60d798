//! `medsegx synth`: made-up weights for tests and benchmarks.

use clap::ValueEnum;
use medsegx::model::{Config, Preset};
use medsegx::weights::{self, Weights};

use super::console::usage;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::weights_output::WeightsOutput;

/// Write synthetic weights for tests and benchmarks. They are not trained and segment nothing
#[derive(clap::Args)]
pub struct Args {
    /// Size of the model
    #[arg(long, value_enum)]
    config: Size,
    /// Another seed, other values
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// 256 is MedSegX, 1024 plain SAM
    #[arg(long, default_value_t = 256, value_parser = image_size)]
    image_size: usize,
    /// Experts of each mixture [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    experts: Option<u16>,
    /// Width of an expert's bottleneck [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    bottleneck: Option<u16>,
    /// Width of the context's embeddings [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    embedding: Option<u16>,
    /// Blocks that have adapters, as 1,3 [default: all]
    #[arg(long, value_delimiter = ',')]
    adapter_blocks: Option<Vec<usize>>,
    #[command(flatten)]
    file: WeightsOutput,
}

/// The presets by name.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Size {
    Tiny,
    VitB,
    VitL,
    VitH,
    #[value(name = "litemedsam")]
    LiteMedSam,
    MobileSam,
}

fn image_size(text: &str) -> Result<usize, String> {
    match text {
        "256" => Ok(256),
        "1024" => Ok(1024),
        _ => Err("256 or 1024".into()),
    }
}

/// Writes the file.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = config(&args)?;
    let weights = Weights::synthetic(&config, args.seed);
    let (WeightsOutput { dtype, output, force }, tensors) = (args.file, weights::names(&config));
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(tensors.len(), "tensors", false);
    let values = |name: &str| {
        interrupt.check()?;
        let values = weights.load(name)?;
        progress.step();
        Ok(values)
    };
    weights::write(&output, force, &tensors, weights.metadata(), dtype.into(), values)?;
    progress.finish();
    super::console::say(&format!("synthetic weights, for tests and benchmarks only: {}", output.display()));
    Ok(())
}

/// A TinyViT, whose sizes are its own.
fn tiny_vit(args: &Args, config: Config) -> anyhow::Result<Config> {
    let any = args.experts.or(args.bottleneck).or(args.embedding).is_some() || args.adapter_blocks.is_some();
    if any { Err(usage("LiteMedSAM and MobileSAM have no adapters")) } else { Ok(config) }
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let preset = match args.config {
        Size::Tiny => Preset::Tiny,
        Size::VitB => Preset::VitB,
        Size::VitL => Preset::VitL,
        Size::VitH => Preset::VitH,
        Size::LiteMedSam => return tiny_vit(args, Config::litemedsam()),
        Size::MobileSam => return tiny_vit(args, Config::mobile_sam()),
    };
    let mut config = if args.image_size == 256 { preset.medsegx() } else { preset.sam() };
    let depth = config.depth();
    let Some(adapters) = &mut config.adapters else {
        let any = args.experts.or(args.bottleneck).or(args.embedding).is_some() || args.adapter_blocks.is_some();
        return if any { Err(usage("--image-size 1024 is plain SAM, which has no adapters")) } else { Ok(config) };
    };
    let sizes = [
        (&mut adapters.experts, args.experts),
        (&mut adapters.bottleneck, args.bottleneck),
        (&mut adapters.embedding, args.embedding),
    ];
    for (size, wanted) in sizes {
        *size = wanted.map_or(*size, usize::from);
    }
    if let Some(blocks) = &args.adapter_blocks {
        if let Some(block) = blocks.iter().find(|&&block| block >= depth) {
            return Err(usage(&format!("--adapter-blocks: got {block}; needs 0 to {}", depth - 1)));
        }
        adapters.blocks = (0..depth).map(|block| blocks.contains(&block)).collect();
    }
    Ok(config)
}
