//! Images of a folder: all of them, those that fit a pattern, or those of a BIDS data set.

use std::path::{Path, PathBuf};

use medsegx::{Error, Result};

use super::case::{IMAGES, without_ending};
use super::line::Line;

/// Lists the images below `root` in the order of their names. `pattern` is of paths below it: `*` within a folder, `**`
/// any folders. Without one these are the images that lie in it; of a BIDS data set those of all subjects and sessions.
///
/// # Errors
/// A folder that cannot be read or has no such image; a pattern that is none.
pub fn list(root: &Path, pattern: Option<&str>) -> Result<Vec<Line>> {
    let bids = root.join("dataset_description.json").is_file();
    let pattern = pattern.unwrap_or(if bids { "sub-*/**/*.nii*" } else { "*" });
    let wrong = |error| Error::Argument {
        name: "--pattern",
        expected: "a pattern as *.nii.gz or **/*_T1w.nii.gz".into(),
        found: format!("'{}': {error}", pattern.escape_debug()),
    };
    let pattern = glob::Pattern::new(pattern).map_err(|error| wrong(error.msg))?;
    let mut found = Vec::new();
    walk(root, Path::new(""), &pattern, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(Error::file(root, "folder", format!("images that fit {pattern}"), "none"));
    }
    let line = |image: String| Line {
        place: format!("{}: {image}", root.display()),
        base: root.to_path_buf(),
        output: Some(if bids { derivative(&image) } else { beside(&image) }),
        image,
        ..Line::default()
    };
    Ok(found.into_iter().map(line).collect())
}

fn walk(root: &Path, below: &Path, pattern: &glob::Pattern, found: &mut Vec<String>) -> Result<()> {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let folder = root.join(below);
    let failed = |e| Error::io(&folder, "read", e);
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(Error::file(entry.path(), "name", "UTF-8, as it goes into the summary", "other bytes"));
        };
        let path: PathBuf = below.join(name);
        if name.starts_with('.') || (below.as_os_str().is_empty() && name == "derivatives") {
            continue;
        }
        // A link to a folder could lead back here.
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(root, &path, pattern, found)?;
        } else if IMAGES.iter().any(|end| name.to_lowercase().ends_with(end))
            && pattern.matches_path_with(&path, options)
        {
            found.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// The mask's name below the results, as the image's below its folder.
fn beside(image: &str) -> String {
    let (name, ending) = without_ending(image);
    format!("{name}{}", if matches!(ending, ".npy" | ".png") { ending } else { ".nii.gz" })
}

/// The name of a BIDS derivative: the entities of the image, its suffix in `desc`, and `dseg` for its own suffix.
fn derivative(image: &str) -> String {
    let (name, _) = without_ending(image);
    let (entities, suffix) = match name.rsplit_once('_') {
        Some((entities, suffix)) if !suffix.contains('/') => (entities, suffix),
        _ => (name, ""),
    };
    let suffix: String = suffix.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{entities}_desc-medsegx{suffix}_dseg.nii.gz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(root: &Path, pattern: Option<&str>) -> Vec<(String, String)> {
        list(root, pattern).unwrap().into_iter().map(|line| (line.image, line.output.unwrap())).collect()
    }

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn a_pattern_of_stars_within_folders_and_across_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.nii.gz", "a.NPY", "notes.txt", ".hidden.nii", "deep/er/c.mha", "deep/d_T1w.nii"] {
            touch(&folder.path().join(name));
        }
        let of = |image: &str, output: &str| (image.to_string(), output.to_string());
        assert_eq!(images(folder.path(), None), [of("a.NPY", "a.npy"), of("b.nii.gz", "b.nii.gz")]);
        assert_eq!(images(folder.path(), Some("deep/*")), [of("deep/d_T1w.nii", "deep/d_T1w.nii.gz")]);
        assert_eq!(images(folder.path(), Some("**/*.mha")), [of("deep/er/c.mha", "deep/er/c.nii.gz")]);
        assert!(list(folder.path(), Some("**/*.png")).unwrap_err().to_string().contains("**/*.png"));
    }

    #[test]
    fn a_data_set_of_bids_has_derivatives() {
        let folder = tempfile::tempdir().unwrap();
        touch(&folder.path().join("dataset_description.json"));
        touch(&folder.path().join("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"));
        touch(&folder.path().join("sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz"));
        touch(&folder.path().join("derivatives/x/sub-01/anat/sub-01_T1w.nii.gz"));
        let outputs: Vec<String> = images(folder.path(), None).into_iter().map(|(_, output)| output).collect();
        let expected =
            ["T1w", "T2w"].map(|suffix| format!("sub-01/ses-2/anat/sub-01_ses-2_desc-medsegx{suffix}_dseg.nii.gz"));
        assert_eq!(outputs, expected);
        assert_eq!(images(folder.path(), Some("**/*_T2w.nii.gz")).len(), 1);
    }
}
