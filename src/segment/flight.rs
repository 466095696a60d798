//! A batch of prompts on its way through a device.

use super::frame::Frame;
use crate::backend::imaging::Pass;

/// A batch of prompts on the device.
#[derive(Default)]
pub(super) struct Flight {
    pub number: u64,
    /// The forward pass that it is; `None` where encoder and decoder run apart.
    pub pass: Option<Pass>,
    /// Box of each prompt, in pixels of the logit maps.
    pub regions: Vec<Option<[f32; 4]>>,
    /// Frame of each prompt's slice.
    pub frames: Vec<Frame>,
}

impl Flight {
    pub fn with_capacity(prompts: usize) -> Flight {
        Flight { regions: Vec::with_capacity(prompts), frames: Vec::with_capacity(prompts), ..Flight::default() }
    }
}
