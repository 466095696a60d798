//! What is done with masks after the network: cleaning, where it is asked for.

use medsegx::codes::{Code, Warning};
use medsegx::mask::{Cleaned, Cleaning};
use medsegx::segment::volume::{Outcome, Request};
use medsegx::volume::VolumeInfo;
use serde_json::{Value, json};

use super::args::AfterArgs;
use super::job::Job;
use super::targets::JobTarget;

/// What can be refused before any work is done.
pub fn check(args: &AfterArgs, image: &VolumeInfo, slices: usize) -> medsegx::Result<()> {
    super::preview::check(args, slices)?;
    args.stats.as_deref().map_or(Ok(()), super::stats::check)?;
    args.cleaning().check(image.spacing())
}

/// What cleaning did to one label.
pub struct CleanedLabel {
    pub label: u16,
    pub done: Cleaned,
    /// Voxels that are left.
    pub voxels: u64,
}

/// Requests with labels of their own, so that it is known whose voxels were taken.
pub fn own_labels(requests: &mut [Request]) -> anyhow::Result<()> {
    for (index, request) in requests.iter_mut().enumerate() {
        request.label = u16::try_from(index + 1).map_err(|_| medsegx::Error::Argument {
            name: "--smooth, --fill-holes, --min-volume, --largest",
            expected: format!("at most {} targets and parts", u16::MAX),
            found: "more".into(),
        })?;
    }
    Ok(())
}

/// Cleans the masks of `outcome`, whose labels are those of [`own_labels`], gives them the targets' labels and counts
/// again. Drawn slices stay as they are drawn.
pub fn clean(
    cleaning: &Cleaning,
    outcome: &mut Outcome,
    job: &Job,
    image: &VolumeInfo,
) -> medsegx::Result<Vec<CleanedLabel>> {
    let targets = &job.targets;
    let spacing = image.spacing();
    let voxel = image.geometry().map_or(1.0, |geometry| geometry.voxel_volume());
    let mut cleaned = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|before| before.label == target.label) {
            continue;
        }
        let own: Vec<u16> =
            (0..targets.len()).filter(|&i| targets[i].label == target.label).map(|i| i as u16 + 1).collect();
        let done = cleaning.clean(&mut outcome.labels, &own, spacing, voxel)?;
        cleaned.push(CleanedLabel { label: target.label, done, voxels: 0 });
    }
    if let Some(drawn) = &job.drawn {
        drawn.paint(&job.frame, &mut outcome.labels, 1)?;
    }
    let counts = outcome.labels.counts();
    for (voxels, count) in outcome.voxels.iter_mut().zip(counts.iter().skip(1)) {
        *voxels = *count;
    }
    let labels: Vec<u16> = std::iter::once(0).chain(targets.iter().map(|target| target.label)).collect();
    outcome.labels = outcome.labels.relabelled(&labels, labels.iter().copied().max().unwrap_or(0))?;
    for entry in &mut cleaned {
        let own = targets.iter().zip(&outcome.voxels).filter(|(target, _)| target.label == entry.label);
        entry.voxels = own.map(|(_, voxels)| voxels).sum();
    }
    Ok(cleaned)
}

/// Says of which targets cleaning left nothing.
pub fn warn_of_removed(cleaned: &[CleanedLabel], targets: &mut [JobTarget]) -> Vec<Warning> {
    let removed = |entry: &&CleanedLabel| entry.voxels == 0 && entry.done.dropped + entry.done.smoothed_out > 0;
    let mut warnings = Vec::new();
    for CleanedLabel { label, done, .. } in cleaned.iter().filter(removed) {
        let Some(target) = targets.iter_mut().find(|target| target.label == *label) else { continue };
        let (parts, taken) = (done.dropped_parts, done.smoothed_out);
        let message = format!("nothing is left of label {label}: {parts} parts dropped, {taken} voxels smoothed away");
        let warning = Warning::new(Code::TargetRemoved, message);
        target.warnings.push(warning.clone());
        warnings.push(warning);
    }
    warnings
}

/// What was asked and what it came to, for the report; null where nothing was asked.
pub fn report(cleaning: &Cleaning, cleaned: &[CleanedLabel]) -> Value {
    if cleaning.is_empty() {
        return Value::Null;
    }
    let label = |entry: &CleanedLabel| json!({ "label": entry.label, "voxels": entry.voxels, "changes": entry.done });
    json!({
        "asked": cleaning,
        "order": ["smooth_mm", "fill_holes", "min_volume_mm3", "largest"],
        "parts": "voxels that touch at a face, an edge or a corner",
        "labels": cleaned.iter().map(label).collect::<Vec<_>>(),
    })
}
