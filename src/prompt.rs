//! Prompts in voxels of the input: boxes and points as typed, files of boxes, rough masks; and their way into the
//! model's frame.
//!
//! A box is a rectangle of one slice, in inclusive indices of the stored array. On a slice, x runs along the lower of
//! the two axes that are not the slicing axis, y along the higher one.
//!
//! Voxel boxes have to lie inside the image: an index that does not exist means another convention (one-based,
//! exclusive ends, other axis order), and guessing would segment the wrong thing. Boxes in millimetres and margins are
//! clamped.
//!
//! ```
//! use medsegx::prompt::{Grid, PixelBox, volume_box};
//!
//! # fn main() -> medsegx::Result<()> {
//! // x0, y0, z0, x1, y1, z1 of an array of 100 x 80 x 20 voxels, cut across z.
//! let grid = Grid { dims: [100, 80, 20], axis: 2, affine: None, forms_apart: None };
//! let boxes = volume_box("10,20,3,40,60,5".parse()?, "liver", &grid)?;
//! assert_eq!(boxes.len(), 3);
//! assert_eq!(boxes[&4], "10,20,40,60".parse::<PixelBox>()?);
//! # Ok(())
//! # }
//! ```

mod file;
mod markups;
mod npz;
mod rough;
mod rough_mask;
mod space;
mod write;

use std::collections::BTreeMap;
use std::str::FromStr;

pub use file::{LARGEST_FILE, MOST_BOXES, parse_boxes, read_boxes};
#[doc(hidden)]
pub use npz::has_boxes;
pub use npz::parse_npz;
pub use rough::{Foreground, RoughOptions, fill_gaps, rough_boxes};
pub use rough_mask::rough_targets;
pub use write::{Markup, boxes_file, markups_file};

use crate::codes::{Code, Warning};
use crate::model::config::Kind;
use crate::taxonomy::Query;
use crate::volume::VolumeInfo;
use crate::{Error, Result};

/// A rectangle of one slice: indices of the first and the last column and row inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct PixelBox {
    /// First column.
    pub x0: i64,
    /// First row.
    pub y0: i64,
    /// Last column.
    pub x1: i64,
    /// Last row.
    pub y1: i64,
}

/// The same rectangle on a run of slices: first and last voxel inside, as i, j, k of the stored array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeBox {
    /// The lowest index on each axis.
    pub low: [i64; 3],
    /// The highest index on each axis.
    pub high: [i64; 3],
}

/// A point of one slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Column; the middle of pixel 3 is 3.0.
    pub x: f64,
    /// Row.
    pub y: f64,
    /// True for a point of the object, false for one of the background.
    pub inside: bool,
}

/// One thing to segment: its boxes by slice index.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name for reports.
    pub name: String,
    /// Value in the mask, 1 or more.
    pub label: u16,
    /// What the target says of its place in MedSegDB's tree.
    pub query: Query,
    /// A box a slice, by index along the slicing axis. A target with several on one slice comes as several of one
    /// label.
    pub boxes: BTreeMap<usize, PixelBox>,
    /// Points in pixels of the slice, for targets without boxes.
    pub points: BTreeMap<usize, Vec<Point>>,
    /// What was done to the boxes that the user may want to know: clamped, or an oblique box enclosed.
    pub warnings: Vec<Warning>,
}

/// The stored array that boxes refer to.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Voxels along i, j, k.
    pub dims: [usize; 3],
    /// The slicing axis: 0, 1 or 2.
    pub axis: usize,
    /// Voxel indices to millimetres, RAS+, as in NIfTI; `None` for an input without geometry.
    pub affine: Option<[[f64; 4]; 4]>,
    /// Where the image has two affines that differ and none was chosen: the millimetres between them. Boxes in
    /// millimetres are refused then.
    pub forms_apart: Option<f64>,
}

impl Grid {
    /// The grid of `image`, cut across `axis`.
    pub fn of(image: &VolumeInfo, axis: usize) -> Grid {
        let apart = image.geometry().filter(|geometry| geometry.chosen.is_none()).and_then(|g| g.forms_apart);
        Grid { dims: image.dims(), axis, affine: image.affine(), forms_apart: apart }
    }

    /// The axes of a slice's x and y.
    pub fn plane(&self) -> (usize, usize) {
        match self.axis {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        }
    }

    /// Columns and rows of a slice.
    pub fn slice_size(&self) -> (usize, usize) {
        let (x, y) = self.plane();
        (self.dims[x], self.dims[y])
    }

