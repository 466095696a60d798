//! A case as a manifest or a folder says it.

use std::path::PathBuf;

use serde::Deserialize;

/// One case as it was asked for. Relative paths are those of `base`.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Where it was asked for, for messages.
    pub place: String,
    pub base: PathBuf,
    pub image: String,
    pub boxes: Option<String>,
    pub rough: Option<String>,
    pub task: Option<String>,
    /// Below the folder of the results.
    pub output: Option<String>,
    pub flags: Flags,
}

/// More flags of `medsegx segment`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Flags {
    /// Quoted as in a shell.
    Text(String),
    Words(Vec<String>),
}

impl Default for Flags {
    fn default() -> Flags {
        Flags::Words(Vec::new())
    }
}
