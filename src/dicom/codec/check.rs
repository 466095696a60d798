//! What every decoder of frames asks before it believes a stream.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::dicom::FrameShape;
use crate::{Error, Result};

/// An error of a frame, whose file the caller knows.
pub(super) fn bad(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Error {
    Error::file("<frame>", what, expected, found)
}

/// Compares a stream's columns and rows and its components with the tags.
pub(super) fn same_size(size: [usize; 2], components: usize, shape: &FrameShape) -> Result<()> {
    let text = |size: [usize; 2], n: usize| format!("{} columns x {} rows x {n}", size[0], size[1]);
    if size != [shape.columns, shape.rows] || components != shape.samples || components == 0 || size.contains(&0) {
        let expected = text([shape.columns, shape.rows], shape.samples);
        return Err(bad("size of the compressed frame", expected, text(size, components)));
    }
    Ok(())
}

/// Runs a decoder that is not of this library: a panic of it is an error like any other.
pub(super) fn guarded<T>(name: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(bad(name, "a stream that its decoder bears", "a panic")))
}
