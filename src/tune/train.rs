//! What is trained.

use crate::Error;

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Train {
    /// The mask decoder: the embedding of a slice is made once.
    #[default]
    Decoder,
    /// The encoder's adapter experts, their gates and the embeddings of MedSegDB's tree. Only MedSegX has them.
    Adapters,
    /// Both, as the published fine-tuning.
    All,
}

impl Train {
    /// All there are.
    pub const EVERY: [Train; 3] = [Train::Decoder, Train::Adapters, Train::All];

    /// Its name, which it is parsed by.
    pub fn name(self) -> &'static str {
        match self {
            Train::Decoder => "decoder",
            Train::Adapters => "adapters",
            Train::All => "all",
        }
    }

    /// What it is called in a tuned file.
    pub fn groups(self) -> &'static str {
        match self {
            Train::Decoder => "decoder",
            Train::Adapters => "adapters",
            Train::All => "adapters decoder",
        }
    }
}

impl std::str::FromStr for Train {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Train::EVERY.into_iter().find(|train| train.name() == text);
        found.ok_or_else(|| {
            let expected = "decoder, adapters or all".into();
            Error::Argument { name: "train", expected, found: format!("'{text}'") }
        })
    }
}
