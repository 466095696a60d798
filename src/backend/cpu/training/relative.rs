//! Attention with relative position on the way back. Nothing but q, k and v is kept of the way forward: a few rows of a
//! window's queries at a time meet all of its keys again. Padded keys enter in closed form, as on the way forward: they
//! are not trained, but the queries see them.
#![allow(unsafe_code)]

use super::crew::Crew;
use super::padding::Padding;
use super::product::turn;
use crate::backend::cpu::Level;
use crate::backend::cpu::attention::window::{Head, Window};
use crate::backend::cpu::attention::{All, Columns, Right, Scratch, relative_terms, row_starts};
use crate::backend::cpu::dense::Pieces;
use crate::backend::cpu::keys::{Rows, pack};
use crate::backend::cpu::math::exp;
use crate::backend::cpu::memory::{Out, Shared};
use crate::backend::cpu::product::{MAX_ROWS, Start};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::step::Param;

/// Most queries that are looked at together, but at least a row of the window.
const QUERIES: usize = 64;

/// Attention of whole slices, whose tables are those of inference.
#[derive(Clone, Copy)]
pub(crate) struct Relative<'a> {
    /// `[slices, grid^2, 3 D]`.
    pub qkv: &'a [f32],
    /// `[3 D]`, of which padded keys and values are made.
    pub bias: &'a [f32],
    pub tables: [&'a Param; 2],
    /// D.
    pub width: usize,
    pub heads: usize,
    pub grid: usize,
    /// Of a window.
    pub side: usize,
}

impl<'a> Relative<'a> {
    fn all(&self) -> All<'a> {
        let Relative { qkv, bias, tables, width, heads, grid, side } = *self;
        let table = |param: &'a Param| match param {
            Param::Table(table) => table.as_slice(),
            _ => &[],
        };
        let slices = qkv.len() / (3 * width * grid * grid);
        All { qkv, bias, tables: tables.map(table), width, heads, grid, side, slices }
    }

    /// f32 of scratch of a task, forth or back.
    pub fn scratch(level: Level, side: usize, grid: usize, head_dim: usize) -> usize {
        let sizes = Scratch::new(level, side, head_dim);
        sizes.len().max(Sizes::new(sizes, side.min(grid)).len())
    }
}

impl Crew<'_> {
    /// `out` is `[slices, grid^2, D]`.
    pub fn attend(&self, relative: Relative<'_>, out: &mut [f32]) {
        relative.all().attend(self.level, self.team, self.scratch, Out::Single(Shared::new(out)));
    }

    /// The derivative by q, k and v, as they lie, for `d` by the result.
    pub fn attend_back(&self, relative: Relative<'_>, d: &[f32], out: &mut [f32]) {
        let all = relative.all();
        let out = Shared::new(out);
        let shape = Scratch::new(self.level, all.side, all.width / all.heads);
        let sizes = Sizes::new(shape, all.side.min(all.grid));
        self.each(all.windows().pow(2) * all.slices * all.heads, |task, scratch| {
            let (window, head) = all.place(task);
            self.level.run(Task { head, window, tables: all.tables, sizes, d, scratch, out });
        });
    }
}

/// Sizes of a task's memory.
#[derive(Clone, Copy)]
struct Sizes {
    shape: Scratch,
    /// Real tokens of a whole window.
    tokens: usize,
    /// Queries together.
    queries: usize,
}

impl Sizes {
    fn new(shape: Scratch, side: usize) -> Sizes {
        Sizes { shape, tokens: side * side, queries: QUERIES.max(side) }
    }

    fn len(&self) -> usize {
        let Sizes { shape, tokens, queries } = *self;
        let d = shape.head_dim;
        let packed = 2 * (shape.scores + shape.keys) * d + shape.lanes * d;
        let terms = 4 * (queries * shape.rel + shape.lanes) + 2 * (shape.table + shape.lanes) * d;
        let scores = 3 * queries * shape.scores;
        packed + terms + scores + (3 * queries + 2 * tokens) * d + Padding::len(shape.rel)
    }
}

