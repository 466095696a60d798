//! The surface of a mask, as voxels or as cells between voxels.

use super::cells::Areas;
use super::distance::Distances;
use crate::Result;
use crate::memory::{push, reserve};

/// A box of voxels around everything that is compared, with a margin of background: outside the image is background. An
/// axis of a single voxel has no margin, so that a slice has contours and not two faces; at least two axes have one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Crop {
    /// First voxel of the image inside, without the margin.
    low: [usize; 3],
    /// Voxels without the margin.
    size: [usize; 3],
    /// 1 on axes with a margin, 0 on those without.
    margin: [usize; 3],
}

impl Crop {
    /// Around the voxels of an image of `dims` for which `inside` holds; `None` without any.
    pub fn around(dims: [usize; 3], inside: impl Fn(usize) -> bool) -> Option<Self> {
        let [width, height, depth] = dims;
        let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
        let rows = (0..height * depth).map(|row| row * width);
        for start in rows {
            let mut found = (0..width).filter(|&x| inside(start + x));
            let Some(first) = found.next() else { continue };
            let last = (first..width).rev().find(|&x| inside(start + x)).unwrap_or(first);
            let place = |x: usize| [x, start / width % height, start / (width * height)];
            low = std::array::from_fn(|axis| low[axis].min(place(first)[axis]));
            high = std::array::from_fn(|axis| high[axis].max(place(last)[axis]));
        }
        (low[0] != usize::MAX).then(|| Crop::of_box(dims, low, high))
    }

    /// The voxels from `low` to `high` of an image of `dims`.
    pub fn of_box(dims: [usize; 3], low: [usize; 3], high: [usize; 3]) -> Self {
        let mut margin = dims.map(|n| usize::from(n > 1));
        for axis in 0..3 {
            margin[axis] |= usize::from(margin.iter().sum::<usize>() < 2);
        }
        Crop { low, size: [0, 1, 2].map(|axis| high[axis] - low[axis] + 1), margin }
    }

    /// Voxels with the margin.
    pub fn dims(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.size[axis] + 2 * self.margin[axis])
    }

    /// The axes along which something can change.
    pub fn axes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..3).filter(|&axis| self.margin[axis] == 1)
    }

    /// The voxels of the box for which `inside` holds in the image of `dims`.
    pub fn cut(&self, dims: [usize; 3], inside: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let [width, height, depth] = self.dims();
        let count = width.saturating_mul(height).saturating_mul(depth);
        let mut voxels = reserve(count, "a part of a mask")?;
        for row in 0..height * depth {
            let [y, z] = [(row % height, 1), (row / height, 2)].map(|(at, axis)| self.own(at, axis));
            voxels.extend((0..width).map(|x| match (self.own(x, 0), y, z) {
                (Some(x), Some(y), Some(z)) => inside((z * dims[1] + y) * dims[0] + x),
                _ => false,
            }));
        }
        Ok(voxels)
    }

    /// So many voxels larger on both sides of each axis, as far as the image of `dims` goes.
    pub fn widened(mut self, by: [usize; 3], dims: [usize; 3]) -> Self {
        for axis in 0..3 {
            let end = (self.low[axis] + self.size[axis]).saturating_add(by[axis]).min(dims[axis]);
            self.low[axis] = self.low[axis].saturating_sub(by[axis]);
            self.size[axis] = end - self.low[axis];
        }
        self
    }

    /// First and last index of the box along `axis` that are not margin.
    pub fn own_range(&self, axis: usize) -> (usize, usize) {
        (self.margin[axis], self.margin[axis] + self.size[axis] - 1)
    }

    /// The index in the image of `dims` of voxel `at` of the box; `None` in the margin.
    pub fn index_in(&self, dims: [usize; 3], at: usize) -> Option<usize> {
        let [width, height, _] = self.dims();
        let [x, y, z] = [at % width, at / width % height, at / (width * height)];
        Some((self.own(z, 2)? * dims[1] + self.own(y, 1)?) * dims[0] + self.own(x, 0)?)
    }

    /// The image's index of `at` along `axis`, unless it lies in the margin.
    fn own(&self, at: usize, axis: usize) -> Option<usize> {
        at.checked_sub(self.margin[axis]).filter(|&at| at < self.size[axis]).map(|at| at + self.low[axis])
    }
}

/// The elements of a surface.
pub(super) struct Surface {
    /// Where they lie: voxels, or cells named by their lowest voxel.
    at: Vec<u32>,
    /// How much surface each has; all alike where empty.
    areas: Vec<f64>,
}

impl Surface {
    /// Voxels inside that have a neighbour outside across a face: the mask less its erosion.
    pub fn of_voxels(inside: &[bool], crop: &Crop) -> Result<Self> {
        let strides = strides(crop.dims());
        let edge = |i: usize| crop.axes().any(|axis| !inside[i - strides[axis]] || !inside[i + strides[axis]]);
        let mut at = Vec::new();
        for index in (0..inside.len()).filter(|&i| inside[i] && edge(i)) {
            push(&mut at, index as u32, "edges")?;
        }
        Ok(Surface { at, areas: Vec::new() })
    }

    /// Cells of neighbouring voxels that are neither all inside nor all outside.
    pub fn of_cells(inside: &[bool], crop: &Crop, areas: &Areas) -> Result<Self> {
        let (dims, strides) = (crop.dims(), strides(crop.dims()));
        let axes: Vec<usize> = crop.axes().collect();
        let corners: Vec<usize> = (0..1_usize << axes.len())
            .map(|corner| {
                let steps = axes.iter().rev().enumerate().filter(|&(bit, _)| corner >> bit & 1 == 1);
                steps.map(|(_, &axis)| strides[axis]).sum()
            })
            .collect();
        let (mut at, mut found) = (Vec::new(), Vec::new());
        for index in 0..inside.len() {
            let place = [index % dims[0], index / dims[0] % dims[1], index / (dims[0] * dims[1])];
            if axes.iter().any(|&axis| place[axis] + 1 == dims[axis]) {
                continue;
            }
            let code = corners.iter().fold(0, |code, &step| code << 1 | u8::from(inside[index + step]));
            if let Some(area) = areas.of(code) {
                push(&mut at, index as u32, "surface elements")?;
                push(&mut found, area, "surface elements")?;
            }
        }
        Ok(Surface { at, areas: found })
    }

    /// The area of all elements.
    pub fn area(&self) -> f64 {
        self.areas.iter().sum()
    }

    /// Distances from anywhere in the box to this surface; `None` to none.
    pub fn distances(&self, dims: [usize; 3], spacing: [f64; 3]) -> Result<Option<Distances>> {
        let count = dims.iter().product();
        let mut marks = reserve(count, "a surface")?;
        marks.resize(count, false);
        self.at.iter().for_each(|&at| marks[at as usize] = true);
        Distances::to(&marks, dims, spacing)
    }

    /// Distance and weight of each element.
    pub fn measured(&self, distances: &Distances) -> Result<Vec<(f64, f64)>> {
        let mut pairs = reserve(self.at.len(), "distances")?;
        let area = |element: usize| self.areas.get(element).copied().unwrap_or(1.0);
        pairs.extend(self.at.iter().enumerate().map(|(element, &at)| (distances.at(at as usize), area(element))));
        Ok(pairs)
    }
}

fn strides(dims: [usize; 3]) -> [usize; 3] {
    [1, dims[0], dims[0] * dims[1]]
}
