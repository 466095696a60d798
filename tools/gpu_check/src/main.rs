//! One command for a machine with a GPU: checks the CUDA backend of medsegx and times it. Runs from a bundle that
//! `bundle.sh` made elsewhere and needs no network. Prints one short table last and writes everything as JSON.

mod child;
mod choices;
mod steps;
mod table;
mod volume;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

/// Check and time medsegx on this machine's GPU
#[derive(Parser)]
#[command(version)]
struct Args {
    /// cuda:N; ptxvm runs the kernels in an interpreter, where only the checks say something
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Folder that bundle.sh made; default: that of this program
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Where everything goes that was found
    #[arg(long, default_value = "gpu_check.json")]
    out: PathBuf,
    /// Models; default: vit_b, vit_l, vit_h and litemedsam, on ptxvm tiny
    #[arg(long, value_delimiter = ',')]
    config: Vec<String>,
    /// Batch sizes; default: 1, 8, 32 and 128, on ptxvm 1 and 2
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Python with PyTorch, where there is one
    #[arg(long, default_value = "python3")]
    python: String,
}

/// What is run, and where its parts lie.
struct Job {
    device: String,
    bundle: PathBuf,
    configs: Vec<String>,
    batches: Vec<usize>,
    python: String,
    scratch: tempfile::TempDir,
}

impl Job {
    fn new(args: &Args) -> anyhow::Result<Job> {
        let own = std::env::current_exe().context("where this program lies")?;
        let bundle = args.bundle.clone().or_else(|| own.parent().map(Path::to_path_buf)).unwrap_or_default();
        let interpreted = args.device.starts_with("ptxvm");
        let or = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(ToString::to_string).collect() } else { given.to_vec() }
        };
        let configs =
            or(&args.config, if interpreted { &["tiny"] } else { &["vit_b", "vit_l", "vit_h", "litemedsam"] });
        let default: &[usize] = if interpreted { &[1, 2] } else { &[1, 8, 32, 128] };
        let batches = if args.batch.is_empty() { default.to_vec() } else { args.batch.clone() };
        let scratch = tempfile::tempdir().context("a folder for weights and volumes")?;
        let (device, python) = (args.device.clone(), args.python.clone());
        let job = Job { device, bundle, configs, batches, python, scratch };
        for part in [job.medsegx(), job.checks()] {
            anyhow::ensure!(
                part.is_file(),
                "{}: not in the bundle; tools/gpu_check/bundle.sh makes one",
                part.display()
            );
        }
        Ok(job)
    }

    fn interpreted(&self) -> bool {
        self.device.starts_with("ptxvm")
    }

    fn medsegx(&self) -> PathBuf {
        self.bundle.join("medsegx")
    }

    /// The test executable of `tests/cuda_device.rs`.
    fn checks(&self) -> PathBuf {
        self.bundle.join("cuda_device")
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu_check: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True where every check passed; those of dependent launches stand apart, since nobody gets these unasked.
fn run(args: &Args) -> anyhow::Result<bool> {
    let job = Job::new(args)?;
    // First of all, so that a machine without a device is told so at once.
    let about = steps::device(&job)?;
    let checks = steps::checks(&job)?;
    let passed = checks["passed"] == json!(true);
    let mut found = json!({
        "gpu_check": env!("CARGO_PKG_VERSION"),
        "seconds_since_1970": std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        "device": about,
        "checks": checks,
    });
    // Times of something that computes wrongly say nothing.
    if passed {
        found["models"] = steps::models(&job)?;
        found["kernels"] = steps::kernels(&job)?;
        found["volumes"] = steps::volumes(&job)?;
        found["dependent"] = steps::dependent(&job);
        found["blocks"] = steps::blocks(&job);
        found["mma_sync"] = steps::mma_sync(&job, &found["kernels"]);
        found["torch"] = steps::torch(&job);
        found["choices"] = json!({
            "launches": choices::dependent_launches(&found, job.interpreted()),
            "blocks": choices::blocks(&found, job.interpreted()),
            "products": choices::products(&found, job.interpreted()),
        });
    }
    let text = serde_json::to_string_pretty(&found)?;
    std::fs::write(&args.out, text).with_context(|| format!("write {}", args.out.display()))?;
    print!("{}", table::of(&found));
    println!("everything else: {}", args.out.display());
    Ok(passed)
}
