//! Slices that are drawn: they are tuned on, not segmented, and stay as they are.

use std::path::PathBuf;

use medsegx::prompt::PixelBox;
use medsegx::volume::{LabelVolume, OpenOptions, SliceFrame, Volume, VolumeInfo, check_grid};

use super::args::Args;
use super::targets::JobTarget;

/// Slices that are drawn.
pub struct Drawn {
    pub path: PathBuf,
    pub labels: Volume,
    /// The value that is the target.
    pub label: u16,
    /// Ascending, with what is drawn, `[h, w]`.
    slices: Vec<(usize, Vec<bool>)>,
}

impl Drawn {
    /// What `args` name, if they do, with everything that can be refused before voxels of the image are there.
    pub fn prepare(
        args: &Args,
        image: &VolumeInfo,
        frame: &SliceFrame,
        targets: &[JobTarget],
    ) -> anyhow::Result<Option<Drawn>> {
        let Some((path, label)) = args.drawn.tune_with.as_ref().zip(args.drawn.tune_label) else { return Ok(None) };
        let mut values: Vec<u16> = targets.iter().map(|target| target.label).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() != 1 {
            let (expected, found) = ("boxes of one target".into(), format!("labels {values:?}"));
            return Err(medsegx::Error::Argument { name: "--tune-with", expected, found }.into());
        }
        let labels = Volume::open_labels(path, &OpenOptions::LABELS, Some(image), &[])?;
        check_grid(image, &labels, "the image")?;
        let mut slices = Vec::new();
        for slice in 0..frame.slices() {
            let inside = labels.label_slice(frame, slice, label)?;
            if inside.contains(&1) {
                slices.push((slice, inside.into_iter().map(|inside| inside == 1).collect()));
            }
        }
        if slices.is_empty() {
            let what = format!("label {label}");
            return Err(medsegx::Error::file(path, what, "voxels on some slice", "none").into());
        }
        let drawn = Drawn { path: path.clone(), labels, label, slices };
        let is_left = |slice: &usize| !drawn.has(*slice);
        if !args.prompts.propagate && !targets.iter().any(|target| target.boxes.keys().any(is_left)) {
            let (expected, found) = ("a box on a slice that is not drawn".into(), "none".into());
            return Err(medsegx::Error::Prompt { what: "targets".into(), expected, found }.into());
        }
        Ok(Some(drawn))
    }

    fn has(&self, slice: usize) -> bool {
        self.slices.binary_search_by_key(&slice, |(slice, _)| *slice).is_ok()
    }

    /// Takes the boxes from drawn slices.
    pub fn withdraw(&self, targets: &mut [JobTarget]) {
        targets.iter_mut().for_each(|target| target.boxes.retain(|&slice, _: &mut PixelBox| !self.has(slice)));
    }

    /// Makes the drawn slices of `labels` what is drawn there, as `label`. How many voxels those are.
    pub fn paint(&self, frame: &SliceFrame, labels: &mut LabelVolume, label: u16) -> medsegx::Result<u64> {
        let mut voxels = 0;
        for (slice, inside) in &self.slices {
            labels.paint(frame, *slice, &vec![true; inside.len()], 0)?;
            labels.paint(frame, *slice, inside, label)?;
            voxels += inside.iter().filter(|inside| **inside).count() as u64;
        }
        Ok(voxels)
    }

    /// Which they are, ascending.
    pub fn indices(&self) -> Vec<usize> {
        self.slices.iter().map(|(slice, _)| *slice).collect()
    }
}
