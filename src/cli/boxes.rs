//! `medsegx boxes`: prompts from one form into another.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use medsegx::atomic::write_atomically;
use medsegx::prompt::{self, Grid, RoughOptions, Target, boxes_file, markups_file, rough_boxes};
use medsegx::taxonomy::Query;
use medsegx::volume::{
    Form, LabelVolume, Legend, OpenOptions, Opening, Orientation, Segment, SeriesChoice, Volume, VolumeInfo,
    check_grid, mask_writer,
};

use super::console::{plural, shown, usage};
use super::files;
use super::segment::Axis;

/// Turn boxes from one form into another: boxes files, markups of 3D Slicer, .npz files with boxes, and label maps
#[derive(clap::Args)]
pub struct Args {
    /// Boxes file (.json), markups (.mrk.json), .npz with boxes, or a label map: an image file, a DICOM SEG or RTSTRUCT
    input: PathBuf,
    /// Boxes file (.json), markups (.mrk.json), or a label map of rectangles (.nii, .nii.gz, .nrrd, .seg.nrrd, .mha,
    /// .npy, .png)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Image that the boxes belong to; of a label map the image whose voxels are to be named, where its own axes run
    /// another way
    #[arg(long, value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Axis of the stored array that slices lie across
    #[arg(long, default_value = "k", ignore_case = true)]
    axis: Axis,
    /// Which form of a NIfTI header says where voxels lie [default: sform where it is set]
    #[arg(long, value_name = "sform|qform")]
    form: Option<Form>,
    /// A box for each separate part of a label on a slice, not one around all of them
    #[arg(long)]
    parts: bool,
    /// Only the targets with this label; several times for several
    #[arg(long, value_name = "N")]
    label: Vec<u16>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// No summary
    #[arg(short, long)]
    quiet: bool,
}

/// Reads, turns and writes.
pub fn run(args: Args) -> anyhow::Result<()> {
    let reads = [("INPUT", Some(&args.input)), ("--image", args.image.as_ref())];
    let reads: Vec<_> = reads.iter().filter_map(|&(name, path)| Some((name, path?.as_path()))).collect();
    files::check_outputs(&reads, &[("--output", &args.output)], args.force)?;
    let (targets, info) = if is_prompt(&args.input)? {
        let image = args.image.as_ref().ok_or_else(|| usage("--image: needs the image that the boxes belong to"))?;
        let info = opening(&args, image)?.info().clone();
        let targets = prompt::read_boxes(&args.input, &Grid::of(&info, args.axis.index()))?;
        (targets, info)
    } else {
        let volume = label_map(&args)?;
        let targets = of_labels(&args, &volume)?;
        (targets, (*volume).clone())
    };
    let targets = chosen(&args, targets)?;
    let grid = Grid::of(&info, args.axis.index());
    let name = args.output.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.ends_with(".mrk.json") {
        text(&args, &markups_file(&targets, &grid)?)?;
    } else if name.ends_with(".json") {
        text(&args, &boxes_file(&targets)?)?;
    } else {
        paint(&args, &targets, &info)?;
    }
    if !args.quiet {
        targets.iter().flat_map(|target| &target.warnings).for_each(super::console::warn);
        let lines = targets.iter().map(|target| {
            let (boxes, points) = (target.boxes.len(), target.points.values().map(Vec::len).sum::<usize>());
            let points = if points > 0 { format!(", {}", plural(points, "point")) } else { String::new() };
            let boxes = if boxes == 1 { "1 box".into() } else { format!("{boxes} boxes") };
            format!("{}: label {}, {boxes}{points}\n", shown(&target.name), target.label)
        });
        super::console::print(&(lines.collect::<String>() + &format!("wrote {}\n", args.output.display())))?;
    }
    Ok(())
}

fn opening(args: &Args, path: &Path) -> medsegx::Result<Opening<std::io::BufReader<std::fs::File>>> {
    let options = OpenOptions { form: args.form, ..OpenOptions::default() };
    Opening::open_chosen(path, &options, &SeriesChoice::default())
}

