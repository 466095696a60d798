//! The files of one run: what is written must be writable, and none of what is read or written beside it.

use std::path::{Path, PathBuf};

use medsegx::atomic::check_writable;

use super::console::usage;

/// A file and the argument that names it, for messages.
pub type Named<'a> = (&'static str, &'a Path);

/// Refuses outputs that cannot be written, and two arguments that name one file: replacing an input by its own output
/// would lose it.
pub fn check_outputs(reads: &[Named], writes: &[Named], force: bool) -> anyhow::Result<()> {
    let mut taken: Vec<(&str, PathBuf)> = reads.iter().map(|&(name, path)| (name, place(path))).collect();
    for &(name, path) in writes {
        let place = place(path);
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == place) {
            return Err(usage(&format!("{name}: got {}; needs a file of its own, as {other}", path.display())));
        }
        check_writable(path, force)?;
        taken.push((name, place));
    }
    Ok(())
}

/// The file behind a path, links followed; for one that does not exist yet, its place in its folder.
fn place(path: &Path) -> PathBuf {
    let new = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(new).unwrap_or_else(|| path.to_path_buf())
}
