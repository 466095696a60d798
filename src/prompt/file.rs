//! The boxes file: one JSON object, version 1. Written for hostile input: unknown and duplicate keys are errors, the
//! shape is fixed so that nothing nests, and sizes are limited before anything grows.
//!
//! ```json
//! { "version": 1, "space": "voxel", "inclusive": true,
//!   "targets": [
//!     { "name": "liver", "task": "CT_Liver", "label": 1, "box3d": [30, 40, 5, 90, 80, 12] },
//!     { "name": "cyst", "task": "CT_Liver", "target": "unseen", "label": 2,
//!       "slices": { "7": [41, 50, 48, 58], "8": [[40, 50, 47, 58], [60, 50, 64, 55]] } } ] }
//! ```
//!
//! `space` is `voxel`, or `lps` or `ras` for millimetres of the patient frame. `inclusive` is true, or in voxels false
//! for upper ends that lie outside the box.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::rough::follow;
use super::space::{self, Patient};
use super::{Grid, PixelBox, Target, VolumeBox, markups, npz, stretch, volume_box};
use crate::codes::{Code, Warning};
use crate::taxonomy::Query;
use crate::{Error, Result, zip};

/// Largest file that is read, in bytes: a million boxes fit.
pub const LARGEST_FILE: u64 = 32 << 20;

/// Most boxes that a file may ask for, over all targets and slices.
pub const MOST_BOXES: usize = 1 << 20;

/// Most targets of a file; each has its own mask.
const MOST_TARGETS: usize = u16::MAX as usize;

/// Reads the targets of a boxes file, of markups of 3D Slicer, or of the `boxes` of an .npz file.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] for a malformed file and [`Error::Prompt`] for a box that makes no sense for this
/// grid.
pub fn read_boxes(path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    let mut file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
    if zip::holds_archive(path, &mut file)? {
        return npz::read(path, &mut file, grid);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        let found = format!("more than {LARGEST_FILE} bytes");
        return Err(Error::file(path, "boxes file", format!("at most {LARGEST_FILE} bytes"), found));
    }
    parse_boxes(&bytes, path, grid)
}

/// Parses the contents of a boxes file or of markups of 3D Slicer; `path` is for messages, and names markups without a
/// name.
///
/// # Errors
/// As [`read_boxes`].
pub fn parse_boxes(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    // serde says "..., expected this at line 1 column 2", or "expected this at line 1 column 2".
    let malformed = |text: &str| {
        let (found, rest) = match text.strip_prefix("expected ") {
            Some(rest) => ("something else", Some(rest)),
            None => text.split_once(", expected ").map_or((text, None), |(found, rest)| (found, Some(rest))),
        };
        match rest.and_then(|rest| rest.rsplit_once(" at line ")) {
            Some((expected, place)) => Error::file(path, format!("boxes file, line {place}"), expected, found),
            None => Error::file(path, "boxes file", "a JSON object of version 1", text),
        }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if markups::is_markups(bytes) {
        return markups::parse(bytes, path, grid);
    }
    if !matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
        let expected = "a JSON object of version 1, markups or .npz (a mask is a prompt as --rough)";
        return Err(Error::file(path, "boxes file", expected, "something else"));
    }
    let Object(file): Object<Contents> =
        serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))?;
    if file.version != 1 {
        return Err(Error::file(path, "version", 1, file.version));
    }
    if !file.inclusive && file.space != Space::Voxel {
        return Err(Error::file(path, "inclusive", "true, as ends in millimetres are points", false));
    }
    if file.targets.0.is_empty() {
        return Err(Error::file(path, "targets", "at least one", "none"));
    }
    let mut left = MOST_BOXES;
    let convert = |(number, target): (usize, RawTarget)| {
        let place = format!("{}: target {number} '{}'", path.display(), target.name.escape_debug());
        let found = Convert { place, space: file.space, inclusive: file.inclusive, grid }.target(target, left)?;
        left -= found.iter().map(|target| target.boxes.len()).sum::<usize>();
        Ok(found)
    };
    let targets: Result<Vec<Vec<Target>>> = file.targets.0.into_iter().enumerate().map(convert).collect();
    Ok(targets?.into_iter().flatten().collect())
}

impl Target {
    /// One target a track, all with its label; the first has the warnings.
    pub(super) fn in_tracks(self, tracks: Vec<BTreeMap<usize, PixelBox>>) -> Vec<Target> {
        let several = tracks.len() > 1;
        let of_track = |(index, boxes): (usize, BTreeMap<usize, PixelBox>)| Target {
            name: if several { format!("{}, part {}", self.name, index + 1) } else { self.name.clone() },
            boxes,
            warnings: if index == 0 { self.warnings.clone() } else { Vec::new() },
            ..self.clone()
        };
        tracks.into_iter().enumerate().map(of_track).collect()
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    space: Space,
    inclusive: bool,
    targets: Targets,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Voxel,
    Lps,
    Ras,
}

impl<'de> Deserialize<'de> for Space {
    /// In capitals too, as other tools write them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.to_ascii_lowercase().as_str() {
            "voxel" => Ok(Space::Voxel),
            "lps" => Ok(Space::Lps),
            "ras" => Ok(Space::Ras),
            _ => Err(D::Error::unknown_variant(&name, &["voxel", "lps", "ras"])),
        }
    }
}