    /// The error of a prompt, with the axis to cut across where the image is a single slice across another one.
    fn hinted(&self, error: Error) -> Error {
        let thin = |axis: &usize| self.dims[*axis] == 1 && *axis != self.axis.min(2) && self.slices() > 1;
        match (error, (0..3).find(thin)) {
            (Error::Prompt { what, expected, found }, Some(axis)) => {
                let name = ['i', 'j', 'k'][axis];
                let found = format!("{found} (the image is one slice across {name}: --axis {name})");
                Error::Prompt { what, expected, found }
            }
            (error, _) => error,
        }
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.dims[self.axis.min(2)]
    }
}

impl PixelBox {
    /// `[x0, y0, x1, y1]`.
    pub fn corners(&self) -> [f64; 4] {
        [self.x0, self.y0, self.x1, self.y1].map(|index| index as f64)
    }

    /// Pixels inside; 0 for a box whose ends are swapped.
    pub fn area(&self) -> u64 {
        let length = |first: i64, last: i64| u64::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(0);
        length(self.x0, self.x1).saturating_mul(length(self.y0, self.y1))
    }

    /// Checks that the box has pixels and lies inside a slice of `width x height`; `what` names it in the error.
    pub fn check(&self, what: &str, width: usize, height: usize) -> Result<()> {
        for (first, last, length, x) in [(self.x0, self.x1, width, 'x'), (self.y0, self.y1, height, 'y')] {
            check_range(what, x, first, last, length)?;
        }
        Ok(())
    }
}

/// First and last voxel of a stretch that is given by two numbers in either order. A fraction names the voxel whose
/// centre is nearest; exactly between two voxels it is the one inside the stretch. What the numbers lacked of two
/// ascending indices is noted with `what`. Where the ends are not `inclusive` the higher number is one voxel on.
pub(crate) fn stretch(a: f64, b: f64, inclusive: bool, what: &str, notes: &mut Vec<Warning>) -> (i64, i64) {
    let Stretch { first, last, low, high, swapped, rounded } = Stretch::of(a, b, inclusive);
    let once = |notes: &mut Vec<Warning>, code: Code, message: String| {
        if !notes.iter().any(|note| note.code == code) {
            notes.push(Warning::new(code, message));
        }
    };
    if swapped {
        once(notes, Code::CornersSwapped, format!("{what}: corners were given as {a}, {b}; taken as {low}, {high}"));
    }
    if rounded {
        once(
            notes,
            Code::BoxRounded,
            format!("{what}: {low} to {high} is not in whole voxels; taken as {first} to {last}"),
        );
    }
    (first, last)
}

/// Two numbers of a box as a run of voxels.
pub(crate) struct Stretch {
    pub first: i64,
    pub last: i64,
    low: f64,
    high: f64,
    /// Whether the numbers came in the other order.
    pub swapped: bool,
    /// Whether they were no whole numbers.
    pub rounded: bool,
}

impl Stretch {
    /// By the rule of [`stretch`].
    pub fn of(a: f64, b: f64, inclusive: bool) -> Stretch {
        let (low, high) = if b < a { (b, a) } else { (a, b) };
        // Casts saturate: far away stays far away.
        let first = (low + 0.5).floor() as i64;
        let last = match inclusive {
            true => ((high - 0.5).ceil() as i64).max(first),
            false => (high - 1.5).ceil() as i64,
        };
        Stretch { first, last, low, high, swapped: b < a, rounded: low.fract() != 0.0 || high.fract() != 0.0 }
    }

    /// Bits of the warnings that it makes.
    #[cfg(feature = "capi")]
    pub fn bits(&self) -> u64 {
        let bit = |is: bool, code: Code| if is { code.bit() } else { 0 };
        bit(self.swapped, Code::CornersSwapped) | bit(self.rounded, Code::BoxRounded)
    }
}

fn check_range(what: &str, axis: char, first: i64, last: i64, length: usize) -> Result<()> {
    let error = |expected: String| {
        Err(Error::Prompt { what: what.into(), expected, found: format!("{axis}0 = {first}, {axis}1 = {last}") })
    };
    if first > last {
        return error(format!("{axis}0 <= {axis}1, both inside the box"));
    }
    match usize::try_from(first).is_ok() && usize::try_from(last).is_ok_and(|last| last < length) {
        true => Ok(()),
        false if length == 0 => error("an image with voxels".into()),
        false => error(format!("voxel indices 0..={} along {axis}", length - 1)),
    }
}

