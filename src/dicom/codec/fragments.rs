//! Which fragments of encapsulated pixel data belong to which frame (PS3.5 A.4).

use std::ops::Range;

use super::Codec;
use super::check::bad;
use crate::Result;

/// One item of encapsulated pixel data, behind the basic offset table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its item tag stands, in bytes from the first byte behind the basic offset table.
    pub place: u64,
    /// Whether a codestream begins with it: [`begins`] of its first bytes.
    pub begins: bool,
}

/// Bytes of a fragment that [`begins`] looks at.
pub const LOOKED_AT: usize = 12;

/// Whether a fragment's first bytes, [`LOOKED_AT`] of them or all, begin a codestream of `codec`.
pub fn begins(codec: Codec, first: &[u8]) -> bool {
    match codec {
        Codec::Jpeg | Codec::JpegLs => first.starts_with(&[0xFF, 0xD8, 0xFF]),
        Codec::Jpeg2000 => {
            first.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) || first.starts_with(b"\0\0\0\x0CjP  \r\n\x87\n")
        }
        // Each fragment is a whole frame of these.
        Codec::Uncompressed | Codec::Deflated | Codec::Rle => true,
    }
}

/// The fragments of each of `frames` frames, by their indices in `fragments`.
///
/// `basic` and `extended` are the offset tables, empty where there are none; the extended one comes first. A table that
/// does not fit is not believed, but forgiven where the streams leave no doubt: one fragment a frame, each the
/// beginning of a stream. That is so in files whose basic table ran over 4 GiB.
///
/// # Errors
/// [`crate::Error::File`] where it cannot be told which fragments make a frame.
pub fn by_frame(fragments: &[Fragment], frames: usize, basic: &[u32], extended: &[u64]) -> Result<Vec<Range<usize>>> {
    if frames == 0 || fragments.len() < frames {
        return Err(bad("encapsulated pixel data", format!("a fragment for each of {frames} frames"), fragments.len()));
    }
    let one_each = fragments.len() == frames && fragments.iter().all(|f| f.begins);
    if one_each {
        return Ok((0..frames).map(|n| n..n + 1).collect());
    }
    let offsets: Vec<u64> = match extended {
        [] => basic.iter().map(|&o| o.into()).collect(),
        _ => extended.to_vec(),
    };
    let starts = if !offsets.is_empty() {
        by_table(fragments, frames, &offsets)?
    } else if frames == 1 {
        vec![0]
    } else if fragments.len() == frames {
        (0..frames).collect()
    } else {
        let starts: Vec<usize> = (0..fragments.len()).filter(|&n| fragments[n].begins).collect();
        if starts.len() != frames || starts.first() != Some(&0) {
            let found = format!("{} fragments, {} of which begin one", fragments.len(), starts.len());
            return Err(bad("fragments without an offset table", format!("{frames} streams"), found));
        }
        starts
    };
    let ends = starts.iter().skip(1).copied().chain([fragments.len()]);
    Ok(starts.iter().zip(ends).map(|(&start, end)| start..end).collect())
}

/// The first fragment of each frame, by an offset table.
fn by_table(fragments: &[Fragment], frames: usize, offsets: &[u64]) -> Result<Vec<usize>> {
    if offsets.len() != frames {
        return Err(bad("offset table", format!("{frames} frames"), offsets.len()));
    }
    let mut starts: Vec<usize> = Vec::with_capacity(frames.min(fragments.len()));
    for &offset in offsets {
        let found = fragments.binary_search_by_key(&offset, |f| f.place).ok();
        let behind = starts.last().is_none_or(|&last| found > Some(last));
        match found {
            Some(index) if behind && (index == 0 || !starts.is_empty()) => starts.push(index),
            _ => return Err(bad("offset table", "the places of fragments, rising from the first", offset)),
        }
    }
    Ok(starts)
}
