//! Parts of a mask: voxels that hang together across faces, edges or corners.

use crate::Result;
use crate::memory::{push, zeros};
use crate::score::surface::Crop;
use crate::volume::LabelVolume;

/// Sizes of the parts of a mask in voxels, largest first. Voxels that touch at a face, an edge or a corner are in one
/// part. The mask is where `labels` has one of `of`.
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory).
pub fn part_sizes(labels: &LabelVolume, of: &[u16]) -> Result<Vec<u64>> {
    Ok(Parts::of(labels, of)?.map_or(Vec::new(), Parts::sorted_sizes))
}

/// As [`part_sizes`], of a mask that lies in `crop`.
pub(crate) fn part_sizes_in(crop: &Crop, labels: &LabelVolume, of: &[u16]) -> Result<Vec<u64>> {
    let inside = crop.cut(labels.dims(), |index| holds(labels, of, index))?;
    Ok(Parts::of_voxels(crop.clone(), &inside)?.sorted_sizes())
}

/// A box around a mask, with a margin of background, and which part each of its voxels belongs to: 0 none.
pub(super) struct Parts {
    pub crop: Crop,
    pub part: Vec<u32>,
    pub sizes: Vec<u64>,
}

impl Parts {
    /// `None` for a mask without voxels.
    pub fn of(labels: &LabelVolume, of: &[u16]) -> Result<Option<Self>> {
        cut(labels, of, [0; 3])?.map(|(crop, inside)| Parts::of_voxels(crop, &inside)).transpose()
    }

    fn of_voxels(crop: Crop, inside: &[bool]) -> Result<Self> {
        let mut part = zeros::<u32>(inside.len(), "parts of a mask")?;
        let (mut sizes, mut waiting) = (Vec::new(), Vec::new());
        let steps = steps(&crop, true);
        for start in 0..inside.len() {
            if !inside[start] || part[start] != 0 {
                continue;
            }
            push(&mut sizes, 0_u64, "parts of a mask")?;
            let number = sizes.len() as u32;
            part[start] = number;
            push(&mut waiting, start, "parts of a mask")?;
            while let Some(at) = waiting.pop() {
                sizes[number as usize - 1] += 1;
                for next in steps.iter().map(|&step| at.wrapping_add_signed(step)) {
                    if inside[next] && part[next] == 0 {
                        part[next] = number;
                        push(&mut waiting, next, "parts of a mask")?;
                    }
                }
            }
        }
        Ok(Parts { crop, part, sizes })
    }

    fn sorted_sizes(self) -> Vec<u64> {
        let mut sizes = self.sizes;
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }
}

/// Whether a voxel of `labels` is in the mask of the labels `of`.
fn holds(labels: &LabelVolume, of: &[u16], index: usize) -> bool {
    labels.get(index).is_some_and(|label| label != 0 && of.contains(&label))
}

/// The voxels of a mask in a box around it that is so many voxels `wider` on both sides, as far as the image goes.
pub(super) fn cut(labels: &LabelVolume, of: &[u16], wider: [usize; 3]) -> Result<Option<(Crop, Vec<bool>)>> {
    let inside = |index| holds(labels, of, index);
    let Some(crop) = Crop::around(labels.dims(), inside) else { return Ok(None) };
    let crop = crop.widened(wider, labels.dims());
    let voxels = crop.cut(labels.dims(), inside)?;
    Ok(Some((crop, voxels)))
}

/// Steps to the neighbours of a voxel that is not in the margin: across faces, or across edges and corners too.
pub(super) fn steps(crop: &Crop, all: bool) -> Vec<isize> {
    let [width, height, _] = crop.dims();
    let strides = [1, width as isize, (width * height) as isize];
    let mut steps = Vec::new();
    for code in 0..27_isize {
        let signs = [code % 3 - 1, code / 3 % 3 - 1, code / 9 - 1];
        let moved = signs.iter().filter(|&&sign| sign != 0).count();
        let possible = (0..3).all(|axis| signs[axis] == 0 || crop.axes().any(|other| other == axis));
        if possible && moved > 0 && (all || moved == 1) {
            steps.push((0..3).map(|axis| signs[axis] * strides[axis]).sum());
        }
    }
    steps
}
