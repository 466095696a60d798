//! From the frames of a series to its volumes: by size and orientation, then by whatever index tells two frames at one
//! place apart, then in the order of their places along the normal.

use serde::Serialize;

use super::frames::{Frame, normal};
use super::instance::Instance;
use crate::codes::Code;

/// More kinds of frames than any series has.
const MOST_KINDS: usize = 256;
/// Two frames this near to each other along the normal are at one place, where pixels are not smaller still.
const SAME_PLACE: f64 = 0.01;
/// How far a slice may lie from the fitted line: this share of a step, or this many mm (positions are rounded in
/// files).
const OFF_STEP: f64 = 0.05;
const OFF_MM: f64 = 0.1;

/// A frame of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub instance: usize,
    pub frame: usize,
}

/// Something odd or wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Oddity {
    /// Stable.
    pub code: Code,
    /// For people, with files and places in mm.
    pub text: String,
}

impl Oddity {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Oddity { code, text: text.into() }
    }
}

/// Frames that belong together.
pub struct Stack {
    /// What `--volume` asks for it by, where there are several.
    pub key: String,
    /// In the order of their places.
    pub slices: Vec<Slice>,
    /// Where they lie; `None` for frames without a place.
    pub grid: Option<Grid>,
    /// Why no volume can be made of them.
    pub problem: Option<Oddity>,
    pub oddities: Vec<Oddity>,
}

/// A grid of voxels in DICOM's patient coordinates, in mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Centre of the first voxel.
    pub origin: [f64; 3],
    /// From a voxel to the next along a row, along a column, and across slices.
    pub steps: [[f64; 3]; 3],
}

impl Grid {
    /// Degrees between the step across slices and their normal.
    pub fn tilt(&self) -> f64 {
        let [column, row, across] = self.steps;
        let [a, b, c] = unit(column);
        let [d, e, f] = unit(row);
        let normal = normal(&[a, b, c, d, e, f]);
        dot(normal, unit(across)).abs().min(1.0).acos().to_degrees()
    }
}

/// The frames of one series with what they are made of.
struct Series<'a> {
    instances: &'a [Instance],
}

/// The volumes of a series.
pub fn stacks(instances: &[Instance]) -> Vec<Stack> {
    let series = Series { instances };
    let mut kinds: Vec<Vec<Slice>> = Vec::new();
    let all = instances
        .iter()
        .enumerate()
        .flat_map(|(instance, file)| (0..file.frames.len()).map(move |frame| Slice { instance, frame }));
    for slice in all {
        match kinds.iter().position(|kind| series.alike(kind[0], slice)) {
            Some(at) => kinds[at].push(slice),
            None if kinds.len() < MOST_KINDS => kinds.push(vec![slice]),
            None => {
                let text = format!("more than {MOST_KINDS} sizes, orientations and spacings in one series");
                return vec![refused(String::new(), vec![slice], Oddity::new(Code::DicomKinds, text))];
            }
        }
    }
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.len()));
    let several = kinds.len() > 1;
    let mut found = Vec::new();
    for (at, kind) in kinds.into_iter().enumerate() {
        let key = if several { vec![format!("stack={}", at + 1)] } else { Vec::new() };
        if series.frame(kind[0]).position.is_some() {
            series.split(kind, key, &mut found);
        } else {
            series.unplaced(kind, key, &mut found);
        }
    }
    if let [only] = &mut found[..] {
        only.key = "1".into();
    }
    found
}

fn refused(key: String, slices: Vec<Slice>, problem: Oddity) -> Stack {
    Stack { key, slices, grid: None, problem: Some(problem), oddities: Vec::new() }
}

