//! Boxes around a rough mask: which of its values are the object, and a box a slice around them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Grid, PixelBox};
use crate::codes::{Code, Warning};
use crate::{Error, Result};

/// What of a rough mask becomes boxes.
#[derive(Clone, Debug, Default)]
pub struct RoughOptions {
    /// The values that are the object; empty where the mask has one label only.
    pub labels: Vec<u32>,
    /// Values above it are the object.
    pub threshold: Option<f64>,
    /// Voxels added on every side of a box.
    pub margin: u32,
    /// A box for each separate part of a slice (8 neighbours), not one around all of them.
    pub parts: bool,
    /// Boxes on the slices between drawn ones, on straight lines between theirs.
    pub interpolate: bool,
}

/// Which values are the object.
#[derive(Clone, Debug, PartialEq)]
pub enum Foreground {
    /// These ones.
    Labels(Vec<u32>),
    /// Those above.
    Above(f64),
}

/// Most different whole values that are told apart; masks of more are pictures.
const MOST_LABELS: usize = 256;

impl Foreground {
    /// Whether `value` is the object; what is not a number never is.
    pub fn holds(&self, value: f64) -> bool {
        match self {
            Foreground::Labels(labels) => labels.iter().any(|&label| f64::from(label) == value),
            Foreground::Above(threshold) => value > *threshold,
        }
    }

    /// What is meant by a mask of `values`: its one positive label, or, where values lie between whole ones, those
    /// above half of the largest, above 0 where there are negative ones. A threshold that was not asked for is a
    /// warning.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a mask of several labels of which none was asked for, or without the ones asked for.
    pub fn of(
        values: impl Iterator<Item = f64>,
        options: &RoughOptions,
        warnings: &mut Vec<Warning>,
    ) -> Result<Foreground> {
        if let Some(threshold) = options.threshold {
            return Ok(Foreground::Above(threshold));
        }
        let (mut whole, mut between, mut least, mut most) = (BTreeSet::new(), false, 0.0_f64, 0.0_f64);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
            between |= value.fract() != 0.0;
            if value > 0.0 && value.fract() == 0.0 && whole.len() <= MOST_LABELS {
                whole.insert(value.min(f64::from(u32::MAX)) as u32);
            }
        }
        let error = |expected: &str, found: String| {
            Err(Error::Prompt { what: "rough mask".into(), expected: expected.into(), found })
        };
        if !options.labels.is_empty() {
            return match options.labels.iter().find(|label| !whole.contains(label)) {
                Some(missing) => error(&format!("label {missing}, as asked for"), found(&whole)),
                None => Ok(Foreground::Labels(options.labels.clone())),
            };
        }
        if between {
            let threshold = if least < 0.0 { 0.0 } else { most / 2.0 };
            let message = format!(
                "rough mask: values of {least} to {most} are not all whole numbers: those above {threshold} are inside \
                 (--rough-threshold)"
            );
            warnings.push(Warning::new(Code::RoughThreshold, message));
            return Ok(Foreground::Above(threshold));
        }
        match whole.len() {
            0 => error("foreground", if least < 0.0 { "no value above 0".into() } else { "none".into() }),
            1 => Ok(Foreground::Labels(whole.into_iter().collect())),
            _ => error("one label, or --rough-label N for those that are meant", found(&whole)),
        }
    }
}

fn found(labels: &BTreeSet<u32>) -> String {
    const MOST: usize = 12;
    let shown: Vec<String> = labels.iter().take(MOST).map(u32::to_string).collect();
    let more = if labels.len() > MOST { ", ..." } else { "" };
    if labels.is_empty() { "no label".into() } else { format!("labels {}{more}", shown.join(", ")) }
}

