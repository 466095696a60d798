//! Convolution of all channels: what a few outputs read is gathered once and multiplied with every panel.

use super::Level;
use super::dense::product;
use super::math::gelu;
use super::memory::{Shared, Views, floats, floats_mut};
use super::packed::Packed;
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{Activation, Convolution};
use crate::graph::{Graph, ParamId};

/// Outputs of a task.
const ROWS: usize = 48;

impl Execute for Convolution {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    /// Sums, and what is gathered.
    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        ROWS * (level.panel() + graph[self.weight].shape[1..].iter().product::<usize>())
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        Form::matrix(graph, id, id == self.weight)
    }
}

fn run(step: &Step<'_>, op: &Convolution, views: Views<'_>) -> Result<()> {
    let Convolution { input, scaling, weight, bias, activation, side, stride, out } = op;
    let &[_, kernel, _, channels] = step.graph[*weight].shape.as_slice() else {
        return Err(crate::Error::internal("convolution", "a weight without four axes"));
    };
    let tokens = step.graph[*out].shape[1];
    let ([input, scaling_bytes], [out]) = views.take([*input, scaling.unwrap_or(*input)], [*out])?;
    let (packed, bias, out) = (step.packed(*weight)?, step.plain(*bias)?, Shared::new(floats_mut(out)));
    let chunks = tokens.div_ceil(ROWS);
    let area = side * side * channels;
    step.each(chunks * step.active, |task, scratch| {
        let (slice, first) = (task / chunks, task % chunks * ROWS);
        let last = tokens.min(first + ROWS);
        let cells = match scaling {
            Some(_) => Cells::Pixels(&input[slice * area..][..area], &floats(scaling_bytes)[slice * 8..][..8]),
            None => Cells::Tokens(&floats(input)[slice * area..][..area]),
        };
        let source = Source { cells, side: *side, stride: *stride, kernel, channels };
        let (sums, left) = scratch.split_at_mut(ROWS * packed.width);
        for (token, row) in (first..last).zip(left.chunks_exact_mut(packed.inputs)) {
            source.gather(token, row);
        }
        // SAFETY: the outputs of this task belong to no other.
        #[allow(unsafe_code)]
        let out = unsafe { out.part((slice * tokens + first) * packed.outputs, (last - first) * packed.outputs) };
        step.level.run(Product { left, rows: last - first, packed, bias, activation: *activation, sums, out });
    });
    Ok(())
}

/// What is convolved, of one slice.
enum Cells<'a> {
    /// Three scales, three offsets, valid height, valid width.
    Pixels(&'a [u8], &'a [f32]),
    Tokens(&'a [f32]),
}

struct Source<'a> {
    cells: Cells<'a>,
    side: usize,
    stride: usize,
    kernel: usize,
    channels: usize,
}

impl Source<'_> {
    /// What output `token` reads, `[k, k, channels]`, zeros outside the grid.
    fn gather(&self, token: usize, row: &mut [f32]) {
        let (across, half) = (self.side.div_ceil(self.stride), self.kernel / 2);
        let (top, left) = (token / across * self.stride, token % across * self.stride);
        row.fill(0.0);
        for (tap, to) in row.chunks_exact_mut(self.channels).enumerate() {
            let (y, x) = (top + tap / self.kernel, left + tap % self.kernel);
            if y < half || x < half || y - half >= self.side || x - half >= self.side {
                continue;
            }
            let (y, x) = (y - half, x - half);
            let at = (y * self.side + x) * self.channels;
            match self.cells {
                Cells::Tokens(tokens) => to.copy_from_slice(&tokens[at..at + self.channels]),
                Cells::Pixels(pixels, scaling) if y < scaling[6] as usize && x < scaling[7] as usize => {
                    let pixel = &pixels[at..at + self.channels];
                    let scaled = pixel.iter().zip(scaling.iter().zip(&scaling[3..]));
                    to.iter_mut().zip(scaled).for_each(|(to, (&p, (s, o)))| *to = f32::from(p) * s + o);
                }
                Cells::Pixels(..) => {}
            }
        }
    }
}

struct Product<'a> {
    left: &'a [f32],
    rows: usize,
    packed: &'a Packed,
    bias: &'a [f32],
    activation: Activation,
    sums: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        product(s, self.packed, self.left, self.rows, self.sums, self.out);
        for row in self.out.chunks_exact_mut(self.bias.len()) {
            for start in (0..self.bias.len()).step_by(S::LANES) {
                let lanes = start..self.bias.len().min(start + S::LANES);
                let mut x = s.add(s.read_any(&row[lanes.clone()]), s.read_any(&self.bias[lanes.clone()]));
                if self.activation == Activation::Gelu {
                    x = gelu(s, x);
                }
                s.write_any(&mut row[lanes], x);
            }
        }
    }
}
