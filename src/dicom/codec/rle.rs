//! RLE Lossless (PS3.5 annex G): a segment for each byte of a pixel, from the highest of the first sample on.

use super::check::bad;
use crate::Result;
use crate::dicom::FrameShape;
use crate::memory::zeros;

/// Bytes of the header: a count and 15 offsets.
const HEADER: usize = 64;

/// A run of two bytes unpacks to at most 128.
const MOST_PER_BYTE: usize = 64;

/// Decodes one frame to `shape`'s words, whatever their width.
///
/// # Errors
/// [`crate::Error::File`] for damage, segments that are too short, and a number of segments that is not `shape`'s.
pub(super) fn decode(data: &[u8], shape: &FrameShape) -> Result<Vec<u8>> {
    let width = usize::from(shape.bits_allocated / 8);
    if !shape.bits_allocated.is_multiple_of(8) || width == 0 {
        return Err(bad("RLE", "samples of whole bytes", format!("{} bits", shape.bits_allocated)));
    }
    let count = width * shape.samples;
    let field = |index: usize| {
        let bytes = data.get(4 * index..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map(|b| u32::from_le_bytes(*b) as usize).ok_or_else(|| bad("RLE header", "64 bytes", data.len()))
    };
    if data.len() < HEADER || field(0)? != count || count > 15 {
        return Err(bad("RLE segments", count, field(0)?));
    }
    let pixels = shape.rows * shape.columns;
    if pixels / MOST_PER_BYTE > data.len() {
        return Err(bad("RLE frame", format!("at least {} bytes", pixels / MOST_PER_BYTE), data.len()));
    }
    let mut out = zeros(pixels * count, "an RLE frame")?;
    for segment in 0..count {
        let start = field(1 + segment)?;
        let end = if segment + 1 < count { field(2 + segment)? } else { data.len() };
        let wrong =
            || bad("RLE segment", "a place behind the one before it, inside the frame", format!("{start}, {end}"));
        let bytes = data.get(start..end).filter(|_| start >= HEADER).ok_or_else(wrong)?;
        // Bytes come from the highest down, words are little endian.
        let first = segment / width * width + (width - 1 - segment % width);
        unpack(bytes, &mut out[first..], count, pixels)?;
    }
    Ok(out)
}

/// Unpacks one segment into `count` bytes of `to`, `step` apart. A pad byte behind the last run is left.
fn unpack(mut bytes: &[u8], to: &mut [u8], step: usize, count: usize) -> Result<()> {
    let short = || bad("RLE segment", format!("{count} bytes once unpacked"), "less, or a run cut short");
    let mut done = 0;
    while done < count {
        let (&control, rest) = bytes.split_first().ok_or_else(short)?;
        let (run, taken) = match control {
            0..=127 => (usize::from(control) + 1, usize::from(control) + 1),
            128 => (0, 0),
            129..=255 => (257 - usize::from(control), 1),
        };
        let values = rest.get(..taken).ok_or_else(short)?;
        if run > count - done {
            return Err(bad("RLE segment", format!("{count} bytes once unpacked"), "more"));
        }
        let places = to[done * step..].iter_mut().step_by(step).take(run);
        if taken == 1 {
            places.for_each(|t| *t = values[0]);
        } else {
            places.zip(values).for_each(|(t, &v)| *t = v);
        }
        done += run;
        bytes = &rest[taken..];
    }
    Ok(())
}
