//! Flags of `medsegx segment`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use medsegx::codes::Warning;
use medsegx::mask::Cleaning;
use medsegx::mask::MaskChoice;
use medsegx::prompt::{PixelBox, VolumeBox};
use medsegx::tune::Train;
use medsegx::volume::{Form, Intensity, LabelTable, Orientation};

use crate::cli::files::{self, Named};
use crate::cli::model_args::{ModelArgs, embeddings_change, step_memory};
use crate::cli::real_world::RealWorld;

/// Segment an image: boxes and the name of what to look for in, a mask on the image's own grid out
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("prompt").required(true))]
pub struct Args {
    /// Image: .nii, .nii.gz, .nrrd, .mha, .npy (H x W, H x W x 1, 3 or 4, or slices x H x W), .npz (imgs, spacing) or
    /// .png; or a DICOM file, or a folder or zip archive of DICOM files
    pub input: PathBuf,
    /// Mask: .nii, .nii.gz, .nrrd, .seg.nrrd (3D Slicer), .mha, .npy, .npz (segs) or .png; .dcm (DICOM SEG) or
    /// .rtstruct.dcm for a DICOM image or with --series FOLDER
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace existing output files
    #[arg(long)]
    pub force: bool,
    /// No progress bar, no summary, and warnings in the report alone
    #[arg(short, long)]
    pub quiet: bool,
    /// Say on stderr why no GPU was taken, too
    #[arg(long, conflicts_with = "quiet")]
    pub verbose: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten, next_help_heading = "What to look for")]
    pub context: ContextArgs,

    #[command(flatten, next_help_heading = "Where to look (inclusive voxel indices of the stored array)")]
    pub prompts: PromptArgs,

    #[command(flatten, next_help_heading = "Tune first (docs/tune.md)")]
    pub drawn: DrawnArgs,

    /// minmax, robust (minmax without padding values and isolated extremes), percentile, window:LEVEL,WIDTH, soft,
    /// lung, brain, bone, mediastinum, raw (0..255 as they are) or unit (0..1); default: minmax of the volume, for
    /// colour and 8-bit pictures raw, or unit where values are fractions
    #[arg(long, value_name = "RULE", help_heading = "Image")]
    pub intensity: Option<Intensity>,
    /// Take this value for voxels that are NaN or infinite, which are refused otherwise
    #[arg(long, value_name = "VALUE", help_heading = "Image", allow_hyphen_values = true, value_parser = finite)]
    pub nan: Option<f64>,
    /// Axis of the stored array that slices lie across. x and y of boxes and points are then: k: x = i, y = j; j: x =
    /// i, y = k; i: x = j, y = k. An .npy array of slices is [k, j, i]
    #[arg(long, default_value = "k", help_heading = "Image", ignore_case = true)]
    pub axis: Axis,
    /// Show slices to the network as stored, or turned to Right-Anterior-Superior; --axis, slice numbers, boxes and
    /// points stay those of the stored array
    #[arg(long, default_value = "stored", value_name = "stored|ras", help_heading = "Image")]
    pub orient: Orientation,
    /// Which form of a NIfTI header says where voxels lie, for boxes in millimetres and for --orient [default: sform
    /// where it is set, as nibabel does]
    #[arg(long, value_name = "sform|qform", help_heading = "Image")]
    pub form: Option<Form>,
    /// Time point of a 4-D image, from 0; volume of a DICOM series, by its key or its number from 1 (`medsegx info`
    /// lists them)
    #[arg(long, value_name = "N|KEY", help_heading = "Image")]
    pub volume: Option<String>,
    /// Resample a stack of a tilted gantry onto an upright grid; boxes in voxels and the mask are then of that grid
    #[arg(long, help_heading = "Image")]
    pub untilt: bool,
    /// DICOM series, where there are several (`medsegx info` lists them). Of an image that is no DICOM: the folder of
    /// the series that a mask as DICOM belongs to, whose grid is the image's in any order of its axes
    #[arg(long, value_name = "UID|FOLDER", help_heading = "Image")]
    pub series: Option<String>,
    #[command(flatten, next_help_heading = "Image")]
    pub values: RealWorld,

    #[command(flatten, next_help_heading = "After the network (in this order; nothing unless asked for)")]
    pub after: AfterArgs,

    /// Keep what the encoder makes of each slice in this folder, and take it from there when the same slices come again
    /// with the same weights and context: to the same bits, without the encoder
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub embeddings: Option<PathBuf>,
    /// Which mask to take: auto, 0 (single), 1, 2 or 3
    #[arg(long, default_value = "auto", help_heading = "More output")]
    pub mask: MaskChoice,
    /// Write labels to a .png mask as they are, grey level 1 for label 1, which looks black. Else one label is white
    /// (255), and several are coloured by a palette whose indices are the labels
    #[arg(long, help_heading = "More output")]
    pub png_values: bool,
    /// Whose reader finds the names of labels in the header of a NIfTI mask: there is no form for both
    /// [default: totalsegmentator]
    #[arg(long, value_name = "totalsegmentator|workbench|off", value_enum, hide_possible_values = true)]
    #[arg(help_heading = "More output")]
    pub label_names: Option<NameReader>,
    #[command(flatten, next_help_heading = "More output")]
    pub dicom: DicomArgs,
    /// Raw logits before any resize, float32 [boxes, masks, 256, 256]
    #[arg(long, value_name = "FILE.npy", help_heading = "More output")]
    pub logits: Option<PathBuf>,
    /// What was done, with versions, hashes, scores and times
    #[arg(long, value_name = "FILE.json", help_heading = "More output")]
    pub report: Option<PathBuf>,
}

