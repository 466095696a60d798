//! A picture of a run to look at: slices with the outlines of their masks, the boxes that prompted them, the names of
//! the targets, and what is doubtful. It needs no display, no graphics card and no font of the machine.

mod canvas;
mod contact;
mod font;
mod tile;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::Result;
use crate::prompt::PixelBox;
use crate::volume::{IntensityMap, LabelVolume, Volume};
use canvas::text_width;
pub use canvas::{Canvas, Colour};
pub use contact::write_small_png;
pub use tile::View;

/// Most slices of a sheet, unless they are named.
pub const MOST_SLICES: usize = 20;

/// Colours of targets, in their order, then again from the first.
const COLOURS: [Colour; 10] = [
    [255, 85, 85],
    [80, 220, 100],
    [90, 150, 255],
    [255, 200, 60],
    [70, 220, 220],
    [255, 120, 220],
    [255, 150, 70],
    [170, 130, 255],
    [190, 230, 80],
    [255, 190, 190],
];
const WHITE: Colour = [235, 235, 235];
const GREY: Colour = [150, 150, 150];
/// Of slices about which something is doubtful.
const DOUBT: Colour = [255, 235, 0];

/// Pixels between tiles and around them.
const GAP: i64 = 8;
/// Enlargement of the font, and the height of a line in it.
const SCALE: i64 = 2;
const LINE: i64 = 9 * SCALE;
/// Pixels of a tile's longer side: with many tiles, and at most with few.
const LONGEST: [usize; 2] = [352, 512];
/// Tiles that count as few.
const FEW: usize = 6;
/// Least width of a tile, so that what is written on it can be read.
const NARROWEST: i64 = 200;

/// The colour of the target at `place` in the legend.
pub fn colour(place: usize) -> Colour {
    COLOURS[place % COLOURS.len()]
}

/// What is shown of one label.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Value in the mask.
    pub label: u16,
    /// What the legend says.
    pub name: String,
}

/// What is drawn on one slice.
#[derive(Clone, Debug, Default)]
pub struct OnSlice {
    /// Prompt boxes in stored indices, and the label of each.
    pub boxes: Vec<(u16, PixelBox)>,
    /// Prompt points in stored indices: x, y, inside, and the label of each.
    pub points: Vec<(u16, f64, f64, bool)>,
    /// Codes of what is doubtful.
    pub doubts: BTreeSet<&'static str>,
}

/// All that a sheet shows.
pub struct Sheet<'a> {
    /// The image, and how its values become grey levels.
    pub image: &'a Volume,
    /// As the network saw it.
    pub map: &'a IntensityMap,
    /// The mask, on the image's grid.
    pub labels: &'a LabelVolume,
    /// In the order of the legend.
    pub targets: &'a [Shown],
    /// The slicing axis, 0 to 2.
    pub axis: usize,
    /// By slice.
    pub slices: &'a BTreeMap<usize, OnSlice>,
    /// The slices to show; empty for those that have a prompt, doubtful ones before others where they are too many.
    pub chosen: &'a [usize],
}

