//! The file that a tuning leaves.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Example, Options, Outcome, Trainer, Validation};
use crate::Result;
use crate::memory::copied;
use crate::segment::Setting;
use crate::taxonomy::Context;
use crate::weights::tuned::{BASE, Tuned};

/// Metadata: what was trained, and SHA-256 of the labels.
const GROUPS: &str = "groups";
const LABELS: &str = "labels_sha256";

impl Validation {
    /// What it is called in a tuned file.
    pub fn name(self) -> &'static str {
        match self {
            Validation::None => "none",
            Validation::Slices(_) => "slices",
            Validation::Volumes(_) => Tuned::BY_VOLUME,
            Validation::LeaveOneOut => "leave-one-out",
        }
    }
}

/// How a decoder came to be tuned as it is, for the file that holds it.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// SHA-256 of the weights file that it was tuned from.
    pub base: &'a str,
    /// What was tuned for, as a user calls it.
    pub name: &'a str,
    /// The label of it.
    pub label: u16,
    /// Where it stands in MedSegDB's tree.
    pub context: Option<&'a Context>,
    /// SHA-256 of the images' files; images without a file have none.
    pub images: &'a [String],
    /// SHA-256 of the labels' files.
    pub labels: &'a [String],
    /// How that was shown to the model.
    pub setting: &'a Setting,
    /// What it was tuned on.
    pub examples: &'a [Example],
    /// How it was tuned.
    pub options: &'a Options,
    /// Learning rate.
    pub rate: f32,
    /// What came of it.
    pub outcome: &'a Outcome,
}

impl Record<'_> {
    /// Writes the tensors that `trainer` holds, and those of a tuned file that it began from, with this record as
    /// metadata.
    ///
    /// # Errors
    /// As [`Tuned::write`].
    pub fn write(&self, trainer: &Trainer, path: &Path, force: bool) -> Result<()> {
        let mut tensors = Vec::new();
        for trained in trainer.trained() {
            tensors.push((
                trained.name.clone(),
                trained.shape.clone(),
                copied(trainer.value(&trained.name)?, "a tuned tensor")?,
            ));
        }
        for (name, shape, values) in &trainer.beneath.tensors {
            tensors.push((name.clone(), shape.clone(), copied(values, "a tuned tensor")?));
        }
        Tuned::write(path, force, &tensors, self.metadata(trainer))
    }

    fn metadata(&self, trainer: &Trainer) -> BTreeMap<String, String> {
        let (Record { options, outcome, .. }, beneath) = (self, &trainer.beneath);
        // Of the file beneath, groups count as far as their tensors are here.
        let own = trainer.train().groups();
        let groups = if beneath.tensors.is_empty() { own.into() } else { beneath.join(GROUPS, own) };
        let mut groups: Vec<&str> = groups.split(' ').collect();
        groups.sort_unstable();
        let slices: Vec<String> = self.examples.iter().map(|e| format!("{}:{}", e.volume, e.slice)).collect();
        let dice = |score: f64| format!("{score:.4}");
        let mut all = BTreeMap::from([
            (BASE, self.base.into()),
            (GROUPS, groups.join(" ")),
            ("task", self.name.into()),
            ("label", self.label.to_string()),
            (Tuned::IMAGES, beneath.join(Tuned::IMAGES, &self.images.join(" "))),
            (LABELS, beneath.join(LABELS, &self.labels.join(" "))),
            ("slices", slices.join(" ")),
            ("steps", outcome.steps.to_string()),
            ("rate", self.rate.to_string()),
            ("batch", options.batch.to_string()),
            ("jitter", options.jitter.to_string()),
            ("seed", options.seed.to_string()),
            ("loss", format!("{:.6}", outcome.losses[1])),
            (Tuned::VALIDATION, outcome.validation.name().into()),
            ("dice_before", dice(outcome.before.choice)),
            ("dice_after", dice(outcome.after.choice)),
            ("dice_ellipse", dice(outcome.before.ellipse)),
        ]);
        if outcome.stopped {
            all.insert("stopped", "before its last step".into());
        }
        if let Some(Context { modality, organ: [part, subregion, organ], task }) = self.context {
            all.insert("context", format!("{modality} {part} {subregion} {organ} {task}"));
        }
        let mut all = all.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        self.setting.write(&mut all);
        all
    }
}
