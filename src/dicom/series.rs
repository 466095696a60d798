//! Series of a folder, a file or a zip archive, and the one volume that is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::input::Place;
use super::instance::{Found, Instance};
use super::parse;
use super::pixels::{Slices, pool};
use super::real_world;
use super::stack::{Grid, Oddity, Stack, stacks};
use super::value_map::Named;
use crate::codes::Code;
use crate::{Error, Result, zip};

/// Folders within each other.
const DEEPEST: u32 = 16;
const MOST_FILES: usize = 1 << 17;

/// All series of an input.
pub struct Scan {
    pub path: PathBuf,
    /// By UID.
    pub series: BTreeMap<String, Vec<Instance>>,
    /// Files that are DICOM and could not be read, with the reason.
    pub unreadable: Vec<Error>,
    /// Files that are no images: other objects, and what is not DICOM.
    pub others: usize,
}

/// Whether the file at `path` is DICOM or a zip archive of DICOM files, or it is a folder.
pub fn is_input(path: &Path) -> bool {
    if path.is_dir() {
        return true;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(132).read_to_end(&mut head));
    if read.is_err() || !path.is_file() {
        return false;
    }
    parse::is_dicom(&head) || (zip::is_archive(&head) && holds_dicom(path))
}

/// A DICOM object that masks can be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskObject {
    /// SEG of any kind.
    Segmentation,
    /// RTSTRUCT.
    StructureSet,
}

/// What object with masks the file at `path` is, if it is one.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for a DICOM file that is malformed.
pub fn mask_object(path: &Path) -> Result<Option<MaskObject>> {
    let Some(metadata) = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file) else { return Ok(None) };
    let place = Place::file(path, metadata.len());
    let head = place.open()?.peek(132).map_err(|flaw| flaw.at(path))?;
    if !parse::is_dicom(&head) {
        return Ok(None);
    }
    let parsed = parse::parse(place.open()?).map_err(|flaw| flaw.at(path))?;
    let class = parsed.data_set.text(super::tags::SOP_CLASS_UID).unwrap_or_default();
    Ok(match class.as_str() {
        super::segmentation::STRUCTURE_SET => Some(MaskObject::StructureSet),
        class => super::is_segmentation(class).then_some(MaskObject::Segmentation),
    })
}

/// Whether `path` is a folder or a zip archive of DICOM files.
pub fn is_collection(path: &Path) -> bool {
    let archive = || {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut head));
        read.is_ok() && zip::is_archive(&head) && holds_dicom(path)
    };
    path.is_dir() || (path.is_file() && archive())
}

/// Whether the first records of an archive have a DICOM file among them.
fn holds_dicom(path: &Path) -> bool {
    const LOOKED_AT: usize = 32;
    let dicom = |place: &Place| {
        let head = place.open().ok().and_then(|mut stream| stream.peek(132).ok());
        head.is_some_and(|head| parse::is_dicom(&head))
    };
    Place::records(path).is_ok_and(|places| places.iter().take(LOOKED_AT).any(dicom))
}

impl Scan {
    /// Reads the tags of all files, each of which is of the listing or named as unreadable.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be listed; [`Error::File`] where there is no DICOM image at all.
    pub fn read(path: &Path, threads: Option<usize>) -> Result<Self> {
        let places = places(path)?;
        let read = |place: &Place| -> Result<Found> {
            let head = place.open()?.peek(132).map_err(|flaw| flaw.at(&place.name))?;
            if parse::is_dicom(&head) { Instance::read(place) } else { Ok(Found::NoImage) }
        };
        let found: Vec<Result<Found>> = pool(threads)?.install(|| places.par_iter().map(read).collect());
        let mut scan = Scan { path: path.into(), series: BTreeMap::new(), unreadable: Vec::new(), others: 0 };
        let mut labels = 0;
        for found in found {
            match found {
                Ok(Found::Image(instance)) => scan.series.entry(instance.series.clone()).or_default().push(*instance),
                Ok(Found::Labels) => labels += 1,
                Ok(Found::NoImage) => scan.others += 1,
                Err(error) => scan.unreadable.push(error),
            }
        }
        if scan.series.is_empty() {
            if let Some(first) = scan.unreadable.pop() {
                return Err(first);
            }
            if labels > 0 {
                let expected = "a DICOM image: labels are for --rough, --labels, boxes and score";
                let found = format!("{labels} segmentation(s) or structure set(s)");
                return Err(Error::file(path, "input", expected, found));
            }
            return Err(Error::file(path, "input", "a DICOM image", format!("none in {} file(s)", places.len())));
        }
        scan.others += labels;
        Ok(scan)
    }

    /// The series that is asked for, or the only one.
    fn chosen(mut self, wanted: &Wanted) -> Result<(Vec<Instance>, Vec<Error>)> {
        let uid = match wanted.series {
            Some(uid) => uid.to_string(),
            None if self.series.len() == 1 => self.series.keys().next().cloned().unwrap_or_default(),
            None => {
                let list: Vec<String> = self.series.iter().map(|(uid, files)| shown(uid, files)).collect();
                let found = format!("{}: {}", self.series.len(), list.join("; "));
                return Err(Error::file(&self.path, "series", "one, or a chosen one (--series UID)", found));
            }
        };
        let found = self.series.remove(&uid).ok_or_else(|| {
            let known: Vec<&str> = self.series.keys().map(String::as_str).collect();
            Error::Argument { name: "series", expected: known.join(" or "), found: format!("'{}'", uid.escape_debug()) }
        })?;
        Ok((found, self.unreadable))
    }
}

