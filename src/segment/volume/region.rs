//! Sets of pixels of a slice: distances to their edge, connected pieces, holes.

use crate::error::Result;
use crate::memory::{collected, copied, push, zeros};

/// What memory is asked for here.
const MASK: &str = "a mask";

/// Rows of pixels, `[height, width]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub height: usize,
    pub width: usize,
}

impl Grid {
    /// Those of the four pixels beside pixel `at` that the slice has.
    pub fn beside(self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let (x, y, width) = (at % self.width, at / self.width, self.width);
        let sides = [(x > 0, at.wrapping_sub(1)), (x + 1 < width, at + 1)];
        let ends = [(y > 0, at.wrapping_sub(width)), (y + 1 < self.height, at + width)];
        sides.into_iter().chain(ends).filter(|&(there, _)| there).map(|(_, at)| at)
    }

    /// Without the pixels that touch others by a face.
    pub fn eroded(self, mask: &[bool]) -> Result<Vec<bool>> {
        collected((0..mask.len()).map(|at| mask[at] && self.beside(at).all(|next| mask[next])), MASK)
    }

    /// With the pixels that touch it by a face.
    pub fn grown(self, mask: &[bool]) -> Result<Vec<bool>> {
        collected((0..mask.len()).map(|at| mask[at] || self.beside(at).any(|next| mask[next])), MASK)
    }

    /// Columns and rows `[x0, y0, x1, y1]` of the slice that enclose `mask`, inclusive.
    pub fn corners(self, mask: &[bool]) -> [usize; 4] {
        (0..mask.len()).filter(|&at| mask[at]).fold([self.width, self.height, 0, 0], |[x0, y0, x1, y1], at| {
            let (x, y) = (at % self.width, at / self.width);
            [x0.min(x), y0.min(y), x1.max(x), y1.max(y)]
        })
    }

    /// `mask` resized so that `[x0, y0, x1, y1]` enclose it; nothing of an empty one.
    pub fn stretched(self, mask: &[bool], [x0, y0, x1, y1]: [usize; 4]) -> Result<Vec<bool>> {
        let [left, top, right, bottom] = self.corners(mask);
        let mut found = zeros(mask.len(), MASK)?;
        if !mask.contains(&true) {
            return Ok(found);
        }
        // Each pixel is that of `mask` in which its middle lies.
        let from = |at: usize, pixels: usize, first: usize, of: usize| first + (2 * at + 1) * of / (2 * pixels);
        for y in y0..=y1 {
            let row = from(y - y0, y1 - y0 + 1, top, bottom - top + 1);
            for x in x0..=x1 {
                found[y * self.width + x] = mask[row * self.width + from(x - x0, x1 - x0 + 1, left, right - left + 1)];
            }
        }
        Ok(found)
    }

    /// The largest piece that is connected by faces; of several the first.
    pub fn largest(self, mask: &[bool]) -> Result<Vec<bool>> {
        let mut open = copied(mask, MASK)?;
        let (mut piece, mut largest): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for start in 0..open.len() {
            if std::mem::take(&mut open[start]) {
                piece.clear();
                push(&mut piece, start, MASK)?;
                self.flood(&mut open, &mut piece)?;
                if piece.len() > largest.len() {
                    std::mem::swap(&mut piece, &mut largest);
                }
            }
        }
        let mut found = zeros(mask.len(), MASK)?;
        largest.into_iter().for_each(|at| found[at] = true);
        Ok(found)
    }

    /// With everything that it encloses.
    pub fn filled(self, mask: &[bool]) -> Result<Vec<bool>> {
        let mut outside = collected(mask.iter().map(|&inside| !inside), MASK)?;
        let is_edge = |at: usize| {
            let (x, y) = (at % self.width, at / self.width);
            x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height
        };
        let mut reached = Vec::new();
        for at in (0..mask.len()).filter(|&at| is_edge(at)) {
            if std::mem::take(&mut outside[at]) {
                push(&mut reached, at, MASK)?;
            }
        }
        self.flood(&mut outside, &mut reached)?;
        let mut filled = collected(mask.iter().map(|_| true), MASK)?;
        reached.into_iter().for_each(|at| filled[at] = false);
        Ok(filled)
    }

