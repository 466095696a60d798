//! MedSegDB's two folder layouts.
//!
//! - internal: `ROOT/DATASET/TASK[/SEQUENCE]/npy_imgs|npy_gts/NAME.npy`
//! - external: `ROOT/cross_site|cross_task/TASK/DATASET[/SEQUENCE]/inference/npy_imgs|npy_gts/NAME.npy`
//!
//! Every folder is walked in sorted order of its names. Names that start with a dot, files where folders are expected,
//! files without the suffix `.npy` and the folder `finetune` are skipped.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Which of the two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One set, `ID`.
    Internal,
    /// Two sets, `BASENAME-site` and `BASENAME-task`.
    External,
}

/// One labelled slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Published name: the path below the set without `npy_gts` and `inference`, with `/` between the parts.
    pub file: String,
    /// Folders of the published name: dataset and task (external: task and dataset), then the sequence if there is one.
    pub groups: Vec<String>,
    /// Name of the task folder, `modality_target`.
    pub task: String,
    /// Picture, uint8 `[height, width, 3]`.
    pub image: PathBuf,
    /// Label, uint8 `[height, width]`, foreground above 0.
    pub label: PathBuf,
}

/// The cases of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Name of the report files: `ID`, `OOD-site`.
    pub name: String,
    /// First line of the Markdown report: `internal evaluation`, `external cross_site evaluation`.
    pub title: String,
    /// In published order.
    pub cases: Vec<Case>,
    /// Pictures that have no label and are left out.
    pub unlabelled: Vec<PathBuf>,
}

/// Lists all labelled slices below `root`.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::File`] where the layout is not that of MedSegDB.
pub fn walk(root: &Path, layout: Layout) -> Result<Vec<Set>> {
    let sets: Vec<Set> = match layout {
        Layout::Internal => vec![walk_set(root, "ID".into(), "internal evaluation".into(), layout)?],
        Layout::External => {
            let base = fs::canonicalize(root).map_err(|error| Error::io(root, "open", error))?;
            let base = base.file_name().map_or("external".into(), |name| name.to_string_lossy().into_owned());
            let shifts = ["site", "task"].map(|shift| (shift, root.join(format!("cross_{shift}"))));
            let present = shifts.iter().filter(|(_, folder)| folder.is_dir());
            let set = |(shift, folder): &(&str, PathBuf)| {
                walk_set(folder, format!("{base}-{shift}"), format!("external cross_{shift} evaluation"), layout)
            };
            present.map(set).collect::<Result<_>>()?
        }
    };
    if sets.iter().all(|set| set.cases.is_empty()) {
        let expected = match layout {
            Layout::Internal => "DATASET/TASK[/SEQUENCE]/npy_gts/*.npy below it",
            Layout::External => "cross_site|cross_task/TASK/DATASET[/SEQUENCE]/inference/npy_gts/*.npy below it",
        };
        return Err(Error::file(root, "folder", expected, "no label"));
    }
    Ok(sets)
}

fn walk_set(root: &Path, name: String, title: String, layout: Layout) -> Result<Set> {
    let mut set = Set { name, title, cases: Vec::new(), unlabelled: Vec::new() };
    for first in folders(root)? {
        for second in folders(&root.join(&first))? {
            let folder = root.join(&first).join(&second);
            let groups = [first.clone(), second.clone()];
            let task = match layout {
                Layout::Internal => &second,
                Layout::External => &first,
            };
            set.add_leaf(&folder, &groups, task, layout)?;
            for sequence in folders(&folder)? {
                let groups = [first.clone(), second.clone(), sequence.clone()];
                set.add_leaf(&folder.join(&sequence), &groups, task, layout)?;
            }
        }
    }
    Ok(set)
}

impl Set {
    /// Adds the slices that lie directly in `folder`, if it is one that holds slices.
    fn add_leaf(&mut self, folder: &Path, groups: &[String], task: &str, layout: Layout) -> Result<()> {
        let leaf = match layout {
            Layout::Internal => folder.to_path_buf(),
            Layout::External => folder.join("inference"),
        };
        let (labels, images) = (leaf.join("npy_gts"), leaf.join("npy_imgs"));
        if !labels.is_dir() {
            return Ok(());
        }
        let names = arrays(&labels)?;
        for name in &names {
            let image = images.join(name);
            let file = groups.iter().chain([name]).map(String::as_str).collect::<Vec<_>>().join("/");
            let label = labels.join(name);
            self.cases.push(Case { file, groups: groups.to_vec(), task: task.to_string(), image, label });
        }
        let unlabelled = arrays(&images)?.into_iter().filter(|name| names.binary_search(name).is_err());
        self.unlabelled.extend(unlabelled.map(|name| images.join(name)));
        Ok(())
    }
}

/// Sorted names of the subfolders that may hold data.
fn folders(folder: &Path) -> Result<Vec<String>> {
    const NOT_DATA: [&str; 4] = ["npy_imgs", "npy_gts", "inference", "finetune"];
    names(folder, |path, name| path.is_dir() && !NOT_DATA.contains(&name))
}

/// Sorted names of the `.npy` files.
fn arrays(folder: &Path) -> Result<Vec<String>> {
    names(folder, |path, name| name.ends_with(".npy") && path.is_file())
}

fn names(folder: &Path, wanted: impl Fn(&Path, &str) -> bool) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, "read", error))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(folder, "read", error))?.path();
        let Some(name) = path.file_name() else { continue };
        let Some(name) = name.to_str() else {
            return Err(Error::file(&path, "name", "UTF-8, as it goes into the report", "other bytes"));
        };
        if !name.starts_with('.') && wanted(&path, name) {
            names.push(name.to_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}
