//! Every way in which this library fails. Each message names the file, tensor or argument, what was expected and what
//! was found.
//!
//! ```
//! use medsegx::Error;
//! use medsegx::prompt::PixelBox;
//!
//! let error = "10,20,40".parse::<PixelBox>().unwrap_err();
//! assert!(matches!(error, Error::Prompt { .. }));
//! ```

use std::path::PathBuf;

/// Result with this library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A closed list of failures, with their context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read, write or rename a file.
    #[error("{}: cannot {operation}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a verb: `open`, `read`, `rename`.
        operation: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The contents of a file are malformed, unsupported or hostile.
    #[error("{}: {what}: got {found}; needs {expected}", path.display())]
    File {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// The field or part of the file.
        what: String,
        /// What a good file has there.
        expected: String,
        /// What this file has there.
        found: String,
    },
    /// A weights file does not hold a complete model: every missing, unexpected and misshapen tensor.
    #[error("{}: not a complete model: {}", path.display(), problems.join("; "))]
    Weights {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// One line a tensor: its name, what was expected, what was found.
        problems: Vec<String>,
    },
    /// One tensor has an impossible value, shape or type.
    #[error("tensor {name}: got {found}; needs {expected}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A box, point or mask prompt makes no sense for this image or model.
    #[error("prompt {what}: got {found}; needs {expected}")]
    Prompt {
        /// Which prompt.
        what: String,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A modality, organ or task that MedSegDB's tree does not have.
    #[error("{level} '{name}' is not in the task tree{}", hint(suggestion))]
    Taxonomy {
        /// Level of the tree: `modality`, `body part`, `subregion`, `organ`, `task`.
        level: &'static str,
        /// The name as given.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// An argument or option of a call is out of range or contradicts another.
    #[error("{name}: got {found}; needs {expected}")]
    Argument {
        /// Name of the argument.
        name: &'static str,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Memory for a size that a file or caller asked for could not be had.
    #[error("{what}: {bytes} bytes of memory could not be allocated")]
    Memory {
        /// What the memory was for.
        what: String,
        /// How much.
        bytes: u64,
    },
    /// A device is missing, too old, out of memory or broken.
    #[error("device {device}: {operation}: {message}")]
    Device {
        /// The device, as `cuda:0`.
        device: String,
        /// What was attempted.
        operation: String,
        /// What the driver said.
        message: String,
    },
    /// A device on which every later call of this process will fail.
    #[error("device {device}: {operation}: {message}; the device's context is lost to this process")]
    DeviceLost {
        /// The device, as `cuda:0`.
        device: String,
        /// What was attempted when it turned out.
        operation: String,
        /// What the driver said.
        message: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// An invariant of this library does not hold: a bug here, not in the input.
    #[error("internal error in {place}: {what}")]
    Internal {
        /// The module or step.
        place: String,
        /// What does not hold.
        what: String,
    },
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|s| format!("; nearest is '{s}'")).unwrap_or_default()
}

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(path: impl Into<PathBuf>, operation: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), operation, source }
    }

    /// An [`Error::Internal`] in `place`.
    pub fn internal(place: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Internal { place: place.into(), what: what.into() }
    }

    /// An error about names or numbers that a file holds, as an error of that file; others as they are.
    pub fn in_file(self, path: impl Into<PathBuf>, place: &str) -> Self {
        let named = |what: &str, expected: String, found: String| Error::File {
            path: path.into(),
            what: format!("{place}, {what}"),
            expected,
            found,
        };
        match self {
            Error::Argument { name, expected, found } => named(name, expected, found),
            Error::Prompt { what, expected, found } => named(&what, expected, found),
            Error::Taxonomy { level, name, suggestion } => {
                let found = format!("'{name}', which is not in the task tree{}", hint(&suggestion));
                named(level, format!("a {level} of the task tree"), found)
            }
            other => other,
        }
    }

    /// An [`Error::File`] for `path`.
    pub fn file(
        path: impl Into<PathBuf>,
        what: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Error::File { path: path.into(), what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }
}
