//! Limits of grey levels that padding and a few extreme values do not move.

use super::Voxel;
use super::rank::{Cancel, Ranked, at_rank, pass};
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
    let Some(ends) = extremes(values, value, |_| true, cancel)? else { return Ok(None) };
    let mut candidates = [false; 2];
    for (candidate, end) in candidates.iter_mut().zip(ends).filter(|(_, end)| !(BELOW_CT..TOP).contains(end)) {
        *candidate = count(values, |v| value(v) == end, cancel)? as f64 >= PADDED * values.len() as f64;
    }
    let is_rest = |v: T| !(0..2).any(|end| candidates[end] && value(v) == ends[end]);
    let Some(inner) = extremes(values, value, is_rest, cancel)? else { return Ok(Some((ends, SetAside::default()))) };
    let Some(core) = core(values, value, is_rest, cancel)? else { return Ok(Some((ends, SetAside::default()))) };
    let width = core[1] - core[0];
    let fence = [core[0] - BEYOND * width, core[1] + BEYOND * width];
    let is_within = |v: T| is_rest(v) && (fence[0]..=fence[1]).contains(&value(v));
    let mut limits = extremes(values, value, is_within, cancel)?.unwrap_or(inner);
    let below = count(values, |v| is_rest(v) && value(v) < fence[0], cancel)?;
    let above = count(values, |v| is_rest(v) && value(v) > fence[1], cancel)?;
    let mut aside = SetAside { below, above, ..SetAside::default() };
    for end in (0..2).filter(|&end| candidates[end]) {
        let gap = if end == 0 { core[0] - ends[0] } else { ends[1] - core[1] };
        if gap > GAP * width {
            aside.padding[end] = Some(ends[end]);
        } else {
            limits[end] = ends[end];
        }
    }
    let is_padding = |v: T| aside.padding.iter().flatten().any(|&padding| value(v) == padding);
    aside.padding_values = count(values, is_padding, cancel)?;
    Ok(Some((limits, aside)))
}

/// Least and greatest `value` of those that are `taken`.
fn extremes<T: Voxel>(
    values: &[T],
    value: impl Fn(T) -> f64,
    taken: impl Fn(T) -> bool,
    cancel: Cancel,
) -> Result<Option<[f64; 2]>> {
    let mut ends: Option<[f64; 2]> = None;
    pass(values, cancel, |piece| {
        for v in piece.iter().filter(|&&v| taken(v)).map(|&v| value(v)) {
            ends = Some(ends.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]));
        }
    })?;
    Ok(ends)
}

fn count<T: Voxel>(values: &[T], has: impl Fn(T) -> bool, cancel: Cancel) -> Result<u64> {
    let mut count = 0;
    pass(values, cancel, |piece| count += piece.iter().filter(|&&v| has(v)).count() as u64)?;
    Ok(count)
}

/// The range of what is left of the `taken` values without the tails; `None` where all of it is alike.
fn core<T: Ranked>(
    values: &[T],
    value: impl Fn(T) -> f64,
    taken: impl Fn(T) -> bool,
    cancel: Cancel,
) -> Result<Option<[f64; 2]>> {
    let all = count(values, &taken, cancel)?;
    let Some(last) = all.checked_sub(1) else { return Ok(None) };
    for tail in TAILS {
        let cut = ((tail * all as f64) as u64).min(last);
        let [Some(one), Some(other)] =
            [at_rank(values, &taken, cut, cancel)?, at_rank(values, &taken, last - cut, cancel)?]
        else {
            return Ok(None);
        };
        // A negative slope turns the order of the stored values round.
        let (one, other) = (value(one), value(other));
        let core = [one.min(other), one.max(other)];
        if core[0] < core[1] {
            return Ok(Some(core));
        }
    }
    Ok(None)
}
