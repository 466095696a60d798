//! Models that have a name, for subcommands that need no file.

use medsegx::model::{Config, Preset};

/// What `--config` names.
#[derive(Clone, Copy)]
pub enum Named {
    /// A size of MedSegX or SAM.
    Preset(Preset),
    LiteMedSam,
    MobileSam,
}

impl Named {
    fn all() -> impl Iterator<Item = Named> {
        Preset::ALL.into_iter().map(Named::Preset).chain([Named::LiteMedSam, Named::MobileSam])
    }

    /// The name as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Named::Preset(preset) => preset.name(),
            Named::LiteMedSam => "litemedsam",
            Named::MobileSam => "mobile_sam",
        }
    }

    /// The model; of a size, MedSegX or plain SAM.
    pub fn config(self, medsegx: bool) -> Config {
        match self {
            Named::Preset(preset) if medsegx => preset.medsegx(),
            Named::Preset(preset) => preset.sam(),
            Named::LiteMedSam => Config::litemedsam(),
            Named::MobileSam => Config::mobile_sam(),
        }
    }
}

/// A model by its name.
pub fn named(text: &str) -> Result<Named, String> {
    let known = || Named::all().map(Named::name).collect::<Vec<_>>().join(", ");
    Named::all().find(|named| named.name() == text).ok_or_else(|| format!("needs one of {}", known()))
}
