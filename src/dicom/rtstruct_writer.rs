//! DICOM structure sets out: for each label its outlines, slice by slice.

use std::io::{self, Write};

use super::contour::{Point, outlines};
use super::on_grid::{OnGrid, Plane};
use super::parse::IMPLICIT_LITTLE;
use super::segmentation::STRUCTURE_SET;
use super::study::{Reference, SERIES_INSTANCE, Source, Study, new_uid, now};
use super::write::{Set, decimal, write_meta, write_set};
use crate::image::Segment;

const STUDY_CLASS: &str = "1.2.840.10008.3.1.2.3.1";
const FRAME_OF_REFERENCE: u32 = 0x0020_0052;
const CONTOUR_IMAGES: u32 = 0x3006_0016;
const REFERENCED_ROI: u32 = 0x3006_0084;

/// Writes a structure of each of `segments`, numbered by its label. The representations are implicit, since an outline
/// may be longer than 65534 bytes.
///
/// # Errors
/// What `out` returns.
pub fn write_structures(
    out: &mut impl Write,
    study: &Study,
    source: &Source,
    grid: &OnGrid,
    segments: &[Segment],
) -> io::Result<()> {
    let (instance, series) = (new_uid("structure set"), new_uid("structures"));
    let (date, time) = now();
    let mut set = study.object(STRUCTURE_SET, &instance, &series, "RTSTRUCT", 1);
    let name = |segment: &Segment| {
        let own = study.own(&segment.name, 64);
        if own.is_empty() { format!("Segment {}", segment.label) } else { own }
    };
    let structures = segments.iter().map(|segment| {
        let mut item = Set::new();
        item.text(0x3006_0022, b"IS", segment.label.to_string())
            .text(0x3006_0024, b"UI", &study.frame_of_reference)
            .text(0x3006_0026, b"LO", name(segment))
            .text(0x3006_0036, b"CS", "SEMIAUTOMATIC");
        item
    });
    let observations = segments.iter().enumerate().map(|(at, segment)| {
        let mut item = Set::new();
        item.text(0x3006_0082, b"IS", (at + 1).to_string())
            .text(REFERENCED_ROI, b"IS", segment.label.to_string())
            .text(0x3006_00A4, b"CS", "")
            .text(0x3006_00A6, b"PN", "");
        item
    });
    set.text(0x0008_103E, b"LO", "medsegx structures")
        .text(0x3006_0002, b"SH", "medsegx")
        .text(0x3006_0008, b"DA", date)
        .text(0x3006_0009, b"TM", time)
        .item(0x3006_0010, referenced_frame(study))
        .items(0x3006_0020, structures.collect())
        .items(0x3006_0039, contours(study, source, grid, segments))
        .items(0x3006_0080, observations.collect())
        .text(0x300E_0002, b"CS", "UNAPPROVED");
    write_meta(out, STRUCTURE_SET, &instance, IMPLICIT_LITTLE)?;
    write_set(out, &set, false)
}

fn referenced_frame(study: &Study) -> Set {
    let mut images: Vec<&Reference> = study.slices.iter().collect();
    images.dedup_by(|a, b| a.instance == b.instance && a.frame == b.frame);
    let (mut series, mut of_study, mut set) = (Set::new(), Set::new(), Set::new());
    series
        .text(SERIES_INSTANCE, b"UI", &study.series)
        .items(CONTOUR_IMAGES, images.into_iter().map(Reference::item).collect());
    of_study.text(0x0008_1150, b"UI", STUDY_CLASS).text(0x0008_1155, b"UI", &study.study).item(0x3006_0014, series);
    set.text(FRAME_OF_REFERENCE, b"UI", &study.frame_of_reference).item(0x3006_0012, of_study);
    set
}

/// An item for each segment; one without voxels has no contours.
fn contours(study: &Study, source: &Source, grid: &OnGrid, segments: &[Segment]) -> Vec<Set> {
    let mut found: Vec<Vec<Set>> = vec![Vec::new(); segments.len()];
    for k in 0..source.dims[2] {
        let plane = grid.plane(k);
        let mut here = vec![false; 1 << 16];
        plane.each_run(|label| here[usize::from(label)] = true);
        for (at, segment) in segments.iter().enumerate().filter(|(_, segment)| here[usize::from(segment.label)]) {
            let inside: Vec<bool> = match &plane {
                Plane::U8(labels) => labels.iter().map(|&label| u16::from(label) == segment.label).collect(),
                Plane::U16(labels) => labels.iter().map(|&label| label == segment.label).collect(),
            };
            let outlines = outlines(&inside, source.dims[0], source.dims[1]);
            found[at].extend(outlines.iter().map(|outline| contour(study, source, k, outline)));
        }
    }
    let item = |(segment, contours): (&Segment, Vec<Set>)| {
        let mut item = Set::new();
        let colour = crate::image::legend::colour(segment.label).map(|value| value.to_string());
        item.text(0x3006_002A, b"IS", colour.join("\\")).text(REFERENCED_ROI, b"IS", segment.label.to_string());
        if !contours.is_empty() {
            item.items(0x3006_0040, contours);
        }
        item
    };
    segments.iter().zip(found).map(item).collect()
}

fn contour(study: &Study, source: &Source, k: usize, outline: &[Point]) -> Set {
    let origin = source.position(k);
    let [columns, rows, _] = source.grid.steps;
    // Ten-thousandths of a millimetre are far less than the quarter of a voxel that outlines run inside.
    let text = |value: f64| decimal((value * 1e4).round() / 1e4);
    let place = |&[x, y]: &Point| (0..3).map(move |i| text(origin[i] + x * columns[i] + y * rows[i]));
    let numbers: Vec<String> = outline.iter().flat_map(place).collect();
    let mut set = Set::new();
    set.item(CONTOUR_IMAGES, study.slices[k].item())
        .text(0x3006_0042, b"CS", "CLOSED_PLANAR")
        .text(0x3006_0046, b"IS", outline.len().to_string())
        .text(0x3006_0050, b"DS", numbers.join("\\"));
    set
}
