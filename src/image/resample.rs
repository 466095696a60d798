//! Bilinear resizing, antialiased where it shrinks: PyTorch's `interpolate(mode="bilinear", antialias=True,
//! align_corners=False)` in f32, columns first, then rows.
//!
//! All memory is taken when a [`Resizer`] is made; resizing allocates nothing.

use crate::memory::{reserve, zeros};
use crate::{Error, Result};

/// Longest side that is resized from or to.
const LONGEST: usize = 1 << 20;

/// How a picture is fitted to a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Both sides are stretched to the square (MedSegX, MedSAM).
    Stretch,
    /// The longest side fills the square, the other keeps the aspect; the rest is right and below (SAM).
    LongestSide,
}

/// Height and width of a picture of `from` when it has been fitted to a square of side `side`.
pub fn fitted([height, width]: [usize; 2], side: usize, fit: Fit) -> [usize; 2] {
    match fit {
        Fit::Stretch => [side, side],
        Fit::LongestSide => {
            let scale = side as f64 / height.max(width).max(1) as f64;
            [height, width].map(|n| ((n as f64 * scale + 0.5) as usize).clamp(1, side.max(1)))
        }
    }
}

/// The weights with which a row of `from` samples makes one of `to`.
#[derive(Clone, Debug)]
struct Taps {
    /// First sample and first weight of each result.
    first: Vec<(usize, usize)>,
    /// All weights, those of a result together; each set sums to 1. One past the last result closes `first`.
    weights: Vec<f32>,
}

impl Taps {
    /// Triangle filter, widened by the scale when shrinking, as ATen's `compute_indices_weights_aa` has it, in f32.
    fn new(from: usize, to: usize, antialias: bool) -> Result<Self> {
        let scale = from as f32 / to as f32;
        let widening = if antialias { scale.max(1.0) } else { 1.0 };
        let inverse = 1.0 / widening;
        let mut first = reserve(to + 1, "resizing")?;
        let mut weights = reserve(to.saturating_mul(2 * widening.ceil() as usize + 1), "resizing")?;
        for i in 0..to {
            // Without antialiasing PyTorch moves the centre into the picture; normalising the cut filter does the same.
            let center = scale * (i as f32 + 0.5);
            let center = if antialias { center } else { center.clamp(0.5, from as f32 - 0.5) };
            let start = ((center - widening + 0.5) as isize).max(0) as usize;
            let end = ((center + widening + 0.5) as usize).min(from).max(start + 1);
            let begin = weights.len();
            weights.extend((start..end).map(|j| {
                let distance = ((j as f32 - center + 0.5) * inverse).abs();
                (1.0 - distance).max(0.0)
            }));
            let total: f32 = weights[begin..].iter().sum();
            weights[begin..].iter_mut().for_each(|w| *w /= total);
            first.push((start, begin));
        }
        first.push((0, weights.len()));
        Ok(Taps { first, weights })
    }

    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (start, begin) = self.first[i];
        (start, &self.weights[begin..self.first[i + 1].1])
    }
}

/// Resizes pictures and logits of one size to another.
#[derive(Clone, Debug)]
pub struct Resizer {
    from: [usize; 2],
    to: [usize; 2],
    channels: usize,
    columns: Option<Taps>,
    rows: Option<Taps>,
    /// `[from height, to width, channels]`: the columns resized, the rows not yet.
    narrow: Vec<f32>,
    /// One row of the result.
    row: Vec<f32>,
}

impl Resizer {
    /// From `[height, width]` to `[height, width]`, for up to `channels` interleaved channels, antialiased.
    ///
    /// # Errors
    /// [`Error::Argument`] for a side of 0 or beyond reason, [`Error::Memory`].
    pub fn new(from: [usize; 2], to: [usize; 2], channels: usize) -> Result<Self> {
        Self::with_antialias(from, to, channels, true)
    }

    /// As [`Resizer::new`]; without antialiasing as SAM resizes its logits.
    ///
    /// # Errors
    /// As [`Resizer::new`].
    pub fn with_antialias(from: [usize; 2], to: [usize; 2], channels: usize, antialias: bool) -> Result<Self> {
        if from.iter().chain(&to).chain(&[channels]).any(|n| !(1..=LONGEST).contains(n)) {
            let found = format!("{from:?} to {to:?}, {channels} channels");
            return Err(Error::Argument { name: "size", expected: format!("1 to {LONGEST}"), found });
        }
        let taps =
            |axis: usize| (from[axis] != to[axis]).then(|| Taps::new(from[axis], to[axis], antialias)).transpose();
        let row = to[1] * channels;
        let size = from[0].checked_mul(row).ok_or(Error::Memory { what: "resizing".into(), bytes: u64::MAX })?;
        let (narrow, row) = (zeros(size, "resizing")?, zeros(row, "resizing")?);
        Ok(Resizer { from, to, channels, columns: taps(1)?, rows: taps(0)?, narrow, row })
    }

