//! Several logit maps of one prompt -> the mask to keep, and how sure.
//!
//! MedSegX's IoU head and its mask 0 were never trained, and the published scores pick the best mask by the ground
//! truth. Without one, a [`Rule`] scores the masks from what is at hand: the prompt box, the logits and each other.
//! Rules are pure functions of [`Measures`], so that they can be compared on slices whose truth is known. Nothing here
//! allocates except the pass over the slices of a volume, [`Chain`].
//!
//! ```
//! use medsegx::mask::{Candidates, MaskChoice, Rule, choose};
//!
//! // Three maps of 8 x 8 logits: a square that fills the box, one that is smaller, and nothing.
//! let square = |low: usize, high: usize| {
//!     let inside = move |at: usize| (low..=high).contains(&(at % 8)) && (low..=high).contains(&(at / 8));
//!     (0..64).map(move |at| if inside(at) { 4.0 } else { -4.0 })
//! };
//! let logits: Vec<f32> = square(3, 4).chain(square(2, 5)).chain([-4.0; 64]).collect();
//! let prompt = Some([2.0, 2.0, 5.0, 5.0]);
//! let candidates = Candidates { logits: &logits, side: 8, first_token: 1, prompt, predicted_iou: &[] };
//! let verdict = choose(&candidates, MaskChoice::Auto, Rule::Product);
//! assert_eq!((verdict.chosen, verdict.measures.masks[1].area), (2, 16));
//! ```

mod clean;
mod continuity;
mod parts;

pub use clean::{Cleaned, Cleaning};
pub use continuity::Chain;
pub use parts::part_sizes;
pub(crate) use parts::part_sizes_in;

use std::ops::Range;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::image::runs::dice;
use crate::model::Kind;

/// Most masks that one prompt gives: tokens 0 to 3.
pub const MOST_MASKS: usize = 4;

/// How far from the threshold stability looks, in logits: SAM's automatic mask generator uses 1.
pub const STABILITY_OFFSET: f32 = 1.0;

/// Weight of a pair of masks on neighbouring slices, their Dice times the geometric mean of their scores, against the
/// scores themselves.
pub const CONTINUITY_WEIGHT: f64 = 0.25;

/// The masks of one prompt.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Logits `[M, side, side]`, M = 1 to [`MOST_MASKS`]; a pixel is inside where its logit is above 0.
    pub logits: &'a [f32],
    /// Pixels of a side.
    pub side: usize,
    /// Number of the first map's mask token: 1 where the decoder gives three masks, 0 where it gives one or four.
    pub first_token: usize,
    /// Prompt box in pixels of the logit maps, inclusive; `None` for points alone.
    pub prompt: Option<[f32; 4]>,
    /// What the IoU head predicts, one a map; empty if nobody asked.
    pub predicted_iou: &'a [f32],
}

impl Candidates<'_> {
    /// M, from the length of the logits.
    pub fn masks(&self) -> usize {
        let plane = self.side.saturating_mul(self.side).max(1);
        (self.logits.len() / plane).min(MOST_MASKS)
    }
}

/// A prompt box of the model's frame of side `from`, as [`Candidates`] want it: in the logit maps' frame of side `to`.
pub fn box_of_logits(model_box: [f32; 4], from: usize, to: usize) -> [f32; 4] {
    let factor = to as f32 / from as f32;
    let [x0, y0, x1, y1] = model_box;
    // The last index goes where the end of its pixel goes, less one pixel there.
    [x0 * factor, y0 * factor, (x1 + 1.0) * factor - 1.0, (y1 + 1.0) * factor - 1.0]
}

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskChoice {
    /// The [`Rule`] of the model's kind.
    Auto,
    /// One mask token, 0 to 3.
    Fixed(usize),
}

