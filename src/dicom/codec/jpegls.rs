//! JPEG-LS (ITU-T T.87), grey, by the crate pure_jpegls. It does not bear fill bytes in front of markers, and reads
//! only streams of one component: the first are taken out, colour is refused by name.

use super::check::{bad, guarded, same_size};
use super::words;
use crate::Result;
use crate::dicom::FrameShape;
use crate::memory::reserve;

/// Decodes one frame to `shape`'s words.
///
/// # Errors
/// [`crate::Error::File`] for damage, colour, and a frame that is not as `shape`.
pub(super) fn decode(data: &[u8], shape: &FrameShape) -> Result<Vec<u8>> {
    let (plain, precision) = plain(data, shape)?;
    let [columns, rows] = [shape.columns, shape.rows].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let samples = guarded("JPEG-LS", || {
        let (samples, ..) = jpegls::decode(&plain, columns, rows).map_err(|e| bad("JPEG-LS", "a whole stream", e))?;
        Ok(samples)
    })?;
    if Some(samples.len()) != shape.values() {
        return Err(bad("JPEG-LS", "a sample for every pixel", samples.len()));
    }
    words::interleave(&[&samples], &words::Stream { precision, signed: false, whole: true, near: false }, shape)
}

/// The stream without fill bytes, up to its end marker, and its precision. Its frame header agrees with `shape`.
fn plain(data: &[u8], shape: &FrameShape) -> Result<(Vec<u8>, u32)> {
    let mut out = reserve(data.len(), "a JPEG-LS stream")?;
    let mut rest = data;
    let mut precision = None;
    loop {
        let marker = marker(&mut rest)?;
        out.extend_from_slice(&[0xFF, marker]);
        match marker {
            0xD8 if out.len() == 2 => continue,
            0xD0..=0xD9 | 0x01 => return Err(bad("JPEG-LS", "a marker segment", format!("marker {marker:#04x}"))),
            _ => {}
        }
        let length = rest.first_chunk::<2>().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
        let segment = rest.get(2..length).ok_or_else(|| bad("JPEG-LS", "a whole marker segment", "less"))?;
        out.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        match marker {
            0xF7 => precision = Some(frame_header(segment, shape)?),
            0xDA => break,
            _ => {}
        }
    }
    let precision = precision.ok_or_else(|| bad("JPEG-LS", "a frame header", "none"))?;
    // In a scan FF is followed by a bit 0; with a bit 1 it is a marker, or the fill byte of one.
    let end = rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] >= 0x80).unwrap_or(rest.len());
    out.extend_from_slice(&rest[..end]);
    rest = &rest[end..];
    if marker(&mut rest)? != 0xD9 {
        return Err(bad("JPEG-LS", "one scan and the end of the image", "another marker"));
    }
    out.extend_from_slice(&[0xFF, 0xD9]);
    Ok((out, precision))
}

/// The precision, once size and components are known to be as `shape`.
fn frame_header(segment: &[u8], shape: &FrameShape) -> Result<u32> {
    let [precision, r0, r1, c0, c1, components, ..] = *segment else {
        return Err(bad("JPEG-LS frame header", "at least 6 bytes", segment.len()));
    };
    if components != 1 {
        return Err(bad("JPEG-LS", "one component; colour is not supported", components));
    }
    let size = [u16::from_be_bytes([c0, c1]), u16::from_be_bytes([r0, r1])].map(usize::from);
    same_size(size, components.into(), shape)?;
    Ok(precision.into())
}

/// The next marker's second byte, without the fill bytes in front of it.
fn marker(rest: &mut &[u8]) -> Result<u8> {
    let fill = rest.iter().take_while(|&&b| b == 0xFF).count();
    let found = rest.get(fill).filter(|_| fill > 0);
    let &marker = found.ok_or_else(|| bad("JPEG-LS", "a marker", "another byte, or the end"))?;
    *rest = &rest[fill + 1..];
    Ok(marker)
}