    /// Height and width of what it makes.
    pub fn to(&self) -> [usize; 2] {
        self.to
    }

    /// Height and width of what it takes.
    pub fn from(&self) -> [usize; 2] {
        self.from
    }

    /// Resizes `source` `[h, w, channels]` of 8 bits, rounding half to even, into the top left corner of `target`, a
    /// picture of three channels and `target_width` pixels a row. Grey is repeated; the rest of `target` is kept.
    ///
    /// # Errors
    /// [`Error::Argument`] when a buffer does not fit.
    pub fn picture(&mut self, source: &[u8], channels: usize, target: &mut [u8], target_width: usize) -> Result<()> {
        let [height, width] = self.from;
        let fits = matches!(channels, 1 | 3) && channels <= self.channels && source.len() == height * width * channels;
        self.check(fits, "source", source.len())?;
        self.check_target(target.len() / 3, target_width)?;
        let needed = self.shrink_columns(source, width * channels, channels, f32::from);
        debug_assert!(needed <= self.narrow.len());
        for y in 0..self.to[0] {
            self.make_row(y, channels);
            let row = &mut target[3 * y * target_width..3 * (y * target_width + self.to[1])];
            for (pixel, values) in row.chunks_exact_mut(3).zip(self.row.chunks_exact(channels)) {
                let level = |c: usize| values[c].round_ties_even() as u8;
                pixel.copy_from_slice(&if channels == 1 { [level(0); 3] } else { [level(0), level(1), level(2)] });
            }
        }
        Ok(())
    }

    /// Resizes one plane of f32, the top left corner of `source` with `source_width` values a row, to `target` `[h,
    /// w]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when a buffer does not fit.
    pub fn plane(&mut self, source: &[f32], source_width: usize, target: &mut [f32]) -> Result<()> {
        let [height, width] = self.from;
        let fits =
            source_width >= width && source.len() >= (height - 1).saturating_mul(source_width).saturating_add(width);
        self.check(fits, "source", source.len())?;
        self.check(target.len() == self.to[0] * self.to[1], "target", target.len())?;
        self.shrink_columns(source, source_width, 1, |v| v);
        for (y, row) in target.chunks_exact_mut(self.to[1]).enumerate() {
            self.make_row(y, 1);
            row.copy_from_slice(&self.row[..self.to[1]]);
        }
        Ok(())
    }

    fn check(&self, fits: bool, name: &'static str, length: usize) -> Result<()> {
        if fits {
            return Ok(());
        }
        let expected = format!("{:?} to {:?}, at most {} channels", self.from, self.to, self.channels);
        Err(Error::Argument { name, expected, found: format!("{length} values") })
    }

    fn check_target(&self, pixels: usize, width: usize) -> Result<()> {
        let needed = (self.to[0] - 1).saturating_mul(width).saturating_add(self.to[1]);
        self.check(width >= self.to[1] && pixels >= needed, "target", pixels)
    }

    /// Fills `narrow` with every row of `source`, whose rows are `stride` values apart.
    fn shrink_columns<T: Copy>(
        &mut self,
        source: &[T],
        stride: usize,
        channels: usize,
        value: impl Fn(T) -> f32,
    ) -> usize {
        let width = self.to[1] * channels;
        for (y, target) in self.narrow.chunks_exact_mut(width).take(self.from[0]).enumerate() {
            let row = &source[y * stride..y * stride + self.from[1] * channels];
            let Some(taps) = &self.columns else {
                target.iter_mut().zip(row).for_each(|(t, &s)| *t = value(s));
                continue;
            };
            for (x, pixel) in target.chunks_exact_mut(channels).enumerate() {
                let (start, weights) = taps.of(x);
                for (c, result) in pixel.iter_mut().enumerate() {
                    let samples = row[start * channels + c..].iter().step_by(channels);
                    *result = weights.iter().zip(samples).fold(0.0, |sum, (w, &s)| sum + w * value(s));
                }
            }
        }
        width * self.from[0]
    }

