//! Which weights a subcommand runs with.

use std::path::{Path, PathBuf};

use medsegx::weights::{Access, Weights};

/// Where the weights come from.
#[derive(Clone)]
pub enum WeightsSource {
    /// The file of `--weights`.
    File(PathBuf),
    /// The ones inside the binary.
    #[cfg(feature = "demo-weights")]
    Demo,
}

impl WeightsSource {
    /// The file of `--weights`; without one the demo weights, which is said in one line.
    ///
    /// # Errors
    /// None was given and this binary has none inside.
    pub fn choose(file: Option<&Path>, quiet: bool) -> anyhow::Result<WeightsSource> {
        match file {
            Some(file) => Ok(WeightsSource::File(file.to_path_buf())),
            #[cfg(feature = "demo-weights")]
            None => {
                if !quiet {
                    super::console::say(&format!("medsegx: {}", medsegx::weights::demo::NOTICE));
                }
                Ok(WeightsSource::Demo)
            }
            #[cfg(not(feature = "demo-weights"))]
            None => {
                let _ = quiet;
                Err(super::console::usage("--weights FILE is missing, and this build has no demo weights"))
            }
        }
    }

    /// Opens and validates the weights.
    ///
    /// # Errors
    /// What [`Weights::open`] refuses.
    pub fn open(&self, access: Access) -> medsegx::Result<Weights> {
        match self {
            WeightsSource::File(path) => Weights::open(path, access),
            #[cfg(feature = "demo-weights")]
            WeightsSource::Demo => medsegx::weights::demo::open(),
        }
    }

    /// The file, for reports.
    pub fn name(&self) -> String {
        match self {
            WeightsSource::File(path) => path.display().to_string(),
            #[cfg(feature = "demo-weights")]
            WeightsSource::Demo => medsegx::weights::demo::NOTICE.into(),
        }
    }

    /// SHA-256 of the file in lower-case hexadecimal.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn sha256(&self) -> medsegx::Result<String> {
        match self {
            WeightsSource::File(path) => medsegx::weights::sha256_of(path),
            #[cfg(feature = "demo-weights")]
            WeightsSource::Demo => Ok(medsegx::weights::sha256(medsegx::weights::demo::FILE)),
        }
    }
}
