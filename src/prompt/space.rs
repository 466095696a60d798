//! Boxes in millimetres of the patient frame, through the image's affine into voxels.
//!
//! A face belongs to the voxel whose centre is nearest; one between two voxels to the one inside the box. Where the
//! image's axes are oblique to the patient's, the voxel box encloses all corners. Parts outside the image are cut off.
//! Both are noted.

use super::{Grid, PixelBox, VolumeBox, check_range};
use crate::codes::{Code, Warning};
use crate::{Error, Result};

/// How far from the middle between two voxels, in voxels, a face still counts as lying there: more than what single
/// precision leaves of an affine and of coordinates, less than what anybody draws.
const BETWEEN: f64 = 1e-3;

/// A target with a box on every slice need not repeat itself.
const MOST_NOTES: usize = 16;

/// The way between voxel indices and the coordinates of a boxes file.
pub(super) struct Patient {
    /// Voxel indices to millimetres of the file's space.
    forward: [[f64; 4]; 3],
    /// The inverse of the left three columns.
    inverse: [[f64; 3]; 3],
    /// Which patient axis runs mostly along the slicing axis, and whether every axis runs along one patient axis.
    slice_direction: usize,
    pub(super) aligned: bool,
}

impl Patient {
    /// `signs` are those of the file's first two axes against RAS.
    pub(super) fn new(grid: &Grid, signs: [f64; 2]) -> Result<Self> {
        let error = |found: &str| Error::Prompt {
            what: "space".into(),
            expected: "an image with an invertible affine, as the boxes are in millimetres".into(),
            found: found.into(),
        };
        let affine = grid.affine.ok_or_else(|| error("an image without geometry"))?;
        if let Some(apart) = grid.forms_apart {
            return Err(Error::Prompt {
                what: "space".into(),
                expected: "--form sform or --form qform, as the boxes are in millimetres".into(),
                found: format!("an image whose qform and sform lie up to {apart:.4} mm apart"),
            });
        }
        let mut forward = [affine[0], affine[1], affine[2]];
        for (row, sign) in forward.iter_mut().zip(signs) {
            row.iter_mut().for_each(|value| *value *= sign);
        }
        let finite = forward.iter().flatten().all(|value| value.is_finite());
        let inverse = invert(&forward).filter(|_| finite).ok_or_else(|| error("one that cannot be inverted"))?;
        let direction = |axis: usize| {
            (0..3).max_by(|&a, &b| forward[a][axis].abs().total_cmp(&forward[b][axis].abs())).unwrap_or(axis)
        };
        let aligned = (0..3).all(|axis| {
            let main = forward[direction(axis)][axis].abs();
            (0..3).filter(|&row| row != direction(axis)).all(|row| forward[row][axis].abs() <= 1e-4 * main)
        });
        Ok(Patient { forward, inverse, slice_direction: direction(grid.axis.min(2)), aligned })
    }

    /// Voxel indices, as fractions, of a place.
    pub(super) fn to_voxel(&self, point: [f64; 3]) -> [f64; 3] {
        let moved = [0, 1, 2].map(|row| point[row] - self.forward[row][3]);
        self.inverse.map(|row| row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2])
    }

    /// Voxel x, y of a slice from the two patient coordinates that run along it.
    fn to_pixel(&self, slice: usize, point: [f64; 2], grid: &Grid) -> Option<[f64; 2]> {
        let (x, y) = grid.plane();
        let rows = [0, 1, 2].into_iter().filter(|&row| row != self.slice_direction);
        let [a, b]: [[f64; 4]; 2] = rows.map(|row| self.forward[row]).collect::<Vec<_>>().try_into().ok()?;
        let axis = grid.axis.min(2);
        let right = [(a, point[0]), (b, point[1])].map(|(row, value)| value - row[3] - row[axis] * slice as f64);
        let determinant = a[x] * b[y] - a[y] * b[x];
        let found =
            [(right[0] * b[y] - a[y] * right[1]) / determinant, (a[x] * right[1] - right[0] * b[x]) / determinant];
        found.iter().all(|value| value.is_finite()).then_some(found)
    }
}

