//! What is doubtful about the masks of a run: each slice by itself, then a line a request.

use super::outcome::{Outcome, SliceOutcome};
use crate::codes::{Code, Warning};

/// Share of its box that a mask has to fill to be doubtful; an ellipse fills 0.785 of it.
const MOST_OF_BOX: f64 = 0.98;

/// Smallest box of which filling it says anything, in pixels.
const SMALLEST_BOX: u64 = 64;

/// Share of a slice.
const MOST_OF_SLICE: f64 = 0.95;

/// What is doubtful about a mask of `pixels` from a prompt with a box of `in_box` pixels on a slice of `in_slice`.
pub fn doubts_of_mask(pixels: u64, in_box: Option<u64>, in_slice: u64) -> u64 {
    let fills = |share: f64, whole: u64| pixels as f64 >= share * whole as f64;
    if pixels == 0 {
        Code::MaskEmpty.bit()
    } else if fills(MOST_OF_SLICE, in_slice) && in_slice >= SMALLEST_BOX {
        Code::MaskFillsSlice.bit()
    } else if in_box.is_some_and(|in_box| in_box >= SMALLEST_BOX && fills(MOST_OF_BOX, in_box)) {
        Code::MaskFillsBox.bit()
    } else {
        0
    }
}

impl SliceOutcome {
    /// Adds what its mask says to its doubts, once that is chosen.
    pub(super) fn judge(&mut self, in_slice: u64) {
        let in_box = self.region.map(|region| region.area());
        self.doubts |= doubts_of_mask(self.pixels, in_box, in_slice);
    }
}

impl Outcome {
    /// The slices of each request, ascending.
    pub fn by_request(&self) -> Vec<Vec<&SliceOutcome>> {
        let mut slices = vec![Vec::new(); self.voxels.len()];
        for slice in &self.slices {
            if let Some(of_request) = slices.get_mut(slice.request) {
                of_request.push(slice);
            }
        }
        slices
    }

    /// What is doubtful about the masks of each request: a line for each kind, with the slices that it is about.
    pub fn warnings(&self) -> Vec<Vec<Warning>> {
        self.by_request().iter().enumerate().map(|(request, slices)| self.warnings_of(request, slices)).collect()
    }

    fn warnings_of(&self, request: usize, of_request: &[&SliceOutcome]) -> Vec<Warning> {
        let line = |code: Code, what: &str| {
            let slices: Vec<usize> =
                of_request.iter().filter(|s| s.doubts & code.bit() != 0).map(|s| s.slice).collect();
            let message = format!("{what} on {} of {} slices: {}", slices.len(), of_request.len(), list(&slices));
            (!slices.is_empty()).then(|| Warning::new(code, message))
        };
        let mut warnings: Vec<Warning> = [
            (Code::SliceBlank, "the picture in the box has a single grey level"),
            (Code::MaskEmpty, "the mask is empty"),
            (Code::MaskFillsBox, "the mask fills its whole box"),
            (Code::MaskFillsSlice, "the mask covers nearly the whole slice"),
        ]
        .into_iter()
        .filter_map(|(code, what)| line(code, what))
        .collect();
        if let (Some(&covered), Some(&kept)) = (self.covered.get(request), self.voxels.get(request))
            && covered > 0
        {
            let message = format!("{covered} voxels lie under masks of later targets; {kept} are left");
            warnings.push(Warning::new(Code::TargetsOverlap, message));
        }
        warnings
    }
}

/// The first few slices.
fn list(slices: &[usize]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> = slices.iter().take(MOST).map(usize::to_string).collect();
    let rest = if slices.len() > MOST { ", ..." } else { "" };
    shown.join(", ") + rest
}
