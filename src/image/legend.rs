//! What labels are called, and their colours.

use serde::Serialize;

/// A label's name in files that have room for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The label.
    pub label: u16,
    /// The name.
    pub name: String,
}

/// Whose reader finds the names in the header of a NIfTI mask: the extension's code, as no code suits both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelTable {
    /// Code 0, which nibabel hands out as text.
    #[default]
    TotalSegmentator,
    /// Code 30, the only one that Connectome Workbench looks for.
    Workbench,
    /// No extension.
    Off,
}

/// What a mask's file says of its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legend {
    /// Names; labels without one are numbered where a format asks for names.
    pub segments: Vec<Segment>,
    /// How NIfTI has them.
    pub table: LabelTable,
}

/// Colours that are told apart by most eyes, of labels 1, 2, ... in turn.
const COLOURS: [[u8; 3]; 8] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
    [170, 170, 170],
];

/// The colour of a label.
pub(crate) fn colour(label: u16) -> [u8; 3] {
    COLOURS[usize::from(label.max(1) - 1) % COLOURS.len()]
}
