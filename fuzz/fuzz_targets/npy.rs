//! NumPy files. The input is a header's text, a zero byte, and the data; or a whole file.
#![no_main]

mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    exercise::exercise(input);
    let end = input.iter().position(|&b| b == 0).unwrap_or(input.len());
    let (text, data) = (&input[..end.min(60_000)], &input[(end + 1).min(input.len())..]);
    let file = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text, data].concat();
    exercise::exercise(&file);
});
