//! The two arrays of a labelled slice.

use std::path::Path;

use super::Case;
use crate::volume::{Voxels, npy};
use crate::{Error, Result};

/// Most values of a picture; MedSegDB has 256 x 256 x 3.
const MOST_VALUES: u64 = 1 << 28;

/// A labelled slice as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
    /// `[height, width]`, foreground above 0.
    pub label: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Pair {
    /// Reads the arrays of `case`.
    ///
    /// # Errors
    /// As [`npy::read`]; [`Error::File`] for arrays that are not MedSegDB's.
    pub fn read(case: &Case) -> Result<Pair> {
        let ([height, width], label) = read_label(case)?;
        let (shape, pixels) = read_bytes(&case.image, "uint8 [height, width, 3]")?;
        if shape != [height, width, 3] {
            let expected = format!("[{height}, {width}, 3], as the label");
            return Err(Error::file(&case.image, "shape", expected, format!("{shape:?}")));
        }
        Ok(Pair { pixels, label, height, width })
    }
}

impl Case {
    /// Whether its label has foreground.
    ///
    /// # Errors
    /// As [`Pair::read`], of the label alone.
    pub fn has_foreground(&self) -> Result<bool> {
        Ok(read_label(self)?.1.iter().any(|&value| value > 0))
    }
}

fn read_label(case: &Case) -> Result<([usize; 2], Vec<u8>)> {
    let (shape, label) = read_bytes(&case.label, "uint8 [height, width]")?;
    match shape.as_slice() {
        &[height, width] => Ok(([height, width], label)),
        _ => Err(Error::file(&case.label, "shape", "[height, width]", format!("{shape:?}"))),
    }
}

fn read_bytes(path: &Path, expected: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    let npy::Array { shape, values } = npy::read(path, MOST_VALUES)?;
    match values {
        Voxels::U8(values) => Ok((shape, values)),
        _ => Err(Error::file(path, "type", expected, "another type of number")),
    }
}
