//! JPEG (ITU-T T.81): the Huffman-coded processes that DICOM has, sequential DCT of 8 and 12 bits (1, 2 and 4) and
//! lossless (14, with any predictor, point transform and restart interval). Everything else is refused by name.
//!
//! The components come out as they are coded: whether they are RGB or YCbCr is the tags' to say.

mod dct;
mod header;
mod huffman;
mod lossless;
mod upsample;

use self::header::{Frame, Process, Reader, Scan, Tables};
use super::check::bad;
use super::words::{self, Stream};
use crate::dicom::FrameShape;
use crate::{Error, Result};

/// Decodes one frame to `shape`'s words.
///
/// # Errors
/// [`Error::File`] for a damaged stream, an unsupported process and a frame that is not as `shape`.
pub(super) fn decode(data: &[u8], shape: &FrameShape) -> Result<Vec<u8>> {
    let mut reader = Reader { data, position: 0 };
    if reader.marker()? != 0xD8 {
        return Err(bad("JPEG", "a start of image", "another marker"));
    }
    let mut tables = Tables::default();
    let mut frame = None;
    loop {
        match reader.marker()? {
            0xC4 => tables.huffman(reader.segment()?)?,
            0xDB => tables.quantization(reader.segment()?)?,
            0xDD => {
                let [high, low] = *reader.segment()? else { return Err(bad("JPEG DRI", "2 bytes", "another length")) };
                tables.restart = u16::from_be_bytes([high, low]).into();
            }
            marker @ (0xC0 | 0xC1 | 0xC3) => {
                if frame.is_some() {
                    return Err(bad("JPEG", "one frame", "a second frame header"));
                }
                // A sample without loss takes a bit at least, as does a block of 64, which stands for at most four
                // times as many once two of three components are subsampled.
                let most = if marker == 0xC3 { 8 } else { 8 * 64 * 4 };
                if shape.values().is_none_or(|values| values / most > data.len()) {
                    return Err(bad("JPEG", "a bit for every sample or block", format!("{} bytes", data.len())));
                }
                frame = Some(Frame::new(marker, reader.segment()?, shape)?);
            }
            marker @ (0xC2 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) => return Err(unsupported(marker)),
            0xDA => {
                let frame = frame.as_mut().ok_or_else(|| bad("JPEG", "a frame header before a scan", "none"))?;
                let scan = Scan::new(reader.segment()?, frame)?;
                reader.position = match frame.process {
                    Process::Dct => dct::scan(data, reader.position, frame, &scan, &tables)?,
                    Process::Lossless => lossless::scan(data, reader.position, frame, &scan, &tables)?,
                };
                if frame.components.iter().all(|c| c.coded) {
                    break;
                }
            }
            0xD9 => return Err(bad("JPEG", "a scan for every component", "the end of the image")),
            // Application segments, comments and other tables of hints.
            0xDC | 0xDE | 0xDF | 0xCC => return Err(bad("JPEG", "a supported marker", "DNL, DHP, EXP or DAC")),
            0xD0..=0xD8 | 0x01 => return Err(bad("JPEG", "a marker segment", "a restart or start marker")),
            _ => _ = reader.segment()?,
        }
    }
    let frame = frame.ok_or_else(|| bad("JPEG", "a frame header", "none"))?;
    in_words(frame, shape)
}

fn unsupported(marker: u8) -> Error {
    let name = match marker {
        0xC2 => "progressive DCT",
        0xC5..=0xC7 => "a hierarchical process",
        0xC9..=0xCB => "arithmetic coding",
        _ => "a hierarchical process with arithmetic coding",
    };
    bad("JPEG process", "baseline, extended sequential or lossless, with Huffman codes", name)
}

/// Whether a JPEG stream itself says that its colours are YCbCr (`true`) or RGB (`false`): by Adobe's marker, by the
/// components' names or by JFIF's marker. `None` where it says nothing, or is damaged.
pub fn says_ybr(data: &[u8]) -> Option<bool> {
    let mut reader = Reader { data, position: 0 };
    let (mut jfif, mut adobe, mut names) = (None, None, None);
    reader.marker().ok().filter(|&m| m == 0xD8)?;
    loop {
        let marker = reader.marker().ok()?;
        let segment = reader.segment().ok()?;
        match marker {
            0xE0 if segment.starts_with(b"JFIF\0") => jfif = Some(true),
            0xEE if segment.starts_with(b"Adobe") => adobe = segment.get(11).map(|&transform| transform == 1),
            0xC0..=0xC3 => {
                let id = |n: usize| segment.get(6 + 3 * n);
                names = ([id(0), id(1), id(2)] == [Some(&b'R'), Some(&b'G'), Some(&b'B')]).then_some(false);
            }
            0xDA => return adobe.or(names).or(jfif),
            _ => {}
        }
    }
}

/// Interleaved words of `shape`.
fn in_words(frame: Frame, shape: &FrameShape) -> Result<Vec<u8>> {
    let dct = frame.process == Process::Dct;
    let stream = Stream { precision: frame.precision, signed: false, whole: !dct, near: dct };
    let size = frame.size;
    let mut planes = Vec::with_capacity(frame.components.len());
    for component in frame.components {
        planes.push(upsample::plane(component, size, frame.factors)?);
    }
    let planes: Vec<_> = planes.iter().map(Vec::as_slice).collect();
    words::interleave(&planes, &stream, shape)
}
