//! `medsegx score`: a mask against a reference mask.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use medsegx::codes::Code;
use medsegx::score::{Definition, LabelScore, Summary, Unscored, score_labels_watched, summary};
use medsegx::volume::{Geometry, LabelVolume, OpenOptions, Volume, check_grid, other_grid};
use serde_json::{Value, json};

use super::console::{plural, shown, usage};
use super::progress::Progress;

/// Score a mask against a reference mask, label by label, in three dimensions and millimetres
#[derive(clap::Args)]
pub struct Args {
    /// Mask: any file of labels that segment reads
    mask: PathBuf,
    /// Reference mask on the same grid
    reference: PathBuf,
    /// Labels to score; 1=52 scores the mask's label 1 against the reference's 52 [default: all of either mask]
    #[arg(long, value_name = "N|N=N", value_delimiter = ',')]
    label: Vec<Pair>,
    /// Take everything that is not 0 for one label, 1
    #[arg(long, conflicts_with = "label")]
    binary: bool,
    /// Whose HD95 and NSD: medpy, monai, metrics-reloaded or surface-distance
    #[arg(long, default_value = "monai", value_name = "NAME")]
    definition: Definition,
    /// Tolerance of NSD in millimetres
    #[arg(long, default_value_t = 2.0, value_name = "MM")]
    tolerance: f64,
    /// Millimetres between voxels, for files that do not say
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',', num_args = 1)]
    spacing: Vec<f64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A label of the mask and the one of the reference that it is scored against.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    mask: u16,
    reference: u16,
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.mask, self.reference)
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mask, reference) = text.split_once('=').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse().ok().filter(|&label| label > 0);
        let (mask, reference) =
            number(mask).zip(number(reference)).ok_or("needs a label from 1 to 65535, or two: 1=52")?;
        Ok(Pair { mask, reference })
    }
}

/// Prints the scores.
pub fn run(args: Args) -> anyhow::Result<()> {
    check_pairs(&args.label)?;
    let (own, volume) = volumes(&args)?;
    let (mut mask, reference) = (labels(&args, &own)?, labels(&args, &volume)?);
    if !args.label.is_empty() {
        mask = mask.renamed(&args.label.iter().map(|pair| (pair.mask, pair.reference)).collect::<Vec<_>>())?;
    }
    check_grid(&volume, &own, "the reference")?;
    say_where_apart(&volume, &own);
    let (spacing, unit) = spacing(&args, &volume, &own)?;
    let chosen: Vec<u16> = args.label.iter().map(|pair| pair.reference).collect();
    let chosen = (!chosen.is_empty()).then_some(chosen.as_slice());
    let progress = Progress::new(0, "labels", false);
    let mut watch = |done, total| {
        progress.set_of(done, total, "");
        Ok(())
    };
    let asked = (spacing, args.definition, args.tolerance);
    let scores = score_labels_watched(&mask, &reference, asked, chosen, &mut watch)?;
    progress.finish();
    let side = |axis: usize| (reference.dims()[axis] as f64 * spacing[axis]).powi(2);
    let diagonal = (side(0) + side(1) + side(2)).sqrt();
    let total = summary(&scores, args.definition, diagonal);
    let all = Report { args: &args, spacing, unit, diagonal, scores: &scores, total, volume: &volume, own: &own };
    super::console::print(&if args.json { all.json()? } else { all.text() })
}

/// Grids less than half a voxel apart count as one; more than the rounding of a header is said.
fn say_where_apart(reference: &Volume, mask: &Volume) {
    const ROUNDED: f64 = 0.01; // mm
    let (Some(place), Some(there)) = (reference.geometry(), mask.geometry()) else { return };
    let apart = there.distance(place, reference.dims());
    if apart > ROUNDED {
        let path = mask.path().display();
        say(&format!(
            "{path}: voxels lie up to {apart:.3} mm from the reference's: they are compared by their indices"
        ));
    }
}

/// Refuses a label that stands in two different pairs: a voxel has one label, and a row one pair.
fn check_pairs(pairs: &[Pair]) -> anyhow::Result<()> {
    let shares = |a: &Pair, b: &Pair| a != b && (a.mask == b.mask || a.reference == b.reference);
    let clash = pairs.iter().enumerate().find_map(|(at, a)| Some((a, pairs[..at].iter().find(|b| shares(a, b))?)));
    clash.map_or(Ok(()), |(a, b)| {
        Err(usage(&format!("--label: got {b} and {a}; needs each label of a mask in one pair: score them one by one")))
    })
}

/// Both masks: one that has a grid of its own first, on which the other may have to be brought.
fn volumes(args: &Args) -> anyhow::Result<(Volume, Volume)> {
    let open = |path: &Path, labels: Vec<u32>, on: Option<&Volume>| {
        Volume::open_labels(path, &OpenOptions::LABELS, on.map(|volume| &**volume), &labels)
    };
    let of_mask = args.label.iter().map(|pair| pair.mask.into()).collect();
    let of_reference = args.label.iter().map(|pair| pair.reference.into()).collect();
    let (mask, reference) = if is_object(&args.reference) && !is_object(&args.mask) {
        let mask = open(&args.mask, of_mask, None)?;
        let reference = open(&args.reference, of_reference, Some(&mask))?;
        (mask, reference)
    } else {
        let reference = open(&args.reference, of_reference, None)?;
        (open(&args.mask, of_mask, Some(&reference))?, reference)
    };
    for (volume, other) in [(&mask, &reference), (&reference, &mask)] {
        let outside = volume.warnings().iter().find(|w| matches!(w.code, Code::SegOutside | Code::RoughMoved));
        if let Some(outside) = outside {
            return Err(other_grid(volume.path(), "the other mask", other.dims(), &outside.message).into());
        }
    }
    Ok((mask, reference))
}

