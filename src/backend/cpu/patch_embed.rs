//! uint8 picture to patch tokens. A task is a few tokens: their normalised pixels are gathered once and multiplied with
//! every panel.

use super::Level;
use super::dense::product;
use super::memory::{Shared, Views, floats, floats_mut};
use super::packed::Packed;
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::PatchEmbed;
use crate::graph::{Graph, ParamId};

/// Tokens of a task.
const ROWS: usize = 48;

/// Sums and gathered pixels of a task; `inputs` are the numbers of a patch.
fn scratch(level: Level, inputs: usize) -> usize {
    ROWS * (level.panel() + inputs)
}

impl Execute for PatchEmbed {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, graph[self.weight].shape[1..].iter().product())
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, id == self.weight)
    }
}

fn run(step: &Step<'_>, op: &PatchEmbed, views: Views<'_>) -> Result<()> {
    let PatchEmbed { pixels, scaling, weight, token_bias, out } = op;
    let (tokens, side, patch) = (step.graph[*out].shape[1], step.graph[*pixels].shape[1], step.graph[*weight].shape[1]);
    let ([pixels, scaling], [out]) = views.take([*pixels, *scaling], [*out])?;
    let (scaling, out) = (floats(scaling), Shared::new(floats_mut(out)));
    let (packed, bias) = (step.packed(*weight)?, step.plain(*token_bias)?);
    let chunks = tokens.div_ceil(ROWS);
    step.each(chunks * step.active, |task, scratch| {
        let (slice, first) = (task / chunks, task % chunks * ROWS);
        let last = tokens.min(first + ROWS);
        let picture = Picture {
            pixels: &pixels[slice * side * side * 3..(slice + 1) * side * side * 3],
            scaling: &scaling[slice * 8..(slice + 1) * 8],
            side,
            patch,
        };
        let (sums, patches) = scratch.split_at_mut(ROWS * packed.width);
        for (token, row) in (first..last).zip(patches.chunks_exact_mut(packed.inputs)) {
            picture.gather(token, row);
        }
        // SAFETY: the tokens of this task belong to no other.
        #[allow(unsafe_code)]
        let out = unsafe { out.part((slice * tokens + first) * packed.outputs, (last - first) * packed.outputs) };
        let bias = &bias[first * packed.outputs..last * packed.outputs];
        step.level.run(Product { left: patches, rows: last - first, packed, bias, sums, out });
    });
    Ok(())
}

struct Picture<'a> {
    pixels: &'a [u8],
    scaling: &'a [f32],
    side: usize,
    patch: usize,
}

impl Picture<'_> {
    /// The normalised pixels of a token, `[patch, patch, 3]`; 0 outside the valid rectangle.
    fn gather(&self, token: usize, row: &mut [f32]) {
        let &[s0, s1, s2, o0, o1, o2, height, width] = self.scaling else { return };
        let (grid, patch) = (self.side / self.patch, self.patch);
        let (top, left) = (token / grid * patch, token % grid * patch);
        let (height, width) = (height as usize, width as usize);
        for (y, line) in (top..).zip(row.chunks_exact_mut(3 * patch)) {
            line.fill(0.0);
            if y >= height {
                continue;
            }
            let valid = width.saturating_sub(left).min(patch);
            let from = &self.pixels[(y * self.side + left) * 3..][..valid * 3];
            for (to, pixel) in line.chunks_exact_mut(3).zip(from.chunks_exact(3)) {
                to[0] = f32::from(pixel[0]) * s0 + o0;
                to[1] = f32::from(pixel[1]) * s1 + o1;
                to[2] = f32::from(pixel[2]) * s2 + o2;
            }
        }
    }
}

struct Product<'a> {
    left: &'a [f32],
    rows: usize,
    packed: &'a Packed,
    /// One row a token.
    bias: &'a [f32],
    sums: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        product(s, self.packed, self.left, self.rows, self.sums, self.out);
        self.out.iter_mut().zip(self.bias).for_each(|(x, b)| *x += b);
    }
}