    /// Fills `row` with row `y` of the result.
    fn make_row(&mut self, y: usize, channels: usize) {
        let width = self.to[1] * channels;
        let row = &mut self.row[..width];
        let Some(taps) = &self.rows else {
            row.copy_from_slice(&self.narrow[y * width..(y + 1) * width]);
            return;
        };
        let (start, weights) = taps.of(y);
        row.fill(0.0);
        for (w, samples) in weights.iter().zip(self.narrow[start * width..].chunks_exact(width)) {
            row.iter_mut().zip(samples).for_each(|(sum, s)| *sum += w * s);
        }
    }
}

/// The way back from the network's logits to a slice: `[side, side]` logits to `[h, w]` of the slice.
#[derive(Clone, Debug)]
pub struct LogitResizer {
    /// For [`Fit::LongestSide`]: logits to the model's picture, of which the padding is cut off.
    enlarge: Option<(Resizer, Vec<f32>)>,
    resize: Resizer,
}

impl LogitResizer {
    /// For slices of `slice` height and width that were fitted to the model's `side`, and logits of `logits` side.
    /// Stretched pictures go back with the same antialiased filter. Those with the longest side fitted go back as SAM
    /// does it: to the model's `side`, cut to the picture, then to the slice, without antialiasing.
    ///
    /// # Errors
    /// As [`Resizer::new`].
    pub fn new(logits: usize, side: usize, slice: [usize; 2], fit: Fit) -> Result<Self> {
        if fit == Fit::Stretch {
            return Ok(LogitResizer { enlarge: None, resize: Resizer::new([logits, logits], slice, 1)? });
        }
        let enlarge = Resizer::with_antialias([logits, logits], [side, side], 1, false)?;
        let picture = zeros(side * side, "resizing")?;
        let resize = Resizer::with_antialias(fitted(slice, side, fit), slice, 1, false)?;
        Ok(LogitResizer { enlarge: Some((enlarge, picture)), resize })
    }

    /// Height and width of the slice.
    pub fn to(&self) -> [usize; 2] {
        self.resize.to()
    }

    /// Resizes one plane of logits to `target` `[h, w]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when a buffer does not fit.
    pub fn run(&mut self, logits: &[f32], target: &mut [f32]) -> Result<()> {
        let Some((enlarge, picture)) = &mut self.enlarge else {
            return self.resize.plane(logits, self.resize.from[1], target);
        };
        enlarge.plane(logits, enlarge.from[1], picture)?;
        self.resize.plane(picture, enlarge.to[1], target)
    }
}

/// One axis of a [`Stage`]: as many weights for every result, 0 behind its last.
#[cfg(feature = "cuda")]
#[derive(Clone, Debug)]
pub(crate) struct StageTaps {
    /// First sample of each result.
    pub first: Vec<u32>,
    /// `[results, taps]`.
    pub weights: Vec<f32>,
    /// Weights of a result.
    pub taps: usize,
}

/// What one [`Resizer`] does, for a device that does the same.
#[cfg(feature = "cuda")]
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Height and width that are read.
    pub from: [usize; 2],
    /// Height and width that are made.
    pub to: [usize; 2],
    /// Rows, columns.
    pub taps: [StageTaps; 2],
}

#[cfg(feature = "cuda")]
impl LogitResizer {
    /// Its one or two stages, in order.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        self.enlarge.iter().map(|(enlarge, _)| enlarge).chain([&self.resize]).map(Resizer::stage).collect()
    }
}

#[cfg(feature = "cuda")]
impl Resizer {
    /// What it does.
    pub(crate) fn stage(&self) -> Stage {
        let axis = |taps: &Option<Taps>, count: usize| match taps {
            None => StageTaps { first: (0..count as u32).collect(), weights: vec![1.0; count], taps: 1 },
            Some(taps) => {
                let most = (0..count).map(|i| taps.of(i).1.len()).max().unwrap_or(1);
                let mut weights = vec![0.0; count * most];
                for (i, row) in weights.chunks_exact_mut(most).enumerate() {
                    let own = taps.of(i).1;
                    row[..own.len()].copy_from_slice(own);
                }
                StageTaps { first: (0..count).map(|i| taps.of(i).0 as u32).collect(), weights, taps: most }
            }
        };
        Stage { from: self.from, to: self.to, taps: [axis(&self.rows, self.to[0]), axis(&self.columns, self.to[1])] }
    }
}
