//! A step of AdamW on a piece of the parameters.

use crate::backend::cpu::Level;
use crate::backend::cpu::simd::{Kernel, Simd};

/// Numbers of one step.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep {
    /// Share of a parameter that decay takes away.
    pub decay: f32,
    /// Learning rate over what the first moment lacks of its mean so far.
    pub rate: f32,
    /// What the second moment lacks of its mean so far, as a factor.
    pub second_scale: f32,
    pub eps: f32,
    /// Shares of the moments that stay.
    pub keep: [f32; 2],
    /// Shares of a gradient and of its square that they gain.
    pub take: [f32; 2],
}

/// Parameters whose gradients are summed in the nearest cache.
const BLOCK: usize = 1 << 10;

/// Moves `values`, with their moments, along the sum of `gradients`, which are added in their order and of which these
/// are the numbers from `start` on.
pub(crate) fn adam(
    level: Level,
    step: AdamStep,
    gradients: &[&[f32]],
    start: usize,
    values: &mut [f32],
    moments: [&mut [f32]; 2],
) {
    level.run(Piece { step, gradients, start, values, moments });
}

struct Piece<'a> {
    step: AdamStep,
    gradients: &'a [&'a [f32]],
    start: usize,
    values: &'a mut [f32],
    moments: [&'a mut [f32]; 2],
}

impl Kernel for Piece<'_> {
    type Output = ();

    /// Loops of plain numbers, which the compiler turns into the level's registers.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Piece { step, gradients, start, values, moments: [first, second] } = self;
        let mut sums = [0.0; BLOCK];
        let blocks = values.chunks_mut(BLOCK).zip(first.chunks_mut(BLOCK)).zip(second.chunks_mut(BLOCK));
        for (block, ((values, first), second)) in blocks.enumerate() {
            let sums = &mut sums[..values.len()];
            sums.fill(0.0);
            for gradient in gradients {
                let gradient = &gradient[start + block * BLOCK..][..sums.len()];
                for (sum, g) in sums.iter_mut().zip(gradient) {
                    *sum += g;
                }
            }
            for (((p, m), v), &g) in values.iter_mut().zip(first).zip(second).zip(&*sums) {
                *m = step.keep[0] * *m + step.take[0] * g;
                *v = step.keep[1] * *v + step.take[1] * g * g;
                *p -= step.decay * *p;
                *p -= step.rate * *m / ((*v * step.second_scale).sqrt() + step.eps);
            }
        }
    }
}
