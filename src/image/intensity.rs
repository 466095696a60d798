//! From voxel values to the 0..255 that the network was trained on.

use std::fmt;
use std::str::FromStr;

use super::pass::{Cancel, pass};
use super::rank::{Ranked, at_ranks};
use super::voxel::Voxel;
use crate::{Error, Result};

/// A rule by which values become 0..255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intensity {
    /// The volume's own minimum..maximum, as MedSegDB's slices were made.
    MinMax,
    /// The 0.5th to 99.5th percentile of the values above 0, MedSAM's rule.
    Percentile,
    /// Minimum..maximum without padding values and isolated extremes ([`super::SetAside`]).
    Robust,
    /// A window of the given level and width.
    Window {
        /// Middle.
        level: f64,
        /// Distance from black to white.
        width: f64,
    },
    /// CT soft tissue: level 40, width 400.
    Soft,
    /// CT lung: level -600, width 1500.
    Lung,
    /// CT brain: level 40, width 80.
    Brain,
    /// CT bone: level 400, width 1800.
    Bone,
    /// CT mediastinum: level 50, width 350.
    Mediastinum,
    /// Values that are already 0..255.
    Raw,
    /// Values from 0 to 1.
    Unit,
}

/// Names without numbers.
const NAMED: [(&str, Intensity); 10] = [
    ("minmax", Intensity::MinMax),
    ("percentile", Intensity::Percentile),
    ("robust", Intensity::Robust),
    ("soft", Intensity::Soft),
    ("lung", Intensity::Lung),
    ("brain", Intensity::Brain),
    ("bone", Intensity::Bone),
    ("mediastinum", Intensity::Mediastinum),
    ("raw", Intensity::Raw),
    ("unit", Intensity::Unit),
];

/// The rules as a user writes them.
const RULES: &str = "minmax, robust, percentile, window:LEVEL,WIDTH, soft, lung, brain, bone, mediastinum, raw or unit";

/// Percentiles of [`Intensity::Percentile`].
const PERCENTILES: [f64; 2] = [0.5, 99.5];

impl FromStr for Intensity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Argument { name: "intensity", expected: RULES.into(), found: format!("'{text}'") };
        let lower = text.trim().to_lowercase();
        if let Some(numbers) = lower.strip_prefix("window:") {
            let (level, width) = numbers.split_once(',').ok_or_else(wrong)?;
            let number = |s: &str| s.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            let (level, width) = (number(level).ok_or_else(wrong)?, number(width).ok_or_else(wrong)?);
            return if width > 0.0 { Ok(Intensity::Window { level, width }) } else { Err(wrong()) };
        }
        NAMED.iter().find(|(name, _)| *name == lower).map(|(_, rule)| *rule).ok_or_else(wrong)
    }
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Intensity::Window { level, width } => write!(f, "window:{level},{width}"),
            other => f.write_str(NAMED.iter().find(|(_, rule)| rule == other).map_or("", |(name, _)| name)),
        }
    }
}

impl Intensity {
    /// Level and width, when the rule is a window.
    fn window(self) -> Option<(f64, f64)> {
        match self {
            Intensity::Window { level, width } => Some((level, width)),
            Intensity::Soft => Some((40.0, 400.0)),
            Intensity::Lung => Some((-600.0, 1500.0)),
            Intensity::Brain => Some((40.0, 80.0)),
            Intensity::Bone => Some((400.0, 1800.0)),
            Intensity::Mediastinum => Some((50.0, 350.0)),
            Intensity::Unit => Some((0.5, 1.0)),
            Intensity::MinMax | Intensity::Percentile | Intensity::Robust | Intensity::Raw => None,
        }
    }

    /// Whether both make the same grey levels of any values: windows with other names do.
    pub(crate) fn is_alike(self, other: Intensity) -> bool {
        self == other || (self.window().is_some() && self.window() == other.window())
    }

    /// The rule's numbers for values of which only minimum and maximum are known.
    ///
    /// # Errors
    /// [`Error::Argument`] for values that are not finite, for `raw` outside 0..255, for `unit` outside 0..1, and for
    /// `percentile` and `robust`.
    pub fn resolve_range(self, statistics: &Statistics) -> Result<IntensityMap> {
        let error =
            |expected: &str, found: String| Error::Argument { name: "intensity", expected: expected.into(), found };
        if statistics.not_finite > 0 {
            return Err(error("finite values", format!("{} NaN or infinite", statistics.not_finite)));
        }
        let (low, high) = match (self, self.window()) {
            (Intensity::Unit, _) if statistics.minimum < 0.0 || statistics.maximum > 1.0 => {
                let found = format!("{} to {}", statistics.minimum, statistics.maximum);
                return Err(error("0 to 1 for unit (another --intensity maps other values)", found));
            }
            (_, Some((level, width))) => (level - width / 2.0, level + width / 2.0),
            (Intensity::Raw, _) => {
                if statistics.minimum < 0.0 || statistics.maximum > 255.0 {
                    let found = format!("{} to {}", statistics.minimum, statistics.maximum);
                    return Err(error("0 to 255 for raw (another --intensity maps other values)", found));
                }
                (0.0, 255.0)
            }
            (Intensity::Percentile | Intensity::Robust, _) => {
                return Err(error("all values for percentile and robust", "their range".into()));
            }
            _ => (statistics.minimum, statistics.maximum),
        };
        Ok(IntensityMap { rule: self, low, high })
    }
}

/// Whether floats are fractions of at most 1, of which raw would make 0 and 1: black.
pub(crate) fn are_fractions(statistics: &Statistics) -> bool {
    statistics.minimum >= 0.0 && statistics.maximum > 0.0 && statistics.maximum <= 1.0
}

