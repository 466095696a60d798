//! Multi-head attention with decomposed relative position. Scores live in a few rows of scratch in the first-level
//! cache, a block of keys at a time, under a running maximum; padded keys enter once, in closed form.
#![allow(unsafe_code)]

pub(super) mod window;

use std::ops::Range;

use window::{Head, Window};

use super::Level;
use super::dense::Pieces;
use super::keys::{Rows, pack};
use super::math::{exp, sum_exp};
use super::memory::{self, Buffer, Out, Views, floats};
use super::product::{MAX_ROWS, Single, Start, Tile, any_tile};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use super::threads::Team;
use crate::error::Result;
use crate::graph::op::Attention;
use crate::graph::{Graph, ParamId};

/// Queries of a task.
const QUERIES: usize = 256;
/// Keys of a block, but at least one row of the window.
const KEYS: usize = 256;

/// `[2g-1, d]` as `[d, 2g-1 + padding]` in reverse order, so that the terms of a query in row i for the keys 0..g stand
/// at `g-1-i..2g-1-i`, ascending.
pub(super) fn table(level: Level, data: &[f32], head_dim: usize) -> Result<Buffer> {
    let rows = data.len() / head_dim.max(1);
    let stride = rows.next_multiple_of(level.lanes());
    let mut table = Buffer::new("relative positions", stride * head_dim)?;
    for (c, column) in table.as_mut_slice().chunks_exact_mut(stride.max(1)).enumerate() {
        column.iter_mut().zip(data.chunks_exact(head_dim).rev()).for_each(|(x, row)| *x = row[c]);
    }
    Ok(table)
}

/// Sizes of a task's scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    pub lanes: usize,
    /// d, rounded up to whole registers.
    pub head_dim: usize,
    /// Columns of a relative position table.
    pub table: usize,
    /// Relative terms of a query along one axis, with room for one register behind.
    pub rel: usize,
    /// Keys of a block.
    pub keys: usize,
    /// Columns of keys and scores, with room for one register behind.
    pub scores: usize,
}

impl Scratch {
    pub fn new(level: Level, side: usize, head_dim: usize) -> Scratch {
        let lanes = level.lanes();
        let keys = (KEYS / side).max(1) * side;
        Scratch {
            lanes,
            head_dim: head_dim.next_multiple_of(lanes),
            table: (2 * side - 1).next_multiple_of(lanes),
            rel: side.next_multiple_of(lanes) + lanes,
            keys,
            scores: keys.next_multiple_of(lanes) + lanes,
        }
    }

    pub fn len(&self) -> usize {
        let per_query = self.head_dim + 2 * self.rel + 2;
        let per_key = self.scores + self.keys;
        2 * self.lanes
            + QUERIES * per_query
            + (per_key + self.lanes) * self.head_dim
            + MAX_ROWS * (self.scores + self.head_dim)
    }
}

impl Execute for Attention {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        Scratch::new(level, self.window.unwrap_or(self.grid), graph[self.rel_pos_h].shape[1]).len()
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        if [self.rel_pos_h, self.rel_pos_w].contains(&id) {
            Form::Table { head_dim: graph[id].shape[1] }
        } else {
            Form::Plain
        }
    }
}

fn run(step: &Step<'_>, op: &Attention, views: Views<'_>) -> Result<()> {
    let Attention { qkv, qkv_bias, rel_pos_h, rel_pos_w, heads, grid, window, out } = op;
    let width = step.graph[*out].shape[2];
    let half = views.is_half(*out);
    let ([qkv], [out]) = views.take([*qkv], [*out])?;
    let (bias, tables) = (step.plain(*qkv_bias)?, [step.table(*rel_pos_h)?, step.table(*rel_pos_w)?]);
    let (heads, grid, side) = (*heads, *grid, window.unwrap_or(*grid));
    let all = All { qkv: floats(qkv), bias, tables, width, heads, grid, side, slices: step.active };
    all.attend(step.level, step.threads, step.scratch, Out::new(out, half));
    Ok(())
}