impl std::str::FromStr for MaskChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_lowercase().as_str() {
            "auto" => Ok(MaskChoice::Auto),
            digit @ ("0" | "1" | "2" | "3") => Ok(MaskChoice::Fixed(usize::from(digit.as_bytes()[0] - b'0'))),
            _ => {
                Err(Error::Argument { name: "mask", expected: "auto, 0, 1, 2 or 3".into(), found: format!("'{text}'") })
            }
        }
    }
}

/// How masks are scored. The highest score wins, the lowest index among equals. Except for [`Rule::PredictedIou`] an
/// empty mask scores 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// How well the mask fills the prompt box and stays inside it.
    BoxAgreement,
    /// How little the mask's area depends on the threshold.
    Stability,
    /// Mean Dice with the other masks.
    Consensus,
    /// A fixed preference a mask, for instance how often each wins on known data.
    Prior([f64; MOST_MASKS]),
    /// Box agreement times stability.
    Product,
    /// Box agreement times stability times consensus.
    ProductWithConsensus,
    /// What the IoU head says, where it was trained.
    PredictedIou,
}

impl Rule {
    /// The rule of a kind of model. MedSAM and LiteMedSAM are used with mask 0 alone, where any rule gives the same.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::MedSegX | Kind::MedSam | Kind::LiteMedSam => Rule::Product,
            Kind::Sam => Rule::PredictedIou,
        }
    }

    /// Score of each mask.
    pub fn scores(&self, measures: &Measures) -> [f64; MOST_MASKS] {
        std::array::from_fn(|m| {
            let Measure { area, box_agreement, stability, predicted_iou, .. } = measures.masks[m];
            let score = match self {
                Rule::BoxAgreement => box_agreement,
                Rule::Stability => stability,
                Rule::Consensus => measures.consensus(m),
                Rule::Prior(table) => table[m],
                Rule::Product => box_agreement * stability,
                Rule::ProductWithConsensus => box_agreement * stability * measures.consensus(m),
                Rule::PredictedIou => return predicted_iou,
            };
            if area == 0 { 0.0 } else { score }
        })
    }

    /// The rule in words, for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::BoxAgreement => "box agreement",
            Rule::Stability => "stability",
            Rule::Consensus => "consensus",
            Rule::Prior(_) => "prior",
            Rule::Product => "box agreement x stability",
            Rule::ProductWithConsensus => "box agreement x stability x consensus",
            Rule::PredictedIou => "predicted IoU",
        }
    }

    /// Place of the mask with the highest score.
    pub fn pick(&self, measures: &Measures) -> usize {
        best(&self.scores(measures)[..measures.count])
    }
}

/// What is known of one mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measure {
    /// Pixels inside.
    pub area: u32,
    /// First and last column and row inside, `[x0, y0, x1, y1]`; `None` for an empty mask.
    pub tight_box: Option<[u32; 4]>,
    /// IoU of the tight box and the prompt box, times the share of the mask inside the prompt box; 1 without a prompt
    /// box, 0 for an empty mask.
    pub box_agreement: f64,
    /// Area above `+`[`STABILITY_OFFSET`] over area above `-`[`STABILITY_OFFSET`]; 0 where nothing is above.
    pub stability: f64,
    /// The IoU head's word; 0 if nobody asked.
    pub predicted_iou: f64,
}

/// What is known of all masks of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// M.
    pub count: usize,
    /// One a mask; the rest is default.
    pub masks: [Measure; MOST_MASKS],
    /// Dice of each pair of masks; 1 where both are empty.
    pub dice: [[f64; MOST_MASKS]; MOST_MASKS],
}

/// What is counted of one map, before any arithmetic: whoever counts, the same scores follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pixels of the mask.
    pub area: u32,
    /// Pixels above `+`[`STABILITY_OFFSET`].
    pub above: u32,
    /// Pixels above `-`[`STABILITY_OFFSET`].
    pub below: u32,
    /// Pixels of the mask whose middle lies in the prompt box, see [`pixels_of_box`]; any number without one.
    pub inside: u32,
    /// First column and row, last column and row of the mask; `None` for an empty one.
    pub tight_box: Option<[u32; 4]>,
}