/// A number that `--nan` takes.
pub fn finite(text: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| "a finite number is needed".into())
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

/// A place in MedSegDB's tree.
#[derive(clap::Args)]
pub struct ContextArgs {
    /// Task of MedSegDB: CT_Liver (`medsegx tasks` lists them)
    #[arg(long)]
    pub task: Option<String>,
    /// CT, MRI, US, ... (`medsegx tasks` lists them); overrides what --task implies, as do the next four
    #[arg(long)]
    pub modality: Option<String>,
    /// Body part
    #[arg(long)]
    pub body_part: Option<String>,
    /// Body subregion
    #[arg(long)]
    pub subregion: Option<String>,
    /// Organ or tissue
    #[arg(long)]
    pub organ: Option<String>,
    /// Target, or `unseen` for the spare task row
    #[arg(long)]
    pub target: Option<String>,
}

/// Exactly one prompt, and what goes with some of them.
#[derive(clap::Args)]
pub struct PromptArgs {
    /// Box on one slice, corners in any order. A fraction names the voxel whose centre is nearest; exactly between two,
    /// the one inside the box
    #[arg(long = "box", value_name = "x0,y0,x1,y1", value_parser = PixelBox::read, group = "prompt", allow_hyphen_values = true)]
    pub pixel_box: Option<(PixelBox, Vec<Warning>)>,
    /// Slice of --box or --points, counted from 0
    #[arg(long, value_name = "K", conflicts_with_all = ["box3d", "boxes", "rough"])]
    pub slice: Option<usize>,
    /// The same rectangle on a run of slices
    #[arg(long, value_name = "x0,y0,z0,x1,y1,z1", value_parser = VolumeBox::read, group = "prompt", allow_hyphen_values = true)]
    pub box3d: Option<(VolumeBox, Vec<Warning>)>,
    /// Boxes file, markups of 3D Slicer (.mrk.json) or an .npz with boxes; one or more targets. Where their masks
    /// overlap, the later one wins
    #[arg(long, value_name = "FILE", group = "prompt")]
    pub boxes: Option<PathBuf>,
    /// A box a slice around a rough mask, which its header brings to the image's grid. Its one label above 0 is inside;
    /// of values between whole numbers those above half of the largest, or above 0 where some are negative
    #[arg(long, value_name = "MASK", group = "prompt")]
    pub rough: Option<PathBuf>,
    /// Voxels added around the rough mask [default: 0]
    #[arg(long, value_name = "N", requires = "rough", conflicts_with_all = ["pixel_box", "box3d", "boxes", "points"])]
    pub margin: Option<u32>,
    /// Label of the rough mask that is inside, where it has several; may be repeated
    #[arg(long, value_name = "N", requires = "rough", conflicts_with_all = ["pixel_box", "box3d", "boxes", "points"])]
    pub rough_label: Vec<u32>,
    /// Values of the rough mask above this are inside
    #[arg(long, value_name = "X", requires = "rough", conflicts_with_all = ["rough_label", "pixel_box", "box3d", "boxes", "points"], allow_hyphen_values = true)]
    pub rough_threshold: Option<f64>,
    /// A box for each separate part of the rough mask on a slice, not one around all of them
    #[arg(long, requires = "rough", conflicts_with_all = ["pixel_box", "box3d", "boxes", "points"])]
    pub rough_parts: bool,
    /// Boxes on the slices between those on which the rough mask is drawn or the file has boxes, too: each side on a
    /// straight line
    #[arg(long, conflicts_with_all = ["pixel_box", "box3d", "points"])]
    pub interpolate: bool,
    /// Boxes on the slices beyond, too: from the outermost boxes on, slice after slice, as far as the image goes on
    /// looking like the target; those between two boxes on straight lines. The rule and where it ended are in the
    /// report
    #[arg(long, conflicts_with_all = ["points", "interpolate"])]
    pub propagate: bool,
    /// Points on one slice, label 1 inside and 0 outside (SAM weights)
    #[arg(long, value_name = "x,y,label;...", group = "prompt", allow_hyphen_values = true)]
    pub points: Option<String>,
}

