//! AVX2 with FMA, and AVX-512.

use std::arch::x86_64::*;

use super::{Kernel, Simd};
use crate::params::Half;

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
pub(in super::super) unsafe fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL, and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
pub(in super::super) unsafe fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<false>(()))
}

/// # Safety
/// As for `avx512`; the processor also has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
#[inline(never)]
pub(in super::super) unsafe fn avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<true>(()))
}

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(());

/// Proof of AVX-512, where `BF16` also of its bf16 instructions.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512<const BF16: bool>(());

/// The instructions of one set under the names of [`Simd`].
macro_rules! instructions {
    ($( fn $name:ident($($arg:ident),*) = $body:expr; )*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> Self::V {
            // SAFETY: `self` exists only where the processor has these instructions.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    // Where another thread shares the core, the loop's own instructions cost as much as multiply-adds.
    const UNROLLED: usize = 4;
    const SUMS: usize = 12;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves AVX2, FMA and F16C.
        unsafe { avx2(kernel) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: `self` proves AVX2; the caller promises the memory.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: `self` proves AVX2; the caller promises the memory.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    instructions! {
        fn add(a, b) = _mm256_add_ps(a, b);
        fn sub(a, b) = _mm256_sub_ps(a, b);
        fn mul(a, b) = _mm256_mul_ps(a, b);
        fn max(a, b) = _mm256_max_ps(a, b);
        fn min(a, b) = _mm256_min_ps(a, b);
        fn fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        fn round(v) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        fn power_of_two(n) = {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        fn abs(v) = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
        fn copysign(size, sign) = {
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, size), _mm256_and_ps(bit, sign))
        };
        fn select_gt(a, b, x, y) = _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
    }

    #[inline(always)]
    unsafe fn widen(self, half: Half, p: *const u16) -> __m256 {
        // SAFETY: `self` proves AVX2 and F16C; the caller promises the memory.
        unsafe {
            let bits = _mm_loadu_si128(p.cast());
            match half {
                Half::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))),
                Half::F16 => _mm256_cvtph_ps(bits),
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: `self` proves AVX2, and asking for an address never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: `self` proves AVX2; the caller promises the memory.
        unsafe {
            let [mut rows, mut twos, mut fours] = [[_mm256_setzero_ps(); 8]; 3];
            for (row, to) in rows.iter_mut().enumerate() {
                *to = _mm256_loadu_ps(from.add(row * from_stride));
            }
            // In each 128 bits: two rows, then four, of one column. Index 4 i + c: rows 4 i.., columns c and c + 4.
            for (i, to) in twos.iter_mut().enumerate() {
                let (a, b) = (rows[i / 4 * 4 + i % 2 * 2], rows[i / 4 * 4 + i % 2 * 2 + 1]);
                *to = if i % 4 < 2 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) };
            }
            for (i, to) in fours.iter_mut().enumerate() {
                let a = _mm256_castps_pd(twos[i / 4 * 4 + i % 4 / 2 * 2]);
                let b = _mm256_castps_pd(twos[i / 4 * 4 + i % 4 / 2 * 2 + 1]);
                *to = _mm256_castpd_ps(if i % 2 == 0 { _mm256_unpacklo_pd(a, b) } else { _mm256_unpackhi_pd(a, b) });
            }
            for c in 0..4 {
                let (a, b) = (fours[c], fours[4 + c]);
                _mm256_storeu_ps(to.add(c * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((c + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type V = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 6;
    const VECTORS: usize = 4;
    const UNROLLED: usize = 4;
    const SUMS: usize = 24;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves AVX-512, and with `BF16` its bf16 instructions.
        if BF16 { unsafe { avx512_bf16(kernel) } } else { unsafe { avx512(kernel) } }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512; the caller promises the memory.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: `self` proves AVX-512; the caller promises the memory.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    instructions! {
        fn add(a, b) = _mm512_add_ps(a, b);
        fn sub(a, b) = _mm512_sub_ps(a, b);
        fn mul(a, b) = _mm512_mul_ps(a, b);
        fn max(a, b) = _mm512_max_ps(a, b);
        fn min(a, b) = _mm512_min_ps(a, b);
        fn fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        fn round(v) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        fn power_of_two(n) = {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        };
        fn abs(v) = _mm512_abs_ps(v);
        fn copysign(size, sign) = {
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, size), _mm512_and_ps(bit, sign))
        };
        fn select_gt(a, b, x, y) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x);
    }

    #[inline(always)]
    unsafe fn widen(self, half: Half, p: *const u16) -> __m512 {
        // SAFETY: `self` proves AVX-512; the caller promises the memory.
        unsafe {
            let bits = _mm256_loadu_si256(p.cast());
            match half {
                Half::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))),
                Half::F16 => _mm512_cvtph_ps(bits),
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: `self` proves AVX-512; the caller promises the memory.
        unsafe {
            let [mut rows, mut twos, mut fours, mut eights] = [[_mm512_setzero_ps(); 16]; 4];
            for (row, to) in rows.iter_mut().enumerate() {
                *to = _mm512_loadu_ps(from.add(row * from_stride));
            }
            // In each 128 bits: two rows, then four, of one column. Index 4 i + c: rows 4 i.., columns c, c + 4, ..
            for (i, to) in twos.iter_mut().enumerate() {
                let (a, b) = (rows[i / 4 * 4 + i % 2 * 2], rows[i / 4 * 4 + i % 2 * 2 + 1]);
                *to = if i % 4 < 2 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) };
            }
            for (i, to) in fours.iter_mut().enumerate() {
                let a = _mm512_castps_pd(twos[i / 4 * 4 + i % 4 / 2 * 2]);
                let b = _mm512_castps_pd(twos[i / 4 * 4 + i % 4 / 2 * 2 + 1]);
                *to = _mm512_castpd_ps(if i % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) });
            }
            // The 128 bits of one column together: eight rows of columns c and c + 8, or c + 4 and c + 12; then all.
            for (i, to) in eights.iter_mut().enumerate() {
                let (a, b) = (fours[i / 8 * 8 + i % 4], fours[i / 8 * 8 + 4 + i % 4]);
                *to = if i % 8 < 4 { _mm512_shuffle_f32x4::<0x88>(a, b) } else { _mm512_shuffle_f32x4::<0xdd>(a, b) };
            }
            for i in 0..8 {
                let (a, b) = (eights[i], eights[8 + i]);
                _mm512_storeu_ps(to.add(i * to_stride), _mm512_shuffle_f32x4::<0x88>(a, b));
                _mm512_storeu_ps(to.add((i + 8) * to_stride), _mm512_shuffle_f32x4::<0xdd>(a, b));
            }
        }
    }

    #[inline(always)]
    fn pairs(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512, with `BF16` its conversion; the register is reinterpreted, all of 512 bits.
        unsafe {
            if BF16 {
                return std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(b, a));
            }
            // As `bf16` does it, then the upper halves side by side.
            let rounded = |x| {
                let bits = _mm512_castps_si512(x);
                let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), last))
            };
            let [a, b] = [rounded(a), rounded(b)].map(|x| _mm512_cvtepi32_epi16(x));
            _mm512_castsi512_ps(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b))
        }
    }

    #[inline(always)]
    fn dot_pairs(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        if BF16 {
            // SAFETY: `self` proves AVX512-BF16; the registers are reinterpreted, all of 512 bits.
            return unsafe {
                let pairs = |x| std::mem::transmute::<__m512, __m512bh>(x);
                _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
            };
        }
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let high = _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000_u32 as i32));
            let low = |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(x)));
            let sum = _mm512_fmadd_ps(low(a), low(b), sum);
            _mm512_fmadd_ps(_mm512_and_ps(a, high), _mm512_and_ps(b, high), sum)
        }
    }
}
