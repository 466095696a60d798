//! JPEG 2000 frames by both decoders: openjp2, as DICOM frames are read, and rust-j2k, its judge in the tests. The
//! input is a stream; a frame's tags are taken from its header, so that damage behind that is what is looked at.
#![no_main]

mod guarded;

use std::panic::catch_unwind;

use libfuzzer_sys::fuzz_target;
use medsegx::Error;
use medsegx::dicom::FrameShape;
use medsegx::dicom::codec::decode_frame;

const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
/// Of rows and columns: larger ones only take longer.
const SIDE: u32 = 128;

/// The tags that fit the SIZ segment (T.800 A.5.1).
fn shape(stream: &[u8]) -> Option<FrameShape> {
    let field = |at: usize| Some(u32::from_be_bytes(*stream.get(at..)?.first_chunk()?));
    let side = |end: usize, start: usize| Some(field(end)?.saturating_sub(field(start)?)).filter(|side| *side <= SIDE);
    let depth = *stream.get(42)?;
    let stored = u16::from(depth & 0x7F) + 1;
    Some(FrameShape {
        rows: side(12, 20)? as usize,
        columns: side(8, 16)? as usize,
        samples: (field(38)? & 0xFFFF) as usize,
        bits_allocated: stored.next_power_of_two().max(8),
        bits_stored: stored,
        signed: depth & 0x80 != 0,
        planar: false,
    })
}

fuzz_target!(init: guarded::forgive_panics(&["openjp2-", "jpeg2k-", "rust-j2k-"]), |stream: &[u8]| {
    let Some(shape) = shape(stream) else { return };
    match decode_frame(JPEG_2000, stream, &shape) {
        Ok(samples) => assert_eq!(Some(samples.len()), shape.bytes()),
        Err(error) => assert!(matches!(error, Error::File { .. } | Error::Memory { .. })),
    }
    // What it gives of a damaged stream is its own affair.
    let _ = catch_unwind(|| drop(rust_j2k::decode(stream)));
});
