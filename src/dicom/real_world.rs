//! Maps from stored numbers to real world values (PS3.3 C.7.6.16.2.11): taken on request, and for parametric maps,
//! which have no other scale.

use std::sync::Arc;

use super::data_set::DataSet;
use super::instance::Instance;
use super::stack::Slice;
use super::tags;
use super::value_map::{Map, Named, names, read};
use crate::{Error, Result};

/// A map that was made for a frame, and serves all frames that have the same.
struct Made {
    of: Arc<Vec<DataSet>>,
    map: Arc<Map>,
    scale: (f64, f64),
    named: Named,
}

/// Makes maps of real world values the scale of the frames in `slices`: those `wanted` by their label or unit, or with
/// an empty word the only one a frame has. Where none is wanted only parametric maps have them. Returns what they are
/// called, the label where all slices have the same.
///
/// # Errors
/// [`Error::Argument`] for a name that no map has; [`Error::File`] for frames without a map or with several, for
/// different units, and for a map that is malformed.
pub fn apply(instances: &mut [Instance], slices: &[Slice], wanted: Option<&str>) -> Result<Option<Named>> {
    let mut made: Option<Made> = None;
    let mut all: Option<Named> = None;
    for slice in slices {
        let instance = &mut instances[slice.instance];
        let frame = &instance.frames[slice.frame];
        let is_scale = instance.parametric && frame.scale_from == "stored" && !frame.maps.is_empty();
        if wanted.is_none() && !is_scale {
            continue;
        }
        if made.as_ref().is_none_or(|made| !Arc::ptr_eq(&made.of, &frame.maps)) {
            made = Some(make(instance, &frame.maps, wanted.unwrap_or(""))?);
        }
        let Some(made) = &made else { continue };
        let all = all.get_or_insert_with(|| made.named.clone());
        if all.unit != made.named.unit {
            let expected = format!("{:?} on all slices", all.unit.as_deref().unwrap_or("none"));
            let found = format!("{:?}", made.named.unit.as_deref().unwrap_or("none"));
            return Err(instance.error("unit of real world values", expected, found));
        }
        if all.label != made.named.label {
            all.label = None;
        }
        let frame = &mut instance.frames[slice.frame];
        (frame.scale, frame.scale_from, frame.map) = (made.scale, "real-world", Some(Arc::clone(&made.map)));
    }
    Ok(all)
}

/// The one of a frame's maps that is wanted.
fn make(instance: &Instance, maps: &Arc<Vec<DataSet>>, wanted: &str) -> Result<Made> {
    let known = || names(maps).join("; ");
    let matching: Vec<&DataSet> = maps.iter().filter(|item| wanted.is_empty() || Named::of(item).is(wanted)).collect();
    let item = match matching[..] {
        [item] => item,
        [] if maps.is_empty() => return Err(instance.error("maps of real world values", "one", "none")),
        [] => {
            let found = format!("'{}'", wanted.escape_debug());
            return Err(Error::Argument { name: "real-world", expected: known(), found });
        }
        _ => {
            let expected = "one, or a chosen one by its label or unit (--real-world=NAME)";
            return Err(instance.error("maps of real world values", expected, known()));
        }
    };
    let floats = instance.pixels.tag != tags::PIXEL_DATA;
    let (map, scale) = read(item, &instance.shape, floats).map_err(|flaw| flaw.at(instance.path()))?;
    Ok(Made { of: Arc::clone(maps), map: Arc::new(map), scale, named: Named::of(item) })
}
