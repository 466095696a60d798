//! The targets that the flags of `medsegx segment` ask for, and everything about them that can be refused beforehand.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::codes::Warning;
use medsegx::prompt::{self, Grid, PixelBox, RoughOptions, Target};
use medsegx::segment::report;
use medsegx::segment::volume::Request;
use medsegx::taxonomy::{self, Context, Query};
use medsegx::volume::{OpenOptions, SliceFrame, Volume, VolumeInfo};

use super::args::{Args, ContextArgs, PromptArgs};
use crate::cli::console::usage;

/// One target with all that the segmenter asks of it.
pub struct JobTarget {
    pub name: String,
    pub label: u16,
    /// Rows of the context embeddings; `None` for weights without adapters.
    pub context: Option<Context>,
    pub boxes: BTreeMap<usize, PixelBox>,
    pub points: BTreeMap<usize, Vec<(f64, f64, bool)>>,
    pub warnings: Vec<Warning>,
}

impl JobTarget {
    fn of(target: Target, context: Option<Context>) -> JobTarget {
        let Target { name, label, boxes, points, warnings, .. } = target;
        let clicks = |points: Vec<prompt::Point>| points.iter().map(|p| (p.x, p.y, p.inside)).collect();
        let points = points.into_iter().map(|(slice, points)| (slice, clicks(points))).collect();
        JobTarget { name, label, context, boxes, points, warnings }
    }

    /// What the segmenter is asked.
    pub fn request(&self) -> Request {
        let JobTarget { label, context, boxes, points, .. } = self;
        Request { label: *label, context: *context, boxes: boxes.clone(), points: points.clone() }
    }

    /// What a report says of it.
    pub fn described(&self) -> report::Target<'_> {
        report::Target { name: &self.name, label: self.label, context: self.context, warnings: &self.warnings }
    }
}

/// The targets of `args` on `volume`; `steered` tells whether the weights have adapters, which want a context.
pub fn targets(args: &Args, volume: &VolumeInfo, frame: &SliceFrame, steered: bool) -> anyhow::Result<Vec<JobTarget>> {
    let mut targets = asked(args, volume, frame, steered)?;
    // Once: of many targets the others are of the same modality.
    let differs = |target: &JobTarget| target.context?.contradicts(volume.dicom_modality()?);
    if let Some((target, warning)) = targets.iter_mut().find_map(|target| differs(target).map(|found| (target, found)))
    {
        target.warnings.push(warning);
    }
    Ok(targets)
}

fn asked(args: &Args, volume: &VolumeInfo, frame: &SliceFrame, steered: bool) -> anyhow::Result<Vec<JobTarget>> {
    let grid = Grid::of(volume, frame.axis());
    let query = args.context.query();
    if let Some(path) = &args.prompts.boxes {
        let mut targets = from_file(path, &query, &grid, steered)?;
        if args.prompts.interpolate {
            targets.iter_mut().for_each(|target| prompt::fill_gaps(&mut target.boxes));
        }
        return Ok(targets);
    }
    let name = args.context.name();
    let mut target = JobTarget {
        context: context(&name, &query, steered)?,
        name,
        label: 1,
        boxes: BTreeMap::new(),
        points: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let PromptArgs { pixel_box, slice, box3d, rough, points, .. } = &args.prompts;
    if let Some((pixel_box, notes)) = pixel_box {
        target.boxes = typed("--box", prompt::slice_box(*pixel_box, *slice, &grid))?;
        target.warnings.extend_from_slice(notes);
    } else if let Some((box3d, notes)) = box3d {
        target.boxes = typed("--box3d", prompt::volume_box(*box3d, "box3d", &grid))?;
        target.warnings.extend_from_slice(notes);
    } else if let Some(path) = rough {
        let options = args.prompts.rough_options();
        let rough = Volume::open_labels(path, &OpenOptions::LABELS, Some(volume), &options.labels)?;
        let targets = prompt::rough_targets(&target.name, &query, &rough, &options, &grid, volume)?;
        return Ok(targets.into_iter().map(|one| JobTarget::of(one, target.context)).collect());
    } else if let Some(text) = points {
        let slice = typed("--points", prompt::chosen_slice(*slice, "points", &grid))?;
        let (width, height) = grid.slice_size();
        let points = typed("--points", prompt::parse_points(text, width, height))?;
        target.points.insert(slice, points.iter().map(|p| (p.x, p.y, p.inside)).collect());
    }
    Ok(vec![target])
}

/// What is wrong with a prompt that was typed is a wrong argument; in a file it is a failed run.
fn typed<T>(flag: &'static str, result: medsegx::Result<T>) -> medsegx::Result<T> {
    result.map_err(|error| match error {
        medsegx::Error::Prompt { expected, found, .. } => medsegx::Error::Argument { name: flag, expected, found },
        other => other,
    })
}

/// The rows that `query` asks for. Weights without adapters need none, but a name that is there must be right.
pub fn context(name: &str, query: &Query, steered: bool) -> anyhow::Result<Option<Context>> {
    if query.is_empty() && steered {
        let what = format!("{name}: these weights need --task, or --modality and the organ's place in the tree");
        return Err(usage(&what));
    }
    Ok(taxonomy::resolve_for(query, steered)?)
}

fn from_file(path: &Path, defaults: &Query, grid: &Grid, steered: bool) -> anyhow::Result<Vec<JobTarget>> {
    context("", defaults, false)?; // the flags' own names, before the file's
    let convert = |target: Target| {
        let context =
            context(&target.name, &target.query.clone().or(defaults), steered).map_err(|error| {
                match error.downcast() {
                    Ok(error @ (medsegx::Error::Taxonomy { .. } | medsegx::Error::Argument { .. })) => {
                        error.in_file(path, &format!("target '{}'", target.name.escape_debug())).into()
                    }
                    Ok(error) => error.into(),
                    Err(error) => error,
                }
            })?;
        Ok(JobTarget::of(target, context))
    };
    prompt::read_boxes(path, grid)?.into_iter().map(convert).collect()
}

impl PromptArgs {
    fn rough_options(&self) -> RoughOptions {
        RoughOptions {
            labels: self.rough_label.clone(),
            threshold: self.rough_threshold,
            margin: self.margin.unwrap_or(0),
            parts: self.rough_parts,
            interpolate: self.interpolate,
        }
    }
}

impl ContextArgs {
    pub fn query(&self) -> Query {
        Query {
            task: self.task.clone(),
            modality: self.modality.clone(),
            body_part: self.body_part.clone(),
            subregion: self.subregion.clone(),
            organ: self.organ.clone(),
            target: self.target.clone(),
        }
    }

    /// What the target is called in reports.
    pub fn name(&self) -> String {
        [&self.task, &self.target, &self.organ].into_iter().flatten().next().map_or("target", String::as_str).into()
    }
}
