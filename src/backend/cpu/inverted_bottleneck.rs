//! Inverted bottleneck by strips of rows: three rows of the wide channels are kept, in the second-level cache or near
//! it.
#![allow(unsafe_code)]

use super::Level;
use super::dense::Pieces;
use super::depthwise::Row;
use super::math::gelu;
use super::memory::{Shared, Views, floats, floats_mut};
use super::packed::Packed;
use super::product::{Dense, Single, panel_product};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::InvertedBottleneck;
use crate::graph::{Graph, ParamId};

/// Rows of inputs of a task, beside those above and below that its neighbours make as well.
const STRIP: usize = 16;

impl Execute for InvertedBottleneck {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    /// Four wide rows, zeros, and the sums of one panel for a row.
    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        self.side * (5 * graph[self.expand.weight].shape[0] + level.panel())
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, [self.expand.weight, self.project.weight].contains(&id))
    }
}

fn run(step: &Step<'_>, op: &InvertedBottleneck, views: Views<'_>) -> Result<()> {
    let InvertedBottleneck { input, expand, depthwise, project, side, stride, shortcut, out } = op;
    let ([input], [out]) = views.take([*input], [*out])?;
    let (input, out) = (floats(input), Shared::new(floats_mut(out)));
    let layers = Layers {
        expand: (step.packed(expand.weight)?, step.plain(expand.bias)?),
        depthwise: (step.plain(depthwise.weight)?, step.plain(depthwise.bias)?),
        project: (step.packed(project.weight)?, step.plain(project.bias)?),
        side: *side,
        stride: *stride,
        shortcut: *shortcut,
    };
    let rows = side.div_ceil(*stride);
    let strip = (STRIP / stride).max(1);
    let strips = rows.div_ceil(strip);
    let (area_in, area_out) = (side * side * layers.expand.0.inputs, rows * rows * layers.project.0.outputs);
    step.each(strips * step.active, |task, scratch| {
        let (slice, first) = (task / strips, task % strips * strip);
        let last = rows.min(first + strip);
        let width = rows * layers.project.0.outputs;
        let input = &input[slice * area_in..(slice + 1) * area_in];
        // SAFETY: the rows of outputs of this strip belong to this task.
        let out = unsafe { out.part(slice * area_out + first * width, (last - first) * width) };
        step.level.run(Strip { layers, input, first, last, scratch, out });
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Layers<'a> {
    expand: (&'a Packed, &'a [f32]),
    depthwise: (&'a [f32], &'a [f32]),
    project: (&'a Packed, &'a [f32]),
    side: usize,
    stride: usize,
    shortcut: bool,
}

/// Rows `first..last` of the outputs of one slice.
struct Strip<'a> {
    layers: Layers<'a>,
    /// `[side^2, in]`.
    input: &'a [f32],
    first: usize,
    last: usize,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Strip { layers, input, first, last, scratch, out } = self;
        let Layers { expand, depthwise, project, side, stride, shortcut } = layers;
        let (hidden, outputs) = (expand.0.outputs, side.div_ceil(stride));
        let mut pieces = Pieces(scratch);
        let kept = [0; 3].map(|_| pieces.take(side * hidden));
        let (narrowed, zeros) = (pieces.take(outputs * hidden), pieces.take(side * hidden));
        let sums = pieces.take(side * expand.0.width);
        zeros.fill(0.0);
        // The row of inputs that is made next; row i is kept in place i mod 3.
        let mut next = (first * stride).saturating_sub(1);
        for row in first..last {
            let centre = row * stride;
            while next < side.min(centre + 2) {
                let left = &input[next * side * expand.0.inputs..][..side * expand.0.inputs];
                layer(s, expand, left, None, true, sums, kept[next % 3]);
                next += 1;
            }
            let above = if centre == 0 { &*zeros } else { &*kept[(centre - 1) % 3] };
            let below = if centre + 1 >= side { &*zeros } else { &*kept[(centre + 1) % 3] };
            let (weight, bias) = depthwise;
            let rows = [above, &*kept[centre % 3], below];
            Row { rows, weight, bias, stride, with_gelu: true, out: narrowed }.run(s);
            let width = outputs * project.0.outputs;
            let added = shortcut.then(|| &input[row * width..][..width]);
            layer(s, project, narrowed, added, shortcut, sums, &mut out[(row - first) * width..][..width]);
        }
    }
}

/// `out = W left + bias (+ added)`, with GELU of it or without, for all rows of `left`.
#[inline(always)]
fn layer<S: Simd>(
    s: S,
    (packed, bias): (&Packed, &[f32]),
    left: &[f32],
    added: Option<&[f32]>,
    with_gelu: bool,
    sums: &mut [f32],
    out: &mut [f32],
) {
    let rows = left.len() / packed.inputs;
    let left = Dense { data: left, stride: packed.inputs };
    for panel in 0..packed.panels() {
        panel_product::<S, Single>(s, &left, 0..rows, packed.panel(panel), sums);
        let column = panel * packed.width;
        let width = packed.width.min(packed.outputs - column);
        for (row, sums) in sums.chunks_exact(packed.width).take(rows).enumerate() {
            let at = row * packed.outputs + column;
            for v in (0..width).step_by(S::LANES) {
                let lanes = v..width.min(v + S::LANES);
                let mut x = s.add(s.read_any(&sums[lanes.clone()]), s.read_any(&bias[column..][lanes.clone()]));
                if let Some(added) = added {
                    x = s.add(x, s.read_any(&added[at..][lanes.clone()]));
                }
                if with_gelu {
                    x = gelu(s, x);
                }
                s.write_any(&mut out[at..][lanes], x);
            }
        }
    }
}
