//! Names from files in messages.

use crate::Error;

/// An error of the tensor `name`.
pub(super) fn wrong(name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Tensor { name: shown(name), expected: expected.into(), found: found.into() }
}

/// A name from a file as it may stand in a message: no control characters, not endless.
pub(super) fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = name.escape_debug().take(LONGEST).collect();
    if name.chars().count() > LONGEST {
        shown.push_str("...");
    }
    shown
}
