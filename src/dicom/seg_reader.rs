//! DICOM segmentations in: BINARY, LABELMAP and FRACTIONAL as labels on a grid of their own, from their first slice to
//! their last. Slices that are left out are empty.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::data_set::{DataSet, Flaw, Flawed};
use super::frames::{Frame, normal};
use super::input::Place;
use super::instance::Instance;
use super::parse::parse_wanted;
use super::pixels::Slices;
use super::segmentation::{ListedTarget, tracked};
use super::stack::{Grid, Oddity, Slice};
use super::tags::{self, Tag, Vr};
use crate::codes::Code;
use crate::image::{LabelVolume, Segment, Voxels};
use crate::{Error, Result};

const MANUFACTURER: Tag = 0x0008_0070;
const SEGMENTATION_TYPE: Tag = 0x0062_0001;
const SEGMENT_SEQUENCE: Tag = 0x0062_0002;
const SEGMENT_NUMBER: Tag = 0x0062_0004;
const SEGMENT_LABEL: Tag = 0x0062_0005;
const SEGMENT_IDENTIFICATION: Tag = 0x0062_000A;
const REFERENCED_SEGMENT: Tag = 0x0062_000B;
const MOST_OF_FRACTION: Tag = 0x0062_000E;
const TRACKING: Tag = 0x0062_0020;

/// Frames that are decoded at once.
const TOGETHER: usize = 16;
/// More slices than any volume has.
const MOST_SLICES: f64 = 65536.0;

pub fn wanted(tag: Tag) -> Option<Vr> {
    match tag {
        tags::CHARACTER_SET | MANUFACTURER | SEGMENTATION_TYPE | SEGMENT_LABEL | TRACKING => Some(Vr::Text),
        SEGMENT_SEQUENCE | SEGMENT_IDENTIFICATION => Some(Vr::Sq),
        SEGMENT_NUMBER | REFERENCED_SEGMENT | MOST_OF_FRACTION => Some(Vr::Us),
        _ => tags::vr(tag),
    }
}

/// What was read.
pub struct ReadSegmentation {
    /// Columns, rows and slices.
    pub dims: [usize; 3],
    pub grid: Grid,
    pub voxels: Voxels,
    /// What stored values are multiplied with: of fractions, else 1.
    pub slope: f64,
    /// What the file calls the labels, ascending.
    pub names: Vec<Segment>,
    pub oddities: Vec<Oddity>,
}

/// What a file says of its segments.
struct Header {
    kind: Kind,
    /// Number and label.
    segments: Vec<(u16, u16)>,
    names: BTreeMap<u16, String>,
    /// The segment of each frame; of LABELMAP none.
    of_frames: Vec<Option<u16>>,
    between: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Binary,
    LabelMap,
    /// The value that stands for 1.
    Fractional(u16),
}

impl Header {
    fn of(root: &DataSet) -> Flawed<Header> {
        let kind = match root.text(SEGMENTATION_TYPE).as_deref() {
            Some("BINARY") => Kind::Binary,
            Some("FRACTIONAL") => Kind::Fractional(root.required(MOST_OF_FRACTION, 1..=255)? as u16),
            Some("LABELMAP") => Kind::LabelMap,
            _ => return Err(Flaw::new("SegmentationType", "BINARY, FRACTIONAL or LABELMAP", "something else")),
        };
        let own = root.text(MANUFACTURER).as_deref() == Some("medsegx");
        let (mut segments, mut names) = (Vec::new(), BTreeMap::new());
        for item in root.items(SEGMENT_SEQUENCE) {
            let number = item.required(SEGMENT_NUMBER, 0..=65535)? as u16;
            // This program's numbers have no gaps; its labels may.
            let label = item.text(TRACKING).filter(|_| own).and_then(|id| tracked(&id)).unwrap_or(number);
            segments.push((number, label));
            if let Some(name) = item.name(SEGMENT_LABEL, root).filter(|name| label > 0 && !name.trim().is_empty()) {
                names.entry(label).or_insert_with(|| name.trim().to_string());
            }
        }
        let shared = root.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
        let per_frame = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        let group =
            |frame: &'_ DataSet, tag| -> Option<DataSet> { frame.item(tag).or_else(|| shared?.item(tag)).cloned() };
        let mut of_frames = Vec::new();
        for frame in per_frame {
            let number = match group(frame, SEGMENT_IDENTIFICATION) {
                Some(item) => item.whole(REFERENCED_SEGMENT, 0..=65535)?.map(|n| n as u16),
                None => None,
            };
            of_frames.push(number);
        }
        let measures = per_frame.first().and_then(|frame| group(frame, tags::PIXEL_MEASURES_SEQUENCE));
        let between = match &measures {
            Some(measures) => measures.number(tags::SPACING_BETWEEN_SLICES)?.map(f64::abs).filter(|&b| b > 0.0),
            None => None,
        };
        Ok(Header { kind, segments, names, of_frames, between })
    }

