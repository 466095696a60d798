//! What is tuned on: images with labels, or the slices of a MedSegDB folder.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use medsegx::codes::{Code, Warning};
use medsegx::medsegdb::Part;
use medsegx::segment::{Segmenter, Setting};
use medsegx::taxonomy::Context;
use medsegx::tune::{Example, Folder, Labelled, Trainer};
use medsegx::volume::{Intensity, OpenOptions, Opening, SeriesChoice, Volume};
use medsegx::weights::sha256_of;

use super::args::Args;
use crate::cli::console::{self, plural};
use crate::cli::segment::context_of;

/// What is tuned on.
pub struct Given {
    /// What is tuned for, as a user calls it.
    pub name: String,
    /// Its value in the labels; of a folder, whose foreground is everything above 0, that is 1.
    pub label: u16,
    folder: Option<Folder>,
    images: usize,
}

/// SHA-256 of the files that were tuned on, and how they were shown to the model. Of a folder that is not known: its
/// pictures were windowed and turned before.
#[derive(Default)]
pub struct Seen {
    pub images: Vec<String>,
    pub labels: Vec<String>,
    pub setting: Setting,
}

impl Seen {
    fn add(&mut self, image: &Path, labels: &Path) -> medsegx::Result<()> {
        self.images.push(sha256_of(image)?);
        self.labels.push(sha256_of(labels)?);
        Ok(())
    }
}

impl Given {
    /// Looks through the folder, if that is what `args` name.
    pub fn open(args: &Args) -> anyhow::Result<Given> {
        let images = args.images.len();
        if let (Some(layout), Some(root)) = (args.layout, args.images.first()) {
            let folder = Folder::open(root, layout.into(), args.context.task.as_deref())?;
            return Ok(Given { name: folder.task().into(), label: 1, folder: Some(folder), images });
        }
        let task = args.label.as_ref().and_then(|label| label.task.clone());
        let label = args.label.as_ref().map_or(1, |label| label.value);
        Ok(Given { name: task.unwrap_or_else(|| args.context.name()), label, folder: None, images })
    }

    /// Where it stands in MedSegDB's tree, for a model that is steered by it.
    pub fn context(&self, args: &Args, steered: bool) -> anyhow::Result<Option<Context>> {
        if let Some(folder) = &self.folder {
            return Ok(if steered { folder.context()? } else { None });
        }
        let mut query = args.context.query();
        if let Some(task) = args.label.as_ref().and_then(|label| label.task.as_ref()) {
            query.task = Some(task.clone());
        }
        context_of(&self.name, &query, steered)
    }

    /// How many volumes `examples` are of, and what they are.
    pub fn volumes(&self, examples: &[Example]) -> (usize, &'static str) {
        let count = || examples.iter().map(|example| example.volume).collect::<BTreeSet<_>>().len();
        match self.folder.as_ref().map(Folder::patients) {
            None => (self.images, "image"),
            Some(None) => (1, "folder"),
            Some(Some(_)) => (count(), "patient"),
        }
    }

    /// What of a folder is not as one may think.
    pub fn remark(&self, text: &mut String) -> std::fmt::Result {
        let Some(folder) = &self.folder else { return Ok(()) };
        if folder.part() == Some(Part::Inference) {
            writeln!(text, "  of inference/, which `medsegx eval` scores: there is no finetune/")?;
        }
        if let Some(first) = folder.unlabelled().first() {
            let pictures = plural(folder.unlabelled().len(), "picture");
            writeln!(text, "  {pictures} without a label left out: {}, ...", first.display())?;
        }
        Ok(())
    }

    /// Examples of all slices, and what was seen of images and labels.
    pub fn examples(
        &self,
        args: &Args,
        segmenter: &mut Segmenter,
        trainer: &Trainer,
        context: Option<&Context>,
    ) -> anyhow::Result<(Vec<Example>, Seen)> {
        match &self.folder {
            Some(folder) => of_folder(args, folder, segmenter, trainer, context),
            None => self.of_images(args, segmenter, trainer, context),
        }
    }

    fn of_images(
        &self,
        args: &Args,
        segmenter: &mut Segmenter,
        trainer: &Trainer,
        context: Option<&Context>,
    ) -> anyhow::Result<(Vec<Example>, Seen)> {
        let (mut all, mut seen) = (Vec::new(), Seen::default());
        for (number, (image_path, labels_path)) in args.images.iter().zip(&args.labels).enumerate() {
            let choice = SeriesChoice {
                volume: args.volume.clone(),
                real_world: args.values.real_world.clone(),
                ..SeriesChoice::default()
            };
            let options = OpenOptions { nan: args.nan, ..OpenOptions::default() };
            let mut image = Opening::open_chosen(image_path, &options, &choice)?.finish()?;
            let labels = Volume::open_labels(labels_path, &OpenOptions::LABELS, Some(&image), &[self.label.into()])?;
            seen.add(image_path, labels_path)?;
            let frame = image.frame(args.axis.index(), args.orient)?;
            let map = args.intensity.unwrap_or_else(|| Intensity::default_for(&image)).resolve(&image)?;
            image.check_levels(&map);
            if !args.quiet {
                remarks(&image, &labels);
            }
            seen.setting.add(&image, &frame, map.rule);
            let labelled = Labelled {
                image: &image,
                labels: &labels,
                frame: &frame,
                map: &map,
                label: self.label,
                context,
                volume: number,
            };
            let mut skipped = Vec::new();
            all.extend(labelled.examples(segmenter, trainer, &args.tuning.slices, &mut skipped)?);
            if !skipped.is_empty() && !args.quiet {
                let (path, label) = (labels_path.display(), self.label);
                warn(format!("{path}: label {label} is lost at the model's size on slices {skipped:?}: left out"));
            }
        }
        Ok((all, seen))
    }
}

fn of_folder(
    args: &Args,
    folder: &Folder,
    segmenter: &mut Segmenter,
    trainer: &Trainer,
    context: Option<&Context>,
) -> anyhow::Result<(Vec<Example>, Seen)> {
    let slices = &args.tuning.slices;
    let chosen = folder.choose(slices)?;
    let (mut seen, mut skipped) = (Seen::default(), Vec::<PathBuf>::new());
    chosen.iter().try_for_each(|slice| seen.add(slice.image(), slice.label()))?;
    let examples = folder.examples(&chosen, segmenter, trainer, context, slices, &mut skipped)?;
    if let (Some(first), false) = (skipped.first(), args.quiet) {
        let (first, count) = (first.display(), skipped.len());
        warn(format!("{first}: the label is lost at the model's size here, and on {count} slices in all: left out"));
    }
    Ok((examples, seen))
}

/// Says what looks wrong with an image and its labels.
fn remarks(image: &Volume, labels: &Volume) {
    image.warnings().iter().for_each(console::warn);
    let odd = labels.between_whole_numbers();
    if odd > 0 {
        let (path, odd) = (labels.path().display(), plural(odd as usize, "voxel"));
        console::say(&format!("{path}: {odd} between whole numbers: the nearest one counts"));
    }
}

fn warn(message: String) {
    console::warn(&Warning::new(Code::LabelsLost, message));
}
