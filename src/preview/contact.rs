//! A contact sheet: the few slices that say most, small enough that a page holds hundreds of sheets.

use std::collections::BTreeSet;
use std::io::Write;

use super::{COLOURS, Canvas, Colour, DOUBT, GREY, Sheet, View, WHITE, choose, columns};
use crate::Result;

/// Most slices of a contact sheet.
const SLICES: usize = 6;
/// Pixels of all tiles together, about.
const PIXELS: f64 = 160_000.0;
/// Pixels of a tile's longer side, at least and at most.
const LONGEST: [f64; 2] = [160.0, 320.0];
/// Pixels between tiles.
const GAP: i64 = 4;
/// Colours of a picture whose pixels are bytes.
const PALETTE: usize = 256;

impl Sheet<'_> {
    /// Draws at most six slices, doubtful ones before others, without the image's name and the legend.
    ///
    /// # Errors
    /// As [`Sheet::draw`].
    pub fn contact(&self) -> Result<Canvas> {
        let shown = choose(self.slices, SLICES);
        let side = (PIXELS / shown.len().max(1) as f64).sqrt().clamp(LONGEST[0], LONGEST[1]);
        let view = View::new(self.image, self.axis, side as usize)?;
        let size = view.size.map(|side| side as i64);
        let columns = columns(shown.len(), size);
        let rows = (shown.len() as i64 + columns - 1) / columns;
        let whole = |count: i64, side: i64| (count * (side + GAP) - GAP).max(1) as usize;
        let mut canvas = Canvas::new(whole(columns, size[0]), whole(rows, size[1]))?;
        for (number, &slice) in (0..).zip(&shown) {
            let at = [number % columns * (size[0] + GAP), number / columns * (size[1] + GAP)];
            self.tile(&mut canvas, &view, at, slice, 1)?;
        }
        Ok(canvas)
    }
}

/// As [`write_png`](super::write_png), with fewer bits: 64 levels of grey, 32 of each colour; what is drawn keeps
/// its colour.
///
/// # Errors
/// Whatever `out` returns.
pub fn write_small_png(canvas: &Canvas, out: &mut impl Write) -> std::io::Result<()> {
    let pixels: Vec<Colour> = canvas.pixels.chunks_exact(3).map(|p| coarse([p[0], p[1], p[2]])).collect();
    let palette: Vec<Colour> = pixels.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let side = |n: usize| u32::try_from(n).map_err(|_| std::io::Error::other("a side of more than 2^32 pixels"));
    let mut encoder = png::Encoder::new(out, side(canvas.width)?, side(canvas.height)?);
    encoder.set_depth(png::BitDepth::Eight);
    let bytes: Vec<u8> = if palette.len() <= PALETTE {
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(palette.concat());
        encoder.set_filter(png::Filter::NoFilter);
        pixels.iter().map(|pixel| palette.binary_search(pixel).unwrap_or(0) as u8).collect()
    } else {
        encoder.set_color(png::ColorType::Rgb);
        pixels.concat()
    };
    // After the filter, which it has one of its own for.
    encoder.set_deflate_compression(png::DeflateCompression::Level(9));
    let mut writer = encoder.write_header()?;
    // Piece by piece: the whole compressed picture in memory would end the process where there is none left.
    let mut stream = writer.stream_writer_with_size(1 << 15)?;
    stream.write_all(&bytes)?;
    stream.finish()?;
    Ok(writer.finish()?)
}

/// A colour near to this one, of few.
fn coarse(pixel: Colour) -> Colour {
    let [red, green, blue] = pixel;
    if COLOURS.contains(&pixel) || [WHITE, GREY, DOUBT].contains(&pixel) {
        return pixel;
    }
    if red == green && green == blue {
        return [red & 0xfc | red >> 6; 3];
    }
    pixel.map(|level| level & 0xf8 | level >> 5)
}
