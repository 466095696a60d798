//! Decoded samples into the words that the tags ask for.

use super::check::bad;
use crate::Result;
use crate::dicom::FrameShape;
use crate::memory::zeros;

/// What a stream says of its samples.
pub(super) struct Stream {
    /// Bits of a sample.
    pub precision: u32,
    /// Whether they are signed.
    pub signed: bool,
    /// Whether whole words were coded, so that bits above the stored ones may be overlays.
    pub whole: bool,
    /// Whether the samples are only near to what was coded: then they may leave the tags' range by a little.
    pub near: bool,
}

/// Lossy samples beyond the tags' range by at most this part of it are cut to it.
const OVERSHOOT: i64 = 8;

/// A decoded sample: unsigned words of 16 bits, or what JPEG 2000 decoders give.
pub(super) trait Sample: Copy + Into<i64> {}
impl Sample for u16 {}
impl Sample for i32 {}

/// Planes of samples, one a component, to little-endian words that lie pixel by pixel.
///
/// # Errors
/// [`crate::Error::File`] where samples are not as the tags say: too many bits, negative where the tags have no sign,
/// or with a sign that neither the tags nor the stream place.
pub(super) fn interleave<T: Sample>(planes: &[&[T]], stream: &Stream, shape: &FrameShape) -> Result<Vec<u8>> {
    let allocated = u32::from(shape.bits_allocated);
    if stream.precision > allocated || ![8, 16, 32].contains(&allocated) {
        let expected = format!("at most the {allocated} bits allocated, of 8, 16 or 32");
        return Err(bad("bits of a sample in the stream", expected, stream.precision));
    }
    let mut limit = i64::MAX;
    for plane in planes {
        limit = limit.min(check(plane, stream, shape)?);
    }
    let width = allocated as usize / 8;
    let cut = |sample: T| sample.into().min(limit);
    let count = planes.first().map_or(0, |p| p.len());
    let mut out = zeros(count * planes.len() * width, "a decoded frame")?;
    for (index, plane) in planes.iter().enumerate() {
        let words = out.chunks_exact_mut(width).skip(index).step_by(planes.len());
        match width {
            1 => words.zip(*plane).for_each(|(to, &from)| to[0] = cut(from) as u8),
            2 => words.zip(*plane).for_each(|(to, &from)| to.copy_from_slice(&(cut(from) as u16).to_le_bytes())),
            _ => words.zip(*plane).for_each(|(to, &from)| to.copy_from_slice(&(cut(from) as u32).to_le_bytes())),
        }
    }
    Ok(out)
}

/// Checks a plane's range against the tags; the value above which its samples are cut.
fn check<T: Sample>(plane: &[T], stream: &Stream, shape: &FrameShape) -> Result<i64> {
    let (low, high) = plane.iter().fold((i64::MAX, i64::MIN), |(low, high), &s| {
        let value = s.into();
        (low.min(value), high.max(value))
    });
    let stored = u32::from(shape.bits_stored).clamp(1, 32);
    let found = || format!("{low} to {high}, of {} bits in the stream", stream.precision);
    let range = match (stream.signed, shape.signed) {
        (_, true) if !stream.signed => {
            // The words are two's complement already; where the sign bit is has to be plain.
            if stream.precision < stored && high >> (stream.precision - 1) != 0 {
                let expected = format!("signed samples of {stored} bits");
                return Err(bad("sign of the samples", expected, found()));
            }
            0..=largest(if stream.whole { stream.precision } else { stored })
        }
        (_, true) => -(1_i64 << (stored - 1))..=largest(stored - 1),
        (true, false) => 0..=largest(stored),
        _ => 0..=largest(if stream.whole { stream.precision } else { stored }),
    };
    if stream.near && !shape.signed && low >= 0 && high <= range.end() + range.end() / OVERSHOOT {
        return Ok(*range.end());
    }
    if low <= high && (low < *range.start() || high > *range.end()) {
        return Err(bad("samples", format!("{} to {}, as the tags say", range.start(), range.end()), found()));
    }
    Ok(*range.end())
}

fn largest(bits: u32) -> i64 {
    (1 << bits) - 1
}
