//! From a slice of any size to the model's picture and back (MEDSEGDB.md "Making slices from volumes", MODEL.md
//! section 6): how pixels, prompts and logits are scaled for each kind of model.
//!
//! ```
//! use medsegx::model::Preset;
//! use medsegx::segment::Frame;
//!
//! # fn main() -> medsegx::Result<()> {
//! let frame = Frame::new(&Preset::Tiny.medsegx(), 480, 512)?;
//! assert_eq!((frame.slice, frame.size), ([480, 512], 256));
//! assert!(Frame::new(&Preset::Tiny.medsegx(), 0, 512).is_err());
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, Result};
use crate::image::picture::{Filter, Levels, Preprocessing};
use crate::image::resample::{Fit, fitted};
use crate::model::{Config, Kind};
use crate::prompt::Scale;

/// Mean of SAM's training pictures, a channel each.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
/// Standard deviation of SAM's training pictures.
const STD: [f32; 3] = [58.395, 57.12, 57.375];

/// How one slice sits in the model's picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    kind: Kind,
    /// S.
    pub size: usize,
    /// Rows and columns of the slice.
    pub slice: [usize; 2],
    /// Rows and columns of the picture that the slice fills; the rest is padding.
    pub valid: [usize; 2],
}

impl Frame {
    /// The frame of a slice with `height` rows and `width` columns.
    ///
    /// # Errors
    /// A slice without pixels.
    pub fn new(config: &Config, height: usize, width: usize) -> Result<Frame> {
        if height == 0 || width == 0 {
            let (expected, found) = ("at least one pixel".into(), format!("{height} x {width}"));
            return Err(Error::Argument { name: "slice", expected, found });
        }
        let (kind, size, slice) = (config.kind, config.image_size, [height, width]);
        Ok(Frame { kind, size, slice, valid: fitted(slice, size, fit(kind)) })
    }

    /// How slices are fitted to the model's picture.
    pub fn fit(&self) -> Fit {
        fit(self.kind)
    }

    /// How slices of so many channels become pictures.
    pub(crate) fn preprocessing(&self, channels: usize, levels: Levels) -> Preprocessing {
        let Frame { kind, size: side, slice, valid } = *self;
        let filter = if kind == Kind::LiteMedSam { Filter::Area } else { Filter::Bilinear };
        Preprocessing { slice, channels, levels, valid, side, filter, by_range: self.scales_by_range() }
    }

    /// The rows of `picture` `[S, S, 3]` that are no padding.
    fn rows_of<'a>(&self, picture: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let [height, width] = self.valid;
        picture.chunks_exact(3 * self.size).take(height).map(move |row| &row[..3 * width])
    }

    /// A position in pixels of the slice to pixels of the model's picture. The published rule scales indices, with no
    /// half-pixel term; the prompt encoder adds 0.5.
    pub fn point(&self, x: f64, y: f64) -> [f32; 2] {
        let [height, width] = self.slice;
        let scale = Scale::new(self.kind, self.size, width, height);
        scale.place([x, y])
    }

    /// A box `x0, y0, x1, y1` of inclusive pixel indices of the slice, in the model's picture. MedSegX's ends with the
    /// last pixel that it holds where the slice is enlarged.
    pub fn region(&self, region: [f64; 4]) -> [f32; 4] {
        let [height, width] = self.slice;
        Scale::new(self.kind, self.size, width, height).apply_corners(region)
    }

    /// Whether pictures are scaled by their own range, so that their scaling is known only once they are made.
    pub fn scales_by_range(&self) -> bool {
        matches!(self.kind, Kind::MedSam | Kind::LiteMedSam)
    }

    /// What the patch embedding does to the pixels `picture` `[S, S, 3]`: three scales, three offsets, valid height and
    /// width.
    pub fn scaling(&self, picture: &[u8]) -> [f32; 8] {
        let [height, width] = self.valid.map(|side| side as f32);
        let (scale, offset) = match self.kind {
            Kind::MedSegX | Kind::Sam => {
                (STD.map(f32::recip), std::array::from_fn(|channel| -MEAN[channel] / STD[channel]))
            }
            Kind::MedSam => unit_range(picture),
            Kind::LiteMedSam => unit_range_of(self.rows_of(picture)),
        };
        [scale[0], scale[1], scale[2], offset[0], offset[1], offset[2], height, width]
    }
}

