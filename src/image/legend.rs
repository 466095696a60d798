//! What labels are called, and their colours.

/// A label's name in files that have room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The label.
    pub label: u16,
    /// The name.
    pub name: String,
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