/// Attention of whole slices.
#[derive(Clone, Copy)]
pub(super) struct All<'a> {
    /// `[slices, grid^2, 3 D]`.
    pub qkv: &'a [f32],
    /// `[3 D]`, which stands for padded keys.
    pub bias: &'a [f32],
    pub tables: [&'a [f32]; 2],
    /// D.
    pub width: usize,
    pub heads: usize,
    pub grid: usize,
    /// Of a window.
    pub side: usize,
    pub slices: usize,
}

impl<'a> All<'a> {
    pub fn windows(&self) -> usize {
        self.grid.div_ceil(self.side)
    }

    /// Windows vary slowest: the whole ones come first, the small ones last.
    pub fn place(&self, task: usize) -> (Window, Head<'a>) {
        let (task, head) = (task / self.heads, task % self.heads);
        let (place, slice) = (task / self.slices, task % self.slices);
        let window = Window::new(place / self.windows(), place % self.windows(), self.side, self.grid);
        let (width, base) = (self.width, slice * self.grid * self.grid);
        (window, Head { qkv: self.qkv, bias: self.bias, width, head, head_dim: width / self.heads, base })
    }

    /// `out` is `[slices, grid^2, D]`.
    pub fn attend(&self, level: Level, threads: &Team<'_>, scratch: &memory::Scratch, out: Out<'_>) {
        let sizes = Scratch::new(level, self.side, self.width / self.heads);
        let chunks = (self.side.min(self.grid) * self.side.min(self.grid)).div_ceil(QUERIES);
        threads.each(scratch, self.windows().pow(2) * self.slices * self.heads * chunks, |task, scratch| {
            let (window, head) = self.place(task / chunks);
            let first = task % chunks * QUERIES;
            let last = window.tokens().min(first + QUERIES);
            if first < last {
                level.run(Task { head, window, first, last, tables: self.tables, sizes, scratch, out });
            }
        });
    }
}

struct Task<'a> {
    head: Head<'a>,
    window: Window,
    first: usize,
    last: usize,
    tables: [&'a [f32]; 2],
    sizes: Scratch,
    scratch: &'a mut [f32],
    out: Out<'a>,
}

/// State of the softmax of a task's queries: relative terms, and numerator, maximum and denominator so far.
struct Queries<'a> {
    /// A row a query, behind as many numbers as a register holds.
    rel: [&'a mut [f32]; 2],
    sums: &'a mut [f32],
    largest: &'a mut [f32],
    total: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { head, window, first, last, tables, sizes, scratch, out } = self;
        let mut pieces = Pieces(scratch);
        let mut queries = Queries {
            rel: [pieces.take(QUERIES * sizes.rel + sizes.lanes), pieces.take(QUERIES * sizes.rel + sizes.lanes)],
            sums: pieces.take(QUERIES * sizes.head_dim),
            largest: pieces.take(QUERIES),
            total: pieces.take(QUERIES),
        };
        let keys = pieces.take(sizes.scores * sizes.head_dim);
        let values = pieces.take(sizes.keys * sizes.head_dim);
        let together = pieces.take(sizes.lanes * sizes.head_dim);
        let scores = pieces.take(MAX_ROWS * sizes.scores);
        let small = pieces.take(MAX_ROWS * sizes.head_dim);

        for (axis, table) in tables.into_iter().enumerate() {
            relative_terms(s, &head, &window, sizes, axis, table, first..last, queries.rel[axis]);
        }
        for i in 0..last - first {
            start(s, &head, &window, sizes, first + i, i, &mut queries);
        }
        let rows = sizes.keys / window.side.max(1);
        for top in (0..window.height).step_by(rows.max(1)) {
            let block = Block { top, bottom: window.height.min(top + rows.max(1)) };
            let first_key = block.top * window.width;
            let packed = Rows {
                count: block.bottom * window.width - first_key,
                head_dim: head.head_dim,
                padded_dim: sizes.head_dim,
                room: sizes.keys,
            };
            pack(s, packed, |part, key| head.row(part, window.token(first_key + key)), keys, values, together);
            for query in (first..last).step_by(S::ROWS) {
                let count = S::ROWS.min(last - query);
                let parts = Parts { keys, values, scores, small };
                attend(s, &head, &window, sizes, block, query, count, query - first, parts, &mut queries);
            }
        }
        for i in 0..last - first {
            let at = (head.base + window.token(first + i)) * head.width + head.head * head.head_dim;
            let scale = 1.0 / queries.total[i];
            let sums = &mut queries.sums[i * sizes.head_dim..][..head.head_dim];
            sums.iter_mut().for_each(|sum| *sum *= scale);
            // SAFETY: this head of this query belongs to this task.
            unsafe { out.write(at, sums) };
        }
    }
}

