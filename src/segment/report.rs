//! What a run did, as JSON: so that it can be done again and judged slice by slice.
//!
//! ```
//! use medsegx::segment::report::merge;
//! use serde_json::json;
//!
//! let mut report = json!({ "input": { "dims": [4, 3, 2] }, "warnings": [] });
//! merge(&mut report, json!({ "input": { "file": "ct.nii.gz" }, "threads": 2 }));
//! assert_eq!(report["input"], json!({ "dims": [4, 3, 2], "file": "ct.nii.gz" }));
//! ```

use serde_json::{Value, json};

use super::Model;
use super::volume::{Outcome, SliceOutcome};
use crate::codes::{Code, Warning, names_of};
use crate::mask::{CONTINUITY_WEIGHT, MaskChoice, Rule};
use crate::model::Kind;
use crate::taxonomy::Context;
use crate::volume::{IntensityMap, SetAside, SliceFrame, VolumeInfo};

/// What was asked for, beside the targets.
pub struct Described<'a> {
    /// The image.
    pub image: &'a VolumeInfo,
    /// How its values became grey levels.
    pub intensity: &'a IntensityMap,
    /// What the rule left out of its limits, where it does that.
    pub set_aside: Option<SetAside>,
    /// How it was cut.
    pub frame: &'a SliceFrame,
    /// The model.
    pub model: &'a Model,
    /// How masks were chosen.
    pub choice: MaskChoice,
}

/// One request of the run, in words.
pub struct Target<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Value in the mask.
    pub label: u16,
    /// Where it stands in MedSegDB's tree.
    pub context: Option<Context>,
    /// What its boxes were told.
    pub warnings: &'a [Warning],
}

/// A report of `outcome`, which has as many requests as there are `targets`. Files, hashes and times that the caller
/// alone knows can be added by [`merge`].
pub fn describe(run: &Described, targets: &[Target], outcome: &Outcome) -> Value {
    let Described { image, intensity, set_aside, frame, model, choice } = run;
    let by_request = outcome.by_request();
    let of_targets = targets.iter().zip(&by_request).enumerate();
    let of_targets: Vec<Value> =
        of_targets.map(|(index, (target, slices))| of_target(image, target, outcome, index, slices)).collect();
    json!({
        "medsegx": crate::VERSION,
        "notice": "research software, not a medical device",
        "input": {
            "dims": image.dims(), "channels": image.channels(), "scale": image.dicom_scale(),
            "warnings": coded(image.warnings()),
        },
        "weights": { "kind": format!("{:?}", model.config().kind).to_lowercase() },
        "device": model.device(),
        "intensity": {
            "rule": intensity.rule.to_string(), "low": intensity.low, "high": intensity.high, "set_aside": set_aside,
        },
        "slices": { "axis": frame.axis() },
        "mask_choice": mask_choice(*choice, model),
        "targets": of_targets,
        "warnings": warnings(run, targets, outcome),
        "seconds": {
            "prepare": outcome.stages.prepare.as_secs_f64(),
            "encode": outcome.stages.encode.as_secs_f64(),
            "decode": outcome.stages.decode.as_secs_f64(),
            "restore": outcome.stages.restore.as_secs_f64(),
        },
    })
}

/// Adds the entries of `more` to those of `report`, object by object.
pub fn merge(report: &mut Value, more: Value) {
    match (report, more) {
        (Value::Object(own), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| merge(own.entry(key).or_insert(Value::Null), value));
        }
        (own, more) => *own = more,
    }
}

/// The warnings of one image or target, which need not name it.
fn coded(warnings: &[Warning]) -> Vec<Value> {
    warnings.iter().map(|warning| json!({ "code": warning.code, "message": warning.message })).collect()
}

/// All that looks wrong, with stable codes; those of one target name it.
fn warnings(run: &Described, targets: &[Target], outcome: &Outcome) -> Vec<Value> {
    let entry = |target: Option<&str>, warning: &Warning| json!({ "code": warning.code, "message": warning.message, "target": target });
    let of_image = run.image.warnings().iter().map(|warning| entry(None, warning));
    let fallback = run.model.fallback().map(|reason| Warning::new(Code::CpuFallback, reason));
    let of_device = fallback.iter().map(|warning| entry(None, warning));
    let tuned = run.model.tuned_on().and_then(|tuned| tuned.otherwise(run.image, run.frame, run.intensity.rule));
    let of_tuning = tuned.iter().map(|warning| entry(None, warning));
    let of_masks = outcome.warnings();
    let of_targets = targets.iter().zip(&of_masks).flat_map(|(target, of_masks)| {
        target.warnings.iter().chain(of_masks).map(|warning| entry(Some(target.name), warning))
    });
    of_image.chain(of_device).chain(of_tuning).chain(of_targets).collect()
}

/// How masks were chosen: by the user, or by which rule.
fn mask_choice(choice: MaskChoice, model: &Model) -> Value {
    let kind = model.config().kind;
    let weight = if kind == Kind::MedSegX { CONTINUITY_WEIGHT } else { 0.0 };
    match choice {
        MaskChoice::Fixed(mask) => json!({ "fixed": mask }),
        MaskChoice::Auto if matches!(kind, Kind::MedSam | Kind::LiteMedSam) => json!({ "fixed": 0 }),
        MaskChoice::Auto => json!({ "rule": Rule::of(kind).name(), "weight_of_neighbours": weight }),
    }
}

fn of_target(image: &VolumeInfo, target: &Target, outcome: &Outcome, index: usize, slices: &[&SliceOutcome]) -> Value {
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
                "doubtful": names_of(s.doubts),
                "continuity": s.continuity,
                "pixels": s.pixels,
            })
        })
        .collect();
    json!({
        "name": target.name,
        "label": target.label,
        "context": target.context.map(|c| c.names()),
        "warnings": coded(target.warnings),
        "voxels": voxels,
        "covered": outcome.covered.get(index),
        "volume_mm3": voxel_volume.map(|v| v * voxels as f64),
        "volume_missing": voxel_volume.is_none().then_some("the input has no voxel size"),
        "slices": rows,
    })
}
