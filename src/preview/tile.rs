//! One slice of a preview: how it lies on the screen, and what is drawn over it.

use super::Colour;
use super::canvas::Canvas;
use crate::prompt::PixelBox;
use crate::volume::{IntensityMap, LabelVolume, Orientation, SliceFrame, Volume, VolumeInfo};
use crate::{Error, Result};

/// How the slices across one axis lie on the screen.
pub struct View {
    frame: SliceFrame,
    /// The frame runs towards right, anterior and superior; a picture of a patient the other way on both axes.
    turned: bool,
    /// Letters for left, right, top and bottom of the screen; `None` where the image does not say.
    pub sides: Option<[char; 4]>,
    /// Columns and rows on the screen.
    pub size: [usize; 2],
}

impl View {
    /// Right side up by the image's affine, as radiologists look at it: the patient's right, or front, is on the left,
    /// what is up or in front is at the top. Pixels are as wide and high as voxels are; the longer side has `longest`
    /// of them. An image without a place in the patient lies as it is stored.
    ///
    /// # Errors
    /// As [`VolumeInfo::frame`].
    pub fn new(image: &VolumeInfo, axis: usize, longest: usize) -> Result<View> {
        let geometry = image.geometry();
        let orientation = if geometry.is_some() { Orientation::Ras } else { Orientation::Stored };
        let frame = image.frame(axis, orientation)?;
        let [column, row] = frame.plane();
        let spacing = geometry.map_or([1.0; 3], |geometry| geometry.spacing());
        let (height, width) = frame.shape();
        let body = [width as f64 * spacing[column], height as f64 * spacing[row]];
        let scale = longest as f64 / body[0].max(body[1]);
        let size = body.map(|side| ((side * scale).round() as usize).clamp(1, longest));
        let sides = geometry.map(|geometry| {
            let axes = geometry.axes();
            // Seen in the frame turned by 180 degrees: left and top are where R, A and S are.
            let [across, down] = [column, row].map(|axis| [['R', 'L'], ['A', 'P'], ['S', 'I']][axes[axis].0]);
            [across[0], across[1], down[0], down[1]]
        });
        Ok(View { frame, turned: geometry.is_some(), sides, size })
    }

    /// How many slices there are.
    pub fn slices(&self) -> usize {
        self.frame.slices()
    }

    /// The pixel of the slice under pixel `(x, y)` of the screen, as a fraction.
    fn under(&self, x: usize, y: usize) -> [f64; 2] {
        let (height, width) = self.frame.shape();
        let place = |at: usize, screen: usize, slice: usize| {
            let place = (at as f64 + 0.5) * slice as f64 / screen as f64 - 0.5;
            if self.turned { slice as f64 - 1.0 - place } else { place }
        };
        [place(x, self.size[0], width), place(y, self.size[1], height)]
    }

    /// First and last pixel of the screen that a box of the stored array covers.
    pub fn screen_box(&self, region: &PixelBox) -> [[i64; 2]; 2] {
        let (height, width) = self.frame.shape();
        let [x0, y0, x1, y1] = self.frame.to_slice(region.corners());
        let ends = |first: f64, last: f64, slice: usize, screen: usize| {
            let (first, last) =
                if self.turned { (slice as f64 - 1.0 - last, slice as f64 - 1.0 - first) } else { (first, last) };
            let scale = screen as f64 / slice as f64;
            ((first * scale).round() as i64, (((last + 1.0) * scale).round() as i64 - 1))
        };
        let ((left, right), (top, bottom)) = (ends(x0, x1, width, self.size[0]), ends(y0, y1, height, self.size[1]));
        [[left, top], [right.max(left), bottom.max(top)]]
    }

    /// Draws slice `index` with its upper left corner at `at`: grey levels by `map`, labels outlined in their colours.
    ///
    /// # Errors
    /// [`Error::Argument`] for a slice that is not there; [`Error::Memory`].
    pub fn draw(
        &self,
        canvas: &mut Canvas,
        at: [i64; 2],
        (image, map, labels): (&Volume, &IntensityMap, &LabelVolume),
        index: usize,
        colour: impl Fn(u16) -> Option<Colour>,
    ) -> Result<()> {
        let (mut grey, mut own) = (Vec::new(), Vec::new());
        image.slice_u8_in(&self.frame, index, map, &mut grey)?;
        labels.slice(&self.frame, index, &mut own)?;
        let (height, width) = self.frame.shape();
        let channels = image.channels();
        if own.len() * channels != grey.len() {
            let (expected, found) = (format!("{} labels", grey.len() / channels), own.len().to_string());
            return Err(Error::Argument { name: "mask", expected, found });
        }
        let [across, down] = self.size;
        let label = |x: usize, y: usize| {
            let [column, row] = self.under(x, y).map(|place| place.round().max(0.0) as usize);
            own[row.min(height - 1) * width + column.min(width - 1)]
        };
        for y in 0..down {
            for x in 0..across {
                let [column, row] = self.under(x, y);
                let level = |channel: usize| between(&grey, [width, height, channels], [column, row], channel);
                let mut pixel = [0, 1, 2].map(|channel| level(channel.min(channels - 1)));
                let here = label(x, y);
                let differs = |dx: i64, dy: i64| {
                    let (x, y) = (x as i64 + dx, y as i64 + dy);
                    let on_screen = x >= 0 && y >= 0 && x < across as i64 && y < down as i64;
                    !on_screen || label(x as usize, y as usize) != here
                };
                if let Some(colour) = colour(here)
                    && [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1)]
                        .into_iter()
                        .any(|(dx, dy)| differs(dx, dy))
                {
                    pixel = colour;
                }
                canvas.set(at[0] + x as i64, at[1] + y as i64, pixel);
            }
        }
        Ok(())
    }
}

/// The grey level between the four pixels around a place.
fn between(grey: &[u8], [width, height, channels]: [usize; 3], [x, y]: [f64; 2], channel: usize) -> u8 {
    let part = |place: f64, length: usize| {
        let place = place.clamp(0.0, length as f64 - 1.0);
        let low = (place.floor() as usize).min(length - 1);
        (low, (low + 1).min(length - 1), place - low as f64)
    };
    let ((x0, x1, u), (y0, y1, v)) = (part(x, width), part(y, height));
    let at = |x: usize, y: usize| f64::from(grey[(y * width + x) * channels + channel]);
    let row = |y: usize| at(x0, y) * (1.0 - u) + at(x1, y) * u;
    (row(y0) * (1.0 - v) + row(y1) * v).round() as u8
}
