//! The C API, driven by the input through `capi.c` and the committed header. A call that panics inside, leaves a status
//! without words or reads a byte too far ends the run.
#![no_main]

mod on_disk;
mod small;

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

unsafe extern "C" {
    fn drive_capi(bytes: *const u8, size: usize, weights: *const c_char);
}

fuzz_target!(|bytes: &[u8]| {
    static WEIGHTS: OnceLock<CString> = OnceLock::new();
    let weights = WEIGHTS.get_or_init(|| {
        let path = on_disk::write("small.safetensors", b"");
        small::write(&path);
        CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
    });
    // The API's symbols are exported from the crate, which nothing else here names.
    assert!(!medsegx::VERSION.is_empty());
    // SAFETY: the bytes and the path outlive the call, which keeps neither.
    unsafe { drive_capi(bytes.as_ptr(), bytes.len(), weights.as_ptr()) };
});
