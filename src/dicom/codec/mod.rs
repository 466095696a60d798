//! Compressed frames to native samples: by transfer syntax.

use super::FrameShape;
use crate::{Error, Result};

/// Decodes one frame, whose fragments are joined in `fragments`, to native little-endian samples that lie pixel by pixel,
/// of `expected.bits_allocated` bits each.
///
/// # Errors
/// [`Error::File`] for a transfer syntax without a decoder, a damaged stream, and one that is not as `expected`.
pub fn decode_frame(transfer_syntax: &str, _fragments: &[u8], _expected: &FrameShape) -> Result<Vec<u8>> {
    Err(Error::file("<frame>", "transfer syntax", "one with a decoder in this build", transfer_syntax.escape_debug()))
}
