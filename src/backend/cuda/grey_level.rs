//! Launches `kernels/grey_level.ptx.j2`: stored values to grey levels, by the thresholds of `Thresholds`.

use super::Cuda;
use super::driver::{Arg, Driver};
use crate::error::Result;
use crate::image::DataType;
use crate::image::thresholds::Thresholds;

/// Bytes of a piece.
const PIECE: usize = 16;
/// Pieces that one block maps.
const OF_BLOCK: usize = 1024;

/// Thresholds on a device.
pub struct GreyTable<D: Driver> {
    entry: &'static str,
    table: D::Buffer,
    flip: [u32; 2],
    bytes: usize,
}

/// Where slices lie, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    /// Device address of the first.
    pub start: u64,
    /// Bytes from one to the next, a multiple of 16.
    pub step: usize,
}

impl<D: Driver> Cuda<D> {
    /// Uploads `thresholds`.
    ///
    /// # Errors
    /// A device that fails.
    pub(crate) fn grey_table(&self, thresholds: &Thresholds) -> Result<GreyTable<D>> {
        let entry = match thresholds.data_type {
            DataType::U8 | DataType::I8 => "grey_level_1",
            DataType::U16 | DataType::I16 => "grey_level_2",
            DataType::U32 | DataType::I32 => "grey_level_4",
            DataType::U64 | DataType::I64 => "grey_level_8",
            DataType::F32 => "grey_level_f32",
            DataType::F64 => "grey_level_f64",
        };
        let (bytes, flip) = (thresholds.data_type.bytes() as usize, thresholds.flip);
        let low = |key: u64| key as u32;
        let table = match bytes {
            8 => self.uploaded(bytemuck::cast_slice(&thresholds.table))?,
            _ => {
                self.uploaded(bytemuck::cast_slice(&thresholds.table.iter().copied().map(low).collect::<Vec<u32>>()))?
            }
        };
        // The kernel flips whole words, which hold several short values.
        let flip = match bytes {
            1 => [low(flip) * 0x0101_0101; 2],
            2 => [low(flip) * 0x0001_0001; 2],
            4 => [low(flip); 2],
            _ => [low(flip), low(flip >> 32)],
        };
        Ok(GreyTable { entry, table, flip, bytes })
    }

    /// Maps `slices` slices of `values` values each, a multiple of 16; levels are a byte each.
    ///
    /// # Errors
    /// A slice of more than 2^32 bytes; a device that fails.
    pub(crate) fn grey_levels(
        &self,
        capture: Option<&D::Capture>,
        grey: &GreyTable<D>,
        [stored, levels]: [Slices; 2],
        values: usize,
        slices: usize,
    ) -> Result<()> {
        let pieces = values * grey.bytes / PIECE;
        let args = [
            Arg::Pointer(stored.start),
            Arg::Pointer(self.driver.address(&grey.table)),
            Arg::Pointer(levels.start),
            Arg::U32(self.size("pieces of a slice", pieces)?),
            Arg::U32(self.size("bytes of a slice", stored.step)?),
            Arg::U32(self.size("bytes of a slice", levels.step)?),
            Arg::U32(grey.flip[0]),
            Arg::U32(grey.flip[1]),
        ];
        let grid = [pieces.div_ceil(OF_BLOCK) as u32, self.size("slices", slices)?, 1];
        self.launch(capture, grey.entry, grid, &args)
    }

    /// Device memory that holds `bytes`.
    pub(super) fn uploaded(&self, bytes: &[u8]) -> Result<D::Buffer> {
        let buffer = self.driver.allocate(bytes.len())?;
        self.driver.write(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    /// A size as a kernel takes it.
    pub(super) fn size(&self, what: &str, size: usize) -> Result<u32> {
        u32::try_from(size).map_err(|_| self.out_of_range(what, size, u32::MAX as usize))
    }
}
