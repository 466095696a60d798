//! Limits of grey levels that padding and a few extreme values do not move.

use super::Voxel;
use super::pass::{Cancel, pass};
use super::rank::{Ranked, at_ranks};
use crate::Result;

/// Shares of the values at either end that may be extremes. The first at which the rest is not constant counts.
const TAILS: [f64; 3] = [1e-3, 1e-4, 1e-5];
/// How far beyond the rest an extreme value lies at least, in widths of the rest.
const BEYOND: f64 = 0.5;
/// How far from the rest a padding value lies at least, in widths of the rest.
const GAP: f64 = 0.25;
/// The share of the values that padding has at least.
const PADDED: f64 = 1e-3;
/// What lies below the range of CT, or at or above the top of 16-bit integers, may be padding.
const BELOW_CT: f64 = -1024.0;
const TOP: f64 = 32767.0;

/// What [`super::Intensity::Robust`] leaves out of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct SetAside {
    /// The padding value at the lower and at the upper end, where there is one.
    pub padding: [Option<f64>; 2],
    /// How many values are padding.
    pub padding_values: u64,
    /// Isolated extremes below the lower limit.
    pub below: u64,
    /// Isolated extremes above the upper limit.
    pub above: u64,
}

/// Least and greatest of `slope x value + intercept` over `values` without
///
/// - padding: the least or greatest value, where at least one in a thousand has it, it is below -1024 or at least
///   32767, and a quarter of the width of the rest lies between;
/// - isolated extremes: of the outermost thousandth at each end those that lie beyond the others by more than half of
///   their width. Where the others are all alike the outermost ten thousandth is taken, then the next tenth.
///
/// `None` without values; they have to be finite, and the slope not 0.
///
/// # Errors
/// Memory; [`Error::Cancelled`](crate::Error::Cancelled) soon after `cancel` is set.
pub(crate) fn robust_of<T: Ranked>(
    values: &[T],
    slope: f64,
    intercept: f64,
    cancel: Cancel,
) -> Result<Option<([f64; 2], SetAside)>> {
    let value = |v: T| slope * v.to_f64() + intercept;
    let Some(ends) = extremes(values, value, cancel)? else { return Ok(None) };
    let candidates = candidates(values, value, ends, cancel)?;
    let is_rest = |v: T| !(0..2).any(|end| candidates[end] && value(v) == ends[end]);
    let Some(core) = core(values, value, is_rest, cancel)? else { return Ok(Some((ends, SetAside::default()))) };
    let width = core[1] - core[0];
    let fence = [core[0] - BEYOND * width, core[1] + BEYOND * width];
    let (mut limits, mut aside) = (core, SetAside::default());
    pass(values, cancel, |piece| {
        for v in piece.iter().filter(|&&v| is_rest(v)).map(|&v| value(v)) {
            if v < fence[0] {
                aside.below += 1;
            } else if v > fence[1] {
                aside.above += 1;
            } else {
                limits = [limits[0].min(v), limits[1].max(v)];
            }
        }
    })?;
    for end in (0..2).filter(|&end| candidates[end]) {
        let gap = if end == 0 { core[0] - ends[0] } else { ends[1] - core[1] };
        if gap > GAP * width {
            aside.padding[end] = Some(ends[end]);
        } else {
            limits[end] = ends[end];
        }
    }
    if aside.padding.iter().any(Option::is_some) {
        let is_padding = |v: T| aside.padding.iter().flatten().any(|&padding| value(v) == padding);
        let mut padded = 0;
        pass(values, cancel, |piece| padded += piece.iter().filter(|&&v| is_padding(v)).count() as u64)?;
        aside.padding_values = padded;
    }
    Ok(Some((limits, aside)))
}

fn extremes<T: Voxel>(values: &[T], value: impl Fn(T) -> f64, cancel: Cancel) -> Result<Option<[f64; 2]>> {
    let mut ends: Option<[f64; 2]> = None;
    pass(values, cancel, |piece| {
        for v in piece.iter().map(|&v| value(v)) {
            ends = Some(ends.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]));
        }
    })?;
    Ok(ends)
}

/// Which of the least and the greatest value may be padding: by itself, and by how often it is there.
fn candidates<T: Voxel>(values: &[T], value: impl Fn(T) -> f64, ends: [f64; 2], cancel: Cancel) -> Result<[bool; 2]> {
    let possible = ends.map(|end| !(BELOW_CT..TOP).contains(&end));
    let mut counts = [0_u64; 2];
    if possible.contains(&true) {
        pass(values, cancel, |piece| {
            for v in piece.iter().map(|&v| value(v)) {
                (0..2).for_each(|end| counts[end] += u64::from(v == ends[end]));
            }
        })?;
    }
    let least = PADDED * values.len() as f64;
    Ok([0, 1].map(|end| possible[end] && counts[end] as f64 >= least))
}

/// The range of what is left of the `taken` values without the tails; `None` where all of it is alike.
fn core<T: Ranked>(
    values: &[T],
    value: impl Fn(T) -> f64,
    taken: impl Fn(T) -> bool,
    cancel: Cancel,
) -> Result<Option<[f64; 2]>> {
    let ranks = |total: u64| {
        let cut = |tail: f64| ((tail * total as f64) as u64).min(total - 1);
        let [[a, b], [c, d], [e, f]] = TAILS.map(|tail| [cut(tail), total - 1 - cut(tail)]);
        [a, b, c, d, e, f]
    };
    let Some(found) = at_ranks(values, taken, ranks, cancel)? else { return Ok(None) };
    // A negative slope turns the order of the stored values round.
    let ends = found.as_chunks().0.iter().map(|&[one, other]: &[T; 2]| [value(one), value(other)]);
    let mut cores = ends.map(|[one, other]| [one.min(other), one.max(other)]);
    Ok(cores.find(|[low, high]| low < high))
}
