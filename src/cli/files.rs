//! The files of one run: what is written must be writable, and none of what is read or written beside it.

use std::path::{Path, PathBuf};

use medsegx::atomic::check_writable;

use super::console::usage;

/// A file and the argument that names it, for messages.
pub type Named<'a> = (&'static str, &'a Path);

/// Refuses outputs that cannot be written, and two arguments that name one file: replacing an input by its own output
/// would lose it, and so would replacing a slice in a folder that is read.
pub fn check_outputs(reads: &[Named], writes: &[Named], force: bool) -> anyhow::Result<()> {
    let mut taken: Vec<(&str, PathBuf)> = reads.iter().map(|&(name, path)| (name, place(path))).collect();
    for &(name, path) in writes {
        let place = place(path);
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == place) {
            return Err(usage(&format!("{name}: got {}; needs a file of its own, as {other}", path.display())));
        }
        // A slice may be a link to a place outside its folder.
        let as_named = in_its_folder(path);
        let is_slice = |folder: &Path| {
            is_image_in(folder, &place) || as_named.as_deref().is_some_and(|file| is_image_in(folder, file))
        };
        if let Some((folder, _)) = taken.iter().find(|(_, taken)| is_slice(taken)) {
            return Err(usage(&format!(
                "{name}: got {}, an image in {folder}; needs a file of its own",
                path.display()
            )));
        }
        check_writable(path, force)?;
        taken.push((name, place));
    }
    Ok(())
}

/// Whether `file` is there, below `folder`, and an image: masks of earlier runs may be replaced in a series' folder.
#[cfg(feature = "dicom")]
fn is_image_in(folder: &Path, file: &Path) -> bool {
    file.is_file()
        && file.starts_with(folder)
        && medsegx::dicom::list(file, Some(1)).is_ok_and(|found| !found.series.is_empty())
}

#[cfg(not(feature = "dicom"))]
fn is_image_in(_: &Path, _: &Path) -> bool {
    false
}

/// The file behind a path, links followed; for one that does not exist yet, its place in its folder.
fn place(path: &Path) -> PathBuf {
    path.canonicalize().ok().or_else(|| in_its_folder(path)).unwrap_or_else(|| path.to_path_buf())
}

/// A path by its folder, whose links are followed, and its own name.
fn in_its_folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
