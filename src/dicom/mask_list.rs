//! What a segmentation or a structure set holds, from its headers, for `medsegx info FILE`.

use std::path::Path;

use serde::Serialize;

use super::data_set::{DataSet, Flawed};
use super::input::Place;
use super::parse::parse_wanted;
use super::segmentation::ListedTarget;
use super::series::{MaskObject, mask_object};
use super::tags::{self, Tag, Vr};
use super::{rtstruct_reader, seg_reader};
use crate::{Error, Result};

const REFERENCED_SERIES: Tag = 0x0008_1115;
const REFERENCED_FRAME_OF_REFERENCE: Tag = 0x3006_0010;
const REFERENCED_STUDY: Tag = 0x3006_0012;
const REFERENCED_SERIES_OF_STUDY: Tag = 0x3006_0014;

/// A segmentation or a structure set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskListing {
    /// BINARY, FRACTIONAL or LABELMAP segmentation, or structure set.
    pub object: String,
    /// Columns and rows of a segmentation's frames.
    pub size: Option<[u16; 2]>,
    /// Frames of a segmentation.
    pub frames: Option<usize>,
    /// UID of the series that the object says it belongs to.
    pub series: Option<String>,
    /// What it holds, in the order of the file.
    pub targets: Vec<ListedTarget>,
}

/// What the masks at `path` are; `None` where the file is no DICOM object with masks.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for what is malformed.
pub fn list_masks(path: &Path) -> Result<Option<MaskListing>> {
    let Some(object) = mask_object(path)? else { return Ok(None) };
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
    let wanted = match object {
        MaskObject::Segmentation => wanted_of_segmentation,
        MaskObject::StructureSet => wanted_of_structures,
    };
    let parsed = parse_wanted(Place::file(path, length).open()?, wanted).map_err(|flaw| flaw.at(path))?;
    let listed = match object {
        MaskObject::Segmentation => segmentation(&parsed.data_set),
        MaskObject::StructureSet => structures(&parsed.data_set),
    };
    listed.map(Some).map_err(|flaw| flaw.at(path))
}

fn wanted_of_segmentation(tag: Tag) -> Option<Vr> {
    if tag == REFERENCED_SERIES { Some(Vr::Sq) } else { seg_reader::wanted(tag) }
}

fn wanted_of_structures(tag: Tag) -> Option<Vr> {
    match tag {
        REFERENCED_FRAME_OF_REFERENCE | REFERENCED_STUDY | REFERENCED_SERIES_OF_STUDY => Some(Vr::Sq),
        tag => rtstruct_reader::wanted(tag),
    }
}

fn segmentation(root: &DataSet) -> Flawed<MaskListing> {
    let (form, frames, targets) = seg_reader::segments(root)?;
    let axis = |tag| root.required(tag, 1..=65535).map(|n| n as u16);
    Ok(MaskListing {
        object: format!("{form} segmentation"),
        size: Some([axis(tags::COLUMNS)?, axis(tags::ROWS)?]),
        frames: Some(frames),
        series: root.item(REFERENCED_SERIES).and_then(|series| series.text(tags::SERIES_INSTANCE_UID)),
        targets,
    })
}

fn structures(root: &DataSet) -> Flawed<MaskListing> {
    let referenced = root.item(REFERENCED_FRAME_OF_REFERENCE).and_then(|frame| frame.item(REFERENCED_STUDY));
    let series = referenced.and_then(|study| study.item(REFERENCED_SERIES_OF_STUDY));
    Ok(MaskListing {
        object: "structure set".into(),
        size: None,
        frames: None,
        series: series.and_then(|series| series.text(tags::SERIES_INSTANCE_UID)),
        targets: rtstruct_reader::structures(root)?,
    })
}
