//! What an [`IntensityMap`] does to values of one stored type, without its arithmetic: grey levels never fall as values
//! grow (or never rise, where the slope is negative), so 255 thresholds say all of it. A device finds levels by
//! comparing and gives the very bytes that the host's f64 gives.

use super::intensity::IntensityMap;
use super::voxel::DataType;

/// How [`Thresholds::level`] halves.
#[cfg(test)]
const STEPS: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// Levels of the stored values of one type.
///
/// A key is the bits of a value, changed so that levels never fall as keys grow: integers lose their sign by a flipped
/// top bit, floats are ordered like integers, and a negative slope turns all of it round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// The level of the least key, then the greatest key that is still below each further level; all ones for levels
    /// that no value has.
    pub table: Vec<u64>,
    /// The stored type.
    pub data_type: DataType,
    /// What keys differ in from the ordered bits: the sign of signed integers, all bits where levels fall.
    pub flip: u64,
}

impl Thresholds {
    /// Of stored values that stand for `slope x stored + intercept`, all of them finite.
    pub fn new(map: &IntensityMap, data_type: DataType, (slope, intercept): (f64, f64)) -> Thresholds {
        let (sign, mask) = (sign(data_type), mask(data_type));
        let signed = matches!(data_type, DataType::I8 | DataType::I16 | DataType::I32 | DataType::I64);
        let flip = (if signed { sign } else { 0 }) ^ (if slope < 0.0 { mask } else { 0 });
        let level = |key: u64| map.level(slope * value(data_type, key ^ flip) + intercept);
        // Infinities close the range of floats; behind them are only NaN.
        let ends = match data_type {
            DataType::F32 => [f32::NEG_INFINITY, f32::INFINITY].map(|end| u64::from(end.to_bits())),
            DataType::F64 => [f64::NEG_INFINITY, f64::INFINITY].map(f64::to_bits),
            _ => [flip, flip ^ mask],
        };
        let mut ends = ends.map(|bits| ordered(data_type, bits) ^ flip);
        ends.sort_unstable();
        let least = level(ends[0]);
        let mut table = vec![u64::from(least)];
        table.extend((u16::from(least) + 1..=255).map(|wanted| {
            // The first key of this level or above lies behind `below`, and no further than `reached`.
            let (mut below, mut reached) = (ends[0], ends[1]);
            if u16::from(level(reached)) < wanted {
                return mask;
            }
            while reached - below > 1 {
                let middle = below + (reached - below) / 2;
                let side = if u16::from(level(middle)) < wanted { &mut below } else { &mut reached };
                *side = middle;
            }
            below
        }));
        table.resize(256, mask);
        Thresholds { table, data_type, flip }
    }

    /// Whether levels are the stored bytes themselves.
    pub fn keep_bytes(&self) -> bool {
        self.data_type == DataType::U8 && self.flip == 0 && self.table.iter().skip(1).copied().eq(0..255)
    }

    /// The level of a value by its bits, as a device finds it.
    #[cfg(test)]
    fn level(&self, bits: u64) -> u8 {
        let key = ordered(self.data_type, bits) ^ self.flip;
        let count = STEPS.iter().fold(0, |at, step| if key > self.table[at + step] { at + step } else { at });
        (self.table[0] + count as u64) as u8
    }
}

fn mask(data_type: DataType) -> u64 {
    u64::MAX >> (64 - 8 * data_type.bytes())
}

fn sign(data_type: DataType) -> u64 {
    1 << (8 * data_type.bytes() - 1)
}

/// The bits of a number: those of floats so that they order like unsigned integers, those of integers as they are.
fn ordered(data_type: DataType, bits: u64) -> u64 {
    match data_type {
        DataType::F32 | DataType::F64 if bits & sign(data_type) != 0 => !bits & mask(data_type),
        DataType::F32 | DataType::F64 => bits | sign(data_type),
        _ => bits,
    }
}

/// The number with these ordered bits.
fn value(data_type: DataType, ordered: u64) -> f64 {
    let sign = sign(data_type);
    let bits = match data_type {
        DataType::F32 | DataType::F64 if ordered & sign != 0 => ordered ^ sign,
        DataType::F32 | DataType::F64 => !ordered & mask(data_type),
        _ => ordered,
    };
    match data_type {
        DataType::U8 | DataType::U16 | DataType::U32 | DataType::U64 => bits as f64,
        DataType::I8 => f64::from(bits as i8),
        DataType::I16 => f64::from(bits as i16),
        DataType::I32 => f64::from(bits as i32),
        DataType::I64 => bits as i64 as f64,
        DataType::F32 => f64::from(f32::from_bits(bits as u32)),
        DataType::F64 => f64::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Intensity;

    const TYPES: [DataType; 10] = [
        DataType::U8,
        DataType::I8,
        DataType::U16,
        DataType::I16,
        DataType::U32,
        DataType::I32,
        DataType::U64,
        DataType::I64,
        DataType::F32,
        DataType::F64,
    ];

    /// Every value of short types; of long ones those around each threshold and many others.
    fn samples(thresholds: &Thresholds) -> Vec<u64> {
        let (data_type, mask) = (thresholds.data_type, mask(thresholds.data_type));
        if data_type.bytes() <= 2 {
            return (0..=mask).collect();
        }
        let near =
            thresholds.table[1..].iter().flat_map(|&key| (0..4).map(move |off| key.wrapping_add(off).wrapping_sub(1)));
        let spread = (0..2000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Keys to bits: the order of floats is undone by way of the value's own bits.
        let bits = |key: u64| {
            let ordered = (key & mask) ^ thresholds.flip;
            match data_type {
                DataType::F32 => u64::from((value(data_type, ordered) as f32).to_bits()),
                DataType::F64 => value(data_type, ordered).to_bits(),
                _ => ordered,
            }
        };
        near.chain(spread).map(bits).collect()
    }

    #[test]
    fn levels_are_those_of_the_map() {
        let map = |rule, low, high| IntensityMap { rule, low, high };
        let maps = [
            map(Intensity::MinMax, -1000.0, 3071.0),
            map(Intensity::Soft, -160.0, 240.0),
            map(Intensity::MinMax, 0.1, 0.7),
            map(Intensity::MinMax, 5.0, 5.0),
            map(Intensity::MinMax, -3e38, 3e38),
            map(Intensity::Raw, 0.0, 255.0),
        ];
        for data_type in TYPES {
            for (slope, intercept) in [(1.0, 0.0), (0.37, -1024.0), (-2.5, 40.0), (1e-7, 0.0)] {
                for map in &maps {
                    let thresholds = Thresholds::new(map, data_type, (slope, intercept));
                    let mut seen = 0;
                    for bits in samples(&thresholds) {
                        let stored = value(data_type, ordered(data_type, bits));
                        if stored.is_finite() {
                            let expected = map.level(slope * stored + intercept);
                            let found = thresholds.level(bits);
                            assert_eq!(found, expected, "{data_type:?} {stored} x {slope} + {intercept} by {map:?}");
                            seen += 1;
                        }
                    }
                    assert!(seen > 200, "{data_type:?}: {seen} values");
                }
            }
        }
    }
}
