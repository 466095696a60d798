//! `medsegx completions` and `medsegx man`: what shells and `man` want to know of the command line, from its own
//! definition.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use medsegx::atomic::write_atomically;

/// Print completions for a shell: medsegx completions bash > ~/.local/share/bash-completion/completions/medsegx
#[derive(clap::Args)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Print the man page, or write it and those of all subcommands
#[derive(clap::Args)]
pub struct ManArgs {
    /// Write medsegx.1 and a page a subcommand into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing pages
    #[arg(long, requires = "out")]
    force: bool,
}

/// Prints completions of `all`.
pub fn run(args: Args, all: &mut clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, all, "medsegx", &mut text);
    super::console::print(&String::from_utf8(text)?)
}

/// Prints or writes man pages of `all`.
pub fn man(args: ManArgs, mut all: clap::Command) -> anyhow::Result<()> {
    all.build();
    let Some(out) = &args.out else { return super::console::print(&String::from_utf8(page(all)?)?) };
    std::fs::create_dir_all(out).with_context(|| format!("{}: cannot create", out.display()))?;
    let subcommands: Vec<clap::Command> = all.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
    for command in std::iter::once(all).chain(subcommands) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_string();
        let page = page(command)?;
        write_atomically(&out.join(format!("{name}.1")), args.force, |file| file.write_all(&page))?;
    }
    Ok(())
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}
