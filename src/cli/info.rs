//! `medsegx info`: what an image or weights file is.

use std::path::{Path, PathBuf};

use medsegx::volume::{self, OpenOptions, Segment, SeriesChoice, ValueScale};
use medsegx::weights::tuned::Tuned;
use medsegx::weights::{self, Access, Weights};

use super::console::shown;
use super::real_world::RealWorld;

/// What an image or weights file is: sizes, type, orientation, spacing, range, and anything suspicious about it.
#[derive(clap::Args)]
pub struct Args {
    /// NIfTI, NRRD, MetaImage, NumPy, PNG or DICOM image, a DICOM SEG or RTSTRUCT, a folder or zip archive of DICOM
    /// files, or weights.
    #[arg(value_name = "FILE|FOLDER")]
    file: PathBuf,
    /// Time point of a 4-D file, from 0; volume of a DICOM series, by its key or its number from 1.
    #[arg(long, value_name = "N|KEY")]
    volume: Option<String>,
    /// DICOM series.
    #[arg(long, value_name = "UID")]
    series: Option<String>,
    #[command(flatten)]
    values: RealWorld,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the description.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::console::print(&if weights::is_weights(&args.file) {
        weights(&args.file, args.json)?
    } else {
        image(&args)?
    })
}

fn table(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

fn image(args: &Args) -> anyhow::Result<String> {
    let choice = SeriesChoice {
        series: args.series.clone(),
        volume: args.volume.clone(),
        real_world: args.values.real_world.clone(),
        threads: None,
    };
    #[cfg(feature = "dicom")]
    if super::dicom::is_listed(&args.file, &choice) {
        return super::dicom::listing(&args.file, args.json);
    }
    #[cfg(feature = "dicom")]
    if let Some(masks) = medsegx::dicom::list_masks(&args.file)? {
        return if args.json { super::console::json(&masks) } else { Ok(super::dicom::masks(&masks)?) };
    }
    let image = volume::describe_chosen(&args.file, &OpenOptions::default(), &choice)?;
    if args.json { super::console::json(&image) } else { Ok(image_text(&image)) }
}

fn weights(path: &Path, as_json: bool) -> anyhow::Result<String> {
    if let Ok(tuned) = Tuned::open(path) {
        let sha256 = weights::sha256_of(path)?;
        if !as_json {
            return Ok(tuned_text(&tuned, sha256));
        }
        let mut described = tuned.metadata().clone();
        described.insert("sha256".into(), sha256);
        return super::console::json(&described);
    }
    let weights = weights::describe(&Weights::open(path, Access::Read)?)?;
    if as_json { super::console::json(&weights) } else { Ok(weights_text(&weights)) }
}

fn tuned_text(tuned: &Tuned, sha256: String) -> String {
    let (mut count, mut numbers) = (0, 0);
    for (_, shape) in tuned.tensors() {
        count += 1;
        numbers += shape.iter().product::<usize>();
    }
    let mut lines = vec![
        ("format", "safetensors, F32: tuned tensors that go on top of other weights (--tuned)".to_string()),
        ("parameters", format!("{numbers} in {count} tensors")),
        ("SHA-256", sha256),
    ];
    let says = |(key, value): (&String, &String)| ("says", format!("{} = {}", shown(key), shown(value)));
    lines.extend(tuned.metadata().iter().map(says));
    table(&lines)
}

fn weights_text(weights: &weights::Description) -> String {
    let megabytes = weights.bytes as f64 * 1e-6;
    let mut lines = vec![
        ("format", format!("safetensors, {}, {megabytes:.1} MB", weights.dtype)),
        ("kind", format!("{}, {} px", weights.kind, weights.image_size)),
        ("size", weights.size.unwrap_or("none with a name").to_string()),
        ("parameters", format!("{} in {} tensors", weights.parameters, weights.tensors)),
        ("encoder", format!("{} blocks, width {}", weights.blocks, weights.width)),
        (
            "attention",
            format!("{} heads of {}, global in {:?}", weights.heads, weights.head_dim, weights.global_blocks),
        ),
        ("windows", format!("{0} x {0} tokens", weights.window)),
        ("prompt", format!("width {}, logits {1} x {1}", weights.prompt_width, weights.logits_size)),
    ];
    for [width, blocks, heads, window] in weights.stages.iter().flatten() {
        let attention = match heads {
            0 => "inverted bottlenecks".to_string(),
            _ => format!("{heads} heads in windows of {window} x {window}"),
        };
        lines.push(("stage", format!("{blocks} blocks of width {width}, {attention}")));
    }
    if let Some(adapters) = &weights.adapters {
        let sizes = format!("bottleneck {}, embedding {}", adapters.bottleneck, adapters.embedding);
        lines.push(("adapters", format!("{} experts, {sizes}, in {:?}", adapters.experts, adapters.blocks)));
    }
    lines.extend(weights.sha256.iter().map(|sha256| ("SHA-256", sha256.clone())));
    let metadata = weights.metadata.iter().filter(|(key, _)| *key != "kind");
    lines.extend(metadata.map(|(key, value)| ("says", format!("{} = {}", shown(key), shown(value)))));
    let refused = |name: &String| ("warning", format!("{name} has NaN or infinity: the file will be refused"));
    lines.extend(weights.not_finite.iter().map(refused));
    table(&lines)
}

/// What made the values of a DICOM image.
fn scale_text(scale: &ValueScale) -> String {
    let ValueScale { scale, label, unit } = scale;
    let label = label.as_ref().map_or(String::new(), |label| format!(" {}", shown(label)));
    let unit = unit.as_ref().map_or("unit not said".into(), |unit| format!("unit {}", shown(unit)));
    format!("{scale}{label}, {unit}")
}

fn image_text(image: &volume::Description) -> String {
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
    lines.extend(image.scale.iter().map(|scale| ("scale", scale_text(scale))));
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
    let name = |segment: &Segment| ("label", format!("{} {}", segment.label, shown(&segment.name)));
    lines.extend(image.label_names.iter().map(name));
    lines.extend(image.warnings.iter().map(|w| ("warning", w.to_string())));
    table(&lines)
}