/// Whether a file is a DICOM object, whose grid ends where its segments do.
fn is_object(path: &Path) -> bool {
    #[cfg(feature = "dicom")]
    return path.is_file() && medsegx::dicom::is_input(path);
    #[cfg(not(feature = "dicom"))]
    return false;
}

fn labels(args: &Args, volume: &Volume) -> anyhow::Result<LabelVolume> {
    let path = volume.path();
    volume.warnings().iter().for_each(|warning| say(&format!("{}: {warning}", path.display())));
    let read = if args.binary { LabelVolume::binary_from_volume } else { LabelVolume::from_volume };
    let (labels, odd) = read(volume)?;
    if odd > 0 {
        let odd = plural(odd as usize, "voxel");
        say(&format!("{}: {odd} between whole numbers: the nearest one counts", path.display()));
    }
    Ok(labels)
}

/// Spacing and its unit.
fn spacing(args: &Args, reference: &Volume, mask: &Volume) -> anyhow::Result<([f64; 3], &'static str)> {
    if let Ok(given) = <[f64; 3]>::try_from(args.spacing.as_slice()) {
        return Ok((given, "mm"));
    }
    if !args.spacing.is_empty() {
        return Err(usage("--spacing: needs three numbers, X,Y,Z"));
    }
    let known = [reference, mask].into_iter().find_map(|volume| volume.geometry()).map(Geometry::spacing);
    if known.is_none() {
        say("the masks have no spacing: distances are in voxels (--spacing X,Y,Z says millimetres)");
    }
    Ok(known.map_or(([1.0; 3], "voxels"), |spacing| (spacing, "mm")))
}

struct Report<'a> {
    args: &'a Args,
    spacing: [f64; 3],
    unit: &'static str,
    diagonal: f64,
    scores: &'a [LabelScore],
    total: Summary,
    /// The reference, whose names of labels count first, and the mask.
    volume: &'a Volume,
    own: &'a Volume,
}

impl Report<'_> {
    fn json(&self) -> anyhow::Result<String> {
        let definition = self.args.definition;
        let report = json!({
            "mask": self.args.mask.display().to_string(),
            "reference": self.args.reference.display().to_string(),
            "definition": definition,
            "meaning": definition.meaning(),
            "border_of_the_image": "counts as surface where a mask touches it",
            "tolerance": self.args.tolerance,
            "unit": self.unit,
            "spacing": self.spacing,
            "labels": self.scores.iter().map(|score| label(score, self.name(score.label))).collect::<Vec<_>>(),
            "all": self.total,
            "diagonal": self.diagonal,
        });
        Ok(serde_json::to_string_pretty(&report)? + "\n")
    }

    /// What the files call a label of the reference; the mask knows it by the other number of its pair.
    fn name(&self, label: u16) -> Option<&str> {
        let pair = self.args.label.iter().find(|pair| pair.reference == label);
        let of_mask = pair.map_or(label, |pair| pair.mask);
        self.volume.label_name(label).or_else(|| self.own.label_name(of_mask))
    }

    fn text(&self) -> String {
        let Report { args, unit, total, .. } = self;
        let mut text = format!("{}: {}\n", args.definition.name(), args.definition.meaning());
        text += &format!("NSD within {} {unit}, HD95 in {unit}\n\n", args.tolerance);
        text += "label        Dice       HD95        NSD    voxels  reference\n";
        for LabelScore { label, counts, scores } in self.scores {
            let middle = match scores {
                Ok(found) => format!("{:10.6} {:10.4} {}", found.dice, found.hd95, number(found.nsd)),
                Err(why) => format!("{:>32}", word(*why)),
            };
            let name = self.name(*label).map_or(String::new(), |name| format!("  {}", shown(name)));
            text += &format!("{label:>5}  {middle} {:>9} {:>10}{name}\n", counts.mask, counts.reference);
        }
        let plural = if total.labels == 1 { "" } else { "s" };
        let Summary { labels, missed, spurious, .. } = total;
        text += &format!("\n{labels} label{plural}, {missed} missed, {spurious} spurious\n");
        text += &format!("mean Dice {}, NSD {}; missed and spurious count as 0\n", short(total.dice), short(total.nsd));
        text += &format!("mean HD95 of those found {}", short(total.hd95_of_found));
        text + &format!(", with {:.1} {unit} for the others {}\n", self.diagonal, short(total.hd95_with_diagonal))
    }
}

fn label(score: &LabelScore, name: Option<&str>) -> Value {
    let LabelScore { label, counts, scores } = score;
    let dice = match scores {
        Ok(found) => Some(found.dice),
        Err(Unscored::Absent) => None,
        Err(_) => Some(0.0),
    };
    json!({
        "label": label,
        "name": name,
        "voxels": counts,
        "dice": dice,
        "hd95": scores.ok().map(|found| found.hd95),
        "nsd": scores.ok().and_then(|found| found.nsd),
        "without_distances": scores.err().map(word),
    })
}

fn word(why: Unscored) -> &'static str {
    match why {
        Unscored::Missed => "missed",
        Unscored::Spurious => "spurious",
        Unscored::Absent => "in neither mask",
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(format!("{:>10}", "none"), |value| format!("{value:10.6}"))
}

fn short(value: Option<f64>) -> String {
    value.map_or("none".into(), |value| format!("{value:.4}"))
}

/// Says what looks wrong with a mask. There is no code for it: reports of runs never have it.
fn say(warning: &str) {
    super::console::say(&format!("medsegx: warning: {warning}"));
}
