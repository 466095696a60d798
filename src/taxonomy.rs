//! MedSegDB's tree of modalities, organs and tasks: names become rows of the model's context embeddings.
//!
//! Names are forgiving: case, underscores, hyphens and spaces do not count, and trailing digits of a target are cut
//! (`CT_ThoracicSpine7` is `ThoracicSpine`). Nothing else is guessed; a wrong name is an error that suggests the
//! nearest.
//!
//! ```
//! use medsegx::taxonomy::{Query, resolve};
//!
//! # fn main() -> medsegx::Result<()> {
//! let names = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() })?.names();
//! assert_eq!((names.modality, names.subregion, names.organ), ("CT", "abdomen", "liver"));
//! assert!(resolve(&Query { task: Some("CT_Livr".into()), ..Query::default() }).is_err());
//! # Ok(())
//! # }
//! ```

mod tree;

pub use tree::{BODY_PARTS, MODALITIES, ORGANS, SUBREGIONS, TARGETS, UNSEEN_TASK};

use serde::{Deserialize, Serialize};

use crate::codes::{Code, Warning};
use crate::{Error, Result};

/// How a picture was made.
#[derive(Debug)]
pub struct Modality {
    /// MedSegDB's name.
    pub name: &'static str,
    /// Other spellings found in MedSegDB's folders.
    pub aliases: &'static [&'static str],
    /// What DICOM's Modality (0008,0060) may be of such pictures.
    pub dicom: &'static [&'static str],
}

/// An organ or tissue and where it lies.
#[derive(Debug)]
pub struct Organ {
    /// MedSegDB's name.
    pub name: &'static str,
    /// Index into [`BODY_PARTS`].
    pub body_part: usize,
    /// Index into [`SUBREGIONS`].
    pub subregion: usize,
}

/// Something to segment.
#[derive(Debug)]
pub struct Target {
    /// MedSegDB's name.
    pub name: &'static str,
    /// Index into [`ORGANS`].
    pub organ: usize,
    /// Row of the task embedding; `None` for a target that the published task list leaves out.
    pub task: Option<usize>,
}

/// The rows of the context embeddings that steer the adapters for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// Row of `modal_embed`.
    pub modality: usize,
    /// Rows of `organ_embed.1`, `.2`, `.3`: body part, subregion, organ. (Table 0, the root, has one row.)
    pub organ: [usize; 3],
    /// Row of `organ_embed.4`; [`UNSEEN_TASK`] for a target without a row.
    pub task: usize,
}

/// A [`Context`] in MedSegDB's words, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Name of the modality.
    pub modality: &'static str,
    /// Name of the body part.
    pub body_part: &'static str,
    /// Name of the subregion.
    pub subregion: &'static str,
    /// Name of the organ or tissue.
    pub organ: &'static str,
    /// Name of the task, `unseen` for the spare row.
    pub task: &'static str,
}

impl Context {
    /// The names behind the rows; `?` for a row that the tree does not have.
    pub fn names(&self) -> Names {
        let task = TARGETS.iter().find(|target| target.task == Some(self.task)).map(|target| target.name);
        Names {
            modality: MODALITIES.get(self.modality).map_or("?", |modality| modality.name),
            body_part: BODY_PARTS.get(self.organ[0]).copied().unwrap_or("?"),
            subregion: SUBREGIONS.get(self.organ[1]).copied().unwrap_or("?"),
            organ: ORGANS.get(self.organ[2]).map_or("?", |organ| organ.name),
            task: task.unwrap_or(if self.task == UNSEEN_TASK { UNSEEN } else { "?" }),
        }
    }

    /// Whether pictures of this modality have another Modality (0008,0060) than `dicom`. One that no modality of the
    /// tree has, as PT, tells nothing.
    pub fn contradicts(&self, dicom: &str) -> Option<Warning> {
        let known = MODALITIES.iter().any(|modality| modality.dicom.contains(&dicom));
        let modality = MODALITIES.get(self.modality).filter(|own| known && !own.dicom.contains(&dicom))?;
        let message = format!("the image is {dicom} by its DICOM header, and the task's modality is {}", modality.name);
        Some(Warning::new(Code::ModalityDiffers, message))
    }
}

/// What a user says about a target. `task` implies the rest; each other field overrides its own level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `modality_target`, as MedSegDB's folders are named: `CT_Liver`.
    pub task: Option<String>,
    /// One of [`MODALITIES`].
    pub modality: Option<String>,
    /// One of [`BODY_PARTS`].
    pub body_part: Option<String>,
    /// One of [`SUBREGIONS`].
    pub subregion: Option<String>,
    /// One of [`ORGANS`].
    pub organ: Option<String>,
    /// One of [`TARGETS`], or `unseen` for the spare task row.
    pub target: Option<String>,
}