impl PixelBox {
    /// Reads `x0,y0,x1,y1`, corners in any order, and what was done to them. A fraction names the voxel whose centre is
    /// nearest; exactly between two voxels it is the one inside the box.
    ///
    /// # Errors
    /// [`Error::Prompt`] for anything but four finite numbers.
    pub fn read(text: &str) -> Result<(PixelBox, Vec<Warning>)> {
        let [x0, y0, x1, y1] = finite("box", "x0,y0,x1,y1", text)?;
        let mut notes = Vec::new();
        let ((x0, x1), (y0, y1)) = (stretch(x0, x1, true, "box", &mut notes), stretch(y0, y1, true, "box", &mut notes));
        Ok((PixelBox { x0, y0, x1, y1 }, notes))
    }
}

impl FromStr for PixelBox {
    type Err = Error;

    /// As [`PixelBox::read`].
    fn from_str(text: &str) -> Result<Self> {
        Ok(PixelBox::read(text)?.0)
    }
}

impl VolumeBox {
    /// Reads `x0,y0,z0,x1,y1,z1` as [`PixelBox::read`] does.
    ///
    /// # Errors
    /// [`Error::Prompt`] for anything but six finite numbers.
    pub fn read(text: &str) -> Result<(VolumeBox, Vec<Warning>)> {
        let [x0, y0, z0, x1, y1, z1] = finite("box3d", "x0,y0,z0,x1,y1,z1", text)?;
        let mut notes = Vec::new();
        let ends = [(x0, x1), (y0, y1), (z0, z1)].map(|(a, b)| stretch(a, b, true, "box3d", &mut notes));
        Ok((VolumeBox { low: ends.map(|(first, _)| first), high: ends.map(|(_, last)| last) }, notes))
    }
}

impl FromStr for VolumeBox {
    type Err = Error;

    /// As [`VolumeBox::read`].
    fn from_str(text: &str) -> Result<Self> {
        Ok(VolumeBox::read(text)?.0)
    }
}

fn finite<const N: usize>(what: &str, form: &str, text: &str) -> Result<[f64; N]> {
    let found: [f64; N] = numbers(what, form, text)?;
    match found.iter().find(|number| !number.is_finite()) {
        None => Ok(found),
        Some(number) => {
            let (expected, found) = (format!("{form}, {N} finite numbers"), number.to_string());
            Err(Error::Prompt { what: what.into(), expected, found })
        }
    }
}

fn numbers<T: FromStr, const N: usize>(what: &str, form: &str, text: &str) -> Result<[T; N]> {
    let parts: Option<Vec<T>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    parts.and_then(|parts| parts.try_into().ok()).ok_or_else(|| Error::Prompt {
        what: what.into(),
        expected: format!("{form}, {N} numbers"),
        found: format!("'{}'", text.chars().take(80).collect::<String>()),
    })
}

/// Reads `x,y,label;...` with label 1 for the object and 0 for the background, and checks that the points lie inside a
/// slice of `width x height`.
pub fn parse_points(text: &str, width: usize, height: usize) -> Result<Vec<Point>> {
    let point = |part: &str| {
        let [x, y, label]: [f64; 3] = numbers("points", "x,y,label;...", part)?;
        let error =
            |expected: String| Error::Prompt { what: "points".into(), expected, found: format!("'{}'", part.trim()) };
        let inside = |value: f64, length: usize| value >= -0.5 && value < length as f64 - 0.5;
        if !inside(x, width) || !inside(y, height) {
            return Err(error(format!("a point inside the slice of {width} x {height} pixels")));
        }
        match label {
            0.0 | 1.0 => Ok(Point { x, y, inside: label == 1.0 }),
            _ => Err(error("label 0 (background) or 1 (object)".into())),
        }
    };
    text.split(';').map(point).collect()
}

/// The slice of a prompt on one slice; `slice` may be left out where there is only one. `what` names the prompt.
pub fn chosen_slice(slice: Option<usize>, what: &str, grid: &Grid) -> Result<usize> {
    let slices = grid.slices();
    let error = |found: String| {
        let expected = format!("a slice 0..={}", slices.saturating_sub(1));
        grid.hinted(Error::Prompt { what: what.into(), expected, found })
    };
    match slice {
        Some(slice) if slice < slices => Ok(slice),
        Some(slice) => Err(error(slice.to_string())),
        None if slices == 1 => Ok(0),
        None => Err(error("none named (--slice K)".into())),
    }
}

