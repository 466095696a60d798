//! Where voxels lie in the patient: affine, spacing, orientation codes, and what looks wrong about them.

use super::nifti::Header;
use super::options::Form;
use crate::codes::{Code, Warning};
use crate::{Error, Result};
use std::path::Path;

/// Rows of a 4 x 4 matrix that takes voxel indices (i, j, k, 1) to millimetres, x to the Right, y Anterior, z Superior.
pub type Affine = [[f64; 4]; 4];

/// Which part of the header the affine comes from, by nibabel's rule: sform before qform before neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AffineSource {
    /// `srow_x`, `srow_y`, `srow_z`.
    Sform,
    /// Quaternion, offset and `pixdim`.
    Qform,
    /// `pixdim` alone: x flipped, origin in the middle.
    Neither,
}

/// What a NIfTI header says of space.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// In millimetres, also where the header counts in metres or micrometres.
    pub affine: Affine,
    /// Where it comes from.
    pub source: AffineSource,
    /// `qform_code`.
    pub qform_code: i64,
    /// `sform_code`.
    pub sform_code: i64,
    /// Where both forms are set and differ: the largest distance in millimetres between the places that they give a
    /// corner.
    pub forms_apart: Option<f64>,
    /// The form that was chosen by hand.
    pub chosen: Option<Form>,
}

/// A form code that is defined: 0 unknown to 5 template. nibabel takes others as 0.
fn valid_code(code: i64) -> i64 {
    if (0..=5).contains(&code) { code } else { 0 }
}

impl Geometry {
    /// Reads it off a header, from `chosen` if that is given, and adds to `warnings` what looks wrong.
    pub(super) fn read(
        path: &Path,
        header: &Header,
        chosen: Option<Form>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let layout = header.layout;
        let [qform_code, sform_code] = [layout.qform_code, layout.sform_code].map(|at| header.code(at));
        for (name, code) in [("qform_code", qform_code), ("sform_code", sform_code)] {
            if valid_code(code) != code {
                let message = format!("{name} {code} is not defined and counts as 0");
                warnings.push(Warning::new(Code::HeaderOdd, message));
            }
        }
        let pixdim = header.reals::<8>(layout.pixdim);
        let zooms: [f64; 3] = std::array::from_fn(|i| if pixdim[i + 1] == 0.0 { 1.0 } else { pixdim[i + 1].abs() });
        if pixdim[1..4].iter().any(|&p| p <= 0.0) {
            let message = format!("pixdim {:?} is not positive: 0 counts as 1, the sign is dropped", &pixdim[1..4]);
            warnings.push(Warning::new(Code::HeaderOdd, message));
        }
        let qform = qform(header, &zooms, warnings);
        let rows = header.reals::<12>(layout.rows);
        let sform = std::array::from_fn(|r| if r < 3 { std::array::from_fn(|c| rows[4 * r + c]) } else { LAST_ROW });
        let (source, affine) = match (chosen, valid_code(sform_code), valid_code(qform_code)) {
            (Some(Form::Sform), 0, _) | (Some(Form::Qform), _, 0) => {
                let name = if chosen == Some(Form::Sform) { "sform_code" } else { "qform_code" };
                return Err(Error::file(path, name, "1 to 5 where this form is chosen (--form)", 0));
            }
            (Some(Form::Sform), ..) | (None, 1.., _) => (AffineSource::Sform, sform),
            (Some(Form::Qform), ..) | (None, _, 1..) => (AffineSource::Qform, qform),
            _ => (AffineSource::Neither, base(&header.dims, &zooms)),
        };
        if affine.iter().flatten().any(|v| !v.is_finite()) {
            return Err(Error::file(path, format!("{source:?} affine"), "finite numbers", format!("{affine:?}")));
        }
        let unit = unit_in_mm(header, warnings);
        let mut forms_apart = None;
        if source == AffineSource::Neither {
            warnings.push(Warning::new(
                Code::NoOrientation,
                "neither qform nor sform is set: left and right are a guess, and ITK and nibabel guess differently",
            ));
        } else if valid_code(sform_code) > 0 && valid_code(qform_code) > 0 {
            forms_apart = differ(&scaled(sform, unit), &scaled(qform, unit), &header.dims);
            if let Some(apart) = forms_apart {
                let itk = itk_reads(sform_code, &sform, &zooms);
                let message = forms_differ([qform_code, sform_code], apart, source, itk);
                warnings.push(Warning::new(Code::FormsDiffer, message));
            }
        }
        let geometry = Geometry { affine: scaled(affine, unit), source, qform_code, sform_code, forms_apart, chosen };
        geometry.check_shape(&zooms.map(|z| z * unit), warnings);
        Ok(geometry)
    }

