//! NRRD or MetaImage files: behind the magic, anything.
#![no_main]

mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    exercise::exercise(&[b"NRRD0005\n", bytes].concat());
    exercise::exercise(&[b"ObjectType = Image\n", bytes].concat());
});
