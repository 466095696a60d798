//! What a batch is to do, as its user wrote it: a table with a case a line, or folders of images.

use std::path::Path;

use medsegx::{Error, Result};
use serde::Deserialize;

use super::folder;
use super::line::{Flags, Line};

/// Largest manifest that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// The columns of a CSV file, and the keys of a line of JSON.
const COLUMNS: [&str; 6] = ["image", "boxes", "rough", "task", "output", "flags"];

/// Reads a manifest, or lists the images of a folder.
///
/// # Errors
/// A file that cannot be read or has another shape, with the line; a folder without images.
pub fn read(path: &Path, pattern: Option<&str>) -> Result<Vec<Line>> {
    if path.is_dir() {
        return folder::list(path, pattern);
    }
    if pattern.is_some() {
        let found = format!("{}, a file", path.display());
        return Err(Error::Argument { name: "--pattern", expected: "a folder to look in".into(), found });
    }
    let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?.len();
    if bytes > LARGEST_FILE {
        return Err(Error::file(path, "manifest", format!("at most {LARGEST_FILE} bytes"), bytes));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let lines = match ending.as_str() {
        "csv" => from_csv(path, &base, bytes)?,
        "jsonl" | "ndjson" => from_json_lines(path, &base, bytes)?,
        _ => return Err(Error::file(path, "manifest", "a folder, or a file named .csv or .jsonl", ending)),
    };
    if lines.is_empty() {
        return Err(Error::file(path, "manifest", "at least one case", "none"));
    }
    Ok(lines)
}

fn place(path: &Path, line: u64) -> String {
    format!("{}, line {line}", path.display())
}

fn from_csv(path: &Path, base: &Path, bytes: &[u8]) -> Result<Vec<Line>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(bytes);
    let wrong = |error: csv::Error| Error::file(path, "manifest", "CSV, UTF-8, as many cells a line", error);
    let columns = reader.headers().map_err(wrong)?.clone();
    for (index, column) in columns.iter().enumerate() {
        if !COLUMNS.contains(&column) || columns.iter().take(index).any(|other| other == column) {
            let found = format!("'{}'", column.escape_debug());
            return Err(Error::file(path, "columns", format!("{}, each once", COLUMNS.join(", ")), found));
        }
    }
    let column = |name: &str| columns.iter().position(|column| column == name);
    let Some(image) = column("image") else {
        return Err(Error::file(path, "columns", "a column 'image'", "none"));
    };
    let [_, boxes, rough, task, output, flags] = COLUMNS.map(column);
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let place = place(path, record.position().map_or(0, csv::Position::line));
        let cell = |column: Option<usize>| {
            column.and_then(|column| record.get(column)).filter(|text| !text.is_empty()).map(String::from)
        };
        let image = cell(Some(image)).ok_or_else(|| Error::file(path, place.clone(), "an image", "an empty cell"))?;
        let (boxes, rough, task, output) = (cell(boxes), cell(rough), cell(task), cell(output));
        let flags = cell(flags).map_or_else(Flags::default, Flags::Text);
        lines.push(Line { place, base: base.into(), image, boxes, rough, task, output, flags });
    }
    Ok(lines)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    image: String,
    boxes: Option<String>,
    rough: Option<String>,
    task: Option<String>,
    output: Option<String>,
    flags: Option<Flags>,
}

fn from_json_lines(path: &Path, base: &Path, bytes: &[u8]) -> Result<Vec<Line>> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::file(path, "manifest", "UTF-8", e))?;
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let place = place(path, number);
        let expected = || format!("a JSON object with the keys {}", COLUMNS.join(", "));
        let object: Object = serde_json::from_str(text)
            .map_err(|error| Error::file(path, format!("line {number}"), expected(), error))?;
        let Object { image, boxes, rough, task, output, flags } = object;
        let flags = flags.unwrap_or_default();
        lines.push(Line { place, base: base.into(), image, boxes, rough, task, output, flags });
    }
    Ok(lines)
}
