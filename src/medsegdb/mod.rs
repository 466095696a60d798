//! MedSegDB's two folder layouts, and the labelled slices in them.
//!
//! - internal: `ROOT/DATASET/TASK[/SEQUENCE]/npy_imgs|npy_gts/NAME.npy`
//! - external: `ROOT/cross_site|cross_task/TASK/DATASET[/SEQUENCE]/inference|finetune/npy_imgs|npy_gts/NAME.npy`
//!
//! Every folder is walked in sorted order of its names. Names that start with a dot, files where folders are expected,
//! files without the suffix `.npy` and, of the external layout, the part that was not asked for are skipped.

mod pair;

use std::fs;
use std::path::{Path, PathBuf};

pub use pair::Pair;

use crate::taxonomy::{Context, Query, resolve};
use crate::{Error, Result};

/// Which of the two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One set, `ID`.
    Internal,
    /// Two sets, `BASENAME-site` and `BASENAME-task`.
    External,
}

/// Which slices of the external layout; the internal one has no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those that are scored.
    Inference,
    /// Those that were set apart for tuning.
    Finetune,
}

impl Part {
    /// The folder that it lies in.
    pub fn folder(self) -> &'static str {
        match self {
            Part::Inference => "inference",
            Part::Finetune => "finetune",
        }
    }
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

/// Lists all labelled slices below `root` that are scored.
///
/// # Errors
/// As [`walk_part`]; [`Error::File`] where there is none.
pub fn walk(root: &Path, layout: Layout) -> Result<Vec<Set>> {
    let sets = walk_part(root, layout, Part::Inference)?;
    if sets.iter().all(|set| set.cases.is_empty()) {
        return Err(without_labels(root, layout, Part::Inference.folder(), &sets));
    }
    Ok(sets)
}

/// Lists the labelled slices of a part below `root`, if there are any.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::File`] for a name that is not UTF-8.
pub fn walk_part(root: &Path, layout: Layout, part: Part) -> Result<Vec<Set>> {
    match layout {
        Layout::Internal => Ok(vec![walk_set(root, "ID".into(), "internal evaluation".into(), (layout, part))?]),
        Layout::External => {
            let base = fs::canonicalize(root).map_err(|error| Error::io(root, "open", error))?;
            let base = base.file_name().map_or("external".into(), |name| name.to_string_lossy().into_owned());
            let shifts = ["site", "task"].map(|shift| (shift, root.join(format!("cross_{shift}"))));
            let present = shifts.iter().filter(|(_, folder)| folder.is_dir());
            let set = |(shift, folder): &(&str, PathBuf)| {
                let title = format!("external cross_{shift} evaluation");
                walk_set(folder, format!("{base}-{shift}"), title, (layout, part))
            };
            present.map(set).collect()
        }
    }
}

/// What is wrong with a folder below which no label lies where `parts` should have one.
pub(crate) fn without_labels(root: &Path, layout: Layout, parts: &str, sets: &[Set]) -> Error {
    let expected = match layout {
        Layout::Internal => "DATASET/TASK[/SEQUENCE]/npy_gts/*.npy below it".into(),
        Layout::External => format!("cross_site|cross_task/TASK/DATASET[/SEQUENCE]/{parts}/npy_gts/*.npy below it"),
    };
    let pictures: Vec<&PathBuf> = sets.iter().flat_map(|set| &set.unlabelled).collect();
    let found = match pictures.first() {
        Some(first) => format!("no label, for none of {} pictures: {}, ...", pictures.len(), first.display()),
        None => "no label".into(),
    };
    Error::file(root, "folder", expected, found)
}

fn walk_set(root: &Path, name: String, title: String, (layout, part): (Layout, Part)) -> Result<Set> {
    let mut set = Set { name, title, cases: Vec::new(), unlabelled: Vec::new() };
    for first in folders(root)? {
        for second in folders(&root.join(&first))? {
            let folder = root.join(&first).join(&second);
            let groups = [first.clone(), second.clone()];
            let task = match layout {
                Layout::Internal => &second,
                Layout::External => &first,
            };
            let leaf = |folder: &Path| match layout {
                Layout::Internal => folder.to_path_buf(),
                Layout::External => folder.join(part.folder()),
            };
            set.add_leaf(&leaf(&folder), &groups, task)?;
            for sequence in folders(&folder)? {
                let groups = [first.clone(), second.clone(), sequence.clone()];
                set.add_leaf(&leaf(&folder.join(&sequence)), &groups, task)?;
            }
        }
    }
    Ok(set)
}

impl Case {
    /// Where its task stands in MedSegDB's tree.
    ///
    /// # Errors
    /// [`Error::File`] naming the label, for a task folder that the tree does not know.
    pub fn context(&self) -> Result<Context> {
        let query = Query { task: Some(self.task.clone()), ..Query::default() };
        resolve(&query).map_err(|error| error.in_file(&self.label, "task folder"))
    }
}

impl Set {
    /// Adds the slices that lie directly in `leaf`, if it is one that holds slices.
    fn add_leaf(&mut self, leaf: &Path, groups: &[String], task: &str) -> Result<()> {
        let (labels, images) = (leaf.join("npy_gts"), leaf.join("npy_imgs"));
        if !labels.is_dir() && !images.is_dir() {
            return Ok(());
        }
        let names = if labels.is_dir() { arrays(&labels)? } else { Vec::new() };
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
