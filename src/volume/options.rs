//! How a volume is opened, and which one of several.

use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result};

/// A form of a NIfTI header that is chosen by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows of the affine.
    Sform,
    /// Quaternion, offset and `pixdim`.
    Qform,
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_lowercase().as_str() {
            "sform" => Ok(Form::Sform),
            "qform" => Ok(Form::Qform),
            _ => Err(Error::Argument { name: "form", expected: "sform or qform".into(), found: format!("'{text}'") }),
        }
    }
}

/// How a volume is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Which time point of a 4-D file, from 0. Needed only where there is more than one.
    pub time_point: Option<usize>,
    /// The most voxels that a volume may have: what a file claims is checked before memory is taken.
    pub max_voxels: u64,
    /// Which form of a NIfTI header says where voxels lie; `None` for nibabel's rule, the sform where it is set.
    pub form: Option<Form>,
    /// What values that are NaN or infinite become; `None` leaves them, and most rules of intensity refuse them.
    pub nan: Option<f64>,
    /// Whether the file is meant as a label map: of a PNG with a palette its indices are read, not its colours, and
    /// where all three channels of colour are alike one of them.
    pub labels: bool,
}

impl OpenOptions {
    /// One time point, 2^31 voxels at most, values and colours as they are.
    pub const DEFAULT: OpenOptions =
        OpenOptions { time_point: None, max_voxels: 1 << 31, form: None, nan: None, labels: false };

    /// As [`OpenOptions::DEFAULT`], for a label map.
    pub const LABELS: OpenOptions = OpenOptions { labels: true, ..OpenOptions::DEFAULT };
}

impl OpenOptions {
    /// What is needed where a file has several values a voxel and none is chosen. No flag chooses among those of a
    /// label map: which one is meant would go unsaid where it is scored or prompts.
    pub(super) fn one_of_several(&self) -> &'static str {
        if self.labels {
            "one label: save layers of overlapping segments, or time points, as files of their own"
        } else {
            "one, or a chosen one (--volume N, from 0)"
        }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions::DEFAULT
    }
}

/// A time point that a file of `count` has not: a wrong argument, as a volume that a series has not.
pub(super) fn no_such_volume(chosen: usize, count: u64) -> Error {
    Error::Argument { name: "volume", expected: format!("0 to {}", count.saturating_sub(1)), found: chosen.to_string() }
}

/// Which volume of a DICOM input, and how it is read.
#[derive(Clone, Debug, Default)]
pub struct SeriesChoice {
    /// Series Instance UID. Needed only where there are several series.
    pub series: Option<String>,
    /// Key of a volume, or its number from 1. Needed only where a series has several volumes. Of another file with
    /// several time points it is the time point, from 0.
    pub volume: Option<String>,
    /// Values by a map of real world values, not by the rescale: the map's label or unit, or empty for the only one
    /// that the slices have. Parametric maps, which have no other scale, need it only where they have several.
    pub real_world: Option<String>,
    /// Threads that read and decode; all of the machine by default.
    pub threads: Option<usize>,
}

impl SeriesChoice {
    /// What is chosen of a file that is no DICOM.
    pub(super) fn time_point(&self) -> Result<Option<usize>> {
        let wrong = |name, expected: &str, found: &str| Error::Argument {
            name,
            expected: expected.into(),
            found: format!("'{}'", found.escape_debug()),
        };
        if let Some(uid) = &self.series {
            return Err(wrong("series", "a DICOM input to choose one of", uid));
        }
        if let Some(name) = &self.real_world {
            return Err(wrong("real-world", "a DICOM input, which may have maps of real world values", name));
        }
        let number = |text: &String| text.parse().map_err(|_| wrong("volume", "a time point, from 0", text));
        self.volume.as_ref().map(number).transpose()
    }
}

/// The product of `dims` when it is within `options.max_voxels`.
pub(super) fn count_voxels(path: &Path, dims: [u64; 3], options: &OpenOptions) -> Result<usize> {
    let count = dims.iter().try_fold(1_u64, |all, &n| all.checked_mul(n)).filter(|&n| n <= options.max_voxels);
    count.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).ok_or_else(|| {
        let expected = format!("1 to {} voxels", options.max_voxels);
        Error::file(path, "size", expected, format!("{} x {} x {}", dims[0], dims[1], dims[2]))
    })
}
