//! Slices as pictures.

use crate::error::{Error, Result};

/// One slice as grey levels or colour.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// `[height, width, channels]`.
    pub pixels: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
}

/// Whether the length is that of the sizes.
pub(super) fn check_picture(picture: &Picture<'_>) -> Result<()> {
    let Picture { pixels, height, width, channels } = *picture;
    let length = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
    if matches!(channels, 1 | 3) && length == Some(pixels.len()) {
        return Ok(());
    }
    let found = format!("{} bytes for {height} x {width} x {channels}", pixels.len());
    Err(Error::Argument { name: "picture", expected: "height x width x 1 or 3 bytes".into(), found })
}
