//! `--report FILE.json`: what was done, so that it can be done again and judged slice by slice.

use std::path::Path;
use std::time::Duration;

use medsegx::atomic::write_atomically;
use medsegx::codes::Warning;
use medsegx::segment::Model;
use medsegx::segment::report::{Described, describe, merge};
use medsegx::segment::volume::Outcome;
use medsegx::volume::{IntensityMap, SetAside, VolumeInfo};
use medsegx::weights::{Hashing, Weights, sha256_of};
use serde_json::{Value, json};

use super::args::Args;
use super::job::Job;
use super::targets::JobTarget;

/// Wall-clock times outside the network.
pub struct Times {
    /// From the start until the weights are loaded and the session is made.
    pub load: Duration,
    /// Reading the voxels, beside loading and beside the run.
    pub read: Duration,
    /// From the last mask to the finished file; what was compressed beside the run does not count.
    pub write: Duration,
    pub total: Duration,
}

/// What a run came to.
pub struct Done<'a> {
    pub image: &'a VolumeInfo,
    pub intensity: &'a IntensityMap,
    pub set_aside: Option<SetAside>,
    pub model: &'a Model,
    pub outcome: &'a Outcome,
    /// What is doubtful about the mask's file.
    pub of_file: Vec<Warning>,
    pub times: Times,
    /// What was done to the masks after the network.
    pub cleaned: Value,
    /// How boxes got to slices that had none.
    pub propagated: Value,
    /// What was tuned on drawn slices beforehand.
    pub tuned: Value,
}

/// SHA-256 of the files of a run.
pub struct Hashes {
    pub input: String,
    pub weights: String,
    /// Of the file of `--tuned`.
    pub tuned: Option<String>,
}

impl Hashes {
    /// Starts hashing: of the weights the file that was opened, wherever its name leads by now.
    pub fn start(args: &Args, weights: &Weights) -> Hashing<Hashes> {
        let (input, tuned) = (args.input.clone(), args.model.tuned.clone());
        let (digest, path) = (weights.digest(), weights.path().to_path_buf());
        Hashing::start(move || {
            Ok(Hashes {
                input: sha256_of(&input)?,
                weights: digest.as_ref().map(|digest| digest.compute(&path)).transpose()?.unwrap_or_default(),
                tuned: tuned.as_deref().map(sha256_of).transpose()?,
            })
        })
    }
}

/// Writes the report.
pub fn write(path: &Path, report: &Value, force: bool) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    Ok(write_atomically(path, force, |file| std::io::Write::write_all(file, json.as_bytes()))?)
}

/// The report as JSON.
pub fn value(args: &Args, job: &Job, hashes: Hashing<Hashes>, done: &Done) -> anyhow::Result<Value> {
    let hashes = hashes.join()?;
    let Done { image, intensity, set_aside, model, outcome, times, .. } = done;
    let described: Vec<_> = job.targets.iter().map(JobTarget::described).collect();
    let run = Described { image, intensity, set_aside: *set_aside, frame: &job.frame, model, choice: args.mask };
    let mut report = describe(&run, &described, outcome);
    let elsewhere =
        model.tuned_on().map(|tuned| tuned.elsewhere(&args.input, || Ok(hashes.input.clone()))).transpose()?;
    let own = json!({
        "input": {
            "file": text(&args.input), "sha256": hashes.input, "volume": args.volume, "series": args.series,
        },
        "weights": { "file": job.source.name(), "sha256": hashes.weights },
        "output": text(&args.output),
        "precision": format!("{:?}", args.model.precision).to_lowercase(),
        "threads": args.model.threads,
        "slices": { "orient": format!("{:?}", args.orient).to_lowercase() },
        "cleaning": done.cleaned,
        "propagation": done.propagated,
        "tuning": done.tuned,
        "seconds": {
            "load": times.load.as_secs_f64(),
            "read": times.read.as_secs_f64(),
            "wait": outcome.stages.wait.as_secs_f64(),
            "write": times.write.as_secs_f64(),
            "total": times.total.as_secs_f64(),
        },
    });
    merge(&mut report, own);
    if let (Some(path), Some(hash)) = (&args.model.tuned, hashes.tuned) {
        merge(&mut report, json!({ "weights": { "tuned": { "file": text(path), "sha256": hash } } }));
    }
    if let Some(warnings) = report["warnings"].as_array_mut() {
        let of_run = |warning: &Warning| json!({ "code": warning.code, "message": warning.message, "target": null });
        warnings.extend(elsewhere.iter().flatten().chain(&done.of_file).map(of_run));
    }
    Ok(report)
}

/// A path as JSON can hold it; what is not UTF-8 is replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}
