//! `--qc`: one page with a row a case, to look through and to decide on each. It holds all that it shows, loads
//! nothing, and says nothing of a patient: neither headers nor paths, but the names that the manifest gives to cases
//! and targets.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use medsegx::atomic::write_atomically;
use medsegx::codes::Code;
use medsegx::preview;
use medsegx::weights::sha256;
use medsegx::{Error, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::case::Case;
use super::case::text;
use super::failure;
use super::state::{Picture, Store};
use super::summary::{Doubt, Row, Status};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// All that the page's script knows. Nothing that differs between two runs with the same masks.
#[derive(Serialize)]
struct Report<'a> {
    medsegx: &'static str,
    /// What the codes mean that occur.
    codes: BTreeMap<&'a str, &'static str>,
    cases: Vec<Entry<'a>>,
}

/// A row.
#[derive(Serialize)]
struct Entry<'a> {
    case: &'a str,
    status: Status,
    code: &'a str,
    message: String,
    slices: u64,
    doubtful: u64,
    doubts: &'a [Doubt],
    warnings: &'a [String],
    targets: Vec<Target<'a>>,
    /// SHA-256 of the mask.
    mask: &'a str,
    sheet: Option<Picture>,
}

#[derive(Serialize)]
struct Target<'a> {
    name: &'a str,
    /// Of its outlines, as CSS has it.
    colour: String,
    voxels: u64,
    mm3: Option<f64>,
    agreement: Option<f64>,
}

/// Writes the page `NAME.html` of the cases whose rows these are.
///
/// # Errors
/// The disk is full or broken.
pub fn write(store: &Store, name: &str, cases: &[(&Case, &Row)]) -> Result<()> {
    let entries: Vec<Entry> = cases.iter().map(|(case, row)| entry(store, case, row)).collect();
    let used = cases.iter().flat_map(|(_, row)| row.warnings.iter().map(String::as_str).chain([row.code.as_str()]));
    let doubts = cases.iter().flat_map(|(_, row)| row.doubts.iter().flat_map(|doubt| &doubt.codes));
    let meanings = used.chain(doubts.map(String::as_str)).filter_map(|code| Some((code, meaning(code)?)));
    let report = Report { medsegx: medsegx::VERSION, codes: meanings.collect(), cases: entries };
    let json = serde_json::to_string(&report).map_err(|e| Error::internal("the page of a batch", e.to_string()))?;
    // Nothing in it ends the element that holds it.
    let json = json.replace('<', "\\u003c");
    let hash = sha256(json.as_bytes());
    let path = store.out.join(format!("{name}.html"));
    write_atomically(&path, true, |out| {
        for (text, slot) in slots() {
            out.write_all(text.as_bytes())?;
            match slot {
                "hash" => out.write_all(hash.as_bytes())?,
                "policy" => out.write_all(policy().as_bytes())?,
                "style" => out.write_all(STYLE.as_bytes())?,
                "script" => out.write_all(SCRIPT.as_bytes())?,
                "report" => out.write_all(json.as_bytes())?,
                "sheets" => sheets(out, store, cases, &report.cases)?,
                _ => {}
            }
        }
        Ok(())
    })
}

/// Texts of the template, each with the name of what follows it.
fn slots() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut rest = HTML;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((text, after)) = rest.split_once("{{") else { return Some((std::mem::take(&mut rest), "")) };
        let (slot, after) = after.split_once("}}").unwrap_or((after, ""));
        rest = after;
        Some((text, slot))
    })
}

/// Content-Security-Policy: this script, this style and pictures within the page; nothing is loaded or sent.
fn policy() -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src data:; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn entry<'a>(store: &Store, case: &Case, row: &'a Row) -> Entry<'a> {
    let is_done = row.status == Status::Done;
    let mut labels: Vec<u64> = Vec::new();
    let targets = row.targets.iter().map(|target| {
        let place = labels.iter().position(|label| *label == target.label).unwrap_or_else(|| {
            labels.push(target.label);
            labels.len() - 1
        });
        let [red, green, blue] = preview::colour(place);
        Target {
            name: &target.name,
            colour: format!("#{red:02x}{green:02x}{blue:02x}"),
            voxels: target.voxels,
            mm3: target.volume_mm3,
            agreement: target.least_agreement,
        }
    });
    let sheet = store.read(case).filter(|record| is_done && record.row.sha256.output == row.sha256.output);
    Entry {
        case: &row.case,
        status: row.status,
        code: &row.code,
        message: without_paths(&row.message, case, &store.out),
        slices: row.slices,
        doubtful: row.doubtful,
        doubts: &row.doubts,
        warnings: &row.warnings,
        targets: targets.collect(),
        mask: &row.sha256.output,
        sheet: sheet.and_then(|record| record.sheet).filter(|sheet| sheet.is_at(&store.sheet_file(case))),
    }
}

