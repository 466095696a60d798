//! A picture in colour that is drawn on: rectangles, points and text, all cut to its borders.

use super::font::{self, glyph, plain};
use crate::Result;
use crate::memory::zeros;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Pixels of a letter and its gap, before they are enlarged.
pub const ADVANCE: usize = font::WIDTH + 1;

/// A picture, `[height, width, 3]`.
pub struct Canvas {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    pub pixels: Vec<u8>,
}

impl Canvas {
    /// A black one.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn new(width: usize, height: usize) -> Result<Self> {
        let pixels = zeros(width.saturating_mul(height).saturating_mul(3), "the preview")?;
        Ok(Canvas { width, height, pixels })
    }

    /// Colours one pixel, if there is one.
    pub fn set(&mut self, x: i64, y: i64, colour: Colour) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, [x, y]: [i64; 2], [width, height]: [i64; 2], colour: Colour) {
        for row in y.max(0)..(y + height).min(self.height as i64) {
            (x.max(0)..(x + width).min(self.width as i64)).for_each(|column| self.set(column, row, colour));
        }
    }

    /// The border of the rectangle from `first` to `last` pixel; of `dash` pixels and as many left out, where that is
    /// not 0.
    pub fn frame(&mut self, first: [i64; 2], last: [i64; 2], dash: i64, colour: Colour) {
        let drawn = |step: i64| dash == 0 || step / dash % 2 == 0;
        let near = |value: i64, end: usize| value.clamp(-1, end as i64);
        let columns = near(first[0], self.width)..=near(last[0], self.width);
        for x in columns.filter(|&x| drawn(x - first[0])) {
            [first[1], last[1]].into_iter().for_each(|y| self.set(x, y, colour));
        }
        let rows = near(first[1], self.height)..=near(last[1], self.height);
        for y in rows.filter(|&y| drawn(y - first[1])) {
            [first[0], last[0]].into_iter().for_each(|x| self.set(x, y, colour));
        }
    }

    /// Text with its upper left corner at `at`, each pixel of the font `scale` pixels wide, on a shadow that keeps it
    /// legible.
    pub fn text(&mut self, at: [i64; 2], scale: i64, colour: Colour, text: &str) {
        let text = plain(text);
        for (offset, colour) in [(scale.max(2) / 2, [0, 0, 0]), (0, colour)] {
            for (number, character) in text.chars().enumerate() {
                let left = at[0] + number as i64 * ADVANCE as i64 * scale;
                for (row, bits) in glyph(character).into_iter().enumerate() {
                    for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                        let place = [left + column as i64 * scale + offset, at[1] + row as i64 * scale + offset];
                        self.fill(place, [scale, scale], colour);
                    }
                }
            }
        }
    }
}

/// Pixels that a text is wide.
pub fn text_width(text: &str, scale: i64) -> i64 {
    plain(text).chars().count() as i64 * ADVANCE as i64 * scale
}
