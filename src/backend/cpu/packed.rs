//! Weights in panels: made once while loading, in one pass over rows that are still in a cache. The pass looks for NaN
//! and infinity, converts and transposes.
#![allow(unsafe_code)]

use super::Level;
use super::memory::{Buffer, Pool};
use super::product::Panel;
use super::simd::{Kernel, MAX_LANES, Simd, bf16, run_pairs};
use crate::error::Result;
use crate::params::{Half, Numbers};

/// A matrix `[outputs, inputs]` in panels, padded with zero columns.
pub(super) struct Packed {
    data: Buffer,
    /// What the numbers are, where they are stored in 16 bits one by one.
    half: Option<Half>,
    /// Columns of the left side; of bf16, pairs of columns.
    pub inputs: usize,
    /// Columns of the result.
    pub outputs: usize,
    /// Columns of a panel.
    pub width: usize,
}

/// f32 of the rows that are read at once, so that they stay in the second-level cache until they are packed.
const AT_ONCE: usize = 1 << 16;

/// Rows of `inputs` that are read at once: whole panels or a whole part of one, but never less than fill a register.
fn rows_at_once(level: Level, inputs: usize) -> usize {
    let most = (AT_ONCE / inputs.max(1)).max(level.lanes());
    1 << most.ilog2()
}

/// Most f32 of the rows that are read at once.
pub(super) fn loading(level: Level, [outputs, inputs]: [usize; 2]) -> usize {
    (outputs * inputs).min(AT_ONCE.max(level.lanes() * inputs))
}

