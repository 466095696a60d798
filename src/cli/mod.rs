//! One file a subcommand. Each has its `clap` arguments in `Args` and a `run(Args) -> anyhow::Result<()>`.

mod plan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fast, local and dependable segmentation of medical images with MedSegX. Research software, not a medical device.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Plan(plan::Args),
}

/// Parses the arguments, runs one subcommand and turns its answer into an exit code.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("medsegx: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Plan(args) => plan::run(args),
    }
}
