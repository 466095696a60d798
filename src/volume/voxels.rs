//! Voxels in the type in which the file stores them.

use bytemuck::Pod;

use super::source::Source;
use crate::Result;
use crate::memory::reserve;

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
    pub(super) fn range(self) -> Option<[f64; 2]> {
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
    /// The value with its bytes reversed.
    fn swapped(self) -> Self;
}

macro_rules! voxel {
    ($($integer:ty)*; $($float:ty)*) => {
        $(impl Voxel for $integer {
            const INTEGER: bool = true;
            fn to_f64(self) -> f64 { self as f64 }
            fn swapped(self) -> Self { self.swap_bytes() }
        })*
        $(impl Voxel for $float {
            const INTEGER: bool = false;
            fn to_f64(self) -> f64 { self as f64 }
            fn swapped(self) -> Self { Self::from_bits(self.to_bits().swap_bytes()) }
        })*
    };
}
voxel!(u8 i8 u16 i16 u32 i32 u64 i64; f32 f64);

/// Stored voxel values, x fastest, then y, then z; the channels of a voxel stand together.
#[derive(Clone, Debug, PartialEq)]
pub enum Voxels {
    /// [`DataType::U8`].
    U8(Vec<u8>),
    /// [`DataType::I8`].
    I8(Vec<i8>),
    /// [`DataType::U16`].
    U16(Vec<u16>),
    /// [`DataType::I16`].
    I16(Vec<i16>),
    /// [`DataType::U32`].
    U32(Vec<u32>),
    /// [`DataType::I32`].
    I32(Vec<i32>),
    /// [`DataType::U64`].
    U64(Vec<u64>),
    /// [`DataType::I64`].
    I64(Vec<i64>),
    /// [`DataType::F32`].
    F32(Vec<f32>),
    /// [`DataType::F64`].
    F64(Vec<f64>),
}

/// Evaluates `$body` with `$values` bound to the slice of whatever type `$voxels` holds.
macro_rules! with_voxels {
    ($voxels:expr, $values:ident => $body:expr) => {
        match $voxels {
            $crate::volume::Voxels::U8($values) => $body,
            $crate::volume::Voxels::I8($values) => $body,
            $crate::volume::Voxels::U16($values) => $body,
            $crate::volume::Voxels::I16($values) => $body,
            $crate::volume::Voxels::U32($values) => $body,
            $crate::volume::Voxels::I32($values) => $body,
            $crate::volume::Voxels::U64($values) => $body,
            $crate::volume::Voxels::I64($values) => $body,
            $crate::volume::Voxels::F32($values) => $body,
            $crate::volume::Voxels::F64($values) => $body,
        }
    };
}
pub(crate) use with_voxels;

impl Voxels {
    /// How many values there are, channels counted.
    pub fn len(&self) -> usize {
        with_voxels!(self, values => values.len())
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stored type.
    pub fn data_type(&self) -> DataType {
        match self {
            Voxels::U8(_) => DataType::U8,
            Voxels::I8(_) => DataType::I8,
            Voxels::U16(_) => DataType::U16,
            Voxels::I16(_) => DataType::I16,
            Voxels::U32(_) => DataType::U32,
            Voxels::I32(_) => DataType::I32,
            Voxels::U64(_) => DataType::U64,
            Voxels::I64(_) => DataType::I64,
            Voxels::F32(_) => DataType::F32,
            Voxels::F64(_) => DataType::F64,
        }
    }

    /// The stored value at `index`, before slope and intercept, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<f64> {
        with_voxels!(self, values => values.get(index).map(|v| v.to_f64()))
    }

    /// Reads `count` values of `data_type`.
    pub(super) fn read<R: std::io::BufRead>(
        source: &mut Source<R>,
        data_type: DataType,
        count: usize,
        big_endian: bool,
    ) -> Result<Self> {
        Ok(match data_type {
            DataType::U8 => Voxels::U8(read_values(source, count, big_endian)?),
            DataType::I8 => Voxels::I8(read_values(source, count, big_endian)?),
            DataType::U16 => Voxels::U16(read_values(source, count, big_endian)?),
            DataType::I16 => Voxels::I16(read_values(source, count, big_endian)?),
            DataType::U32 => Voxels::U32(read_values(source, count, big_endian)?),
            DataType::I32 => Voxels::I32(read_values(source, count, big_endian)?),
            DataType::U64 => Voxels::U64(read_values(source, count, big_endian)?),
            DataType::I64 => Voxels::I64(read_values(source, count, big_endian)?),
            DataType::F32 => Voxels::F32(read_values(source, count, big_endian)?),
            DataType::F64 => Voxels::F64(read_values(source, count, big_endian)?),
        })
    }
}

fn read_values<T: Voxel, R: std::io::BufRead>(
    source: &mut Source<R>,
    count: usize,
    big_endian: bool,
) -> Result<Vec<T>> {
    const CHUNK: usize = 1 << 20; // memory is touched only as the file really delivers
    let mut values: Vec<T> = reserve(count, "the voxels")?;
    while values.len() < count {
        let start = values.len();
        values.resize(count.min(start.saturating_add(CHUNK)), T::zeroed());
        source.fill("voxel data", bytemuck::cast_slice_mut(&mut values[start..]))?;
        if big_endian != cfg!(target_endian = "big") {
            values[start..].iter_mut().for_each(|v| *v = v.swapped());
        }
    }
    Ok(values)
}
