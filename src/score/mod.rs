//! Mask against mask: Dice, the 95th percentile of surface distances and the share of surface within a tolerance, by
//! the definitions of four packages that give them these names and different numbers.
//!
//! A grid with a single voxel along an axis is two-dimensional: its masks have contours instead of surfaces. The border
//! of the image is surface where a mask touches it, in all definitions.

mod cells;
pub(crate) mod distance;
mod labels;
pub(crate) mod surface;

use std::str::FromStr;

pub use labels::{LabelScore, Summary, Unscored, score_labels, score_labels_watched, summary};

use crate::{Error, Result};
use cells::Areas;
use surface::{Crop, Surface};

/// What HD95 and NSD mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// Border voxels; the percentile of the distances of both directions together. It has no NSD.
    Medpy,
    /// Border voxels; the larger of the two directions' percentiles; NSD counts border voxels.
    Monai,
    /// As [`Definition::Monai`], between two masks that are not empty.
    MetricsReloaded,
    /// Cells between voxels, weighed by the area of the surface through them, which is MONAI's `use_subvoxels` too; the
    /// larger of the two directions' percentiles by area; NSD is a share of area.
    SurfaceDistance,
}

impl Definition {
    /// All of them.
    pub const ALL: [Definition; 4] =
        [Definition::Medpy, Definition::Monai, Definition::MetricsReloaded, Definition::SurfaceDistance];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Definition::Medpy => "medpy",
            Definition::Monai => "monai",
            Definition::MetricsReloaded => "metrics-reloaded",
            Definition::SurfaceDistance => "surface-distance",
        }
    }

    /// What its numbers are, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Definition::Medpy => "border voxels, 95th percentile of both directions pooled; no NSD",
            Definition::Monai | Definition::MetricsReloaded => {
                "border voxels, larger of the two directions' 95th percentiles; NSD a share of border voxels"
            }
            Definition::SurfaceDistance => {
                "surface elements between voxels weighed by area, larger of the two directions' 95th percentiles; NSD a share of area"
            }
        }
    }
}

impl FromStr for Definition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Definition::ALL.into_iter().find(|definition| definition.name() == text).ok_or_else(|| Error::Argument {
            name: "definition",
            expected: Definition::ALL.map(Definition::name).join(", "),
            found: format!("'{text}'"),
        })
    }
}

/// The grid that two masks share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Voxels along x, y, z.
    pub dims: [usize; 3],
    /// Millimetres between neighbours.
    pub spacing: [f64; 3],
}

/// Scores of two masks that both have voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Dice similarity coefficient, 0..=1.
    pub dice: f64,
    /// 95th percentile Hausdorff distance in the unit of the spacing.
    pub hd95: f64,
    /// Normalised surface Dice at the tolerance, 0..=1; `None` where the definition has none.
    pub nsd: Option<f64>,
}

/// Voxels of two masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// In the first.
    pub mask: u64,
    /// In the second.
    pub reference: u64,
    /// In both.
    pub both: u64,
}

impl Counts {
    fn dice(&self) -> f64 {
        2.0 * self.both as f64 / (self.mask + self.reference) as f64
    }
}

/// Scores `mask` against `reference`, both of [`Grid::dims`], x fastest; `tolerance` is that of NSD, in the unit of the
/// spacing. `None` where one or both are empty: no distance is defined then.
///
/// # Errors
/// [`Error::Argument`] where a mask has another size, a spacing is not above 0 or the tolerance is below 0;
/// [`Error::Memory`].
pub fn score(
    mask: &[bool],
    reference: &[bool],
    grid: &Grid,
    definition: Definition,
    tolerance: f64,
) -> Result<Option<Scores>> {
    for length in [mask.len(), reference.len()] {
        if grid.dims.iter().try_fold(1_usize, |all, &n| all.checked_mul(n)) != Some(length) {
            let (expected, found) = (format!("{:?} voxels", grid.dims), length.to_string());
            return Err(Error::Argument { name: "mask", expected, found });
        }
    }
    check(grid, tolerance)?;
    Ok(pair(grid, definition, tolerance, &|index| (mask[index], reference[index]))?.map(|(scores, _)| scores))
}

fn check(grid: &Grid, tolerance: f64) -> Result<()> {
    if grid.spacing.iter().any(|&step| !step.is_finite() || step <= 0.0) {
        let (expected, found) = ("finite numbers above 0".into(), format!("{:?}", grid.spacing));
        return Err(Error::Argument { name: "spacing", expected, found });
    }
    if !tolerance.is_finite() || tolerance < 0.0 {
        let (expected, found) = ("a finite number from 0 on".into(), tolerance.to_string());
        return Err(Error::Argument { name: "tolerance", expected, found });
    }
    Ok(())
}