fn fit(kind: Kind) -> Fit {
    match kind {
        Kind::MedSegX | Kind::MedSam => Fit::Stretch,
        Kind::Sam | Kind::LiteMedSam => Fit::LongestSide,
    }
}

/// LiteMedSAM: as MedSAM, of the pixels that are no padding.
fn unit_range_of<'a>(rows: impl Iterator<Item = &'a [u8]>) -> ([f32; 3], [f32; 3]) {
    let (low, high) = rows.flatten().fold((u8::MAX, 0), |(low, high), &x| (low.min(x), high.max(x)));
    unit_range(&[low.min(high), high])
}

/// MedSAM: the picture's own minimum..maximum to 0..1, all channels alike. A constant picture becomes 0.
fn unit_range(picture: &[u8]) -> ([f32; 3], [f32; 3]) {
    let low = f32::from(picture.iter().copied().min().unwrap_or(0));
    let high = f32::from(picture.iter().copied().max().unwrap_or(0));
    let scale = 1.0 / (high - low).max(1.0);
    ([scale; 3], [-low * scale; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;

    fn frame(kind: Kind, height: usize, width: usize) -> Frame {
        let mut config = Preset::Tiny.sam();
        config.kind = kind;
        Frame::new(&config, height, width).unwrap()
    }

    #[test]
    fn stretched_boxes_scale_each_axis_alone() {
        let region = frame(Kind::MedSam, 512, 256).region([10.0, 20.0, 100.0, 511.0]);
        assert_eq!(region, [40.0, 40.0, 400.0, 1022.0]);
    }

    #[test]
    fn boxes_of_medsegx_end_with_the_last_pixel_that_they_hold() {
        let medsegx = |height, width| {
            let config = Preset::Tiny.medsegx();
            move |region| Frame::new(&config, height, width).unwrap().region(region)
        };
        assert_eq!(
            medsegx(256, 256)([10.0, 20.0, 99.0, 255.0]),
            [10.0, 20.0, 99.0, 255.0],
            "at its own size as they are"
        );
        assert_eq!(medsegx(64, 128)([10.0, 20.0, 100.0, 63.0]), [20.0, 80.0, 201.0, 255.0]);
        assert_eq!(medsegx(512, 1024)([10.0, 20.0, 13.0, 511.0]), [2.5, 10.0, 3.25, 255.5], "a larger slice");
    }

    #[test]
    fn longest_side_keeps_the_aspect() {
        let frame = frame(Kind::Sam, 683, 1025);
        assert_eq!(frame.valid, [682, 1024]);
        let [x, y] = frame.point(1025.0, 683.0);
        assert_eq!(x, 1024.0);
        assert!((y - 683.0 * 1024.0 / 1025.0).abs() < 1e-4);
    }

    #[test]
    fn a_slice_without_pixels_is_refused() {
        let config = Preset::Tiny.sam();
        assert!(Frame::new(&config, 0, 5).is_err());
    }

    #[test]
    fn medsam_scales_the_picture_to_its_own_range() {
        let scaling = frame(Kind::MedSam, 8, 8).scaling(&[10, 60, 110, 35]);
        assert_eq!((scaling[0] * 110.0 + scaling[3], scaling[0] * 10.0 + scaling[3]), (1.0, 0.0));
        let constant = frame(Kind::MedSam, 8, 8).scaling(&[7; 12]);
        assert_eq!(constant[0] * 7.0 + constant[3], 0.0);
    }
}
