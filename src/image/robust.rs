//! Limits of grey levels that padding and a few extreme values do not move.

use super::Voxel;

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

/// Least and greatest of `slope x value + intercept` over `values`, which are put into another order, without
///
/// - padding: the least or greatest value, where at least one in a thousand has it, it is below -1024 or at least
///   32767, and a quarter of the width of the rest lies between;
/// - isolated extremes: of the outermost thousandth at each end those that lie beyond the others by more than half of
///   their width. Where the others are all alike the outermost ten thousandth is taken, then the next tenth.
///
/// `None` without values; they have to be finite.
pub(crate) fn robust_of<T: Voxel>(values: &mut [T], slope: f64, intercept: f64) -> Option<([f64; 2], SetAside)> {
    let value = |v: T| slope * v.to_f64() + intercept;
    let ends = extremes(values.iter().map(|&v| value(v)))?;
    let candidate = |end: f64| !(BELOW_CT..TOP).contains(&end) && is_common(values, |&&v| value(v) == end);
    let candidates = ends.map(candidate);
    let is_candidate = |v: T| (0..2).any(|end| candidates[end] && value(v) == ends[end]);
    let rest = partitioned(values, is_candidate);
    let Some(inner) = extremes(rest.iter().map(|&v| value(v))) else { return Some((ends, SetAside::default())) };
    let Some(core) = core(rest, value) else { return Some((ends, SetAside::default())) };
    let width = core[1] - core[0];
    let fence = [core[0] - BEYOND * width, core[1] + BEYOND * width];
    let within = rest.iter().map(|&v| value(v)).filter(|v| (fence[0]..=fence[1]).contains(v));
    let mut limits = extremes(within).unwrap_or(inner);
    let count = |outside: &dyn Fn(f64) -> bool| rest.iter().filter(|&&v| outside(value(v))).count() as u64;
    let (below, above) = (count(&|v| v < fence[0]), count(&|v| v > fence[1]));
    let mut aside = SetAside { below, above, ..SetAside::default() };
    for end in (0..2).filter(|&end| candidates[end]) {
        let gap = if end == 0 { core[0] - ends[0] } else { ends[1] - core[1] };
        if gap > GAP * width {
            aside.padding[end] = Some(ends[end]);
        } else {
            limits[end] = ends[end];
        }
    }
    let is_padding = |v: &&T| aside.padding.iter().flatten().any(|&padding| value(**v) == padding);
    aside.padding_values = values.iter().filter(is_padding).count() as u64;
    Some((limits, aside))
}

fn extremes(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.fold(None, |ends, v| Some(ends.map_or([v, v], |[low, high]: [f64; 2]| [low.min(v), high.max(v)])))
}

fn is_common<T>(values: &[T], has: impl Fn(&&T) -> bool) -> bool {
    values.iter().filter(has).count() as f64 >= PADDED * values.len() as f64
}

/// Moves what `goes` to the front and returns the others.
fn partitioned<T: Voxel>(values: &mut [T], goes: impl Fn(T) -> bool) -> &mut [T] {
    let mut gone = 0;
    for at in 0..values.len() {
        if goes(values[at]) {
            values.swap(at, gone);
            gone += 1;
        }
    }
    &mut values[gone..]
}

/// The range of what is left without the tails; `None` where all of it is alike.
fn core<T: Voxel>(values: &mut [T], value: impl Fn(T) -> f64) -> Option<[f64; 2]> {
    let last = values.len().checked_sub(1)?;
    TAILS.into_iter().find_map(|tail| {
        let cut = (tail * values.len() as f64) as usize;
        let [low, high] = [cut, last - cut.min(last)].map(|place| {
            let (_, found, _) = values.select_nth_unstable_by(place, |&a, &b| value(a).total_cmp(&value(b)));
            value(*found)
        });
        (low < high).then_some([low, high])
    })
}
