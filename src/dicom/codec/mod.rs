//! Compressed frames to native samples, by transfer syntax.
//!
//! Nothing a stream says is believed: its size, its components, its precision and its sign are compared with the tags
//! before memory is taken, and every sample with the tags' range afterwards. Decoders that are not of this library run
//! behind the same checks, and a panic of theirs is an error.

mod bitstream;
mod check;
pub mod fragments;
mod jpeg;
#[cfg(feature = "jpeg2000")]
mod jpeg2000;
mod jpegls;
mod rle;
mod words;

use self::check::bad;
use super::FrameShape;
use crate::Result;

pub use jpeg::says_ybr;

/// How the frames of a transfer syntax are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Native samples in fragments.
    Uncompressed,
    /// Native samples, each frame deflated.
    Deflated,
    /// RLE Lossless.
    Rle,
    /// JPEG baseline, extended sequential and lossless.
    Jpeg,
    /// JPEG-LS.
    JpegLs,
    /// JPEG 2000 and High-Throughput JPEG 2000.
    Jpeg2000,
}

impl Codec {
    /// The codec of an encapsulated transfer syntax, by its UID.
    ///
    /// # Errors
    /// [`Error::File`] where this build has none; it names what is asked for.
    pub fn of(transfer_syntax: &str) -> Result<Self> {
        let name = match transfer_syntax {
            "1.2.840.10008.1.2.1.98" => return Ok(Codec::Uncompressed),
            "1.2.840.10008.1.2.8.1" => return Ok(Codec::Deflated),
            "1.2.840.10008.1.2.5" => return Ok(Codec::Rle),
            "1.2.840.10008.1.2.4.50"
            | "1.2.840.10008.1.2.4.51"
            | "1.2.840.10008.1.2.4.57"
            | "1.2.840.10008.1.2.4.70" => return Ok(Codec::Jpeg),
            "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => return Ok(Codec::JpegLs),
            "1.2.840.10008.1.2.4.90"
            | "1.2.840.10008.1.2.4.91"
            | "1.2.840.10008.1.2.4.201"
            | "1.2.840.10008.1.2.4.202"
            | "1.2.840.10008.1.2.4.203" => {
                if cfg!(feature = "jpeg2000") {
                    return Ok(Codec::Jpeg2000);
                }
                "JPEG 2000 in a build without the feature jpeg2000"
            }
            "1.2.840.10008.1.2.4.92" | "1.2.840.10008.1.2.4.93" => "JPEG 2000 Part 2, multi-component",
            "1.2.840.10008.1.2.4.94" | "1.2.840.10008.1.2.4.95" => "JPIP, pixel data elsewhere",
            "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => "JPEG XL",
            "1.2.840.10008.1.2.4.55" => "JPEG full progression, retired",
            _ if transfer_syntax.starts_with("1.2.840.10008.1.2.4.10") => "video",
            _ if transfer_syntax.starts_with("1.2.840.10008.1.2.4.") => "another JPEG",
            _ => "unknown",
        };
        let expected = "uncompressed, deflated, RLE, JPEG, JPEG-LS or JPEG 2000";
        Err(bad("transfer syntax", expected, format!("{} ({name})", transfer_syntax.escape_debug())))
    }
}

/// Decodes one frame, whose fragments are joined in `fragments`, to native little-endian samples that lie pixel by
/// pixel, of `expected.bits_allocated` bits each.
///
/// Colours are left as they are coded: RGB where JPEG 2000's own transform was used, else what the tags say.
/// Subsampled JPEG components are brought to the picture's size.
///
/// # Errors
/// [`crate::Error::File`] for a transfer syntax without a decoder, a damaged stream, and one that is not as `expected`;
/// [`crate::Error::Memory`].
pub fn decode_frame(transfer_syntax: &str, fragments: &[u8], expected: &FrameShape) -> Result<Vec<u8>> {
    let codec = Codec::of(transfer_syntax)?;
    let bytes = expected.bytes().filter(|&b| b > 0).ok_or_else(|| bad("frame", "a size", format!("{expected:?}")))?;
    match codec {
        Codec::Uncompressed => bitstream::uncompressed(fragments, bytes, expected),
        Codec::Deflated => bitstream::deflated(fragments, bytes, expected),
        Codec::Rle => rle::decode(fragments, expected),
        Codec::Jpeg => jpeg::decode(fragments, expected),
        Codec::JpegLs => jpegls::decode(fragments, expected),
        #[cfg(feature = "jpeg2000")]
        Codec::Jpeg2000 => jpeg2000::decode(fragments, expected),
        #[cfg(not(feature = "jpeg2000"))]
        Codec::Jpeg2000 => Err(bad("transfer syntax", "a codec of this build", "JPEG 2000")),
    }
}
