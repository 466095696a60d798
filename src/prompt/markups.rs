//! Markups of 3D Slicer (`.mrk.json`): boxes and point lists as its users draw them.
//!
//! A box lies where Slicer shows it: around its control point, whatever `center` says. Its place is turned into voxels
//! by the image's affine; a box that is turned against the voxels is cut slice by slice, and each cut enclosed by a
//! rectangle. Fields that are of no use here are passed over, whatever they hold; numbers are checked before they
//! count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::rough::follow;
use super::space::{Patient, cut};
use super::{Grid, PixelBox, Point, Target};
use crate::codes::{Code, Warning};
use crate::taxonomy::Query;
use crate::{Error, Result};

/// Most markups of a file, and points of a list.
const MOST: usize = 1 << 14;
/// Millimetres that `center` may lie from the control point.
const SAME_PLACE: f64 = 1e-3;
/// How far, in voxels of the image, the edges of a box may be off its axes and still count as along them.
const ALONG: f64 = 1e-3;
/// Words by which a point is one of the background.
const BACKGROUND: [&str; 5] = ["-", "background", "negative", "outside", "exclude"];

/// What precedes a target's label in the description of a box's control point.
pub(super) const LABEL: &str = "label ";

/// Points by slice.
type Clicks = BTreeMap<usize, Vec<Point>>;

