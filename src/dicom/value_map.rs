//! A map from stored numbers to real world values (PS3.3 C.7.6.16.2.11), as a file has it and as it is used.

use super::FrameShape;
use super::data_set::{DataSet, Flaw, Flawed};
use super::tags::{self, Tag};

/// A map in use.
#[derive(Debug)]
pub struct Map {
    /// The least and the greatest number that it maps.
    ends: Option<[f64; 2]>,
    /// A value for each number from the first end on; none of a line, which is its frame's slope and intercept.
    table: Vec<f64>,
}

impl Map {
    pub fn is_table(&self) -> bool {
        !self.table.is_empty()
    }

    /// Whether `stored` is mapped. NaN and infinity stand for no number, and padding need not be.
    pub fn holds(&self, stored: f64, padding: Option<[f64; 2]>) -> bool {
        let within = |[low, high]: [f64; 2]| (low..=high).contains(&stored);
        !stored.is_finite() || self.ends.is_none_or(within) || padding.is_some_and(within)
    }

    /// What a table has for `stored`; of what lies outside, as padding may, the value at the nearer end.
    pub fn look_up(&self, stored: f64) -> f64 {
        let [first, last] = self.ends.unwrap_or_default();
        // A table's ends are whole numbers, as many as it has entries.
        self.table.get((stored.clamp(first, last) - first) as usize).copied().unwrap_or(f64::NAN)
    }

    /// For messages.
    pub fn ends(&self) -> String {
        self.ends.map_or(String::new(), |[first, last]| format!("{first} to {last}"))
    }
}

/// What a map is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub label: Option<String>,
    /// Code of the unit, of UCUM as a rule.
    pub unit: Option<String>,
}

impl Named {
    pub fn of(item: &DataSet) -> Named {
        let unit = item.item(tags::MEASUREMENT_UNITS_CODE_SEQUENCE).and_then(|code| code.text(tags::CODE_VALUE));
        Named { label: item.text(tags::LUT_LABEL), unit }
    }

    pub fn is(&self, wanted: &str) -> bool {
        [&self.label, &self.unit].into_iter().any(|name| name.as_deref() == Some(wanted))
    }

    /// For people: what it may be asked for by.
    pub fn shown(&self) -> String {
        let name = self.label.as_deref().unwrap_or("without a label");
        format!("{} [{}]", name.escape_debug(), self.unit.as_deref().unwrap_or("no unit").escape_debug())
    }
}

/// What the maps of a frame are called.
pub fn names(maps: &[DataSet]) -> Vec<String> {
    maps.iter().map(|item| Named::of(item).shown()).collect()
}

/// A map, and the slope and intercept of a line, of samples that are `floats` or of the frame's sign.
pub fn read(item: &DataSet, shape: &FrameShape, floats: bool) -> Flawed<(Map, (f64, f64))> {
    let end = |double: Tag, word: Tag| -> Flawed<Option<f64>> {
        let of_word = |value: f64| if floats { value } else { shape.number(value) };
        Ok(item.number(double)?.or(item.number(word)?.map(of_word)))
    };
    let first = end(tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, tags::REAL_WORLD_VALUE_FIRST_VALUE_MAPPED)?;
    let last = end(tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_LAST_VALUE_MAPPED, tags::REAL_WORLD_VALUE_LAST_VALUE_MAPPED)?;
    let ends = match (first, last) {
        (Some(first), Some(last)) if first <= last => Some([first, last]),
        (None, None) => None,
        (first, last) => {
            let what = "first and last number of a map of real world values";
            return Err(Flaw::new(what, "both, in this order", format!("{first:?} and {last:?}")));
        }
    };
    let slope = item.number(tags::REAL_WORLD_VALUE_SLOPE)?.filter(|slope| *slope != 0.0);
    let table = item.numbers(tags::REAL_WORLD_VALUE_LUT_DATA)?;
    match (slope, item.number(tags::REAL_WORLD_VALUE_INTERCEPT)?) {
        (Some(slope), Some(intercept)) if table.is_empty() => Ok((Map { ends, table }, (slope, intercept))),
        (None, None) if !table.is_empty() => {
            let entries = |[first, last]: [f64; 2]| last - first + 1.0;
            if ends.is_none_or(|ends| entries(ends) != table.len() as f64 || ends[0].fract() != 0.0) {
                let expected = ends.map_or("a first and a last number".into(), |ends| entries(ends).to_string());
                return Err(Flaw::new(tags::shown(tags::REAL_WORLD_VALUE_LUT_DATA), expected, table.len()));
            }
            Ok((Map { ends, table }, (1.0, 0.0)))
        }
        _ => {
            let what = tags::shown(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE);
            Err(Flaw::new(what, "a slope that is not 0 and an intercept, or a table", "another kind of map"))
        }
    }
}