/// Rows of the window whose keys are looked at together.
#[derive(Clone, Copy)]
struct Block {
    top: usize,
    bottom: usize,
}

/// Scratch memory of a block: keys and values in panels, scores, scaled queries.
struct Parts<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    scores: &'a mut [f32],
    small: &'a mut [f32],
}

/// q . rel_pos of `queries` along one axis, for every row or column of the window, padded ones too. Queries in the same
/// place of the axis need the same columns of the table, so they share a tile.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a step of one function, cut out for its length")]
pub(super) fn relative_terms<S: Simd>(
    s: S,
    head: &Head<'_>,
    window: &Window,
    sizes: Scratch,
    axis: usize,
    table: &[f32],
    queries: Range<usize>,
    rel: &mut [f32],
) {
    // Neighbours in a row of the window are one query apart, those in a column as many as a row holds.
    let (places, members, apart) =
        if axis == 0 { (window.height, window.width, 1) } else { (window.width, window.height, window.width) };
    let width = window.side.next_multiple_of(S::LANES);
    assert!(table.len() >= head.head_dim * sizes.table && sizes.table >= width && sizes.rel >= width + sizes.lanes);
    for place in 0..places {
        let query =
            |member: usize| if axis == 0 { place * window.width + member } else { member * window.width + place };
        // Whole registers of the table: what they hold too much in front goes where no query looks.
        let from = (window.side - 1 - place).min(sizes.table - width);
        let surplus = window.side - 1 - place - from;
        let mut member = 0;
        while member < members {
            if !queries.contains(&query(member)) {
                member += 1;
                continue;
            }
            let mut q = [std::ptr::null(); MAX_ROWS];
            let mut count = 0;
            while count < S::ROWS && member + count < members && queries.contains(&query(member + count)) {
                q[count] = head.row(0, window.token(query(member + count))).as_ptr();
                count += 1;
            }
            let c = &mut rel[sizes.lanes + (query(member) - queries.start) * sizes.rel - surplus..];
            let c_stride = apart * sizes.rel;
            assert!(c.len() >= (count - 1) * c_stride + width);
            // SAFETY: the table holds head_dim rows, each `width` long behind `from`; `c` holds `count` rows.
            unsafe {
                let table = Right::Whole { data: &table[from..], stride: sizes.table };
                Columns { a: &q[..count], inputs: head.head_dim, b: table, width, c, c_stride, start: Start::Zero }
                    .multiply(s);
            }
            member += count;
        }
    }
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Rows as far apart as `stride` says.
    Whole { data: &'a [f32], stride: usize },
    /// Panels of a tile's width: `rows` rows of the first columns, then as many of the next. A tile reads one stretch
    /// of memory, where the rows of a whole matrix would fall into few sets of a cache.
    Panels { data: &'a [f32], rows: usize },
}

/// `c[row] (+)= a[row] . b` for `width` columns, a multiple of the lanes.
pub(super) struct Columns<'a> {
    pub a: &'a [*const f32],
    pub inputs: usize,
    pub b: Right<'a>,
    pub width: usize,
    pub c: &'a mut [f32],
    pub c_stride: usize,
    pub start: Start,
}

impl Columns<'_> {
    /// In a function of its own: tiles of every size are too much code for each place that multiplies.
    ///
    /// # Safety
    /// `inputs` numbers behind each pointer of `a`; `inputs` rows of `b`; `a.len()` rows of `c`, each at least `width`
    /// long.
    #[inline(always)]
    pub unsafe fn multiply<S: Simd>(self, s: S) {
        s.call(Promised(self));
    }
}