impl Sheet<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a slice that the image does not have;
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn draw(&self) -> Result<Canvas> {
        let shown = if self.chosen.is_empty() { choose(self.slices, MOST_SLICES) } else { self.chosen.to_vec() };
        let longest = if shown.len() > FEW { LONGEST[0] } else { self.large() };
        let view = View::new(self.image, self.axis, longest)?;
        let [width, height] = view.size.map(|side| side as i64);
        let cell = [width.max(NARROWEST), height];
        let columns = columns(shown.len(), cell);
        let rows = shown.len().div_ceil(columns as usize) as i64;
        let across = columns * (cell[0] + GAP) + GAP;
        let (title, legend) = (broken(&self.title(&view, shown.len()), across - 2 * GAP), self.legend(across));
        let line_of = |line: usize| GAP + LINE * line as i64;
        let head = line_of(title.len() + legend.len()) + GAP;
        let mut canvas = Canvas::new(across as usize, (head + rows * (cell[1] + GAP)) as usize)?;
        for (line, text) in title.iter().enumerate() {
            canvas.text([GAP, line_of(line)], SCALE, WHITE, text);
        }
        for (row, entries) in legend.iter().enumerate() {
            for &(x, target) in entries {
                let (y, colour) = (line_of(title.len() + row), colour(target));
                canvas.fill([x, y], [7 * SCALE, 7 * SCALE], colour);
                canvas.text([x + 9 * SCALE, y], SCALE, WHITE, &self.targets[target].name);
            }
        }
        for (number, &slice) in shown.iter().enumerate() {
            let (column, row) = (number as i64 % columns, number as i64 / columns);
            let at = [GAP + column * (cell[0] + GAP) + (cell[0] - width) / 2, head + row * (cell[1] + GAP)];
            self.tile(&mut canvas, &view, at, slice, SCALE)?;
        }
        Ok(canvas)
    }

    /// The longer side of a tile where there is room: the slice's own pixels.
    fn large(&self) -> usize {
        let own = (0..3).filter(|&axis| axis != self.axis).map(|axis| self.image.dims()[axis]).max();
        own.unwrap_or(0).clamp(LONGEST[0], LONGEST[1])
    }

    /// What the sheet shows; letters beside each slice say how it lies.
    fn title(&self, view: &View, shown: usize) -> String {
        let name = self.image.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lies = if view.sides.is_some() { "" } else { ", as stored" };
        format!("{name}: {shown} of {} slices with prompts{lies}", self.slices.len())
    }

    /// Places of the legend's entries, line by line: x and which target. One colour for targets that share a label.
    fn legend(&self, across: i64) -> Vec<Vec<(i64, usize)>> {
        let (mut lines, mut x) = (vec![Vec::new()], GAP);
        for (index, target) in self.targets.iter().enumerate() {
            let width = 9 * SCALE + text_width(&target.name, SCALE) + 2 * GAP;
            if x > GAP && x + width > across {
                lines.push(Vec::new());
                x = GAP;
            }
            if let Some(line) = lines.last_mut() {
                line.push((x, index));
            }
            x += width;
        }
        lines
    }

    fn colour(&self, label: u16) -> Option<Colour> {
        let place = self.targets.iter().position(|target| target.label == label)?;
        Some(colour(place))
    }

    fn tile(&self, canvas: &mut Canvas, view: &View, at: [i64; 2], slice: usize, scale: i64) -> Result<()> {
        view.draw(canvas, at, (self.image, self.map, self.labels), slice, |label| self.colour(label))?;
        let [width, height] = view.size.map(|side| side as i64);
        let nothing = OnSlice::default();
        let on = self.slices.get(&slice).unwrap_or(&nothing);
        for (label, region) in &on.boxes {
            let corners = view.screen_box(region).map(|corner| [corner[0] + at[0], corner[1] + at[1]]);
            canvas.frame(corners[0], corners[1], 4, self.colour(*label).unwrap_or(WHITE));
        }
        for &(label, x, y, inside) in &on.points {
            let voxel =
                PixelBox { x0: x.round() as i64, y0: y.round() as i64, x1: x.round() as i64, y1: y.round() as i64 };
            let [first, last] = view.screen_box(&voxel);
            let middle = [at[0] + (first[0] + last[0]) / 2, at[1] + (first[1] + last[1]) / 2];
            let colour = self.colour(label).unwrap_or(WHITE);
            canvas.fill([middle[0] - 4, middle[1]], [9, 1], colour);
            if inside {
                canvas.fill([middle[0], middle[1] - 4], [1, 9], colour);
            }
        }
        let caption = format!("{} {slice}", ["i", "j", "k"][self.axis.min(2)]);
        canvas.text([at[0] + 4, at[1] + 4], scale, if on.doubts.is_empty() { WHITE } else { DOUBT }, &caption);
        for (line, doubt) in on.doubts.iter().enumerate() {
            let y = at[1] + height - 9 * scale * (on.doubts.len() - line) as i64;
            canvas.text([at[0] + 4, y], scale, DOUBT, &format!("! {doubt}"));
        }
        if !on.doubts.is_empty() {
            let last = [at[0] + width - 1, at[1] + height - 1];
            (0..2).for_each(|n| canvas.frame([at[0] + n, at[1] + n], [last[0] - n, last[1] - n], 0, DOUBT));
        }
        if let Some([left, right, top, _]) = view.sides {
            let middle = [at[0] + width / 2 - 2 * scale, at[1] + height / 2 - 3 * scale];
            canvas.text([at[0] + 4, middle[1]], scale, GREY, &left.to_string());
            canvas.text([at[0] + width - 7 * scale, middle[1]], scale, GREY, &right.to_string());
            canvas.text([middle[0], at[1] + 4], scale, GREY, &top.to_string());
        }
        Ok(())
    }
}

