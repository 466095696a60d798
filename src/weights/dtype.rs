//! The number formats of weight files, little-endian.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary16; largest finite value 65504.
    F16,
    /// The upper half of binary32.
    BF16,
}

impl Dtype {
    /// The name in a safetensors header.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
        }
    }

    /// The format of that name in a safetensors header.
    pub fn parse(name: &str) -> Option<Self> {
        [Dtype::F32, Dtype::F16, Dtype::BF16].into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }

    /// True where a file's bytes are the f32 of this machine's memory.
    pub(super) fn is_memory_format(self) -> bool {
        self == Dtype::F32 && cfg!(target_endian = "little")
    }

    /// Values of `bytes`, which may start at any address. `bytes` holds `values.len()` values.
    pub(crate) fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Dtype::F32 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Dtype::BF16 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            Dtype::F16 => {
                // Through a small aligned buffer, because the processor converts slices many times faster.
                let mut buffer = [f16::ZERO; 1024];
                for (values, bytes) in values.chunks_mut(buffer.len()).zip(bytes.chunks(2 * buffer.len())) {
                    let buffer = &mut buffer[..values.len()];
                    for (half, bytes) in buffer.iter_mut().zip(bytes.as_chunks().0) {
                        *half = f16::from_le_bytes(*bytes);
                    }
                    buffer.convert_to_f32_slice(values);
                }
            }
        }
    }

    /// Appends `values` to `bytes`, rounded to nearest even.
    pub(crate) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Dtype::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Dtype::F16 => bytes.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes())),
            Dtype::BF16 => bytes.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes())),
        }
    }

    /// The largest finite value of the format.
    pub(crate) fn largest(self) -> f32 {
        match self {
            Dtype::F32 => f32::MAX,
            Dtype::F16 => f16::MAX.to_f32(),
            Dtype::BF16 => bf16::MAX.to_f32(),
        }
    }
}