/// A rule with its numbers: `low` becomes 0, `high` becomes 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntensityMap {
    /// The rule they come from.
    pub rule: Intensity,
    /// The value that becomes black.
    pub low: f64,
    /// The value that becomes white. Where it equals `low` the image is constant and every level is 0.
    pub high: f64,
}

impl IntensityMap {
    /// (value - low) / (high - low) x 255, clipped and rounded half to even.
    #[inline]
    pub fn level(&self, value: f64) -> u8 {
        if self.rule == Intensity::Raw {
            return value.round_ties_even() as u8;
        }
        if self.high <= self.low {
            return 0;
        }
        ((value - self.low) / (self.high - self.low) * 255.0).round_ties_even() as u8
    }
}

impl serde::Serialize for IntensityMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut map = serializer.serialize_struct("IntensityMap", 3)?;
        map.serialize_field("rule", &self.rule.to_string())?;
        map.serialize_field("low", &self.low)?;
        map.serialize_field("high", &self.high)?;
        map.end()
    }
}

/// Range of the values, and what is not finite among them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Statistics {
    /// Least finite value; infinity when there is none.
    pub minimum: f64,
    /// Greatest finite value; minus infinity when there is none.
    pub maximum: f64,
    /// How many values are NaN or infinite.
    pub not_finite: u64,
    /// Index of the first of them.
    pub first_not_finite: Option<usize>,
}

impl Statistics {
    /// Over `slope x value + intercept` of all `values`.
    pub fn of<T: Voxel>(values: &[T], slope: f64, intercept: f64) -> Self {
        Self::of_extremes(values, slope, intercept).unwrap_or_else(|| Self::of_each(values, slope, intercept))
    }

    /// As [`Statistics::of`].
    ///
    /// # Errors
    /// [`Error::Cancelled`] soon after `cancel` is set.
    pub(crate) fn of_unless<T: Voxel>(values: &[T], slope: f64, intercept: f64, cancel: Cancel) -> Result<Self> {
        let (mut all, mut seen) = (Self::of::<T>(&[], slope, intercept), 0);
        pass(values, cancel, |piece| {
            let one = Self::of(piece, slope, intercept);
            all.first_not_finite = all.first_not_finite.or(one.first_not_finite.map(|first| seen + first));
            all.widen(&one);
            seen += piece.len();
        })?;
        Ok(all)
    }

    /// Takes in the values of `other`. Where the first of them is that is not finite is the caller's to say: its index
    /// is among the others alone.
    pub(crate) fn widen(&mut self, other: &Statistics) {
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
        self.not_finite += other.not_finite;
    }

    /// Of integers only the least and the greatest are looked at, which is many times as fast: rounding keeps the
    /// order, so theirs are the extremes, and where both are finite all are. `None` for whatever needs a look at each
    /// value.
    fn of_extremes<T: Voxel>(values: &[T], slope: f64, intercept: f64) -> Option<Self> {
        let &first = values.first().filter(|_| T::INTEGER)?;
        let (low, high) = values.iter().fold((first, first), |(low, high), &value| {
            (if value < low { value } else { low }, if value > high { value } else { high })
        });
        let [low, high] = [low, high].map(|value| slope * value.to_f64() + intercept);
        let (minimum, maximum) = if slope < 0.0 { (high, low) } else { (low, high) };
        let finite = minimum.is_finite() && maximum.is_finite();
        finite.then_some(Statistics { minimum, maximum, not_finite: 0, first_not_finite: None })
    }

    fn of_each<T: Voxel>(values: &[T], slope: f64, intercept: f64) -> Self {
        let (mut minimum, mut maximum) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut not_finite, mut first_not_finite) = (0, None);
        for (index, value) in values.iter().enumerate() {
            let value = slope * value.to_f64() + intercept;
            if value.is_finite() {
                minimum = if value < minimum { value } else { minimum };
                maximum = if value > maximum { value } else { maximum };
            } else {
                not_finite += 1;
                first_not_finite = first_not_finite.or(Some(index));
            }
        }
        Statistics { minimum, maximum, not_finite, first_not_finite }
    }
}

/// The two percentiles of `slope x value + intercept` over the values above 0, interpolated linearly as NumPy does;
/// `None` when no value is above 0. They are found among the stored values, of which a value is a monotonic function.
///
/// # Errors
/// Memory; [`Error::Cancelled`] soon after `cancel` is set.
pub(crate) fn percentiles_of<T: Ranked>(
    values: &[T],
    slope: f64,
    intercept: f64,
    cancel: Cancel,
) -> Result<Option<[f64; 2]>> {
    let value = |v: T| slope * v.to_f64() + intercept;
    let places = |total: u64| {
        PERCENTILES.map(|percent| {
            let percent = if slope < 0.0 { 100.0 - percent } else { percent };
            percent / 100.0 * (total - 1) as f64
        })
    };
    let mut fractions = [0.0; 2];
    let ranks = |total: u64| {
        fractions = places(total).map(f64::fract);
        let [[a, b], [c, d]] = places(total).map(|place| [place as u64, (place as u64 + 1).min(total - 1)]);
        [a, b, c, d]
    };
    let found = at_ranks(values, |v| value(v) > 0.0, ranks, cancel)?;
    Ok(found.map(|[a, b, c, d]| {
        let between = |low: T, high: T, fraction: f64| value(low) + (value(high) - value(low)) * fraction;
        [between(a, b, fractions[0]), between(c, d, fractions[1])]
    }))
}
