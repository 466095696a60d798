//! `--stats FILE`: what the masks measure, as JSON or as a table for spreadsheets.

use std::fmt::Write as _;
use std::path::Path;

use medsegx::atomic::write_atomically;
use medsegx::stats::{LabelStats, PERCENTILE_DEFINITION, SD_DEFINITION, SURFACE_DEFINITION, label_stats};
use medsegx::volume::{LabelVolume, Volume};
use serde_json::{Value, json};

use super::args::Args;
use super::targets::JobTarget;

/// Whether the name says how to write it.
///
/// # Errors
/// A name that ends in neither .json nor .csv.
pub fn check(path: &Path) -> medsegx::Result<()> {
    match ending(path).as_str() {
        "json" | "csv" => Ok(()),
        _ => {
            let (expected, found) = ("a name ending in .json or .csv".into(), path.display().to_string());
            Err(medsegx::Error::Argument { name: "--stats", expected, found })
        }
    }
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Measures the labels of `targets` and writes the file.
pub fn write(
    path: &Path,
    args: &Args,
    targets: &[JobTarget],
    image: &Volume,
    labels: &LabelVolume,
) -> anyhow::Result<()> {
    let mut wanted: Vec<u16> = targets.iter().map(|target| target.label).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let stats = label_stats(image, labels, &wanted)?;
    let names = |label: u16| targets.iter().filter(|target| target.label == label).map(|t| t.name.as_str()).collect();
    let named: Vec<(Vec<&str>, &LabelStats)> = stats.iter().map(|stats| (names(stats.label), stats)).collect();
    let text = match ending(path).as_str() {
        "csv" => table(&named)?,
        _ => {
            let labels: anyhow::Result<Vec<Value>> = named.iter().map(|(names, stats)| entry(names, stats)).collect();
            let report = json!({
                "medsegx": medsegx::VERSION,
                "notice": "research software, not a medical device",
                "input": args.input.display().to_string(),
                "mask": args.output.display().to_string(),
                "definitions": {
                    "mm": "the image's affine: x to the right, y anterior, z superior of the patient",
                    "box": "voxels: first and last inside; mm: around the voxels' bodies",
                    "parts": "voxels that touch at a face, an edge or a corner are in one part",
                    "surface": SURFACE_DEFINITION,
                    "sd": SD_DEFINITION,
                    "percentiles": PERCENTILE_DEFINITION,
                },
                "labels": labels?,
            });
            serde_json::to_string_pretty(&report)? + "\n"
        }
    };
    Ok(write_atomically(path, args.force, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

fn entry(names: &[&str], stats: &LabelStats) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(stats)?;
    value["names"] = json!(names);
    Ok(value)
}

/// One row a label, lists as numbered columns; a cell is empty where the last column says why.
fn table(named: &[(Vec<&str>, &LabelStats)]) -> anyhow::Result<String> {
    let mut text =
        String::from("label,names,voxels,parts,largest_part_voxels,volume_mm3,volume_ml,surface_mm2,contour_mm");
    text += ",touches_border";
    for (field, axes) in [("box_voxels", "ijk"), ("box_mm", "xyz")] {
        for end in ["low", "high"] {
            axes.chars().try_for_each(|axis| write!(text, ",{field}_{end}_{axis}"))?;
        }
    }
    for (field, axes) in [("centroid_voxels", "ijk"), ("centroid_mm", "xyz")] {
        axes.chars().try_for_each(|axis| write!(text, ",{field}_{axis}"))?;
    }
    let intensity = ["values", "left_out", "mean", "sd", "min", "p5", "p25", "p50", "p75", "p95", "max"];
    intensity.iter().try_for_each(|field| write!(text, ",intensity_{field}"))?;
    text += ",missing\n";
    for (names, stats) in named {
        let value = entry(names, stats)?;
        let cell = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        let mut cells = vec![cell(&value["label"]), quoted(&names.join("; "))];
        let single = ["voxels", "parts", "largest_part_voxels", "volume_mm3", "volume_ml", "surface_mm2", "contour_mm"];
        cells.extend(single.iter().chain(&["touches_border"]).map(|&field| cell(&value[field])));
        for field in ["box_voxels", "box_mm"] {
            cells.extend((0..6).map(|i| cell(&value[field][i / 3][i % 3])));
        }
        for field in ["centroid_voxels", "centroid_mm"] {
            cells.extend((0..3).map(|axis| cell(&value[field][axis])));
        }
        cells.extend(intensity.iter().map(|&field| cell(&value["intensity"][field])));
        let missing: Vec<String> = stats.missing.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        cells.push(quoted(&missing.join("; ")));
        writeln!(text, "{}", cells.join(","))?;
    }
    Ok(text)
}

/// A cell of text (RFC 4180).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
