//! Flags of `medsegx tune`.

use std::path::PathBuf;

use medsegx::tune::{Slices, Train, Validate};
use medsegx::volume::{Intensity, Orientation};

use crate::cli::files::{self, Named};
use crate::cli::folder_layout::FolderLayout;
use crate::cli::model_args::{ModelArgs, embeddings_change, step_memory};
use crate::cli::real_world::RealWorld;
use crate::cli::segment::{Axis, ContextArgs, finite};

/// Tune the model on a few labelled slices of your own: a small file that goes on top of the weights
#[derive(clap::Args)]
pub struct Args {
    /// Images; with --layout a folder of MedSegDB
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Labels on the grid of each image, in the order of the images
    #[arg(long, required_unless_present = "layout", num_args = 1.., value_name = "LABELS")]
    pub labels: Vec<PathBuf>,
    /// Value of the label to tune for, and its task: 5=CT_Liver. Without a task the flags below say where it stands
    #[arg(long, required_unless_present = "layout", value_name = "N=TASK", value_parser = label)]
    pub label: Option<Label>,
    /// Tune on the slices of a MedSegDB folder, whose names tell the task: DATASET/TASK/... (internal) or
    /// cross_site|cross_task/TASK/DATASET/... (external; finetune/ where it is there, else inference/). Where it has
    /// several tasks, --task chooses one
    #[arg(long, conflicts_with_all = ["labels", "label", "intensity", "nan", "volume", "axis", "orient"])]
    pub layout: Option<FolderLayout>,
    /// Tuned file: the trained tensors, and those of --tuned that were not trained
    #[arg(short, long, value_name = "FILE.safetensors")]
    pub output: PathBuf,
    /// Replace an existing output file
    #[arg(long)]
    pub force: bool,
    /// No progress bar, no summary, no warnings
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten, next_help_heading = "What is tuned for, where --label has no task")]
    pub context: ContextArgs,

    #[command(flatten, next_help_heading = "How to tune")]
    pub tuning: Tuning,

    #[command(flatten)]
    pub model: ModelArgs,
    /// Keep what the encoder makes of each slice in this folder, and take it from there
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub embeddings: Option<PathBuf>,

    /// As for `medsegx segment`; tune as you will segment
    #[arg(long, value_name = "RULE", help_heading = "Image")]
    pub intensity: Option<Intensity>,
    /// Take this value for voxels that are NaN or infinite, which are refused otherwise
    #[arg(long, value_name = "VALUE", help_heading = "Image", allow_hyphen_values = true, value_parser = finite)]
    pub nan: Option<f64>,
    /// Time point of a 4-D image, from 0; volume of a DICOM series, by its key or its number from 1 (`medsegx info`
    /// lists them)
    #[arg(long, value_name = "N|KEY", help_heading = "Image")]
    pub volume: Option<String>,
    #[command(flatten, next_help_heading = "Image")]
    pub values: RealWorld,
    /// Axis that slices lie across
    #[arg(long, default_value = "k", help_heading = "Image")]
    pub axis: Axis,
    /// Show slices to the network as stored, or turned to Right-Anterior-Superior
    #[arg(long, default_value = "stored", value_name = "stored|ras", help_heading = "Image")]
    pub orient: Orientation,
}

/// How to tune.
#[derive(clap::Args)]
pub struct Tuning {
    /// What is trained
    ///
    /// decoder: the mask decoder, and slices are encoded once. adapters: the encoder's adapter experts, their gates and
    /// the embeddings of the task tree; all: both, as the published fine-tuning. These two run the encoder in every
    /// step, on the CPU, and take MedSegX alone.
    #[arg(long, default_value = "decoder", value_name = "decoder|adapters|all")]
    pub train: Train,
    /// Most memory of a step above the loaded model, as 800M or 2G, with --train adapters or all: blocks of the encoder
    /// that are not kept in it are computed anew, to the same bits. Default: half of what is free; see `plan --tune`
    #[arg(long, value_name = "SIZE", value_parser = step_memory)]
    pub memory: Option<usize>,
    /// Slices of each image: all that have the label, every:N of them, or a list as 12,20,28. Of a folder those of each
    /// patient, numbered as casenum_PATIENT_sliceid_N.npy says, or from 0 on where names do not
    #[arg(long, default_value = "all")]
    pub slices: Slices,
    /// Steps of the optimiser
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub steps: u32,
    /// Learning rate
    #[arg(long, default_value_t = 5e-5, value_parser = rate)]
    pub rate: f32,
    /// Slices of a step
    #[arg(long = "step-slices", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub step_slices: u16,
    /// Most pixels, of 256, that each side of a box goes outward at random
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub jitter: u32,
    /// Of the order of slices and the jitter
    #[arg(long, default_value_t = 2025)]
    pub seed: u64,
    /// What is held out to see whether it helps: auto (one slice in five, whole images where there are several; below
    /// five slices each of these in turn), none, or another share, however few they are
    #[arg(long, default_value = "auto", value_name = "auto|none|FRACTION", value_parser = validate)]
    pub validate: Validate,
}

/// A value in the labels, and what it is.
#[derive(Clone)]
pub struct Label {
    pub value: u16,
    pub task: Option<String>,
}

fn label(text: &str) -> Result<Label, String> {
    let (value, task) = text.split_once('=').map_or((text, None), |(value, task)| (value, Some(task.to_string())));
    let value = value.parse().ok().filter(|&value| value > 0).ok_or("needs a value from 1 to 65535, as 5=CT_Liver")?;
    Ok(Label { value, task })
}

fn rate(text: &str) -> Result<f32, String> {
    let rate = text.parse().ok().filter(|rate: &f32| *rate > 0.0 && *rate <= 1.0);
    rate.ok_or_else(|| "needs a number above 0 and at most 1".into())
}

fn validate(text: &str) -> Result<Validate, String> {
    match text {
        "auto" => Ok(Validate::Auto),
        "none" => Ok(Validate::Never),
        _ => {
            let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
            share.map(Validate::Share).ok_or_else(|| "needs auto, none, or a number between 0 and 1".into())
        }
    }
}

impl Args {
    /// Refuses an output that cannot be written or is an input, and images without labels.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.layout.is_some() && self.images.len() != 1 {
            let (expected, found) = ("one folder, with --layout".into(), self.images.len().to_string());
            return Err(medsegx::Error::Argument { name: "IMAGE", expected, found }.into());
        }
        if self.layout.is_none() && self.images.len() != self.labels.len() {
            let (expected, found) =
                (format!("{} files, one an image", self.images.len()), self.labels.len().to_string());
            return Err(medsegx::Error::Argument { name: "--labels", expected, found }.into());
        }
        if self.tuning.train != Train::Decoder && self.embeddings.is_some() {
            return Err(embeddings_change());
        }
        let images = self.images.iter().map(|path| ("IMAGE", path.as_path()));
        let labels = self.labels.iter().map(|path| ("--labels", path.as_path()));
        let model = [("--weights", &self.model.weights), ("--tuned", &self.model.tuned)];
        let model = model.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?)));
        let reads: Vec<Named<'_>> = images.chain(labels).chain(model).collect();
        files::check_outputs(&reads, &[("--output", &self.output)], self.force)
    }
}
