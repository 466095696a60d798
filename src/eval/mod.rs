//! MedSegDB's evaluation: folders in, DSC, HD95 and NSD out, in the published report format.
//!
//! The published score of a slice is that of the best of its masks, which takes the label to know. Beside it stands the
//! score of the mask that the engine chose without the label.

pub mod expect;
pub mod metrics;
pub mod report;
mod session;

use crate::mask::Verdict;
use crate::medsegdb::{Case, Pair, Set};
use crate::prompt::PixelBox;
use crate::taxonomy::Context;
use crate::{Error, Result};
use metrics::{Label, Scores};
use report::Row;

/// A slice with its prompt, ready to be segmented.
#[derive(Clone, Debug)]
pub struct Slice {
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Tight box of the label.
    pub region: PixelBox,
    /// Where the task stands in MedSegDB's tree; `None` if the model wants none.
    pub context: Option<Context>,
}

/// The masks of one slice.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Masks `[height, width]` in the order of their tokens: logits resized to the slice, then above 0.
    pub masks: Vec<Vec<bool>>,
    /// Which of them the engine would keep.
    pub verdict: Verdict,
}

/// Something that segments slices.
pub trait Predictor {
    /// Most slices of one call.
    fn batch(&self) -> usize;

    /// Segments each slice with its box.
    ///
    /// # Errors
    /// Whatever stops the evaluation.
    fn predict(&mut self, slices: &[Slice]) -> Result<Vec<Prediction>>;
}

/// Whether the tree knows every task of a set.
///
/// # Errors
/// [`Error::File`] naming the first folder that it does not know.
pub fn check_tasks(set: &Set) -> Result<()> {
    set.cases.iter().try_for_each(|case| case.context().map(drop))
}

/// What became of a set.
#[derive(Debug, Default)]
pub struct Scored {
    /// The cases that have a score, in the order of the set.
    pub rows: Vec<Row>,
    /// Published names of the cases whose label has no foreground: the published rule gives them no score.
    pub empty: Vec<String>,
    /// What is wrong with the other cases.
    pub failed: Vec<Error>,
}

/// Scores every case of a set. `contexts` says whether the model is steered by MedSegDB's tree; `progress` gets the
/// number of cases done after each batch and may end the run. A case whose arrays cannot be read or are not MedSegDB's
/// is listed and does not stop the others.
///
/// # Errors
/// A task that the tree does not know (before anything is run); what the predictor or `progress` returns.
pub fn evaluate(
    set: &Set,
    contexts: bool,
    predictor: &mut dyn Predictor,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Scored> {
    let contexts =
        set.cases.iter().map(|case| contexts.then(|| case.context()).transpose()).collect::<Result<Vec<_>>>()?;
    let batch = predictor.batch().max(1);
    let (mut scored, mut done) = (Scored::default(), 0);
    for (together, contexts) in set.cases.chunks(batch).zip(contexts.chunks(batch)) {
        let (mut cases, mut slices, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for (case, &context) in together.iter().zip(contexts) {
            match load(case, context) {
                Ok(Some((slice, label))) => {
                    cases.push(case);
                    slices.push(slice);
                    labels.push(label);
                }
                Ok(None) => scored.empty.push(case.file.clone()),
                Err(error) => scored.failed.push(error),
            }
        }
        let predictions = if slices.is_empty() { Vec::new() } else { predictor.predict(&slices)? };
        if predictions.len() != slices.len() {
            let what = format!("{} predictions for {} slices", predictions.len(), slices.len());
            return Err(Error::Internal { place: "eval".into(), what });
        }
        for ((case, label), prediction) in cases.iter().zip(&labels).zip(&predictions) {
            scored.rows.push(score(case, label, prediction)?);
        }
        done += together.len();
        progress(done)?;
    }
    Ok(scored)
}

/// The published rule: the best DSC of all masks, the first of equals, and the other metrics of that same mask.
fn score(case: &Case, label: &Label, prediction: &Prediction) -> Result<Row> {
    let Prediction { masks, verdict } = prediction;
    let masks = masks.iter().map(|mask| label.score(mask)).collect::<Result<Vec<Scores>>>()?;
    let better = |best: usize, m: usize| if masks[m].dsc > masks[best].dsc { m } else { best };
    let (Some(best), true) = ((0..masks.len()).reduce(better), verdict.index < masks.len()) else {
        let what = format!("mask {} of {}", verdict.index, masks.len());
        return Err(Error::Internal { place: "eval".into(), what });
    };
    Ok(Row {
        file: case.file.clone(),
        groups: case.groups.clone(),
        masks,
        first_token: verdict.chosen - verdict.index,
        best,
        chosen: verdict.index,
        measures: verdict.measures,
    })
}

/// The slice of a case; `None` where its label has no foreground.
fn load(case: &Case, context: Option<Context>) -> Result<Option<(Slice, Label)>> {
    let Pair { pixels, label, height, width } = Pair::read(case)?;
    if label.iter().all(|&value| value == 0) {
        return Ok(None);
    }
    let label = Label::new(label.into_iter().map(|value| value > 0).collect(), width, height)
        .map_err(|error| error.in_file(&case.label, "label"))?;
    let [x0, y0, x1, y1] = label.tight_box().map(|index| index as i64);
    Ok(Some((Slice { pixels, height, width, region: PixelBox { x0, y0, x1, y1 }, context }, label)))
}
