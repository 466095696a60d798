//! RTDOSE: where the planes of a dose grid lie, and what its numbers count (PS3.3 C.8.8.3).

use super::data_set::{DataSet, Flaw, Flawed};
use super::tags;

/// How far the first absolute offset may lie from the position that it repeats, in mm: both are decimal text.
const ROUNDED: f64 = 0.01;

/// Whether a file is a dose grid.
pub fn is_dose(root: &DataSet) -> bool {
    root.text(tags::SOP_CLASS_UID).as_deref() == Some("1.2.840.10008.5.1.4.1.1.481.2")
}

/// How far each of `count` planes lies from the first along their normal. The file says it so, or, of planes that are
/// axial along the patient's axes, as z itself.
pub fn offsets(root: &DataSet, count: usize) -> Flawed<Option<Vec<f64>>> {
    if !is_dose(root) {
        return Ok(None);
    }
    let what = tags::shown(tags::GRID_FRAME_OFFSET_VECTOR);
    let offsets = root.numbers(tags::GRID_FRAME_OFFSET_VECTOR)?;
    if offsets.is_empty() && count == 1 {
        return Ok(None);
    }
    if offsets.len() != count {
        return Err(Flaw::new(what, format!("{count} offsets, as frames"), offsets.len()));
    }
    let z = root.exactly::<3>(tags::IMAGE_POSITION_PATIENT)?.map(|[_, _, z]| z);
    let axial = root.exactly(tags::IMAGE_ORIENTATION_PATIENT)? == Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let first = offsets[0];
    if first != 0.0 && !z.is_some_and(|z| axial && (first - z).abs() <= ROUNDED) {
        let expected = match z.filter(|_| axial) {
            Some(z) => format!("0 first, or the position's z, {z}"),
            None => "0 first, of planes that are not axial along the patient's axes".into(),
        };
        return Err(Flaw::new(what, expected, first));
    }
    let steps = |sign: f64| offsets.windows(2).all(|pair| (pair[1] - pair[0]) * sign > 0.0);
    if !steps(1.0) && !steps(-1.0) {
        return Err(Flaw::new(what, "offsets that all rise or all fall", "others"));
    }
    Ok(Some(offsets.iter().map(|offset| offset - first).collect()))
}

/// What a stored number is multiplied by.
pub fn scaling(root: &DataSet) -> Flawed<f64> {
    let what = || tags::shown(tags::DOSE_GRID_SCALING);
    match root.number(tags::DOSE_GRID_SCALING)? {
        Some(scaling) if scaling > 0.0 => Ok(scaling),
        Some(scaling) => Err(Flaw::new(what(), "a number above 0", scaling)),
        None => Err(Flaw::new(what(), "a number above 0", "none")),
    }
}