impl Packed {
    /// Packs a row-major `[outputs, inputs]` for the tiles of `level`.
    pub fn new(level: Level, pool: &Pool, shape: [usize; 2], numbers: &mut dyn Numbers) -> Result<Packed> {
        Packed::pack(level, pool, shape, 1, None, numbers, |columns: Columns<'_>| level.run(columns))
    }

    /// As [`Packed::new`], in as many bits as the numbers are stored in.
    pub fn stored(level: Level, pool: &Pool, shape: [usize; 2], numbers: &mut dyn Numbers) -> Result<Packed> {
        let Some(half) = numbers.half() else { return Packed::new(level, pool, shape, numbers) };
        let columns = |columns: Columns<'_, u16>| level.run(Halves { columns, half });
        Packed::pack(level, pool, shape, 1, Some(half), numbers, columns)
    }

    /// As [`Packed::new`] in bf16, neighbouring inputs as the two halves of 32 bits; `inputs` is even. Only for a
    /// backend that multiplies bf16.
    pub fn pairs(level: Level, pool: &Pool, shape: [usize; 2], numbers: &mut dyn Numbers) -> Result<Packed> {
        Packed::pack(level, pool, shape, 2, None, numbers, |columns| run_pairs(Pairs(columns)))
    }

    /// `in_one` inputs become one number of the panel by `columns`, which returns whether all were finite.
    fn pack<T: bytemuck::Pod>(
        level: Level,
        pool: &Pool,
        [outputs, inputs]: [usize; 2],
        in_one: usize,
        half: Option<Half>,
        numbers: &mut dyn Numbers,
        columns: impl Fn(Columns<'_, T>) -> bool,
    ) -> Result<Packed> {
        let (width, inputs_packed) = (level.panel(), inputs / in_one);
        let bytes = outputs.div_ceil(width) * width * inputs_packed * size_of::<T>();
        let mut data = pool.buffer("packed weights", bytes.div_ceil(size_of::<f32>()))?;
        let mut finite = true;
        for (index, band) in numbers.bands(inputs)?.into_iter().enumerate() {
            let at_once = rows_at_once(level, band.len());
            for first in (0..outputs).step_by(at_once) {
                let rows = numbers.part(index, first * band.len(), at_once.min(outputs - first) * band.len())?;
                let data: &mut [T] = bytemuck::cast_slice_mut(data.as_mut_slice());
                let panels = data.chunks_exact_mut((width * inputs_packed).max(1)).skip(first / width);
                for (rows, panel) in rows.chunks((width * band.len()).max(1)).zip(panels) {
                    let (first_input, column) = (band.start, first % width);
                    finite &= columns(Columns { rows, inputs: band.len(), panel, width, first_input, column });
                }
            }
        }
        if !finite {
            numbers.check()?;
        }
        Ok(Packed { data, half, inputs: inputs_packed, outputs, width })
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// One panel, `[inputs, width]`.
    pub fn panel(&self, index: usize) -> Panel<'_> {
        let numbers = index * self.width * self.inputs..(index + 1) * self.width * self.inputs;
        match self.half {
            None => Panel::Single(&self.data.as_slice()[numbers]),
            Some(half) => Panel::Half(half, &bytemuck::cast_slice(self.data.as_slice())[numbers]),
        }
    }
}

/// Rows of a band as columns of a panel; true where all numbers are finite.
struct Columns<'a, T = f32> {
    /// Each `inputs` long.
    rows: &'a [f32],
    inputs: usize,
    /// `[*, width]`, zero where nothing was packed yet.
    panel: &'a mut [T],
    width: usize,
    /// Where the first number of the first row goes.
    first_input: usize,
    column: usize,
}

impl Kernel for Columns<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let Columns { rows, inputs, panel, width, first_input, column } = self;
        let columns = rows.len() / inputs.max(1);
        assert!(column + columns <= width && panel.len() >= (first_input + inputs) * width);
        let panel = &mut panel[first_input * width..];
        let whole = [inputs, columns].map(|count| count / S::LANES * S::LANES);
        let mut seen = Seen::new(s);
        // A few numbers of each row at a time: what they become, a few rows of the panel, stays in the nearest cache.
        for first in (0..whole[0]).step_by(S::LANES) {
            for row in (0..whole[1]).step_by(S::LANES) {
                let from = &rows[row * inputs + first..];
                for row in 0..S::LANES {
                    seen.add(s, row, s.read(&from[row * inputs..]));
                }
                let to = &mut panel[first * width + column + row..];
                // SAFETY: `LANES` rows of `LANES` numbers lie within `rows`, as many within the panel.
                unsafe { s.transpose(from.as_ptr(), inputs, to.as_mut_ptr(), width) };
            }
        }
        let mut finite = seen.all_finite(s);
        for (row, numbers) in rows.chunks_exact(inputs.max(1)).enumerate() {
            let first = if row < whole[1] { whole[0] } else { 0 };
            let lines = panel[first * width..].chunks_exact_mut(width);
            for (&x, line) in numbers[first..].iter().zip(lines) {
                finite &= x.is_finite();
                line[column + row] = x;
            }
        }
        finite
    }
}

/// As [`Columns`], of numbers that 16 bits hold, to these.
struct Halves<'a> {
    columns: Columns<'a, u16>,
    half: Half,
}

/// The bits of a number that `half` holds.
#[inline(always)]
fn narrow(half: Half, x: f32) -> u16 {
    match half {
        Half::Bf16 => (x.to_bits() >> 16) as u16,
        Half::F16 => half::f16::from_f32(x).to_bits(),
    }
}

