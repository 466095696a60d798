//! One vocabulary for every instruction set: kernels are written once, against [`Simd`], and compiled for each.
//!
//! A value of a type that implements [`Simd`] proves that the processor has the instructions. [`Level::run`] makes it,
//! inside a function compiled for that set, into which everything marked `inline(always)` is inlined. A closure handed
//! to an iterator or an array is not, and each instruction in it becomes a call with registers in memory: loops
//! instead. `tools/check_inlining.sh` finds such calls.
#![allow(unsafe_code)]

use super::Level;
use crate::params::Half;

/// To the nearest bf16, ties to even.
#[inline(always)]
pub(super) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16) as u16
}

/// A vector of f32 and what kernels do with it.
pub(super) trait Simd: Copy + Send + Sync + 'static {
    /// The register.
    type V: Copy;
    /// Numbers in a register.
    const LANES: usize;
    /// Rows of a product's register tile.
    const ROWS: usize;
    /// Registers side by side in a product's register tile.
    const VECTORS: usize;
    /// Inputs of a product's register tile between two jumps.
    const UNROLLED: usize;
    /// Independent sums of the loop that measures the multiply-add rate, 12 or 24: at least latency times issue width,
    /// and no more than stay in registers beside its two factors.
    const SUMS: usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `LANES` readable numbers at `p`.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` writable numbers at `p`.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest integer.
    fn round(self, v: Self::V) -> Self::V;
    /// `2^n` for integral n in -126..=127.
    fn power_of_two(self, n: Self::V) -> Self::V;
    fn abs(self, v: Self::V) -> Self::V;
    /// The size of `size` with the sign of `sign`.
    fn copysign(self, size: Self::V, sign: Self::V) -> Self::V;
    /// `a > b ? x : y`.
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;

    /// Runs `kernel` as a function of its own: code that stands in many places is compiled once for each set.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    /// Asks for the cache line of `p`, which need not be readable, in the second level.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// `LANES` rows of `LANES` numbers as columns.
    ///
    /// # Safety
    /// `LANES` readable numbers in each of `LANES` rows of `from`, as many writable in those of `to`, and no overlap.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *to.add(column * to_stride + row) = *from.add(row * from_stride + column) };
            }
        }
    }

    /// The numbers of `a`, then those of `b`, to the nearest bf16, ties to even: two in 32 bits, the first in the lower
    /// half. A processor with an instruction for it makes subnormal numbers zero, as its products do.
    #[inline(always)]
    fn pairs(self, a: Self::V, b: Self::V) -> Self::V {
        let (mut from, mut to) = ([0.0; 2 * MAX_LANES], [0.0; MAX_LANES]);
        self.write(&mut from, a);
        self.write(&mut from[Self::LANES..], b);
        let pair = |[a, b]: [f32; 2]| f32::from_bits(u32::from(bf16(a)) | u32::from(bf16(b)) << 16);
        to.iter_mut().zip(from.as_chunks().0).for_each(|(to, &numbers)| *to = pair(numbers));
        self.read(&to)
    }

    /// `sum + a0 b0 + a1 b1` in each lane, whose 32 bits of `a` and `b` are two bf16. Where the processor has no such
    /// instruction, multiply-adds of the halves.
    #[inline(always)]
    fn dot_pairs(self, sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
        let (mut x, mut y, mut to) = ([0.0; MAX_LANES], [0.0; MAX_LANES], [0.0; MAX_LANES]);
        self.write(&mut x, a);
        self.write(&mut y, b);
        self.write(&mut to, sum);
        for ((x, y), to) in x.iter().zip(y).zip(&mut to) {
            let halves = |x: f32| [x.to_bits() << 16, x.to_bits() & 0xffff_0000].map(f32::from_bits);
            let ([x0, x1], [y0, y1]) = (halves(*x), halves(y));
            *to += x0 * y0 + x1 * y1;
        }
        self.read(&to)
    }

    /// Numbers of 16 bits as f32, exactly.
    ///
    /// # Safety
    /// `LANES` readable numbers at `p`.
    #[inline(always)]
    unsafe fn widen(self, half: Half, p: *const u16) -> Self::V {
        let mut lanes = [0.0; MAX_LANES];
        for (i, lane) in lanes[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let bits = unsafe { *p.add(i) };
            *lane = match half {
                Half::Bf16 => f32::from_bits(u32::from(bits) << 16),
                Half::F16 => half::f16::from_bits(bits).to_f32_const(),
            };
        }
        self.read(&lanes)
    }

    /// The first `LANES` numbers of `from`.
    #[inline(always)]
    fn read(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.load(from.as_ptr()) }
    }

    /// Over the first `LANES` numbers of `to`.
    #[inline(always)]
    fn write(self, to: &mut [f32], v: Self::V) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.store(to.as_mut_ptr(), v) }
    }

    /// At most `LANES` numbers, zeros behind them.
    #[inline(always)]
    fn read_any(self, from: &[f32]) -> Self::V {
        self.read_filled(from, 0.0)
    }

    /// At most `LANES` numbers, `fill` behind them.
    #[inline(always)]
    fn read_filled(self, from: &[f32], fill: f32) -> Self::V {
        if from.len() == Self::LANES { self.read(from) } else { self.read_part(from, fill) }
    }

    /// As many numbers as `to` holds, at most `LANES`.
    #[inline(always)]
    fn write_any(self, to: &mut [f32], v: Self::V) {
        if to.len() == Self::LANES { self.write(to, v) } else { self.write_part(to, v) }
    }

    /// Fewer than `LANES` numbers, `fill` behind them.
    #[inline(always)]
    fn read_part(self, from: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.read(&lanes)
    }

    /// Only as many numbers as `to` holds, at most `LANES`.
    #[inline(always)]
    fn write_part(self, to: &mut [f32], v: Self::V) {
        let mut lanes = [0.0; MAX_LANES];
        self.write(&mut lanes, v);
        let n = to.len();
        to.copy_from_slice(&lanes[..n]);
    }

    /// `1 / x`, rounded as a division is.
    #[inline(always)]
    fn reciprocal(self, v: Self::V) -> Self::V {
        let mut lanes = [1.0; MAX_LANES];
        self.write(&mut lanes, v);
        for x in &mut lanes[..Self::LANES] {
            *x = 1.0 / *x;
        }
        self.read(&lanes)
    }

    /// `1 / sqrt(x)`, rounded as these two are.
    #[inline(always)]
    fn reciprocal_root(self, v: Self::V) -> Self::V {
        let mut lanes = [1.0; MAX_LANES];
        self.write(&mut lanes, v);
        for x in &mut lanes[..Self::LANES] {
            *x = 1.0 / x.sqrt();
        }
        self.read(&lanes)
    }

    /// Sum of the lanes, pairwise.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        self.fold(v, |a, b| a + b)
    }

    /// Largest lane.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        self.fold(v, f32::max)
    }

    #[inline(always)]
    fn fold(self, v: Self::V, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.write(&mut lanes, v);
        let mut n = Self::LANES;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                lanes[i] = f(lanes[i], lanes[i + n]);
            }
        }
        lanes[0]
    }
}

/// No register holds more f32.
pub(super) const MAX_LANES: usize = 16;

/// Work that is compiled for every instruction set. `run` must be `inline(always)`.
pub(super) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Level {
    /// Numbers in a register.
    pub(super) fn lanes(self) -> usize {
        self.run(Lanes)
    }

    /// Columns of a panel of packed weights.
    pub(super) fn panel(self) -> usize {
        self.run(Panel)
    }

    /// Runs `kernel` with this level's instructions.
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: `Level::detect` and `Level::check` let no level through that the processor lacks.
            #[cfg(x86_levels)]
            Level::Avx512 => unsafe { x86::avx512(kernel) },
            // SAFETY: as above.
            #[cfg(x86_levels)]
            Level::Avx2 => unsafe { x86::avx2(kernel) },
            _ => portable(kernel),
        }
    }
}

struct Lanes;

impl Kernel for Lanes {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

struct Panel;

impl Kernel for Panel {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES * S::VECTORS
    }
}

/// A function of its own, as the other levels have one, so that `tools/check_ceiling.sh` finds the loop in it.
#[inline(never)]
fn portable<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Portable)
}

/// Runs `kernel` with AVX-512 and its bf16 instructions, as `Cpu::new` has checked.
pub(super) fn run_pairs<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: only a backend of `Precision::Bf16` calls this, which `Cpu::new` refuses without AVX512-BF16.
    #[cfg(x86_levels)]
    unsafe {
        x86::avx512_bf16(kernel)
    }
    #[cfg(not(x86_levels))]
    kernel.run(Portable)
}

/// Plain arrays, which every compiler turns into the vectors of its target's baseline.
#[derive(Clone, Copy)]
pub(super) struct Portable;

const PORTABLE: usize = 4;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; PORTABLE] {
    [f(0), f(1), f(2), f(3)]
}

impl Simd for Portable {
    type V = [f32; PORTABLE];
    const LANES: usize = PORTABLE;
    // x86-64 has 16 registers, every other target of note 32. There a broadcast number costs a load and a shuffle: it
    // is used for four registers of the panel, and of one input at a time, since compilers would keep those of
    // several.
    const ROWS: usize = if cfg!(target_arch = "x86_64") { 2 } else { 4 };
    const VECTORS: usize = if cfg!(target_arch = "x86_64") { 4 } else { 2 };
    const UNROLLED: usize = if cfg!(target_arch = "x86_64") { 1 } else { 4 };
    const SUMS: usize = if cfg!(target_arch = "x86_64") { 12 } else { 24 };

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        portable(kernel)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; PORTABLE]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller's promise; an array of f32 may be read unaligned.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        // Adding and taking away 1.5 * 2^23 leaves no bit behind the point, for |v| < 2^22.
        const MAGIC: f32 = 12_582_912.0;
        each(|i| (v[i] + MAGIC) - MAGIC)
    }
    #[inline(always)]
    fn power_of_two(self, n: Self::V) -> Self::V {
        each(|i| f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        each(|i| v[i].abs())
    }
    #[inline(always)]
    fn copysign(self, size: Self::V, sign: Self::V) -> Self::V {
        each(|i| size[i].copysign(sign[i]))
    }
    #[inline(always)]
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
}

#[cfg(x86_levels)]
#[path = "x86.rs"]
pub(super) mod x86;
