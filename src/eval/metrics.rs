//! DSC, HD95 and NSD of a 2-D mask against a label, as the published evaluation computes them (MONAI 1.2).

use crate::score::distance::Distances;
use crate::score::percentile_95;
use crate::{Error, Result};

/// How close an edge pixel has to be to the other mask's edge to count for NSD, in pixels.
pub const NSD_TOLERANCE: f64 = 2.0;

/// Scores of one mask. The published ones are float32; compare after rounding to `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Dice similarity coefficient, 0..=1.
    pub dsc: f64,
    /// 95th percentile Hausdorff distance in pixels, the larger of the two directions.
    pub hd95: f64,
    /// Normalised surface Dice at [`NSD_TOLERANCE`], 0..=1.
    pub nsd: f64,
}

/// A label prepared for scoring several masks.
pub struct Label {
    width: usize,
    height: usize,
    inside: Vec<bool>,
    area: u64,
    edges: Vec<bool>,
    to_edges: Distances,
}

impl Label {
    /// Prepares a row-major `[height, width]` label.
    ///
    /// # Errors
    /// [`Error::Argument`] if the label is empty or its length is not `width * height`: no score is defined then.
    pub fn new(inside: Vec<bool>, width: usize, height: usize) -> Result<Self> {
        if width.checked_mul(height) != Some(inside.len()) {
            return Err(wrong_size(width, height, inside.len()));
        }
        let edges = edges(&inside, width, height);
        let Some(to_edges) = distances(&edges, width, height)? else {
            return Err(Error::Argument { name: "label", expected: "foreground".into(), found: "none".into() });
        };
        let area = area(&inside);
        Ok(Label { width, height, inside, area, edges, to_edges })
    }

    /// Scores a row-major mask of the label's size.
    ///
    /// An empty mask has DSC 0, NSD 0 and as HD95 the 95th percentile of the distance to the label over all background
    /// pixels (infinite where the label covers everything).
    ///
    /// # Errors
    /// [`Error::Argument`] if the mask has another size.
    pub fn score(&self, mask: &[bool]) -> Result<Scores> {
        if mask.len() != self.inside.len() {
            return Err(wrong_size(self.width, self.height, mask.len()));
        }
        let mask_edges = edges(mask, self.width, self.height);
        let Some(to_mask) = distances(&mask_edges, self.width, self.height)? else {
            return Ok(Scores { dsc: 0.0, hd95: self.distance_of_background(), nsd: 0.0 });
        };
        let both = mask.iter().zip(&self.inside).filter(|&(&a, &b)| a && b).count() as f64;
        let from_mask = distances_at(&mask_edges, &self.to_edges);
        let from_label = distances_at(&self.edges, &to_mask);
        let near = from_mask.iter().chain(&from_label).filter(|&&distance| distance <= NSD_TOLERANCE).count() as f64;
        let edge_pixels = (from_mask.len() + from_label.len()) as f64;
        Ok(Scores {
            dsc: 2.0 * both / (area(mask) + self.area) as f64,
            hd95: percentile_95(from_mask).max(percentile_95(from_label)),
            nsd: near / edge_pixels,
        })
    }

    /// The label's tight bounding box, inclusive pixel indices `[x0, y0, x1, y1]`.
    pub fn tight_box(&self) -> [usize; 4] {
        let mut tight = [usize::MAX, usize::MAX, 0, 0];
        for (i, _) in self.inside.iter().enumerate().filter(|&(_, &inside)| inside) {
            let (x, y) = (i % self.width, i / self.width);
            tight = [tight[0].min(x), tight[1].min(y), tight[2].max(x), tight[3].max(y)];
        }
        tight
    }

    /// Height and width in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    fn distance_of_background(&self) -> f64 {
        // Outside the label the nearest label pixel is an edge pixel.
        let background: Vec<bool> = self.inside.iter().map(|&inside| !inside).collect();
        percentile_95(distances_at(&background, &self.to_edges))
    }
}

fn wrong_size(width: usize, height: usize, found: usize) -> Error {
    Error::Argument { name: "mask", expected: format!("{width} x {height} pixels"), found: format!("{found} pixels") }
}

fn area(mask: &[bool]) -> u64 {
    mask.iter().filter(|&&inside| inside).count() as u64
}

/// The mask minus its erosion by the 4-neighbourhood; outside the picture is background.
fn edges(mask: &[bool], width: usize, height: usize) -> Vec<bool> {
    let kept = |i: usize| {
        let (x, y) = (i % width, i / width);
        let inner = x > 0 && y > 0 && x + 1 < width && y + 1 < height;
        inner && mask[i - 1] && mask[i + 1] && mask[i - width] && mask[i + width]
    };
    mask.iter().enumerate().map(|(i, &inside)| inside && !kept(i)).collect()
}

fn distances(edges: &[bool], width: usize, height: usize) -> Result<Option<Distances>> {
    Distances::to(edges, [width, height, 1], [1.0; 3])
}

fn distances_at(at: &[bool], distances: &Distances) -> Vec<f64> {
    at.iter().enumerate().filter(|&(_, &at)| at).map(|(index, _)| distances.at(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rows: &[&str]) -> Vec<bool> {
        rows.concat().bytes().map(|byte| byte == b'#').collect()
    }

    #[test]
    fn by_hand() {
        let label = Label::new(picture(&["......", ".####.", ".####.", ".####.", "......"]), 6, 5).unwrap();
        assert_eq!(label.tight_box(), [1, 1, 4, 3]);
        let shifted = picture(&["......", "..####", "..####", "..####", "......"]);
        let scores = label.score(&shifted).unwrap();
        assert_eq!(scores.dsc, 18.0 / 24.0);
        assert_eq!((scores.hd95, scores.nsd), (1.0, 1.0));
        // Background distances of a 6 x 5 frame around a 4 x 3 block: 14 ones and 4 diagonals, 95 % lies on a diagonal.
        let empty = label.score(&[false; 30]).unwrap();
        assert_eq!(empty, Scores { dsc: 0.0, hd95: 2f64.sqrt(), nsd: 0.0 });
        assert_eq!(label.score(&picture(&["......", ".####.", ".####.", ".####.", "......"])).unwrap().dsc, 1.0);
    }

    #[test]
    fn percentile_is_numpys() {
        assert_eq!(percentile_95(vec![3.0]), 3.0);
        assert_eq!(percentile_95(vec![2.0, 1.0]), 2.0 - (1.0 - 0.95));
        assert!((percentile_95((0..=100).map(f64::from).collect()) - 95.0).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_score_is_an_error() {
        assert!(Label::new(vec![false; 4], 2, 2).is_err());
        assert!(Label::new(vec![true; 5], 2, 2).is_err());
        assert!(Label::new(vec![], 0, 0).is_err());
        let full = Label::new(vec![true; 4], 2, 2).unwrap();
        assert!(full.score(&[true; 3]).is_err());
        assert_eq!(full.score(&[false; 4]).unwrap().hd95, f64::INFINITY);
    }
}
