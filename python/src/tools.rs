//! What needs no model: MedSegDB's tree, and masks against masks.

use std::path::{Path, PathBuf};

use medsegx::score::{Definition, score_labels, summary};
use medsegx::taxonomy::{BODY_PARTS, MODALITIES, ORGANS, SUBREGIONS, search};
use medsegx::volume::{Geometry, LabelVolume, OpenOptions, Opening, SeriesChoice, Volume, VolumeInfo};
use medsegx::{Error, Result};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use serde_json::json;

use crate::errors::raised;
use crate::run::{Cancel, Job, Memory, run};
use crate::segment::{Layout, LentArray, lent};

/// A target with its place in the tree and its row of the task embedding.
type Task = (&'static str, &'static str, &'static str, &'static str, Option<usize>);

/// Names of the modalities, and the targets that have `text` in their name or above it.
#[pyfunction]
pub fn tasks(text: &str) -> (Vec<&'static str>, Vec<Task>) {
    let place = |target: &&medsegx::taxonomy::Target| {
        let organ = &ORGANS[target.organ];
        (target.name, BODY_PARTS[organ.body_part], SUBREGIONS[organ.subregion], organ.name, target.task)
    };
    (MODALITIES.iter().map(|modality| modality.name).collect(), search(text).iter().map(place).collect())
}

/// An image or mask as a file or as an array and how it lies.
#[derive(FromPyObject)]
#[allow(clippy::large_enum_variant)] // two of them a call
pub enum Given<'py> {
    File(PathBuf),
    Array(Bound<'py, PyUntypedArray>, Layout),
}

/// A mask or image of a call.
pub enum Source {
    File(PathBuf),
    Lent(Box<LentArray>),
}

impl Source {
    /// Takes it from the caller, who keeps an array alive.
    pub fn new(py: Python<'_>, given: Given<'_>) -> PyResult<Source> {
        Ok(match given {
            Given::File(path) => Source::File(path),
            Given::Array(array, layout) => Source::Lent(Box::new(lent(py, &array, layout)?)),
        })
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Lent(_) => None,
        }
    }

    /// Whose memory a run with all of `sources` reads.
    pub fn memory<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Memory {
        let lent = sources.into_iter().any(|source| matches!(source, Source::Lent(_)));
        if lent { Memory::Lent } else { Memory::Own }
    }

    /// Ends reading of the caller's memory soon after the job is stopped.
    pub fn follow(&mut self, job: &Job) {
        if let Source::Lent(lent) = self {
            lent.volume.lender_mut().follow(&job.stop);
        }
    }

    /// All of an image, in memory of its own; of a file that holds several the chosen one.
    pub fn volume(&mut self, job: &Job, choice: &SeriesChoice) -> Result<Volume> {
        self.follow(job);
        match self {
            Source::File(path) => {
                Opening::open_chosen(path, &OpenOptions::default(), choice)?.beside(Ok)?.join_unless(&job.stop)
            }
            Source::Lent(lent) => lent.volume.whole(),
        }
    }

    /// All of a label map; of objects that lie on an image those `on` it, and of several labels `chosen` ones.
    pub fn labels(&mut self, job: &Job, on: Option<&VolumeInfo>, chosen: &[u32]) -> Result<Volume> {
        self.follow(job);
        match self {
            Source::File(path) => Volume::open_labels(path, &OpenOptions::LABELS, on, chosen),
            Source::Lent(lent) => lent.volume.whole(),
        }
    }
}

/// Scores as JSON: one object a label, and a summary.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn score(
    py: Python<'_>,
    mask: Given<'_>,
    reference: Given<'_>,
    spacing: Option<[f64; 3]>,
    definition: &str,
    tolerance: f64,
    labels: Option<Vec<u16>>,
    cancel: Option<&Cancel>,
) -> PyResult<String> {
    let definition: Definition = definition.parse().map_err(|error| raised(py, &error))?;
    let (mut mask, mut reference) = (Source::new(py, mask)?, Source::new(py, reference)?);
    run(py, Source::memory([&mask, &reference]), cancel, None, move |job| {
        let chosen: Vec<u32> = labels.iter().flatten().map(|&label| label.into()).collect();
        let reference = reference.labels(job, None, &chosen)?;
        job.check()?;
        let mask = mask.labels(job, Some(&reference), &chosen)?;
        job.check()?;
        check_place(&mask, &reference)?;
        let known = [&reference, &mask].into_iter().find_map(|volume| volume.geometry()).map(Geometry::spacing);
        let unit = if spacing.or(known).is_some() { "mm" } else { "voxels" };
        let spacing = spacing.or(known).unwrap_or([1.0; 3]);
        let (own, other) = (LabelVolume::from_volume(&mask)?.0, LabelVolume::from_volume(&reference)?.0);
        let scores = score_labels(&own, &other, spacing, definition, tolerance, labels.as_deref())?;
        let side = |axis: usize| (reference.dims()[axis] as f64 * spacing[axis]).powi(2);
        let total = summary(&scores, definition, (side(0) + side(1) + side(2)).sqrt());
        let of_label = |score: &medsegx::score::LabelScore| {
            let found = score.scores.ok();
            json!({
                "label": score.label,
                "voxels": score.counts,
                "dice": found.map(|scores| scores.dice),
                "hd95": found.map(|scores| scores.hd95),
                "nsd": found.and_then(|scores| scores.nsd),
                "missing": score.scores.err(),
            })
        };
        let labels: Vec<_> = scores.iter().map(of_label).collect();
        let report = json!({
            "definition": definition, "meaning": definition.meaning(), "tolerance": tolerance,
            "spacing": spacing, "unit": unit, "labels": labels, "summary": total,
        });
        Ok(report.to_string())
    })
}

/// Refuses masks that lie elsewhere than their reference.
fn check_place(mask: &Volume, reference: &Volume) -> Result<()> {
    let (Some(own), Some(other)) = (mask.geometry(), reference.geometry()) else { return Ok(()) };
    if mask.dims() != reference.dims() {
        return Ok(()); // told by the scores' own check
    }
    let (apart, least) = (own.distance(other, mask.dims()), other.spacing().into_iter().fold(f64::INFINITY, f64::min));
    if apart <= 0.5 * least {
        return Ok(());
    }
    let found = format!("corners up to {apart:.3} mm from it");
    Err(Error::file(mask.path(), "grid", "the reference's place in the patient", found))
}
