//! The flag that asks for real world values, of every command that reads a DICOM image.

/// Values of a DICOM image
#[derive(clap::Args)]
pub struct RealWorld {
    /// Real world values of a DICOM image in place of its rescale: by the one map that its slices have, or by that
    /// with a label or unit (--real-world=NAME); `medsegx info FOLDER` lists them
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub real_world: Option<String>,
}
