//! The 3x3 convolution over the token grid, whose weight is not trained, forth and back. Back it is a convolution with
//! the kernel turned by 180 degrees and its axes exchanged.

use super::crew::Crew;
use super::matrix::{Frozen, turned};
use crate::backend::cpu::conv3x3::Taps;
use crate::backend::cpu::memory::Shared;
use crate::backend::cpu::product::{Panel, Single, panel_product};
use crate::backend::cpu::simd::{Kernel, Simd};

const TAPS: usize = 9;

impl Crew<'_> {
    /// `x` and `out` are `[slices, grid^2, C]`; `weight` is `[C, 3, 3, C]`.
    pub fn convolve(&self, weight: &Frozen, grid: usize, x: &[f32], out: &mut [f32]) {
        self.convolution(weight, grid, false, x, out);
    }

    /// The derivative by what came in.
    pub fn convolve_back(&self, weight: &Frozen, grid: usize, d: &[f32], out: &mut [f32]) {
        self.convolution(weight, grid, true, d, out);
    }

    fn convolution(&self, weight: &Frozen, grid: usize, is_back: bool, x: &[f32], out: &mut [f32]) {
        let (tokens, channels) = (grid * grid, weight.outputs);
        let (slices, panels) = (out.len() / (tokens * channels), channels.div_ceil(self.level.panel()));
        let out = Shared::new(out);
        let zeros = vec![0.0; channels];
        self.each(panels * slices, |task, scratch| {
            let (panel, slice) = (task / slices, task % slices);
            let x = &x[slice * tokens * channels..][..tokens * channels];
            let taps = Taps { data: x, zeros: &zeros, grid };
            self.level.run(Task { taps, weight, is_back, panel, first: slice * tokens, tokens, scratch, out });
        });
    }
}

struct Task<'a> {
    taps: Taps<'a>,
    weight: &'a Frozen,
    is_back: bool,
    panel: usize,
    first: usize,
    tokens: usize,
    scratch: &'a mut [f32],
    out: Shared<'a>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { taps, weight, is_back, panel, first, tokens, scratch, out } = self;
        let (width, channels) = (S::VECTORS * S::LANES, weight.outputs);
        let column = panel * width;
        let count = width.min(channels - column);
        let (copy, sums) = scratch.split_at_mut((TAPS * channels).next_multiple_of(width) * width + width * width);
        let right = if is_back {
            // Whole panels of outputs are turned: what a tap has too many, the next one covers.
            for tap in 0..TAPS {
                let to = &mut copy[tap * channels * width..][..channels.next_multiple_of(width) * width];
                turned(s, weight, (TAPS - 1 - tap) * channels + column, count, to);
            }
            Panel::Single(&copy[..TAPS * channels * width])
        } else {
            weight.packed().panel(panel)
        };
        panel_product::<S, Single>(s, &taps, 0..tokens, right, sums);
        for (row, sums) in sums.chunks_exact(width).take(tokens).enumerate() {
            // SAFETY: rows and columns of this task belong to no other.
            #[allow(unsafe_code)]
            let to = unsafe { out.part((first + row) * channels + column, count) };
            to.copy_from_slice(&sums[..count]);
        }
    }
}
