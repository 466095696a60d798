//! Chosen masks into labels: a slice is painted once the masks of all its prompts are chosen, and told when all slices
//! before it are.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Observer, Request};
use crate::error::Result;
use crate::image::Runs;
use crate::volume::{LabelVolume, SliceFrame};

/// A slice on which some prompts are not settled.
#[derive(Default)]
struct Open {
    unsettled: usize,
    /// Chosen masks and their requests.
    masks: Vec<(usize, Rc<Runs>)>,
}

/// Labels as they become final, by ascending slice.
pub(super) struct Painter<'a> {
    slices: &'a SliceFrame,
    requests: &'a [Request],
    open: BTreeMap<usize, Open>,
    labels: LabelVolume,
}

impl<'a> Painter<'a> {
    /// Background on the grid that `slices` cuts, whose slices wait for the prompts of `requests`.
    pub fn new(slices: &'a SliceFrame, requests: &'a [Request], labels: LabelVolume) -> Self {
        let mut open = BTreeMap::<usize, Open>::new();
        for slice in requests.iter().flat_map(Request::prompted) {
            open.entry(slice).or_default().unsettled += 1;
        }
        Painter { slices, requests, open, labels }
    }

    /// Slices that prompts lie on and that are not painted, ascending.
    pub fn prompted(&self) -> Vec<usize> {
        self.open.keys().copied().collect()
    }

    /// The chosen mask of the prompt of `request` on `slice`.
    pub fn add(&mut self, slice: usize, request: usize, mask: Rc<Runs>) {
        if let Some(open) = self.open.get_mut(&slice) {
            open.masks.push((request, mask));
            open.unsettled -= 1;
        }
    }

    /// Paints the slices that are complete down from the lowest, and tells `observer`.
    pub fn paint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let mut painted = false;
        while let Some(first) = self.open.first_entry()
            && first.get().unsettled == 0
        {
            let (slice, Open { mut masks, .. }) = first.remove_entry();
            masks.sort_by_key(|&(request, _)| request);
            for (request, mask) in masks {
                self.labels.paint_runs(self.slices, slice, &mask, self.requests[request].label)?;
            }
            painted = true;
        }
        let end = self.open.keys().next().copied().unwrap_or(self.slices.slices());
        if painted { observer.settled(end, &self.labels) } else { Ok(()) }
    }

    /// The labels.
    pub fn finish(self) -> LabelVolume {
        self.labels
    }
}
