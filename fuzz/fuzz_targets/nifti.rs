//! NIfTI files of both versions and byte orders, plain and gzip. The input is the file, behind a byte that says which
//! of the fields that everything hangs on are put right.
#![no_main]

mod exercise;

use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut file = rest.to_vec();
    let (size, magic, at): (i32, &[u8], usize) =
        if choice & 1 == 0 { (348, b"n+1\0", 344) } else { (540, b"n+2\0\r\n\x1a\n", 4) };
    if choice & 2 == 0 && file.len() >= size as usize {
        let big_endian = choice & 4 != 0;
        file[..4].copy_from_slice(&if big_endian { size.to_be_bytes() } else { size.to_le_bytes() });
        file[at..at + magic.len()].copy_from_slice(magic);
        if choice & 8 == 0 && size == 348 {
            file[108..112].copy_from_slice(&if big_endian { 352_f32.to_be_bytes() } else { 352_f32.to_le_bytes() });
        }
    }
    if choice & 16 != 0 {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&file).expect("memory");
        file = encoder.finish().expect("memory");
    }
    exercise::exercise(&file);
});
