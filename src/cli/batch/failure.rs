//! Why a case failed, by a name that scripts can rely on.

use std::io::ErrorKind;

use medsegx::Error;

/// The name of an error.
pub fn code(error: &anyhow::Error) -> &'static str {
    let Some(error) = error.downcast_ref::<Error>() else {
        // What the arguments got wrong only shows when they are seen together.
        return if error.is::<clap::Error>() { "argument" } else { "other" };
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