impl Query {
    /// This query with `defaults` where it says nothing.
    pub fn or(self, defaults: &Query) -> Query {
        Query {
            task: self.task.or_else(|| defaults.task.clone()),
            modality: self.modality.or_else(|| defaults.modality.clone()),
            body_part: self.body_part.or_else(|| defaults.body_part.clone()),
            subregion: self.subregion.or_else(|| defaults.subregion.clone()),
            organ: self.organ.or_else(|| defaults.organ.clone()),
            target: self.target.or_else(|| defaults.target.clone()),
        }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Query::default()
    }
}

/// The name that asks for the spare task row.
pub const UNSEEN: &str = "unseen";

/// Looks a query up in the tree.
///
/// The target comes from `target`, else from `task`. A known target implies body part, subregion and organ, and its
/// task row ([`UNSEEN_TASK`] where the published list has none). The target `unseen`, a query without target, or a task
/// whose target the tree does not know, uses [`UNSEEN_TASK`]; the three levels then have to be named, or without a task
/// the organ alone where the tree has it once.
///
/// # Errors
/// [`Error::Taxonomy`] for a name that the tree does not have, [`Error::Argument`] for a level that nothing names.
pub fn resolve(query: &Query) -> Result<Context> {
    let task = query.task.as_deref().map(|task| split_task(task, query)).transpose()?;
    let organs = ORGANS.each_ref().map(|organ| organ.name);
    // First all that is given: a wrong name is told before a missing one.
    let given = |given: &Option<String>, level, names: &[&str]| {
        given.as_deref().map(|name| find(name, names).ok_or_else(|| unknown(level, name, names))).transpose()
    };
    let body_part = given(&query.body_part, "body part", &BODY_PARTS)?;
    let subregion = given(&query.subregion, "subregion", &SUBREGIONS)?;
    let own_organ = given(&query.organ, "organ", &organs)?;
    let modality = match (query.modality.as_deref(), &task) {
        (Some(name), _) => find_modality(name)?,
        (None, Some(task)) => task.modality.ok_or_else(|| no_modality(query, task))?,
        (None, None) => return Err(missing("modality")),
    };
    let target = match (query.target.as_deref(), &task) {
        (Some(name), _) if key(name) == UNSEEN => task.as_ref().and_then(|task| task.target),
        (Some(name), _) => Some(find_target(name).ok_or_else(|| unknown_target(name))?),
        (None, Some(task)) => task.target,
        (None, None) => None,
    };
    let spare_row = query.target.as_deref().is_some_and(|name| key(name) == UNSEEN);
    let implied = target.and_then(|target| ORGANS.get(target.organ).map(|organ| (target.organ, organ)));
    let organ = implied.or_else(|| own_organ.filter(|_| task.is_none()).and_then(only_place));
    let level = |given: Option<usize>, argument, implied: Option<usize>| match (given.or(implied), &task) {
        (Some(index), _) => Ok(index),
        (None, Some(task)) => Err(unknown_target(&task.rest)),
        (None, None) => Err(missing(argument)),
    };
    Ok(Context {
        modality,
        organ: [
            level(body_part, "body-part", organ.map(|(_, organ)| organ.body_part))?,
            level(subregion, "subregion", organ.map(|(_, organ)| organ.subregion))?,
            level(own_organ, "organ", organ.map(|(index, _)| index))?,
        ],
        task: target.and_then(|target| target.task).filter(|_| !spare_row).unwrap_or(UNSEEN_TASK),
    })
}

/// As [`resolve`] for weights that are `steered` by a context; for others `None`, and no level need be named, but a
/// name that is there must be right.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_for(query: &Query, steered: bool) -> Result<Option<Context>> {
    match resolve(query) {
        Ok(context) => Ok(steered.then_some(context)),
        Err(Error::Argument { .. }) if !steered => Ok(None),
        Err(error) => Err(error),
    }
}

/// The targets whose name, task, organ, subregion or body part holds `text`; all of them for an empty text. A modality
/// with or without its target (`CT_Liver`) is understood too.
pub fn search(text: &str) -> Vec<&'static Target> {
    let wanted = key(text);
    let hit = |target: &&Target| {
        let organ = &ORGANS[target.organ];
        [target.name, organ.name, BODY_PARTS[organ.body_part], SUBREGIONS[organ.subregion]]
            .iter()
            .any(|name| key(name).contains(&wanted))
    };
    let found: Vec<_> = TARGETS.iter().filter(hit).collect();
    match split(text, None) {
        (Some(_), Some(target), _) if found.is_empty() => vec![target],
        _ => found,
    }
}

/// The known target nearest to `name`.
pub fn nearest_target(name: &str) -> Option<String> {
    nearest(name, &TARGETS.each_ref().map(|target| target.name))
}

/// The organ of this index with its place, if the tree has its name only once.
fn only_place(index: usize) -> Option<(usize, &'static Organ)> {
    let organ = ORGANS.get(index)?;
    (ORGANS.iter().filter(|other| key(other.name) == key(organ.name)).count() == 1).then_some((index, organ))
}

