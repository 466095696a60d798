//! DICOM structure sets in: contours as labels on the grid of an image, by the centres of its voxels.

use std::path::Path;

use super::contour::{Point, flip};
use super::data_set::{DataSet, Flaw, Flawed};
use super::input::Place;
use super::parse::parse_wanted;
use super::segmentation::ListedTarget;
use super::stack::Oddity;
use super::tags::{self, Tag, Vr};
use crate::codes::Code;
use crate::{Error, Result};

const STRUCTURES: Tag = 0x3006_0020;
const NUMBER: Tag = 0x3006_0022;
const NAME: Tag = 0x3006_0026;
const ROI_CONTOURS: Tag = 0x3006_0039;
const CONTOURS: Tag = 0x3006_0040;
const KIND: Tag = 0x3006_0042;
const DATA: Tag = 0x3006_0050;
const REFERENCED: Tag = 0x3006_0084;

/// How far from its slice a contour may rise, in slices, before it lies across slices.
const FLAT: f64 = 0.5;

pub fn wanted(tag: Tag) -> Option<Vr> {
    match tag {
        STRUCTURES | ROI_CONTOURS | CONTOURS => Some(Vr::Sq),
        NUMBER | DATA | REFERENCED => Some(Vr::Decimal),
        tags::CHARACTER_SET | KIND | NAME => Some(Vr::Text),
        _ => tags::vr(tag),
    }
}

/// A grid of voxels: from millimetres in DICOM's patient coordinates to indices.
pub struct VoxelGrid {
    pub dims: [usize; 3],
    pub indices: [[f64; 4]; 3],
}

impl VoxelGrid {
    fn index(&self, place: &[f64]) -> [f64; 3] {
        self.indices.map(|row| row[0] * place[0] + row[1] * place[1] + row[2] * place[2] + row[3])
    }
}

/// What was left out, and what is doubtful.
#[derive(Default)]
struct Counts {
    no_area: usize,
    across: usize,
    outside: usize,
    nested: usize,
    twice: usize,
    covered: u64,
}

/// A closed contour in indices of the grid.
struct Closed {
    label: u16,
    points: Vec<[f64; 3]>,
}

/// Labels of the structures at `path`, numbered as they are there; only those of `chosen`, where some are.
///
/// # Errors
/// [`Error::Io`]; [`Error::Memory`]; [`Error::File`] for structures whose numbers are no labels, and for what is
/// malformed.
pub fn read_structures(path: &Path, grid: &VoxelGrid, chosen: &[u32]) -> Result<(Vec<u16>, Vec<Oddity>)> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
    let parsed = parse_wanted(Place::file(path, length).open()?, wanted).map_err(|flaw| flaw.at(path))?;
    let mut counts = Counts::default();
    let contours = closed(&parsed.data_set, grid, chosen, &mut counts).map_err(|flaw| flaw.at(path))?;
    let axis = slicing_axis(&contours);
    let labels = paint(contours, grid, axis, &mut counts)?;
    Ok((labels, counts.oddities()))
}

/// From the headers: the structures, each with how many contours it has.
pub fn structures(root: &DataSet) -> Flawed<Vec<ListedTarget>> {
    let mut contours = std::collections::BTreeMap::new();
    for structure in root.items(ROI_CONTOURS) {
        *contours.entry(structure.required(REFERENCED, 0..=u32::MAX)?).or_insert(0) += structure.items(CONTOURS).len();
    }
    let target = |item: &DataSet| {
        let label = item.required(NUMBER, 0..=u32::MAX)?;
        let name = item.name(NAME, root).unwrap_or_default().trim().to_string();
        Ok(ListedTarget { label, name, parts: Some(contours.get(&label).copied().unwrap_or(0)) })
    };
    root.items(STRUCTURES).iter().map(target).collect()
}

/// All closed contours of the chosen structures.
fn closed(root: &DataSet, grid: &VoxelGrid, chosen: &[u32], counts: &mut Counts) -> Flawed<Vec<Closed>> {
    let mut found = Vec::new();
    for structure in root.items(ROI_CONTOURS) {
        let number = structure.required(REFERENCED, 0..=u32::MAX)?;
        if !chosen.is_empty() && !chosen.contains(&number) {
            continue;
        }
        let label = u16::try_from(number).ok().filter(|&label| label > 0);
        let label = label.ok_or_else(|| Flaw::new("ReferencedROINumber", "a number of 1 to 65535", number))?;
        for contour in structure.items(CONTOURS) {
            let kind = contour.text(KIND).unwrap_or_default();
            if !matches!(kind.as_str(), "CLOSED_PLANAR" | "CLOSEDPLANAR_XOR") {
                counts.no_area += 1;
                continue;
            }
            let numbers = contour.numbers(DATA)?;
            if numbers.len() % 3 != 0 {
                return Err(Flaw::new("ContourData", "three numbers a point", numbers.len()));
            }
            let points: Vec<[f64; 3]> = numbers.chunks_exact(3).map(|place| grid.index(place)).collect();
            if points.len() < 3 {
                counts.no_area += 1;
                continue;
            }
            found.push(Closed { label, points });
        }
    }
    Ok(found)
}

/// Lowest and highest index along an axis.
fn span(points: &[[f64; 3]], axis: usize) -> [f64; 2] {
    points.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], p| [low.min(p[axis]), high.max(p[axis])])
}

