//! Flags of `medsegx segment`, and the targets they ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use medsegx::atomic::check_writable;
use medsegx::mask::MaskChoice;
use medsegx::prompt::{self, Grid, PixelBox, Target, VolumeBox};
use medsegx::segment::volume::Request;
use medsegx::taxonomy::{self, Context, Query};
use medsegx::volume::{Intensity, OpenOptions, Orientation, SliceFrame, Volume};

use crate::cli::model_args::ModelArgs;
use crate::cli::usage;

/// Segment an image: boxes and the name of what to look for in, a mask on the image's own grid out
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("prompt").required(true))]
pub struct Args {
    /// Image: .nii, .nii.gz, .npy (H x W, H x W x 3 or slices x H x W) or .png
    pub input: PathBuf,
    /// Mask: .nii, .nii.gz, .npy or .png
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace existing output files
    #[arg(long)]
    pub force: bool,
    /// No progress bar, no summary
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten, next_help_heading = "What to look for")]
    context: ContextArgs,

    #[command(flatten, next_help_heading = "Where to look (inclusive voxel indices of the stored array)")]
    prompts: PromptArgs,

    /// minmax, percentile, window:LEVEL,WIDTH, soft, lung, brain, bone, mediastinum or raw; default: minmax of the volume, raw
    /// for colour and 8-bit pictures
    #[arg(long, value_name = "RULE", help_heading = "Image")]
    pub intensity: Option<Intensity>,
    /// Axis that slices lie across
    #[arg(long, default_value = "k", help_heading = "Image")]
    pub axis: Axis,
    /// Show slices to the network as stored, or turned to Right-Anterior-Superior
    #[arg(long, default_value = "stored", value_name = "stored|ras", help_heading = "Image")]
    pub orient: Orientation,
    /// Time point of a 4-D image
    #[arg(long, value_name = "N", help_heading = "Image")]
    pub volume: Option<usize>,

    /// Which mask to take: auto, 0 (single), 1, 2 or 3
    #[arg(long, default_value = "auto", help_heading = "More output")]
    pub mask: MaskChoice,
    /// Raw logits before any resize, float32 [boxes, masks, 256, 256]
    #[arg(long, value_name = "FILE.npy", help_heading = "More output")]
    pub logits: Option<PathBuf>,
    /// What was done, with versions, hashes, scores and times
    #[arg(long, value_name = "FILE.json", help_heading = "More output")]
    pub report: Option<PathBuf>,
}

/// An axis of the stored array.
#[derive(Clone, Copy, ValueEnum)]
pub enum Axis {
    I,
    J,
    K,
}

impl Axis {
    /// 0, 1 or 2.
    pub fn index(self) -> usize {
        self as usize
    }
}

#[derive(clap::Args)]
struct ContextArgs {
    /// Task of MedSegDB: CT_Liver (`medsegx tasks` lists them)
    #[arg(long)]
    task: Option<String>,
    /// CT, MR, US, ...; overrides what --task implies, as do the next four
    #[arg(long)]
    modality: Option<String>,
    /// Body part
    #[arg(long)]
    body_part: Option<String>,
    /// Body subregion
    #[arg(long)]
    subregion: Option<String>,
    /// Organ or tissue
    #[arg(long)]
    organ: Option<String>,
    /// Target, or `unseen` for the spare task row
    #[arg(long)]
    target: Option<String>,
}

#[derive(clap::Args)]
struct PromptArgs {
    /// Box on one slice
    #[arg(long = "box", value_name = "x0,y0,x1,y1", group = "prompt", allow_hyphen_values = true)]
    pixel_box: Option<PixelBox>,
    /// Slice of --box or --points
    #[arg(long, value_name = "K")]
    slice: Option<usize>,
    /// The same rectangle on a run of slices
    #[arg(long, value_name = "x0,y0,z0,x1,y1,z1", group = "prompt", allow_hyphen_values = true)]
    box3d: Option<VolumeBox>,
    /// Boxes file, one or more targets
    #[arg(long, value_name = "FILE.json", group = "prompt")]
    boxes: Option<PathBuf>,
    /// A box a slice around a rough mask
    #[arg(long, value_name = "MASK", group = "prompt")]
    rough: Option<PathBuf>,
    /// Voxels added around the rough mask
    #[arg(long, default_value_t = 0, requires = "rough")]
    margin: u32,
    /// Points on one slice, label 1 inside and 0 outside (SAM weights)
    #[arg(long, value_name = "x,y,label;...", group = "prompt", allow_hyphen_values = true)]
    points: Option<String>,
}

