//! What is asked for, and who follows a long run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::error::Result;
use crate::prompt::PixelBox;
use crate::taxonomy::Context;
use crate::volume::LabelVolume;

/// One thing to segment.
#[derive(Clone, Debug)]
pub struct Request {
    /// Value in the mask.
    pub label: u16,
    /// Where it stands in MedSegDB's tree; plain SAM needs none.
    pub context: Option<Context>,
    /// A box a slice, in stored indices, by index along the slicing axis.
    pub boxes: BTreeMap<usize, PixelBox>,
    /// Points `(x, y, foreground)` in stored indices, for requests without boxes: a slice and its points.
    pub points: BTreeMap<usize, Vec<(f64, f64, bool)>>,
}

impl Request {
    /// Whether it asks for anything on `slice`.
    pub(super) fn is_on(&self, slice: usize) -> bool {
        self.boxes.contains_key(&slice) || self.points.get(&slice).is_some_and(|points| !points.is_empty())
    }

    /// The slices that it asks for, ascending.
    pub(super) fn prompted(&self) -> impl Iterator<Item = usize> {
        let slices: BTreeSet<usize> = self.boxes.keys().chain(self.points.keys()).copied().collect();
        slices.into_iter().filter(|&slice| self.is_on(slice))
    }
}

/// What happens between the batches of a long run. `()` watches nothing.
pub trait Observer {
    /// Called after each batch with how many prompts are done, of how many. `Break` cancels the run.
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        let _ = (done, total);
        ControlFlow::Continue(())
    }

    /// Whether [`Observer::logits`] is to be called; it costs a GPU their download.
    fn wants_logits(&self) -> bool {
        false
    }

    /// Raw logits `[M, L, L]` of prompt `index`: prompts are counted by ascending slice, then in the order of requests.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn logits(&mut self, index: usize, logits: &[f32]) -> Result<()> {
        let _ = (index, logits);
        Ok(())
    }

    /// Called as the run goes on: the slices below `end`, counted along the slicing axis, have their final `labels`.
    /// `end` grows from call to call; the last one has the number of slices.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn composed(&mut self, end: usize, labels: &LabelVolume) -> Result<()> {
        let _ = (end, labels);
        Ok(())
    }
}

impl Observer for () {}
