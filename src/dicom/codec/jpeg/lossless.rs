//! Lossless scans (T.81 annex H): samples predicted from their neighbours, differences modulo 2^16.

use super::header::{Frame, Scan, Tables, restart};
use super::huffman::{Bits, Table};
use crate::Result;
use crate::dicom::codec::check::bad;

/// Decodes the scan at `position` into its components; where it ends.
///
/// # Errors
/// [`crate::Error::File`] for damage, and for restart intervals that are not whole rows, which T.81 H.1.1 forbids.
pub(super) fn scan(data: &[u8], position: usize, frame: &mut Frame, scan: &Scan, tables: &Tables) -> Result<usize> {
    if !(1..=7).contains(&scan.start) {
        return Err(bad("lossless JPEG predictor", "1 to 7", scan.start));
    }
    if scan.shift >= frame.precision {
        return Err(bad("lossless JPEG point transform", format!("below {}", frame.precision), scan.shift));
    }
    let [columns, rows] = frame.size;
    let interval = match tables.restart {
        0 => rows,
        mcus if mcus % columns == 0 => mcus / columns,
        mcus => return Err(bad("lossless JPEG restart interval", format!("whole rows of {columns}"), mcus)),
    };
    let missing = || bad("lossless JPEG scan", "a Huffman table for each component", "none");
    let mut members = Vec::with_capacity(scan.components.len());
    for member in &scan.components {
        let table = tables.dc.get(member.dc).and_then(Option::as_ref).ok_or_else(missing)?;
        let samples = std::mem::take(&mut frame.components[member.index].samples);
        members.push(Member { table, samples, predictor: scan.start });
    }

    let first = 1 << (frame.precision - scan.shift - 1);
    let mut bits = Bits::new(data, position);
    for row in 0..rows {
        if row > 0 && row % interval == 0 {
            bits = Bits::new(data, restart(data, bits.end()?, row / interval - 1)?);
        }
        if let [member] = &mut members[..] {
            member.row(&mut bits, row, columns, (row % interval == 0).then_some(first))?;
        } else {
            interleaved(&mut members, &mut bits, row, columns, (row % interval == 0).then_some(first))?;
        }
    }
    let end = bits.end()?;
    for (member, header) in members.into_iter().zip(&scan.components) {
        let component = &mut frame.components[header.index];
        component.samples = member.samples;
        component.coded = true;
        finish(&mut component.samples, frame.precision, scan.shift)?;
    }
    Ok(end)
}

/// One component while its scan is read.
struct Member<'a> {
    table: &'a Table,
    /// As predicted: without the point transform.
    samples: Vec<u16>,
    predictor: u8,
}

impl Member<'_> {
    /// One row of a scan with one component; `first` is what predicts the first sample of an interval.
    fn row(&mut self, bits: &mut Bits, row: usize, columns: usize, first: Option<u16>) -> Result<()> {
        let (above, here) = self.samples.split_at_mut(row * columns);
        let here = &mut here[..columns];
        if let Some(first) = first {
            let mut left = first;
            for sample in here {
                left = left.wrapping_add(difference(bits, self.table)?);
                *sample = left;
            }
            return Ok(());
        }
        let above = &above[above.len() - columns..];
        // A closure for each predictor, so that the choice is outside the loop.
        match self.predictor {
            1 => predicted(bits, self.table, above, here, |a, _, _| a),
            2 => predicted(bits, self.table, above, here, |_, b, _| b),
            3 => predicted(bits, self.table, above, here, |_, _, c| c),
            4 => predicted(bits, self.table, above, here, |a, b, c| a + b - c),
            5 => predicted(bits, self.table, above, here, |a, b, c| a + ((b - c) >> 1)),
            6 => predicted(bits, self.table, above, here, |a, b, c| b + ((a - c) >> 1)),
            _ => predicted(bits, self.table, above, here, |a, b, _| (a + b) >> 1),
        }
    }

    /// What predicts the sample at `column` of `row`, any sample but the first of an interval.
    fn prediction(&self, row: usize, column: usize, columns: usize, first_row: bool) -> i32 {
        let at = row * columns + column;
        let [left, above] = [at.wrapping_sub(1), at.wrapping_sub(columns)];
        let value = |index: usize| i32::from(self.samples[index]);
        if first_row {
            return value(left);
        }
        if column == 0 {
            return value(above);
        }
        let (a, b, c) = (value(left), value(above), value(above - 1));
        match self.predictor {
            1 => a,
            2 => b,
            3 => c,
            4 => a + b - c,
            5 => a + ((b - c) >> 1),
            6 => b + ((a - c) >> 1),
            _ => (a + b) >> 1,
        }
    }
}

/// A row below the first of an interval: `predict` of the samples to the left, above, and above the left.
fn predicted(
    bits: &mut Bits,
    table: &Table,
    above: &[u16],
    here: &mut [u16],
    predict: impl Fn(i32, i32, i32) -> i32,
) -> Result<()> {
    let mut corner = i32::from(above[0]);
    let mut left = above[0].wrapping_add(difference(bits, table)?);
    here[0] = left;
    for (sample, &up) in here.iter_mut().zip(above).skip(1) {
        let up = i32::from(up);
        left = (predict(left.into(), up, corner) as u16).wrapping_add(difference(bits, table)?);
        *sample = left;
        corner = up;
    }
    Ok(())
}

/// One row of a scan whose components take turns at each pixel.
fn interleaved(members: &mut [Member], bits: &mut Bits, row: usize, columns: usize, first: Option<u16>) -> Result<()> {
    for column in 0..columns {
        for member in &mut *members {
            let prediction = match first {
                Some(first) if column == 0 => first,
                _ => member.prediction(row, column, columns, first.is_some()) as u16,
            };
            member.samples[row * columns + column] = prediction.wrapping_add(difference(bits, member.table)?);
        }
    }
    Ok(())
}

/// The next difference, modulo 2^16. Category 16 has no further bits (T.81 H.1.2.2).
#[inline]
fn difference(bits: &mut Bits, table: &Table) -> Result<u16> {
    match bits.symbol(table)? {
        category @ 0..=15 => Ok(bits.extended(category.into()) as u16),
        16 => Ok(1 << 15),
        other => Err(bad("lossless JPEG difference", "a category of 0 to 16", other)),
    }
}

/// Checks that samples are of the precision, and undoes the point transform.
fn finish(samples: &mut [u16], precision: u32, shift: u32) -> Result<()> {
    let largest = u32::from(samples.iter().fold(0, |all, &s| all | s));
    if largest >> (precision - shift) != 0 {
        return Err(bad("lossless JPEG sample", format!("{} bits", precision - shift), "more"));
    }
    if shift > 0 {
        samples.iter_mut().for_each(|s| *s <<= shift);
    }
    Ok(())
}
