//! Matrix products: weights packed once into panels, and the register tile that every product here runs on.
//!
//! A panel is `inputs x width` numbers, `width = VECTORS * LANES` columns of the result. A tile is `ROWS x VECTORS`
//! accumulators: one broadcast number of the left side times one row of the panel, step by step over the inputs. Each
//! element of a result is the sum of its blocks in order, whatever the tile that computes it, so that neither batch nor
//! threads change a bit.
#![allow(unsafe_code)]

use super::Level;
use super::memory::{Buffer, Pool};
use super::simd::{Kernel, Simd};
use crate::backend::Numbers;
use crate::error::Result;

/// Inputs summed in registers before the sum goes to memory: a panel's block stays in the second-level cache, and
/// short sums lose fewer bits.
pub(super) const BLOCK: usize = 256;

/// Most rows of a tile at any level.
pub(super) const MAX_ROWS: usize = 6;

/// What a tile does with one number of the left side and the numbers of the panel.
pub(super) trait Multiply {
    fn add<S: Simd>(s: S, x: S::V, b: S::V, sum: S::V) -> S::V;
}

/// f32.
pub(super) struct Single;

/// Two bf16 in the room of a f32: two inputs at once.
pub(super) struct Pairs;

impl Multiply for Single {
    #[inline(always)]
    fn add<S: Simd>(s: S, x: S::V, b: S::V, sum: S::V) -> S::V {
        s.fma(x, b, sum)
    }
}

impl Multiply for Pairs {
    #[inline(always)]
    fn add<S: Simd>(s: S, x: S::V, b: S::V, sum: S::V) -> S::V {
        s.dot_pairs(sum, x, b)
    }
}

/// A matrix `[outputs, inputs]` in panels, padded with zero columns.
pub(super) struct Packed {
    data: Buffer,
    /// Columns of the left side; of bf16, pairs of columns.
    pub inputs: usize,
    /// Columns of the result.
    pub outputs: usize,
    /// Columns of a panel.
    pub width: usize,
}

impl Packed {
    /// Packs a row-major `[outputs, inputs]` for the tiles of `level`, the rows of one panel at a time.
    pub fn new(level: Level, pool: &Pool, [outputs, inputs]: [usize; 2], numbers: &mut dyn Numbers) -> Result<Packed> {
        let width = level.panel();
        let mut data = pool.buffer("packed weights", outputs.div_ceil(width) * width * inputs)?;
        let mut rows = Buffer::new("rows of a panel", outputs.min(width) * inputs)?;
        for (index, panel) in data.as_mut_slice().chunks_exact_mut((width * inputs).max(1)).enumerate() {
            let rows = &mut rows.as_mut_slice()[..width.min(outputs - index * width) * inputs];
            numbers.part(index * width * inputs, rows)?;
            level.run(Columns { rows, inputs, panel, width });
        }
        Ok(Packed { data, inputs, outputs, width })
    }

    /// As [`Packed::new`] in bf16, neighbouring inputs as the two halves of 32 bits; `inputs` is even.
    pub fn pairs(
        level: Level,
        pool: &Pool,
        [outputs, inputs]: [usize; 2],
        numbers: &mut dyn Numbers,
    ) -> Result<Packed> {
        let singles = Buffer::new("rows of a panel", outputs.min(level.panel()) * inputs)?;
        Packed::new(level, pool, [outputs, inputs / 2], &mut Halved { numbers, singles, level })
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// One panel, `[inputs, width]`.
    pub fn panel(&self, index: usize) -> &[f32] {
        &self.data.as_slice()[index * self.width * self.inputs..][..self.width * self.inputs]
    }
}

/// Rows of a matrix as the columns of a panel.
struct Columns<'a> {
    /// At most `width`, each `inputs` long.
    rows: &'a [f32],
    inputs: usize,
    /// `[inputs, width]`, zero.
    panel: &'a mut [f32],
    width: usize,
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Columns { rows, inputs, panel, width } = self;
        let columns = rows.len() / inputs.max(1);
        assert!(columns <= width && panel.len() >= inputs * width);
        let whole = [inputs, columns].map(|count| count / S::LANES * S::LANES);
        // A few numbers of each row at a time: what they become, a few rows of the panel, stays in the nearest cache.
        for first in (0..whole[0]).step_by(S::LANES) {
            for column in (0..whole[1]).step_by(S::LANES) {
                let (from, to) = (&rows[column * inputs + first..], &mut panel[first * width + column..]);
                // SAFETY: `LANES` rows of `LANES` numbers lie within `rows`, as many within the panel.
                unsafe { s.transpose(from.as_ptr(), inputs, to.as_mut_ptr(), width) };
            }
        }
        for (column, row) in rows.chunks_exact(inputs).enumerate() {
            let first = if column < whole[1] { whole[0] } else { 0 };
            let lines = panel[first * width..].chunks_exact_mut(width);
            row[first..].iter().zip(lines).for_each(|(&x, line)| line[column] = x);
        }
    }
}

/// Numbers as bf16, two in the room of one.
struct Halved<'a> {
    numbers: &'a mut dyn Numbers,
    /// Room for the rows of a panel.
    singles: Buffer,
    level: Level,
}

impl Numbers for Halved<'_> {
    fn all(&mut self) -> Result<Vec<f32>> {
        let mut all = self.numbers.all()?;
        let half = all.len() / 2;
        (0..half).for_each(|i| all[i] = pair(all[2 * i], all[2 * i + 1]));
        all.truncate(half);
        Ok(all)
    }

    fn part(&mut self, first: usize, out: &mut [f32]) -> Result<()> {
        let singles = &mut self.singles.as_mut_slice()[..2 * out.len()];
        self.numbers.part(2 * first, singles)?;
        self.level.run(ToPairs { singles, out });
        Ok(())
    }
}