    /// Millimetres between neighbours along i, j, k: lengths of the affine's columns.
    pub fn spacing(&self) -> [f64; 3] {
        std::array::from_fn(|c| column(&self.affine, c).iter().map(|v| v * v).sum::<f64>().sqrt())
    }

    /// Volume of a voxel in mm³, right for sheared grids too.
    pub fn voxel_volume(&self) -> f64 {
        let [a, b, c] = std::array::from_fn(|i| column(&self.affine, i));
        dot(&a, &cross(&b, &c)).abs()
    }

    /// Largest deviation of the angles between the axes from 90 degrees, in degrees: a tilted gantry shows here.
    pub fn tilt(&self) -> f64 {
        let spacing = self.spacing();
        let cosine = |a: usize, b: usize| {
            let product = dot(&column(&self.affine, a), &column(&self.affine, b));
            (product / (spacing[a] * spacing[b])).abs()
        };
        [cosine(0, 1), cosine(0, 2), cosine(1, 2)].into_iter().fold(0.0, f64::max).min(1.0).asin().to_degrees()
    }

    /// For each voxel axis the patient axis it runs along most nearly (0 right, 1 anterior, 2 superior) and whether it
    /// runs the other way. The permutation that fits best is taken, so that no axis is named twice.
    pub fn axes(&self) -> [(usize, bool); 3] {
        const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let spacing = self.spacing();
        let cosine = |i: usize, patient: usize| self.affine[patient][i] / spacing[i].max(f64::MIN_POSITIVE);
        let fit = |p: &[usize; 3]| (0..3).map(|i| cosine(i, p[i]).abs()).sum::<f64>();
        let best = PERMUTATIONS.iter().fold(&PERMUTATIONS[0], |best, p| if fit(p) > fit(best) { p } else { best });
        std::array::from_fn(|i| (best[i], cosine(i, best[i]) < 0.0))
    }

    /// The direction in which each voxel index grows, as nibabel writes it: `RAS`, `LPS`, ...
    pub fn orientation_codes(&self) -> String {
        self.axes()
            .iter()
            .map(|&(axis, reversed)| ["RL", "AP", "SI"][axis].as_bytes()[usize::from(reversed)] as char)
            .collect()
    }

    /// The matrix back from millimetres to voxel indices, unless the affine is singular.
    pub fn inverse(&self) -> Option<Affine> {
        let [a, b, c] = std::array::from_fn(|i| column(&self.affine, i));
        let determinant = dot(&a, &cross(&b, &c));
        if determinant == 0.0 || !determinant.is_finite() {
            return None;
        }
        let rows = [cross(&b, &c), cross(&c, &a), cross(&a, &b)].map(|row| row.map(|v| v / determinant));
        let origin = column(&self.affine, 3);
        let row = |r: usize| [rows[r][0], rows[r][1], rows[r][2], -dot(&rows[r], &origin)];
        let inverse = [row(0), row(1), row(2), LAST_ROW];
        inverse.iter().flatten().all(|v| v.is_finite()).then_some(inverse)
    }

    /// The largest distance in millimetres between the places that this and `other` give a corner of a volume of
    /// `dims`.
    pub fn distance(&self, other: &Geometry, dims: [usize; 3]) -> f64 {
        corner_distance(&self.affine, &other.affine, dims.map(|n| n as u64).as_slice())
    }

    fn check_shape(&self, zooms: &[f64; 3], warnings: &mut Vec<Warning>) {
        if self.inverse().is_none() {
            warnings.push(Warning::new(Code::AxesSkewed, "the affine is singular: ITK refuses such a file"));
            return;
        }
        let spacing = self.spacing();
        if spacing.iter().zip(zooms).any(|(s, z)| (s - z).abs() > 1e-3 * s.max(*z)) {
            let message = format!("the affine has spacing {spacing:?} mm but pixdim says {zooms:?} mm");
            warnings.push(Warning::new(Code::SpacingOdd, message));
        }
        if spacing.iter().any(|s| !(1e-3..1e3).contains(s)) {
            let message = format!("spacing {spacing:?} mm is not that of a medical image");
            warnings.push(Warning::new(Code::SpacingOdd, message));
        }
        let tilt = self.tilt();
        if tilt > 0.01 {
            let message =
                format!("axes are {tilt:.3} degrees off a right angle (tilted gantry?): ITK may refuse such a file");
            warnings.push(Warning::new(Code::AxesSkewed, message));
        }
    }
}

const LAST_ROW: [f64; 4] = [0.0, 0.0, 0.0, 1.0];