#[derive(Deserialize)]
struct File {
    markups: Vec<Markup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Markup {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    coordinate_system: Option<serde_json::Value>,
    coordinate_units: Option<serde_json::Value>,
    roi_type: Option<String>,
    center: Option<Vec<f64>>,
    orientation: Option<Vec<f64>>,
    size: Option<Vec<f64>>,
    inside_out: Option<bool>,
    control_points: Option<Vec<ControlPoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ControlPoint {
    label: Option<String>,
    description: Option<String>,
    position: Option<Vec<Option<f64>>>,
    position_status: Option<String>,
}

impl ControlPoint {
    /// Where it lies; `None` for one that is not placed.
    fn place(&self) -> Option<[f64; 3]> {
        let defined = self.position_status.as_deref().is_none_or(|status| status == "defined");
        let numbers = self.position.as_ref().filter(|_| defined)?;
        let &[Some(x), Some(y), Some(z)] = numbers.as_slice() else { return None };
        [x, y, z].iter().all(|value| value.is_finite()).then_some([x, y, z])
    }

    /// The label that a file of this program's gives the target.
    fn target_label(&self) -> Option<u16> {
        self.description.as_ref()?.strip_prefix(LABEL)?.parse().ok().filter(|&label| label > 0)
    }

    fn is_background(&self) -> bool {
        let words = [&self.label, &self.description];
        words.into_iter().flatten().any(|word| BACKGROUND.contains(&word.trim().to_lowercase().as_str()))
    }
}

/// Whether a JSON text is a file of markups and not of this project's boxes.
pub(super) fn is_markups(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        markups: Option<serde::de::IgnoredAny>,
        version: Option<serde::de::IgnoredAny>,
    }
    let probe: std::result::Result<Probe, _> = serde_json::from_slice(bytes);
    probe.is_ok_and(|probe| probe.markups.is_some() && probe.version.is_none())
}

/// The targets of a file of markups: boxes of one name are one target, and so are lists of points. `path` is for
/// messages, and names what has no name.
pub(super) fn parse(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    let file: File = serde_json::from_slice(bytes)
        .map_err(|error| Error::file(path, "markups", "a file of 3D Slicer's markups", error))?;
    if file.markups.len() > MOST {
        return Err(Error::file(path, "markups", format!("at most {MOST}"), file.markups.len()));
    }
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.split('.').next().unwrap_or_default().to_string();
    let several = file.markups.len() > 1;
    let (mut targets, mut others) = (Vec::<Drawn>::new(), Vec::new());
    for (number, markup) in file.markups.iter().enumerate() {
        let unnamed = if several { format!("{stem} {}", number + 1) } else { stem.clone() };
        let name: String = markup.name.clone().filter(|name| !name.is_empty()).unwrap_or(unnamed);
        let name: String = if name.is_empty() { "markup".into() } else { name.chars().take(256).collect() };
        let place = format!("{}: markup {number} '{}'", path.display(), name.escape_debug());
        let reader = Reader { place, markup, grid };
        let found = match markup.kind.as_str() {
            "ROI" => reader.boxes().map(|(boxes, warnings)| (boxes, BTreeMap::new(), warnings))?,
            "Fiducial" | "PointList" => {
                reader.points().map(|(points, warnings)| (BTreeMap::new(), points, warnings))?
            }
            other => {
                others.push(other.escape_debug().to_string());
                continue;
            }
        };
        let target = match targets.iter().position(|target| target.name == name) {
            Some(known) => &mut targets[known],
            None => {
                targets.push(Drawn { name, ..Drawn::default() });
                let last = targets.len() - 1;
                &mut targets[last]
            }
        };
        let (boxes, points, warnings) = found;
        boxes.into_iter().for_each(|(slice, region)| target.boxes.entry(slice).or_default().push(region));
        points.into_iter().for_each(|(slice, more)| target.points.entry(slice).or_default().extend(more));
        target.warnings.extend(warnings);
        if markup.kind == "ROI" {
            let points = markup.control_points.iter().flatten();
            target.label = target.label.or_else(|| points.filter_map(ControlPoint::target_label).next());
        }
    }
    let Some(first) = targets.first_mut() else {
        let found = if others.is_empty() { "none".into() } else { others.join(", ") };
        return Err(Error::file(path, "markups", "a box (ROI) or a list of points (Fiducial)", found));
    };
    if !others.is_empty() {
        let message = format!("{}: left out: markups of type {}", path.display(), others.join(", "));
        first.warnings.push(Warning::new(Code::MarkupOdd, message));
    }
    let mut taken: BTreeSet<u16> = targets.iter().filter_map(|target| target.label).collect();
    let targets = targets.into_iter().enumerate().map(|(index, target)| {
        // The number of the target in the file, or the first behind it that no other target has.
        let free = (index as u16 + 1..=u16::MAX).find(|label| !taken.contains(label)).unwrap_or(u16::MAX);
        let label = target.label.unwrap_or(free);
        taken.insert(label);
        target.finish(path, label)
    });
    Ok(targets.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// What is drawn under one name.
#[derive(Default)]
struct Drawn {
    name: String,
    label: Option<u16>,
    boxes: BTreeMap<usize, Vec<PixelBox>>,
    points: Clicks,
    warnings: Vec<Warning>,
}

impl Drawn {
    fn finish(self, path: &Path, label: u16) -> Result<Vec<Target>> {
        let Drawn { name, boxes, points, warnings, .. } = self;
        if !boxes.is_empty() && !points.is_empty() {
            let place = format!("markups '{}'", name.escape_debug());
            return Err(Error::file(path, place, "boxes or points under one name", "both"));
        }
        let (mut tracks, single) = (Vec::new(), boxes.values().all(|all| all.len() == 1));
        for (slice, all) in boxes {
            match tracks.first_mut() {
                Some(track) if single => drop(BTreeMap::insert(track, slice, all[0])),
                _ => follow(&mut tracks, slice, all),
            }
        }
        let target = Target { name, label, query: Query::default(), boxes: BTreeMap::new(), points, warnings };
        Ok(if tracks.is_empty() { vec![target] } else { target.in_tracks(tracks) })
    }
}

struct Reader<'a> {
    place: String,
    markup: &'a Markup,
    grid: &'a Grid,
}

/// A box in millimetres of the file: its middle, and half of each of its three edges.
struct Solid {
    middle: [f64; 3],
    halves: [[f64; 3]; 3],
}

impl Reader<'_> {
    fn error(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        let what = format!("{}, {what}", self.place);
        Error::Prompt { what, expected: expected.to_string(), found: found.to_string() }
    }

    fn odd(&self, message: &str) -> Warning {
        Warning::new(Code::MarkupOdd, format!("{}: {message}", self.place))
    }

    /// The way from the file's millimetres to voxels.
    fn patient(&self, warnings: &mut Vec<Warning>) -> Result<Patient> {
        let name = self.markup.coordinate_system.as_ref();
        let signs = match name.map(|name| name.as_str()) {
            None | Some(Some("LPS")) => [-1.0, -1.0],
            Some(Some("RAS")) => [1.0, 1.0],
            // Slicer takes a number for LPS, and any other word for RAS.
            Some(_) => {
                let found = name.map(ToString::to_string).unwrap_or_default();
                return Err(self.error("coordinateSystem", "\"LPS\" or \"RAS\"", found.escape_debug()));
            }
        };
        let units = self.markup.coordinate_units.as_ref().map(ToString::to_string);
        if let Some(units) = units.filter(|units| !units.contains("mm")) {
            warnings.push(
                self.odd(&format!("coordinateUnits {}: taken as millimetres, as Slicer does", units.escape_debug())),
            );
        }
        Patient::new(self.grid, signs)
    }

    /// The control points that are placed, those that are not told.
    fn placed(&self, warnings: &mut Vec<Warning>) -> Result<Vec<(&ControlPoint, [f64; 3])>> {
        let points = self.markup.control_points.as_deref().unwrap_or_default();
        if points.len() > MOST {
            return Err(self.error("controlPoints", format!("at most {MOST}"), points.len()));
        }
        let placed: Vec<_> = points.iter().filter_map(|point| Some((point, point.place()?))).collect();
        if placed.len() < points.len() {
            let left_out = points.len() - placed.len();
            warnings.push(self.odd(&format!("{left_out} of {} points are not placed and left out", points.len())));
        }
        Ok(placed)
    }

    fn numbers<const N: usize>(&self, what: &str, numbers: Option<&Vec<f64>>) -> Result<Option<[f64; N]>> {
        let Some(numbers) = numbers else { return Ok(None) };
        let fits = <[f64; N]>::try_from(numbers.as_slice()).ok().filter(|n| n.iter().all(|v| v.is_finite()));
        fits.map(Some).ok_or_else(|| self.error(what, format!("{N} numbers"), format!("{} values", numbers.len())))
    }

    /// Unit vectors of the box's edges: the columns of `orientation`, which is written row by row.
    fn axes(&self) -> Result<[[f64; 3]; 3]> {
        let Some(rows) = self.numbers::<9>("orientation", self.markup.orientation.as_ref())? else {
            return Ok([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        };
        let axes: [[f64; 3]; 3] = [0, 1, 2].map(|c| [0, 1, 2].map(|r| rows[3 * r + c]));
        let product = |a: usize, b: usize| (0..3).map(|r| axes[a][r] * axes[b][r]).sum::<f64>();
        let square = (0..3).all(|a| (0..=a).all(|b| (product(a, b) - f64::from(u8::from(a == b))).abs() < 1e-3));
        if square { Ok(axes) } else { Err(self.error("orientation", "a rotation", format!("{rows:?}"))) }
    }

    fn solid(&self, warnings: &mut Vec<Warning>) -> Result<Solid> {
        if self.markup.inside_out == Some(true) {
            return Err(self.error("insideOut", "false: a box around the target", true));
        }
        let (axes, placed) = (self.axes()?, self.placed(warnings)?);
        let size = self.numbers::<3>("size", self.markup.size.as_ref())?;
        let (middle, size) = match (self.markup.roi_type.as_deref(), size) {
            (Some("BoundingBox"), _) => self.around(&axes, &placed)?,
            (_, Some(size)) => {
                let Some(&(_, middle)) = placed.first() else {
                    return Err(self.error(
                        "controlPoints",
                        "the box's middle: without one Slicer shows no box",
                        "none",
                    ));
                };
                (middle, size)
            }
            (_, None) => return Err(self.error("size", "three lengths: without them Slicer shows no box", "none")),
        };
        if let Some(center) = self.numbers::<3>("center", self.markup.center.as_ref())? {
            let apart = (0..3).map(|axis| (center[axis] - middle[axis]).powi(2)).sum::<f64>().sqrt();
            if apart > SAME_PLACE {
                let message = format!("center lies {apart:.3} mm from the control point, which counts, as in Slicer");
                warnings.push(self.odd(&message));
            }
        }
        if size.iter().any(|&length| length <= 0.0 || length > 1e6) {
            return Err(self.error("size", "three lengths above 0", format!("{size:?}")));
        }
        Ok(Solid { middle, halves: [0, 1, 2].map(|edge| axes[edge].map(|part| part * size[edge] / 2.0)) })
    }

    /// Middle and size of the box around points, along its axes.
    fn around(&self, axes: &[[f64; 3]; 3], placed: &[(&ControlPoint, [f64; 3])]) -> Result<([f64; 3], [f64; 3])> {
        if placed.len() < 2 {
            return Err(self.error("controlPoints", "two or more: the box is around them", placed.len()));
        }
        let along = |edge: usize, place: &[f64; 3]| (0..3).map(|r| axes[edge][r] * place[r]).sum::<f64>();
        let ends = [0, 1, 2].map(|edge| {
            let places = placed.iter().map(|(_, place)| along(edge, place));
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        });
        let middle = [0, 1, 2].map(|r| (0..3).map(|e| axes[e][r] * (ends[e].0 + ends[e].1) / 2.0).sum());
        Ok((middle, ends.map(|(low, high)| high - low)))
    }

    /// The box on each slice that it meets.
    fn boxes(&self) -> Result<(BTreeMap<usize, PixelBox>, Vec<Warning>)> {
        let mut warnings = Vec::new();
        let patient = self.patient(&mut warnings)?;
        let Solid { middle, halves } = self.solid(&mut warnings)?;
        let corners: [[f64; 3]; 8] = std::array::from_fn(|bits| {
            let sign = |edge: usize| if bits >> edge & 1 == 0 { -1.0 } else { 1.0 };
            patient
                .to_voxel([0, 1, 2].map(|r| middle[r] + (0..3).map(|edge| sign(edge) * halves[edge][r]).sum::<f64>()))
        });
        let edges = [1, 2, 4].map(|bit| [0, 1, 2].map(|axis| corners[bit][axis] - corners[0][axis]));
        let upright = edges.iter().all(|edge| edge.iter().filter(|part| part.abs() > ALONG).count() <= 1);
        if !upright {
            let message =
                format!("{}: a box turned against the voxels: cut slice by slice, each cut enclosed", self.place);
            warnings.push(Warning::new(Code::BoxOblique, message));
        }
        let (axis, (x, y)) = (self.grid.axis.min(2), self.grid.plane());
        let (width, height) = self.grid.slice_size();
        let ends = corners.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), corner| {
            (low.min(corner[axis]), high.max(corner[axis]))
        });
        let name = ['x', 'y', 'z'];
        let what = &self.place;
        let (first, last) = cut(what, name[axis], [ends.0, ends.1].into_iter(), self.grid.slices(), &mut warnings)?;
        let mut boxes = BTreeMap::new();
        let mut missed = None;
        for slice in first..=last {
            let places = section(&corners, axis, (slice as f64).clamp(ends.0, ends.1));
            let side = |along: usize, length: usize, notes: &mut Vec<Warning>| {
                cut(what, name[along], places.iter().map(|place| place[along]), length, notes)
            };
            match (side(x, width, &mut warnings), side(y, height, &mut warnings)) {
                (Ok((x0, x1)), Ok((y0, y1))) => drop(boxes.insert(slice as usize, PixelBox { x0, y0, x1, y1 })),
                (Err(error), _) | (_, Err(error)) => missed = Some(error),
            }
        }
        match missed {
            Some(error) if boxes.is_empty() => Err(error),
            _ => Ok((boxes, warnings)),
        }
    }

    /// The points of each slice.
    fn points(&self) -> Result<(Clicks, Vec<Warning>)> {
        let mut warnings = Vec::new();
        let patient = self.patient(&mut warnings)?;
        let placed = self.placed(&mut warnings)?;
        let (axis, (x, y)) = (self.grid.axis.min(2), self.grid.plane());
        let mut points = Clicks::new();
        let mut outside = 0;
        for (point, place) in &placed {
            let at = patient.to_voxel(*place);
            let within = |axis: usize| at[axis] >= -0.5 && at[axis] < self.grid.dims[axis] as f64 - 0.5;
            if !(0..3).all(within) {
                outside += 1;
                continue;
            }
            let slice = at[axis].round().max(0.0) as usize;
            points.entry(slice).or_default().push(Point { x: at[x], y: at[y], inside: !point.is_background() });
        }
        if outside > 0 {
            warnings.push(self.odd(&format!("{outside} points lie outside the image and are left out")));
        }
        match points.is_empty() {
            true => Err(self.error("controlPoints", "points that are placed inside the image", "none")),
            false => Ok((points, warnings)),
        }
    }
}

/// Corners of the cut through a box at `level` along `axis`: where its edges pass it.
fn section(corners: &[[f64; 3]; 8], axis: usize, level: f64) -> Vec<[f64; 3]> {
    let mut places = Vec::new();
    for from in 0..8 {
        for to in [1, 2, 4].map(|bit| from | bit).into_iter().filter(|&to| to != from) {
            let (a, b) = (corners[from], corners[to]);
            let (low, high) = (a[axis].min(b[axis]), a[axis].max(b[axis]));
            if level < low - 1e-9 || level > high + 1e-9 {
                continue;
            }
            if high - low < 1e-9 {
                places.extend([a, b]);
            } else {
                let t = ((level - a[axis]) / (b[axis] - a[axis])).clamp(0.0, 1.0);
                places.push([0, 1, 2].map(|r| a[r] + (b[r] - a[r]) * t));
            }
        }
    }
    places
}