    /// The label of segment `number`.
    fn label(&self, number: u16) -> u16 {
        self.segments.iter().find(|row| row.0 == number).map_or(number, |row| row.1)
    }
}

/// From the headers: the form of the segments, how many frames there are, and the segments.
pub fn segments(root: &DataSet) -> Flawed<(&'static str, usize, Vec<ListedTarget>)> {
    let header = Header::of(root)?;
    let (form, in_headers) = match header.kind {
        Kind::Binary => ("BINARY", true),
        Kind::Fractional(_) => ("FRACTIONAL", true),
        Kind::LabelMap => ("LABELMAP", false),
    };
    let target = |&(number, label): &(u16, u16)| ListedTarget {
        label: label.into(),
        name: header.names.get(&label).cloned().unwrap_or_default(),
        parts: in_headers.then(|| header.of_frames.iter().filter(|frame| **frame == Some(number)).count()),
    };
    Ok((form, header.of_frames.len(), header.segments.iter().map(target).collect()))
}

/// Reads the segmentation at `path`; of segments only those with one of the labels `chosen`, where some are.
///
/// # Errors
/// [`Error::Io`]; [`Error::Memory`]; [`Error::File`] for frames that are of no even grid, for more than `most` voxels,
/// and for whatever is malformed.
pub fn read_segmentation(path: &Path, chosen: &[u32], most: u64) -> Result<ReadSegmentation> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
    let place = Place::file(path, length);
    let parsed = parse_wanted(place.open()?, wanted).map_err(|flaw| flaw.at(path))?;
    let mut header = Header::of(&parsed.data_set).map_err(|flaw| flaw.at(path))?;
    let names = std::mem::take(&mut header.names).into_iter();
    let names: Vec<Segment> = names.map(|(label, name)| Segment { label, name }).collect();
    let instance = Instance::of_mask(&place, parsed).map_err(|flaw| flaw.at(path))?;
    let is_chosen = |label: u16| chosen.is_empty() || chosen.contains(&label.into());
    let background = instance.padding.map(|[low, _]| low as u16).filter(|_| header.kind == Kind::LabelMap);
    let (grid, slices, places) = grid_of(&instance.frames, header.between).map_err(|flaw| flaw.at(path))?;
    let dims = [instance.shape.columns, instance.shape.rows, slices];
    let count = dims.iter().try_fold(1_u64, |all, &n| all.checked_mul(n as u64));
    if count.is_none_or(|count| count > most) {
        return Err(Error::file(path, "size", format!("at most {most} voxels"), format!("{dims:?}")));
    }
    let plain = header.kind != Kind::LabelMap;
    let numbers: Vec<u16> = header.of_frames.iter().map(|number| number.unwrap_or(0)).collect();
    let mut frames = Vec::new();
    for frame in 0..instance.frames.len() {
        let number = numbers.get(frame).copied().unwrap_or(0);
        if plain && number == 0 {
            let found = format!("none for frame {}", frame + 1);
            return Err(Error::file(path, "ReferencedSegmentNumber", "a segment of each frame", found));
        }
        if !plain || is_chosen(header.label(number)) {
            frames.push(frame);
        }
    }
    let (several, only) = (distinct(&numbers) > 1 || !chosen.is_empty(), header.kind);
    let mut reader = Reader { header, dims, background, chosen, covered: 0, oddities: Vec::new() };
    let source = frames.iter().map(|&frame| Slice { instance: 0, frame }).collect();
    let wide = instance.shape.bits_allocated == 16;
    if frames.is_empty() {
        let voxels = LabelVolume::new(dims, 1)?.into_voxels();
        return Ok(ReadSegmentation { dims, grid, voxels, slope: 1.0, names, oddities: reader.oddities });
    }
    let pixels = Slices::new(vec![instance], source, None)?;
    let places: Vec<usize> = frames.iter().map(|&frame| places[frame]).collect();
    let numbers: Vec<u16> = frames.iter().map(|&frame| numbers.get(frame).copied().unwrap_or(0)).collect();
    if let (Kind::Fractional(most), false) = (only, several) {
        let voxels = reader.fractions(&pixels, &places)?;
        let slope = 1.0 / f64::from(most);
        return Ok(ReadSegmentation { dims, grid, voxels, slope, names, oddities: reader.oddities });
    }
    let highest = reader.highest(wide);
    let labels = reader.labels(&pixels, &places, &numbers, highest)?;
    let voxels = labels.into_voxels();
    reader.say();
    Ok(ReadSegmentation { dims, grid, voxels, slope: 1.0, names, oddities: reader.oddities })
}

