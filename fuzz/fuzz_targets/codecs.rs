//! Codecs of DICOM frames. The input is a transfer syntax, the tags of a frame in 7 bytes, and the frame;
//! `fuzz/seeds.py` makes such of `tests/data/codecs`.
#![no_main]

mod guarded;

use libfuzzer_sys::fuzz_target;
use medsegx::Error;
use medsegx::dicom::FrameShape;
use medsegx::dicom::codec::{decode_frame, says_ybr};

const SYNTAXES: [&str; 6] = [
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.8.1",
];

fuzz_target!(init: guarded::forgive_panics(&["openjp2-", "jpeg2k-", "pure_jpegls-"]), |input: &[u8]| {
    let Some(([syntax, rows, columns, samples, allocated, stored, flags], frame)) = input.split_first_chunk() else {
        return;
    };
    let shape = FrameShape {
        rows: (*rows).into(),
        columns: (*columns).into(),
        samples: (*samples).into(),
        bits_allocated: (*allocated).into(),
        bits_stored: (*stored).into(),
        signed: flags & 1 != 0,
        planar: flags & 2 != 0,
    };
    let _ = says_ybr(frame);
    match decode_frame(SYNTAXES[usize::from(*syntax) % SYNTAXES.len()], frame, &shape) {
        Ok(samples) => assert_eq!(Some(samples.len()), shape.bytes()),
        Err(error) => assert!(matches!(error, Error::File { .. } | Error::Memory { .. })),
    }
});
