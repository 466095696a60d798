//! Resizing of bytes by means over areas, each result rounded to a byte: OpenCV's `INTER_AREA`, bit for bit. Enlarging
//! is bilinear there, in steps of 1/2048.
//!
//! All memory is taken when an [`AreaResizer`] is made; resizing allocates nothing.

use std::ops::Range;

use crate::memory::{reserve, zeros};
use crate::{Error, Result};

/// Longest side that is resized from or to: sums of whole ratios stay exact.
const LONGEST: usize = 1 << 16;

/// Weights are these parts of 1 where a picture is enlarged.
const STEPS: f32 = 2048.0;

/// How one picture is made of another.
#[derive(Clone, Debug)]
enum Way {
    Same,
    /// Rows and columns of the source that make one pixel.
    Whole([usize; 2]),
    /// Cells of rows and of columns.
    Cells([Cells; 2]),
    /// Pairs of rows and of columns.
    Between([Vec<Pair>; 2]),
}

/// The samples of one axis that each result is the weighted sum of.
#[derive(Clone, Debug)]
struct Cells {
    /// Range in `samples` of each result.
    of: Vec<Range<usize>>,
    /// Index and weight.
    samples: Vec<(usize, f32)>,
}

/// Two neighbours and their weights in 1/2048.
#[derive(Clone, Copy, Debug)]
struct Pair {
    low: usize,
    high: usize,
    weights: [i64; 2],
}

/// Resizes pictures of one size to another.
#[derive(Clone, Debug)]
pub struct AreaResizer {
    from: [usize; 2],
    to: [usize; 2],
    channels: usize,
    way: Way,
    /// One row of the result, or of the source with its columns resized.
    row: Vec<f32>,
    across: Vec<f32>,
}

impl AreaResizer {
    /// From `[height, width]` to `[height, width]`, for up to `channels` interleaved channels.
    ///
    /// # Errors
    /// [`Error::Argument`] for a side of 0 or beyond reason, [`Error::Memory`].
    pub fn new(from: [usize; 2], to: [usize; 2], channels: usize) -> Result<AreaResizer> {
        if from.iter().chain(&to).any(|side| !(1..=LONGEST).contains(side)) || !(1..=4).contains(&channels) {
            let found = format!("{from:?} to {to:?}, {channels} channels");
            return Err(Error::Argument { name: "size", expected: format!("1 to {LONGEST}"), found });
        }
        let shrinks = from[0] >= to[0] && from[1] >= to[1];
        let whole = shrinks && from[0].is_multiple_of(to[0]) && from[1].is_multiple_of(to[1]);
        let way = match (from == to, whole, shrinks) {
            (true, ..) => Way::Same,
            (_, true, _) => Way::Whole([from[0] / to[0], from[1] / to[1]]),
            (_, _, true) => Way::Cells([Cells::new(from[0], to[0])?, Cells::new(from[1], to[1])?]),
            _ => Way::Between([between(from[0], to[0])?, between(from[1], to[1])?]),
        };
        let width = to[1] * channels;
        let (row, across) = (zeros(width, "resizing")?, zeros(width, "resizing")?);
        Ok(AreaResizer { from, to, channels, way, row, across })
    }

    /// Resizes `source` `[h, w, channels]` into the top left corner of `target`, a picture of three channels and
    /// `target_width` pixels a row. Grey is repeated; the rest of `target` is kept.
    ///
    /// # Errors
    /// [`Error::Argument`] when a buffer does not fit.
    pub fn picture(&mut self, source: &[u8], channels: usize, target: &mut [u8], target_width: usize) -> Result<()> {
        let [height, width] = self.to;
        let fits = matches!(channels, 1 | 3)
            && channels <= self.channels
            && source.len() == self.from[0] * self.from[1] * channels
            && target_width >= width
            && target.len() >= 3 * ((height - 1) * target_width + width);
        if !fits {
            let expected = format!("{:?} to {:?}, at most {} channels", self.from, self.to, self.channels);
            let found = format!("{} to {} values", source.len(), target.len());
            return Err(Error::Argument { name: "picture", expected, found });
        }
        for y in 0..height {
            let row = &mut target[3 * y * target_width..3 * (y * target_width + width)];
            self.make_row(source, channels, y);
            for (pixel, values) in row.chunks_exact_mut(3).zip(self.row.chunks_exact(channels)) {
                // Sums are rounded by now but those of cells, which clamp.
                let level = |c: usize| values[c].round_ties_even() as u8;
                pixel.copy_from_slice(&if channels == 1 { [level(0); 3] } else { [level(0), level(1), level(2)] });
            }
        }
        Ok(())
    }