    /// Adds to `piece` what of `open` is connected with it, and takes that from `open`.
    fn flood(self, open: &mut [bool], piece: &mut Vec<usize>) -> Result<()> {
        let mut at = 0;
        while at < piece.len() {
            for next in self.beside(piece[at]) {
                if std::mem::take(&mut open[next]) {
                    push(piece, next, MASK)?;
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// What lies no farther than a radius, `share` of the largest depth, from the largest piece of what is deeper in
    /// `mask` than that.
    pub fn opened(self, mask: &[bool], share: f64) -> Result<Vec<bool>> {
        let inside = self.distance(mask, false)?;
        let radius = (share * inside.iter().copied().fold(1.0, f64::max)).round();
        let core = self.largest(&collected(inside.iter().map(|&far| far > radius), MASK)?)?;
        if radius < 1.0 || !core.contains(&true) {
            return copied(mask, MASK);
        }
        // Half a pixel more: a digital disc's corners lie beyond its radius.
        let away = self.distance(&core, true)?;
        collected(mask.iter().zip(away).map(|(&inside, away)| inside && away <= radius + 0.5), MASK)
    }

    /// Distance to the edge in pixels, positive inside: that of a pixel to the nearest of the other kind.
    pub fn depth(self, mask: &[bool]) -> Result<Vec<f64>> {
        let (mut inside, outside) = (self.distance(mask, false)?, self.distance(mask, true)?);
        inside.iter_mut().zip(outside).for_each(|(inside, outside)| *inside -= outside);
        Ok(inside)
    }

    /// From each pixel to the nearest where `mask` is `to`; where none is, farther than the slice is large.
    fn distance(self, mask: &[bool], to: bool) -> Result<Vec<f64>> {
        let far = ((self.width + self.height) as f64).powi(2);
        let mut squares = collected(mask.iter().map(|&inside| if inside == to { 0.0 } else { far }), "distances")?;
        let mut line = Line::default();
        for x in 0..self.width {
            line.lower(&mut squares, x, self.width, self.height);
        }
        for y in 0..self.height {
            line.lower(&mut squares, y * self.width, 1, self.width);
        }
        squares.iter_mut().for_each(|square| *square = square.sqrt());
        Ok(squares)
    }
}

/// Lower envelopes of parabolas along a line of pixels (Felzenszwalb and Huttenlocher).
#[derive(Default)]
struct Line {
    values: Vec<f64>,
    /// Where each parabola of the envelope stands, and from where on it is the lowest.
    stands: Vec<(usize, f64)>,
}

impl Line {
    /// Squares of `count` pixels from `start` on, `step` apart, become the least of square plus squared distance.
    fn lower(&mut self, squares: &mut [f64], start: usize, step: usize, count: usize) {
        self.values.clear();
        self.values.extend((0..count).map(|at| squares[start + at * step]));
        self.stands.clear();
        for at in 0..count {
            let mut from = f64::NEG_INFINITY;
            while let Some(&(stand, since)) = self.stands.last() {
                let rise = self.values[at] - self.values[stand];
                from = (rise / (at - stand) as f64 + (at + stand) as f64) / 2.0;
                if from > since {
                    break;
                }
                self.stands.pop();
                from = f64::NEG_INFINITY;
            }
            self.stands.push((at, from));
        }
        let mut standing = 0;
        for at in 0..count {
            while self.stands.get(standing + 1).is_some_and(|&(_, from)| from <= at as f64) {
                standing += 1;
            }
            let stand = self.stands[standing].0;
            squares[start + at * step] = self.values[stand] + (at as f64 - stand as f64).powi(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { height: 9, width: 12 };

    fn mask(of: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        (0..GRID.height * GRID.width).map(|at| of(at % GRID.width, at / GRID.width)).collect()
    }

    #[test]
    fn the_depth_is_the_distance_to_the_nearest_pixel_of_the_other_kind() {
        let mask = mask(|x, y| (x * 7 + y * 5) % 11 < 6 && x > 1);
        for (at, found) in GRID.depth(&mask).unwrap().into_iter().enumerate() {
            let apart = |other: usize| {
                let (dx, dy) = ((at % 12).abs_diff(other % 12), (at / 12).abs_diff(other / 12));
                ((dx * dx + dy * dy) as f64).sqrt()
            };
            let others = (0..mask.len()).filter(|&other| mask[other] != mask[at]);
            let nearest = others.map(apart).fold(f64::INFINITY, f64::min);
            assert!((found - if mask[at] { nearest } else { -nearest }).abs() < 1e-12, "{at}: {found} for {nearest}");
        }
    }

    #[test]
    fn a_mask_is_stretched_to_its_box() {
        let cross = mask(|x, y| x == 4 && (3..6).contains(&y) || y == 4 && (3..6).contains(&x));
        let wide = mask(|x, y| (4..6).contains(&x) && (3..6).contains(&y) || y == 4 && (2..8).contains(&x));
        assert!(GRID.stretched(&cross, [2, 3, 7, 5]).unwrap() == wide);
        assert!(GRID.stretched(&wide, [3, 3, 5, 5]).unwrap() == cross);
        assert!(GRID.stretched(&cross, [3, 3, 5, 5]).unwrap() == cross, "one that fills its box stays");
        let none = mask(|_, _| false);
        assert!(GRID.stretched(&none, [2, 3, 7, 5]).unwrap() == none);
    }

    #[test]
    fn a_thin_arm_is_opened_off_and_holes_are_filled() {
        let body = mask(|x, y| (2..8).contains(&x) && (1..8).contains(&y));
        let arm = mask(|x, y| x >= 8 && y == 4);
        let both: Vec<bool> = body.iter().zip(&arm).map(|(&body, &arm)| body || arm).collect();
        let opened = GRID.opened(&both, 0.3).unwrap();
        assert!(opened.iter().zip(&both).all(|(&opened, &before)| before || !opened));
        assert!((0..opened.len()).all(|at| !opened[at] || at % 12 < 9), "at most one pixel of the arm stays");
        let hollow = mask(|x, y| (2..8).contains(&x) && (1..8).contains(&y) && (x, y) != (4, 4));
        assert!(GRID.filled(&hollow).unwrap() == body);
        assert!(
            GRID.largest(&mask(|x, y| x < 2 || (4..9).contains(&x) && y < 4)).unwrap()
                == mask(|x, y| (4..9).contains(&x) && y < 4)
        );
    }
}
