//! What an input has: series, their volumes, and what is odd about each, for `medsegx info FOLDER`.

use std::path::Path;

use serde::Serialize;

use super::frames::normal;
use super::instance::Instance;
use super::oddities;
use super::series::Scan;
use super::stack::{Oddity, Stack, stacks};
use super::value_map::names;
use crate::Result;

/// All series of a folder, a file or an archive.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// In the order of their UIDs.
    pub series: Vec<ListedSeries>,
    /// Files that are DICOM and cannot be read, each with the reason.
    pub unreadable: Vec<String>,
    /// Files that are no DICOM images.
    pub other_files: usize,
}

/// One series.
#[derive(Clone, Debug, Serialize)]
pub struct ListedSeries {
    /// What `--series` takes.
    pub uid: String,
    /// CT, MR, PT, ...
    pub modality: String,
    /// How many files.
    pub files: usize,
    /// In the order of their numbers, from 1.
    pub volumes: Vec<ListedVolume>,
}

/// One volume of a series.
#[derive(Clone, Debug, Serialize)]
pub struct ListedVolume {
    /// What `--volume` takes.
    pub key: String,
    /// Columns, rows and slices.
    pub dims: [usize; 3],
    /// Bits of a sample.
    pub bits: u16,
    /// Millimetres between columns, rows and slices, where the files say.
    pub spacing: Option<[f64; 3]>,
    /// The plane that slices are nearest to: axial, coronal or sagittal.
    pub plane: Option<&'static str>,
    /// Transfer syntax of the first file.
    pub transfer_syntax: String,
    /// Unit of the values, where the files say.
    pub unit: Option<String>,
    /// Maps of real world values that `--real-world` can take, each with its label and unit.
    pub real_world: Vec<String>,
    /// Why it cannot be segmented.
    pub problem: Option<Oddity>,
    /// What is odd about it.
    pub oddities: Vec<Oddity>,
}

/// Lists what is at `path`; the headers are read by so many threads.
///
/// # Errors
/// [`crate::Error::Io`] for a folder that cannot be listed; [`crate::Error::File`] where there is no DICOM image at
/// all.
pub fn list(path: &Path, threads: Option<usize>) -> Result<Listing> {
    let scan = Scan::read(path, threads)?;
    let series = scan.series.iter().map(|(uid, files)| ListedSeries {
        uid: uid.clone(),
        modality: files.first().map(|file| file.modality.clone()).unwrap_or_default(),
        files: files.len(),
        volumes: stacks(files).into_iter().map(|stack| volume(files, stack)).collect(),
    });
    let series = series.collect();
    let unreadable = scan.unreadable.iter().map(ToString::to_string).collect();
    Ok(Listing { series, unreadable, other_files: scan.others })
}

fn volume(files: &[Instance], stack: Stack) -> ListedVolume {
    let Stack { key, slices, grid, problem, mut oddities } = stack;
    let first = &files[slices[0].instance];
    let frame = &first.frames[slices[0].frame];
    oddities.extend(oddities::of_files(slices.iter().map(|slice| &files[slice.instance])));
    let length = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let plane = frame.orientation.map(|directions| {
        let across = normal(&directions).map(f64::abs);
        let nearest = (0..3).max_by(|&a, &b| across[a].total_cmp(&across[b])).unwrap_or(2);
        ["sagittal", "coronal", "axial"][nearest]
    });
    ListedVolume {
        key,
        dims: [first.shape.columns, first.shape.rows, slices.len()],
        bits: first.shape.bits_stored,
        spacing: grid.map(|grid| grid.steps.map(length)),
        plane,
        transfer_syntax: first.transfer_syntax.clone(),
        unit: first.unit.clone(),
        real_world: names(&frame.maps),
        problem,
        oddities,
    }
}