/// A box of one slice, the one of [`chosen_slice`].
pub fn slice_box(pixel_box: PixelBox, slice: Option<usize>, grid: &Grid) -> Result<BTreeMap<usize, PixelBox>> {
    let slice = chosen_slice(slice, "box", grid)?;
    let (width, height) = grid.slice_size();
    pixel_box.check("box", width, height).map_err(|error| grid.hinted(error))?;
    Ok(BTreeMap::from([(slice, pixel_box)]))
}

/// The same rectangle on every slice of a box; `what` names it in the error.
pub fn volume_box(volume_box: VolumeBox, what: &str, grid: &Grid) -> Result<BTreeMap<usize, PixelBox>> {
    let VolumeBox { low, high } = volume_box;
    for (axis, name) in ['x', 'y', 'z'].into_iter().enumerate() {
        check_range(what, name, low[axis], high[axis], grid.dims[axis]).map_err(|error| grid.hinted(error))?;
    }
    let (x, y) = grid.plane();
    let rectangle = PixelBox { x0: low[x], y0: low[y], x1: high[x], y1: high[y] };
    let axis = grid.axis.min(2);
    Ok((low[axis] as usize..=high[axis] as usize).map(|slice| (slice, rectangle)).collect())
}

impl PixelBox {
    fn widened(self, margin: u32, width: usize, height: usize) -> Self {
        let margin = i64::from(margin);
        PixelBox {
            x0: (self.x0 - margin).max(0),
            y0: (self.y0 - margin).max(0),
            x1: (self.x1 + margin).min(width as i64 - 1),
            y1: (self.y1 + margin).min(height as i64 - 1),
        }
    }
}

/// From pixels of a slice to pixels of the model's frame. Indices are scaled as they are, but for where MedSegX's boxes
/// end: the half pixel is the prompt encoder's business.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Factor of columns.
    pub x: f64,
    /// Factor of rows.
    pub y: f64,
    /// Whether places are cut to whole pixels of the frame.
    pub whole: bool,
    /// Whether an enlarged box ends with the last pixel that it holds: its last index names the whole pixel of the
    /// slice, not its left edge. MedSegX's boxes are tight in its own frame. In a frame smaller than the slice both
    /// corners are scaled as they are.
    pub last_is_whole: bool,
}

impl Scale {
    /// For a slice of `width x height` in a frame of side `size`: both sides stretched, except for plain SAM and
    /// LiteMedSAM, whose one factor keeps the aspect.
    pub fn new(kind: Kind, size: usize, width: usize, height: usize) -> Self {
        let factor = |length: usize| size as f64 / length as f64;
        match kind {
            Kind::MedSegX | Kind::MedSam => {
                let last_is_whole = kind == Kind::MedSegX;
                Scale { x: factor(width), y: factor(height), whole: false, last_is_whole }
            }
            Kind::Sam | Kind::LiteMedSam => {
                let both = factor(width.max(height));
                Scale { x: both, y: both, whole: kind == Kind::LiteMedSam, last_is_whole: false }
            }
        }
    }

    /// A box as `[x0, y0, x1, y1]` of the model's frame.
    pub fn apply_box(&self, pixel_box: &PixelBox) -> [f32; 4] {
        self.apply_corners(pixel_box.corners())
    }

    /// Corners `[x0, y0, x1, y1]` of a box, inclusive indices of the slice, in the model's frame.
    pub(crate) fn apply_corners(&self, [x0, y0, x1, y1]: [f64; 4]) -> [f32; 4] {
        let last = |first: f64, last: f64, scale: f64| {
            let whole = self.last_is_whole && scale > 1.0;
            if whole { (first * scale).max((last + 1.0) * scale - 1.0) } else { last * scale }
        };
        let ends = [x0 * self.x, y0 * self.y, last(x0, x1, self.x), last(y0, y1, self.y)];
        ends.map(|place| self.rounded(place))
    }

    /// A place of the slice in the model's frame.
    pub fn place(&self, [x, y]: [f64; 2]) -> [f32; 2] {
        [x * self.x, y * self.y].map(|place| self.rounded(place))
    }

    fn rounded(&self, place: f64) -> f32 {
        if self.whole { place.trunc() as f32 } else { place as f32 }
    }

    /// A point as `[x, y]` of the model's frame.
    pub fn apply_point(&self, point: &Point) -> [f32; 2] {
        self.place([point.x, point.y])
    }
}
