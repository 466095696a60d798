//! What can be done about a mask after the network: smoothing, filling holes, and dropping small parts.

use super::parts::{Parts, cut, steps};
use crate::memory::{push, reserve, zeros};
use crate::score::surface::Crop;
use crate::volume::LabelVolume;
use crate::{Error, Result};

/// How far a Gaussian reaches, in standard deviations.
const REACH: f64 = 4.0;

/// What is done to a mask after the network, in the order of the fields. Nothing unless asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Cleaning {
    /// Smooth the surface: a Gaussian whose standard deviation is so many millimetres over the mask, of which what is
    /// above 0.5 is kept.
    pub smooth_mm: Option<f64>,
    /// Fill holes: what is not the mask and does not reach around it across faces.
    pub fill_holes: bool,
    /// Drop parts of less than so many cubic millimetres.
    pub min_volume_mm3: Option<f64>,
    /// Keep so many parts, the largest; of parts of one size those that come first in the file.
    pub largest: Option<usize>,
}

/// What it came to for one mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaned {
    /// Voxels that smoothing added.
    pub smoothed_in: u64,
    /// Voxels that smoothing took away.
    pub smoothed_out: u64,
    /// Voxels of filled holes.
    pub filled: u64,
    /// Parts that were dropped.
    pub dropped_parts: u64,
    /// Their voxels.
    pub dropped: u64,
}

impl Cleaning {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        *self == Cleaning::default()
    }

    /// Checks the numbers for an image of this `spacing` in millimetres, `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that make no sense, or millimetres without a spacing.
    pub fn check(&self, spacing: Option<[f64; 3]>) -> Result<()> {
        let sizes = [("--smooth", self.smooth_mm), ("--min-volume", self.min_volume_mm3)];
        for (name, size) in sizes.into_iter().filter_map(|(name, size)| Some((name, size?))) {
            let error = |expected: &str, found: String| Err(Error::Argument { name, expected: expected.into(), found });
            if !size.is_finite() || size <= 0.0 {
                return error("a number above 0", size.to_string());
            }
            if spacing.is_none() {
                return error("an image that says how large its voxels are", "one that does not".into());
            }
        }
        if self.largest == Some(0) {
            let (expected, found) = ("1 or more".into(), "0".into());
            return Err(Error::Argument { name: "--largest", expected, found });
        }
        Ok(())
    }

    /// Cleans the mask where `labels` has one of `of`; what is added gets the first of them. Voxels of other labels are
    /// never taken. `spacing` is in millimetres; `voxel` in cubic millimetres, which is less than their product where
    /// axes are not at right angles.
    ///
    /// # Errors
    /// As [`Cleaning::check`]; [`Error::Memory`].
    pub fn clean(
        &self,
        labels: &mut LabelVolume,
        of: &[u16],
        spacing: Option<[f64; 3]>,
        voxel: f64,
    ) -> Result<Cleaned> {
        self.check(spacing)?;
        let mut done = Cleaned::default();
        if let (Some(sigma), Some(spacing)) = (self.smooth_mm, spacing) {
            (done.smoothed_in, done.smoothed_out) = smooth(labels, of, sigma, spacing)?;
        }
        if self.fill_holes {
            done.filled = fill_holes(labels, of)?;
        }
        if self.min_volume_mm3.is_some() || self.largest.is_some() {
            let least = self.min_volume_mm3.map_or(0.0, |volume| volume / voxel);
            (done.dropped_parts, done.dropped) = drop_parts(labels, of, least, self.largest)?;
        }
        Ok(done)
    }
}

