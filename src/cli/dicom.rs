//! What `medsegx info` says of a folder or archive of DICOM files.

use std::fmt::Write as _;
use std::path::Path;

use medsegx::dicom::{self, ListedVolume, Listing};
use medsegx::volume::SeriesChoice;

/// Whether an input is listed instead of described: a folder or archive of which nothing is chosen.
pub fn is_listed(path: &Path, choice: &SeriesChoice) -> bool {
    let chosen = choice.series.is_some() || choice.volume.is_some() || choice.real_world.is_some();
    !chosen && dicom::is_collection(path)
}

/// All series and volumes at `path`.
pub fn listing(path: &Path, json: bool) -> anyhow::Result<String> {
    let listing = dicom::list(path, None)?;
    if json { super::console::json(&listing) } else { Ok(text(&listing)?) }
}

fn text(listing: &Listing) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for series in &listing.series {
        writeln!(out, "series {}", series.uid.escape_debug())?;
        writeln!(
            out,
            "  {}, {} file(s), {} volume(s)",
            series.modality.escape_debug(),
            series.files,
            series.volumes.len()
        )?;
        for (at, volume) in series.volumes.iter().enumerate() {
            describe(&mut out, at + 1, volume)?;
        }
    }
    for reason in &listing.unreadable {
        writeln!(out, "unreadable {reason}")?;
    }
    if listing.other_files > 0 {
        writeln!(out, "{} other file(s)", listing.other_files)?;
    }
    Ok(out)
}

fn describe(out: &mut String, number: usize, volume: &ListedVolume) -> std::fmt::Result {
    let [columns, rows, slices] = volume.dims;
    let spacing = volume.spacing.map_or("spacing unknown".into(), |[x, y, z]| format!("{x:.4} x {y:.4} x {z:.4} mm"));
    let plane = volume.plane.unwrap_or("no plane");
    let key = &volume.key;
    writeln!(
        out,
        "  volume {number}, key {key}: {columns} x {rows} x {slices}, {} bits, {spacing}, {plane}",
        volume.bits
    )?;
    if !volume.real_world.is_empty() {
        writeln!(out, "    real world values: {}", volume.real_world.join("; "))?;
    }
    if let Some(problem) = &volume.problem {
        writeln!(out, "    refused [{}] {}", problem.code.name(), problem.text)?;
    }
    for oddity in &volume.oddities {
        writeln!(out, "    [{}] {}", oddity.code.name(), oddity.text)?;
    }
    Ok(())
}
