//! Native bytes of a frame to samples: bits, signs, colours and lookup tables.

use super::FrameShape;
use super::data_set::{DataSet, Flaw, Flawed};
use super::tags::{self, Tag};
use crate::image::Voxel;

/// An integer that samples are stored in.
pub trait Word: Voxel {
    /// Takes the `stored` bits below and with bit `high`, and extends the sign of a signed number.
    fn taken(self, stored: u32, high: u32) -> Self;
}

macro_rules! word {
    ($($word:ty)*) => {
        $(impl Word for $word {
            fn taken(self, stored: u32, high: u32) -> Self {
                let left = <$word>::BITS - 1 - high;
                (self << left) >> (<$word>::BITS - stored)
            }
        })*
    };
}
word!(u8 i8 u16 i16 u32 i32);

/// Frees samples of the bits that do not count.
pub fn take_bits<T: Word>(samples: &mut [T], shape: &FrameShape, high_bit: u16) {
    let (stored, high) = (u32::from(shape.bits_stored), u32::from(high_bit));
    if stored < 8 * size_of::<T>() as u32 {
        samples.iter_mut().for_each(|sample| *sample = sample.taken(stored, high));
    }
}

/// The value of each sample as it stands in native little-endian bytes, the bits that do not count taken away.
pub fn each_value(native: &[u8], shape: &FrameShape, high_bit: u16, mut value: impl FnMut(f64)) {
    let (stored, high) = (u32::from(shape.bits_stored), u32::from(high_bit));
    let words = |size: usize| native.chunks_exact(size);
    match (shape.bits_allocated, shape.signed) {
        (8, false) => native.iter().for_each(|&b| value(f64::from(b.taken(stored, high)))),
        (8, true) => native.iter().for_each(|&b| value(f64::from((b as i8).taken(stored, high)))),
        (16, signed) => words(2).for_each(|b| {
            let word = u16::from_le_bytes([b[0], b[1]]);
            value(if signed {
                f64::from((word as i16).taken(stored, high))
            } else {
                f64::from(word.taken(stored, high))
            })
        }),
        (_, signed) => words(4).for_each(|b| {
            let word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            value(if signed {
                f64::from((word as i32).taken(stored, high))
            } else {
                f64::from(word.taken(stored, high))
            })
        }),
    }
}

/// As [`each_value`], of pixel data of tag `pixels`, which may be floats.
pub fn each_number(native: &[u8], pixels: Tag, shape: &FrameShape, high_bit: u16, mut number: impl FnMut(f64)) {
    match pixels {
        tags::FLOAT_PIXEL_DATA => {
            native.chunks_exact(4).for_each(|b| number(f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()));
        }
        tags::DOUBLE_FLOAT_PIXEL_DATA => native.chunks_exact(8).for_each(|b| {
            number(f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]));
        }),
        _ => each_value(native, shape, high_bit, number),
    }
}

/// Bits from `first` on, the lowest of a byte first, as bytes of 0 and 1.
pub fn unpack_bits(packed: &[u8], first: usize, out: &mut [u8]) {
    for (at, out) in out.iter_mut().enumerate() {
        let bit = first + at;
        *out = packed.get(bit / 8).map_or(0, |byte| byte >> (bit % 8) & 1);
    }
}

/// Samples that lie plane by plane to samples pixel by pixel.
pub fn interleaved(planes: &[u8], bytes: usize) -> Vec<u8> {
    let plane = planes.len() / 3;
    let pixel = |at: usize| (0..3).flat_map(move |c| planes[c * plane + at..c * plane + at + bytes].iter().copied());
    (0..plane).step_by(bytes.max(1)).flat_map(pixel).collect()
}

/// Y0 Y1 Cb Cr for two pixels to Y Cb Cr for each.
pub fn from_422(halved: &[u8]) -> Vec<u8> {
    halved.chunks_exact(4).flat_map(|p| [p[0], p[2], p[3], p[1], p[2], p[3]]).collect()
}

/// PS3.3 C.7.6.3.1.2: full-range YCbCr of 8 bits to RGB.
pub fn rgb(pixel: [u8; 3]) -> [u8; 3] {
    let [y, cb, cr] = pixel.map(f64::from);
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344136286201022 * cb - 0.714136286201022 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
}

/// A lookup table: a value for each index from `first` on; what is outside takes the nearest.
pub struct Table {
    first: f64,
    values: Vec<u16>,
}

impl Table {
    /// The modality lookup table of a file, if it has one.
    pub fn modality(tables: &DataSet, signed: bool) -> Flawed<Option<Table>> {
        let Some(item) = tables.item(tags::MODALITY_LUT_SEQUENCE) else { return Ok(None) };
        let Descriptor { count, first, bits } = Descriptor::read(item, tags::LUT_DESCRIPTOR, signed)?;
        let values = entries(item, tags::LUT_DATA, count, bits)?;
        Ok(Some(Table { first, values }))
    }

