//! One file a subcommand. Each has its `clap` arguments in `Args` and a `run(Args) -> anyhow::Result<()>`.

mod batch;
mod bench;
mod boxes;
mod completions;
mod console;
mod convert;
#[cfg(feature = "dicom")]
mod dicom;
mod eval;
mod files;
mod folder_layout;
mod info;
mod interrupt;
#[cfg(feature = "cuda")]
mod kernels;
mod logits;
mod model_args;
mod named;
mod plan;
mod progress;
mod real_world;
mod score;
mod segment;
mod synth;
mod tasks;
mod threads;
mod tune;
mod weights_output;
mod weights_source;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use console::{Usage, message, say};

/// Fast, local and dependable segmentation of medical images with MedSegX. Research software, not a medical device.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// How a long run shows how far it is, on stderr
    #[arg(long, global = true, value_name = "STYLE", default_value = "auto", hide_possible_values = true)]
    #[arg(
        help = "How a long run shows how far it is, on stderr: auto (a bar on a terminal), bar, plain, json or none"
    )]
    progress: progress::Style,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Batch(Box<batch::Args>),
    Bench(bench::Args),
    Boxes(boxes::Args),
    Completions(completions::Args),
    Convert(convert::Args),
    Eval(eval::Args),
    Info(info::Args),
    #[cfg(feature = "cuda")]
    Kernels(kernels::Args),
    Man(completions::ManArgs),
    Plan(plan::Args),
    Score(score::Args),
    Segment(Box<segment::Args>),
    Synth(synth::Args),
    Tasks(tasks::Args),
    Tune(Box<tune::Args>),
}

/// Parses the arguments, runs one subcommand and turns its answer into an exit code.
pub fn main() -> ExitCode {
    let Cli { progress, command } = Cli::parse();
    progress.choose();
    quiet_what_is_caught();
    let Err(error) = run(command) else { return ExitCode::SUCCESS };
    if let Some(Usage(message)) = error.downcast_ref() {
        subcommand().error(ErrorKind::ArgumentConflict, message).exit();
    }
    let code = exit_code(&error);
    say(&format!("medsegx: {}", message(&error)));
    if code == WRONG_ARGUMENTS {
        say(&subcommand().render_usage().to_string());
    }
    ExitCode::from(code)
}

/// Coders of other crates that panic are caught, and an error says so: the panic itself prints nothing.
fn quiet_what_is_caught() {
    const CAUGHT: [&str; 5] = ["zlib-rs-", "png-", "openjp2-", "jpeg2k-", "pure_jpegls-"];
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", std::panic::Location::file);
        if !CAUGHT.iter().any(|name| file.contains(name)) {
            before(panic);
        }
    }));
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Batch(args) => batch::run(*args),
        Command::Bench(args) => bench::run(args),
        Command::Boxes(args) => boxes::run(args),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Convert(args) => convert::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Info(args) => info::run(args),
        #[cfg(feature = "cuda")]
        Command::Kernels(args) => kernels::run(args),
        Command::Man(args) => completions::man(args, Cli::command()),
        Command::Plan(args) => plan::run(args),
        Command::Score(args) => score::run(args),
        Command::Segment(args) => segment::run(*args),
        Command::Synth(args) => synth::run(args),
        Command::Tasks(args) => tasks::run(args),
        Command::Tune(args) => tune::run(*args),
    }
}

/// Exit code for what the arguments got wrong.
const WRONG_ARGUMENTS: u8 = 2;

/// 2 for what the arguments got wrong, 3 for a run that did a part, 130 for one that was asked to stop, 1 for one that
/// failed.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<eval::NotAll>() || error.is::<batch::NotAll>() {
        return 3;
    }
    match error.downcast_ref::<medsegx::Error>() {
        Some(medsegx::Error::Argument { .. } | medsegx::Error::Taxonomy { .. }) => WRONG_ARGUMENTS,
        Some(medsegx::Error::Cancelled) => interrupt::EXIT_CODE,
        _ => 1,
    }
}

/// The subcommand that this process was started with, whose usage belongs to what is wrong with its arguments.
fn subcommand() -> clap::Command {
    let mut all = Cli::command();
    all.build();
    let name = std::env::args_os().nth(1).unwrap_or_default();
    all.find_subcommand(name).cloned().unwrap_or(all)
}