/// A label, which some programs write as 1.0.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u16, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&number) {
        Ok(number as u16)
    } else {
        Err(D::Error::custom(format_args!("label {number}, expected a whole number, 1 to 65535")))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    name: String,
    #[serde(deserialize_with = "whole")]
    label: u16,
    task: Option<String>,
    modality: Option<String>,
    body_part: Option<String>,
    subregion: Option<String>,
    organ: Option<String>,
    target: Option<String>,
    box3d: Option<[f64; 6]>,
    slices: Option<Slices>,
}

/// A JSON object; derived code alone would also take an array of the fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Targets(Vec<RawTarget>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Targets;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array of targets")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Targets, A::Error> {
                let mut targets = Vec::new();
                while let Some(Object(target)) = list.next_element()? {
                    if targets.len() == MOST_TARGETS {
                        return Err(A::Error::custom(format_args!("more than {MOST_TARGETS} targets")));
                    }
                    targets.push(target);
                }
                Ok(Targets(targets))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The rectangles of each slice.
struct Slices(BTreeMap<usize, Rectangles>);

/// One rectangle, or a list of them.
struct Rectangles(Vec<[f64; 4]>);

impl<'de> Deserialize<'de> for Rectangles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Part {
            Number(f64),
            Rectangle([f64; 4]),
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Rectangles;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array of 4 numbers, or of such arrays")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Rectangles, A::Error> {
                let (mut numbers, mut rectangles) = (Vec::new(), Vec::new());
                while let Some(part) = list.next_element()? {
                    match part {
                        Part::Number(number) if rectangles.is_empty() && numbers.len() < 4 => numbers.push(number),
                        Part::Rectangle(rectangle) if numbers.is_empty() && rectangles.len() < MOST_BOXES => {
                            rectangles.push(rectangle);
                        }
                        _ => return Err(A::Error::invalid_length(numbers.len() + rectangles.len() + 1, &self)),
                    }
                }
                match <[f64; 4]>::try_from(numbers.as_slice()) {
                    Ok(rectangle) => Ok(Rectangles(vec![rectangle])),
                    Err(_) if numbers.is_empty() && !rectangles.is_empty() => Ok(Rectangles(rectangles)),
                    Err(_) => Err(A::Error::invalid_length(numbers.len(), &self)),
                }
            }
        }
        deserializer.deserialize_seq(Either)
    }
}

impl<'de> Deserialize<'de> for Slices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Slices;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of slice indices and boxes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Slices, A::Error> {
                let mut slices = BTreeMap::new();
                while let Some((name, rectangle)) = map.next_entry::<String, Rectangles>()? {
                    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
                    let Some(slice) = name.parse().ok().filter(|_| digits) else {
                        return Err(A::Error::custom(format_args!("slice {name:?} is not an index")));
                    };
                    if slices.insert(slice, rectangle).is_some() {
                        return Err(A::Error::custom(format_args!("slice {slice} is there twice")));
                    }
                    if slices.len() > MOST_BOXES {
                        return Err(A::Error::custom(format_args!("more than {MOST_BOXES} boxes")));
                    }
                }
                Ok(Slices(slices))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Turns one target's numbers into boxes of the grid.
struct Convert<'a> {
    place: String,
    space: Space,
    inclusive: bool,
    grid: &'a Grid,
}

/// The lower and the higher ends of corners that are given in any order.
fn ascending<const N: usize>(a: [f64; N], b: [f64; N], what: &str, notes: &mut Vec<Warning>) -> ([f64; N], [f64; N]) {
    if a.iter().zip(&b).any(|(a, b)| b < a) && !notes.iter().any(|note| note.code == Code::CornersSwapped) {
        notes.push(Warning::new(
            Code::CornersSwapped,
            format!("{what}: corners {a:?}, {b:?} are not in ascending order"),
        ));
    }
    (std::array::from_fn(|axis| a[axis].min(b[axis])), std::array::from_fn(|axis| a[axis].max(b[axis])))
}

