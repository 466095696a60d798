//! From a folder of MedSegDB to examples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::slices::{Encoded, samples};
use super::{Example, Slices, Trainer};
use crate::medsegdb::{Case, Layout, Pair, Part, Set, walk_part, without_labels};
use crate::segment::{Picture, Segmenter};
use crate::taxonomy::Context;
use crate::{Error, Result};

/// The labelled slices of one task below a folder of MedSegDB, as `medsegx eval` knows them.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    task: String,
    slices: Vec<FolderSlice>,
    patients: Option<usize>,
    part: Option<Part>,
    unlabelled: Vec<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct FolderSlice {
    case: Case,
    volume: usize,
    slice: usize,
}

impl FolderSlice {
    /// The picture's file.
    pub fn image(&self) -> &Path {
        &self.case.image
    }

    /// The label's file.
    pub fn label(&self) -> &Path {
        &self.case.label
    }
}

impl Folder {
    /// Lists the slices below `root`; where there are several tasks, those of `task`. Of the external layout the part
    /// `finetune`, where it has one, else `inference`.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read, [`Error::File`] for one without labels, with several tasks of
    /// which none is chosen, or without the one that is.
    pub fn open(root: &Path, layout: Layout, task: Option<&str>) -> Result<Folder> {
        let is_empty = |sets: &[Set]| sets.iter().all(|set| set.cases.is_empty());
        let (mut part, mut sets) = (Part::Finetune, Vec::new());
        if layout == Layout::External {
            sets = walk_part(root, layout, part)?;
        }
        if is_empty(&sets) {
            part = Part::Inference;
            sets.extend(walk_part(root, layout, part)?);
        }
        if is_empty(&sets) {
            return Err(without_labels(root, layout, "finetune|inference", &sets));
        }
        let mut unlabelled: Vec<PathBuf> =
            sets.iter_mut().flat_map(|set| std::mem::take(&mut set.unlabelled)).collect();
        let mut cases: Vec<Case> = sets.into_iter().flat_map(|set| set.cases).collect();
        let task = chosen(root, &cases, task)?;
        cases.retain(|case| case.task == task);
        unlabelled.retain(|path| path.components().any(|part| part.as_os_str() == task.as_str()));
        let (slices, patients) = placed(cases, layout);
        let part = (layout == Layout::External).then_some(part);
        Ok(Folder { root: root.into(), task, slices, patients, part, unlabelled })
    }

    /// Name of the task folder, `modality_target`.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Where the task stands in MedSegDB's tree.
    ///
    /// # Errors
    /// [`Error::File`] naming a label, for a task folder that the tree does not know.
    pub fn context(&self) -> Result<Option<Context>> {
        self.slices.first().map(|slice| slice.case.context()).transpose()
    }

    /// How many patients its slices are of, which are then the volumes of examples; absent where names of files do not
    /// tell.
    pub fn patients(&self) -> Option<usize> {
        self.patients
    }

    /// Of the external layout, the part that its slices are of.
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    /// Pictures without a label, which are left out.
    pub fn unlabelled(&self) -> &[PathBuf] {
        &self.unlabelled
    }

    /// The slices with foreground that `slices` name, which are numbered as the names of their files say; where those
    /// do not tell patients apart, from 0 on in the order of their names.
    ///
    /// # Errors
    /// [`Error::File`] for no foreground at all, a number of a list that no slice with foreground has, or a label that
    /// is not one; reading.
    pub fn choose(&self, slices: &Slices) -> Result<Vec<&FolderSlice>> {
        let mut found: Vec<&FolderSlice> = Vec::new();
        for slice in &self.slices {
            if slice.case.has_foreground()? {
                found.push(slice);
            }
        }
        let wrong = |expected: String, found: String| Error::file(&self.root, "labels", expected, found);
        if found.is_empty() {
            let count = self.slices.len();
            return Err(wrong("foreground on some slice".into(), format!("none in any of {count}")));
        }
        match slices {
            Slices::All => {}
            Slices::Every(every) => {
                found = found
                    .chunk_by(|a, b| a.series() == b.series())
                    .flat_map(|run| run.iter().step_by(*every))
                    .copied()
                    .collect();
            }
            Slices::List(list) => {
                if let Some(missing) = list.iter().find(|&wanted| found.iter().all(|slice| slice.slice != *wanted)) {
                    return Err(wrong("foreground on it".into(), format!("none on slice {missing}")));
                }
                found.retain(|slice| list.contains(&slice.slice));
            }
        }
        Ok(found)
    }