/// Drops parts of fewer than `least` voxels, and all but the `largest`.
fn drop_parts(labels: &mut LabelVolume, of: &[u16], least: f64, largest: Option<usize>) -> Result<(u64, u64)> {
    let Some(Parts { crop, part, sizes }) = Parts::of(labels, of)? else { return Ok((0, 0)) };
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(sizes[index]));
    let mut kept = vec![false; sizes.len()];
    let enough = |&index: &usize| sizes[index] as f64 >= least;
    order.into_iter().filter(enough).take(largest.unwrap_or(usize::MAX)).for_each(|index| kept[index] = true);
    for (at, &number) in part.iter().enumerate() {
        if number != 0
            && !kept[number as usize - 1]
            && let Some(index) = crop.index_in(labels.dims(), at)
        {
            labels.set(index, 0);
        }
    }
    let dropped = sizes.iter().zip(&kept).filter(|(_, kept)| !**kept);
    Ok(dropped.fold((0, 0), |(parts, voxels), (size, _)| (parts + 1, voxels + size)))
}

/// Fills background that cannot be reached from around the mask.
fn fill_holes(labels: &mut LabelVolume, of: &[u16]) -> Result<u64> {
    let Some((crop, inside)) = cut(labels, of, [0; 3])? else { return Ok(0) };
    let mut outside = zeros::<u8>(inside.len(), "the outside of a mask")?;
    let (steps, mut waiting) = (steps(&crop, false), Vec::new());
    for at in (0..inside.len()).filter(|&at| crop.index_in(labels.dims(), at).is_none()) {
        outside[at] = 1;
        push(&mut waiting, at, "the outside of a mask")?;
    }
    while let Some(at) = waiting.pop() {
        for &step in &steps {
            // A step across the margin wraps around into the margin of the other side, which is outside too.
            let Some(next) = at.checked_add_signed(step).filter(|&next| next < inside.len()) else { continue };
            if !inside[next] && outside[next] == 0 {
                outside[next] = 1;
                push(&mut waiting, next, "the outside of a mask")?;
            }
        }
    }
    let mut filled = 0;
    for at in (0..inside.len()).filter(|&at| !inside[at] && outside[at] == 0) {
        if let Some(index) = crop.index_in(labels.dims(), at).filter(|&index| labels.get(index) == Some(0)) {
            labels.set(index, of[0]);
            filled += 1;
        }
    }
    Ok(filled)
}

/// A Gaussian over the mask of which what is above one half is kept; beyond the image its border goes on.
fn smooth(labels: &mut LabelVolume, of: &[u16], sigma: f64, spacing: [f64; 3]) -> Result<(u64, u64)> {
    let dims = labels.dims();
    let wider = std::array::from_fn(|axis| (REACH * sigma / spacing[axis]).ceil().min(dims[axis] as f64) as usize);
    let Some((crop, inside)) = cut(labels, of, wider)? else { return Ok((0, 0)) };
    let values = blurred(&crop, &inside, sigma, spacing)?;
    let (mut added, mut taken) = (0, 0);
    for (at, value) in values.iter().enumerate() {
        let Some(index) = crop.index_in(dims, at) else { continue };
        match (inside[at], *value > 0.5) {
            (true, false) => {
                labels.set(index, 0);
                taken += 1;
            }
            (false, true) if labels.get(index) == Some(0) => {
                labels.set(index, of[0]);
                added += 1;
            }
            _ => {}
        }
    }
    Ok((added, taken))
}

/// A Gaussian of `sigma` millimetres over the voxels of `crop`, axis by axis.
fn blurred(crop: &Crop, inside: &[bool], sigma: f64, spacing: [f64; 3]) -> Result<Vec<f32>> {
    let dims = crop.dims();
    let mut values: Vec<f32> = reserve(inside.len(), "a smoothed mask")?;
    values.extend(inside.iter().map(|&inside| f32::from(u8::from(inside))));
    let mut line = Vec::new();
    for axis in crop.axes() {
        let kernel = gaussian(sigma / spacing[axis], dims[axis]);
        let stride: usize = dims[..axis].iter().product();
        // Margins are no voxels: the line's own ends go on.
        let (first, last) = crop.own_range(axis);
        for start in (0..values.len()).filter(|at| (at / stride).is_multiple_of(dims[axis])) {
            line.clear();
            line.extend((0..dims[axis]).map(|at| values[start + at * stride]));
            if line.iter().all(|&value| value == 0.0) {
                continue;
            }
            for at in first..=last {
                let from = |offset: isize| (at as isize + offset).clamp(first as isize, last as isize) as usize;
                let reach = kernel.len() as isize / 2;
                let sum = (-reach..=reach).zip(&kernel).map(|(offset, weight)| weight * line[from(offset)]).sum();
                values[start + at * stride] = sum;
            }
        }
    }
    Ok(values)
}

