//! JPEG 2000 and HTJ2K (ITU-T T.800, T.814) by openjp2, OpenJPEG in Rust, through jpeg2k.
//!
//! It is translated C, with pointers: the sizes that a stream declares are held against the tags first, JP2's boxes
//! never reach it, and it is strict: a stream that is cut short is an error. Why it was chosen: SECURITY.md.

use super::check::{bad, guarded, same_size};
use super::words;
use crate::Result;
use crate::dicom::FrameShape;

/// What each tile has at least: the segment of its start, and the marker of its data.
const TILE_BYTES: usize = 14;

/// Decodes one frame to `shape`'s words; colours are transformed back where the stream says so.
///
/// # Errors
/// [`crate::Error::File`] for damage, Part 2, and a frame that is not as `shape`.
pub(super) fn decode(data: &[u8], shape: &FrameShape) -> Result<Vec<u8>> {
    let data = codestream(data)?;
    let stream = header(data, shape)?;
    guarded("JPEG 2000", || {
        let parameters = jpeg2k::DecodeParameters::new().strict(true);
        let image =
            jpeg2k::Image::from_bytes_with(data, parameters).map_err(|e| bad("JPEG 2000", "a whole codestream", e))?;
        let components = image.components();
        let mut planes = Vec::with_capacity(components.len());
        for component in components {
            let size = [component.width(), component.height()].map(|n| n as usize);
            same_size(size, components.len(), shape)?;
            if component.precision() != stream.precision || component.is_signed() != stream.signed {
                return Err(bad("JPEG 2000 component", "the header's precision and sign", "others"));
            }
            planes.push(component.data());
        }
        if planes.len() != shape.samples {
            return Err(bad("JPEG 2000 components", shape.samples, planes.len()));
        }
        words::interleave(&planes, &stream, shape)
    })
}

/// The codestream, out of JP2's boxes where it is in such.
fn codestream(data: &[u8]) -> Result<&[u8]> {
    if !data.starts_with(b"\0\0\0\x0CjP  ") {
        return Ok(data);
    }
    let mut rest = data;
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = &head[4..];
        let end = match length {
            0 => rest.len(),
            8.. => length,
            _ => return Err(bad("JP2 box", "a length of 32 bits", length)),
        };
        if kind == b"jp2c" {
            return rest.get(8..end.min(rest.len())).ok_or_else(|| bad("JP2 box", "a codestream", "none"));
        }
        if kind == b"jp2h" && [&b"pclr"[..], b"cmap"].iter().any(|k| body.windows(4).take(end).any(|w| w == *k)) {
            return Err(bad("JP2 header", "no palette", "a palette"));
        }
        rest = rest.get(end..).ok_or_else(|| bad("JP2 box", format!("{end} bytes"), rest.len()))?;
    }
    Err(bad("JP2", "a codestream", "none"))
}

/// Holds the SIZ segment (T.800 A.5.1) against the tags.
fn header(data: &[u8], shape: &FrameShape) -> Result<words::Stream> {
    let short = || bad("JPEG 2000 header", "a start of codestream and a whole SIZ segment", "less");
    if !data.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) {
        return Err(short());
    }
    let field = |at: usize| {
        let bytes = data.get(at..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map(|b| u32::from_be_bytes(*b)).ok_or_else(short)
    };
    let half = |at: usize| Ok::<_, crate::Error>(field(at)? >> 16);
    let capabilities = half(6)?;
    if capabilities & 0x8000 != 0 {
        return Err(bad("JPEG 2000", "Part 1 or HTJ2K", "Part 2 extensions"));
    }
    let count = half(40)? as usize;
    let side = |end: usize, start: usize| Ok::<_, crate::Error>(field(end)?.saturating_sub(field(start)?) as usize);
    same_size([side(8, 16)?, side(12, 20)?], count, shape)?;
    let tiles = side(8, 32)?.div_ceil(field(24)?.max(1) as usize) * side(12, 36)?.div_ceil(field(28)?.max(1) as usize);
    if tiles > data.len() / TILE_BYTES {
        return Err(bad("JPEG 2000 tiles", format!("at most {}, for their headers", data.len() / TILE_BYTES), tiles));
    }
    let components = data.get(42..42 + 3 * count).ok_or_else(short)?;
    let first = components[0];
    for component in components.chunks_exact(3) {
        if component != [first, 1, 1] {
            return Err(bad("JPEG 2000 components", "one depth, without subsampling", format!("{components:?}")));
        }
    }
    Ok(words::Stream { precision: u32::from(first & 0x7F) + 1, signed: first & 0x80 != 0, whole: false, near: false })
}
