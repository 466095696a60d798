//! The numbers that a voxel can be.

use bytemuck::Pod;

/// The type in which a file stores a voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// Floating point, 32 bits.
    F32,
    /// Floating point, 64 bits.
    F64,
}

impl DataType {
    /// Bytes of one value.
    pub fn bytes(self) -> u64 {
        match self {
            DataType::U8 | DataType::I8 => 1,
            DataType::U16 | DataType::I16 => 2,
            DataType::U32 | DataType::I32 | DataType::F32 => 4,
            DataType::U64 | DataType::I64 | DataType::F64 => 8,
        }
    }

    /// Least and greatest value of an integer.
    pub(crate) fn range(self) -> Option<[f64; 2]> {
        let range = match self {
            DataType::U8 => [0.0, u8::MAX.into()],
            DataType::I8 => [i8::MIN.into(), i8::MAX.into()],
            DataType::U16 => [0.0, u16::MAX.into()],
            DataType::I16 => [i16::MIN.into(), i16::MAX.into()],
            DataType::U32 => [0.0, u32::MAX.into()],
            DataType::I32 => [i32::MIN.into(), i32::MAX.into()],
            DataType::U64 => [0.0, u64::MAX as f64],
            DataType::I64 => [i64::MIN as f64, i64::MAX as f64],
            DataType::F32 | DataType::F64 => return None,
        };
        Some(range)
    }
}

/// A number that a voxel can be.
pub trait Voxel: Pod + PartialOrd + Send + Sync {
    /// Whether every bit pattern is a finite number.
    const INTEGER: bool;
    /// The value; 64-bit integers beyond 2^53 are rounded.
    fn to_f64(self) -> f64;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The value with its bytes reversed.
    fn swapped(self) -> Self;
}

macro_rules! voxel {
    ($($integer:ty)*; $($float:ty)*) => {
        $(impl Voxel for $integer {
            const INTEGER: bool = true;
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(value: f64) -> Self { value.round() as $integer }
            fn swapped(self) -> Self { self.swap_bytes() }
        })*
        $(impl Voxel for $float {
            const INTEGER: bool = false;
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(value: f64) -> Self { value as $float }
            fn swapped(self) -> Self { Self::from_bits(self.to_bits().swap_bytes()) }
        })*
    };
}
voxel!(u8 i8 u16 i16 u32 i32 u64 i64; f32 f64);
