//! `medsegx info`: what an image file is.

use std::io::Write;
use std::path::PathBuf;

use medsegx::volume::{Description, OpenOptions, describe};

/// What an image is: size, type, orientation, spacing, range, and anything suspicious about it.
#[derive(clap::Args)]
pub struct Args {
    /// NIfTI, NumPy or PNG image.
    file: PathBuf,
    /// Time point of a 4-D file, from 0.
    #[arg(long, value_name = "N")]
    volume: Option<usize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = OpenOptions { time_point: args.volume, ..OpenOptions::default() };
    let image = describe(&args.file, &options)?;
    let text = if args.json { serde_json::to_string_pretty(&image)? + "\n" } else { text(&image) };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

fn text(image: &Description) -> String {
    let [x, y, z] = image.dims;
    let mut lines = vec![
        ("format", image.format.clone()),
        ("size", format!("{x} x {y} x {z} (i, j, k)")),
        ("channels", image.channels.to_string()),
        ("time points", image.time_points.to_string()),
        ("stored as", format!("{:?}, slope {}, intercept {}", image.data_type, image.slope, image.intercept)),
        ("values", format!("{} to {}", image.values.minimum, image.values.maximum)),
        ("not finite", image.values.not_finite.to_string()),
        ("intensity", format!("{} unless another is asked for", image.default_intensity)),
    ];
    match &image.geometry {
        Some(geometry) => {
            let [i, j, k] = geometry.spacing;
            lines.push(("orientation", geometry.orientation.clone()));
            lines.push(("spacing", format!("{i} x {j} x {k} mm")));
            lines.push(("tilt", format!("{:.4} degrees", geometry.tilt)));
            let (q, s) = (geometry.qform_code, geometry.sform_code);
            lines.push(("forms", format!("qform {q}, sform {s}; affine from {:?}", geometry.source)));
            lines.extend(geometry.affine[..3].iter().map(|row| ("affine", format!("{row:?}"))));
        }
        None => lines.push(("orientation", "not in the file".into())),
    }
    if image.extension_bytes > 0 {
        lines.push(("extensions", format!("{} bytes, which masks do not keep", image.extension_bytes)));
    }
    lines.extend(image.warnings.iter().map(|w| ("warning", w.clone())));
    lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}
