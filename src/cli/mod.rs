//! One file a subcommand. Each has its `clap` arguments in `Args` and a `run(Args) -> anyhow::Result<()>`.

mod convert;
mod info;
#[cfg(feature = "cuda")]
mod kernels;
mod plan;
mod synth;
mod tasks;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use medsegx::weights::Dtype;

/// Fast, local and dependable segmentation of medical images with MedSegX. Research software, not a medical device.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Convert(convert::Args),
    Info(info::Args),
    #[cfg(feature = "cuda")]
    Kernels(kernels::Args),
    Plan(plan::Args),
    Synth(synth::Args),
    Tasks(tasks::Args),
}

/// Parses the arguments, runs one subcommand and turns its answer into an exit code.
pub fn main() -> ExitCode {
    let Err(error) = run(Cli::parse().command) else { return ExitCode::SUCCESS };
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        usage.exit();
    }
    eprintln!("medsegx: {error:#}");
    ExitCode::from(1)
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Convert(args) => convert::run(args),
        Command::Info(args) => info::run(args),
        #[cfg(feature = "cuda")]
        Command::Kernels(args) => kernels::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Tasks(args) => tasks::run(args),
    }
}

/// A mistake in the arguments that only shows when they are seen together; the process ends with 2.
fn usage(message: &str) -> anyhow::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, message).into()
}

/// Number formats of weight files, as users type them.
#[derive(Clone, Copy, ValueEnum)]
enum DtypeName {
    F32,
    F16,
    Bf16,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F32 => Dtype::F32,
            DtypeName::F16 => Dtype::F16,
            DtypeName::Bf16 => Dtype::BF16,
        }
    }
}