    /// Fills `row` with row `y` of the result.
    fn make_row(&mut self, source: &[u8], channels: usize, y: usize) {
        let (stride, width) = (self.from[1] * channels, self.to[1]);
        let row = &mut self.row[..width * channels];
        let line = |y: usize| &source[y * stride..(y + 1) * stride];
        match &self.way {
            Way::Same => row.iter_mut().zip(line(y)).for_each(|(to, &x)| *to = f32::from(x)),
            Way::Whole([down, across]) => {
                for (i, to) in row.iter_mut().enumerate() {
                    let first = i / channels * across * channels + i % channels;
                    let of_line = |y: usize| line(y)[first..].iter().step_by(channels).take(*across);
                    let sum: u64 = (y * down..(y + 1) * down).flat_map(of_line).map(|&x| u64::from(x)).sum();
                    *to = match (down, across) {
                        (2, 2) => ((sum + 2) >> 2) as f32,
                        _ => sum as f32 * (1.0 / (down * across) as f64) as f32,
                    };
                }
            }
            Way::Cells([rows, columns]) => {
                row.fill(0.0);
                let across = &mut self.across[..width * channels];
                for &(y, weight) in rows.samples_of(y) {
                    columns.sum(line(y), channels, across);
                    row.iter_mut().zip(&*across).for_each(|(sum, x)| *sum += x * weight);
                }
            }
            Way::Between([rows, columns]) => {
                let pair = rows[y];
                let mixed = |line: &[u8], at: Pair, c: usize| {
                    let of = |x: usize| i64::from(line[x * channels + c]);
                    of(at.low) * at.weights[0] + of(at.high) * at.weights[1]
                };
                for (pixel, &column) in row.chunks_exact_mut(channels).zip(columns) {
                    for (c, to) in pixel.iter_mut().enumerate() {
                        let [low, high] = [pair.low, pair.high].map(|y| mixed(line(y), column, c) >> 4);
                        let sum = ((pair.weights[0] * low) >> 16) + ((pair.weights[1] * high) >> 16);
                        *to = ((sum + 2) >> 2) as f32;
                    }
                }
            }
        }
    }
}

impl Cells {
    /// `from` samples to `to` results, no whole ratio; a result's samples in order.
    fn new(from: usize, to: usize) -> Result<Cells> {
        // In this order, as OpenCV rounds twice.
        let scale = 1.0 / (to as f64 / from as f64);
        let (mut of, mut samples) = (reserve(to, "resizing")?, reserve(from + 2 * to, "resizing")?);
        for i in 0..to {
            let start = i as f64 * scale;
            let end = start + scale;
            let width = scale.min(from as f64 - start);
            let last = (end.floor() as usize).min(from - 1);
            let first = (start.ceil() as usize).min(last);
            let begin = samples.len();
            if first as f64 - start > 1e-3 {
                samples.push((first - 1, ((first as f64 - start) / width) as f32));
            }
            samples.extend((first..last).map(|sample| (sample, (1.0 / width) as f32)));
            if end - last as f64 > 1e-3 {
                samples.push((last, ((end - last as f64).min(1.0).min(width) / width) as f32));
            }
            of.push(begin..samples.len());
        }
        Ok(Cells { of, samples })
    }

    fn samples_of(&self, i: usize) -> &[(usize, f32)] {
        &self.samples[self.of[i].clone()]
    }

    /// The results of a line, `channels` side by side.
    fn sum(&self, line: &[u8], channels: usize, out: &mut [f32]) {
        for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
            for (c, to) in pixel.iter_mut().enumerate() {
                let samples = self.samples_of(i).iter();
                *to = samples.fold(0.0, |sum, &(x, weight)| sum + f32::from(line[x * channels + c]) * weight);
            }
        }
    }
}

/// `from` samples to `to` results, at least as many.
fn between(from: usize, to: usize) -> Result<Vec<Pair>> {
    let ratio = to as f64 / from as f64;
    let scale = 1.0 / ratio;
    let mut pairs = reserve(to, "resizing")?;
    pairs.extend((0..to).map(|i| {
        let low = (i as f64 * scale).floor() as usize;
        let part = ((i + 1) as f64 - (low + 1) as f64 * ratio) as f32;
        let part = if part <= 0.0 { 0.0 } else { part - part.floor() };
        let (low, part) = if low >= from - 1 { (from - 1, 0.0) } else { (low, part) };
        let weight = |part: f32| (part * STEPS).round_ties_even() as i64;
        Pair { low, high: (low + 1).min(from - 1), weights: [weight(1.0 - part), weight(part)] }
    }));
    Ok(pairs)
}
