//! `bench read`: an image from its files to voxels in memory, and its headers alone.

use std::path::PathBuf;
use std::time::Instant;

use medsegx::volume::{OpenOptions, Opening, SeriesChoice};
use serde::Serialize;

use super::common::{median, status_bytes};

/// Options.
#[derive(clap::Args)]
pub struct Args {
    /// Any image that `medsegx segment` takes
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// DICOM series, where there are several
    #[arg(long, value_name = "UID")]
    series: Option<String>,
    /// Threads that decode frames; default: all
    #[arg(long)]
    threads: Option<usize>,
    /// Readings; their median counts
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    dims: Vec<usize>,
    /// Medians. Headers: what says which files belong together and where voxels lie; reading begins with them.
    headers_ms: f64,
    read_ms: f64,
    /// Most that the process had in memory (Linux).
    peak_bytes: Option<usize>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let choice = SeriesChoice { series: args.series.clone(), threads: args.threads, ..SeriesChoice::default() };
    let open = || Opening::open_chosen(&args.image, &OpenOptions::default(), &choice);
    let (mut headers, mut reads, mut dims) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.repeats.max(1) {
        let start = Instant::now();
        let opening = open()?;
        headers.push(1e3 * start.elapsed().as_secs_f64());
        dims = opening.info().dims().to_vec();
        let volume = opening.finish()?;
        reads.push(1e3 * start.elapsed().as_secs_f64());
        drop(volume);
    }
    let report =
        Report { dims, headers_ms: median(headers), read_ms: median(reads), peak_bytes: status_bytes("VmHWM:") };
    crate::cli::console::print(&if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        let peak = report.peak_bytes.map_or("-".into(), |bytes| format!("{:.1}", bytes as f64 * 1e-6));
        format!(
            "{:?}: headers {:.1} ms, voxels in memory after {:.1} ms, at most {peak} MB\n",
            report.dims, report.headers_ms, report.read_ms
        )
    })
}
