//! Temporary files that killed workers left, and those of this one when it is stopped.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use medsegx::atomic::{TEMPORARY_PREFIX, temporary_prefix};
use medsegx::{Error, Result};

use super::case::Case;
use super::state;

/// Another host's files may be in use without its lock being seen here; older ones are not.
const FOREIGN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Marks this process as a worker on the folder of results for as long as it lives, after it has removed what dead
/// workers left where no other lives.
///
/// # Errors
/// The folder cannot be written.
pub fn begin(out: &Path, cases: &[Case]) -> Result<File> {
    let path = out.join(state::FOLDER).join("run.lock");
    let failed = |e| Error::io(&path, "lock", e);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    if file.try_lock().is_ok() {
        sweep(out, cases);
        // Whoever comes between has the folder to himself, and this worker has nothing in it yet.
        let _ = file.unlock();
    }
    // Without locks on this file system there is nothing to hold.
    let _ = file.lock_shared();
    Ok(file)
}

fn sweep(out: &Path, cases: &[Case]) {
    let own = own_host();
    for entry in folders(out, cases).iter().flat_map(|folder| entries(folder)) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(TEMPORARY_PREFIX) || !name.ends_with(".tmp") {
            continue;
        }
        let age = fs::metadata(&entry).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
        if name.starts_with(&own) || age.is_some_and(|age| age > FOREIGN_AGE) {
            let _ = fs::remove_file(&entry);
        }
    }
    entries(&out.join(state::FOLDER).join("locks")).for_each(|lock| drop(fs::remove_file(lock)));
}

/// Removes the temporary files of this process; nothing of it may be writing.
pub fn own(out: &Path, cases: &[Case]) {
    let prefix = temporary_prefix();
    let is_own = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    for entry in folders(out, cases).iter().flat_map(|folder| entries(folder)).filter(is_own) {
        let _ = fs::remove_file(entry);
    }
}

/// The part of temporary names that all processes of this host share.
fn own_host() -> String {
    let prefix = temporary_prefix();
    let own = format!("{}-", std::process::id());
    prefix.strip_suffix(&own).unwrap_or(&prefix).to_string()
}

/// Folders in which temporary files may lie.
fn folders(out: &Path, cases: &[Case]) -> BTreeSet<PathBuf> {
    let outputs = cases.iter().flat_map(Case::outputs);
    let parents = outputs.filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect::<BTreeSet<_>>();
    let state = out.join(state::FOLDER);
    let all = [out.to_path_buf(), state.join("cases"), state.join("sheets")];
    all.into_iter().chain(parents.into_iter().map(|folder| out.join(folder))).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
