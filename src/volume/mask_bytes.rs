//! What the writers of masks share: labels as bytes, names, compression.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use crate::image::{LabelVolume, Labels, Segment};
use crate::memory::reserve;
use crate::{Error, Result};

/// The named labels, and those of the mask that have no name.
pub(super) fn all_segments(mask: &LabelVolume, named: &[Segment]) -> Vec<Segment> {
    let mut found = vec![false; 1 << 16];
    match mask.labels() {
        Labels::U8(labels) => labels.iter().for_each(|&label| found[usize::from(label)] = true),
        Labels::U16(labels) => labels.iter().for_each(|&label| found[usize::from(label)] = true),
    }
    let mut segments: Vec<Segment> = Vec::new();
    for segment in named {
        found[usize::from(segment.label)] = false;
        if segments.iter().all(|known| known.label != segment.label) {
            segments.push(segment.clone());
        }
    }
    let unnamed = (1..=u16::MAX).filter(|&label| found[usize::from(label)]);
    segments.extend(unnamed.map(|label| Segment { label, name: format!("Segment {label}") }));
    segments
}

/// A compressor into `out`: no name, no time, so that the same mask gives the same bytes.
pub(super) fn gzip<W: Write>(out: W) -> GzEncoder<W> {
    GzBuilder::new().write(out, Compression::default())
}

/// Labels of some planes in a NIfTI file.
pub(super) fn plane_bytes(mask: &LabelVolume, planes: Range<usize>, big_endian: bool) -> Result<Vec<u8>> {
    let [width, height, _] = mask.dims();
    let area = width * height;
    let values = planes.start * area..planes.end * area;
    match mask.labels() {
        Labels::U8(labels) => {
            let mut bytes = reserve(values.len(), "planes of the mask")?;
            bytes.extend_from_slice(&labels[values]);
            Ok(bytes)
        }
        Labels::U16(labels) => {
            let mut bytes = reserve(2 * values.len(), "planes of the mask")?;
            let order = |l: &u16| if big_endian { l.to_be_bytes() } else { l.to_le_bytes() };
            bytes.extend(labels[values].iter().flat_map(order));
            Ok(bytes)
        }
    }
}

/// An error of a mask that was written and is not as it should be.
pub(super) fn wrong(path: &Path, what: &str) -> Error {
    Error::Internal { place: format!("mask {}", path.display()), what: what.into() }
}
