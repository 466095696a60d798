//! The command line: `medsegx SUBCOMMAND`. docs/batch.md has the table of exit codes.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