impl<'a> Series<'a> {
    fn frame(&self, slice: Slice) -> &'a Frame {
        &self.instances[slice.instance].frames[slice.frame]
    }

    fn name(&self, slice: Slice) -> String {
        let (instance, frame) = (&self.instances[slice.instance], self.frame(slice));
        match instance.frames.len() {
            1 => instance.path().display().to_string(),
            _ => format!("{} frame {}", instance.path().display(), frame.index + 1),
        }
    }

    /// Whether two frames can be slices of one grid.
    fn alike(&self, one: Slice, other: Slice) -> bool {
        let shapes = [one, other].map(|s| {
            let shape = &self.instances[s.instance].shape;
            (shape.rows, shape.columns, shape.samples)
        });
        let (one, other) = (self.frame(one), self.frame(other));
        let near = |a: &[f64], b: &[f64], most: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= most);
        let same_orientation = match (one.orientation, other.orientation) {
            (Some(a), Some(b)) => near(&a, &b, 1e-3),
            (a, b) => a.is_none() && b.is_none(),
        };
        let same_spacing = match (one.spacing, other.spacing) {
            (Some(a), Some(b)) => near(&a, &b, 1e-3 * a[0].min(a[1])),
            (a, b) => a.is_none() && b.is_none(),
        };
        shapes[0] == shapes[1] && same_orientation && same_spacing && one.position.is_some() == other.position.is_some()
    }

    /// Distance along the normal of the first slice's plane.
    fn place(&self, slice: Slice, normal: [f64; 3]) -> f64 {
        dot(self.frame(slice).position.unwrap_or_default(), normal)
    }

    fn normal(&self, slices: &[Slice]) -> [f64; 3] {
        slices.first().and_then(|&s| self.frame(s).orientation).map_or([0.0, 0.0, 1.0], |o| normal(&o))
    }

    fn same_place(&self, slices: &[Slice]) -> f64 {
        let pixel = slices.first().and_then(|&s| self.frame(s).spacing).map_or(1.0, |s| s[0].min(s[1]));
        SAME_PLACE.min(0.05 * pixel)
    }

    /// The slices by place, and how many distinct places there are.
    fn sorted(&self, slices: &mut [Slice]) -> usize {
        let (normal, same) = (self.normal(slices), self.same_place(slices));
        slices.sort_by(|&a, &b| self.place(a, normal).total_cmp(&self.place(b, normal)));
        1 + slices.windows(2).filter(|w| self.place(w[1], normal) - self.place(w[0], normal) > same).count()
    }

    /// Volumes of slices that can be of one grid: one where each has its own place, else as many as an index makes that
    /// leaves fewer slices at one place.
    fn split(&self, mut slices: Vec<Slice>, key: Vec<String>, found: &mut Vec<Stack>) {
        let places = self.sorted(&mut slices);
        if places == slices.len() {
            found.push(self.fit(slices, key.join(",")));
            return;
        }
        let frame = self.frame(slices[0]);
        let names: Vec<&'static str> = frame.keys.iter().map(|(name, _)| *name).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                continue;
            }
            let Some(parts) = self.parts(&slices, name, places) else { continue };
            for (value, part) in parts {
                let mut key = key.clone();
                key.push(format!("{name}={}", plain(&value)));
                self.split(part, key, found);
            }
            return;
        }
        let problem = self.duplicates(&slices);
        found.push(refused(key.join(","), slices, problem));
    }

    /// The slices by their value of an index; `None` where it does not separate volumes: each value has to be at more
    /// than one place (a time a slice is no time of a volume), and fewer slices have to share a place.
    fn parts(&self, slices: &[Slice], name: &str, places: usize) -> Option<Vec<(String, Vec<Slice>)>> {
        let mut parts: Vec<(String, Vec<Slice>)> = Vec::new();
        let mut by_value = std::collections::HashMap::new();
        for &slice in slices {
            let value = self.frame(slice).keys.iter().find(|(key, _)| *key == name).map_or("none", |(_, value)| value);
            let at = *by_value.entry(value).or_insert_with(|| {
                parts.push((value.to_string(), Vec::new()));
                parts.len() - 1
            });
            parts[at].1.push(slice);
        }
        let left: usize = parts.iter_mut().map(|(_, part)| part.len() - self.sorted(part)).sum();
        let fewer = left < slices.len() - places;
        let volumes = places == 1 || parts.iter_mut().all(|(_, part)| self.sorted(part) > 1);
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
        parts.sort_by(|a, b| number(&a.0).total_cmp(&number(&b.0)).then_with(|| a.0.cmp(&b.0)));
        (parts.len() > 1 && fewer && volumes).then_some(parts)
    }

    fn duplicates(&self, slices: &[Slice]) -> Oddity {
        let (normal, same) = (self.normal(slices), self.same_place(slices));
        let twins = slices.windows(2).filter(|w| self.place(w[1], normal) - self.place(w[0], normal) <= same);
        let twins: Vec<&[Slice]> = twins.collect();
        let first = twins.first().map_or(String::new(), |w| {
            format!("{} and {} at {:.2} mm", self.name(w[0]), self.name(w[1]), self.place(w[0], normal))
        });
        let text = format!("{} slices share a place with another, and no index tells them apart: {first}", twins.len());
        Oddity::new(Code::DicomDuplicates, text)
    }

    /// The grid of slices in the order of distinct places.
    fn fit(&self, slices: Vec<Slice>, key: String) -> Stack {
        let first = self.frame(slices[0]);
        let (Some(orientation), Some(spacing)) = (first.orientation, first.spacing) else {
            let missing = if first.orientation.is_none() { "ImageOrientationPatient" } else { "PixelSpacing" };
            let oddity =
                Oddity::new(Code::DicomNoPlace, format!("{missing} is not there: where voxels lie is unknown"));
            return Stack { key, slices, grid: None, problem: None, oddities: vec![oddity] };
        };
        let mut oddities = Vec::new();
        let [columns, rows] = [0, 3].map(|at| [orientation[at], orientation[at + 1], orientation[at + 2]]);
        let scaled = |v: [f64; 3], by: f64| v.map(|x| x * by);
        let in_plane = [scaled(columns, spacing[1]), scaled(rows, spacing[0])];
        let normal = normal(&orientation);
        let points: Vec<[f64; 3]> = slices.iter().map(|&s| self.frame(s).position.unwrap_or_default()).collect();
        let (origin, step) = if points.len() == 1 {
            let step = first.thickness.unwrap_or(1.0);
            let text = match first.thickness {
                Some(step) => format!("one slice: {step} mm across it are its thickness, not a distance of slices"),
                None => "one slice without a thickness: 1 mm across it stands for an unknown number".into(),
            };
            oddities.push(Oddity::new(Code::DicomOneSlice, text));
            (points[0], scaled(normal, step))
        } else {
            line(&points)
        };
        let grid = Grid { origin, steps: [in_plane[0], in_plane[1], step] };
        let problem = self.uneven(&slices, &points, &grid, normal);
        let tilt = grid.tilt();
        if tilt > 0.01 && problem.is_none() {
            let text = format!(
                "slices are {tilt:.3} degrees off a right angle to their stack (tilted gantry): the affine is \
                sheared, which ITK refuses to read"
            );
            oddities.push(Oddity::new(Code::DicomTilt, text));
        }
        Stack { key, slices, grid: Some(grid), problem, oddities }
    }

    /// Where slices are missing, or lie off the line.
    fn uneven(&self, slices: &[Slice], points: &[[f64; 3]], grid: &Grid, normal: [f64; 3]) -> Option<Oddity> {
        let places: Vec<f64> = points.iter().map(|&p| dot(p, normal)).collect();
        let mut gaps: Vec<f64> = places.windows(2).map(|w| w[1] - w[0]).collect();
        gaps.sort_by(f64::total_cmp);
        let usual = *gaps.get(gaps.len() / 2)?;
        let gap = |at: usize| places[at + 1] - places[at];
        let between = |at: usize| {
            let [a, b] = [at, at + 1].map(|at| format!("{:.2} mm ({})", places[at], self.name(slices[at])));
            format!("{a} and {b} are {:.3} mm apart, others {usual:.3} mm", gap(at))
        };
        let wide: Vec<usize> = (0..gaps.len()).filter(|&at| gap(at) > 1.5 * usual).collect();
        if let Some(&at) = wide.first() {
            let text = format!("slices are missing at {} place(s): {}", wide.len(), between(at));
            return Some(Oddity::new(Code::DicomGap, text));
        }
        let step = grid.steps[2];
        let most = OFF_MM.max(OFF_STEP * dot(step, step).sqrt());
        let off = |at: usize| {
            let apart: [f64; 3] = std::array::from_fn(|i| points[at][i] - grid.origin[i] - step[i] * at as f64);
            dot(apart, apart).sqrt()
        };
        let worst = (0..points.len()).max_by(|&a, &b| off(a).total_cmp(&off(b)))?;
        if off(worst) > most {
            let text = format!(
                "slices do not lie evenly on a line: the one at {:.2} mm ({}) is {:.3} mm off it",
                places[worst],
                self.name(slices[worst]),
                off(worst)
            );
            return Some(Oddity::new(Code::DicomUneven, text));
        }
        None
    }

    /// Frames without a place: those of a file in their order; several files are several volumes.
    fn unplaced(&self, slices: Vec<Slice>, key: Vec<String>, found: &mut Vec<Stack>) {
        let mut files: Vec<Vec<Slice>> = Vec::new();
        for slice in slices {
            match files.last_mut() {
                Some(file) if file[0].instance == slice.instance => file.push(slice),
                _ => files.push(vec![slice]),
            }
        }
        files.sort_by_key(|file| self.frame(file[0]).number);
        let several = files.len() > 1;
        for (at, file) in files.into_iter().enumerate() {
            let mut key = key.clone();
            if several {
                key.push(format!("image={}", at + 1));
            }
            let text = "the file does not say where in the patient its voxels lie";
            let oddities = vec![Oddity::new(Code::DicomNoPlace, text)];
            found.push(Stack { key: key.join(","), slices: file, grid: None, problem: None, oddities });
        }
    }
}

/// The least-squares line through points that are one step apart: its first point and the step.
fn line(points: &[[f64; 3]]) -> ([f64; 3], [f64; 3]) {
    let count = points.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let spread: f64 = (0..points.len()).map(|k| (k as f64 - middle).powi(2)).sum();
    let mean: [f64; 3] = std::array::from_fn(|i| points.iter().map(|p| p[i]).sum::<f64>() / count);
    let step: [f64; 3] = std::array::from_fn(|i| {
        points.iter().enumerate().map(|(k, p)| (k as f64 - middle) * (p[i] - mean[i])).sum::<f64>() / spread
    });
    (std::array::from_fn(|i| mean[i] - middle * step[i]), step)
}

/// A value as part of a key: digits, letters and a few signs, and not long.
fn plain(value: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "+-./_:".contains(c) { c } else { '/' };
    value.chars().take(64).map(kept).collect()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(v: [f64; 3]) -> [f64; 3] {
    let length = dot(v, v).sqrt();
    v.map(|x| x / length)
}
