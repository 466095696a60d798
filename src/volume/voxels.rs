//! Voxels in the type in which the file stores them.

use super::source::Source;
use crate::Result;
use crate::image::{DataType, Voxel};
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

    /// The values of several, one behind the other; those of another type than the first are left out.
    pub(super) fn joined(parts: Vec<Voxels>) -> Result<Self> {
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
    pub(super) fn without_alpha(self) -> Self {
        macro_rules! kept {
            ($($variant:ident)*) => {
                match self {
                    $(Voxels::$variant(values) => Voxels::$variant(super::drop_alpha(values, 4)),)*
                }
            };
        }
        kept!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64)
    }

    /// The values whose bytes these are.
    pub(super) fn from_bytes(bytes: Vec<u8>, data_type: DataType, big_endian: bool) -> Result<Self> {
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

fn of_bytes<T: Voxel>(bytes: &[u8], big_endian: bool) -> Result<Vec<T>> {
    let mut values: Vec<T> = reserve(bytes.len() / size_of::<T>(), "the voxels")?;
    let swap = big_endian != cfg!(target_endian = "big");
    let value = |bytes| {
        if swap { bytemuck::pod_read_unaligned::<T>(bytes).swapped() } else { bytemuck::pod_read_unaligned(bytes) }
    };
    values.extend(bytes.chunks_exact(size_of::<T>()).map(value));
    Ok(values)
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
