//! What a mask measures: volume, surface, place, parts, and the image's values inside. What cannot be said is absent,
//! with the reason, and never 0.
//!
//! Places in millimetres are those of the image's affine, x to the Right, y Anterior, z Superior.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::mask::part_sizes_in;
use crate::memory::{reserve, zeros};
use crate::score;
use crate::score::surface::Crop;
use crate::volume::{Affine, LabelVolume, Labels, Volume, VolumeInfo};
use crate::{Error, Result};

/// How the surface is measured, for reports.
pub const SURFACE_DEFINITION: &str =
    "marching cubes over voxel centres, areas as DeepMind's surface-distance has them; the image's border counts";

/// How the standard deviation is, for reports.
pub const SD_DEFINITION: &str = "population: divided by the number of values";

/// How percentiles are, for reports.
pub const PERCENTILE_DEFINITION: &str = "linear between values, as numpy.percentile";

/// Degrees off a right angle up to which axes count as being at one.
const SQUARE: f64 = 0.01;

/// What one label measures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelStats {
    /// The label.
    pub label: u16,
    /// Its voxels.
    pub voxels: u64,
    /// Parts that do not touch, not even at corners.
    pub parts: usize,
    /// Voxels of the largest part.
    pub largest_part_voxels: Option<u64>,
    /// In cubic millimetres.
    pub volume_mm3: Option<f64>,
    /// In millilitres.
    pub volume_ml: Option<f64>,
    /// Area in square millimetres, by [`SURFACE_DEFINITION`].
    pub surface_mm2: Option<f64>,
    /// Length of the contour in millimetres, where the image is one slice.
    pub contour_mm: Option<f64>,
    /// Whether a voxel lies at the border of the image, beyond which the object may go on.
    pub touches_border: Option<bool>,
    /// First and last voxel inside, i, j, k.
    pub box_voxels: Option<[[usize; 3]; 2]>,
    /// Lowest and highest place of the voxels' bodies.
    pub box_mm: Option<[[f64; 3]; 2]>,
    /// Mean of the voxels' indices.
    pub centroid_voxels: Option<[f64; 3]>,
    /// Mean of the voxels' centres.
    pub centroid_mm: Option<[f64; 3]>,
    /// The image's values inside.
    pub intensity: Option<IntensityStats>,
    /// Why a field is absent.
    pub missing: BTreeMap<&'static str, &'static str>,
}

/// The image's values inside a label, slope and intercept applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IntensityStats {
    /// How many there are; what is not finite or padding is left out.
    pub values: u64,
    /// Voxels that were left out.
    pub left_out: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation, by [`SD_DEFINITION`].
    pub sd: f64,
    /// The lowest.
    pub min: f64,
    /// 5th percentile.
    pub p5: f64,
    /// 25th percentile.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 75th percentile.
    pub p75: f64,
    /// 95th percentile.
    pub p95: f64,
    /// The highest.
    pub max: f64,
}

/// What is summed of one label in a pass over all voxels.
#[derive(Clone, Copy)]
struct Sums {
    voxels: u64,
    low: [usize; 3],
    high: [usize; 3],
    places: [f64; 3],
    /// Lowest and highest centre in millimetres.
    low_mm: [f64; 3],
    high_mm: [f64; 3],
}

const NO_SUMS: Sums = Sums {
    voxels: 0,
    low: [usize::MAX; 3],
    high: [0; 3],
    places: [0.0; 3],
    low_mm: [f64::INFINITY; 3],
    high_mm: [f64::NEG_INFINITY; 3],
};

impl Sums {
    fn add(&mut self, at: [usize; 3], affine: Option<&Affine>) {
        self.voxels += 1;
        self.low = std::array::from_fn(|axis| self.low[axis].min(at[axis]));
        self.high = std::array::from_fn(|axis| self.high[axis].max(at[axis]));
        self.places = std::array::from_fn(|axis| self.places[axis] + at[axis] as f64);
        let Some(affine) = affine else { return };
        let place = moved(affine, at.map(|index| index as f64));
        self.low_mm = std::array::from_fn(|axis| self.low_mm[axis].min(place[axis]));
        self.high_mm = std::array::from_fn(|axis| self.high_mm[axis].max(place[axis]));
    }
}