impl Kernel for Halves<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let Halves { columns: Columns { rows, inputs, panel, width, first_input, column }, half } = self;
        let columns = rows.len() / inputs.max(1);
        assert!(column + columns <= width && panel.len() >= (first_input + inputs) * width);
        let panel = &mut panel[first_input * width..];
        let whole = [inputs, columns].map(|count| count / S::LANES * S::LANES);
        let mut seen = Seen::new(s);
        let mut square = [[0.0; MAX_LANES]; MAX_LANES];
        for first in (0..whole[0]).step_by(S::LANES) {
            for row in (0..whole[1]).step_by(S::LANES) {
                let from = &rows[row * inputs + first..];
                for row in 0..S::LANES {
                    seen.add(s, row, s.read(&from[row * inputs..]));
                }
                // SAFETY: `LANES` rows of `LANES` numbers lie within `rows`, as many within the square.
                unsafe { s.transpose(from.as_ptr(), inputs, square.as_mut_ptr().cast(), MAX_LANES) };
                for (i, numbers) in square[..S::LANES].iter().enumerate() {
                    let to = &mut panel[(first + i) * width + column + row..][..S::LANES];
                    for (to, &x) in to.iter_mut().zip(numbers) {
                        *to = narrow(half, x);
                    }
                }
            }
        }
        let mut finite = seen.all_finite(s);
        for (row, numbers) in rows.chunks_exact(inputs.max(1)).enumerate() {
            let first = if row < whole[1] { whole[0] } else { 0 };
            let lines = panel[first * width..].chunks_exact_mut(width);
            for (&x, line) in numbers[first..].iter().zip(lines) {
                finite &= x.is_finite();
                line[column + row] = narrow(half, x);
            }
        }
        finite
    }
}

/// As [`Columns`], to bf16: inputs 2 i and 2 i + 1 of a column are the lower and the upper half of number i.
struct Pairs<'a>(Columns<'a>);

impl Kernel for Pairs<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let Columns { rows, inputs, panel, width, first_input, column } = self.0;
        let columns = rows.len() / inputs.max(1);
        assert!(column + columns <= width && panel.len() * 2 >= (first_input + inputs) * width);
        let whole = if first_input.is_multiple_of(2) {
            [inputs / (2 * S::LANES) * (2 * S::LANES), columns / S::LANES * S::LANES]
        } else {
            [0; 2]
        };
        let mut seen = Seen::new(s);
        let mut pairs = [[0.0; MAX_LANES]; MAX_LANES];
        for first in (0..whole[0]).step_by(2 * S::LANES) {
            for row in (0..whole[1]).step_by(S::LANES) {
                for (i, pairs) in pairs[..S::LANES].iter_mut().enumerate() {
                    let from = &rows[(row + i) * inputs + first..];
                    let (a, b) = (s.read(from), s.read(&from[S::LANES..]));
                    seen.add(s, 2 * i, a);
                    seen.add(s, 2 * i + 1, b);
                    s.write(pairs, s.pairs(a, b));
                }
                let to = &mut panel[(first_input + first) / 2 * width + column + row..];
                assert!(to.len() > (S::LANES - 1) * width + S::LANES - 1);
                // SAFETY: `LANES` rows of `LANES` numbers lie within `pairs`, as many within the panel.
                unsafe { s.transpose(pairs.as_ptr().cast(), MAX_LANES, to.as_mut_ptr(), width) };
            }
        }
        let mut finite = seen.all_finite(s);
        for (row, numbers) in rows.chunks_exact(inputs.max(1)).enumerate() {
            let first = if row < whole[1] { whole[0] } else { 0 };
            for (input, &x) in numbers.iter().enumerate().skip(first) {
                finite &= x.is_finite();
                let pair = &mut panel[(first_input + input) / 2 * width + column + row];
                let shift = (first_input + input) % 2 * 16;
                *pair = f32::from_bits(pair.to_bits() | u32::from(bf16(x)) << shift);
            }
        }
        finite
    }
}

/// Whether a NaN or an infinity came by: zero times either is NaN, which stays in a sum.
struct Seen<S: Simd>([S::V; 4]);