fn distinct(numbers: &[u16]) -> usize {
    numbers.iter().collect::<std::collections::BTreeSet<_>>().len()
}

struct Reader<'a> {
    header: Header,
    dims: [usize; 3],
    /// The stored value of a LABELMAP that is no segment.
    background: Option<u16>,
    chosen: &'a [u32],
    /// Voxels that more than one segment has.
    covered: u64,
    oddities: Vec<Oddity>,
}

impl Reader<'_> {
    /// The greatest label that can come.
    fn highest(&self, wide: bool) -> u16 {
        let of_segments = self.header.segments.iter().map(|row| row.1).max().unwrap_or(0);
        let of_frames = self.header.of_frames.iter().flatten().copied().max().unwrap_or(0);
        let stored = match self.header.kind {
            Kind::LabelMap if wide => u16::MAX,
            Kind::LabelMap => 255,
            _ => 0,
        };
        of_segments.max(of_frames).max(stored)
    }

    fn each(&self, pixels: &Slices, mut take: impl FnMut(usize, &Voxels, usize)) -> Result<()> {
        let (count, go) = (pixels.dims()[2], AtomicBool::new(false));
        for first in (0..count).step_by(TOGETHER) {
            let run = first..(first + TOGETHER).min(count);
            let voxels = pixels.read(run.clone(), &go)?;
            run.for_each(|frame| take(frame, &voxels, frame - first));
        }
        Ok(())
    }

    fn area(&self) -> usize {
        self.dims[0] * self.dims[1]
    }

    /// Stored fractions of the one segment.
    fn fractions(&self, pixels: &Slices, places: &[usize]) -> Result<Voxels> {
        let area = self.area();
        let mut values: Vec<u8> = crate::memory::zeros(area * self.dims[2], "the segmentation")?;
        self.each(pixels, |frame, voxels, at| {
            let out = &mut values[places[frame] * area..][..area];
            if let Voxels::U8(stored) = voxels {
                out.copy_from_slice(&stored[at * area..][..area]);
            }
        })?;
        Ok(Voxels::U8(values))
    }

    fn labels(&mut self, pixels: &Slices, places: &[usize], numbers: &[u16], highest: u16) -> Result<LabelVolume> {
        let area = self.area();
        let mut labels: Vec<u16> = crate::memory::zeros(area * self.dims[2], "the segmentation")?;
        let kind = self.header.kind;
        // What a stored value of a LABELMAP is; 0 for what is not asked for.
        let of_value = |value: u16| -> u16 {
            let label = self.header.label(value);
            let chosen = self.chosen.is_empty() || self.chosen.contains(&label.into());
            if Some(value) == self.background || !chosen { 0 } else { label }
        };
        let table: Vec<u16> = if kind == Kind::LabelMap { (0..=u16::MAX).map(of_value).collect() } else { Vec::new() };
        let mut covered = 0_u64;
        let half = if let Kind::Fractional(most) = kind { u32::from(most) } else { 1 };
        self.each(pixels, |frame, voxels, at| {
            let out = &mut labels[places[frame] * area..][..area];
            let label = numbers.get(frame).map_or(0, |&number| self.header.label(number));
            let mut put = |out: &mut u16, value: u16| {
                if kind == Kind::LabelMap {
                    *out = table[usize::from(value)];
                } else if 2 * u32::from(value) > half {
                    covered += u64::from(*out != 0 && *out != label);
                    *out = label;
                }
            };
            match voxels {
                Voxels::U8(stored) => {
                    out.iter_mut().zip(&stored[at * area..][..area]).for_each(|(out, &v)| put(out, v.into()));
                }
                Voxels::U16(stored) => {
                    out.iter_mut().zip(&stored[at * area..][..area]).for_each(|(out, &v)| put(out, v));
                }
                _ => {}
            }
        })?;
        self.covered = covered;
        let most = labels.iter().copied().max().unwrap_or(0).min(highest);
        LabelVolume::of(self.dims, labels, most)
    }

    fn say(&mut self) {
        if let Kind::Fractional(_) = self.header.kind {
            let text = "fractions above half of the largest are inside";
            self.oddities.push(Oddity::new(Code::RoughThreshold, text));
        }
        if self.covered > 0 {
            let text = format!("{} voxels are of more than one segment: the later segment has them", self.covered);
            self.oddities.push(Oddity::new(Code::SegOverlap, text));
        }
    }
}

