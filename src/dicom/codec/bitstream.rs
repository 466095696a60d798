//! Encapsulated frames whose samples are native: as they are, or deflated.

use std::io::Read;

use super::check::bad;
use crate::Result;
use crate::dicom::FrameShape;
use crate::memory::{reserve, zeros};

/// A frame of exactly `bytes` bytes, or with a pad byte.
///
/// # Errors
/// [`crate::Error::File`] for another length.
pub(super) fn uncompressed(data: &[u8], bytes: usize, shape: &FrameShape) -> Result<Vec<u8>> {
    if data.len() != bytes && data.len() != bytes + bytes % 2 {
        return Err(bad("uncompressed frame", format!("{bytes} bytes"), data.len()));
    }
    let mut out = reserve(bytes, "a frame")?;
    out.extend_from_slice(&data[..bytes]);
    by_pixel(out, shape)
}

/// A deflated frame (RFC 1951), which unpacks to exactly `bytes` bytes, or with a pad byte.
///
/// # Errors
/// [`crate::Error::File`] for damage and another length.
pub(super) fn deflated(data: &[u8], bytes: usize, shape: &FrameShape) -> Result<Vec<u8>> {
    let mut inflated = flate2::read::DeflateDecoder::new(data);
    let mut out = zeros(bytes, "a frame")?;
    let damage = |e: std::io::Error| bad("deflated frame", format!("{bytes} bytes"), e);
    inflated.read_exact(&mut out).map_err(damage)?;
    let mut rest = [0; 2];
    let more = inflated.read(&mut rest).map_err(damage)?;
    if more > bytes % 2 {
        return Err(bad("deflated frame", format!("{bytes} bytes"), "more"));
    }
    by_pixel(out, shape)
}

/// Planes one after another become samples pixel by pixel.
fn by_pixel(data: Vec<u8>, shape: &FrameShape) -> Result<Vec<u8>> {
    let width = usize::from(shape.bits_allocated / 8);
    if !shape.planar || shape.samples == 1 {
        return Ok(data);
    }
    if width == 0 {
        return Err(bad("frame by planes", "samples of whole bytes", format!("{} bits", shape.bits_allocated)));
    }
    let mut out = zeros(data.len(), "a frame")?;
    for (plane, values) in data.chunks_exact(data.len() / shape.samples).enumerate() {
        let places = out.chunks_exact_mut(width).skip(plane).step_by(shape.samples);
        places.zip(values.chunks_exact(width)).for_each(|(to, from)| to.copy_from_slice(from));
    }
    Ok(out)
}