fn column(affine: &Affine, index: usize) -> [f64; 3] {
    [affine[0][index], affine[1][index], affine[2][index]]
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn scaled(mut affine: Affine, unit: f64) -> Affine {
    affine[..3].iter_mut().flatten().for_each(|v| *v *= unit);
    affine
}

/// Millimetres of the header's unit of length.
fn unit_in_mm(header: &Header, warnings: &mut Vec<Warning>) -> f64 {
    let (unit, name) = match header.units() & 7 {
        1 => (1e3, "metres"),
        3 => (1e-3, "micrometres"),
        _ => return 1.0,
    };
    let message = format!("lengths are in {name}; nibabel takes them for millimetres");
    warnings.push(Warning::new(Code::UnitsOdd, message));
    unit
}

/// Method 2 of nifti1.h, as nibabel computes it.
fn qform(header: &Header, zooms: &[f64; 3], warnings: &mut Vec<Warning>) -> Affine {
    let layout = header.layout;
    let used = valid_code(header.code(layout.qform_code)) > 0;
    let mut warn = |text: String| {
        if used {
            warnings.push(Warning::new(Code::HeaderOdd, text))
        }
    };
    let qfac = header.real(layout.pixdim);
    if qfac != 1.0 && qfac != -1.0 {
        warn(format!("qfac (pixdim[0]) is {qfac} and counts as 1"));
    }
    let [b, c, d] = header.reals::<3>(layout.quaternion);
    let (offset, length) = (header.reals::<3>(layout.offset), b * b + c * c + d * d);
    let threshold = 3.0 * if layout.real_bytes == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    let w2 = 1.0 - length;
    let w = if w2.abs() < threshold { 0.0 } else { w2.max(0.0).sqrt() };
    if w2 < -threshold {
        warn(format!("the quaternion is {:.6} long and is shortened to 1; nibabel refuses such a file", length.sqrt()));
    }
    let s = 2.0 / (w * w + length);
    let [xx, yy, zz] = [b * b * s, c * c * s, d * d * s];
    let [xy, xz, yz] = [b * c * s, b * d * s, c * d * s];
    let [wx, wy, wz] = [w * b * s, w * c * s, w * d * s];
    let z = if qfac == -1.0 { -zooms[2] } else { zooms[2] };
    [
        [(1.0 - (yy + zz)) * zooms[0], (xy - wz) * zooms[1], (xz + wy) * z, offset[0]],
        [(xy + wz) * zooms[0], (1.0 - (xx + zz)) * zooms[1], (yz - wx) * z, offset[1]],
        [(xz - wy) * zooms[0], (yz + wx) * zooms[1], (1.0 - (xx + yy)) * z, offset[2]],
        LAST_ROW,
    ]
}

impl Header {
    /// A header of a grid of `dims` with this affine in mm, in both forms under `code`; of a sheared one in the sform
    /// only, since a quaternion has no shear.
    pub fn with_affine(dims: [usize; 3], affine: &Affine, code: i64) -> Self {
        const MILLIMETRES: i64 = 2;
        let mut header = Self::without_geometry(dims);
        let layout = header.layout;
        let column = |c: usize| [affine[0][c], affine[1][c], affine[2][c]];
        let length = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let spacing = [0, 1, 2].map(|c| length(column(c)));
        let axes: [[f64; 3]; 3] = std::array::from_fn(|c| column(c).map(|v| v / spacing[c]));
        for (at, value) in spacing.into_iter().enumerate() {
            header.set_real(layout.pixdim + (at + 1) * layout.real_bytes, value);
        }
        header.set_integer(layout.units, layout.units_bytes, MILLIMETRES);
        header.set_integer(layout.sform_code, layout.code_bytes, code);
        for (at, value) in affine[..3].iter().flatten().enumerate() {
            header.set_real(layout.rows + at * layout.real_bytes, *value);
        }
        if let Some((qfac, quaternion)) = quaternion(&axes) {
            header.set_integer(layout.qform_code, layout.code_bytes, code);
            header.set_real(layout.pixdim, qfac);
            for (at, value) in quaternion.into_iter().enumerate() {
                header.set_real(layout.quaternion + at * layout.real_bytes, value);
                header.set_real(layout.offset + at * layout.real_bytes, affine[at][3]);
            }
        }
        header
    }
}

/// qfac and b, c, d of the rotation with these unit columns; `None` where they are not at right angles.
fn quaternion(axes: &[[f64; 3]; 3]) -> Option<(f64, [f64; 3])> {
    let [x, y, z] = *axes;
    if [dot(&x, &y), dot(&x, &z), dot(&y, &z)].iter().any(|cosine| cosine.is_nan() || cosine.abs() > 1e-4) {
        return None;
    }
    let qfac = if dot(&cross(&x, &y), &z) < 0.0 { -1.0 } else { 1.0 };
    let z = z.map(|v| v * qfac);
    let trace = x[0] + y[1] + z[2];
    // The largest of the four is taken from the diagonal, so that nothing is divided by a small number.
    let [a, b, c, d] = if trace > 0.0 {
        let s = 2.0 * (1.0 + trace).sqrt();
        [s / 4.0, (y[2] - z[1]) / s, (z[0] - x[2]) / s, (x[1] - y[0]) / s]
    } else if x[0] >= y[1] && x[0] >= z[2] {
        let s = 2.0 * (1.0 + x[0] - y[1] - z[2]).sqrt();
        [(y[2] - z[1]) / s, s / 4.0, (y[0] + x[1]) / s, (z[0] + x[2]) / s]
    } else if y[1] >= z[2] {
        let s = 2.0 * (1.0 + y[1] - x[0] - z[2]).sqrt();
        [(z[0] - x[2]) / s, (y[0] + x[1]) / s, s / 4.0, (z[1] + y[2]) / s]
    } else {
        let s = 2.0 * (1.0 + z[2] - x[0] - y[1]).sqrt();
        [(x[1] - y[0]) / s, (z[0] + x[2]) / s, (z[1] + y[2]) / s, s / 4.0]
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    Some((qfac, [b, c, d].map(|v| v * sign)))
}

/// nibabel's base affine: x flipped, origin in the middle of the volume.
fn base(dims: &[u64], zooms: &[f64; 3]) -> Affine {
    let mut affine = [[0.0; 4], [0.0; 4], [0.0; 4], LAST_ROW];
    for (i, &extent) in dims.iter().take(3).enumerate() {
        affine[i][i] = if i == 0 { -zooms[0] } else { zooms[i] };
        affine[i][3] = (extent - 1) as f64 / -2.0 * affine[i][i];
    }
    (dims.len()..3).for_each(|i| affine[i][i] = 1.0);
    affine
}

/// The largest distance between the places that two affines give a corner of a volume of `dims`; infinite for NaN.
fn corner_distance(one: &Affine, other: &Affine, dims: &[u64]) -> f64 {
    let last = |i: usize| dims.get(i).map_or(0.0, |&n| (n - 1) as f64);
    (0..8).fold(0.0, |apart: f64, corner| {
        let voxel = [0, 1, 2].map(|i| if corner >> i & 1 == 1 { last(i) } else { 0.0 });
        let place = |m: &Affine, r: usize| dot(&[m[r][0], m[r][1], m[r][2]], &voxel) + m[r][3];
        let distance = (0..3).map(|r| (place(one, r) - place(other, r)).powi(2)).sum::<f64>().sqrt();
        if distance.is_nan() { f64::INFINITY } else { apart.max(distance) }
    })
}

/// How far apart the two forms put a corner of the volume, where that is more than a hundredth of a voxel.
fn differ(sform: &Affine, qform: &Affine, dims: &[u64]) -> Option<f64> {
    let apart = corner_distance(sform, qform, dims);
    let voxel = (0..3).map(|c| dot(&column(sform, c), &column(sform, c)).sqrt()).fold(f64::INFINITY, f64::min);
    (apart > 0.01 * voxel).then_some(apart)
}

/// The form that ITK, and with it 3D Slicer and ANTs, reads where both are set: the sform only if its code is 1
/// (scanner) and its spacing is that of `pixdim`.
fn itk_reads(sform_code: i64, sform: &Affine, zooms: &[f64; 3]) -> Form {
    let spacing = |c: usize| dot(&column(sform, c), &column(sform, c)).sqrt();
    let fits = (0..3).all(|c| (spacing(c) - zooms[c]).abs() <= 1e-3 * zooms[c]);
    if sform_code == 1 && fits { Form::Sform } else { Form::Qform }
}

fn forms_differ([qform_code, sform_code]: [i64; 2], apart: f64, source: AffineSource, itk: Form) -> String {
    let used = if source == AffineSource::Qform { "qform" } else { "sform" };
    let readers = match itk {
        Form::Sform => "nibabel, MRtrix, ITK, 3D Slicer and ANTs read the sform",
        Form::Qform => "nibabel and MRtrix read the sform, ITK, 3D Slicer and ANTs the qform",
    };
    format!(
        "qform (code {qform_code}) and sform (code {sform_code}) put the corners up to {apart:.4} mm apart: {readers}; \
         the {used} is used here (--form)"
    )
}