/// The grid of the frames' places, how many slices it has, and the slice of each frame.
fn grid_of(frames: &[Frame], between: Option<f64>) -> Flawed<(Grid, usize, Vec<usize>)> {
    let wrong = |expected: &str, found: String| Flaw::new("frames of the segmentation", expected, found);
    let first = frames.first().ok_or_else(|| wrong("at least one", "none".into()))?;
    let (Some(orientation), Some(spacing)) = (first.orientation, first.spacing) else {
        return Err(wrong("orientation and spacing", "none".into()));
    };
    let normal = normal(&orientation);
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let mut along = Vec::with_capacity(frames.len());
    for frame in frames {
        let alike = |a: &[f64], b: &[f64], most: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= most);
        let same = frame.orientation.is_some_and(|other| alike(&other, &orientation, 1e-3))
            && frame.spacing.is_some_and(|other| alike(&other, &spacing, 1e-3 * spacing[0]));
        let Some(position) = frame.position.filter(|_| same) else {
            return Err(wrong(
                "one orientation, one spacing, and a place each",
                format!("others in {}", frame.index + 1),
            ));
        };
        along.push((dot(position, normal), position));
    }
    let mut sorted = along.clone();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
    let same = 0.01_f64.min(0.05 * spacing[0].min(spacing[1]));
    let gaps = sorted.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|&gap| gap > same);
    let least = gaps.fold(f64::INFINITY, f64::min);
    let (step, slices) = if least.is_finite() {
        let parts = between.map_or(1.0, |between| (least / between).round().max(1.0));
        let fits = between.is_some_and(|between| (least / parts - between).abs() <= 0.05 * between);
        let step = if fits { least / parts } else { least };
        let steps = ((high.0 - low.0) / step).round();
        if steps >= MOST_SLICES {
            return Err(wrong("fewer than 65536 slices", format!("{steps}")));
        }
        ((high.0 - low.0) / steps, steps as usize + 1)
    } else {
        (between.or(first.thickness).unwrap_or(1.0), 1)
    };
    let mut places = Vec::with_capacity(frames.len());
    for (distance, _) in &along {
        let at = (distance - low.0) / step;
        if (at - at.round()).abs() > 0.1 {
            return Err(wrong("places on an even grid", format!("one {at:.3} steps from the first")));
        }
        places.push((at.round() as usize).min(slices - 1));
    }
    let scaled = |v: [f64; 3], by: f64| v.map(|x| x * by);
    let across = match slices {
        1 => scaled(normal, step),
        _ => std::array::from_fn(|i| (high.1[i] - low.1[i]) / (slices - 1) as f64),
    };
    let [a, b, c, d, e, f] = orientation;
    let steps = [scaled([a, b, c], spacing[1]), scaled([d, e, f], spacing[0]), across];
    Ok((Grid { origin: low.1, steps }, slices, places))
}
