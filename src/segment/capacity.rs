//! How much a session can hold, and how large a batch is worth while.

use super::Model;
use crate::error::{Error, Result};
use crate::executor::SessionOptions;
use crate::mask::MaskChoice;
use crate::model::{Kind, Masks};

/// How much a session can hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Pictures in one batch of the encoder, and prompts in one of the decoder.
    pub batch: usize,
    /// Prompt points of one prompt; a box takes two.
    pub points: usize,
    /// Whether mask prompts will be given.
    pub mask_prompt: bool,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { batch: 1, points: 2, mask_prompt: false }
    }
}

impl Capacity {
    /// What the executor makes room for.
    pub(super) fn options(self, kind: Kind, choice: MaskChoice) -> Result<SessionOptions> {
        let batch = self.batch.max(1);
        let (points, mask_prompt) = (self.points.max(2), self.mask_prompt);
        Ok(SessionOptions { slices: batch, prompts: batch, points, mask_prompt, masks: masks_for(kind, choice)? })
    }

    /// This capacity with a batch for `slices` slices: on a GPU the largest power of two that they can fill and whose
    /// network half of the free memory holds, so that slices, masks and a second session still fit; on a CPU, where a
    /// larger batch gains little, 4 small pictures or a large one.
    ///
    /// # Errors
    /// A mask that the model does not have; a device that fails.
    pub fn with_batch_for(self, model: &Model, choice: MaskChoice, slices: usize) -> Result<Capacity> {
        let Some(free) = model.free_bytes()? else {
            let batch = if model.config().kind == Kind::MedSegX { 4 } else { 1 };
            return Ok(Capacity { batch, ..self });
        };
        let mut batch = slices.clamp(1, MOST_SLICES).next_power_of_two();
        while batch > 1 {
            let capacity = Capacity { batch, ..self };
            if model.session_bytes(capacity.options(model.config().kind, choice)?)? <= free / 2 {
                break;
            }
            batch /= 2;
        }
        Ok(Capacity { batch, ..self })
    }
}

/// Largest batch that is chosen without being asked for: beyond it a GPU gains little and the first mask comes later.
const MOST_SLICES: usize = 64;

/// The decoder's output that a choice of mask needs.
pub(super) fn masks_for(kind: Kind, choice: MaskChoice) -> Result<Masks> {
    match (choice, kind) {
        (MaskChoice::Fixed(0), Kind::MedSegX) => Err(Error::Argument {
            name: "mask",
            expected: "auto, 1, 2 or 3: MedSegX was not trained to give a single mask".into(),
            found: "0".into(),
        }),
        (MaskChoice::Fixed(1..=3), Kind::LiteMedSam) => Err(Error::Argument {
            name: "mask",
            expected: "auto or 0: LiteMedSAM was trained to give a single mask".into(),
            found: format!("{choice:?}"),
        }),
        (MaskChoice::Auto, kind) => Ok(kind.masks()),
        (MaskChoice::Fixed(0), _) => Ok(Masks::Single),
        (MaskChoice::Fixed(1..=3), _) => Ok(Masks::Three),
        (MaskChoice::Fixed(other), _) => {
            Err(Error::Argument { name: "mask", expected: "auto, 0, 1, 2 or 3".into(), found: other.to_string() })
        }
    }
}
