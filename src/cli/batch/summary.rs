//! The table of a batch: a row a case, as CSV and as lines of JSON.

use std::io::Write as _;
use std::path::Path;

use medsegx::atomic::{Keep, write_atomically_and};
use medsegx::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Done,
    Failed,
    /// Not run yet, or not by this run.
    Pending,
}

/// One case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub case: String,
    pub status: Status,
    /// Why it failed, by one of a closed list of names; empty where it did not.
    pub code: String,
    /// The same in a line.
    pub message: String,
    pub image: String,
    pub output: String,
    pub targets: Vec<Target>,
    /// Slices with a prompt.
    pub slices: u64,
    /// Those of them whose mask or picture is doubtful.
    pub doubtful: u64,
    /// What is doubtful about which of them.
    #[serde(default)]
    pub doubts: Vec<Doubt>,
    /// Stable codes of what looks wrong, each once.
    pub warnings: Vec<String>,
    /// Reading, running and writing.
    pub seconds: Option<f64>,
    pub sha256: Hashes,
}

/// A doubtful slice of one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Doubt {
    /// Place of the target in the list.
    pub target: usize,
    pub slice: u64,
    /// Stable codes.
    pub codes: Vec<String>,
}

/// One target of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    pub label: u64,
    pub voxels: u64,
    pub volume_mm3: Option<f64>,
    /// Least agreement of the masks among each other over its slices, 0 to 1.
    pub least_agreement: Option<f64>,
}

/// SHA-256 in lower-case hexadecimal, empty where a file was not read or made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hashes {
    pub image: String,
    /// Boxes file or rough mask.
    pub prompts: String,
    pub weights: String,
    /// Not there where no file was tuned beforehand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tuned: String,
    pub output: String,
}

impl Row {
    /// A row of which nothing else is known.
    pub fn new(case: &super::case::Case, status: Status) -> Row {
        Row {
            case: case.name.clone(),
            status,
            code: String::new(),
            message: String::new(),
            image: super::case::text(&case.image),
            output: case.output.clone(),
            targets: Vec::new(),
            slices: 0,
            doubtful: 0,
            doubts: Vec::new(),
            warnings: Vec::new(),
            seconds: None,
            sha256: Hashes::default(),
        }
    }

    /// Takes the numbers of a report as `medsegx segment --report` has it.
    pub fn take(&mut self, report: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let names = |list: Vec<Value>| list.iter().filter_map(Value::as_str).map(String::from).collect::<Vec<_>>();
        for (number, target) in list(&report["targets"]).iter().enumerate() {
            let slices = list(&target["slices"]);
            let agreement = slices.iter().filter_map(|slice| slice["agreement"].as_f64());
            self.slices += slices.len() as u64;
            let before = self.doubts.len();
            let doubt = |slice: &Value| Doubt {
                target: number,
                slice: slice["slice"].as_u64().unwrap_or(0),
                codes: names(list(&slice["doubtful"])),
            };
            self.doubts.extend(slices.iter().map(doubt).filter(|doubt| !doubt.codes.is_empty()));
            self.doubtful += (self.doubts.len() - before) as u64;
            self.targets.push(Target {
                name: target["name"].as_str().unwrap_or_default().into(),
                label: target["label"].as_u64().unwrap_or(0),
                voxels: target["voxels"].as_u64().unwrap_or(0),
                volume_mm3: target["volume_mm3"].as_f64().map(|volume| rounded(volume, 1e3)),
                least_agreement: agreement.reduce(f64::min).map(|agreement| rounded(agreement, 1e6)),
            });
        }
        let codes = list(&report["warnings"]);
        let codes = codes.iter().filter_map(|warning| warning["code"].as_str());
        self.warnings = codes.map(String::from).collect();
        self.warnings.sort_unstable();
        self.warnings.dedup();
    }

    /// Voxels of all targets.
    pub fn voxels(&self) -> u64 {
        self.targets.iter().map(|target| target.voxels).sum()
    }

    /// Volume of all targets, where the image has a voxel size.
    pub fn volume(&self) -> Option<f64> {
        self.targets.iter().map(|target| target.volume_mm3).sum()
    }
}

const COLUMNS: [&str; 17] = [
    "case",
    "status",
    "code",
    "message",
    "image",
    "output",
    "slices",
    "doubtful_slices",
    "voxels",
    "volume_mm3",
    "targets",
    "warnings",
    "seconds",
    "image_sha256",
    "prompts_sha256",
    "weights_sha256",
    "output_sha256",
];
/// Behind the others, where a case has one.
const TUNED: &str = "tuned_sha256";

/// Writes `NAME.csv` and `NAME.jsonl` into the folder of the results.
///
/// # Errors
/// The disk is full or broken.
pub fn write(out: &Path, name: &str, rows: &[Row], keep: Keep) -> Result<()> {
    let (table, lines) = (out.join(format!("{name}.csv")), out.join(format!("{name}.jsonl")));
    let broken = |error: &dyn ToString| Error::internal("the summary", error.to_string());
    let csv = csv(rows).map_err(|error| broken(&error))?;
    let mut json = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut json, row).map_err(|error| broken(&error))?;
        json.push(b'\n');
    }
    write_atomically_and(keep, &table, true, |file| file.write_all(&csv))?;
    write_atomically_and(keep, &lines, true, |file| file.write_all(&json))
}

fn csv(rows: &[Row]) -> std::result::Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let has_tuned = rows.iter().any(|row| !row.sha256.tuned.is_empty());
    writer.write_record(COLUMNS.into_iter().chain(has_tuned.then_some(TUNED)))?;
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let status = match row.status {
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Pending => "pending",
        };
        let target = |target: &Target| match target.volume_mm3 {
            Some(volume) => format!("{}: {} voxels, {volume:.3} mm3", target.name, target.voxels),
            None => format!("{}: {} voxels", target.name, target.voxels),
        };
        let done = row.status == Status::Done;
        let count = |count: u64| if done { count.to_string() } else { String::new() };
        let cells = [
            plain(&row.case),
            status.into(),
            row.code.clone(),
            plain(&row.message),
            plain(&row.image),
            plain(&row.output),
            count(row.slices),
            count(row.doubtful),
            count(row.voxels()),
            number(row.volume().filter(|_| done)),
            plain(&row.targets.iter().map(target).collect::<Vec<_>>().join("; ")),
            row.warnings.join(" "),
            number(row.seconds),
            row.sha256.image.clone(),
            row.sha256.prompts.clone(),
            row.sha256.weights.clone(),
            row.sha256.output.clone(),
        ];
        writer.write_record(cells.into_iter().chain(has_tuned.then(|| row.sha256.tuned.clone())))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Few enough digits that a number comes back from JSON as it went in.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// A cell that no table program takes for a formula.
fn plain(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text.into() }
}
