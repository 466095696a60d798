//! The targets that the flags of `medsegx segment` ask for, and everything about them that can be refused beforehand.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::codes::{Code, Warning};
use medsegx::prompt::{self, Grid, PixelBox, Target};
use medsegx::segment::volume::Request;
use medsegx::taxonomy::{self, Context, Query};
use medsegx::volume::{OpenOptions, SliceFrame, Volume, VolumeInfo};

use super::args::{Args, ContextArgs, PromptArgs};
use crate::cli::usage;

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
    /// What the segmenter is asked.
    pub fn request(&self) -> Request {
        let JobTarget { label, context, boxes, points, .. } = self;
        Request { label: *label, context: *context, boxes: boxes.clone(), points: points.clone() }
    }
}

/// The targets of `args` on `volume`; `steered` tells whether the weights have adapters, which want a context.
pub fn targets(args: &Args, volume: &VolumeInfo, frame: &SliceFrame, steered: bool) -> anyhow::Result<Vec<JobTarget>> {
    let grid = Grid::of(volume, frame.axis());
    let query = args.context.query();
    if let Some(path) = &args.prompts.boxes {
        return from_file(path, &query, &grid, steered);
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
    let PromptArgs { pixel_box, slice, box3d, rough, margin, points, .. } = &args.prompts;
    if let Some(pixel_box) = *pixel_box {
        target.boxes = typed("--box", prompt::slice_box(pixel_box, *slice, &grid))?;
    } else if let Some(box3d) = *box3d {
        target.boxes = typed("--box3d", prompt::volume_box(box3d, "box3d", &grid))?;
    } else if let Some(path) = rough {
        target.boxes = rough_boxes(path, margin.unwrap_or(0), &grid, volume, &mut target.warnings)?;
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
fn context(name: &str, query: &Query, steered: bool) -> anyhow::Result<Option<Context>> {
    if query.is_empty() && steered {
        let what = format!("{name}: these weights need --task, or --modality and the organ's place in the tree");
        return Err(usage(&what));
    }
    match taxonomy::resolve(query) {
        Ok(context) => Ok(steered.then_some(context)),
        Err(medsegx::Error::Argument { .. }) if !steered => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn from_file(path: &Path, defaults: &Query, grid: &Grid, steered: bool) -> anyhow::Result<Vec<JobTarget>> {
    context("", defaults, false)?; // the flags' own names, before the file's
    let convert = |target: Target| {
        let Target { name, label, query, boxes, warnings } = target;
        let context = context(&name, &query.or(defaults), steered).map_err(|error| match error.downcast() {
            Ok(error @ (medsegx::Error::Taxonomy { .. } | medsegx::Error::Argument { .. })) => {
                let what = format!("target '{}'", name.escape_debug());
                medsegx::Error::file(path, what, "a place in the task tree", error).into()
            }
            Ok(error) => error.into(),
            Err(error) => error,
        })?;
        Ok(JobTarget { name, label, context, boxes, points: BTreeMap::new(), warnings })
    };
    prompt::read_boxes(path, grid)?.into_iter().map(convert).collect()
}

fn rough_boxes(
    path: &Path,
    margin: u32,
    grid: &Grid,
    image: &VolumeInfo,
    warnings: &mut Vec<Warning>,
) -> anyhow::Result<BTreeMap<usize, PixelBox>> {
    let rough = Volume::open(path, &OpenOptions::default())?;
    if rough.dims() != grid.dims {
        let (expected, found) = (format!("dims {:?}, as the image", grid.dims), format!("{:?}", rough.dims()));
        return Err(medsegx::Error::file(path, "rough mask", expected, found).into());
    }
    if let (Some(rough), Some(own)) = (rough.geometry(), image.geometry()) {
        let (apart, spacing) = (rough.distance(own, grid.dims), own.spacing());
        if apart > 0.5 * spacing.into_iter().fold(f64::INFINITY, f64::min) {
            let path = path.display();
            let message = format!(
                "{path}: lies up to {apart:.1} mm from the image by its header; its voxels are taken by their indices"
            );
            warnings.push(Warning::new(Code::RoughByIndex, message));
        }
    }
    let (slope, intercept) = rough.scaling();
    let inside = |index: usize| rough.voxels().get(index).is_some_and(|v| (slope * v + intercept).abs() > 0.0);
    let (count, mut labels) = (rough.voxels().len(), Vec::new());
    let refused = |_| medsegx::Error::Memory { what: "the rough mask".into(), bytes: count as u64 };
    labels.try_reserve_exact(count).map_err(refused)?;
    labels.extend((0..count).map(inside));
    let boxes = prompt::rough_boxes(&labels, |inside| inside, margin, grid);
    Ok(boxes.map_err(|error| match error {
        medsegx::Error::Prompt { what, expected, found } => medsegx::Error::file(path, what, expected, found),
        other => other,
    })?)
}

impl ContextArgs {
    fn query(&self) -> Query {
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
    fn name(&self) -> String {
        [&self.task, &self.target, &self.organ].into_iter().flatten().next().map_or("target", String::as_str).into()
    }
}