/// Slices that are drawn already.
#[derive(clap::Args)]
pub struct DrawnArgs {
    /// Labels on the image's grid, drawn on some slices: the model is tuned on these for this run, as `medsegx tune`
    /// does, the boxes of one target are segmented on the others, and drawn slices stay as they are drawn. Where tuning
    /// does not help on held-out slices, the weights are taken as they are
    #[arg(long, value_name = "DRAWN", requires = "tune_label", conflicts_with = "points")]
    pub tune_with: Option<PathBuf>,
    /// Label of the drawn slices that is the target
    #[arg(long, value_name = "N", requires = "tune_with", value_parser = clap::value_parser!(u16).range(1..))]
    pub tune_label: Option<u16>,
    /// What is tuned on drawn slices, as with `medsegx tune`; adapters and all run on the CPU
    #[arg(long, default_value = "decoder", value_name = "decoder|adapters|all", requires = "tune_with")]
    pub train: Train,
    /// Most memory of a step of tuning above the loaded model, as 800M or 2G, with --train adapters or all
    #[arg(long, value_name = "SIZE", requires = "tune_with", value_parser = step_memory)]
    pub memory: Option<usize>,
}

impl DrawnArgs {
    /// Whether the encoder is tuned, too.
    pub fn tunes_encoder(&self) -> bool {
        self.tune_with.is_some() && self.train != Train::Decoder
    }
}

impl Args {
    /// Refuses outputs that cannot be written, or that are files of this run, before any work is done.
    pub fn check_outputs(&self) -> anyhow::Result<()> {
        if self.drawn.tunes_encoder() && self.embeddings.is_some() {
            return Err(embeddings_change());
        }
        let writes = [
            ("--output", Some(&self.output)),
            ("--logits", self.logits.as_ref()),
            ("--report", self.report.as_ref()),
            ("--stats", self.after.stats.as_ref()),
            ("--preview", self.after.preview.as_ref()),
        ];
        files::check_outputs(&self.reads(), &given(&writes), self.force)
    }

    /// The same of the files that `--split` makes of the output, whose names are known once the labels are.
    pub fn check_parts(&self, parts: &[PathBuf]) -> anyhow::Result<()> {
        let parts: Vec<Named> = parts.iter().map(|path| ("--output", path.as_path())).collect();
        files::check_outputs(&self.reads(), &parts, self.force)
    }