/// The axis across which most contours lie flat.
fn slicing_axis(contours: &[Closed]) -> usize {
    let flat = |axis: usize| {
        let is_flat = |contour: &&Closed| {
            let [low, high] = span(&contour.points, axis);
            high - low <= FLAT
        };
        contours.iter().filter(is_flat).count()
    };
    // Of equals the last axis.
    (0..3).max_by_key(|&axis| flat(axis)).unwrap_or(2)
}

/// Paints structure after structure, slice after slice.
fn paint(mut contours: Vec<Closed>, grid: &VoxelGrid, axis: usize, counts: &mut Counts) -> Result<Vec<u16>> {
    let [ni, nj, nk] = grid.dims;
    let mut labels: Vec<u16> = crate::memory::zeros(ni * nj * nk, "the structures")?;
    let strides = [1, ni, ni * nj];
    let (x, y) = [(1, 2), (0, 2), (0, 1)][axis];
    let (columns, rows) = (grid.dims[x], grid.dims[y]);
    let mut of_slices: std::collections::BTreeMap<(u16, usize), Vec<Vec<Point>>> = std::collections::BTreeMap::new();
    let mut order: Vec<u16> = Vec::new();
    for Closed { label, points } in contours.drain(..) {
        let [low, high] = span(&points, axis);
        if high - low > FLAT {
            counts.across += 1;
            continue;
        }
        // Exactly between two slices it is the lower one's, as for most readers.
        let slice = ((low + high) / 2.0 - 0.5).ceil();
        let inside =
            |p: &[f64; 3]| p[x] > -0.5 && p[y] > -0.5 && p[x] < columns as f64 - 0.5 && p[y] < rows as f64 - 0.5;
        if !((0.0..grid.dims[axis] as f64).contains(&slice) && points.iter().any(inside)) {
            counts.outside += 1;
            continue;
        }
        if !order.contains(&label) {
            order.push(label);
        }
        let outline: Vec<Point> = points.iter().map(|p| [p[x], p[y]]).collect();
        of_slices.entry((label, slice as usize)).or_default().push(outline);
    }
    let mut inside = vec![false; columns * rows];
    for label in order {
        for ((_, slice), outlines) in of_slices.range_mut((label, 0)..=(label, usize::MAX)) {
            counts.twice += without_twins(outlines);
            inside.fill(false);
            outlines.iter().for_each(|outline| flip(&mut inside, columns, rows, outline));
            counts.nested += usize::from(overlap(outlines, columns, rows, &inside));
            for (pixel, _) in inside.iter().enumerate().filter(|(_, inside)| **inside) {
                let at = slice * strides[axis] + pixel % columns * strides[x] + pixel / columns * strides[y];
                counts.covered += u64::from(labels[at] != 0 && labels[at] != label);
                labels[at] = label;
            }
        }
    }
    Ok(labels)
}

/// Leaves one of contours that are stored more than once, whichever point they begin with, and counts the others.
fn without_twins(outlines: &mut Vec<Vec<Point>>) -> usize {
    let key = |outline: &Vec<Point>| {
        let mut points: Vec<[i64; 2]> = outline.iter().map(|p| p.map(|v| (v * 1e4).round() as i64)).collect();
        points.sort_unstable();
        points
    };
    let (count, mut seen) = (outlines.len(), std::collections::BTreeSet::new());
    outlines.retain(|outline| seen.insert(key(outline)));
    count - outlines.len()
}

/// Whether pixels lie within more than one of the outlines.
fn overlap(outlines: &[Vec<Point>], columns: usize, rows: usize, odd: &[bool]) -> bool {
    if outlines.len() < 2 {
        return false;
    }
    let (mut all, mut one) = (0, vec![false; columns * rows]);
    for outline in outlines {
        one.fill(false);
        flip(&mut one, columns, rows, outline);
        all += one.iter().filter(|inside| **inside).count();
    }
    all != odd.iter().filter(|inside| **inside).count()
}

impl Counts {
    fn oddities(&self) -> Vec<Oddity> {
        let Counts { no_area, across, outside, nested, twice, covered } = *self;
        let mut found = Vec::new();
        if no_area > 0 {
            let text = format!("{no_area} contours are points or open: they are no area");
            found.push(Oddity::new(Code::ContoursLeftOut, text));
        }
        if twice > 0 {
            found.push(Oddity::new(
                Code::ContoursLeftOut,
                format!("{twice} contours are stored twice: they count once"),
            ));
        }
        if across > 0 {
            let text = format!("{across} contours do not lie in slices of the image: they are left out");
            found.push(Oddity::new(Code::SegOutside, text));
        }
        if outside > 0 {
            found.push(Oddity::new(
                Code::SegOutside,
                format!("{outside} contours lie outside the image: they are left out"),
            ));
        }
        if nested > 0 {
            let text = format!(
                "contours lie within each other or overlap on {nested} slices: what an odd number of them hold is inside"
            );
            found.push(Oddity::new(Code::ContoursNested, text));
        }
        if covered > 0 {
            let text = format!("{covered} voxels are of more than one structure: the later structure has them");
            found.push(Oddity::new(Code::SegOverlap, text));
        }
        found
    }
}