impl Measures {
    /// Measures every mask.
    pub fn new(candidates: &Candidates) -> Self {
        let plane = candidates.side * candidates.side;
        let map = |m: usize| &candidates.logits[m * plane..][..plane];
        let both = |a: usize, b: usize| count_pixels(map(a).iter().zip(map(b)), |&(&a, &b)| a > 0.0 && b > 0.0);
        let counts = |m: usize| count(map(m), candidates.side, candidates.prompt);
        Measures::of_counts(candidates.masks(), counts, both, candidates.prompt, candidates.predicted_iou)
    }

    /// From the counts of each of `masks` masks and the pixels of both of two; `predicted_iou` has one a map, or none.
    pub fn of_counts(
        masks: usize,
        counts: impl Fn(usize) -> Counts,
        both: impl Fn(usize, usize) -> u32,
        prompt: Option<[f32; 4]>,
        predicted_iou: &[f32],
    ) -> Self {
        let mut measures = Measures { count: masks, masks: Default::default(), dice: [[1.0; MOST_MASKS]; MOST_MASKS] };
        for m in 0..masks {
            measures.masks[m] = measure(&counts(m), prompt);
            measures.masks[m].predicted_iou = predicted_iou.get(m).copied().map_or(0.0, f64::from);
            for other in 0..m {
                let dice = dice(both(other, m), measures.masks[m].area, measures.masks[other].area);
                (measures.dice[m][other], measures.dice[other][m]) = (dice, dice);
            }
        }
        measures
    }

    /// Mean Dice of mask `m` with the others; 1 for a single mask.
    pub fn consensus(&self, m: usize) -> f64 {
        let others = (0..self.count).filter(|&other| other != m);
        let (sum, count) = others.fold((0.0, 0.0), |(sum, count), other| (sum + self.dice[m][other], count + 1.0));
        if count == 0.0 { 1.0 } else { sum / count }
    }

    /// How far all masks agree: mean Dice over the pairs; 1 for a single mask. Low where the prompt is ambiguous.
    pub fn agreement(&self) -> f64 {
        let consensus = (0..self.count).map(|m| self.consensus(m)).sum::<f64>();
        if self.count == 0 { 1.0 } else { consensus / self.count as f64 }
    }
}

/// The mask to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Which map of the candidates.
    pub index: usize,
    /// Its mask token: 0 for the single mask, 1 to 3 for the candidates.
    pub chosen: usize,
    /// Score of each map by the rule.
    pub scores: [f64; MOST_MASKS],
    /// What the scores were made of.
    pub measures: Measures,
}

/// Scores the masks and picks one. A fixed token that the candidates do not have counts as [`MaskChoice::Auto`].
pub fn choose(candidates: &Candidates, choice: MaskChoice, rule: Rule) -> Verdict {
    judge(Measures::new(candidates), candidates.first_token, choice, rule)
}

/// [`choose`] for masks that are measured.
pub fn judge(measures: Measures, first_token: usize, choice: MaskChoice, rule: Rule) -> Verdict {
    let scores = rule.scores(&measures);
    let fixed = match choice {
        MaskChoice::Auto => None,
        MaskChoice::Fixed(token) => token.checked_sub(first_token).filter(|&index| index < measures.count),
    };
    let index = fixed.unwrap_or_else(|| best(&scores[..measures.count]));
    Verdict { index, chosen: first_token + index, scores, measures }
}

/// Place of the highest score, the first of equals; NaN never wins.
fn best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, &score) in scores.iter().enumerate() {
        if score > scores[best] || scores[best].is_nan() && !score.is_nan() {
            best = index;
        }
    }
    best
}