/// A task taken apart: modality and target as far as the tree knows them, and the text of the target.
struct Task {
    modality: Option<usize>,
    target: Option<&'static Target>,
    rest: String,
}

fn split_task(task: &str, query: &Query) -> Result<Task> {
    let given = query.modality.as_deref().map(find_modality).transpose()?;
    let (modality, target, rest) = split(task, given);
    if target.is_none() && key(&rest).is_empty() {
        return Err(Error::Argument { name: "task", expected: "modality_target".into(), found: format!("'{task}'") });
    }
    Ok(Task { modality, target, rest })
}

/// Splits `modality_target`: at the first separator if a modality stands before it, else after any modality's name that
/// leaves a known target (`CTLiver`), else the whole text is a target.
fn split(task: &str, given: Option<usize>) -> (Option<usize>, Option<&'static Target>, String) {
    if let Some((head, rest)) = task.trim().split_once(['_', '-', ' '])
        && let Some(modality) = modality(head)
    {
        return (Some(modality), find_target(rest), rest.to_string());
    }
    let whole = key(task);
    let spellings = MODALITIES.iter().enumerate().flat_map(|(index, modality)| {
        std::iter::once(&modality.name).chain(modality.aliases).map(move |name| (index, key(name)))
    });
    let glued = spellings
        .filter_map(|(index, name)| whole.strip_prefix(&name).and_then(find_target).map(|target| (index, target)))
        .next();
    match glued {
        Some((index, target)) => (Some(index), Some(target), target.name.to_string()),
        None => (given, find_target(task), task.to_string()),
    }
}

fn modality(name: &str) -> Option<usize> {
    let wanted = key(name);
    MODALITIES
        .iter()
        .position(|modality| key(modality.name) == wanted || modality.aliases.iter().any(|alias| key(alias) == wanted))
}

fn find_modality(name: &str) -> Result<usize> {
    modality(name).ok_or_else(|| unknown_modality(name))
}

/// A target by its name without trailing digits.
fn find_target(name: &str) -> Option<&'static Target> {
    let wanted = key(name);
    let wanted = wanted.trim_end_matches(|c: char| c.is_ascii_digit());
    TARGETS.iter().find(|target| key(target.name) == wanted)
}

fn find(name: &str, names: &[&str]) -> Option<usize> {
    let wanted = key(name);
    names.iter().position(|candidate| key(candidate) == wanted)
}

/// The form in which names are compared.
fn key(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

fn unknown(level: &'static str, name: &str, names: &[&str]) -> Error {
    Error::Taxonomy { level, name: shortened(name), suggestion: nearest(name, names) }
}

fn unknown_target(name: &str) -> Error {
    Error::Taxonomy { level: "target", name: shortened(name), suggestion: nearest_target(name) }
}

fn unknown_modality(name: &str) -> Error {
    let names: Vec<&str> =
        MODALITIES.iter().flat_map(|m| std::iter::once(m.name).chain(m.aliases.iter().copied())).collect();
    let head = name.split(['_', '-', ' ']).next().unwrap_or(name);
    unknown("modality", head, &names)
}

/// What to say of a task before whose target no modality stands: `Liver`, `CTT_Liver`.
fn no_modality(query: &Query, task: &Task) -> Error {
    let text = query.task.as_deref().unwrap_or_default();
    match task.target {
        Some(target) if task.rest == text => {
            let expected = format!("modality_target, for example CT_{}, or a modality beside it", target.name);
            Error::Argument { name: "task", expected, found: format!("'{}'", shortened(text)) }
        }
        _ => unknown_modality(text),
    }
}

fn missing(name: &'static str) -> Error {
    Error::Argument { name, expected: "a name, as nothing else implies it".into(), found: "none".into() }
}

/// Longest name that is compared or repeated in a message; names come from files.
const LONGEST_NAME: usize = 64;

fn shortened(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// The shortest name that holds `name`, else the one with the smallest edit distance; the first of equals, and none
/// where nothing is near.
fn nearest(name: &str, names: &[&str]) -> Option<String> {
    let wanted = key(&shortened(name));
    let holding = names.iter().filter(|name| wanted.len() >= 3 && key(name).contains(&wanted));
    if let Some(best) = holding.min_by_key(|name| name.len()) {
        return Some(best.to_string());
    }
    let wanted: Vec<char> = wanted.chars().collect();
    let distance = |name: &str| {
        let candidate: Vec<char> = key(name).chars().collect();
        (edit_distance(&wanted, &candidate), wanted.len().max(candidate.len()))
    };
    let candidates = names.iter().map(|name| (distance(name), name));
    let ((edits, length), best) = candidates.min_by_key(|((edits, _), _)| *edits)?;
    (3 * edits <= 2 * length).then(|| best.to_string())
}

/// Levenshtein's distance.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
