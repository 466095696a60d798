//! Targets from a rough mask: a volume that is brought to the image's grid and made into boxes.

use std::collections::BTreeMap;

use super::{Foreground, Grid, PixelBox, RoughOptions, Target, rough_boxes};
use crate::codes::{Code, Place, Warning};
use crate::taxonomy::Query;
use crate::volume::{Volume, VolumeInfo};
use crate::{Error, Result};

/// What is to be found around a rough mask on an image: one target, or with [`RoughOptions::parts`] one for each part,
/// all with label 1; the first has the warnings. The mask is opened as labels, with those of `options`.
///
/// # Errors
/// [`Error::File`] that names the mask: no foreground, or none inside the image; several labels of which none was asked
/// for; colour; another grid without a place in the patient; [`Error::Memory`].
pub fn rough_targets(
    name: &str,
    query: &Query,
    rough: &Volume,
    options: &RoughOptions,
    grid: &Grid,
    image: &VolumeInfo,
) -> Result<Vec<Target>> {
    let mut warnings = Vec::new();
    let tracks = boxes(rough, options, grid, image, &mut warnings)?;
    let several = tracks.len() > 1;
    let of_track = |(index, boxes): (usize, BTreeMap<usize, PixelBox>)| Target {
        name: if several { format!("{name}, part {}", index + 1) } else { name.into() },
        label: 1,
        query: query.clone(),
        boxes,
        points: BTreeMap::new(),
        warnings: if index == 0 { std::mem::take(&mut warnings) } else { Vec::new() },
    };
    Ok(tracks.into_iter().enumerate().map(of_track).collect())
}

/// The boxes of each track of the mask.
fn boxes(
    rough: &Volume,
    options: &RoughOptions,
    grid: &Grid,
    image: &VolumeInfo,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<BTreeMap<usize, PixelBox>>> {
    let path = rough.path();
    warnings.extend(rough.warnings().iter().filter(|warning| warning.code.place() == Place::Prompt).cloned());
    if rough.channels() != 1 {
        let found = "colour: paint labels as grey levels or as the indices of a palette";
        return Err(Error::file(path, "rough mask", "a label a voxel", found));
    }
    let named = |error| match error {
        Error::Prompt { what, expected, found } => Error::file(path, what, expected, found),
        other => other,
    };
    let (slope, intercept) = rough.scaling();
    let value = |index: usize| rough.voxels().get(index).map_or(0.0, |stored| slope * stored + intercept);
    let labels = options.labels.iter().map(|&label| rough.value_of_label(label)).collect();
    let asked = RoughOptions { labels, ..options.clone() };
    let foreground = Foreground::of((0..rough.voxels().len()).map(value), &asked, warnings).map_err(named)?;
    let count = grid.dims.iter().product::<usize>();
    let mut inside = Vec::new();
    let refused = |_| Error::Memory { what: "the rough mask".into(), bytes: count as u64 };
    inside.try_reserve_exact(count).map_err(refused)?;
    match way_over(rough, image, warnings)? {
        None => inside.extend((0..count).map(|index| foreground.holds(value(index)))),
        Some(way) => {
            let [ni, nj, _] = grid.dims;
            let place = |index: usize| nearest(&way, [index % ni, index / ni % nj, index / (ni * nj)], rough.dims());
            inside.extend((0..count).map(|index| place(index).is_some_and(|at| foreground.holds(value(at)))));
            if !inside.contains(&true) {
                let found = "none: it lies elsewhere by its header";
                return Err(Error::file(path, "rough mask", "foreground inside the image", found));
            }
        }
    }
    rough_boxes(&inside, options, grid, warnings).map_err(named)
}

/// From voxels of the image to voxels of the rough mask, where they are not the same.
type Way = [[f64; 4]; 3];

/// How the rough mask gets to the image's grid: by indices where they are the same or nothing else is known, else by
/// the headers.
fn way_over(rough: &Volume, image: &VolumeInfo, warnings: &mut Vec<Warning>) -> Result<Option<Way>> {
    let path = rough.path();
    let same_size = rough.dims() == image.dims();
    let (Some(from), Some(to)) = (rough.geometry(), image.geometry()) else {
        if !same_size {
            let (expected, found) = (format!("dims {:?}, as the image", image.dims()), format!("{:?}", rough.dims()));
            return Err(Error::file(path, "rough mask", expected, found));
        }
        if rough.geometry().is_some() != image.geometry().is_some() {
            let message = format!(
                "{}: one of it and the image has no geometry: voxels are taken by their indices",
                path.display()
            );
            warnings.push(Warning::new(Code::RoughByIndex, message));
        }
        return Ok(None);
    };
    let apart = from.distance(to, image.dims());
    if same_size && apart <= 0.5 * to.spacing().into_iter().fold(f64::INFINITY, f64::min) {
        return Ok(None);
    }
    let Some(inverse) = from.inverse() else {
        let found = "an affine that cannot be inverted";
        return Err(Error::file(
            path,
            "rough mask",
            "the grid of the image, or a header that says where it lies",
            found,
        ));
    };
    let message = format!(
        "{}: lies on another grid ({:?} voxels, the image has {:?}): brought over by its header, nearest voxel",
        path.display(),
        rough.dims(),
        image.dims()
    );
    warnings.push(Warning::new(Code::RoughMoved, message));
    let forward = to.affine;
    let entry = |r: usize, c: usize| (0..4).map(|k| inverse[r][k] * forward[k][c]).sum();
    Ok(Some(std::array::from_fn(|r| std::array::from_fn(|c| entry(r, c)))))
}

/// The index of the voxel nearest to voxel `index` of the image; `None` outside the mask.
fn nearest(way: &Way, index: [usize; 3], dims: [usize; 3]) -> Option<usize> {
    let [i, j, k] = index.map(|index| index as f64);
    let mut at = [0; 3];
    for axis in 0..3 {
        let [a, b, c, d] = way[axis];
        let place = (a * i + b * j + c * k + d).round();
        if !(place >= 0.0 && place < dims[axis] as f64) {
            return None;
        }
        at[axis] = place as usize;
    }
    Some((at[2] * dims[1] + at[1]) * dims[0] + at[0])
}