    /// Encodes chosen slices and makes examples of them. Of a whole folder, slices whose label is lost at the model's
    /// size are left out, as long as some remain; `skipped` gets their labels' files.
    ///
    /// # Errors
    /// As [`Trainer::sample`], with the file; what reading and encoding return.
    pub fn examples(
        &self,
        chosen: &[&FolderSlice],
        segmenter: &mut Segmenter,
        trainer: &Trainer,
        context: Option<&Context>,
        slices: &Slices,
        skipped: &mut Vec<PathBuf>,
    ) -> Result<Vec<Example>> {
        let mut encoded = Encoded::new(slices);
        for batch in chosen.chunks(segmenter.batch()) {
            let mut placed = Vec::with_capacity(batch.len());
            for (slot, slice) in batch.iter().enumerate() {
                let Pair { pixels, label, height, width } = Pair::read(&slice.case)?;
                let picture = Picture { pixels: &pixels, height, width, channels: 3 };
                placed.push((segmenter.place(slot, &picture, context)?, label));
            }
            let labels = placed.iter().map(|(frame, label)| (frame, label.as_slice()));
            for (slice, sample) in batch.iter().zip(samples(segmenter, trainer, labels)?) {
                let is_skipped = encoded.take(sample, slice.volume, slice.slice, |expected, found| {
                    Error::file(slice.label(), "label", expected, found)
                })?;
                if is_skipped {
                    skipped.push(slice.label().into());
                }
            }
        }
        encoded.finish()
    }
}

impl FolderSlice {
    /// Of which slices every so many are taken.
    fn series(&self) -> (usize, &[String]) {
        (self.volume, &self.case.groups)
    }
}

/// The one task there is, or the one that is asked for.
fn chosen(root: &Path, cases: &[Case], task: Option<&str>) -> Result<String> {
    let tasks: BTreeSet<&str> = cases.iter().map(|case| case.task.as_str()).collect();
    let listed = || tasks.iter().copied().collect::<Vec<_>>().join(", ");
    match task {
        Some(task) if tasks.contains(task) => Ok(task.into()),
        Some(task) => Err(Error::file(root, "folder", format!("slices of {task}"), listed())),
        None if tasks.len() == 1 => Ok(listed()),
        None => Err(Error::file(root, "folder", "slices of one task, or --task for one of several", listed())),
    }
}

/// Puts cases in the order of patients and slices, where all names tell them, and says how many patients there are. One
/// patient's sequences are one volume: they show the same.
fn placed(cases: Vec<Case>, layout: Layout) -> (Vec<FolderSlice>, Option<usize>) {
    let of = |case: &Case| {
        let data_set = match layout {
            Layout::Internal => case.groups.first(),
            Layout::External => case.groups.get(1),
        };
        let (patient, slice) = patient_and_slice(&case.file)?;
        Some(((data_set.cloned(), patient.to_string()), slice))
    };
    let Some(told) = cases.iter().map(of).collect::<Option<Vec<_>>>() else {
        let unplaced = |(slice, case)| FolderSlice { case, volume: 0, slice };
        return (cases.into_iter().enumerate().map(unplaced).collect(), None);
    };
    let patients: BTreeSet<_> = told.iter().map(|(patient, _)| patient.clone()).collect();
    let volumes: BTreeMap<_, usize> = patients.iter().zip(0..).collect();
    let place = |(case, (patient, slice))| FolderSlice {
        case,
        volume: volumes.get(&patient).copied().unwrap_or_default(),
        slice,
    };
    let mut slices: Vec<FolderSlice> = cases.into_iter().zip(told).map(place).collect();
    slices.sort_by(|a, b| (a.series(), a.slice).cmp(&(b.series(), b.slice)));
    (slices, Some(patients.len()))
}

/// Of `casenum_PATIENT_sliceid_SLICE.npy`.
fn patient_and_slice(file: &str) -> Option<(&str, usize)> {
    let name = file.rsplit('/').next()?.strip_suffix(".npy")?.strip_prefix("casenum_")?;
    let (patient, slice) = name.rsplit_once("_sliceid_")?;
    Some((patient, slice.parse().ok()?))
}