    /// Red, green and blue of 8 bits each.
    pub fn palette(tables: &DataSet, signed: bool) -> Flawed<[Table; 3]> {
        let colours = [
            [
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ],
            [
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ],
            [
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ],
        ];
        let colour = |[descriptor, data, segments]: [Tag; 3]| {
            let Descriptor { count, first, bits } = Descriptor::read(tables, descriptor, signed)?;
            let mut values = match tables.bytes(segments) {
                Some(raw) => segmented(tables, segments, raw, count, bits)?,
                None => entries(tables, data, count, bits)?,
            };
            if bits == 16 {
                values.iter_mut().for_each(|value| *value >>= 8);
            }
            Ok(Table { first, values })
        };
        let [red, green, blue] = colours.map(colour);
        Ok([red?, green?, blue?])
    }

    /// What `stored` becomes.
    pub fn get(&self, stored: f64) -> u16 {
        let at = (stored - self.first).clamp(0.0, self.values.len().saturating_sub(1) as f64);
        self.values.get(at as usize).copied().unwrap_or(0)
    }
}

struct Descriptor {
    count: usize,
    first: f64,
    bits: u32,
}

impl Descriptor {
    fn read(set: &DataSet, tag: Tag, signed: bool) -> Flawed<Self> {
        let numbers = set.exactly::<3>(tag)?.ok_or_else(|| Flaw::new(tags::shown(tag), "3 numbers", "none"))?;
        let [count, first, bits] = numbers.map(|n| n as i64 as u16);
        let first = if signed { f64::from(first as i16) } else { f64::from(first) };
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        if !(8..=16).contains(&bits) {
            return Err(Flaw::new(tags::shown(tag), "entries of 8 to 16 bits", bits));
        }
        Ok(Descriptor { count, first, bits: bits.into() })
    }
}

/// Entries as words, or as bytes where they have 8 bits and fill no words.
fn entries(set: &DataSet, tag: Tag, count: usize, bits: u32) -> Flawed<Vec<u16>> {
    let raw = set.bytes(tag).unwrap_or_default();
    if bits == 8 && raw.len() < 2 * count && raw.len() >= count {
        return Ok(raw[..count].iter().map(|&b| b.into()).collect());
    }
    let mut words = set.words(tag).unwrap_or_default();
    if words.len() < count {
        return Err(Flaw::new(tags::shown(tag), format!("{count} entries"), words.len()));
    }
    words.truncate(count);
    Ok(words)
}

/// PS3.3 C.7.9.2: discrete and linear segments, and repeats of earlier ones.
fn segmented(set: &DataSet, tag: Tag, raw: &[u8], count: usize, bits: u32) -> Flawed<Vec<u16>> {
    let words: Vec<u16> = match bits {
        8 => raw.iter().map(|&b| b.into()).collect(),
        _ => set.words(tag).unwrap_or_default(),
    };
    let mut values = Vec::new();
    segments(tag, &words, usize::MAX, 0, bits, count, &mut values, true)?;
    match values.len() {
        length if length == count => Ok(values),
        length => Err(Flaw::new(tags::shown(tag), format!("{count} entries"), length)),
    }
}

/// Adds the entries of at most `most` segments from `at` on.
#[expect(clippy::too_many_arguments, reason = "one walk over one table")]
fn segments(
    tag: Tag,
    words: &[u16],
    most: usize,
    mut at: usize,
    bits: u32,
    count: usize,
    values: &mut Vec<u16>,
    repeats: bool,
) -> Flawed<()> {
    let wrong = || Flaw::new(tags::shown(tag), format!("whole segments of {count} entries in all"), "others");
    let word = |at: usize| words.get(at).copied().ok_or_else(wrong);
    for _ in 0..most {
        // A last byte may fill up to an even length.
        if at >= words.len() || values.len() >= count {
            break;
        }
        let (kind, length) = (word(at)?, usize::from(word(at + 1)?));
        match kind {
            0 => {
                values.extend_from_slice(words.get(at + 2..at + 2 + length).ok_or_else(wrong)?);
                at += 2 + length;
            }
            1 => {
                let (end, start) = (f64::from(word(at + 2)?), f64::from(*values.last().ok_or_else(wrong)?));
                let step = (end - start) / length.max(1) as f64;
                values.extend((1..=length).map(|n| (start + step * n as f64).round() as u16));
                at += 3;
            }
            2 if repeats => {
                let halves = if bits == 8 {
                    [word(at + 2)? | word(at + 3)? << 8, word(at + 4)? | word(at + 5)? << 8]
                } else {
                    [word(at + 2)?, word(at + 3)?]
                };
                let offset = usize::from(halves[0]) | usize::from(halves[1]) << 16;
                let size = if bits == 8 { 1 } else { 2 };
                segments(tag, words, length, offset / size, bits, count, values, false)?;
                at += if bits == 8 { 6 } else { 4 };
            }
            _ => return Err(wrong()),
        }
        if values.len() > count {
            return Err(wrong());
        }
    }
    Ok(())
}