/// One target with its context resolved as far as the flags and the boxes file say.
pub struct JobTarget {
    pub name: String,
    pub label: u16,
    pub query: Query,
    pub boxes: BTreeMap<usize, PixelBox>,
    pub points: BTreeMap<usize, Vec<(f64, f64, bool)>>,
    pub warnings: Vec<String>,
}

impl JobTarget {
    /// Rows of the context embeddings.
    pub fn context(&self) -> anyhow::Result<Option<Context>> {
        Ok(if self.query.is_empty() { None } else { Some(taxonomy::resolve(&self.query)?) })
    }

    /// What the segmenter is asked.
    pub fn request(&self, needs_context: bool) -> anyhow::Result<Request> {
        let context = if needs_context { self.context()? } else { None };
        if needs_context && context.is_none() {
            let what =
                format!("{}: these weights need --task, or --modality and the organ's place in the tree", self.name);
            return Err(usage(&what));
        }
        Ok(Request { label: self.label, context, boxes: self.boxes.clone(), points: self.points.clone() })
    }
}

impl Args {
    /// Refuses outputs that cannot be written before any work is done.
    pub fn check_outputs(&self) -> anyhow::Result<()> {
        let files = [Some(&self.output), self.logits.as_ref(), self.report.as_ref()];
        for path in files.into_iter().flatten() {
            check_writable(path, self.force)?;
        }
        Ok(())
    }

    /// The targets that the flags ask for.
    pub fn targets(&self, volume: &Volume, frame: &SliceFrame) -> anyhow::Result<Vec<JobTarget>> {
        let grid = Grid { dims: volume.dims(), axis: frame.axis(), affine: volume.affine() };
        let prompts = &self.prompts;
        if prompts.slice.is_some() && prompts.pixel_box.is_none() && prompts.points.is_none() {
            return Err(usage("--slice goes with --box or --points"));
        }
        if let Some(path) = &prompts.boxes {
            let defaults = self.query();
            let targets = prompt::read_boxes(path, &grid)?;
            return Ok(targets.into_iter().map(|target| from_file(target, &defaults)).collect());
        }
        let mut target = self.single_target();
        if let Some(pixel_box) = prompts.pixel_box {
            target.boxes = prompt::slice_box(pixel_box, prompts.slice, &grid)?;
        } else if let Some(box3d) = prompts.box3d {
            target.boxes = prompt::volume_box(box3d, "box3d", &grid)?;
        } else if let Some(path) = &prompts.rough {
            target.boxes = rough_boxes(path, prompts.margin, &grid)?;
        } else if let Some(text) = &prompts.points {
            let slice = match prompts.slice {
                Some(slice) => slice,
                None if grid.slices() == 1 => 0,
                None => return Err(usage("--points on a volume needs --slice K")),
            };
            if slice >= grid.slices() {
                return Err(usage(&format!("--slice: expected 0..={}, found {slice}", grid.slices() - 1)));
            }
            let (width, height) = grid.slice_size();
            let points = prompt::parse_points(text, width, height)?;
            target.points.insert(slice, points.iter().map(|p| (p.x, p.y, p.inside)).collect());
        }
        Ok(vec![target])
    }

    fn query(&self) -> Query {
        let c = &self.context;
        Query {
            task: c.task.clone(),
            modality: c.modality.clone(),
            body_part: c.body_part.clone(),
            subregion: c.subregion.clone(),
            organ: c.organ.clone(),
            target: c.target.clone(),
        }
    }

    fn single_target(&self) -> JobTarget {
        let c = &self.context;
        let name = c.task.clone().or_else(|| c.target.clone()).or_else(|| c.organ.clone());
        JobTarget {
            name: name.unwrap_or_else(|| "target".into()),
            label: 1,
            query: self.query(),
            boxes: BTreeMap::new(),
            points: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

fn from_file(target: Target, defaults: &Query) -> JobTarget {
    let Target { name, label, query, boxes, warnings } = target;
    JobTarget { name, label, query: query.or(defaults), boxes, points: BTreeMap::new(), warnings }
}

fn rough_boxes(path: &std::path::Path, margin: u32, grid: &Grid) -> anyhow::Result<BTreeMap<usize, PixelBox>> {
    let rough = Volume::open(path, &OpenOptions::default())?;
    if rough.dims() != grid.dims {
        let (expected, found) = (format!("dims {:?}, as the image", grid.dims), format!("{:?}", rough.dims()));
        return Err(medsegx::Error::file(path, "rough mask", expected, found).into());
    }
    let (slope, intercept) = rough.scaling();
    let inside = |index: usize| rough.voxels().get(index).is_some_and(|v| (slope * v + intercept).abs() > 0.0);
    let labels: Vec<bool> = (0..rough.voxels().len()).map(inside).collect();
    Ok(prompt::rough_boxes(&labels, |inside| inside, margin, grid)?)
}
