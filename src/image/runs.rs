//! Masks of a picture as runs of pixels.

use std::ops::Range;

use crate::{Result, memory};

/// A mask as runs of pixels, small enough to keep those of a whole volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// First and one past the last index of each run, row-major, ascending, with gaps between them.
    runs: Vec<[u32; 2]>,
    area: u32,
}

impl Runs {
    /// The pixels that are not 0.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn new(inside: &[u8]) -> Result<Self> {
        let mut mask = Runs::default();
        let mut at = 0;
        while let Some(gap) = inside[at..].iter().position(|&pixel| pixel != 0) {
            let start = at + gap;
            at = start + inside[start..].iter().position(|&pixel| pixel == 0).unwrap_or(inside.len() - start);
            mask.area += (at - start) as u32;
            memory::push(&mut mask.runs, [start as u32, at as u32], "a mask")?;
        }
        Ok(mask)
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u32 {
        self.area
    }

    /// The runs, ascending, row-major.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = Range<usize>> + Clone {
        self.runs.iter().map(|&[start, end]| start as usize..end as usize)
    }

    /// Dice with a mask of the same picture; 1 where both are empty.
    pub fn dice(&self, other: &Runs) -> f64 {
        let (mut a, mut b) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        let mut both = 0;
        while let (Some(&&[a0, a1]), Some(&&[b0, b1])) = (a.peek(), b.peek()) {
            both += a1.min(b1).saturating_sub(a0.max(b0));
            if a1 <= b1 {
                a.next()
            } else {
                b.next()
            };
        }
        dice(both, self.area, other.area)
    }
}

/// Dice of two masks from their areas; 1 where both are empty.
pub(crate) fn dice(both: u32, a: u32, b: u32) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * f64::from(both) / (f64::from(a) + f64::from(b)) }
}
