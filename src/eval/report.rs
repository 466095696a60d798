//! The published report format: a CSV row a slice and a Markdown tree of means.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::metrics::Scores;
use crate::mask::{Measures, Rule};
use crate::{Error, Result};

/// The scores of one slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Published name of the slice.
    pub file: String,
    /// Folders of that name.
    pub groups: Vec<String>,
    /// Scores of every mask.
    pub masks: Vec<Scores>,
    /// Token of the first mask.
    pub first_token: usize,
    /// Place of the mask with the best DSC, the first of equals. That choice uses the label.
    pub best: usize,
    /// Place of the mask that the engine chose without the label.
    pub chosen: usize,
    /// What the engine's choice was made of.
    pub measures: Measures,
}

impl Row {
    /// Scores of the best mask: the published ones.
    pub fn best(&self) -> Scores {
        self.masks[self.best]
    }

    /// Scores of the mask that the engine chose.
    pub fn chosen(&self) -> Scores {
        self.masks[self.chosen]
    }
}

/// First columns of the CSV, of which the first three are the published ones. [`MASK_COLUMNS`] follow for each mask.
pub const COLUMNS: [&str; 10] =
    ["File", "DSC", "HD", "NSD", "BestMask", "ChosenMask", "ChosenDSC", "ChosenHD", "ChosenNSD", "Agreement"];

/// Columns of one mask, followed by its token's number.
pub const MASK_COLUMNS: [&str; 4] = ["DSC", "BoxAgreement", "Stability", "Consensus"];

/// The CSV: a row a slice, scores as float32 in full.
pub fn csv(rows: &[Row]) -> String {
    let tokens = rows.first().map_or(0..0, |row| row.first_token..row.first_token + row.masks.len());
    let of_masks = tokens.flat_map(|token| MASK_COLUMNS.iter().map(move |name| format!("{name}{token}")));
    let header: Vec<String> = COLUMNS.iter().map(|name| name.to_string()).chain(of_masks).collect();
    let lines = std::iter::once(header).chain(rows.iter().map(fields));
    lines.map(|fields| fields.join(",") + "\n").collect()
}

fn fields(row: &Row) -> Vec<String> {
    let token = |place: usize| (row.first_token + place).to_string();
    let three = |scores: Scores| [scores.dsc, scores.hd95, scores.nsd].map(float32_in_full);
    let mut fields = vec![quoted(&row.file)];
    fields.extend(three(row.best()));
    fields.extend([token(row.best), token(row.chosen)]);
    fields.extend(three(row.chosen()));
    fields.push(float32_in_full(row.measures.agreement()));
    for (place, (scores, measure)) in row.masks.iter().zip(&row.measures.masks).enumerate() {
        let values = [scores.dsc, measure.box_agreement, measure.stability, row.measures.consensus(place)];
        fields.extend(values.map(float32_in_full));
    }
    fields
}

/// The Markdown report as published: means of DSC and HD95 of the best mask, a line a group.
pub fn markdown(title: &str, rows: &[Row]) -> String {
    tree(title, rows, |rows| {
        let [dsc, hd, _] = means(rows, Row::best);
        format!("DSC ({dsc:.4}), HD ({hd:.4})")
    })
}

/// The same tree for the mask that the engine chose, with NSD, and the best mask's DSC beside it.
pub fn markdown_of_choice(title: &str, rows: &[Row]) -> String {
    tree(&format!("{title}, mask chosen without the label"), rows, |rows| {
        let [dsc, hd, nsd] = means(rows, Row::chosen);
        let [best, _, _] = means(rows, Row::best);
        format!("DSC ({dsc:.4}), HD ({hd:.4}), NSD ({nsd:.4}), best mask DSC ({best:.4})")
    })
}

