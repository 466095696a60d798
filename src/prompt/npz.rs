//! The `boxes` of an .npz file as MedSAM's challenges have them: `[N, 4]` of x0, y0, x1, y1 for a picture, `[N, 6]` of
//! x0, y0, z0, x1, y1, z1 for a volume `[z, y, x]`, inclusive. Box n is label n + 1.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use super::{Grid, PixelBox, Target, VolumeBox, stretch, volume_box};
use crate::codes::{Code, Warning};
use crate::taxonomy::Query;
use crate::volume::npy;
use crate::{Error, Result, zip};

const BOXES: &str = "boxes.npy";
/// Most boxes of a file, each a target.
const MOST: usize = 4096;
/// Longest array of boxes, unpacked.
const LONGEST_ARRAY: u64 = 32 << 20;

/// The targets of an .npz file's boxes; `path` is for messages.
///
/// # Errors
/// [`Error::File`] for an archive that is damaged or has no boxes, and [`Error::Prompt`] for a box outside the grid.
pub fn parse_npz(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    read(path, &mut Cursor::new(bytes), grid)
}

/// Whether the file at `path` is an archive with boxes; others of CVPR's challenges hold masks alone.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] for an archive that is damaged.
pub fn has_boxes(path: &Path) -> Result<bool> {
    let mut file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
    Ok(zip::holds_archive(path, &mut file)? && zip::records(path, &mut file)?.iter().any(|record| record.name == BOXES))
}

/// Reads its boxes.
pub(super) fn read(path: &Path, file: &mut (impl Read + Seek), grid: &Grid) -> Result<Vec<Target>> {
    let records = zip::records(path, file)?;
    let Some(record) = records.iter().find(|record| record.name == BOXES) else {
        let mut names: Vec<_> = records.iter().map(|record| record.name.escape_debug().to_string()).collect();
        names.truncate(16);
        let found = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(Error::file(path, ".npz records", BOXES, found));
    };
    of_array(&record.unpack(path, file, LONGEST_ARRAY)?, path, grid)
}

/// The targets of an array of boxes; `path` is for messages.
fn of_array(bytes: &[u8], path: &Path, grid: &Grid) -> Result<Vec<Target>> {
    let array = npy::from_bytes(path, bytes, 6 * MOST as u64)?;
    let columns = array.shape.last().copied().unwrap_or(0);
    let picture = grid.dims[2] == 1 && grid.axis == 2;
    let wanted = if columns == 4 && picture { 4 } else { 6 };
    if array.shape.len() > 2 || columns != wanted {
        let expected = if picture { "[N, 4], x0, y0, x1, y1 a box" } else { "[N, 6], x0, y0, z0, x1, y1, z1 a box" };
        return Err(Error::file(path, "shape of boxes", expected, format!("{:?}", array.shape)));
    }
    let value = |index: usize| array.values.get(index).unwrap_or(f64::NAN);
    let target = |number: usize| {
        let what = format!("{}: box {number}", path.display());
        let mut warnings = Vec::new();
        let half = columns / 2;
        let mut ends = [(0, 0); 3];
        for (axis, end) in ends.iter_mut().enumerate().take(half) {
            let [a, b] = [axis, half + axis].map(|column| value(number * columns + column));
            if !a.is_finite() || !b.is_finite() || a.abs().max(b.abs()) > f64::from(u32::MAX) {
                return Err(Error::Prompt { what, expected: "voxel indices".into(), found: format!("{a}, {b}") });
            }
            *end = stretch(a, b, true, &what, &mut warnings);
            // The challenges' own jitter ends one voxel behind the picture.
            let length = grid.dims[axis] as i64;
            if end.1 == length && end.0 < length {
                end.1 -= 1;
                let message = format!("{what}: {length} along {} cut to the image", ['x', 'y', 'z'][axis]);
                warnings.push(Warning::new(Code::BoxCut, message));
            }
        }
        let [(x0, x1), (y0, y1), _] = ends;
        let boxes = if columns == 4 {
            let found = PixelBox { x0, y0, x1, y1 };
            found.check(&what, grid.dims[0], grid.dims[1])?;
            BTreeMap::from([(0, found)])
        } else {
            volume_box(VolumeBox { low: ends.map(|end| end.0), high: ends.map(|end| end.1) }, &what, grid)?
        };
        let (name, label) = (format!("box {}", number + 1), number as u16 + 1);
        Ok(Target { name, label, query: Query::default(), boxes, points: BTreeMap::new(), warnings })
    };
    (0..array.values.len() / columns).map(target).collect()
}