/// A text in lines that are at most so many pixels wide, broken at spaces where there are any.
fn broken(text: &str, pixels: i64) -> Vec<String> {
    let most = (pixels / text_width("x", SCALE)).max(1) as usize;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        for (part, piece) in letters.chunks(most).enumerate() {
            let line = lines.len() - 1;
            let taken = lines[line].chars().count();
            if taken > 0 && (part > 0 || taken + 1 + piece.len() > most) {
                lines.push(piece.iter().collect());
            } else {
                lines[line].extend((taken > 0).then_some(' ').into_iter().chain(piece.iter().copied()));
            }
        }
    }
    lines
}

/// At most `most` slices: all of them, or evenly spread ones, each of which gives way to a doubtful one near it.
fn choose(slices: &BTreeMap<usize, OnSlice>, most: usize) -> Vec<usize> {
    let all: Vec<usize> = slices.keys().copied().collect();
    if all.len() <= most {
        return all;
    }
    let pick = |number: usize| {
        let group = &all[number * all.len() / most..(number + 1) * all.len() / most];
        let doubtful = group.iter().find(|slice| !slices[slice].doubts.is_empty());
        doubtful.or(group.get(group.len() / 2)).copied()
    };
    (0..most).filter_map(pick).collect()
}

/// How many tiles stand beside each other, so that the sheet is about half as wide again as high.
fn columns(count: usize, cell: [i64; 2]) -> i64 {
    let count = (count as i64).max(1);
    let shape = |columns: i64| {
        let rows = (count + columns - 1) / columns;
        let ratio = (columns * cell[0]) as f64 / (rows * cell[1]).max(1) as f64;
        ((ratio / 1.5).ln().abs() * 1e6) as i64
    };
    (1..=count).min_by_key(|&columns| (shape(columns), columns)).unwrap_or(1)
}

/// Writes a canvas as PNG of 8 bits a colour, without a time, so that the same picture gives the same bytes.
///
/// # Errors
/// Whatever `out` returns.
pub fn write_png(canvas: &Canvas, out: &mut impl Write) -> std::io::Result<()> {
    let side = |n: usize| u32::try_from(n).map_err(|_| std::io::Error::other("a side of more than 2^32 pixels"));
    let mut encoder = png::Encoder::new(out, side(canvas.width)?, side(canvas.height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    // Piece by piece: the whole compressed picture in memory would end the process where there is none left.
    let mut stream = writer.stream_writer_with_size(1 << 15)?;
    stream.write_all(&canvas.pixels)?;
    stream.finish()?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_of_a_title_is_on_a_line_that_fits() {
        let letter = text_width("x", SCALE);
        for (text, letters, expected) in [
            ("a.nii: 1 of 3 slices with prompts", 40, &["a.nii: 1 of 3 slices with prompts"][..]),
            ("a.nii: 1 of 3 slices with prompts", 12, &["a.nii: 1 of", "3 slices", "with prompts"]),
            ("patient_0001.nii.gz: 1 of 3", 10, &["patient_00", "01.nii.gz:", "1 of 3"]),
            ("a b", 0, &["a", "b"]),
        ] {
            assert_eq!(broken(text, letters * letter), expected, "{letters} letters");
        }
    }
}
