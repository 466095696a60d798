//! The engine's errors as exceptions: one class for each kind, in `medsegx/_errors.py`, with the engine's text.

use medsegx::Error;
use pyo3::prelude::*;

/// The exception for `error`.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Io { .. } => "IoError",
        Error::File { .. } => "FileError",
        Error::Weights { .. } => "WeightsError",
        Error::Tensor { .. } => "TensorError",
        Error::Prompt { .. } => "PromptError",
        Error::Taxonomy { .. } => "TaxonomyError",
        Error::Argument { .. } => "ArgumentError",
        Error::Memory { .. } => "OutOfMemoryError",
        Error::Device { .. } => "DeviceError",
        Error::DeviceLost { .. } => "DeviceLostError",
        Error::Cancelled => "CancelledError",
        _ => "InternalError",
    };
    of_class(py, class, error.to_string())
}

/// An exception of `medsegx/_errors.py`.
pub fn of_class(py: Python<'_>, class: &str, text: String) -> PyErr {
    let made = py.import("medsegx._errors").and_then(|errors| errors.getattr(class)?.call1((text,)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// An argument as the engine refuses it.
pub fn argument(name: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Argument { name, expected: expected.into(), found: found.into() }
}
