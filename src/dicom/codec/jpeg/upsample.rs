//! Subsampled components at the picture's size, as libjpeg's "fancy" upsampling does it: a triangle filter.

use super::header::Component;
use crate::Result;
use crate::dicom::codec::check::bad;
use crate::memory::zeros;

/// Components of at most so many columns are not filtered, but repeated.
const NARROW: usize = 2;

/// The samples of a component, row by row, `size` columns and rows of them; `factors` are the frame's largest.
///
/// # Errors
/// [`crate::Error::File`] for a sampling other than 1 or 2 to 1.
pub(super) fn plane(component: Component, size: [usize; 2], factors: [usize; 2]) -> Result<Vec<u16>> {
    let Component { factors: own, size: held, stride, mut samples, .. } = component;
    if [0, 1].iter().any(|&axis| factors[axis] != own[axis] && factors[axis] != 2 * own[axis]) {
        return Err(bad("JPEG sampling", "1 or 2 to 1", format!("{own:?} where the largest is {factors:?}")));
    }
    let [twice_across, twice_down] = [0, 1].map(|axis| factors[axis] != own[axis]);
    if !twice_across && !twice_down && stride == size[0] {
        samples.truncate(size[0] * size[1]);
        return Ok(samples);
    }
    let mut out = zeros(size[0] * size[1], "a JPEG component")?;
    let mut sums = zeros::<u32>(held[0], "a JPEG row")?;
    let row_at = |row: usize| &samples[row * stride..][..held[0]];
    for (y, to) in out.chunks_exact_mut(size[0]).enumerate() {
        let near = if twice_down { y / 2 } else { y };
        if twice_across && held[0] <= NARROW {
            to.iter_mut().enumerate().for_each(|(x, to)| *to = row_at(near)[x / 2]);
            continue;
        }
        let far = match (twice_down, y % 2) {
            (false, _) => near,
            (true, 0) => near.saturating_sub(1),
            (true, _) => (near + 1).min(held[1] - 1),
        };
        match (twice_across, twice_down) {
            (false, false) => to.copy_from_slice(&row_at(near)[..size[0]]),
            (false, true) => {
                let bias = 1 + (y % 2) as u32;
                for (to, (&a, &b)) in to.iter_mut().zip(row_at(near).iter().zip(row_at(far))) {
                    *to = ((3 * u32::from(a) + u32::from(b) + bias) >> 2) as u16;
                }
            }
            (true, false) => {
                sums.iter_mut().zip(row_at(near)).for_each(|(sum, &a)| *sum = a.into());
                across(&sums, to, 1, [1, 2]);
            }
            (true, true) => {
                let pairs = row_at(near).iter().zip(row_at(far));
                sums.iter_mut().zip(pairs).for_each(|(sum, (&a, &b))| *sum = 3 * u32::from(a) + u32::from(b));
                across(&sums, to, 4, [8, 7]);
            }
        }
    }
    Ok(out)
}

/// Twice as many samples as `sums`, which hold `scale` times a sample: three parts of the nearer and one of the
/// farther, rounded with `bias` at even and odd places; the first and the last stand alone.
fn across(sums: &[u32], to: &mut [u16], scale: u32, bias: [u32; 2]) {
    let shift = (4 * scale).trailing_zeros();
    for (x, to) in to.iter_mut().enumerate() {
        let near = x / 2;
        let far = if x % 2 == 0 { near.wrapping_sub(1) } else { near + 1 };
        let other = sums.get(far).copied().unwrap_or(sums[near]);
        // A sample at the edge is taken four times: for one row that is the sample itself, whatever the bias.
        *to = ((3 * sums[near] + other + bias[x % 2]) >> shift) as u16;
    }
}
