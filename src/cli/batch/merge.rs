//! `--merge`: one table of what several runs did, after each case of the manifest was looked at. It runs no case, and
//! may run at any time, beside workers too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use medsegx::atomic::write_atomically;
use medsegx::{Error, Result};

use super::case::Case;
use super::failure::NotAll;
use super::state::{Record, Store};
use super::summary::{Row, Status};

/// How many missing cases are named on stderr.
const NAMED: usize = 20;

/// The row of each case in the best state that it has in any of `folders`, and its files in `out`.
///
/// # Errors
/// A folder that is none; a file that cannot be copied.
pub fn rows(cases: &[Case], folders: &[PathBuf], out: &Store, rehash: bool) -> anyhow::Result<Vec<Row>> {
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        return Err(Error::file(missing, "--merge", "a folder of results", "none").into());
    }
    let stores: Vec<Store> = folders.iter().map(|folder| Store { out: folder.clone() }).collect();
    let (mut first, mut rows): (Option<Record>, Vec<Row>) = (None, Vec::with_capacity(cases.len()));
    for case in cases {
        let (row, record) = row(case, &stores, out, rehash)?;
        rows.push(row);
        match (&first, record) {
            (None, record) => first = record,
            (Some(first), Some(record)) if !first.is_like(&record) => {
                let (one, other) = (&first.row.case, &record.row.case);
                let text = format!("{one} and {other} were made with different weights: do one of them again");
                return Err(NotAll(text).into());
            }
            _ => {}
        }
    }
    Ok(rows)
}

/// The row of one case, and its record where it is done.
fn row(case: &Case, stores: &[Store], out: &Store, rehash: bool) -> Result<(Row, Option<Record>)> {
    let mut best = Row::new(case, Status::Pending);
    best.message = "no result".into();
    best.code = "missing".into();
    for store in stores {
        let Some(record) = store.read(case) else { continue };
        if record.row.status != Status::Done {
            best = record.row;
            continue;
        }
        let stale = match () {
            () if !record.outputs_stand(&store.out, rehash) => Some("its files are not as they were left"),
            () if !record.is_of(case, rehash) => Some("its image, prompt or flags are others now"),
            () => None,
        };
        if let Some(reason) = stale {
            best = Row { status: Status::Pending, code: "stale".into(), message: reason.into(), ..record.row };
            continue;
        }
        if !same_folder(&store.out, &out.out) {
            copy(case, store, out)?;
        }
        return Ok((record.row.clone(), Some(record)));
    }
    Ok((best, None))
}

/// Copies the files of a case, and its record last.
fn copy(case: &Case, from: &Store, to: &Store) -> Result<()> {
    for path in case.outputs() {
        copy_file(&from.out.join(path), &to.out.join(path))?;
    }
    let sheet = from.sheet_file(case);
    if sheet.is_file() {
        copy_file(&sheet, &to.sheet_file(case))?;
    }
    copy_file(&from.record_file(case), &to.record_file(case))
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    }
    let mut file = fs::File::open(from).map_err(|e| Error::io(from, "open", e))?;
    write_atomically(to, true, |out| io::copy(&mut file, out).map(drop))
}

fn same_folder(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).ok().zip(fs::canonicalize(b).ok()).is_some_and(|(a, b)| a == b)
}

/// Names the cases without a result.
pub fn name_missing(rows: &[Row]) {
    let left: Vec<&Row> = rows.iter().filter(|row| row.status != Status::Done).collect();
    for row in left.iter().take(NAMED) {
        crate::cli::console::say(&format!("medsegx: {}: {} [{}]", row.case, row.message, row.code));
    }
    if left.len() > NAMED {
        crate::cli::console::say(&format!("medsegx: and {} more", left.len() - NAMED));
    }
}