fn moved(affine: &Affine, at: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|row| (0..3).map(|axis| affine[row][axis] * at[axis]).sum::<f64>() + affine[row][3])
}

/// Measures each label of `wanted` in `labels`, which lie on the grid of `image`.
///
/// # Errors
/// [`Error::Argument`] when the grids differ; [`Error::Memory`].
pub fn label_stats(image: &Volume, labels: &LabelVolume, wanted: &[u16]) -> Result<Vec<LabelStats>> {
    if image.dims() != labels.dims() {
        let (expected, found) = (format!("dims {:?}", image.dims()), format!("{:?}", labels.dims()));
        return Err(Error::Argument { name: "mask", expected, found });
    }
    let sums = sums(labels, image.affine().as_ref(), wanted)?;
    wanted.iter().zip(sums).map(|(&label, sums)| measure(image, labels, label, &sums)).collect()
}

fn sums(labels: &LabelVolume, affine: Option<&Affine>, wanted: &[u16]) -> Result<Vec<Sums>> {
    let mut slots = zeros::<u32>(1 << 16, "labels that are measured")?;
    wanted.iter().enumerate().for_each(|(slot, &label)| slots[usize::from(label)] = slot as u32 + 1);
    let mut sums = vec![NO_SUMS; wanted.len()];
    let [width, height, _] = labels.dims();
    let mut add = |index: usize, label: usize| {
        if let Some(slot) = (slots[label] as usize).checked_sub(1) {
            sums[slot].add([index % width, index / width % height, index / (width * height)], affine);
        }
    };
    match labels.labels() {
        Labels::U8(labels) => labels.iter().enumerate().for_each(|(index, &label)| add(index, label.into())),
        Labels::U16(labels) => labels.iter().enumerate().for_each(|(index, &label)| add(index, label.into())),
    }
    Ok(sums)
}

fn measure(image: &Volume, labels: &LabelVolume, label: u16, sums: &Sums) -> Result<LabelStats> {
    let mut stats = LabelStats {
        label,
        voxels: sums.voxels,
        parts: 0,
        largest_part_voxels: None,
        volume_mm3: None,
        volume_ml: None,
        surface_mm2: None,
        contour_mm: None,
        touches_border: None,
        box_voxels: None,
        box_mm: None,
        centroid_voxels: None,
        centroid_mm: None,
        intensity: None,
        missing: BTreeMap::new(),
    };
    if sums.voxels == 0 {
        const FIELDS: [&str; 11] = [
            "largest_part_voxels",
            "volume_mm3",
            "volume_ml",
            "surface_mm2",
            "contour_mm",
            "touches_border",
            "box_voxels",
            "box_mm",
            "centroid_voxels",
            "centroid_mm",
            "intensity",
        ];
        stats.missing.extend(FIELDS.map(|field| (field, "the mask is empty")));
        return Ok(stats);
    }
    let crop = Crop::of_box(labels.dims(), sums.low, sums.high);
    let sizes = part_sizes_in(&crop, labels, &[label])?;
    (stats.parts, stats.largest_part_voxels) = (sizes.len(), sizes.first().copied());
    place(&mut stats, image, sums);
    surface(&mut stats, image, labels, &crop)?;
    match intensity(image, labels, sums, label)? {
        Ok(found) => stats.intensity = Some(found),
        Err(why) => drop(stats.missing.insert("intensity", why)),
    }
    Ok(stats)
}

