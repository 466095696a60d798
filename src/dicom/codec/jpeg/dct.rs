//! Sequential DCT scans of 8 and 12 bits (T.81 annex F), with the integer arithmetic that libjpeg calls "islow", so
//! that decoded samples equal those of most other programs.

use super::header::{Frame, Scan, ScanComponent, Tables, restart};
use super::huffman::{Bits, Table};
use crate::Result;
use crate::dicom::codec::check::bad;

/// Where the coefficients of a block, as they are coded, belong: row by row.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A DC coefficient beyond this is of a damaged stream: 12-bit samples need 2^15.
const DC_LIMIT: i32 = 1 << 17;

/// One component while its scan is read.
struct Member<'a> {
    index: usize,
    dc: &'a Table,
    ac: &'a Table,
    quantization: &'a [u16; 64],
    /// Blocks across and down of one MCU.
    blocks: [usize; 2],
    previous: i32,
}

/// Decodes the scan at `position` into its components; where it ends.
///
/// # Errors
/// [`crate::Error::File`] for damage and for tables that are not there.
pub(super) fn scan(data: &[u8], position: usize, frame: &mut Frame, scan: &Scan, tables: &Tables) -> Result<usize> {
    let alone = scan.components.len() == 1;
    let mut members = Vec::with_capacity(scan.components.len());
    for header in &scan.components {
        members.push(Member::new(header, frame, tables, alone)?);
    }
    // A scan of one component has its blocks row by row, whatever the sampling.
    let [across, down] = match &scan.components[..] {
        [only] => frame.components[only.index].size.map(|s| s.div_ceil(8)),
        _ => frame.mcus(),
    };

    let mut bits = Bits::new(data, position);
    let mut block = [0; 64];
    for mcu in 0..across * down {
        if tables.restart > 0 && mcu > 0 && mcu % tables.restart == 0 {
            bits = Bits::new(data, restart(data, bits.end()?, mcu / tables.restart - 1)?);
            members.iter_mut().for_each(|m| m.previous = 0);
        }
        let (column, row) = (mcu % across, mcu / across);
        for member in &mut members {
            for y in 0..member.blocks[1] {
                for x in 0..member.blocks[0] {
                    let last = member.block(&mut bits, &mut block)?;
                    let component = &mut frame.components[member.index];
                    let at = [column * member.blocks[0] + x, row * member.blocks[1] + y];
                    let start = at[1] * 8 * component.stride + at[0] * 8;
                    inverse(&block, last, frame.precision, &mut component.samples[start..], component.stride);
                }
            }
        }
    }
    for member in &members {
        frame.components[member.index].coded = true;
    }
    bits.end()
}

impl<'a> Member<'a> {
    fn new(header: &ScanComponent, frame: &Frame, tables: &'a Tables, alone: bool) -> Result<Self> {
        let missing = |what: &str| bad("JPEG scan", format!("a {what} table for each component"), "none");
        let component = &frame.components[header.index];
        let quantization = tables.quantization[component.quantization].as_ref();
        Ok(Member {
            index: header.index,
            dc: tables.dc.get(header.dc).and_then(Option::as_ref).ok_or_else(|| missing("DC Huffman"))?,
            ac: tables.ac.get(header.ac).and_then(Option::as_ref).ok_or_else(|| missing("AC Huffman"))?,
            quantization: quantization.ok_or_else(|| missing("quantization"))?,
            blocks: if alone { [1, 1] } else { component.factors },
            previous: 0,
        })
    }

    /// Reads one block, dequantized and row by row; the index, as coded, of its last coefficient.
    fn block(&mut self, bits: &mut Bits, block: &mut [i32; 64]) -> Result<usize> {
        let category = bits.symbol(self.dc)?;
        if category > 15 {
            return Err(bad("JPEG DC coefficient", "a category of 0 to 15", category));
        }
        self.previous += bits.extended(category.into());
        if self.previous.abs() > DC_LIMIT {
            return Err(bad("JPEG DC coefficient", format!("at most {DC_LIMIT}"), self.previous));
        }
        *block = [0; 64];
        block[0] = dequantized(self.previous, self.quantization[0]);
        let (mut index, mut last) = (1, 0);
        while index < 64 {
            let symbol = bits.symbol(self.ac)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (0, 0) => break,
                (15, 0) => index += 16,
                (_, 0) => return Err(bad("JPEG AC coefficient", "a run with a value", format!("{symbol:#04x}"))),
                _ => {
                    index += run;
                    let &place =
                        ZIGZAG.get(index).ok_or_else(|| bad("JPEG block", "64 coefficients", "a run beyond them"))?;
                    block[usize::from(place)] = dequantized(bits.extended(size), self.quantization[index]);
                    last = index;
                    index += 1;
                }
            }
        }
        Ok(last)
    }
}