/// A message without the places of files, which often hold names.
fn without_paths(message: &str, case: &Case, out: &Path) -> String {
    let reads = case.reads.iter().map(|(_, path)| (path.as_path(), "the prompt's file"));
    let mut names: Vec<(String, &str)> = std::iter::once((case.image.as_path(), "the image"))
        .chain(reads)
        .flat_map(|(path, name)| [(text(path), name), (path.parent().map(text).unwrap_or_default(), "its folder")])
        .chain([(text(out), "the results")])
        .filter(|(path, _)| path.len() > 1)
        .collect();
    names.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    names.iter().fold(message.to_string(), |message, (path, name)| replace_path(&message, path, name))
}

/// `message` with `name` where `path` stands; a word that holds the path's letters is left as it is.
fn replace_path(message: &str, path: &str, name: &str) -> String {
    let belongs = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let (mut said, mut rest) = (String::new(), message);
    while let Some((before, after)) = rest.split_once(path) {
        let starts = !before.ends_with(|c| c != '/' && belongs(c));
        let ends = after.starts_with('/') || !after.starts_with(|c| c != '.' && belongs(c));
        said += before;
        said += if starts && ends { name } else { path };
        rest = after;
    }
    said + rest
}

/// The pictures, which the script shows when they come into view.
fn sheets(out: &mut impl Write, store: &Store, cases: &[(&Case, &Row)], entries: &[Entry]) -> io::Result<()> {
    for (index, ((case, _), entry)) in cases.iter().zip(entries).enumerate() {
        let Some(sheet) = &entry.sheet else { continue };
        let png = std::fs::read(store.sheet_file(case))?;
        if sha256(&png) != sheet.sha256 {
            return Err(io::Error::other("a picture changed while the page was written"));
        }
        writeln!(out, "<script type=\"text/plain\" data-sheet=\"{index}\">{}</script>", BASE64.encode(png))?;
    }
    Ok(())
}

fn meaning(code: &str) -> Option<&'static str> {
    let warning = Code::ALL.iter().find(|own| own.name() == code).map(|own| own.meaning());
    warning.or_else(|| failure::meaning(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_each_slot_once() {
        let mut found: Vec<&str> = slots().map(|(_, slot)| slot).filter(|slot| !slot.is_empty()).collect();
        found.sort_unstable();
        // The hash is also the page's name for its decisions, in one place alone.
        assert_eq!(found, ["hash", "policy", "report", "script", "sheets", "style"]);
        assert_eq!(slots().map(|(text, _)| text.len()).sum::<usize>() + 6 * 4 + found.concat().len(), HTML.len());
    }

    #[test]
    fn nothing_in_the_page_names_another_place() {
        for text in [HTML, STYLE, SCRIPT] {
            let outside =
                ["http:", "https:", "//cdn", "@import", "url(", "fetch(", "XMLHttpRequest", "src=\"", "<link"];
            assert!(outside.iter().all(|mark| !text.contains(mark)));
        }
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }

    #[test]
    fn messages_lose_their_paths() {
        use super::super::case::cases;
        use super::super::line::{Flags, Line};
        let line = Line {
            image: "DOE^JANE/ct.nii".into(),
            output: Some("a.nii".into()),
            boxes: Some("DOE/boxes.json".into()),
            base: "/data".into(),
            flags: Flags::Words(vec![]),
            ..Line::default()
        };
        let case = &cases(vec![line], &[]).unwrap()[0];
        let said = without_paths(
            "/data/DOE^JANE/ct.nii: cut short; /data/DOE/boxes.json, /data/DOE^JANE/x",
            case,
            Path::new("/out"),
        );
        assert_eq!(said, "the image: cut short; the prompt's file, its folder/x");
        let said = without_paths("res/a.nii: the nearest is in results of res.", case, Path::new("res"));
        assert_eq!(said, "the results/a.nii: the nearest is in results of the results.");
    }
}
