//! One file a subcommand. Each has its `clap` arguments in `Args` and a `run(Args) -> anyhow::Result<()>`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fast, local and dependable segmentation of medical images with MedSegX. Research software, not a medical device.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {}

/// Parses the arguments, runs one subcommand and turns its answer into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome: anyhow::Result<()> = match cli.command {};
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("medsegx: {error:#}");
            ExitCode::from(1)
        }
    }
}
