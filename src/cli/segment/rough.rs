//! `--rough MASK`: read, brought to the image's grid, and made into boxes.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::codes::{Code, Place, Warning};
use medsegx::prompt::{Foreground, Grid, PixelBox, RoughOptions, rough_boxes};
use medsegx::volume::{OpenOptions, Volume, VolumeInfo};

/// The boxes of each track of the mask at `path`.
pub fn boxes(
    path: &Path,
    options: &RoughOptions,
    grid: &Grid,
    image: &VolumeInfo,
    warnings: &mut Vec<Warning>,
) -> medsegx::Result<Vec<BTreeMap<usize, PixelBox>>> {
    let rough = Volume::open_labels(path, &OpenOptions::LABELS, Some(image), &options.labels)?;
    warnings.extend(rough.warnings().iter().filter(|warning| warning.code.place() == Place::Prompt).cloned());
    if rough.channels() != 1 {
        let found = "colour: paint labels as grey levels or as the indices of a palette";
        return Err(medsegx::Error::file(path, "rough mask", "a label a voxel", found));
    }
    let named = |error| match error {
        medsegx::Error::Prompt { what, expected, found } => medsegx::Error::file(path, what, expected, found),
        other => other,
    };
    let (slope, intercept) = rough.scaling();
    let value = |index: usize| rough.voxels().get(index).map_or(0.0, |stored| slope * stored + intercept);
    let foreground = Foreground::of((0..rough.voxels().len()).map(value), options, warnings).map_err(named)?;
    let count = grid.dims.iter().product::<usize>();
    let mut inside = Vec::new();
    let refused = |_| medsegx::Error::Memory { what: "the rough mask".into(), bytes: count as u64 };
    inside.try_reserve_exact(count).map_err(refused)?;
    match way_over(path, &rough, image, warnings)? {
        None => inside.extend((0..count).map(|index| foreground.holds(value(index)))),
        Some(way) => {
            let [ni, nj, _] = grid.dims;
            let place = |index: usize| nearest(&way, [index % ni, index / ni % nj, index / (ni * nj)], rough.dims());
            inside.extend((0..count).map(|index| place(index).is_some_and(|at| foreground.holds(value(at)))));
            if !inside.contains(&true) {
                let found = "none: it lies elsewhere by its header";
                return Err(medsegx::Error::file(path, "rough mask", "foreground inside the image", found));
            }
        }
    }
    rough_boxes(&inside, options, grid, warnings).map_err(named)
}

/// From voxels of the image to voxels of the rough mask, where they are not the same.
type Way = [[f64; 4]; 3];

/// How the rough mask gets to the image's grid: by indices where they are the same or nothing else is known, else by the
/// headers.
fn way_over(
    path: &Path,
    rough: &Volume,
    image: &VolumeInfo,
    warnings: &mut Vec<Warning>,
) -> medsegx::Result<Option<Way>> {
    let same_size = rough.dims() == image.dims();
    let (Some(from), Some(to)) = (rough.geometry(), image.geometry()) else {
        if !same_size {
            let (expected, found) = (format!("dims {:?}, as the image", image.dims()), format!("{:?}", rough.dims()));
            return Err(medsegx::Error::file(path, "rough mask", expected, found));
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
        return Err(medsegx::Error::file(
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