struct Task<'a> {
    head: Head<'a>,
    window: Window,
    tables: [&'a [f32]; 2],
    sizes: Sizes,
    d: &'a [f32],
    scratch: &'a mut [f32],
    out: Shared<'a>,
}

/// Keys and values of a window: as columns, and keys also as rows; and rows of the two tables, as a query in row or
/// column i finds them from `side - 1 - i` on.
struct Keys<'a> {
    keys: &'a mut [f32],
    key_rows: &'a mut [f32],
    values: &'a mut [f32],
    places: [&'a mut [f32]; 2],
}

/// What is known of a few queries.
struct Queries<'a> {
    /// q times the scale, and the derivative by the result: rows of `head_dim` numbers, zeros behind.
    q: &'a mut [f32],
    d: &'a mut [f32],
    dq: &'a mut [f32],
    /// Relative terms along both axes, and sums of the scores' derivatives along them.
    rel: [&'a mut [f32]; 2],
    by_rel: [&'a mut [f32]; 2],
    /// Weights; the scores' derivatives; either of them with rows and columns exchanged.
    weights: &'a mut [f32],
    by_score: &'a mut [f32],
    turned: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { head, window, tables, sizes, d, scratch, out } = self;
        let (shape, room) = (sizes.shape, sizes.queries);
        let width = shape.head_dim;
        let mut pieces = Pieces(scratch);
        let mut keys = Keys {
            keys: pieces.take(shape.scores * width),
            key_rows: pieces.take(shape.keys * width),
            values: pieces.take(shape.scores * width),
            places: [
                pieces.take((shape.table + shape.lanes) * width),
                pieces.take((shape.table + shape.lanes) * width),
            ],
        };
        let (unused, together) = (pieces.take(shape.keys * width), pieces.take(shape.lanes * width));
        let mut queries = Queries {
            q: pieces.take(room * width),
            d: pieces.take(room * width),
            dq: pieces.take(room * width),
            rel: [pieces.take(room * shape.rel + shape.lanes), pieces.take(room * shape.rel + shape.lanes)],
            by_rel: [pieces.take(room * shape.rel + shape.lanes), pieces.take(room * shape.rel + shape.lanes)],
            weights: pieces.take(room * shape.scores),
            by_score: pieces.take(room * shape.scores),
            turned: pieces.take(room * shape.scores),
        };
        let (dk, dv) = (pieces.take(sizes.tokens * width), pieces.take(sizes.tokens * width));
        let padding = pieces.take(Padding::len(shape.rel));
        dk.fill(0.0);
        dv.fill(0.0);
        let tokens = window.tokens();
        assert!(tokens <= sizes.tokens && tokens <= shape.keys);

        let rows = || Rows { count: tokens, head_dim: head.head_dim, padded_dim: width, room: shape.keys };
        pack(s, rows(), |_, key| head.row(1, window.token(key)), keys.keys, keys.key_rows, together);
        pack(s, rows(), |_, key| head.row(2, window.token(key)), keys.values, unused, together);
        for (table, rows) in tables.into_iter().zip(&mut keys.places) {
            for (at, row) in rows.chunks_exact_mut(width).take(2 * window.side - 1).enumerate() {
                row.fill(0.0);
                row.iter_mut().take(head.head_dim).enumerate().for_each(|(c, x)| *x = table[c * shape.table + at]);
            }
        }
        let at_once = (room / window.width).max(1);
        for top in (0..window.height).step_by(at_once) {
            let part = Part { top, bottom: window.height.min(top + at_once), window, head, sizes };
            for (axis, table) in tables.into_iter().enumerate() {
                relative_terms(s, &head, &window, shape, axis, table, part.first()..part.last(), queries.rel[axis]);
            }
            part.begin(d, &mut queries);
            part.weigh(s, &keys, padding, &mut queries);
            part.by_queries(s, &keys, &mut queries);
            part.by_keys(s, &mut queries, dk, dv);
            for (i, query) in (part.first()..part.last()).enumerate() {
                let dq = &queries.dq[i * width..][..head.head_dim];
                // SAFETY: q of this head of this query belongs to this task.
                unsafe { write(&out, &head, 0, window.token(query), dq) };
            }
        }
        for key in 0..tokens {
            for (which, rows) in [(1, &*dk), (2, &*dv)] {
                // SAFETY: so do k and v of this head of the window's keys.
                unsafe { write(&out, &head, which, window.token(key), &rows[key * width..][..head.head_dim]) };
            }
        }
    }
}