/// A coefficient; far beyond what valid streams hold it is cut, so that no later sum can overflow.
fn dequantized(value: i32, quantization: u16) -> i32 {
    (i64::from(value) * i64::from(quantization)).clamp(-(1 << 24), 1 << 24) as i32
}

/// Fraction bits of the multipliers below.
const CONST_BITS: u32 = 13;
/// What `value` is with [`CONST_BITS`] bits of fraction.
const fn fixed(value: f64) -> i64 {
    (value * (1 << CONST_BITS) as f64 + 0.5) as i64
}

/// Inverse DCT of one block into 8 rows of `to`, `stride` samples apart, of `precision` bits.
fn inverse(block: &[i32; 64], last: usize, precision: u32, to: &mut [u16], stride: usize) {
    let (centre, largest) = (1_i64 << (precision - 1), (1_i64 << precision) - 1);
    // libjpeg's PASS1_BITS: a bit of fraction less between the passes where samples have 12 bits.
    let kept = if precision > 8 { 1 } else { 2 };
    if last == 0 {
        let flat = descale(i64::from(block[0]) << kept, kept + 3) + centre;
        for row in to.chunks_mut(stride).take(8) {
            row[..8].fill(flat.clamp(0, largest) as u16);
        }
        return;
    }
    let mut between = [0_i64; 64];
    for column in 0..8 {
        let input = std::array::from_fn(|row| i64::from(block[row * 8 + column]));
        for (row, value) in one_dimension(input, CONST_BITS - kept).into_iter().enumerate() {
            between[row * 8 + column] = value;
        }
    }
    for (row, line) in to.chunks_mut(stride).take(8).enumerate() {
        let input = std::array::from_fn(|column| between[row * 8 + column]);
        for (to, value) in line.iter_mut().zip(one_dimension(input, CONST_BITS + kept + 3)) {
            *to = (value + centre).clamp(0, largest) as u16;
        }
    }
}

fn descale(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

/// The inverse DCT of Loeffler, Ligtenberg and Moschytz as libjpeg's jidctint.c has it, its result shifted by `bits`.
fn one_dimension(i: [i64; 8], bits: u32) -> [i64; 8] {
    let z1 = (i[2] + i[6]) * fixed(0.541_196_100);
    let even = [z1 - i[6] * fixed(1.847_759_065), z1 + i[2] * fixed(0.765_366_865)];
    let (sum, difference) = ((i[0] + i[4]) << CONST_BITS, (i[0] - i[4]) << CONST_BITS);
    let outer = [sum + even[1], difference + even[0], difference - even[0], sum - even[1]];

    let [z1, z2, z3, z4] = [i[7] + i[1], i[5] + i[3], i[7] + i[3], i[5] + i[1]];
    let z5 = (z3 + z4) * fixed(1.175_875_602);
    let (z1, z2) = (-z1 * fixed(0.899_976_223), -z2 * fixed(2.562_915_447));
    let (z3, z4) = (z5 - z3 * fixed(1.961_570_560), z5 - z4 * fixed(0.390_180_644));
    let odd = [
        i[1] * fixed(1.501_321_110) + z1 + z4,
        i[3] * fixed(3.072_711_026) + z2 + z3,
        i[5] * fixed(2.053_119_869) + z2 + z4,
        i[7] * fixed(0.298_631_336) + z1 + z3,
    ];
    std::array::from_fn(|n| {
        let value = if n < 4 { outer[n] + odd[n] } else { outer[7 - n] - odd[7 - n] };
        descale(value, bits)
    })
}
