//! What is odd about files that can be read.

use super::instance::{Instance, Photometric};
use super::stack::Oddity;
use super::tags;
use crate::codes::Code;

/// What is odd about the files of a volume.
pub fn of_files<'a>(instances: impl Iterator<Item = &'a Instance>) -> Vec<Oddity> {
    let (instances, mut oddities): (Vec<&Instance>, _) = (instances.collect(), Vec::new());
    let Some(first) = instances.first() else { return oddities };
    // Where frames have maps of real world values, those without one are of other volumes.
    let mapped = instances.iter().flat_map(|file| &file.frames).any(|frame| frame.map.is_some());
    if !mapped && instances.iter().any(|file| file.photometric == Photometric::Monochrome1) {
        let text = "MONOCHROME1: stored values are turned (the largest less the value) before the rescale, as ITK does and \
            pydicom does not";
        oddities.push(Oddity::new(Code::DicomInverted, text));
    }
    if let Some(from) = first.spacing_from {
        oddities.push(Oddity::new(Code::DicomSpacing, format!("spacing within slices is {from}")));
    }
    if let Some([low, high]) = first.padding {
        let range = if low == high { format!("{low}") } else { format!("{low} to {high}") };
        oddities.push(Oddity::new(
            Code::DicomPadding,
            format!("stored value {range} is padding and does not count for the range"),
        ));
    }
    let frames = instances.iter().flat_map(|file| &file.frames).filter(|frame| !mapped || frame.map.is_some());
    let scales: Vec<(f64, f64)> = frames.map(|frame| frame.scale).collect();
    if scales.windows(2).any(|pair| pair[0] != pair[1]) {
        oddities.push(Oddity::new(
            Code::DicomScales,
            "slices have slopes and intercepts of their own: each one's are applied",
        ));
    }
    if !mapped && instances.iter().any(|file| file.tables.item(tags::MODALITY_LUT_SEQUENCE).is_some()) {
        oddities.push(Oddity::new(Code::DicomModalityTable, "values come from a modality lookup table"));
    }
    oddities
}
