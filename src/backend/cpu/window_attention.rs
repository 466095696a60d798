//! Attention in windows with a learned bias. A task is one head of one window: all its scores are in the nearest
//! cache, and padding is one key behind the real ones.
#![allow(unsafe_code)]

use super::Level;
use super::attention::window::Window;
use super::attention::{Columns, Right, row_starts};
use super::dense::Pieces;
use super::keys::{Rows, pack};
use super::math::exp;
use super::memory::{Buffer, Shared, Views, floats, floats_mut};
use super::product::{MAX_ROWS, Start};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{WindowAttention, padded_bias};
use crate::graph::{Graph, ParamId};

/// Where the parts of a head's biases lie.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// g.
    pub side: usize,
    /// Side of the grid.
    pub grid: usize,
    /// Numbers of a row of mirrored biases: those of `-(g-1)..=g-1`, with room for a register behind.
    row: usize,
}

impl Layout {
    pub fn new(level: Level, side: usize, grid: usize) -> Layout {
        Layout { side, grid, row: (2 * side - 1).next_multiple_of(level.lanes()) + level.lanes() }
    }

    /// f32 of a head: mirrored rows, then for windows at the right edge, the lower edge and in the corner the bias
    /// that all padded keys together have for each query of the window.
    pub fn len(&self) -> usize {
        self.side * self.row + 3 * self.side * self.side
    }

    /// The bias of all padding of `window`, one a place of the window.
    fn padding<'a>(&self, head: &'a [f32], window: &Window) -> &'a [f32] {
        let kind = match (window.height < self.side, window.width < self.side) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        &head[self.side * self.row + kind * self.side * self.side..][..self.side * self.side]
    }
}

/// `[heads, g^2]` as [`Layout`] says.
pub(super) fn table(layout: Layout, data: &[f32]) -> Result<Buffer> {
    let (side, area) = (layout.side, layout.side * layout.side);
    let mut table = Buffer::new("attention biases", layout.len() * (data.len() / area.max(1)))?;
    let rest = layout.grid % side;
    for (head, biases) in table.as_mut_slice().chunks_exact_mut(layout.len().max(1)).zip(data.chunks_exact(area)) {
        let (mirrored, padding) = head.split_at_mut(side * layout.row);
        for (row, biases) in mirrored.chunks_exact_mut(layout.row).zip(biases.chunks_exact(side)) {
            row.iter_mut().zip(1 - side as isize..side as isize).for_each(|(x, d)| *x = biases[d.unsigned_abs()]);
        }
        for (kind, sums) in padding.chunks_exact_mut(area).enumerate() {
            let (height, width) = if kind == 0 { (side, rest) } else { (rest, if kind == 1 { side } else { rest }) };
            for (place, sum) in sums.iter_mut().enumerate() {
                *sum = padded_bias(biases, side, [place / side, place % side], [height, width]) as f32;
            }
        }
    }
    Ok(table)
}

impl Execute for WindowAttention {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        Sizes::new(level, self.window, graph[self.out].shape[2] / self.heads).len()
    }

    fn form(&self, _: &Graph, id: ParamId) -> Form {
        if id == self.biases { Form::Biases { window: self.window, grid: self.grid } } else { Form::Plain }
    }
}

/// Sizes of a task's scratch memory.
#[derive(Clone, Copy)]
struct Sizes {
    lanes: usize,
    /// d, rounded up to whole registers.
    head_dim: usize,
    /// Keys, the one of the padding among them, rounded up to whole registers, and one register more.
    keys: usize,
}

impl Sizes {
    fn new(level: Level, side: usize, head_dim: usize) -> Sizes {
        let lanes = level.lanes();
        let keys = (side * side + 1).next_multiple_of(lanes) + lanes;
        Sizes { lanes, head_dim: head_dim.next_multiple_of(lanes), keys }
    }

    /// Keys, values, rows to be transposed, scores and scaled queries with their results.
    fn len(&self) -> usize {
        2 * self.keys * self.head_dim + self.lanes * self.head_dim + MAX_ROWS * (self.keys + 2 * self.head_dim)
    }
}

fn run(step: &Step<'_>, op: &WindowAttention, views: Views<'_>) -> Result<()> {
    let WindowAttention { qkv, padding, biases, heads, grid, window: side, out } = op;
    let (tokens, width) = (step.graph[*out].shape[1], step.graph[*out].shape[2]);
    let ([qkv], [out]) = views.take([*qkv], [*out])?;
    let (qkv, out) = (floats(qkv), Shared::new(floats_mut(out)));
    let (padding, table) = (step.plain(*padding)?, step.table(*biases)?);
    let head_dim = width / heads;
    let (sizes, layout) = (Sizes::new(step.level, *side, head_dim), Layout::new(step.level, *side, *grid));
    let windows = grid.div_ceil(*side);
    step.each(windows * windows * step.active * heads, |task, scratch| {
        // Heads of a window one after the other: they read the same rows. Windows vary slowest, the small ones last.
        let (task, head) = (task / heads, task % heads);
        let (place, slice) = (task / step.active, task % step.active);
        let window = Window::new(place / windows, place % windows, *side, *grid);
        let source = Source {
            qkv: &qkv[slice * tokens * 3 * width..(slice + 1) * tokens * 3 * width],
            padding: &padding[3 * head * head_dim..3 * (head + 1) * head_dim],
            width,
            head,
            head_dim,
        };
        let biases = &table[head * layout.len()..(head + 1) * layout.len()];
        step.level.run(Task { source, window, biases, layout, sizes, scratch, first: slice * tokens, out });
    });
    Ok(())
}