impl<S: Simd> Seen<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Seen([s.splat(0.0); 4])
    }

    /// Sums in turns, since one would make each addition wait for the one before.
    #[inline(always)]
    fn add(&mut self, s: S, turn: usize, v: S::V) {
        self.0[turn % 4] = s.fma(v, s.splat(0.0), self.0[turn % 4]);
    }

    #[inline(always)]
    fn all_finite(&self, s: S) -> bool {
        self.0.iter().all(|&sum| s.sum(sum) == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::has_bf16;
    use super::super::product::{Dense, Single, panel_product};
    use super::*;
    use crate::error::Error;

    /// Matrices side by side, in memory.
    struct Bands(Vec<(Range<usize>, Vec<f32>)>);

    /// The same, stored in 16 bits.
    struct Rounded(Bands, Half);

    impl Rounded {
        fn new(Bands(bands): Bands, half: Half) -> Rounded {
            let rounded = |x: f32| match half {
                Half::Bf16 => half::bf16::from_f32(x).to_f32(),
                // Of a size that f16 holds, subnormal ones among them.
                Half::F16 => half::f16::from_f32(x.signum() * x.abs().powf(0.3)).to_f32(),
            };
            let bands = bands.into_iter().map(|(band, numbers)| (band, numbers.into_iter().map(rounded).collect()));
            Rounded(Bands(bands.collect()), half)
        }
    }

    impl Numbers for Rounded {
        fn all(&mut self) -> Result<Vec<f32>> {
            self.0.all()
        }

        fn bands(&self, columns: usize) -> Result<Vec<Range<usize>>> {
            self.0.bands(columns)
        }

        fn half(&self) -> Option<Half> {
            Some(self.1)
        }

        fn part(&mut self, band: usize, first: usize, len: usize) -> Result<&[f32]> {
            self.0.part(band, first, len)
        }

        fn check(&mut self) -> Result<()> {
            self.0.check()
        }
    }

    /// Products of every row with every panel.
    struct Products<'a> {
        left: &'a [f32],
        packed: &'a Packed,
        sums: Vec<f32>,
    }

    impl Kernel for Products<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(mut self, s: S) -> Vec<f32> {
            let (inputs, width) = (self.packed.inputs, self.packed.width);
            let rows = self.left.len() / inputs;
            let left = Dense { data: self.left, stride: inputs };
            for (panel, sums) in self.sums.chunks_exact_mut(rows * width).enumerate() {
                panel_product::<S, Single>(s, &left, 0..rows, self.packed.panel(panel), sums);
            }
            self.sums
        }
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one band")]
    fn numbers_of_16_bits_stay_16_bits_and_change_no_bit_of_a_product() {
        let cases: [(usize, &[Range<usize>]); 4] =
            [(5, &[0..34]), (130, &[0..70]), (64, &[0..48, 64..80, 80..96]), (33, &[0..37, 40..45, 45..600])];
        for (outputs, ranges) in cases {
            let inputs = ranges.last().unwrap().end;
            for half in [Half::Bf16, Half::F16] {
                let mut numbers = Rounded::new(bands(outputs, ranges), half);
                for (level, rows) in
                    Level::available().into_iter().flat_map(|level| [1, 7, 50].map(|rows| (level, rows)))
                {
                    let pool = Pool::default();
                    let stored = Packed::stored(level, &pool, [outputs, inputs], &mut numbers).unwrap();
                    let single = Packed::new(level, &pool, [outputs, inputs], &mut numbers).unwrap();
                    assert!(matches!(stored.panel(0), Panel::Half(found, _) if found == half));
                    assert!(matches!(single.panel(0), Panel::Single(_)));
                    assert_eq!(2 * stored.data.as_slice().len(), single.data.as_slice().len());
                    let left: Vec<f32> = (0..rows * inputs).map(|i| (i % 37) as f32 - 17.5).collect();
                    let product = |packed: &Packed| {
                        let sums = vec![0.0; rows * packed.panels() * packed.width];
                        level.run(Products { left: &left, packed, sums })
                    };
                    let (found, expected) = (product(&stored), product(&single));
                    assert!(expected.iter().any(|&x| x != 0.0));
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert!(bits(&found) == bits(&expected), "{level} {half:?} {ranges:?}, {rows} rows");
                }
            }
        }
    }

    impl Numbers for Bands {
        fn all(&mut self) -> Result<Vec<f32>> {
            unreachable!("only parts are packed")
        }

        fn bands(&self, _columns: usize) -> Result<Vec<Range<usize>>> {
            Ok(self.0.iter().map(|(band, _)| band.clone()).collect())
        }

        fn part(&mut self, band: usize, first: usize, len: usize) -> Result<&[f32]> {
            Ok(&self.0[band].1[first..first + len])
        }

        fn check(&mut self) -> Result<()> {
            Err(Error::Cancelled)
        }
    }

    /// Numbers of every size and sign, halfway between two bf16 among them.
    fn number(index: usize) -> f32 {
        let bits = (index as u32).wrapping_mul(0x9e37_79b9);
        let bits = if index.is_multiple_of(3) { bits & 0xffff_0000 | 0x8000 } else { bits };
        f32::from_bits(bits & 0x8fff_ffff | 0x3000_0000)
    }

    fn bands(outputs: usize, ranges: &[Range<usize>]) -> Bands {
        let matrix = |start: usize, len: usize| (0..outputs * len).map(|i| number(1000 * start + i)).collect();
        Bands(ranges.iter().map(|range| (range.clone(), matrix(range.start, range.len()))).collect())
    }

    /// What the numbers become in f32, and in bf16 by the kernels of every level and of the backend.
    fn packed(shape: [usize; 2], bands: &mut Bands) -> Vec<(String, usize, Result<Packed>)> {
        let mut all = Vec::new();
        for level in Level::available() {
            let pool = Pool::default();
            all.push((level.to_string(), 1, Packed::new(level, &pool, shape, bands)));
            let pairs = Packed::pack(level, &pool, shape, 2, None, bands, |columns| level.run(Pairs(columns)));
            all.push((format!("{level} bf16"), 2, pairs));
        }
        if has_bf16() {
            all.push(("backend bf16".into(), 2, Packed::pairs(Level::Avx512, &Pool::default(), shape, bands)));
        }
        all
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one band")]
    fn every_number_is_in_its_place() {
        let cases: [(usize, &[Range<usize>]); 8] = [
            (1, &[0..2]),
            (5, &[0..34]),
            (70, &[0..96]),
            (130, &[0..70]),
            (64, &[0..48, 64..80, 80..96]),
            (33, &[0..37, 40..45, 45..50]),
            (65, &[0..1100, 1100..1132]),
            // A row that is longer than what is read at once.
            (17, &[0..AT_ONCE + 64]),
        ];
        for (outputs, ranges) in cases {
            let inputs = ranges.last().unwrap().end;
            let mut bands = bands(outputs, ranges);
            for (name, in_one, packed) in packed([outputs, inputs], &mut bands) {
                let packed = packed.unwrap();
                assert_eq!((packed.inputs, packed.outputs), (inputs / in_one, outputs), "{name}");
                let found = |output: usize, input: usize| {
                    let Panel::Single(panel) = packed.panel(output / packed.width) else { unreachable!("not stored") };
                    let bits = panel[input / in_one * packed.width + output % packed.width].to_bits();
                    if in_one == 1 { bits } else { bits >> (input % 2 * 16) << 16 }
                };
                let mut expected = vec![0; outputs.next_multiple_of(packed.width) * inputs];
                for (range, numbers) in &bands.0 {
                    for (index, &x) in numbers.iter().enumerate() {
                        let (output, input) = (index / range.len(), range.start + index % range.len());
                        let half = u32::from(half::bf16::from_f32(x).to_bits()) << 16;
                        expected[output * inputs + input] = if in_one == 1 { x.to_bits() } else { half };
                    }
                }
                for (index, &bits) in expected.iter().enumerate() {
                    let (output, input) = (index / inputs, index % inputs);
                    assert_eq!(found(output, input), bits, "{name} {ranges:?}: output {output}, input {input}");
                }
            }
        }
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one band")]
    fn no_endless_number_goes_unseen() {
        let shape = [35, 70];
        for index in 0..shape[0] * shape[1] {
            let mut bands = bands(shape[0], &[0..shape[1]]);
            bands.0[0].1[index] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN][index % 4];
            for (name, _, packed) in packed(shape, &mut bands) {
                assert!(matches!(packed, Err(Error::Cancelled)), "{name}: number {index}");
            }
        }
    }
}