/// # Safety
/// No other task touches q, k or v (`which` 0, 1, 2) of this head of this token.
#[inline(always)]
unsafe fn write(out: &Shared<'_>, head: &Head<'_>, which: usize, token: usize, numbers: &[f32]) {
    let at = ((head.base + token) * 3 + which) * head.width + head.head * head.head_dim;
    // SAFETY: the caller's promise.
    unsafe { out.part(at, numbers.len()) }.copy_from_slice(numbers);
}

/// Queries of a few rows of the window.
#[derive(Clone, Copy)]
struct Part<'a> {
    top: usize,
    bottom: usize,
    window: Window,
    head: Head<'a>,
    sizes: Sizes,
}

impl Part<'_> {
    fn first(&self) -> usize {
        self.top * self.window.width
    }

    fn last(&self) -> usize {
        self.bottom * self.window.width
    }

    fn count(&self) -> usize {
        self.last() - self.first()
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head.head_dim as f32).sqrt()
    }

    /// Scaled queries, and the derivatives by their results.
    #[inline(always)]
    fn begin(&self, d: &[f32], queries: &mut Queries<'_>) {
        let (head, width, scale) = (&self.head, self.sizes.shape.head_dim, self.scale());
        for i in 0..self.count() {
            let token = self.window.token(self.first() + i);
            let (q, by) = (&mut queries.q[i * width..][..width], &mut queries.d[i * width..][..width]);
            q.fill(0.0);
            by.fill(0.0);
            q.iter_mut().zip(head.row(0, token)).for_each(|(to, q)| *to = q * scale);
            let at = (head.base + token) * head.width + head.head * head.head_dim;
            by[..head.head_dim].copy_from_slice(&d[at..at + head.head_dim]);
        }
    }

    /// Weights of the keys, the derivatives by their scores, and the sums of these along both axes.
    #[inline(always)]
    fn weigh<S: Simd>(&self, s: S, keys: &Keys<'_>, padding: &mut [f32], queries: &mut Queries<'_>) {
        let (shape, window, head) = (self.sizes.shape, &self.window, &self.head);
        let (tokens, width) = (window.tokens(), shape.head_dim);
        let padded = tokens.next_multiple_of(S::LANES);
        assert!(keys.keys.len() >= padded * width && keys.values.len() >= padded * width && padded <= shape.scores);
        for i in 0..self.count() {
            let [rows, columns] = [&*queries.rel[0], &*queries.rel[1]].map(|r| &r[shape.lanes + i * shape.rel..]);
            let scores = &mut queries.weights[i * shape.scores..][..shape.scores];
            for (row, &term) in rows[..window.height].iter().enumerate() {
                for column in (0..window.width).step_by(S::LANES) {
                    let x = s.add(s.read(&columns[column..]), s.splat(term));
                    s.write(&mut scores[row * window.width + column..], x);
                }
            }
            scores[tokens..padded].fill(f32::NEG_INFINITY);
        }
        for first in (0..self.count()).step_by(S::ROWS) {
            let count = S::ROWS.min(self.count() - first);
            let q = row_starts(&queries.q[first * width..], width, count);
            let d = row_starts(&queries.d[first * width..], width, count);
            let scores = &mut queries.weights[first * shape.scores..];
            let by_score = &mut queries.by_score[first * shape.scores..];
            assert!(scores.len() >= count * shape.scores && by_score.len() >= count * shape.scores);
            // SAFETY: rows of `width` numbers; panels of as many rows; a row of scores a query.
            unsafe {
                let right = Right::Panels { data: keys.keys, rows: width };
                Columns {
                    a: &q[..count],
                    inputs: width,
                    b: right,
                    width: padded,
                    c: scores,
                    c_stride: shape.scores,
                    start: Start::Add,
                }
                .multiply(s);
                let right = Right::Panels { data: keys.values, rows: width };
                Columns {
                    a: &d[..count],
                    inputs: width,
                    b: right,
                    width: padded,
                    c: by_score,
                    c_stride: shape.scores,
                    start: Start::Zero,
                }
                .multiply(s);
            }
        }
        for i in 0..self.count() {
            let scores = &mut queries.weights[i * shape.scores..][..padded];
            let by_score = &mut queries.by_score[i * shape.scores..][..padded];
            let rel = [&*queries.rel[0], &*queries.rel[1]].map(|r| &r[shape.lanes + i * shape.rel..][..window.side]);
            let (q, d) = (&queries.q[i * width..][..head.head_dim], &queries.d[i * width..][..head.head_dim]);
            let mut pad = Padding::new(s, window, rel, dot(s, q, head.bias(1)), padding);
            let mut most = s.splat(pad.largest());
            for part in scores.chunks_exact(S::LANES) {
                most = s.max(most, s.read(part));
            }
            let most = s.largest(most);
            let (mut sum, mut along) = (s.splat(0.0), s.splat(0.0));
            for (part, by) in scores.chunks_exact_mut(S::LANES).zip(by_score.chunks_exact(S::LANES)) {
                let x = exp(s, s.sub(s.read(part), s.splat(most)));
                s.write(&mut *part, x);
                sum = s.add(sum, x);
                along = s.fma(x, s.read(by), along);
            }
            let by_value = if window.is_padded() { dot(s, d, head.bias(2)) } else { 0.0 };
            let padded_sum = pad.total(most);
            let total = s.sum(sum) + padded_sum;
            let mean = (s.sum(along) + padded_sum * by_value) / total;
            let (factor, centre) = (s.splat(1.0 / total), s.splat(mean));
            for (part, by) in scores.chunks_exact_mut(S::LANES).zip(by_score.chunks_exact_mut(S::LANES)) {
                let weight = s.mul(s.read(part), factor);
                s.write(part, weight);
                s.write(by, s.mul(weight, s.sub(s.read(by), centre)));
            }
            let [rows, columns] = &mut queries.by_rel;
            let range = i * shape.rel..(i + 1) * shape.rel;
            let (rows, columns) = (&mut rows[range.clone()], &mut columns[range]);
            rows.fill(0.0);
            columns.fill(0.0);
            for (row, by) in rows.iter_mut().zip(by_score[..tokens].chunks_exact(window.width)) {
                let mut sum = 0.0;
                for (&by, column) in by.iter().zip(&mut *columns) {
                    sum += by;
                    *column += by;
                }
                *row = sum;
            }
            let dq = &mut queries.dq[i * width..][..width];
            dq.fill(0.0);
            if window.is_padded() {
                let factor = (by_value - mean) / total;
                pad.add(window, factor, rows, columns);
                dq.iter_mut().zip(head.bias(1)).for_each(|(dq, k)| *dq = factor * padded_sum * k);
            }
        }
    }

    /// What the queries gain through keys and through both tables.
    #[inline(always)]
    fn by_queries<S: Simd>(&self, s: S, keys: &Keys<'_>, queries: &mut Queries<'_>) {
        let (shape, window) = (self.sizes.shape, &self.window);
        let (tokens, width, scale) = (window.tokens(), shape.head_dim, self.scale());
        assert!(keys.key_rows.len() >= shape.keys * width && shape.keys >= tokens);
        for first in (0..self.count()).step_by(S::ROWS) {
            let count = S::ROWS.min(self.count() - first);
            let by = row_starts(&queries.by_score[first * shape.scores..], shape.scores, count);
            let dq = &mut queries.dq[first * width..];
            assert!(dq.len() >= count * width);
            // SAFETY: `tokens` numbers of each row, as many rows in a panel, a row of `dq` each.
            unsafe {
                let right = Right::Panels { data: keys.key_rows, rows: shape.keys };
                Columns { a: &by[..count], inputs: tokens, b: right, width, c: dq, c_stride: width, start: Start::Add }
                    .multiply(s);
            }
        }
        queries.dq[..self.count() * width].iter_mut().for_each(|dq| *dq *= scale);
        for (axis, places) in keys.places.iter().enumerate() {
            // Queries in the same place of the axis meet the same rows of the table.
            let rows = self.bottom - self.top;
            let (groups, members, apart) = [(rows, window.width, 1), (window.width, rows, window.width)][axis];
            for group in 0..groups {
                let place = if axis == 0 { self.top + group } else { group };
                let start = if axis == 0 { group * window.width } else { group };
                let right = &places[(window.side - 1 - place) * width..];
                for member in (0..members).step_by(S::ROWS) {
                    let count = S::ROWS.min(members - member);
                    let first = start + member * apart;
                    let by = row_starts(&queries.by_rel[axis][first * shape.rel..], apart * shape.rel, count);
                    let dq = &mut queries.dq[first * width..];
                    assert!(dq.len() >= ((count - 1) * apart + 1) * width && right.len() >= window.side * width);
                    // SAFETY: `side` sums of each query, as many rows of the table, a row of `dq` each.
                    unsafe {
                        let right = Right::Whole { data: right, stride: width };
                        Columns {
                            a: &by[..count],
                            inputs: window.side,
                            b: right,
                            width,
                            c: dq,
                            c_stride: apart * width,
                            start: Start::Add,
                        }
                        .multiply(s);
                    }
                }
            }
        }
    }

    /// What keys and values gain by these queries.
    #[inline(always)]
    fn by_keys<S: Simd>(&self, s: S, queries: &mut Queries<'_>, dk: &mut [f32], dv: &mut [f32]) {
        let (shape, room) = (self.sizes.shape, self.sizes.queries);
        let (tokens, width, count) = (self.window.tokens(), shape.head_dim, self.count());
        let Queries { q, d, weights, by_score, turned, .. } = queries;
        for (from, right, to) in [(&*weights, &*d, dv), (&*by_score, &*q, dk)] {
            turn(s, &from[..count * shape.scores], count, turned, room);
            assert!(right.len() >= count * width && to.len() >= tokens * width && count <= room);
            for key in (0..tokens).step_by(S::ROWS) {
                let keys = S::ROWS.min(tokens - key);
                let left = row_starts(&turned[key * room..], room, keys);
                // SAFETY: `count` numbers of each key, as many rows of `right`, a row of `to` each.
                unsafe {
                    let right = Right::Whole { data: right, stride: width };
                    Columns {
                        a: &left[..keys],
                        inputs: count,
                        b: right,
                        width,
                        c: &mut to[key * width..],
                        c_stride: width,
                        start: Start::Add,
                    }
                    .multiply(s);
                }
            }
        }
    }
}

/// Of two heads.
#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for (a, b) in a.chunks(S::LANES).zip(b.chunks(S::LANES)) {
        sum = s.fma(s.read_any(a), s.read_any(b), sum);
    }
    s.sum(sum)
}

const _: () = assert!(MAX_ROWS <= QUERIES);
