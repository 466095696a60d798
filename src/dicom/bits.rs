//! Frames of one bit a pixel, each behind the last without a gap, the first pixel in the lowest bit.

use std::io::{self, Write};

use super::on_grid::Plane;

/// Packs bits into bytes.
pub struct BitWriter<W> {
    out: W,
    /// Bits that do not fill a byte yet, and how many.
    open: u8,
    count: u32,
    packed: Vec<u8>,
}

impl<W: Write> BitWriter<W> {
    pub fn new(out: W) -> Self {
        BitWriter { out, open: 0, count: 0, packed: Vec::new() }
    }

    /// The frame of those pixels that have `label`.
    pub fn frame(&mut self, plane: &Plane, label: u16) -> io::Result<()> {
        self.packed.clear();
        match plane {
            Plane::U8(labels) => match u8::try_from(label) {
                Ok(label) => self.pack(labels, label),
                Err(_) => self.pack(&vec![0; labels.len()], 1),
            },
            Plane::U16(labels) => self.pack(labels, label),
        }
        self.out.write_all(&self.packed)
    }

    fn pack<T: Copy + PartialEq>(&mut self, labels: &[T], label: T) {
        let mut groups = labels.chunks_exact(8);
        for group in &mut groups {
            let byte = (0..8).fold(0, |byte, bit| byte | u8::from(group[bit] == label) << bit);
            // Bits of the frame before come first; what does not fit stays for the next byte.
            self.packed.push(self.open | byte.checked_shl(self.count).unwrap_or(0));
            self.open = byte.checked_shr(8 - self.count).unwrap_or(0);
        }
        for &value in groups.remainder() {
            self.open |= u8::from(value == label) << self.count;
            self.count += 1;
            if self.count == 8 {
                self.packed.push(self.open);
                (self.open, self.count) = (0, 0);
            }
        }
    }

    /// The last byte, and one more where their number is odd.
    pub fn finish(mut self, bytes: usize) -> io::Result<W> {
        if self.count > 0 {
            self.out.write_all(&[self.open])?;
        }
        if bytes % 2 == 1 {
            self.out.write_all(&[0])?;
        }
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn frames_follow_each_other_bit_by_bit() {
        for size in [1, 7, 8, 9, 35, 64, 143] {
            let frames: Vec<Vec<u8>> =
                (0..5).map(|f| (0..size).map(|i| u8::from((i * i + f * 7) % 5 < 2) * 3).collect()).collect();
            let mut bits = BitWriter::new(Vec::new());
            for frame in &frames {
                bits.frame(&Plane::U8(Cow::Borrowed(frame)), 3).unwrap();
            }
            let bytes = bits.finish((5 * size as usize).div_ceil(8)).unwrap();
            let meant: Vec<u8> = frames.concat().into_iter().map(|v| v / 3).collect();
            let found: Vec<u8> = (0..meant.len()).map(|i| bytes[i / 8] >> (i % 8) & 1).collect();
            assert_eq!(found, meant, "{size}");
            assert_eq!(bytes.len(), (5 * size as usize).div_ceil(8).next_multiple_of(2));
        }
    }
}