/// The label map, on the grid of the image where one is given.
fn label_map(args: &Args) -> anyhow::Result<Volume> {
    let image = args.image.as_ref().map(|image| opening(args, image)).transpose()?;
    let options = OpenOptions { form: args.form, ..OpenOptions::LABELS };
    let volume = Volume::open_labels(&args.input, &options, image.as_ref().map(|image| image.info()), &[])?;
    if let Some(image) = &image {
        check_grid(image.info(), &volume, "the image")?;
    }
    if !args.quiet {
        volume.warnings().iter().for_each(super::console::warn);
    }
    Ok(volume)
}

/// The targets whose labels were asked for.
fn chosen(args: &Args, targets: Vec<Target>) -> anyhow::Result<Vec<Target>> {
    let known: BTreeSet<u16> = targets.iter().map(|target| target.label).collect();
    if let Some(missing) = args.label.iter().find(|label| !known.contains(label)) {
        let known: Vec<String> = known.iter().map(u16::to_string).collect();
        return Err(usage(&format!("--label: got {missing}; needs a label that is there: {}", known.join(", "))));
    }
    let wanted = |target: &Target| args.label.is_empty() || args.label.contains(&target.label);
    Ok(targets.into_iter().filter(wanted).collect())
}

/// Whether a file is text of boxes or an .npz, and no image.
fn is_prompt(path: &Path) -> anyhow::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let failed = |error| medsegx::Error::io(path, "read", error);
    let mut start = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(64).read_to_end(&mut start).map_err(failed)?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    Ok(text.trim_ascii_start().first() == Some(&b'{') || prompt::has_boxes(path)?)
}

/// A target for each label of a label map.
fn of_labels(args: &Args, volume: &Volume) -> anyhow::Result<Vec<Target>> {
    let grid = Grid::of(volume, args.axis.index());
    let (labels, odd) = LabelVolume::from_volume(volume)?;
    if odd > 0 {
        let found = format!("{odd} values that are none");
        return Err(medsegx::Error::file(&args.input, "label map", "whole numbers", found).into());
    }
    let options = RoughOptions { parts: args.parts, ..RoughOptions::default() };
    let count = grid.dims.iter().product::<usize>();
    let mut targets = Vec::new();
    let counts = labels.counts();
    for label in (1..counts.len()).filter(|&label| counts[label] > 0) {
        let label = label as u16;
        let inside: Vec<bool> = (0..count).map(|index| labels.get(index) == Some(label)).collect();
        let mut warnings = Vec::new();
        for boxes in rough_boxes(&inside, &options, &grid, &mut warnings)? {
            let (query, points) = (Query::default(), Default::default());
            let name = volume.label_name(label).map_or_else(|| format!("label {label}"), str::to_string);
            targets.push(Target { name, label, query, boxes, points, warnings: std::mem::take(&mut warnings) });
        }
    }
    match targets.is_empty() {
        true => Err(medsegx::Error::file(&args.input, "label map", "a label above 0", "none").into()),
        false => Ok(targets),
    }
}

fn text(args: &Args, text: &str) -> anyhow::Result<()> {
    Ok(write_atomically(&args.output, args.force, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

/// A label map of the rectangles; where they overlap, the later one wins.
fn paint(args: &Args, targets: &[Target], info: &VolumeInfo) -> anyhow::Result<()> {
    mask_writer::check(info, &args.output)?;
    let frame = info.frame(args.axis.index(), Orientation::Stored)?;
    let (height, width) = frame.shape();
    let mut labels = LabelVolume::new(info.dims(), targets.iter().map(|target| target.label).max().unwrap_or(0))?;
    for target in targets {
        for (&slice, region) in &target.boxes {
            let mut inside = vec![false; height * width];
            for row in region.y0..=region.y1 {
                let start = row as usize * width;
                inside[start + region.x0 as usize..=start + region.x1 as usize].fill(true);
            }
            labels.paint(&frame, slice, &inside, target.label)?;
        }
    }
    let segments = targets.iter().map(|target| Segment { label: target.label, name: target.name.clone() }).collect();
    let legend = Legend { segments, ..Legend::default() };
    Ok(mask_writer::write_named(info, &labels, &legend, &args.output, args.force)?)
}
