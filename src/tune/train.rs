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
        match text {
            "decoder" => Ok(Train::Decoder),
            "adapters" => Ok(Train::Adapters),
            "all" => Ok(Train::All),
            _ => {
                let expected = "decoder, adapters or all".into();
                Err(Error::Argument { name: "train", expected, found: format!("'{text}'") })
            }
        }
    }
}
