//! `medsegx kernels`: the CUDA kernels, and the PTX that the driver loads.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use medsegx::backend::Launches;
use medsegx::backend::cuda::{dependent, kernels};

/// List the CUDA kernels or write their PTX
#[derive(clap::Args)]
pub struct Args {
    /// Write the exact PTX text that the driver loads to this folder, one .ptx file a kernel
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Their text for programmatic dependent launch, on devices that are named cuda:N:dependent
    #[arg(long, requires = "dump")]
    dependent: bool,
}

/// Prints the table, or writes the files.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(folder) = args.dump {
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot create", folder.display()))?;
        let launches = if args.dependent { Launches::Dependent } else { Launches::Ordered };
        for (kernel, ptx) in kernels::texts() {
            let ptx = dependent::text(kernel, ptx, launches)?;
            let path = folder.join(format!("{}.ptx", kernel.entry));
            medsegx::atomic::write_atomically(&path, true, |file| std::io::Write::write_all(file, ptx.as_bytes()))?;
        }
        return Ok(());
    }
    let mut table = format!("{:28} threads registers shared bound         tile of a block\n", "kernel");
    for kernel in kernels::all() {
        let (entry, threads, bound, tile) = (kernel.entry, kernel.threads, kernel.bound, kernel.tile);
        let known = kernels::resources(entry).map(|(registers, shared)| (registers.to_string(), shared.to_string()));
        let (registers, shared) = known.unwrap_or_else(|| ("?".into(), "?".into()));
        writeln!(table, "{entry:28} {threads:7} {registers:>9} {shared:>6} {bound:13} {tile}")?;
    }
    super::console::print(&table)
}
