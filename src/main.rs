//! The command line: `medsegx SUBCOMMAND`. Exit code 0 when all went well, 1 for a failed run, 2 for a usage error.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
