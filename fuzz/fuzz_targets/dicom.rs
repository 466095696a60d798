//! DICOM files: data sets, frames and how files become volumes. `fuzz/seeds.py` makes files to begin with.
#![no_main]

mod exercise;
mod on_disk;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = on_disk::write("slice.dcm", bytes);
    exercise::exercise_dicom(&path);
});
