//! Matrix products: the register tile that every product here runs on, over weights in panels (see `packed`).
//!
//! A panel is `inputs x width` numbers, `width = VECTORS * LANES` columns of the result. A tile is `ROWS x VECTORS`
//! accumulators: one broadcast number of the left side times one row of the panel, step by step over the inputs. Each
//! element of a result is the sum of its blocks in order, whatever the tile that computes it, so that neither batch nor
//! threads change a bit.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::simd::Simd;
use crate::params::Half;

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

/// What input `p` adds to the sums of a tile.
///
/// # Safety
/// As for the tile, of this one input.
#[inline(always)]
unsafe fn step<S: Simd, M: Multiply, const ROWS: usize, const VECTORS: usize>(
    s: S,
    a: &[*const f32; ROWS],
    t: &Tile,
    p: usize,
    sums: &mut [[S::V; VECTORS]; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let from = t.b.add(p * t.b_stride);
        let mut b = [s.splat(0.0); VECTORS];
        for (v, b) in b.iter_mut().enumerate() {
            *b = s.load(from.add(v * S::LANES));
        }
        for row in 0..ROWS {
            let x = s.splat(*a[row].add(p));
            for v in 0..VECTORS {
                sums[row][v] = M::add(s, x, b[v], sums[row][v]);
            }
        }
    }
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
        let mut p = 0;
        while p + S::UNROLLED <= t.inputs {
            for p in p..p + S::UNROLLED {
                step::<S, M, ROWS, VECTORS>(s, &a, &t, p, &mut sums);
            }
            p += S::UNROLLED;
        }
        while p < t.inputs {
            step::<S, M, ROWS, VECTORS>(s, &a, &t, p, &mut sums);
            p += 1;
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

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows from which on a block of a panel takes longer than the next one needs to arrive.
const MANY: usize = 32;

/// Rows of the next tile where `left` are left: the last two share what is no whole tile, since one row alone would
/// leave the multipliers waiting for its few sums.
#[inline(always)]
fn tile_rows<S: Simd>(left: usize) -> usize {
    if left > S::ROWS && left < 2 * S::ROWS { left.div_ceil(2) } else { left.min(S::ROWS) }
}

/// Weights of one panel, `[inputs, width]`.
#[derive(Clone, Copy)]
pub(super) enum Panel<'a> {
    /// f32; two bf16 in the room of one for a product of pairs.
    Single(&'a [f32]),
    /// 16 bits, widened a block at a time.
    Half(Half, &'a [u16]),
}

/// Most columns of a panel at any level.
pub(super) const MAX_PANEL: usize = 64;

/// A block of a panel as f32. Not initialised before it is widened, since it is on the stack of every product.
#[repr(align(64))]
struct Widened([MaybeUninit<f32>; BLOCK * MAX_PANEL]);

impl Widened {
    /// The same bits as those of a file whose numbers were widened while it was read.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S, half: Half, from: &[u16]) -> *const f32 {
        assert!(from.len() <= self.0.len() && from.len().is_multiple_of(S::LANES));
        let to = self.0.as_mut_ptr().cast::<f32>();
        for at in (0..from.len()).step_by(S::LANES) {
            // SAFETY: whole registers of `from`, and as many of the block, whose lengths were checked.
            unsafe { s.store(to.add(at), s.widen(half, from.as_ptr().add(at))) };
        }
        to
    }
}

/// `sums[row - rows.start] = left[row] . panel`, `[rows, width]`, for the rows of `rows`.
#[inline(always)]
pub(super) fn panel_product<S: Simd, M: Multiply>(
    s: S,
    left: &impl Rows,
    rows: Range<usize>,
    panel: Panel<'_>,
    sums: &mut [f32],
) {
    let width = S::VECTORS * S::LANES;
    let (len, bytes) = match panel {
        Panel::Single(data) => (data.len(), size_of::<f32>()),
        Panel::Half(_, data) => (data.len(), size_of::<u16>()),
    };
    let inputs = len / width;
    let mut widened = Widened([MaybeUninit::uninit(); BLOCK * MAX_PANEL]);
    assert!(sums.len() >= rows.len() * width);
    let mut start = 0;
    while start < inputs {
        let block = left.block().min(inputs - start);
        let numbers = start * width..(start + block) * width;
        let (b, stored) = match panel {
            Panel::Single(data) => (data[numbers].as_ptr(), data[start * width..].as_ptr().cast::<u8>()),
            Panel::Half(half, data) => {
                (widened.fill(s, half, &data[numbers]), data[start * width..].as_ptr().cast::<u8>())
            }
        };
        // A tile's share of the block behind this one, or of the next panel's first, which lies there as a rule.
        let mut ahead = stored.wrapping_add(block * width * bytes);
        let tiles = rows.len().div_ceil(S::ROWS).max(1);
        let share = (block * width * bytes).div_ceil(tiles).next_multiple_of(LINE);
        let mut first = rows.start;
        while first < rows.end {
            let count = tile_rows::<S>(rows.end - first);
            if rows.len() >= MANY {
                for line in (0..share).step_by(LINE) {
                    s.prefetch(ahead.wrapping_add(line).cast());
                }
                ahead = ahead.wrapping_add(share);
            }
            let mut a = [std::ptr::null(); MAX_ROWS];
            for (i, a) in a[..count].iter_mut().enumerate() {
                let row = left.at(first + i, start);
                assert!(row.len() >= block);
                *a = row.as_ptr();
            }
            let c = sums[(first - rows.start) * width..].as_mut_ptr();
            let start_from = if start == 0 { Start::Zero } else { Start::Add };
            let t = Tile { b, b_stride: width, inputs: block, c, c_stride: width, start: start_from };
            // SAFETY: `block` numbers of each row and of the panel were checked; `sums` holds all rows.
            unsafe { any_tile::<S, M>(s, &a[..count], S::VECTORS, t) };
            first += count;
        }
        start += block;
    }
}
