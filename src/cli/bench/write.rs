//! `bench write`: labels in memory to a DICOM mask of their series.

use std::path::PathBuf;
use std::time::Instant;

use medsegx::volume::{DicomMask, DicomOptions, LabelVolume, OpenOptions, Volume};
use serde::Serialize;

use super::common::{median, status_bytes};

/// Options.
#[derive(clap::Args)]
pub struct Args {
    /// Label map on the grid of the series
    #[arg(value_name = "LABELS")]
    labels: PathBuf,
    /// The series that the mask belongs to
    #[arg(long, value_name = "FOLDER")]
    series: PathBuf,
    /// The mask, replaced at each writing
    #[arg(short, long, value_name = "x.dcm|x.rtstruct.dcm")]
    output: PathBuf,
    /// Writings; their median counts
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Median, the headers of the series read anew each time.
    write_ms: f64,
    /// Most that the process had in memory, and how much of it is above what it had with the labels (Linux).
    peak_bytes: Option<usize>,
    above_bytes: Option<usize>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let volume = Volume::open(&args.labels, &OpenOptions::LABELS)?;
    let (mask, _) = LabelVolume::from_volume(&volume)?;
    let options = DicomOptions { series: Some(args.series.clone()), ..DicomOptions::default() };
    let before = status_bytes("VmRSS:");
    let mut times = Vec::new();
    for _ in 0..args.repeats.max(1) {
        let start = Instant::now();
        DicomMask::prepare(&volume, &args.output, &options)?.write(&mask, &[], &args.output, true)?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    let peak = status_bytes("VmHWM:");
    let above = peak.zip(before).map(|(peak, before)| peak.saturating_sub(before));
    let report = Report { write_ms: median(times), peak_bytes: peak, above_bytes: above };
    crate::cli::console::print(&if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        let megabytes = |bytes: Option<usize>| bytes.map_or("-".into(), |bytes| format!("{:.1}", bytes as f64 * 1e-6));
        format!("{:.1} ms, at most {} MB, {} MB above the labels\n", report.write_ms, megabytes(peak), megabytes(above))
    })
}
