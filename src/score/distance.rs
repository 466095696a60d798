//! Exact Euclidean distance transform on a grid with its own spacing along each axis: one pass of lower envelopes of
//! parabolas an axis, O(voxels) (Felzenszwalb and Huttenlocher, 2012). Where spacings are whole, so are all results.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Result;
use crate::memory::{grow_to, reserve};

/// Squared distances from every voxel to the nearest one of a set.
pub struct Distances {
    /// z fastest, then x, then y.
    squared: Vec<f64>,
    dims: [usize; 3],
}

impl Distances {
    /// Of a grid of `dims`, x fastest in `feature`, neighbours `spacing` apart. `None` where no voxel is a feature.
    ///
    /// # Errors
    /// [`crate::Error::Memory`].
    pub fn to(feature: &[bool], dims: [usize; 3], spacing: [f64; 3]) -> Result<Option<Self>> {
        debug_assert_eq!(feature.len(), dims.iter().product::<usize>());
        if !feature.contains(&true) {
            return Ok(None);
        }
        let [width, height, depth] = dims;
        let mut planes = reserve(feature.len(), "distances")?;
        planes.extend(feature.iter().map(|&inside| if inside { 0.0 } else { f64::INFINITY }));
        each_chunk(&mut planes, width * height, |envelope, _, plane| {
            plane.chunks_exact_mut(width).for_each(|row| envelope.pass(row, 1, width, spacing[0]));
            (0..width).for_each(|x| envelope.pass(&mut plane[x..], width, height, spacing[1]));
        });
        let mut squared = Vec::new();
        grow_to(&mut squared, feature.len(), "distances")?;
        squared.resize(feature.len(), 0.0);
        each_chunk(&mut squared, width * depth, |envelope, y, columns| {
            for (x, column) in columns.chunks_exact_mut(depth).enumerate() {
                column.iter_mut().enumerate().for_each(|(z, value)| *value = planes[(z * height + y) * width + x]);
                envelope.pass(column, 1, depth, spacing[2]);
            }
        });
        Ok(Some(Distances { squared, dims }))
    }

    /// The distance at voxel `index`, x fastest.
    pub fn at(&self, index: usize) -> f64 {
        let [width, height, depth] = self.dims;
        let (x, y, z) = (index % width, index / width % height, index / (width * height));
        self.squared[(y * width + x) * depth + z].sqrt()
    }
}

/// Values below which threads would cost more than they bring.
const ALONE: usize = 1 << 18;

/// Calls `work` for each chunk of `length` values with its number; on all processors where there is much to do.
fn each_chunk(values: &mut [f64], length: usize, work: impl Fn(&mut Envelope, usize, &mut [f64]) + Sync) {
    let alone = values.len() < ALONE;
    let processors = if alone { 1 } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let chunks = Mutex::new(values.chunks_exact_mut(length.max(1)).enumerate());
    let serve = || {
        let mut envelope = Envelope::default();
        let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((chunk, values)) = next() {
            work(&mut envelope, chunk, values);
        }
    };
    thread::scope(|scope| {
        // A thread that cannot be had is done without.
        (1..processors).for_each(|_| drop(thread::Builder::new().spawn_scoped(scope, serve)));
        serve();
    });
}

/// The parabolas of one line that are lowest somewhere.
#[derive(Default)]
struct Envelope {
    /// Site and height of each, and where it begins to be the lowest.
    pieces: Vec<(f64, f64, f64)>,
}

impl Envelope {
    /// Replaces `count` values, `stride` apart from the first on, by the least of `value + (spacing x steps)^2` over
    /// all.
    fn pass(&mut self, values: &mut [f64], stride: usize, count: usize, spacing: f64) {
        self.pieces.clear();
        let square = spacing * spacing;
        for site in 0..count {
            let height = values[site * stride];
            if height.is_finite() {
                self.push(site as f64, height, square);
            }
        }
        let mut pieces = self.pieces.iter().peekable();
        let Some(&(mut site, mut height, _)) = pieces.next() else { return };
        for x in 0..count {
            while let Some(&&(next, above, start)) = pieces.peek()
                && start <= x as f64
            {
                (site, height) = (next, above);
                pieces.next();
            }
            let steps = (x as f64 - site) * spacing;
            values[x * stride] = steps * steps + height;
        }
    }

    fn push(&mut self, site: f64, height: f64, square: f64) {
        while let Some(&(last, above, start)) = self.pieces.last() {
            let crossing = ((height - above) / square + site * site - last * last) / (2.0 * (site - last));
            if crossing > start {
                self.pieces.push((site, height, crossing));
                return;
            }
            self.pieces.pop();
        }
        self.pieces.push((site, height, f64::NEG_INFINITY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, enough to scatter voxels.
    fn scattered(count: usize, one_in: u64, seed: u64) -> Vec<bool> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        (0..count).map(|_| next() % one_in == 0).collect()
    }

    fn brute(feature: &[bool], dims: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
        let at = |i: usize| [i % dims[0], i / dims[0] % dims[1], i / (dims[0] * dims[1])].map(|n| n as f64);
        let sites: Vec<[f64; 3]> = (0..feature.len()).filter(|&i| feature[i]).map(at).collect();
        let distance = |a: [f64; 3], b: [f64; 3]| (0..3).map(|k| ((a[k] - b[k]) * spacing[k]).powi(2)).sum::<f64>();
        let nearest = |i| sites.iter().map(|&site| distance(at(i), site)).fold(f64::INFINITY, f64::min).sqrt();
        (0..feature.len()).map(nearest).collect()
    }

    #[test]
    fn equals_the_search_over_all_pairs() {
        for dims in [[1, 1, 1], [1, 40, 1], [40, 1, 1], [1, 1, 30], [17, 31, 1], [9, 7, 11], [5, 1, 13]] {
            for spacing in [[1.0; 3], [0.7, 0.7, 5.0], [3.0, 0.25, 1.1]] {
                for (seed, one_in) in [(1, 1), (2, 2), (3, 7), (4, 40), (5, 400)] {
                    let count = dims.iter().product::<usize>();
                    let mut feature = scattered(count, one_in, seed);
                    feature[(seed as usize * 7) % count] = true;
                    let found = Distances::to(&feature, dims, spacing).unwrap().unwrap();
                    for (index, expected) in brute(&feature, dims, spacing).into_iter().enumerate() {
                        let error = (found.at(index) - expected).abs();
                        assert!(error <= 1e-12 * expected, "{dims:?}, {spacing:?}, seed {seed}, voxel {index}");
                        assert!(error == 0.0 || spacing != [1.0; 3], "whole squares are exact");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_to_measure_to_is_none() {
        assert!(Distances::to(&[false; 12], [4, 3, 1], [1.0; 3]).unwrap().is_none());
        assert!(Distances::to(&[], [0, 0, 0], [1.0; 3]).unwrap().is_none());
    }
}