/// Scores the voxels for which `inside` says (in the mask, in the reference).
fn pair(
    grid: &Grid,
    definition: Definition,
    tolerance: f64,
    inside: &dyn Fn(usize) -> (bool, bool),
) -> Result<Option<(Scores, Counts)>> {
    let either = |index| matches!(inside(index), (true, _) | (_, true));
    let Some(crop) = Crop::around(grid.dims, either) else { return Ok(None) };
    let mask = crop.cut(grid.dims, |index| inside(index).0)?;
    let reference = crop.cut(grid.dims, |index| inside(index).1)?;
    let count = |inside: &[bool]| inside.iter().filter(|&&inside| inside).count() as u64;
    let both = mask.iter().zip(&reference).filter(|&(&a, &b)| a && b).count() as u64;
    let counts = Counts { mask: count(&mask), reference: count(&reference), both };
    let elements = elements(&crop, definition, grid.spacing);
    let (dims, spacing) = (crop.dims(), grid.spacing);
    let mask = surface_of(&mask, &crop, elements.as_ref())?;
    let reference = surface_of(&reference, &crop, elements.as_ref())?;
    let (Some(to_mask), Some(to_reference)) = (mask.distances(dims, spacing)?, reference.distances(dims, spacing)?)
    else {
        return Ok(None);
    };
    let directions = [mask.measured(&to_reference)?, reference.measured(&to_mask)?];
    let nsd = (definition != Definition::Medpy).then(|| share_within(&directions, tolerance));
    let scores = Scores { dice: counts.dice(), hd95: robust_maximum(definition, directions), nsd };
    Ok(Some((scores, counts)))
}

/// The areas of surface elements; `None` where border voxels count instead.
fn elements(crop: &Crop, definition: Definition, spacing: [f64; 3]) -> Option<Areas> {
    (definition == Definition::SurfaceDistance).then(|| areas(crop, spacing))
}

fn areas(crop: &Crop, spacing: [f64; 3]) -> Areas {
    let axes: Vec<f64> = crop.axes().map(|axis| spacing[axis]).collect();
    match *axes.as_slice() {
        [first, second] => Areas::of_contours([first, second]),
        _ => Areas::of_surfaces(spacing),
    }
}

fn surface_of(inside: &[bool], crop: &Crop, elements: Option<&Areas>) -> Result<Surface> {
    match elements {
        Some(areas) => Surface::of_cells(inside, crop, areas),
        None => Surface::of_voxels(inside, crop),
    }
}

/// Area of the surface of a mask of [`Grid::dims`] in square millimetres; in millimetres its contour's length on a grid
/// of one slice. By marching cubes, so that neither voxels' faces nor their edges count too much.
///
/// # Errors
/// [`Error::Memory`].
pub fn surface_area(grid: &Grid, inside: impl Fn(usize) -> bool) -> Result<f64> {
    match Crop::around(grid.dims, &inside) {
        Some(crop) => surface_area_in(&crop, grid, inside),
        None => Ok(0.0),
    }
}

/// As [`surface_area`], of a mask that lies in `crop`.
pub(crate) fn surface_area_in(crop: &Crop, grid: &Grid, inside: impl Fn(usize) -> bool) -> Result<f64> {
    let voxels = crop.cut(grid.dims, &inside)?;
    Ok(Surface::of_cells(&voxels, crop, &areas(crop, grid.spacing))?.area())
}

/// The share of both surfaces that is within `tolerance` of the other.
fn share_within(directions: &[Vec<(f64, f64)>; 2], tolerance: f64) -> f64 {
    let sum = |near: bool| {
        let of = |pairs: &Vec<(f64, f64)>| {
            pairs.iter().filter(|(distance, _)| !near || *distance <= tolerance).map(|(_, area)| area).sum::<f64>()
        };
        // The sum of no number is -0.
        of(&directions[0]) + of(&directions[1]) + 0.0
    };
    sum(true) / sum(false)
}

fn robust_maximum(definition: Definition, directions: [Vec<(f64, f64)>; 2]) -> f64 {
    let distances = |pairs: Vec<(f64, f64)>| pairs.into_iter().map(|(distance, _)| distance).collect::<Vec<f64>>();
    match definition {
        Definition::Medpy => percentile_95(directions.into_iter().flat_map(distances).collect()),
        Definition::Monai | Definition::MetricsReloaded => {
            directions.into_iter().map(|pairs| percentile_95(distances(pairs))).fold(0.0, f64::max)
        }
        Definition::SurfaceDistance => directions.into_iter().map(percentile_95_by_area).fold(0.0, f64::max),
    }
}

/// NumPy's `percentile(values, 95)`, method `linear`; infinite for no values.
pub(crate) fn percentile_95(values: Vec<f64>) -> f64 {
    percentile(values, 0.95).unwrap_or(f64::INFINITY)
}

/// NumPy's `percentile`, method `linear`, of a share 0..=1; `None` for no values.
pub(crate) fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    percentile_of_sorted(&values, share)
}

/// As [`percentile`], of values in ascending order.
pub(crate) fn percentile_of_sorted(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let position = last as f64 * share;
    let below = (position.floor() as usize).min(last);
    let (a, b, t) = (values[below], values[(below + 1).min(last)], position.fract());
    Some(if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) })
}

/// The first distance up to which 95 % of the area lies; infinite for no elements.
fn percentile_95_by_area(mut elements: Vec<(f64, f64)>) -> f64 {
    elements.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all: f64 = elements.iter().map(|(_, area)| area).sum();
    let mut sum = 0.0;
    let within = |&&(_, area): &&(f64, f64)| {
        sum += area;
        sum / all >= 0.95
    };
    elements.iter().find(within).or(elements.last()).map_or(f64::INFINITY, |&(distance, _)| distance)
}
