//! Voxels in the type in which the file stores them.

use super::voxel::{DataType, Voxel};
use crate::Result;
use crate::memory::reserve;

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
            $crate::image::Voxels::U8($values) => $body,
            $crate::image::Voxels::I8($values) => $body,
            $crate::image::Voxels::U16($values) => $body,
            $crate::image::Voxels::I16($values) => $body,
            $crate::image::Voxels::U32($values) => $body,
            $crate::image::Voxels::I32($values) => $body,
            $crate::image::Voxels::U64($values) => $body,
            $crate::image::Voxels::I64($values) => $body,
            $crate::image::Voxels::F32($values) => $body,
            $crate::image::Voxels::F64($values) => $body,
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

    /// The values of several, one behind the other; those of another type than the first are left out.
    pub(crate) fn joined(parts: Vec<Voxels>) -> Result<Self> {
        macro_rules! joined {
            ($($variant:ident)*) => {
                match parts.first() {
                    $(Some(Voxels::$variant(_)) => {
                        let mut all = reserve(parts.iter().map(Voxels::len).sum(), "the voxels")?;
                        for part in parts {
                            if let Voxels::$variant(values) = part {
                                all.extend(values);
                            }
                        }
                        Ok(Voxels::$variant(all))
                    })*
                    None => Ok(Voxels::U8(Vec::new())),
                }
            };
        }
        joined!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64)
    }

    /// The values without the last of each four, which is alpha.
    pub(crate) fn without_alpha(self) -> Self {
        macro_rules! kept {
            ($($variant:ident)*) => {
                match self {
                    $(Voxels::$variant(values) => Voxels::$variant(drop_alpha(values, 4)),)*
                }
            };
        }
        kept!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64)
    }

    /// The values whose bytes these are.
    pub(crate) fn from_bytes(bytes: Vec<u8>, data_type: DataType, big_endian: bool) -> Result<Self> {
        macro_rules! values {
            ($($variant:ident)*) => {
                match data_type {
                    DataType::U8 => Voxels::U8(bytes),
                    $(DataType::$variant => Voxels::$variant(of_bytes(&bytes, big_endian)?),)*
                }
            };
        }
        Ok(values!(I8 U16 I16 U32 I32 U64 I64 F32 F64))
    }
}

fn of_bytes<T: Voxel>(bytes: &[u8], big_endian: bool) -> Result<Vec<T>> {
    let mut values: Vec<T> = reserve(bytes.len() / size_of::<T>(), "the voxels")?;
    let swap = big_endian != cfg!(target_endian = "big");
    let value = |bytes| {
        if swap { bytemuck::pod_read_unaligned::<T>(bytes).swapped() } else { bytemuck::pod_read_unaligned(bytes) }
    };
    values.extend(bytes.chunks_exact(size_of::<T>()).map(value));
    Ok(values)
}

/// Values without the last of each `stored`.
pub(crate) fn drop_alpha<T: Copy>(mut values: Vec<T>, stored: usize) -> Vec<T> {
    let mut kept = 0;
    for at in 0..values.len() {
        if at % stored != stored - 1 {
            values[kept] = values[at];
            kept += 1;
        }
    }
    values.truncate(kept);
    values
}