/// Weights of whole steps that sum to 1, symmetric, for a line of `length` voxels.
fn gaussian(sigma: f64, length: usize) -> Vec<f32> {
    let steps = (REACH * sigma).ceil().clamp(1.0, length as f64) as i64;
    let weight = |step: i64| (-0.5 * (step as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-steps..=steps).map(weight).sum();
    (-steps..=steps).map(|step| (weight(step) / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parts::part_sizes;
    use super::*;

    /// A volume with 1 where `inside` holds, and 2 where `other` does.
    fn drawn(
        dims: [usize; 3],
        inside: impl Fn([i64; 3]) -> bool,
        other: impl Fn([i64; 3]) -> bool,
    ) -> (LabelVolume, impl Fn([usize; 3]) -> usize) {
        let index = move |[x, y, z]: [usize; 3]| (z * dims[1] + y) * dims[0] + x;
        let mut labels = LabelVolume::new(dims, 2).unwrap();
        for z in 0..dims[2] {
            for y in 0..dims[1] {
                for x in 0..dims[0] {
                    let at = [x, y, z].map(|v| v as i64);
                    let label = if other(at) { 2 } else { u16::from(inside(at)) };
                    labels.set(index([x, y, z]), label);
                }
            }
        }
        (labels, index)
    }

    fn nothing(_: [i64; 3]) -> bool {
        false
    }

    #[test]
    fn parts_touch_at_corners_and_small_ones_go() {
        let bricks = |[x, y, z]: [i64; 3]| {
            let first = (1..4).contains(&x) && (1..4).contains(&y) && (1..4).contains(&z);
            let corner = [x, y, z] == [4, 4, 4];
            let second = (7..9).contains(&x) && (1..3).contains(&y) && z == 0;
            first || corner || second || [x, y, z] == [9, 9, 5]
        };
        let (labels, index) = drawn([10, 10, 6], bricks, nothing);
        assert_eq!(part_sizes(&labels, &[1]).unwrap(), [28, 4, 1]);
        for (cleaning, expected, left) in [
            (Cleaning { largest: Some(1), ..Cleaning::default() }, (2, 5), vec![28]),
            (Cleaning { largest: Some(2), ..Cleaning::default() }, (1, 1), vec![28, 4]),
            // Voxels of 6 mm3: 24 mm3 are 4 voxels.
            (Cleaning { min_volume_mm3: Some(24.0), ..Cleaning::default() }, (1, 1), vec![28, 4]),
            (Cleaning { min_volume_mm3: Some(24.1), ..Cleaning::default() }, (2, 5), vec![28]),
            (Cleaning { min_volume_mm3: Some(1e9), ..Cleaning::default() }, (3, 33), vec![]),
        ] {
            let mut cleaned = labels.clone();
            let done = cleaning.clean(&mut cleaned, &[1], Some([1.0, 2.0, 3.0]), 6.0).unwrap();
            assert_eq!((done.dropped_parts, done.dropped), expected, "{cleaning:?}");
            assert_eq!(part_sizes(&cleaned, &[1]).unwrap(), left);
            assert_eq!(cleaned.counts()[1], 33 - expected.1);
        }
        assert_eq!(labels.get(index([4, 4, 4])), Some(1));
    }

    #[test]
    fn holes_are_filled_but_not_cups_nor_other_labels() {
        let shell = |[x, y, z]: [i64; 3]| {
            let hull = |low: i64, high: i64| [x, y, z].iter().all(|v| (low..=high).contains(v));
            hull(0, 6) && !hull(2, 4)
        };
        let (mut labels, index) = drawn([7, 7, 7], shell, |at| at == [3, 3, 3]);
        let fill = Cleaning { fill_holes: true, ..Cleaning::default() };
        let mut open = labels.clone();
        let done = fill.clean(&mut labels, &[1], None, 1.0).unwrap();
        assert_eq!((done.filled, labels.get(index([3, 3, 3])), labels.get(index([2, 3, 4]))), (26, Some(2), Some(1)));
        // A way out across faces; one across an edge alone is none.
        for z in 0..2 {
            open.set(index([3, 3, z]), 0);
        }
        assert_eq!(fill.clean(&mut open, &[1], None, 1.0).unwrap().filled, 0);
        // A ring on one slice has a hole; in a volume it has none.
        let ring = |[x, y, z]: [i64; 3]| z == 0 && (x - 3).abs().max((y - 3).abs()) == 2;
        assert_eq!(fill.clean(&mut drawn([7, 7, 1], ring, nothing).0, &[1], None, 1.0).unwrap().filled, 9);
        assert_eq!(fill.clean(&mut drawn([7, 7, 2], ring, nothing).0, &[1], None, 1.0).unwrap().filled, 0);
    }

    #[test]
    fn smoothing_knows_millimetres_and_the_border_of_the_image() {
        // A half space with a spike of one voxel along x, in a thick-sliced grid.
        let spacing = [1.0, 1.0, 5.0];
        let half = |[x, y, z]: [i64; 3]| x < 8 || (x < 12 && [y, z] == [6, 3]);
        let (mut labels, index) = drawn([20, 13, 7], half, nothing);
        let smooth = Cleaning { smooth_mm: Some(1.5), ..Cleaning::default() };
        let done = smooth.clean(&mut labels, &[1], Some(spacing), 5.0).unwrap();
        assert_eq!((done.smoothed_in, done.smoothed_out), (0, 3), "of the spike the foot stays, the border straight");
        assert_eq!(labels.get(index([7, 0, 0])), Some(1));

        // What is one slice of 5 mm thin stays under a Gaussian that is narrow against it, and goes when lying in
        // plane.
        let slab = |axis: usize| move |at: [i64; 3]| at[axis] == 3;
        let thin = Cleaning { smooth_mm: Some(2.0), ..Cleaning::default() };
        let mut across = drawn([20, 13, 7], slab(2), nothing).0;
        assert_eq!(thin.clean(&mut across, &[1], Some(spacing), 5.0).unwrap().smoothed_out, 0);
        let mut along = drawn([20, 13, 7], slab(0), nothing).0;
        let done = thin.clean(&mut along, &[1], Some(spacing), 5.0).unwrap();
        assert_eq!((done.smoothed_out, along.counts()[1]), (13 * 7, 0));
    }

    #[test]
    fn several_labels_are_one_mask() {
        let (mut labels, index) = drawn([9, 3, 3], |[x, y, z]| x < 4 && y == 1 && z == 1, |at| at == [4, 1, 1]);
        assert_eq!(part_sizes(&labels, &[1, 2]).unwrap(), [5]);
        labels.set(index([8, 2, 2]), 2);
        let one = Cleaning { largest: Some(1), ..Cleaning::default() };
        let done = one.clean(&mut labels, &[1, 2], None, 1.0).unwrap();
        assert_eq!((done.dropped, labels.get(index([4, 1, 1]))), (1, Some(2)));
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for cleaning in [
            Cleaning { smooth_mm: Some(-1.0), ..Cleaning::default() },
            Cleaning { smooth_mm: Some(f64::NAN), ..Cleaning::default() },
            Cleaning { min_volume_mm3: Some(0.0), ..Cleaning::default() },
            Cleaning { largest: Some(0), ..Cleaning::default() },
        ] {
            assert!(cleaning.check(Some([1.0; 3])).is_err(), "{cleaning:?}");
        }
        let millimetres = Cleaning { smooth_mm: Some(1.0), ..Cleaning::default() };
        assert!(millimetres.check(None).is_err() && millimetres.check(Some([1.0; 3])).is_ok());
        assert!(Cleaning { largest: Some(2), fill_holes: true, ..Cleaning::default() }.check(None).is_ok());
    }
}