/// A product whose addresses are as the caller of [`Columns::multiply`] promised.
struct Promised<'a>(Columns<'a>);

impl Kernel for Promised<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Columns { a, inputs, b, width, c, c_stride, start } = self.0;
        let mut column = 0;
        while column < width {
            let vectors = S::VECTORS.min((width - column) / S::LANES);
            let (b, b_stride) = match b {
                Right::Whole { data, stride } => (data[column..].as_ptr(), stride),
                Right::Panels { data, rows } => (data[column * rows..].as_ptr(), vectors * S::LANES),
            };
            let t = Tile { b, b_stride, inputs, c: c[column..].as_mut_ptr(), c_stride, start };
            // SAFETY: that promise.
            unsafe { any_tile::<S, Single>(s, a, vectors, t) };
            column += vectors * S::LANES;
        }
    }
}

/// What the padded keys of the window add to query `i` of the task: one key, one value, relative terms that differ.
#[inline(always)]
fn start<S: Simd>(
    s: S,
    head: &Head<'_>,
    window: &Window,
    sizes: Scratch,
    query: usize,
    i: usize,
    queries: &mut Queries<'_>,
) {
    let sums = &mut queries.sums[i * sizes.head_dim..(i + 1) * sizes.head_dim];
    sums.fill(0.0);
    (queries.largest[i], queries.total[i]) = (f32::NEG_INFINITY, 0.0);
    if !window.is_padded() {
        return;
    }
    let q = head.row(0, window.token(query));
    let dot: f32 = q.iter().zip(head.bias(1)).map(|(q, k)| q * k).sum();
    let common = dot / (head.head_dim as f32).sqrt();
    let [rows, columns] =
        [&*queries.rel[0], &*queries.rel[1]].map(|rel| &rel[sizes.lanes + i * sizes.rel..][..window.side]);
    // Padded rows with all columns; real rows with padded columns.
    let terms = [(&rows[window.height..], columns), (&rows[..window.height], &columns[window.width..])];
    let largest = |part: &[f32]| part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let most = terms.map(|(rows, columns)| largest(rows) + largest(columns) + common);
    let largest_all = most[0].max(most[1]);
    let mut total = 0.0;
    for ((rows, columns), most) in terms.into_iter().zip(most) {
        if !rows.is_empty() && !columns.is_empty() {
            let [rows, columns] = [sum_exp(s, rows, largest(rows)), sum_exp(s, columns, largest(columns))];
            total += (most - largest_all).exp() * rows * columns;
        }
    }
    (queries.largest[i], queries.total[i]) = (largest_all, total);
    sums.iter_mut().zip(head.bias(2)).for_each(|(sum, v)| *sum = total * v);
}

