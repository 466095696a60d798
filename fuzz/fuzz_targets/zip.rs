//! Archives of DICOM files: the directory of a zip, and what is unpacked of it. `fuzz/seeds.py` makes archives
//! to begin with.
#![no_main]

mod exercise;
mod on_disk;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = on_disk::write("series.zip", bytes);
    exercise::exercise_dicom(&path);
});
