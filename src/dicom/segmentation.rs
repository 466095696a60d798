//! What the readers and the writers of DICOM labels both know: classes, and how segments are tracked.

use serde::Serialize;

/// Binary or fractional.
pub const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// A label map.
pub const LABEL_MAP: &str = "1.2.840.10008.5.1.4.1.1.66.7";
/// Contours.
pub const STRUCTURE_SET: &str = "1.2.840.10008.5.1.4.1.1.481.3";

/// A segment or a structure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedTarget {
    /// The number by which `--rough-label`, `--label` and others name it.
    pub label: u32,
    /// What the file calls it.
    pub name: String,
    /// Frames of the segment or contours of the structure; of a LABELMAP not in the headers.
    pub parts: Option<usize>,
}

/// Whether an object of this class is a segmentation.
pub fn is_segmentation(class: &str) -> bool {
    [SEGMENTATION, LABEL_MAP].contains(&class)
}

/// What a segment is tracked by: its label, which is not its number where labels have gaps, and its name.
pub fn tracking(label: u16, name: &str) -> String {
    format!("label-{label} {name}")
}

/// The label in a tracking identifier of this program's.
pub fn tracked(id: &str) -> Option<u16> {
    id.strip_prefix("label-")?.split(' ').next()?.parse().ok().filter(|&label| label > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_out_of_tracking_identifiers() {
        assert_eq!(tracked(&tracking(300, "left kidney")), Some(300));
        assert_eq!([tracked("label-0 x"), tracked("Segment 5"), tracked("label-x")], [None; 3]);
    }
}
