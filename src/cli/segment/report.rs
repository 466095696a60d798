//! `--report FILE.json`: what was done, so that it can be done again and judged slice by slice.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use medsegx::atomic::write_atomically;
use medsegx::codes::{Code, Warning};
use medsegx::mask::{CONTINUITY_WEIGHT, MaskChoice, Rule};
use medsegx::model::Kind;
use medsegx::segment::Model;
use medsegx::segment::volume::{Outcome, SliceOutcome};
use medsegx::volume::{IntensityMap, SetAside, VolumeInfo};
use serde_json::{Value, json};

use super::{Args, Job};
use crate::cli::weights_source::WeightsSource;

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
    pub times: Times,
}

/// SHA-256 of input and weights, computed beside the work.
pub struct Hashes(JoinHandle<medsegx::Result<[String; 2]>>);

impl Hashes {
    /// Starts hashing.
    pub fn start(input: &Path, weights: &WeightsSource) -> Hashes {
        let (input, weights) = (input.to_path_buf(), weights.clone());
        Hashes(std::thread::spawn(move || Ok([crate::cli::sha256(&input)?, weights.sha256()?])))
    }

    fn join(self) -> anyhow::Result<[String; 2]> {
        Ok(self.0.join().ok().context("the hashing thread failed")??)
    }
}

/// Writes the report.
pub fn write(path: &Path, args: &Args, job: &Job, hashes: Option<Hashes>, done: &Done) -> anyhow::Result<()> {
    let [input_hash, weights_hash] = hashes.context("no hashes")?.join()?;
    let Done { image, intensity, set_aside, model, outcome, times } = done;
    let config = model.config();
    let by_request = outcome.by_request();
    let targets: Vec<Value> =
        by_request.iter().enumerate().map(|(index, slices)| target(job, done, index, slices)).collect();
    let report = json!({
        "medsegx": medsegx::VERSION,
        "notice": "research software, not a medical device",
        "input": {
            "file": text(&args.input), "sha256": input_hash, "dims": image.dims(), "channels": image.channels(),
            "volume": args.volume, "series": args.series, "warnings": image.warnings(),
        },
        "weights": { "file": job.source.name(), "sha256": weights_hash, "kind": format!("{:?}", config.kind).to_lowercase() },
        "output": text(&args.output),
        "device": model.device(),
        "precision": format!("{:?}", args.model.precision).to_lowercase(),
        "threads": args.model.threads,
        "intensity": {
            "rule": intensity.rule.to_string(), "low": intensity.low, "high": intensity.high, "set_aside": set_aside,
        },
        "slices": { "axis": job.frame.axis(), "orient": format!("{:?}", args.orient).to_lowercase() },
        "mask_choice": mask_choice(args, model),
        "targets": targets,
        "warnings": warnings(job, done),
        "seconds": {
            "load": times.load.as_secs_f64(),
            "read": times.read.as_secs_f64(),
            "wait": outcome.stages.wait.as_secs_f64(),
            "prepare": outcome.stages.prepare.as_secs_f64(),
            "encode": outcome.stages.encode.as_secs_f64(),
            "decode": outcome.stages.decode.as_secs_f64(),
            "restore": outcome.stages.restore.as_secs_f64(),
            "write": times.write.as_secs_f64(),
            "total": times.total.as_secs_f64(),
        },
    });
    let json = serde_json::to_string_pretty(&report)?;
    Ok(write_atomically(path, args.force, |file| std::io::Write::write_all(file, json.as_bytes()))?)
}

/// All that looks wrong, with stable codes; those of one target name it.
fn warnings(job: &Job, done: &Done) -> Vec<Value> {
    let entry = |target: Option<&str>, warning: &Warning| json!({ "code": warning.code, "message": warning.message, "target": target });
    let of_image = done.image.warnings().iter().map(|warning| entry(None, warning));
    let fallback = done.model.fallback().map(|reason| Warning::new(Code::CpuFallback, reason));
    let of_device = fallback.iter().map(|warning| entry(None, warning));
    let of_masks = done.outcome.warnings();
    let of_targets = job.targets.iter().zip(&of_masks).flat_map(|(target, of_masks)| {
        target.warnings.iter().chain(of_masks).map(|warning| entry(Some(target.name.as_str()), warning))
    });
    of_image.chain(of_device).chain(of_targets).collect()
}

/// A path as JSON can hold it; what is not UTF-8 is replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// How masks were chosen: by the user, or by which rule.
fn mask_choice(args: &Args, model: &Model) -> Value {
    let kind = model.config().kind;
    let weight = if kind == Kind::MedSegX { CONTINUITY_WEIGHT } else { 0.0 };
    match args.mask {
        MaskChoice::Fixed(mask) => json!({ "fixed": mask }),
        MaskChoice::Auto if matches!(kind, Kind::MedSam | Kind::LiteMedSam) => json!({ "fixed": 0 }),
        MaskChoice::Auto => json!({ "rule": Rule::of(kind).name(), "weight_of_neighbours": weight }),
    }
}

fn target(job: &Job, Done { image, outcome, .. }: &Done, index: usize, slices: &[&SliceOutcome]) -> Value {
    let target = &job.targets[index];
    let voxels = outcome.voxels.get(index).copied().unwrap_or(0);
    let voxel_volume = image.geometry().map(|g| g.voxel_volume());
    let rows: Vec<Value> = slices
        .iter()
        .map(|s| {
            let count = s.verdict.measures.count;
            json!({
                "slice": s.slice,
                "box": s.region.map(|r| [r.x0, r.y0, r.x1, r.y1]),
                "mask": s.verdict.chosen,
                "scores": s.verdict.scores[..count],
                "measures": s.verdict.measures.masks[..count],
                "agreement": s.agreement(),
                "agreement_missing": s.agreement().is_none().then_some("the mask is empty"),
                "doubtful": doubtful(s.doubts),
                "continuity": s.continuity,
                "pixels": s.pixels,
            })
        })
        .collect();
    json!({
        "name": target.name,
        "label": target.label,
        "context": target.context.map(|c| c.names()),
        "warnings": target.warnings,
        "voxels": voxels,
        "covered": outcome.covered.get(index),
        "volume_mm3": voxel_volume.map(|v| v * voxels as f64),
        "volume_missing": voxel_volume.is_none().then_some("the input has no voxel size"),
        "slices": rows,
    })
}

/// Names of the codes in `bits`.
fn doubtful(bits: u64) -> Vec<&'static str> {
    Code::ALL.iter().filter(|code| bits & code.bit() != 0).map(|code| code.name()).collect()
}
