//! `--preview FILE.png`: what was asked and what came of it, as a picture.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::atomic::write_atomically;
use medsegx::codes::names_of;
use medsegx::preview::{OnSlice, Sheet, Shown, write_png};
use medsegx::segment::volume::Outcome;
use medsegx::volume::{IntensityMap, Volume};

use super::after::AfterArgs;
use super::{Args, Job};

/// Refuses a name that promises another format, and slices that the image does not have.
pub fn check(args: &AfterArgs, slices: usize) -> medsegx::Result<()> {
    let error = |name, expected: String, found: String| Err(medsegx::Error::Argument { name, expected, found });
    if let Some(path) = &args.preview
        && !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"))
    {
        return error("--preview", "a name ending in .png".into(), path.display().to_string());
    }
    match args.preview_slices.iter().find(|&&slice| slice >= slices) {
        Some(slice) => error("--preview-slices", format!("slices 0..={}", slices.saturating_sub(1)), slice.to_string()),
        None => Ok(()),
    }
}

/// Draws the sheet and writes the file.
pub fn write(
    path: &Path,
    args: &Args,
    job: &Job,
    image: &Volume,
    map: &IntensityMap,
    outcome: &Outcome,
) -> anyhow::Result<()> {
    let mut slices = BTreeMap::<usize, OnSlice>::new();
    for slice in &outcome.slices {
        let on = slices.entry(slice.slice).or_default();
        let target = &job.targets[slice.request];
        on.boxes.extend(slice.region.map(|region| (target.label, region)));
        let clicks = target.points.get(&slice.slice).map_or(&[][..], Vec::as_slice);
        on.points.extend(clicks.iter().map(|&(x, y, inside)| (target.label, x, y, inside)));
        on.doubts.extend(names_of(slice.doubts));
    }
    let mut targets: Vec<Shown> = Vec::new();
    for target in &job.targets {
        if targets.iter().all(|shown| shown.label != target.label) {
            targets.push(Shown { label: target.label, name: target.name.clone() });
        }
    }
    let sheet = Sheet {
        image,
        map,
        labels: &outcome.labels,
        targets: &targets,
        axis: job.frame.axis(),
        slices: &slices,
        chosen: &args.after.preview_slices,
    };
    let canvas = sheet.draw()?;
    Ok(write_atomically(path, args.force, |file| write_png(&canvas, file))?)
}
