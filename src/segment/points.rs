//! Prompts of a slice as points of the model's frame.

use super::Frame;
use crate::error::{Error, Result};
use crate::executor::Point;
use crate::model::Kind;

/// Point labels of the prompt encoder (MODEL.md section 4).
mod label {
    pub const NOT_A_POINT: i32 = -1;
    pub const BACKGROUND: i32 = 0;
    pub const FOREGROUND: i32 = 1;
    pub const BOX_FIRST: i32 = 2;
    pub const BOX_LAST: i32 = 3;
}

/// The box of a prompt, in its frame.
pub(super) fn region_of(points: &[Point]) -> Option<[f32; 4]> {
    let corner = |label: i32| points.iter().find(|point| point.label == label).map(|point| [point.x, point.y]);
    let ([x0, y0], [x1, y1]) = (corner(label::BOX_FIRST)?, corner(label::BOX_LAST)?);
    Some([x0, y0, x1, y1])
}

/// Points of one prompt in the model's frame: `points` of the slice `(x, y, foreground)`, then the corners of the box,
/// or one padding point where there are points and no box.
pub fn prompt_points(frame: &Frame, points: &[(f64, f64, bool)], region: Option<[f64; 4]>, out: &mut Vec<Point>) {
    out.clear();
    out.extend(points.iter().map(|&(x, y, foreground)| {
        let [x, y] = frame.point(x, y);
        Point { x, y, label: if foreground { label::FOREGROUND } else { label::BACKGROUND } }
    }));
    match region.map(|region| frame.region(region)) {
        Some([x0, y0, x1, y1]) => {
            out.push(Point { x: x0, y: y0, label: label::BOX_FIRST });
            out.push(Point { x: x1, y: y1, label: label::BOX_LAST });
        }
        None if !out.is_empty() => out.push(Point { x: 0.0, y: 0.0, label: label::NOT_A_POINT }),
        None => {}
    }
}

/// Refuses points for weights that were never trained with any.
pub(crate) fn check_points_trained(kind: Kind) -> Result<()> {
    if kind.takes_points() {
        return Ok(());
    }
    let expected = "a box, or SAM weights: MedSegX and LiteMedSAM were not trained with points".into();
    Err(Error::Prompt { what: "points".into(), expected, found: "points".into() })
}
