//! What `medsegx info` says of a folder or archive of DICOM files, and of DICOM masks.

use std::fmt::Write as _;
use std::path::Path;

use medsegx::dicom::{self, ListedVolume, Listing, MaskListing};
use medsegx::volume::SeriesChoice;

use super::console::shown;

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

/// What a segmentation or a structure set holds.
pub fn masks(masks: &MaskListing) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{:<12} DICOM {}", "format", masks.object)?;
    if let (Some([columns, rows]), Some(frames)) = (masks.size, masks.frames) {
        writeln!(out, "{:<12} {columns} x {rows}, {frames} frames", "size")?;
    }
    writeln!(out, "{:<12} {}", "series", shown(masks.series.as_deref().unwrap_or("not in the file")))?;
    let part = if masks.frames.is_some() { "frame(s)" } else { "contour(s)" };
    for target in &masks.targets {
        let parts = target.parts.map(|parts| format!(", {parts} {part}")).unwrap_or_default();
        writeln!(out, "{:<12} {} {}{parts}", "label", target.label, shown(&target.name))?;
    }
    Ok(out)
}

fn text(listing: &Listing) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for series in &listing.series {
        let or = |text: &str, none: &str| if text.is_empty() { none.into() } else { shown(text) };
        writeln!(out, "series {}", or(&series.uid, "without a UID"))?;
        writeln!(
            out,
            "  {}, {} file(s), {} volume(s)",
            or(&series.modality, "no modality"),
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
