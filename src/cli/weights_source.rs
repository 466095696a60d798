//! Which weights a subcommand runs with.

use std::path::{Path, PathBuf};

use medsegx::weights::{Access, Weights};

use super::usage;

/// Where the weights come from.
#[derive(Clone)]
pub struct WeightsSource(PathBuf);

impl WeightsSource {
    /// The file of `--weights`.
    ///
    /// # Errors
    /// None was given.
    pub fn choose(file: Option<&Path>, _quiet: bool) -> anyhow::Result<WeightsSource> {
        match file {
            Some(file) => Ok(WeightsSource(file.to_path_buf())),
            None => Err(usage("--weights FILE is missing")),
        }
    }

    /// Opens and validates the weights.
    ///
    /// # Errors
    /// What [`Weights::open`] refuses.
    pub fn open(&self, access: Access) -> medsegx::Result<Weights> {
        Weights::open(&self.0, access)
    }

    /// The file, for reports.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
