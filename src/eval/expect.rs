//! Comparison with published tables: the proof that an engine with the published weights is right.

use std::path::{Path, PathBuf};

use super::report::{Published, Row, parse_csv};
use crate::{Error, Result};

/// Largest difference of DSC that passes.
pub const DSC_TOLERANCE: f64 = 0.005;

/// Published rows of this target came from code that its authors did not publish (there is no task row for it), so a
/// difference does not fail the comparison.
const NOT_REPRODUCIBLE: &str = "StomachCancer";

/// Largest table that is read, in bytes.
const LARGEST_TABLE: u64 = 256 << 20;

/// A published table.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The file it was read from; `OOD-site.csv` is compared with the set `OOD-site`, others with all sets.
    pub path: PathBuf,
    /// Its rows.
    pub rows: Vec<Published>,
}

/// What became of one published row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Found; differences are found minus published.
    Compared {
        /// Difference of DSC.
        dsc: f64,
        /// Difference of HD95.
        hd: f64,
    },
    /// There is no result for it.
    Missing,
}

/// One published row and its comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The row.
    pub published: Published,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the run fails for it.
    pub fails: bool,
}

impl Expected {
    /// Reads a published table.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`].
    pub fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|error| Error::io(path, "open", error))?.len();
        if size > LARGEST_TABLE {
            return Err(Error::file(path, "table", format!("at most {LARGEST_TABLE} bytes"), size));
        }
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?;
        let rows = parse_csv(&text, path)?;
        if rows.is_empty() {
            return Err(Error::file(path, "table", "at least one row", "none"));
        }
        Ok(Expected { path: path.to_path_buf(), rows })
    }

    /// Compares each row with the result of the same name; `sets` are names and rows of the reports.
    pub fn compare(&self, sets: &[(&str, &[Row])]) -> Vec<Comparison> {
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let same_name = sets.iter().any(|(name, _)| *name == stem);
        let mut results = std::collections::HashMap::new();
        for (_, rows) in sets.iter().filter(|(name, _)| !same_name || *name == stem) {
            for row in *rows {
                results.entry(row.file.as_str()).or_insert(row);
            }
        }
        self.rows.iter().map(|published| compare(published, results.get(published.file.as_str()).copied())).collect()
    }
}

impl Comparison {
    /// The comparison in a word: `ok`, `FAILS`, or `noted` for a difference that does not count.
    pub fn verdict(&self) -> &'static str {
        match self.outcome {
            _ if self.fails => "FAILS",
            Outcome::Compared { dsc, .. } if dsc.abs() <= DSC_TOLERANCE => "ok",
            _ => "noted",
        }
    }
}

fn compare(published: &Published, found: Option<&Row>) -> Comparison {
    let published = published.clone();
    let Some(row) = found else { return Comparison { published, outcome: Outcome::Missing, fails: true } };
    let (dsc, hd) = (row.best().dsc - published.dsc, row.best().hd95 - published.hd);
    // Not `>`: a NaN fails.
    let close = dsc.abs() <= DSC_TOLERANCE;
    let fails = !close && !published.file.contains(NOT_REPRODUCIBLE);
    Comparison { published, outcome: Outcome::Compared { dsc, hd }, fails }
}
