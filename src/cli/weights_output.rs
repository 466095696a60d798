//! Flags of every subcommand that writes a weights file.

use std::path::PathBuf;

use clap::ValueEnum;
use medsegx::weights::Dtype;

/// The weights file to write
#[derive(clap::Args)]
pub struct WeightsOutput {
    /// Number format of the file
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: DtypeName,
    /// The safetensors file to write
    #[arg(short, long)]
    pub output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

/// Number formats of weight files, as users type them.
#[derive(Clone, Copy, ValueEnum)]
pub enum DtypeName {
    F32,
    F16,
    Bf16,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F32 => Dtype::F32,
            DtypeName::F16 => Dtype::F16,
            DtypeName::Bf16 => Dtype::BF16,
        }
    }
}
