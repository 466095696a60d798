//! What this library is, as text for a host's logs.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use super::status::c_string;
use crate::backend::cpu::{Level, has_bf16};

/// Grows by one with every change of the ABI that an older caller could notice.
const ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// Version of the library that runs, as "0.1.0". Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// ABI of the library that runs: compare with MEDSEGX_ABI_VERSION, which a program was built with. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_abi_version() -> u32 {
    ABI_VERSION
}

/// One line for a host's log: version, ABI, source revision as the builder named it in MEDSEGX_REVISION, CUDA support,
/// instructions of this processor, notice. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_build_info() -> *const c_char {
    static LINE: OnceLock<CString> = OnceLock::new();
    let line = || {
        let revision = option_env!("MEDSEGX_REVISION").unwrap_or("unknown");
        let cuda = if cfg!(feature = "cuda") { "with" } else { "without" };
        let bf16 = if has_bf16() { " and bf16" } else { "" };
        c_string(&format!(
            "medsegx {}; abi {ABI_VERSION}; revision {revision}; {cuda} CUDA; {}{bf16}; research software, not a medical device",
            env!("CARGO_PKG_VERSION"),
            Level::detect(),
        ))
    };
    LINE.get_or_init(line).as_ptr()
}