impl Convert<'_> {
    /// Converts one target that may have at most `left` boxes; several of one label where it has several boxes on a
    /// slice.
    fn target(&self, raw: RawTarget, left: usize) -> Result<Vec<Target>> {
        if raw.label == 0 {
            return Err(self.error("label", "1 or more (0 is background)", 0));
        }
        if !(1..=256).contains(&raw.name.chars().count()) {
            return Err(self.error("name", "1 to 256 characters", raw.name.chars().count()));
        }
        let mut warnings = Vec::new();
        let patient = self.patient()?;
        if patient.as_ref().is_some_and(|patient| !patient.aligned) {
            let message = format!("{}: the image is oblique; voxel boxes enclose the ones given", self.place);
            warnings.push(Warning::new(Code::BoxOblique, message));
        }
        let patient = patient.as_ref();
        let tracks = match (raw.box3d, raw.slices) {
            (Some(numbers), None) => vec![self.box3d(numbers, patient, left, &mut warnings)?],
            (None, Some(Slices(slices))) if !slices.is_empty() => self.slices(&slices, patient, left, &mut warnings)?,
            (None, Some(_)) => return Err(self.error("slices", "at least one", "none")),
            (Some(_), Some(_)) => return Err(self.error("boxes", "box3d or slices", "both")),
            (None, None) => return Err(self.error("boxes", "box3d or slices", "neither")),
        };
        let RawTarget { name, label, task, modality, body_part, subregion, organ, target, .. } = raw;
        let query = Query { task, modality, body_part, subregion, organ, target };
        let whole = Target { name, label, query, boxes: BTreeMap::new(), points: BTreeMap::new(), warnings };
        Ok(whole.in_tracks(tracks))
    }

    fn box3d(
        &self,
        numbers: [f64; 6],
        patient: Option<&Patient>,
        left: usize,
        notes: &mut Vec<Warning>,
    ) -> Result<BTreeMap<usize, PixelBox>> {
        let what = format!("{}, box3d", self.place);
        let [x0, y0, z0, x1, y1, z1] = numbers;
        let (low, high) = ([x0, y0, z0], [x1, y1, z1]);
        let found = match patient {
            Some(patient) => {
                let (low, high) = ascending(low, high, &what, notes);
                space::volume_box(patient, low, high, &what, self.grid, notes)?
            }
            None => {
                let ends = self.indices(&what, low, high, notes)?;
                VolumeBox { low: ends.map(|(first, _)| first), high: ends.map(|(_, last)| last) }
            }
        };
        let axis = self.grid.axis.min(2);
        self.check_count(found.high[axis].saturating_sub(found.low[axis]).saturating_add(1), left)?;
        volume_box(found, &what, self.grid)
    }

    fn slices(
        &self,
        slices: &BTreeMap<usize, Rectangles>,
        patient: Option<&Patient>,
        left: usize,
        notes: &mut Vec<Warning>,
    ) -> Result<Vec<BTreeMap<usize, PixelBox>>> {
        let count: usize = slices.values().map(|Rectangles(all)| all.len()).sum();
        self.check_count(i64::try_from(count).unwrap_or(i64::MAX), left)?;
        let (width, height) = self.grid.slice_size();
        let mut convert = |slice: usize, [x0, y0, x1, y1]: [f64; 4]| {
            if slice >= self.grid.slices() {
                return Err(self.error("slice", format!("0..={}", self.grid.slices().saturating_sub(1)), slice));
            }
            let what = format!("{}, slice {slice}", self.place);
            let found = match patient {
                Some(patient) => {
                    let (low, high) = ascending([x0, y0], [x1, y1], &what, notes);
                    space::slice_box(patient, slice, low, high, &what, self.grid, notes)?
                }
                None => {
                    let [(x0, x1), (y0, y1)] = self.indices(&what, [x0, y0], [x1, y1], notes)?;
                    PixelBox { x0, y0, x1, y1 }
                }
            };
            found.check(&what, width, height)?;
            Ok(found)
        };
        let mut tracks: Vec<BTreeMap<usize, PixelBox>> = Vec::new();
        for (&slice, Rectangles(all)) in slices {
            let boxes: Result<Vec<PixelBox>> = all.iter().map(|&rectangle| convert(slice, rectangle)).collect();
            let boxes = boxes?;
            match count == slices.len() {
                // One box a slice is one track, however far it jumps.
                true if !tracks.is_empty() => drop(tracks[0].insert(slice, boxes[0])),
                _ => follow(&mut tracks, slice, boxes),
            }
        }
        Ok(tracks)
    }

    fn check_count(&self, count: i64, left: usize) -> Result<()> {
        match usize::try_from(count) {
            Ok(count) if count > left => {
                let found = format!("{count} more than the {} before", MOST_BOXES - left);
                Err(self.error("boxes", format!("at most {MOST_BOXES} in a file"), found))
            }
            _ => Ok(()),
        }
    }

    fn patient(&self) -> Result<Option<Patient>> {
        match self.space {
            Space::Voxel => Ok(None),
            Space::Ras => Patient::new(self.grid, [1.0, 1.0]).map(Some),
            Space::Lps => Patient::new(self.grid, [-1.0, -1.0]).map(Some),
        }
    }

    /// First and last voxel on each axis, from corners in any order.
    fn indices<const N: usize>(
        &self,
        what: &str,
        a: [f64; N],
        b: [f64; N],
        notes: &mut Vec<Warning>,
    ) -> Result<[(i64, i64); N]> {
        if let Some(number) = a.iter().chain(&b).find(|number| number.abs() > f64::from(u32::MAX)) {
            let found = number.to_string();
            return Err(Error::Prompt { what: what.into(), expected: "voxel indices".into(), found });
        }
        let ends = |axis: usize| stretch(a[axis], b[axis], self.inclusive, what, notes);
        Ok(std::array::from_fn(ends))
    }

    fn error(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        let what = format!("{}, {what}", self.place);
        Error::Prompt { what, expected: expected.to_string(), found: found.to_string() }
    }
}
