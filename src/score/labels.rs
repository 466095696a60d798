//! Label volumes against label volumes: every label of either is scored or counted as missed or spurious.

use std::collections::BTreeMap;

use super::{Counts, Definition, Grid, Scores, check, pair};
use crate::volume::{LabelVolume, Labels};
use crate::{Error, Result};

/// Why a label has no distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unscored {
    /// The reference has it and the mask does not.
    Missed,
    /// The mask has it and the reference does not.
    Spurious,
    /// It was asked for and neither has it.
    Absent,
}

/// One label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelScore {
    /// Its value.
    pub label: u16,
    /// Its voxels.
    pub counts: Counts,
    /// Its scores, or why it has none.
    pub scores: std::result::Result<Scores, Unscored>,
}

/// All labels together.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Labels that the mask or the reference has.
    pub labels: usize,
    /// Of these, those that only the reference has.
    pub missed: usize,
    /// Of these, those that only the mask has.
    pub spurious: usize,
    /// Mean over all of these; 0 for missed and spurious ones. `None` without labels.
    pub dice: Option<f64>,
    /// As `dice`; `None` too where the definition has none.
    pub nsd: Option<f64>,
    /// Mean over labels that both have, which `missed` and `spurious` do not enter.
    pub hd95_of_found: Option<f64>,
    /// Mean over all labels, the diagonal of the image standing for those that are missed or spurious.
    pub hd95_with_diagonal: Option<f64>,
}

/// Scores every label of `mask` or `reference`, or those in `chosen`, in ascending order. Background is no label.
///
/// # Errors
/// [`Error::Argument`] where the sizes differ, or for numbers that [`super::score`] refuses; [`Error::Memory`].
pub fn score_labels(
    mask: &LabelVolume,
    reference: &LabelVolume,
    spacing: [f64; 3],
    definition: Definition,
    tolerance: f64,
    chosen: Option<&[u16]>,
) -> Result<Vec<LabelScore>> {
    score_labels_watched(mask, reference, (spacing, definition, tolerance), chosen, &mut |_, _| Ok(()))
}

/// As [`score_labels`]. `watch` is told how many labels of how many are scored; its error ends the work.
///
/// # Errors
/// Those of [`score_labels`] and of `watch`.
pub fn score_labels_watched(
    mask: &LabelVolume,
    reference: &LabelVolume,
    (spacing, definition, tolerance): ([f64; 3], Definition, f64),
    chosen: Option<&[u16]>,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<LabelScore>> {
    if mask.dims() != reference.dims() {
        let (expected, found) = (format!("dims {:?}", reference.dims()), format!("{:?}", mask.dims()));
        return Err(Error::Argument { name: "mask", expected, found });
    }
    let grid = Grid { dims: reference.dims(), spacing };
    check(&grid, tolerance)?;
    let mut counts = count(mask, reference);
    if let Some(chosen) = chosen {
        counts.retain(|label, _| chosen.contains(label));
        for &label in chosen {
            counts.entry(label).or_insert(NONE);
        }
    }
    let score = |(label, counts): (u16, Counts)| {
        let scores = match (counts.mask, counts.reference) {
            (0, 0) => Err(Unscored::Absent),
            (0, _) => Err(Unscored::Missed),
            (_, 0) => Err(Unscored::Spurious),
            _ => {
                let inside = |index| (is(mask, index, label), is(reference, index, label));
                let found = pair(&grid, definition, tolerance, &inside)?;
                found.map(|(scores, _)| scores).ok_or(Unscored::Absent)
            }
        };
        Ok(LabelScore { label, counts, scores })
    };
    let total = counts.len();
    let mut scored = Vec::with_capacity(total);
    for entry in counts {
        watch(scored.len(), total)?;
        scored.push(score(entry)?);
    }
    watch(total, total)?;
    Ok(scored)
}

/// What `scores` by `definition` come to; `diagonal` is that of the image, in the unit of the distances.
pub fn summary(scores: &[LabelScore], definition: Definition, diagonal: f64) -> Summary {
    let number = |what: Unscored| scores.iter().filter(|score| score.scores == Err(what)).count();
    let (missed, spurious) = (number(Unscored::Missed), number(Unscored::Spurious));
    let labels = scores.len() - number(Unscored::Absent);
    let found: Vec<Scores> = scores.iter().filter_map(|score| score.scores.ok()).collect();
    // The sum of no number is -0.
    let mean = |sum: f64, count: usize| (count > 0).then(|| (sum + 0.0) / count as f64);
    let distances: f64 = found.iter().map(|scores| scores.hd95).sum();
    let nsd = found.iter().filter_map(|scores| scores.nsd).sum();
    Summary {
        labels,
        missed,
        spurious,
        dice: mean(found.iter().map(|scores| scores.dice).sum(), labels),
        nsd: mean(nsd, labels).filter(|_| definition != Definition::Medpy),
        hd95_of_found: mean(distances, found.len()),
        hd95_with_diagonal: mean(distances + diagonal * (missed + spurious) as f64, labels),
    }
}

const NONE: Counts = Counts { mask: 0, reference: 0, both: 0 };

fn is(labels: &LabelVolume, index: usize, label: u16) -> bool {
    match labels.labels() {
        Labels::U8(labels) => u16::from(labels[index]) == label,
        Labels::U16(labels) => labels[index] == label,
    }
}

fn count(mask: &LabelVolume, reference: &LabelVolume) -> BTreeMap<u16, Counts> {
    let mut counts: Vec<Counts> = vec![NONE; 1 << 16];
    for index in 0..mask.dims().iter().product::<usize>() {
        let (own, other) = (mask.get(index).unwrap_or(0), reference.get(index).unwrap_or(0));
        counts[usize::from(own)].mask += 1;
        counts[usize::from(other)].reference += 1;
        counts[usize::from(own)].both += u64::from(own == other);
    }
    let found = (1..=u16::MAX).zip(counts.into_iter().skip(1));
    found.filter(|(_, counts)| counts.mask + counts.reference > 0).collect()
}