fn shown(uid: &str, files: &[Instance]) -> String {
    let modality = files.first().map_or("", |file| &file.modality);
    format!("{} ({modality}, {} file(s))", uid.escape_debug(), files.len())
}

/// Which volume of an input, and how it is read.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Series Instance UID, where there are several series.
    pub series: Option<&'a str>,
    /// Key of a volume or its number from 1, where there are several volumes.
    pub volume: Option<&'a str>,
    /// Which map of real world values to take for the scale, by its label or unit; empty for the only one.
    pub real_world: Option<&'a str>,
    /// Threads that read and decode; all of the machine by default.
    pub threads: Option<usize>,
}

/// A volume of a series, its pixels unread.
pub struct Chosen {
    pub slices: Slices,
    pub grid: Option<Grid>,
    pub oddities: Vec<Oddity>,
    pub modality: String,
    pub files: usize,
    /// What made the values of the stored numbers: `stored` if nothing did, `rescale`, `modality-table`,
    /// `dose-grid-scaling` or `real-world`.
    pub scale: &'static str,
    /// Of the map of real world values, if all slices have the same.
    pub label: Option<String>,
    pub unit: Option<String>,
}

/// Finds the one volume that is `wanted`, and refuses what is not one.
///
/// # Errors
/// As [`Scan::read`]; [`Error::File`] for several series or volumes without a choice, and for slices that are no
/// volume, with their files and places.
pub fn open(path: &Path, wanted: &Wanted) -> Result<Chosen> {
    let (instances, unreadable) = Scan::read(path, wanted.threads)?.chosen(wanted)?;
    let stack = stack(path, &instances, wanted)?;
    let Stack { slices, grid, problem, mut oddities, .. } = stack;
    if let Some(problem) = problem {
        return Err(Error::file(path, "slices", "one at each of evenly spaced places", problem.text));
    }
    oddities.extend(unreadable.iter().map(|error| Oddity::new(Code::DicomUnreadable, format!("left out: {error}"))));
    // Files of other volumes are dropped, and slices count from the first that stays.
    let mut moved = vec![None; instances.len()];
    slices.iter().for_each(|slice| moved[slice.instance] = Some(0));
    let mut kept = Vec::new();
    for (at, instance) in instances.into_iter().enumerate() {
        if moved[at].is_some() {
            moved[at] = Some(kept.len());
            kept.push(instance);
        }
    }
    let slices = slices.into_iter().filter_map(|mut slice| {
        slice.instance = moved[slice.instance]?;
        Some(slice)
    });
    let slices: Vec<_> = slices.collect();
    let named = real_world::apply(&mut kept, &slices, wanted.real_world)?;
    oddities.extend(super::oddities::of_files(kept.iter()));
    let (scale, Named { label, unit }) = match (named, kept.first()) {
        (Some(named), _) => ("real-world", named),
        (None, Some(file)) => (file.scale_from(), Named { label: None, unit: file.unit.clone() }),
        (None, None) => ("stored", Named { label: None, unit: None }),
    };
    let (modality, files) = (kept.first().map(|file| file.modality.clone()).unwrap_or_default(), kept.len());
    let slices = Slices::new(kept, slices, wanted.threads)?;
    Ok(Chosen { slices, grid, oddities, modality, files, scale, label, unit })
}

fn stack(path: &Path, instances: &[Instance], wanted: &Wanted) -> Result<Stack> {
    let mut found = stacks(instances);
    let keys = || found.iter().map(|s| format!("{} ({} slice(s))", s.key, s.slices.len())).collect::<Vec<_>>();
    let at = match wanted.volume {
        None if found.len() == 1 => 0,
        None => {
            let nowhere = instances.iter().flat_map(|file| &file.frames).all(|frame| frame.position.is_none());
            let why = if nowhere { ": without ImagePositionPatient slices cannot be stacked" } else { "" };
            let expected = format!("one, or a chosen one (--volume KEY){why}");
            let found = format!("{}: {}", found.len(), keys().join("; "));
            return Err(Error::file(path, "volumes of the series", expected, found));
        }
        Some(key) => {
            let numbered = || key.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|&n| n < found.len());
            let at = found.iter().position(|stack| stack.key == key).or_else(numbered);
            let wrong = || Error::Argument {
                name: "volume",
                expected: keys().join(" or "),
                found: format!("'{}'", key.escape_debug()),
            };
            at.ok_or_else(wrong)?
        }
    };
    Ok(found.swap_remove(at))
}

/// The files of a folder and its folders, of an archive, or the one file, in the order of their names.
fn places(path: &Path) -> Result<Vec<Place>> {
    let failed = |e| Error::io(path, "read", e);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files)?;
        return Ok(files);
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut head)).map_err(failed)?;
    if zip::is_archive(&head) {
        return Place::whole_records(path);
    }
    Ok(vec![Place::file(path, metadata.len())])
}

fn walk(folder: &Path, depth: u32, files: &mut Vec<Place>) -> Result<()> {
    let failed = |e| Error::io(folder, "list", e);
    let mut entries =
        std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // A link to a folder could lead back; a link to a file is a file.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && depth < DEEPEST {
            walk(&entry.path(), depth + 1, files)?;
        } else if let Ok(metadata) = std::fs::metadata(entry.path())
            && metadata.is_file()
        {
            if files.len() >= MOST_FILES {
                return Err(Error::file(folder, "files", format!("at most {MOST_FILES}"), "more"));
            }
            files.push(Place::file(&entry.path(), metadata.len()));
        }
    }
    Ok(())
}
