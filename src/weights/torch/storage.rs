//! Where the raw values of a checkpoint lie in its file.

use std::path::Path;

use super::tensor::Element;
use crate::Result;
use crate::memory::reserve;
use crate::weights::source::Source;

/// Longest pickle that is looked at. A training checkpoint of vit_h has 0.5 MB.
pub(super) const MAX_PICKLE: u64 = 16 << 20;

/// Raw values in the file.
#[derive(Debug)]
pub(super) struct Storage {
    pub element: Element,
    /// Number of values.
    pub length: u64,
    /// First byte in the file.
    pub start: u64,
    /// CRC-32 of the bytes, where the container has one.
    pub checksum: Option<u32>,
}

/// Bytes of `range`, which is short.
pub(super) fn read(source: &Source, path: &Path, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = reserve((range.end - range.start) as usize, "part of a checkpoint")?;
    source.read(path, range, |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}
