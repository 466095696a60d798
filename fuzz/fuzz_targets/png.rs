//! PNG pictures. The input is a list of chunks, each a name, a length and data, which get their checksums here; or a
//! whole file.
#![no_main]

mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    exercise::exercise(input);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut rest = input;
    while let Some((head, tail)) = rest.split_at_checked(2) {
        let name = *[b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"zTXt", b"acTL"][usize::from(head[0]) % 7];
        let (data, tail) = tail.split_at(tail.len().min(usize::from(head[1])));
        let mut crc = flate2::Crc::new();
        crc.update(&name);
        crc.update(data);
        file.extend([&(data.len() as u32).to_be_bytes()[..], &name, data, &crc.sum().to_be_bytes()].concat());
        rest = tail;
    }
    exercise::exercise(&file);
});
