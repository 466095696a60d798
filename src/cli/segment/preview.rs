//! `--preview FILE.png`: what was asked and what came of it, as a picture.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::atomic::write_atomically;
use medsegx::codes::names_of;
use medsegx::preview::{Canvas, OnSlice, Sheet, Shown, write_png, write_small_png};
use medsegx::segment::volume::Outcome;
use medsegx::volume::{IntensityMap, Volume};

use super::args::{AfterArgs, Args};
use super::job::Job;

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
pub fn write(path: &Path, args: &Args, run: &Run) -> anyhow::Result<()> {
    let canvas = run.drawn(&args.after.preview_slices, |sheet| sheet.draw())?;
    Ok(write_atomically(path, args.force, |file| write_png(&canvas, file))?)
}

/// A small picture as PNG, without the image's name.
pub fn contact(run: &Run) -> anyhow::Result<Contact> {
    let canvas = run.drawn(&[], |sheet| sheet.contact())?;
    let mut png = Vec::new();
    write_small_png(&canvas, &mut png)?;
    Ok(Contact { width: canvas.width, height: canvas.height, png })
}

/// A contact sheet.
pub struct Contact {
    pub width: usize,
    pub height: usize,
    pub png: Vec<u8>,
}

/// What there is to draw.
pub struct Run<'a> {
    pub job: &'a Job,
    pub image: &'a Volume,
    pub map: &'a IntensityMap,
    pub outcome: &'a Outcome,
}

impl Run<'_> {
    fn drawn(&self, chosen: &[usize], draw: impl FnOnce(&Sheet) -> medsegx::Result<Canvas>) -> medsegx::Result<Canvas> {
        let Run { job, image, map, outcome } = *self;
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
            chosen,
        };
        draw(&sheet)
    }
}