/// Mean DSC of each way to choose a mask over the same slices, as a Markdown table; the first line needs the label.
pub fn markdown_of_rules(rows: &[Row]) -> String {
    let mut text = String::from("| choice | DSC | slices with the best mask |\n|---|---|---|\n");
    let mut line = |name: &str, place: &dyn Fn(&Row) -> usize| {
        let place = |row: &Row| place(row).min(row.masks.len() - 1);
        let dsc: f64 = rows.iter().map(|row| row.masks[place(row)].dsc).sum();
        let best = rows.iter().filter(|row| row.masks[place(row)].dsc >= row.best().dsc).count();
        let _ = writeln!(text, "| {name} | {:.4} | {best} of {} |", dsc / rows.len() as f64, rows.len());
    };
    line("best mask", &|row| row.best);
    line("engine", &|row| row.chosen);
    for rule in [
        Rule::BoxAgreement,
        Rule::Stability,
        Rule::Consensus,
        Rule::Product,
        Rule::ProductWithConsensus,
        Rule::PredictedIou,
    ] {
        line(rule.name(), &|row| rule.pick(&row.measures));
    }
    let masks = rows.first().map_or(0, |row| row.masks.len());
    for place in 0..masks {
        line(&format!("always mask {}", rows[0].first_token + place), &|_| place);
    }
    text
}

/// Means of DSC, HD95 and NSD over the float32 values of the rows.
pub fn means(rows: &[&Row], scores: impl Fn(&Row) -> Scores) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for row in rows {
        let Scores { dsc, hd95, nsd } = scores(row);
        for (sum, value) in sums.iter_mut().zip([dsc, hd95, nsd]) {
            *sum += f64::from(value as f32);
        }
    }
    sums.map(|sum| sum / rows.len() as f64)
}

fn tree(title: &str, rows: &[Row], line: impl Fn(&[&Row]) -> String) -> String {
    let mut text = format!("# {title}\n\n");
    let mut groups: BTreeMap<&[String], Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.groups).or_default().push(row);
    }
    let mut open: &[String] = &[];
    for (path, members) in &groups {
        let Some((leaf, parents)) = path.split_last() else { continue };
        let shared = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
        for (depth, parent) in parents.iter().enumerate().skip(shared) {
            let _ = writeln!(text, "{}- {parent}", "  ".repeat(depth));
        }
        let _ = writeln!(text, "{}- {leaf}: {}", "  ".repeat(parents.len()), line(members));
        open = parents;
    }
    let _ = writeln!(text, "- ALL\n  - Mean: {}", line(&rows.iter().collect::<Vec<_>>()));
    text
}

/// A float32 as pandas writes it: the shortest text that gives back its float64, Python's way; empty for NaN.
pub fn float32_in_full(value: f64) -> String {
    let value = f64::from(value as f32);
    if value.is_nan() {
        return String::new();
    }
    if value == 0.0 || value.is_infinite() || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

/// A CSV field, quoted where it has to be.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

/// A row of a published table.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Name of the slice.
    pub file: String,
    /// Best mask's DSC.
    pub dsc: f64,
    /// That mask's HD95.
    pub hd: f64,
}

/// Parses a table with the columns `File`, `DSC`, `HD` among others; `path` is for messages.
///
/// # Errors
/// [`Error::File`] naming the line.
pub fn parse_csv(text: &str, path: &Path) -> Result<Vec<Published>> {
    let mut records = records(text, path)?.into_iter().enumerate();
    let header = records.next().map(|(_, header)| header).unwrap_or_default();
    let column = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.ok_or_else(|| Error::file(path, "line 1", "columns File, DSC and HD", header.join(",")))
    };
    let (file, dsc, hd) = (column("File")?, column("DSC")?, column("HD")?);
    let parse = |(index, record): (usize, Vec<String>)| {
        let field = |column: usize| record.get(column).map(String::as_str).unwrap_or_default();
        let number = |column: usize| {
            let error = || Error::file(path, format!("line {}", index + 1), "a number", format!("'{}'", field(column)));
            field(column).parse::<f64>().map_err(|_| error())
        };
        Ok(Published { file: field(file).to_string(), dsc: number(dsc)?, hd: number(hd)? })
    };
    records.map(parse).collect()
}

/// Splits a CSV text into records of fields.
fn records(text: &str, path: &Path) -> Result<Vec<Vec<String>>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let mut inside_quotes = false;
    while let Some(c) = characters.next() {
        match c {
            '"' if inside_quotes && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => inside_quotes = !inside_quotes,
            _ if inside_quotes => field.push(c),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' => {}
            '\n' if record.is_empty() && field.is_empty() => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            _ => field.push(c),
        }
    }
    if inside_quotes {
        return Err(Error::file(path, "table", "a closing quote", "the end of the file"));
    }
    if !record.is_empty() || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}