fn count(map: &[f32], side: usize, prompt: Option<[f32; 4]>) -> Counts {
    let mut counts = Counts { inside: prompt.map_or(0, |prompt| area_inside(map, side, prompt)), ..Counts::default() };
    for (y, row) in map.chunks_exact(side.max(1)).enumerate() {
        let above = |limit| count_pixels(row.iter(), |&&logit| logit > limit);
        let area = above(0.0);
        counts.area += area;
        counts.above += above(STABILITY_OFFSET);
        counts.below += above(-STABILITY_OFFSET);
        if area > 0 {
            counts.tight_box = Some(with_row(counts.tight_box, row, y as u32));
        }
    }
    counts
}

/// The box `tight` and the pixels of `row`, of which at least one is inside, in row `y` below it.
fn with_row(tight: Option<[u32; 4]>, row: &[f32], y: u32) -> [u32; 4] {
    let [x0, y0, x1, _] = tight.unwrap_or([row.len() as u32, y, 0, y]);
    let inside = |&logit: &f32| logit > 0.0;
    // Counted at once in registers; most rows reach no further than those above.
    let reaches = |part: &[f32]| count_pixels(part.iter(), |logit| inside(logit)) > 0;
    let (left, right) = (&row[..x0 as usize], &row[row.len().min(x1 as usize + 1)..]);
    let first = if reaches(left) { left.iter().position(inside).unwrap_or(left.len()) } else { left.len() };
    let last = if reaches(right) { right.iter().rposition(inside).map_or(x1, |at| x1 + 1 + at as u32) } else { x1 };
    [first as u32, y0, last, y]
}

fn measure(counts: &Counts, prompt: Option<[f32; 4]>) -> Measure {
    let Counts { area, above, below, inside, tight_box } = *counts;
    let box_agreement = match (tight_box, prompt) {
        (None, _) => 0.0,
        (Some(_), None) => 1.0,
        (Some(tight), Some(prompt)) => (box_iou(tight, prompt) * (f64::from(inside) / f64::from(area.max(1)))).max(0.0),
    };
    let stability = if below == 0 { 0.0 } else { f64::from(above) / f64::from(below) };
    Measure { area, tight_box, box_agreement, stability, predicted_iou: 0.0 }
}

/// Of fewer than 2^32. A sum that is checked at every pixel would not be one of registers.
fn count_pixels<T>(pixels: impl Iterator<Item = T>, inside: impl Fn(&T) -> bool) -> u32 {
    pixels.fold(0, |count, pixel| count.wrapping_add(u32::from(inside(&pixel))))
}

/// Columns and rows of a map of side `side` whose middles lie in a prompt box.
pub fn pixels_of_box(side: usize, prompt: [f32; 4]) -> [Range<usize>; 2] {
    let range = |first: f32, last: f32| {
        // Pixel p covers p - 0.5 .. p + 0.5 around its index; casts saturate.
        let (first, end) = ((first - 0.5).ceil().max(0.0) as usize, (last + 0.5).floor().max(-1.0) + 1.0);
        first.min(side)..(end as usize).clamp(first.min(side), side)
    };
    [range(prompt[0], prompt[2]), range(prompt[1], prompt[3])]
}

/// Pixels of the mask whose middle lies in the prompt box.
fn area_inside(map: &[f32], side: usize, prompt: [f32; 4]) -> u32 {
    let [columns, rows] = pixels_of_box(side, prompt);
    rows.map(|y| count_pixels(map[y * side..][columns.clone()].iter(), |&&logit| logit > 0.0)).sum()
}

/// IoU of two boxes of inclusive indices.
fn box_iou(tight: [u32; 4], prompt: [f32; 4]) -> f64 {
    let (a, b) = (tight.map(f64::from), prompt.map(f64::from));
    let overlap = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis]) + 1.0).max(0.0);
    let size = |c: [f64; 4]| (c[2] - c[0] + 1.0).max(0.0) * (c[3] - c[1] + 1.0).max(0.0);
    let both = overlap(0) * overlap(1);
    both / (size(a) + size(b) - both)
}

#[cfg(test)]
mod tests;
