//! Huffman tables and the bits of one entropy-coded segment (T.81 F.2.2 and annex C).

use crate::Result;
use crate::dicom::codec::check::bad;

/// Codes of at most this many bits are found in one step.
const FAST_BITS: u32 = 10;

/// One DHT table, ready for decoding.
pub(super) struct Table {
    /// By the next [`FAST_BITS`] bits: code length << 8 | symbol; 0 where the code is longer.
    fast: Vec<u16>,
    /// By code length 1 to 16: one more than its last code, aligned to 16 bits.
    limit: [u32; 17],
    /// By code length: what its code, less this, is as index into `symbols`.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the counts of codes by length 1 to 16 and the symbols in order of their codes.
    ///
    /// # Errors
    /// [`crate::Error::File`] where the counts make no prefix code.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self> {
        let mut table =
            Table { fast: vec![0; 1 << FAST_BITS], limit: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offset[length as usize] = index as i32 - code as i32;
            for &symbol in
                symbols.get(index..index + count).ok_or_else(|| bad("Huffman table", "its symbols", "fewer"))?
            {
                if code >= 1 << length {
                    return Err(bad("Huffman table", "a prefix code", "more codes than their lengths allow"));
                }
                if length <= FAST_BITS {
                    let spread = FAST_BITS - length;
                    let from = (code << spread) as usize;
                    table.fast[from..from + (1 << spread)].fill(((length as u16) << 8) | u16::from(symbol));
                }
                code += 1;
            }
            table.limit[length as usize] = code << (16 - length);
            index += count;
            code <<= 1;
        }
        Ok(table)
    }
}

/// The bits of one entropy-coded segment, which ends at a marker or with the data.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
    /// The next `count` bits, from the highest down; zeros below.
    buffer: u64,
    count: u32,
    /// Zero bits that were added behind the end of the segment.
    padding: u32,
}

impl<'a> Bits<'a> {
    pub fn new(data: &'a [u8], position: usize) -> Self {
        Bits { data, position, buffer: 0, count: 0, padding: 0 }
    }

    /// Fills the buffer to at least 48 bits.
    fn refill(&mut self) {
        if self.count > 56 {
            return;
        }
        if let Some(next) = self.data.get(self.position..self.position + 8).and_then(|b| b.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*next);
            // No byte is FF: the complement has no zero byte.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
                let bytes = (64 - self.count) / 8;
                self.buffer |= word >> self.count;
                self.count += bytes * 8;
                self.position += bytes as usize;
                // Bits of a byte that was not taken whole are not counted, and must not be met again.
                if self.count < 64 {
                    self.buffer &= !(u64::MAX >> self.count);
                }
                return;
            }
        }
        while self.count <= 56 {
            let byte = match self.data.get(self.position..) {
                Some([0xFF, 0x00, ..]) => {
                    self.position += 2;
                    0xFF
                }
                Some([byte, ..]) if *byte != 0xFF => {
                    self.position += 1;
                    *byte
                }
                _ => {
                    self.padding += 8;
                    0
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next symbol of `table`.
    ///
    /// # Errors
    /// [`crate::Error::File`] for bits that are no code.
    pub fn symbol(&mut self, table: &Table) -> Result<u8> {
        if self.count < 32 {
            self.refill();
        }
        let next = (self.buffer >> 48) as u32;
        let found = table.fast[(next >> (16 - FAST_BITS)) as usize];
        if found != 0 {
            self.skip(u32::from(found >> 8));
            return Ok(found as u8);
        }
        for length in FAST_BITS + 1..=16 {
            if next < table.limit[length as usize] {
                let code = (next >> (16 - length)) as i32;
                let index = (code + table.offset[length as usize]) as usize;
                self.skip(length);
                return table.symbols.get(index).copied().ok_or_else(|| bad("entropy-coded data", "codes", "another"));
            }
        }
        Err(bad("entropy-coded data", "codes of the Huffman table", "a code that it does not have"))
    }

    /// The next `count` bits, 0 to 15 of them, as T.81's EXTEND: the lower half of their values is negative.
    pub fn extended(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        if self.count < count {
            self.refill();
        }
        let value = (self.buffer >> (64 - count)) as i32;
        self.skip(count);
        if value < 1 << (count - 1) { value - (1 << count) + 1 } else { value }
    }

    fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// Where the segment's marker stands, or the data end.
    ///
    /// # Errors
    /// [`crate::Error::File`] where more bits were read than the segment has, or whole bytes of it are left.
    pub fn end(mut self) -> Result<usize> {
        self.refill();
        if self.padding > self.count {
            return Err(bad("entropy-coded data", "a bit for every sample", "its end"));
        }
        let left = self.count - self.padding;
        if left >= 8 || self.position < self.data.len() && self.data[self.position] != 0xFF {
            return Err(bad("entropy-coded data", "a marker after the last sample", "more data"));
        }
        Ok(self.position)
    }
}