struct ToPairs<'a> {
    singles: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for ToPairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.out.iter_mut().zip(self.singles.as_chunks::<2>().0).for_each(|(to, &[a, b])| *to = pair(a, b));
    }
}

/// Two numbers as bf16, the first in the lower half.
#[inline(always)]
fn pair(a: f32, b: f32) -> f32 {
    f32::from_bits(u32::from(bf16(a)) | u32::from(bf16(b)) << 16)
}

/// To the nearest bf16, ties to even.
#[inline(always)]
pub(super) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16) as u16
}

/// What a tile does with the sums that are in memory already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: it overwrites them.
    Zero,
    /// It adds its own sum to them.
    Add,
}

/// Right side and result of a tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// `[inputs, *]`, row stride `b_stride`.
    pub b: *const f32,
    pub b_stride: usize,
    /// Inputs summed by this call.
    pub inputs: usize,
    /// `[rows, *]`, row stride `c_stride`.
    pub c: *mut f32,
    pub c_stride: usize,
    pub start: Start,
}

/// One register tile.
///
/// # Safety
/// `inputs` numbers are readable behind each pointer of `a`; `VECTORS * LANES` numbers in each of `inputs` rows of
/// `b`; as many are writable in each of `ROWS` rows of `c`.
#[inline(always)]
unsafe fn tile<S: Simd, M: Multiply, const ROWS: usize, const VECTORS: usize>(s: S, a: &[*const f32], t: Tile) {
    let a: [*const f32; ROWS] = std::array::from_fn(|row| a[row]);
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    // SAFETY: the caller's promise covers every address below.
    unsafe {
        for p in 0..t.inputs {
            let from = t.b.add(p * t.b_stride);
            let b: [S::V; VECTORS] = std::array::from_fn(|v| s.load(from.add(v * S::LANES)));
            for row in 0..ROWS {
                let x = s.splat(*a[row].add(p));
                for v in 0..VECTORS {
                    sums[row][v] = M::add(s, x, b[v], sums[row][v]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let to = t.c.add(row * t.c_stride + v * S::LANES);
                let sum = match t.start {
                    Start::Zero => sum,
                    Start::Add => s.add(s.load(to), sum),
                };
                s.store(to, sum);
            }
        }
    }
}

/// A tile of `a.len()` rows and `vectors` registers.
///
/// # Safety
/// As for the tile: `inputs` numbers behind each pointer of `a`, `vectors * LANES` in each row of `b` and of `c`.
#[inline(always)]
pub(super) unsafe fn any_tile<S: Simd, M: Multiply>(s: S, a: &[*const f32], vectors: usize, t: Tile) {
    macro_rules! choose {
        ($($rows:literal)*) => {
            // SAFETY: the caller's promise.
            unsafe {
                match (a.len(), vectors) {
                    $(
                        ($rows, 1) => tile::<S, M, $rows, 1>(s, a, t),
                        ($rows, 2) => tile::<S, M, $rows, 2>(s, a, t),
                        ($rows, 3) if S::VECTORS > 2 => tile::<S, M, $rows, 3>(s, a, t),
                        ($rows, 4) if S::VECTORS > 2 => tile::<S, M, $rows, 4>(s, a, t),
                    )*
                    _ => unreachable!("no such tile"),
                }
            }
        };
    }
    choose!(1 2 3 4 5 6)
}

/// The left side of a product: rows of numbers.
pub(super) trait Rows {
    /// Inputs `block_start..` of `row`, at least as many as the block is long.
    fn at(&self, row: usize, block_start: usize) -> &[f32];
    /// Length of a block.
    fn block(&self) -> usize;
}

/// Rows of a row-major matrix; of bf16, two numbers count as one.
#[derive(Clone, Copy)]
pub(super) struct Dense<'a> {
    pub data: &'a [f32],
    /// Distance of two rows.
    pub stride: usize,
}

impl Rows for Dense<'_> {
    #[inline(always)]
    fn at(&self, row: usize, block_start: usize) -> &[f32] {
        &self.data[row * self.stride + block_start..]
    }
    #[inline(always)]
    fn block(&self) -> usize {
        BLOCK
    }
}

/// `sums[row - rows.start] = left[row] . panel`, `[rows, width]`, for the rows of `rows`.
#[inline(always)]
pub(super) fn panel_product<S: Simd, M: Multiply>(
    s: S,
    left: &impl Rows,
    rows: std::ops::Range<usize>,
    panel: &[f32],
    sums: &mut [f32],
) {
    let width = S::VECTORS * S::LANES;
    let inputs = panel.len() / width;
    assert!(sums.len() >= rows.len() * width);
    let mut start = 0;
    while start < inputs {
        let block = left.block().min(inputs - start);
        let mut first = rows.start;
        while first < rows.end {
            let count = S::ROWS.min(rows.end - first);
            let mut a = [std::ptr::null(); MAX_ROWS];
            for (i, a) in a[..count].iter_mut().enumerate() {
                let row = left.at(first + i, start);
                assert!(row.len() >= block);
                *a = row.as_ptr();
            }
            let c = sums[(first - rows.start) * width..].as_mut_ptr();
            let start_from = if start == 0 { Start::Zero } else { Start::Add };
            let b = panel[start * width..].as_ptr();
            let t = Tile { b, b_stride: width, inputs: block, c, c_stride: width, start: start_from };
            // SAFETY: `block` numbers of each row and of the panel were checked; `sums` holds all rows.
            unsafe { any_tile::<S, M>(s, &a[..count], S::VECTORS, t) };
            first += count;
        }
        start += block;
    }
}
