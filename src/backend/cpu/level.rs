//! Instruction sets.

use std::fmt;

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Whatever every processor of the target has.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Level {
    /// The widest of this processor.
    pub fn detect() -> Level {
        Level::available().into_iter().last().unwrap_or(Level::Portable)
    }

    /// Every level of this processor, the widest last.
    pub fn available() -> Vec<Level> {
        [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|level| level.is_available()).collect()
    }

    #[cfg(x86_levels)]
    pub(super) fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Level::Portable => true,
            Level::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Level::Avx512 => has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("fma"),
        }
    }

    #[cfg(not(x86_levels))]
    pub(super) fn is_available(self) -> bool {
        self == Level::Portable
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Portable => "portable",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512",
        })
    }
}

/// True where the processor multiplies bf16.
#[cfg(x86_levels)]
pub fn has_bf16() -> bool {
    Level::Avx512.is_available() && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// True where the processor multiplies bf16.
#[cfg(not(x86_levels))]
pub fn has_bf16() -> bool {
    false
}
