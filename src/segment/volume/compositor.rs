//! Chosen masks into labels: a slice is composed once the masks of all its prompts are chosen, and told when all slices
//! before it are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::request::{Observer, Request};
use crate::error::Result;
use crate::image::Runs;
use crate::memory::reserve;
use crate::volume::{LabelVolume, SliceFrame};

/// A slice on which the masks of some prompts are not chosen.
#[derive(Default)]
struct Open {
    undecided: usize,
    /// Chosen masks and their requests.
    masks: Vec<(usize, Rc<Runs>)>,
}

/// Labels as they become final, by ascending slice.
pub(super) struct Compositor<'a> {
    slices: &'a SliceFrame,
    requests: &'a [Request],
    open: BTreeMap<usize, Open>,
    labels: LabelVolume,
    owners: Owners,
}

/// Nobody's pixel.
const NOBODY: u32 = u32::MAX;

/// Which request has which pixel of the slice at hand, and how many voxels each has in all.
struct Owners {
    /// Of the slice at hand, made when a slice has two masks; [`NOBODY`] between slices.
    of_pixels: Vec<u32>,
    voxels: Vec<u64>,
    covered: Vec<u64>,
}

impl Owners {
    /// Counts the masks of one slice of `area` pixels, in the order in which they lie above each other.
    fn count(&mut self, masks: &[(usize, Rc<Runs>)], area: usize) -> Result<()> {
        for (request, mask) in masks {
            self.voxels[*request] += u64::from(mask.area());
        }
        if masks.len() < 2 {
            return Ok(());
        }
        if self.of_pixels.is_empty() {
            self.of_pixels = reserve(area, "the owners of pixels")?;
            self.of_pixels.resize(area, NOBODY);
        }
        for (request, mask) in masks {
            let taken = mask.ranges().flat_map(|run| pixels(&self.of_pixels, run));
            for &before in taken.filter(|&&before| before != NOBODY) {
                self.voxels[before as usize] -= 1;
                self.covered[before as usize] += 1;
            }
            for run in mask.ranges() {
                self.of_pixels.get_mut(run).unwrap_or_default().fill(*request as u32);
            }
        }
        for run in masks.iter().flat_map(|(_, mask)| mask.ranges()) {
            self.of_pixels.get_mut(run).unwrap_or_default().fill(NOBODY);
        }
        Ok(())
    }
}

fn pixels(owners: &[u32], run: Range<usize>) -> &[u32] {
    owners.get(run).unwrap_or_default()
}

impl<'a> Compositor<'a> {
    /// Background on the grid that `slices` cuts, whose slices wait for the prompts of `requests`.
    pub fn new(slices: &'a SliceFrame, requests: &'a [Request], labels: LabelVolume) -> Self {
        let mut open = BTreeMap::<usize, Open>::new();
        for slice in requests.iter().flat_map(Request::prompted) {
            open.entry(slice).or_default().undecided += 1;
        }
        let none = || vec![0; requests.len()];
        let owners = Owners { of_pixels: Vec::new(), voxels: none(), covered: none() };
        Compositor { slices, requests, open, labels, owners }
    }

    /// Slices that prompts lie on and that are not composed, ascending.
    pub fn prompted(&self) -> Vec<usize> {
        self.open.keys().copied().collect()
    }

    /// The chosen mask of the prompt of `request` on `slice`.
    pub fn add(&mut self, slice: usize, request: usize, mask: Rc<Runs>) {
        if let Some(open) = self.open.get_mut(&slice) {
            open.masks.push((request, mask));
            open.undecided -= 1;
        }
    }

    /// Composes the slices that are complete down from the lowest, and tells `observer`.
    pub fn compose(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let mut composed = false;
        while let Some(first) = self.open.first_entry()
            && first.get().undecided == 0
        {
            let (slice, Open { mut masks, .. }) = first.remove_entry();
            masks.sort_by_key(|&(request, _)| request);
            let (height, width) = self.slices.shape();
            self.owners.count(&masks, height * width)?;
            for (request, mask) in masks {
                self.labels.paint_runs(self.slices, slice, &mask, self.requests[request].label)?;
            }
            composed = true;
        }
        let end = self.open.keys().next().copied().unwrap_or(self.slices.slices());
        if composed { observer.composed(end, &self.labels) } else { Ok(()) }
    }

    /// The labels, the voxels that each request has in them, and those that later ones took from it.
    pub fn finish(self) -> (LabelVolume, Vec<u64>, Vec<u64>) {
        (self.labels, self.owners.voxels, self.owners.covered)
    }
}