/// Adds the keys of a block to `count` queries.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a step of one function, cut out for its length")]
fn attend<S: Simd>(
    s: S,
    head: &Head<'_>,
    window: &Window,
    sizes: Scratch,
    block: Block,
    query: usize,
    count: usize,
    row: usize,
    parts: Parts<'_>,
    queries: &mut Queries<'_>,
) {
    let Parts { keys, values, scores, small } = parts;
    let total = (block.bottom - block.top) * window.width;
    let padded = total.next_multiple_of(S::LANES);
    let scale = 1.0 / (head.head_dim as f32).sqrt();
    for i in 0..count {
        let scaled = &mut small[i * head.head_dim..(i + 1) * head.head_dim];
        let from = head.row(0, window.token(query + i));
        scaled.iter_mut().zip(from).for_each(|(x, q)| *x = q * scale);
        let scores = &mut scores[i * sizes.scores..(i + 1) * sizes.scores];
        bias(s, window, sizes, block, row + i, queries, scores);
        scores[total..padded].fill(f32::NEG_INFINITY);
    }
    let q = row_starts(small, head.head_dim, count);
    assert!(keys.len() >= padded * sizes.head_dim && sizes.head_dim >= head.head_dim);
    // SAFETY: head_dim numbers of each scaled query; `keys` holds panels of head_dim rows and `scores` a row a query.
    unsafe {
        let keys = Right::Panels { data: keys, rows: sizes.head_dim };
        Columns {
            a: &q[..count],
            inputs: head.head_dim,
            b: keys,
            width: padded,
            c: scores,
            c_stride: sizes.scores,
            start: Start::Add,
        }
        .multiply(s);
    }
    for i in 0..count {
        let scores = &mut scores[i * sizes.scores..][..padded];
        let (largest, sum) = (&mut queries.largest[row + i], &mut queries.total[row + i]);
        let mut most = s.splat(*largest);
        for part in scores.chunks_exact(S::LANES) {
            most = s.max(most, s.read(part));
        }
        let most = s.largest(most);
        let shrink = (*largest - most).exp();
        *largest = most;
        let mut added = s.splat(0.0);
        for part in scores.chunks_exact_mut(S::LANES) {
            let x = exp(s, s.sub(s.read(part), s.splat(most)));
            s.write(part, x);
            added = s.add(added, x);
        }
        *sum = *sum * shrink + s.sum(added);
        if shrink != 1.0 {
            queries.sums[(row + i) * sizes.head_dim..][..sizes.head_dim].iter_mut().for_each(|x| *x *= shrink);
        }
    }
    let sums = &mut queries.sums[row * sizes.head_dim..];
    assert!(sums.len() >= count * sizes.head_dim && values.len() >= sizes.keys * sizes.head_dim && sizes.keys >= total);
    let width = sizes.head_dim;
    let p = row_starts(scores, sizes.scores, count);
    // SAFETY: `total` scores of each query; `values` holds panels of at least as many rows, `sums` a row a query.
    unsafe {
        let values = Right::Panels { data: values, rows: sizes.keys };
        Columns { a: &p[..count], inputs: total, b: values, width, c: sums, c_stride: width, start: Start::Add }
            .multiply(s);
    }
}

/// Where the first `count` rows of `data` start.
#[inline(always)]
pub(super) fn row_starts(data: &[f32], stride: usize, count: usize) -> [*const f32; MAX_ROWS] {
    let mut starts = [std::ptr::null(); MAX_ROWS];
    starts[..count].iter_mut().zip(data.chunks(stride)).for_each(|(start, row)| *start = row.as_ptr());
    starts
}

/// The relative terms of a query for every key of a block, in the keys' order. Rows are written in ascending order and
/// in whole registers: what runs over the end of a row, the next one covers.
#[inline(always)]
fn bias<S: Simd>(
    s: S,
    window: &Window,
    sizes: Scratch,
    block: Block,
    row: usize,
    queries: &Queries<'_>,
    scores: &mut [f32],
) {
    let rows = &queries.rel[0][sizes.lanes + row * sizes.rel..][..window.side];
    let columns = &queries.rel[1][sizes.lanes + row * sizes.rel..][..sizes.rel];
    for (i, &term) in rows[block.top..block.bottom].iter().enumerate() {
        let term = s.splat(term);
        for column in (0..window.width).step_by(S::LANES) {
            let x = s.add(s.read(&columns[column..]), term);
            s.write(&mut scores[i * window.width + column..], x);
        }
    }
}
