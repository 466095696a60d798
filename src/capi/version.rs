//! What this library is, as text for a host's logs.

use std::ffi::c_char;

/// Grows by one with every change of the ABI that an older caller could notice.
pub(super) const ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
const BUILD: &str =
    concat!("medsegx ", env!("CARGO_PKG_VERSION"), "; abi 1; research software, not a medical device\0");

/// `medsegx_version`: the version as text.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// `medsegx_abi_version`: compare with MEDSEGX_ABI_VERSION of the header.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_abi_version() -> u32 {
    ABI_VERSION
}

/// `medsegx_build_info`: version, ABI and notice in one line.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_build_info() -> *const c_char {
    BUILD.as_ptr().cast()
}
