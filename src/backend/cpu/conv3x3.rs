//! 3x3 convolution over the token grid: nine products, one a tap, whose left rows are the shifted tokens. Taps outside
//! the grid read a row of zeros.

use super::Level;
use super::memory::{Shared, Views, floats, floats_mut};
use super::packed::Packed;
use super::product::{Rows, Single, panel_product};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::Conv3x3;
use crate::graph::{Graph, ParamId};

/// Tokens of a task.
const ROWS: usize = 96;

/// Sums of a task, and a row of zeros.
fn scratch(level: Level, channels: usize) -> usize {
    ROWS * level.panel() + channels
}

impl Execute for Conv3x3 {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, graph[self.input].shape[2])
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, id == self.weight)
    }
}

fn run(step: &Step<'_>, op: &Conv3x3, views: Views<'_>) -> Result<()> {
    let Conv3x3 { input, weight, grid, out } = op;
    let (tokens, channels) = (step.graph[*input].shape[1], step.graph[*input].shape[2]);
    let ([input], [out]) = views.take([*input], [*out])?;
    let (input, out, packed) = (floats(input), Shared::new(floats_mut(out)), step.packed(*weight)?);
    let (chunks, panels) = (tokens.div_ceil(ROWS), packed.panels());
    step.each(step.active * panels * chunks, |task, scratch| {
        let (sums, zeros) = scratch.split_at_mut(ROWS * packed.width);
        let zeros = &mut zeros[..channels];
        zeros.fill(0.0);
        let (panel, part) = (task / (chunks * step.active), task % (chunks * step.active));
        let (slice, first) = (part / chunks, part % chunks * ROWS);
        let last = tokens.min(first + ROWS);
        let taps = Taps { data: &input[slice * tokens * channels..][..tokens * channels], zeros, grid: *grid };
        step.level.run(Task { taps, packed, panel, first, last, row: slice * tokens, sums, out });
    });
    Ok(())
}

/// Block t of a row is the token under tap t.
pub(super) struct Taps<'a> {
    pub data: &'a [f32],
    pub zeros: &'a [f32],
    pub grid: usize,
}

impl Rows for Taps<'_> {
    #[inline(always)]
    fn at(&self, row: usize, block_start: usize) -> &[f32] {
        let (channels, grid) = (self.zeros.len(), self.grid);
        let tap = block_start / channels;
        // One more than the neighbour's row and column, so that they stay unsigned.
        let (y, x) = (row / grid + tap / 3, row % grid + tap % 3);
        if y == 0 || x == 0 || y > grid || x > grid {
            return self.zeros;
        }
        &self.data[((y - 1) * grid + x - 1) * channels..][..channels]
    }
    #[inline(always)]
    fn block(&self) -> usize {
        self.zeros.len()
    }
}

struct Task<'a> {
    taps: Taps<'a>,
    packed: &'a Packed,
    panel: usize,
    first: usize,
    last: usize,
    row: usize,
    sums: &'a mut [f32],
    out: Shared<'a>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { taps, packed, panel, first, last, row, sums, out } = self;
        panel_product::<S, Single>(s, &taps, first..last, packed.panel(panel), sums);
        let column = panel * packed.width;
        let width = packed.width.min(packed.outputs - column);
        for (token, sums) in (first..last).zip(sums.chunks_exact(packed.width)) {
            // SAFETY: rows and columns of this task belong to no other.
            #[allow(unsafe_code)]
            let to = unsafe { out.part((row + token) * packed.outputs + column, width) };
            to.copy_from_slice(&sums[..width]);
        }
    }
}