/// The voxels that hold the corners of a box, cut to the image.
pub(super) fn volume_box(
    patient: &Patient,
    low: [f64; 3],
    high: [f64; 3],
    what: &str,
    grid: &Grid,
    notes: &mut Vec<Warning>,
) -> Result<VolumeBox> {
    ordered(what, &low, &high)?;
    let corner = |bits: usize| [0, 1, 2].map(|axis| if bits >> axis & 1 == 0 { low[axis] } else { high[axis] });
    let corners: Vec<[f64; 3]> = (0..8).map(|bits| patient.to_voxel(corner(bits))).collect();
    let mut found = VolumeBox { low: [0; 3], high: [0; 3] };
    for (axis, name) in ['x', 'y', 'z'].into_iter().enumerate() {
        let values = corners.iter().map(|corner| corner[axis]);
        let (first, last) = cut(what, name, values, grid.dims[axis], notes)?;
        (found.low[axis], found.high[axis]) = (first, last);
    }
    Ok(found)
}

/// The pixels of one slice that hold the corners of a rectangle, cut to the slice. The rectangle is given in the two
/// patient coordinates other than the one that runs mostly along the slicing axis, in their order.
pub(super) fn slice_box(
    patient: &Patient,
    slice: usize,
    low: [f64; 2],
    high: [f64; 2],
    what: &str,
    grid: &Grid,
    notes: &mut Vec<Warning>,
) -> Result<PixelBox> {
    ordered(what, &low, &high)?;
    let (width, height) = grid.slice_size();
    let corners = [[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]];
    let corners = corners.map(|corner| patient.to_pixel(slice, corner, grid));
    let Some(corners) = corners.into_iter().collect::<Option<Vec<_>>>() else {
        let expected = "a slice that lies along two patient axes".to_string();
        return Err(Error::Prompt { what: what.into(), expected, found: "an oblique one; use box3d".into() });
    };
    let (x0, x1) = cut(what, 'x', corners.iter().map(|corner| corner[0]), width, notes)?;
    let (y0, y1) = cut(what, 'y', corners.iter().map(|corner| corner[1]), height, notes)?;
    Ok(PixelBox { x0, y0, x1, y1 })
}

fn ordered(what: &str, low: &[f64], high: &[f64]) -> Result<()> {
    match low.iter().zip(high).find(|(low, high)| low > high) {
        None => Ok(()),
        Some((low, high)) => Err(Error::Prompt {
            what: what.into(),
            expected: "lower ends before upper ends".into(),
            found: format!("{low} before {high}"),
        }),
    }
}

/// First and last voxel of the nearest centres, cut to `0..length`.
pub(super) fn cut(
    what: &str,
    axis: char,
    values: impl Iterator<Item = f64>,
    length: usize,
    notes: &mut Vec<Warning>,
) -> Result<(i64, i64)> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    // Casts saturate, so a far away corner stays far away.
    let first = (low + 0.5 + BETWEEN).floor() as i64;
    // A box without extent between two voxels has none inside: it keeps the upper one.
    let last = ((high - 0.5 - BETWEEN).ceil() as i64).max(first);
    let end = length as i64 - 1;
    if last < 0 || first > end {
        let expected = format!("a box that meets the image, voxels 0..={end} along {axis}");
        return Err(Error::Prompt { what: what.into(), expected, found: format!("voxels {first}..={last}") });
    }
    if (first < 0 || last > end) && notes.len() < MOST_NOTES {
        let message = format!("{what}: {axis} {first}..={last} cut to the image, 0..={end}");
        notes.push(Warning::new(Code::BoxCut, message));
    }
    let (first, last) = (first.max(0), last.min(end));
    check_range(what, axis, first, last, length)?;
    Ok((first, last))
}

/// Inverse of the left 3 x 3 block; `None` if it is singular or not finite.
fn invert(m: &[[f64; 4]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |r: usize, c: usize| {
        let ([r1, r2], [c1, c2]) = ([(r + 1) % 3, (r + 2) % 3], [(c + 1) % 3, (c + 2) % 3]);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
    let inverse = [0, 1, 2].map(|r| [0, 1, 2].map(|c| minor(c, r) / determinant));
    (determinant.is_normal() && inverse.iter().flatten().all(|value| value.is_finite())).then_some(inverse)
}
