//! Voxels behind a header, plane after plane.

use std::io::BufRead;

use super::source::Source;
use crate::Result;
use crate::codes::{Code, Warning};
use crate::image::DataType;
use crate::image::Voxels;

/// How they lie in what the source still has to deliver.
pub(super) struct Body {
    pub data_type: DataType,
    pub big_endian: bool,
    /// Values of one voxel in the file; of four the last is alpha, which is left out.
    pub stored_channels: usize,
    /// Bytes of the extension flag and of header extensions, then of the time points before and after the chosen one.
    pub extensions: u64,
    pub before: u64,
    pub after: u64,
}

impl Body {
    /// Passes over what stands before the voxels.
    pub fn begin<R: BufRead>(&self, source: &mut Source<R>) -> Result<()> {
        source.skip("header extensions", self.extensions)?;
        source.skip("voxel data", self.before)
    }

    /// Reads the next voxels.
    pub fn read<R: BufRead>(&self, source: &mut Source<R>, voxels: usize) -> Result<Voxels> {
        let values = source.voxels(self.data_type, voxels * self.stored_channels, self.big_endian)?;
        Ok(if self.stored_channels == 4 { values.without_alpha() } else { values })
    }

    /// Passes over what stands behind them, to the end of the file and its checksum.
    pub fn end<R: BufRead>(&self, source: &mut Source<R>, warnings: &mut Vec<Warning>) -> Result<()> {
        source.skip("voxel data", self.after)?;
        match source.finish()? {
            0 => {}
            extra => {
                let message = format!("{extra} bytes or more follow the voxels");
                warnings.push(Warning::new(Code::TrailingBytes, message))
            }
        }
        Ok(())
    }
}
