//! Why a case failed, by a name that scripts can rely on.

use std::io::ErrorKind;

use medsegx::Error;

use crate::cli::console::Usage;

/// The name of an error.
pub fn code(error: &anyhow::Error) -> &'static str {
    let Some(error) = error.downcast_ref::<Error>() else {
        // What the arguments got wrong only shows when they are seen together.
        return if error.is::<Usage>() { "argument" } else { "other" };
    };
    match error {
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => "not-found",
            ErrorKind::PermissionDenied => "no-permission",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "disk-full",
            ErrorKind::ReadOnlyFilesystem => "read-only",
            _ => "input-output",
        },
        Error::File { .. } => "file",
        Error::Weights { .. } | Error::Tensor { .. } => "weights",
        Error::Prompt { .. } => "prompt",
        Error::Taxonomy { .. } => "task",
        Error::Argument { .. } => "argument",
        Error::Memory { .. } => "memory",
        Error::Device { .. } | Error::DeviceLost { .. } => "device",
        Error::Cancelled => "cancelled",
        Error::Internal { .. } => "internal",
        _ => "other",
    }
}

/// Whether later cases of this process would fail alike.
pub fn is_final(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::DeviceLost { .. }))
}

/// What a code means, in a sentence.
pub fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "not-found" => "A file is not there.",
        "no-permission" => "A file may not be read or written.",
        "read-only" => "The file system is read-only.",
        "disk-full" => "The disk is full.",
        "input-output" => "A file could not be read or written.",
        "file" => "What is in a file is malformed, cut short or not supported, or it changed while it was in use.",
        "prompt" => "The prompt does not fit.",
        "task" => "The task or a name of its tree is not known.",
        "argument" => "The flags of the case do not fit.",
        "weights" => "The weights cannot be used.",
        "memory" => "There is too little memory.",
        "device" => "The device failed.",
        "missing" => "There is no result.",
        "stale" => "The result is of other files, image or flags.",
        _ => return None,
    })
}

/// Some cases failed or are missing; the others are done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAll(pub String);