/// Volume, box and centroid.
fn place(stats: &mut LabelStats, image: &VolumeInfo, sums: &Sums) {
    let centroid = sums.places.map(|sum| sum / sums.voxels as f64);
    let dims = image.dims();
    let at_border = |axis: usize| dims[axis] > 1 && (sums.low[axis] == 0 || sums.high[axis] + 1 == dims[axis]);
    stats.box_voxels = Some([sums.low, sums.high]);
    stats.centroid_voxels = Some(centroid);
    stats.touches_border = Some((0..3).any(at_border));
    match image.geometry() {
        None => {
            const FIELDS: [&str; 4] = ["volume_mm3", "volume_ml", "box_mm", "centroid_mm"];
            stats.missing.extend(FIELDS.map(|field| (field, "the image has no voxel size")));
        }
        Some(geometry) => {
            let volume = geometry.voxel_volume() * sums.voxels as f64;
            (stats.volume_mm3, stats.volume_ml) = (Some(volume), Some(volume / 1000.0));
            // The body of a voxel reaches half of each of its edges from its centre.
            let half = |row: usize| geometry.affine[row][..3].iter().map(|step| step.abs() / 2.0).sum::<f64>();
            stats.box_mm = Some([
                std::array::from_fn(|row| sums.low_mm[row] - half(row)),
                std::array::from_fn(|row| sums.high_mm[row] + half(row)),
            ]);
            stats.centroid_mm = Some(moved(&geometry.affine, centroid));
        }
    }
}

fn surface(stats: &mut LabelStats, image: &VolumeInfo, labels: &LabelVolume, crop: &Crop) -> Result<()> {
    let (field, other, of_other) = match image.dims().iter().filter(|&&n| n > 1).count() {
        3 => ("surface_mm2", "contour_mm", "the image has several slices: see surface_mm2"),
        _ => ("contour_mm", "surface_mm2", "the image is one slice: see contour_mm"),
    };
    stats.missing.insert(other, of_other);
    let label = stats.label;
    match image.geometry() {
        None => drop(stats.missing.insert(field, "the image has no voxel size")),
        Some(geometry) if geometry.tilt() > SQUARE => {
            stats.missing.insert(field, "the image's axes are not at right angles");
        }
        Some(geometry) => {
            let grid = score::Grid { dims: labels.dims(), spacing: geometry.spacing() };
            let area = score::surface_area_in(crop, &grid, |index| labels.get(index) == Some(label))?;
            match field {
                "surface_mm2" => stats.surface_mm2 = Some(area),
                _ => stats.contour_mm = Some(area),
            }
        }
    }
    Ok(())
}

/// The values inside, or why there are none.
fn intensity(
    image: &Volume,
    labels: &LabelVolume,
    sums: &Sums,
    label: u16,
) -> Result<std::result::Result<IntensityStats, &'static str>> {
    if image.channels() != 1 {
        return Ok(Err("the image is in colour"));
    }
    let (slope, intercept) = image.scaling();
    let mut values: Vec<f64> = reserve(sums.voxels as usize, "the values inside a mask")?;
    let [width, height, _] = labels.dims();
    for z in sums.low[2]..=sums.high[2] {
        for y in sums.low[1]..=sums.high[1] {
            let row = (z * height + y) * width;
            let inside = (row + sums.low[0]..=row + sums.high[0]).filter(|&index| labels.get(index) == Some(label));
            let stored = inside.filter_map(|index| image.voxels().get(index)).filter(|&v| !image.is_padding(v));
            values.extend(stored.map(|stored| slope * stored + intercept).filter(|value| value.is_finite()));
        }
    }
    values.sort_unstable_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
        return Ok(Err("no value inside is finite and no padding"));
    };
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let left_out = sums.voxels - values.len() as u64;
    let percentile = |share: f64| score::percentile_of_sorted(&values, share).unwrap_or(mean);
    let [p5, p25, p50, p75, p95] = [0.05, 0.25, 0.5, 0.75, 0.95].map(percentile);
    Ok(Ok(IntensityStats { values: values.len() as u64, left_out, mean, sd, min, p5, p25, p50, p75, p95, max }))
}