/// Boxes around the foreground of each slice that has some: one map without [`RoughOptions::parts`], else one for each
/// part as it goes on from slice to slice. `inside` is the whole array, i fastest.
///
/// # Errors
/// [`Error::Prompt`] for an array of another size than `grid`, or without foreground.
pub fn rough_boxes(
    inside: &[bool],
    options: &RoughOptions,
    grid: &Grid,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<BTreeMap<usize, PixelBox>>> {
    let error = |expected: String, found: String| Error::Prompt { what: "rough mask".into(), expected, found };
    let [ni, nj, nk] = grid.dims;
    if ni.checked_mul(nj).and_then(|plane| plane.checked_mul(nk)) != Some(inside.len()) {
        return Err(error(format!("{ni} x {nj} x {nk} voxels, as the image"), format!("{} voxels", inside.len())));
    }
    let (width, height) = grid.slice_size();
    let mut tracks: Vec<BTreeMap<usize, PixelBox>> = Vec::new();
    let mut whole = Vec::new();
    for slice in 0..grid.slices() {
        let boxes = if options.parts { parts(inside, grid, slice)? } else { around(inside, grid, slice) };
        let all = |b: &PixelBox| b.area() == (width * height) as u64 && width * height > 1;
        if boxes.iter().any(all) {
            whole.push(slice);
        }
        follow(&mut tracks, slice, boxes);
    }
    if tracks.is_empty() {
        return Err(error("foreground".into(), "none".into()));
    }
    if let Some(first) = whole.first() {
        let message =
            format!("rough mask: boxes cover {} whole slices, {first} first: is its background inside?", whole.len());
        warnings.push(Warning::new(Code::RoughWholeSlice, message));
    }
    for track in &mut tracks {
        if options.interpolate {
            fill_gaps(track);
        }
        track.values_mut().for_each(|tight| *tight = tight.widened(options.margin, width, height));
    }
    Ok(tracks)
}

/// Whether the voxel of column x, row y of a slice is inside.
fn at(inside: &[bool], grid: &Grid, slice: usize, x: usize, y: usize) -> bool {
    let (x_axis, y_axis) = grid.plane();
    let mut index = [0; 3];
    (index[grid.axis.min(2)], index[x_axis], index[y_axis]) = (slice, x, y);
    inside[(index[2] * grid.dims[1] + index[1]) * grid.dims[0] + index[0]]
}

/// The box around all that is inside on a slice, if there is anything.
fn around(inside: &[bool], grid: &Grid, slice: usize) -> Vec<PixelBox> {
    let (width, height) = grid.slice_size();
    let mut tight: Option<PixelBox> = None;
    for y in 0..height {
        for x in (0..width).filter(|&x| at(inside, grid, slice, x, y)) {
            tight = Some(grown(tight, x, y));
        }
    }
    tight.into_iter().collect()
}

fn grown(tight: Option<PixelBox>, x: usize, y: usize) -> PixelBox {
    let (x, y) = (x as i64, y as i64);
    let PixelBox { x0, y0, x1, y1 } = tight.unwrap_or(PixelBox { x0: x, y0: y, x1: x, y1: y });
    PixelBox { x0: x0.min(x), y0: y0.min(y), x1: x1.max(x), y1: y1.max(y) }
}

/// The boxes around the separate parts of a slice, in the order of their first pixels.
fn parts(inside: &[bool], grid: &Grid, slice: usize) -> Result<Vec<PixelBox>> {
    let (width, height) = grid.slice_size();
    let mut open = crate::memory::zeros::<u8>(width * height, "a slice of the rough mask")?;
    for y in 0..height {
        for x in 0..width {
            open[y * width + x] = u8::from(at(inside, grid, slice, x, y));
        }
    }
    let (mut boxes, mut waiting) = (Vec::new(), Vec::new());
    for start in 0..open.len() {
        if open[start] == 0 {
            continue;
        }
        open[start] = 0;
        waiting.push(start);
        let mut tight = None;
        while let Some(pixel) = waiting.pop() {
            let (x, y) = (pixel % width, pixel / width);
            tight = Some(grown(tight, x, y));
            for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    if std::mem::take(&mut open[y * width + x]) != 0 {
                        waiting.push(y * width + x);
                    }
                }
            }
        }
        boxes.extend(tight);
    }
    Ok(boxes)
}

/// Gives each box of a slice to the track whose box on the slice before it meets most, or to a new one.
pub(super) fn follow(tracks: &mut Vec<BTreeMap<usize, PixelBox>>, slice: usize, boxes: Vec<PixelBox>) {
    let alone = tracks.len() == 1 && boxes.len() == 1;
    let known = tracks.len();
    for tight in boxes {
        let last = |track: &BTreeMap<usize, PixelBox>| track.last_key_value().map(|(&at, &last)| (at, last));
        let best = (0..known)
            .filter_map(|t| last(&tracks[t]).filter(|&(at, _)| at < slice).map(|(_, last)| (t, common(&last, &tight))))
            .max_by_key(|&(t, pixels)| (pixels, std::cmp::Reverse(t)));
        match best {
            Some((track, pixels)) if pixels > 0 || alone => {
                tracks[track].insert(slice, tight);
            }
            _ => tracks.push(BTreeMap::from([(slice, tight)])),
        }
    }
}

/// Pixels that are in both boxes.
fn common(a: &PixelBox, b: &PixelBox) -> u64 {
    let both = PixelBox { x0: a.x0.max(b.x0), y0: a.y0.max(b.y0), x1: a.x1.min(b.x1), y1: a.y1.min(b.y1) };
    both.area()
}

/// Boxes for the slices between those of `boxes`: each side on a straight line, to the nearest voxel.
pub fn fill_gaps(boxes: &mut BTreeMap<usize, PixelBox>) {
    let drawn: Vec<(usize, PixelBox)> = boxes.iter().map(|(&slice, &tight)| (slice, tight)).collect();
    for pair in drawn.windows(2) {
        let [(first, a), (last, b)] = [pair[0], pair[1]];
        for slice in first + 1..last {
            let t = (slice - first) as f64 / (last - first) as f64;
            let between = |a: i64, b: i64| (a as f64 + (b - a) as f64 * t).round() as i64;
            let [x0, y0, x1, y1] = [(a.x0, b.x0), (a.y0, b.y0), (a.x1, b.x1), (a.y1, b.y1)].map(|(a, b)| between(a, b));
            boxes.insert(slice, PixelBox { x0, y0, x1, y1 });
        }
    }
}