    /// The files and folders that a run reads.
    fn reads(&self) -> Vec<Named<'_>> {
        let PromptArgs { boxes, rough, .. } = &self.prompts;
        let mut reads = given(&[
            ("INPUT", Some(&self.input)),
            ("--weights", self.model.weights.as_ref()),
            ("--tuned", self.model.tuned.as_ref()),
            ("--boxes", boxes.as_ref()),
            ("--rough", rough.as_ref()),
            ("--tune-with", self.drawn.tune_with.as_ref()),
        ]);
        reads.extend(self.series.as_ref().map(|series| ("--series", Path::new(series))));
        reads
    }
}

fn given<'a>(files: &[(&'static str, Option<&'a PathBuf>)]) -> Vec<Named<'a>> {
    files.iter().filter_map(|&(name, path)| Some((name, path?.as_path()))).collect()
}

/// What is done to masks, in the order of the flags. Each label is one mask, whatever it was prompted with.
#[derive(clap::Args)]
pub struct AfterArgs {
    /// Smooth the surface of masks: a Gaussian of so many millimetres, standard deviation, in three dimensions
    #[arg(long, value_name = "MM")]
    pub smooth: Option<f64>,
    /// Fill holes of masks: what is enclosed in three dimensions, and not another target
    #[arg(long)]
    pub fill_holes: bool,
    /// Drop parts of masks of less than so many cubic millimetres; voxels that touch at a corner are in one part
    #[arg(long, value_name = "MM3")]
    pub min_volume: Option<f64>,
    /// Keep the N largest parts of each mask
    #[arg(long, value_name = "N")]
    pub largest: Option<usize>,
    /// What each mask measures: volume, surface, place, parts, the image's values inside
    #[arg(long, value_name = "FILE.json|csv", help_heading = "More output")]
    pub stats: Option<PathBuf>,
    /// A picture of the run: slices with outlines, boxes and names, right side up, doubtful slices marked
    #[arg(long, value_name = "FILE.png", help_heading = "More output")]
    pub preview: Option<PathBuf>,
    /// Slices of the preview [default: those with a prompt, at most 20 of them, doubtful ones first]
    #[arg(long, value_name = "K,K,...", value_delimiter = ',', requires = "preview", help_heading = "More output")]
    pub preview_slices: Vec<usize>,
    /// The caller makes something of the image after the run.
    #[arg(skip)]
    pub keep_image: bool,
}

impl AfterArgs {
    /// Whether all voxels of the image are needed once more after the run.
    pub fn keeps_image(&self) -> bool {
        self.keep_image || self.stats.is_some() || self.preview.is_some()
    }

    /// What is asked for.
    pub fn cleaning(&self) -> Cleaning {
        let AfterArgs { smooth, fill_holes, min_volume, largest, .. } = *self;
        Cleaning { smooth_mm: smooth, fill_holes, min_volume_mm3: min_volume, largest }
    }
}

/// What goes with an output that is DICOM.
#[derive(clap::Args)]
pub struct DicomArgs {
    /// How a DICOM SEG stores its segments: a bit for each, or their numbers (fewer programs read those)
    #[arg(long, value_name = "binary|labelmap", value_enum)]
    pub seg: Option<SegKind>,
    /// A DICOM file for each segment, NAME-LABEL.dcm: what reads only one segment of a SEG reads these
    #[arg(long)]
    pub split: bool,
    /// Deflate the DICOM file as a whole (fewer programs read that)
    #[arg(long)]
    pub deflate: bool,
}

/// How segments are stored.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SegKind {
    Binary,
    Labelmap,
}

/// Who is to find the names of labels in a NIfTI mask.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NameReader {
    #[value(name = "totalsegmentator")]
    TotalSegmentator,
    Workbench,
    Off,
}

impl NameReader {
    /// The table that it reads.
    pub fn table(self) -> LabelTable {
        match self {
            NameReader::TotalSegmentator => LabelTable::TotalSegmentator,
            NameReader::Workbench => LabelTable::Workbench,
            NameReader::Off => LabelTable::Off,
        }
    }
}