/// One head of one slice.
#[derive(Clone, Copy)]
struct Source<'a> {
    /// `[N, heads, 3, d]`.
    qkv: &'a [f32],
    /// `[3, d]`.
    padding: &'a [f32],
    /// D.
    width: usize,
    head: usize,
    head_dim: usize,
}

impl<'a> Source<'a> {
    /// q, k or v (`part` 0, 1, 2) of a token of the grid.
    #[inline(always)]
    fn row(&self, part: usize, token: usize) -> &'a [f32] {
        &self.qkv[3 * token * self.width + (3 * self.head + part) * self.head_dim..][..self.head_dim]
    }

    /// k or v of key `index` of a window, behind whose `real` keys stands the padding.
    #[inline(always)]
    fn key(&self, part: usize, window: &Window, index: usize, real: usize) -> &'a [f32] {
        if index < real {
            self.row(part, window.token(index))
        } else {
            &self.padding[part * self.head_dim..][..self.head_dim]
        }
    }
}

struct Task<'a> {
    source: Source<'a>,
    window: Window,
    biases: &'a [f32],
    layout: Layout,
    sizes: Sizes,
    scratch: &'a mut [f32],
    /// First row of the slice in `out`.
    first: usize,
    out: Shared<'a>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { source, window, biases, layout, sizes, scratch, first, out } = self;
        let (real, d) = (window.tokens(), sizes.head_dim);
        let total = real + usize::from(window.is_padded());
        let padded = total.next_multiple_of(S::LANES);
        let mut pieces = Pieces(scratch);
        let (keys, values) = (pieces.take(sizes.keys * d), pieces.take(sizes.keys * d));
        let together = pieces.take(sizes.lanes * d);
        let (scores, queries) = (pieces.take(MAX_ROWS * sizes.keys), pieces.take(MAX_ROWS * d));
        let sums = pieces.take(MAX_ROWS * d);
        let rows = Rows { count: total, head_dim: source.head_dim, padded_dim: sizes.head_dim, room: sizes.keys };
        pack(s, rows, |part, key| source.key(part, &window, key, real), keys, values, together);
        let padding = layout.padding(biases, &window);
        let scale = 1.0 / (source.head_dim as f32).sqrt();
        for query in (0..real).step_by(S::ROWS) {
            let count = S::ROWS.min(real - query);
            for i in 0..count {
                let from = source.row(0, window.token(query + i));
                queries[i * d..][..source.head_dim].iter_mut().zip(from).for_each(|(x, q)| *x = q * scale);
                let scores = &mut scores[i * sizes.keys..(i + 1) * sizes.keys];
                let (row, column) = ((query + i) / window.width, (query + i) % window.width);
                bias(s, &window, layout, biases, [row, column], scores);
                if total > real {
                    scores[real] = padding[row * window.side + column];
                }
                scores[total..padded].fill(f32::NEG_INFINITY);
            }
            let q = row_starts(queries, d, count);
            // SAFETY: head_dim numbers of each query; `keys` holds panels of d rows, `scores` a row of `padded` a
            // query.
            unsafe {
                let keys = Right::Panels { data: keys, rows: d };
                Columns {
                    a: &q[..count],
                    inputs: source.head_dim,
                    b: keys,
                    width: padded,
                    c: scores,
                    c_stride: sizes.keys,
                    start: Start::Add,
                }
                .multiply(s);
            }
            let mut factors = [0.0; MAX_ROWS];
            for (scores, factor) in scores.chunks_exact_mut(sizes.keys).zip(&mut factors).take(count) {
                *factor = 1.0 / exponentials(s, &mut scores[..padded]);
            }
            let p = row_starts(scores, sizes.keys, count);
            // SAFETY: `total` scores of each query; `values` holds panels of at least as many rows, `sums` a row a
            // query.
            unsafe {
                let values = Right::Panels { data: values, rows: sizes.keys };
                Columns {
                    a: &p[..count],
                    inputs: total,
                    b: values,
                    width: d,
                    c: sums,
                    c_stride: d,
                    start: Start::Zero,
                }
                .multiply(s);
            }
            for i in 0..count {
                let at = (first + window.token(query + i)) * source.width + source.head * source.head_dim;
                // SAFETY: this head of this query belongs to this task.
                let to = unsafe { out.part(at, source.head_dim) };
                to.iter_mut().zip(&sums[i * d..]).for_each(|(to, sum)| *to = sum * factors[i]);
            }
        }
    }
}

/// Replaces scores by what their differences from the largest are exponents of; returns the sum.
#[inline(always)]
fn exponentials<S: Simd>(s: S, scores: &mut [f32]) -> f32 {
    let mut most = s.splat(f32::NEG_INFINITY);
    for part in scores.chunks_exact(S::LANES) {
        most = s.max(most, s.read(part));
    }
    let most = s.splat(s.largest(most));
    let mut total = s.splat(0.0);
    for part in scores.chunks_exact_mut(S::LANES) {
        let x = exp(s, s.sub(s.read(part), most));
        s.write(part, x);
        total = s.add(total, x);
    }
    s.sum(total)
}

/// Biases of a query for the real keys, in their order. Rows are written in ascending order and in whole registers:
/// what runs over the end of a row, the next one covers.
#[inline(always)]
fn bias<S: Simd>(s: S, window: &Window, layout: Layout, biases: &[f32], [row, column]: [usize; 2], scores: &mut [f32]) {
    for key_row in 0..window.height {
        let from = &biases[row.abs_diff(key_row) * layout.row + layout.side - 1 - column..];
        for key_column in (0..window.width).step_by(S::LANES) {
            let x = s.read(&from[key_column..]);
            s.write(&mut scores[key_row * window.width + key_column..], x);
        }
    }
}
