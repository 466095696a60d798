//! Targets out: as a boxes file, and as markups that 3D Slicer shows.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::markups::LABEL;
use super::{Grid, PixelBox, Target};
use crate::{Error, Result};

/// The boxes file of `targets`: voxels, inclusive, slices along the axis that they were read for. Targets that follow
/// each other with one label are one with several boxes a slice.
///
/// # Errors
/// [`Error::Prompt`] for points, which a boxes file cannot hold.
pub fn boxes_file(targets: &[Target]) -> Result<String> {
    let mut entries: Vec<(&Target, BTreeMap<usize, Vec<PixelBox>>)> = Vec::new();
    for target in targets {
        if !target.points.is_empty() {
            let found = format!("points of '{}'", target.name.escape_debug());
            return Err(Error::Prompt { what: "boxes file".into(), expected: "boxes".into(), found });
        }
        match entries.last_mut() {
            Some((first, boxes)) if first.label == target.label && base(&first.name) == base(&target.name) => {
                target.boxes.iter().for_each(|(&slice, &region)| boxes.entry(slice).or_default().push(region));
            }
            _ => entries.push((target, target.boxes.iter().map(|(&slice, &region)| (slice, vec![region])).collect())),
        }
    }
    let mut text = String::from("{\n  \"version\": 1, \"space\": \"voxel\", \"inclusive\": true,\n  \"targets\": [");
    for (number, (target, boxes)) in entries.iter().enumerate() {
        let mut entry = Map::new();
        entry.insert("name".into(), json!(base(&target.name)));
        let query = &target.query;
        let fields = [
            ("task", &query.task),
            ("modality", &query.modality),
            ("body_part", &query.body_part),
            ("subregion", &query.subregion),
            ("organ", &query.organ),
            ("target", &query.target),
        ];
        entry.extend(fields.into_iter().filter_map(|(key, value)| Some((key.into(), json!(value.as_ref()?)))));
        entry.insert("label".into(), json!(target.label));
        let corners = |region: &PixelBox| json!([region.x0, region.y0, region.x1, region.y1]);
        let of_slice = |(slice, all): (&usize, &Vec<PixelBox>)| match all.as_slice() {
            [one] => (slice.to_string(), corners(one)),
            several => (slice.to_string(), several.iter().map(corners).collect()),
        };
        entry.insert("slices".into(), Value::Object(boxes.iter().map(of_slice).collect()));
        text += if number == 0 { "\n    " } else { ",\n    " };
        text += &Value::Object(entry).to_string();
    }
    Ok(text + "\n  ]\n}\n")
}

/// A target's name without the number of its part.
fn base(name: &str) -> &str {
    match name.rsplit_once(", part ") {
        Some((base, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => name,
    }
}

/// A box of markups: the voxels from `low` to `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct Markup {
    /// Name, which targets of several boxes share.
    pub name: String,
    /// Label of the target.
    pub label: u16,
    /// First voxel.
    pub low: [i64; 3],
    /// Last voxel.
    pub high: [i64; 3],
}

impl Markup {
    /// The boxes of a target: one for each run of slices with the same rectangle.
    fn of(target: &Target, grid: &Grid) -> Vec<Markup> {
        let (axis, (x, y)) = (grid.axis.min(2), grid.plane());
        let mut found: Vec<Markup> = Vec::new();
        for (&slice, region) in &target.boxes {
            let (mut low, mut high) = ([0; 3], [0; 3]);
            (low[axis], low[x], low[y]) = (slice as i64, region.x0, region.y0);
            (high[axis], high[x], high[y]) = (slice as i64, region.x1, region.y1);
            match found.last_mut() {
                Some(last)
                    if last.high[axis] + 1 == slice as i64
                        && [x, y].iter().all(|&a| last.low[a] == low[a] && last.high[a] == high[a]) =>
                {
                    last.high[axis] = slice as i64;
                }
                _ => found.push(Markup { name: base(&target.name).into(), label: target.label, low, high }),
            }
        }
        found
    }
}

/// A file of markups with a box for each run of slices on which a target has the same rectangle, around the voxels'
/// bodies, and its label in the description of its control point. It has all that Slicer needs to show a box: control
/// point, center, size and orientation.
///
/// # Errors
/// [`Error::Prompt`] for an image without a place in the patient, or whose axes are not at right angles: Slicer's boxes
/// are.
pub fn markups_file(targets: &[Target], grid: &Grid) -> Result<String> {
    let error = |found: &str| Error::Prompt {
        what: "markups".into(),
        expected: "an image with a place in the patient, its axes at right angles".into(),
        found: found.into(),
    };
    let affine = grid.affine.ok_or_else(|| error("one without"))?;
    if grid.forms_apart.is_some() {
        return Err(error("one with two places that differ (--form)"));
    }
    // Slicer's patient axes are left, posterior, superior.
    let lps = |row: usize| if row < 2 { -1.0 } else { 1.0 };
    let column = |axis: usize| [0, 1, 2].map(|row| lps(row) * affine[row][axis]);
    let spacing = [0, 1, 2].map(|axis| column(axis).iter().map(|part| part * part).sum::<f64>().sqrt());
    let mut axes = [0, 1, 2].map(|axis| column(axis).map(|part| part / spacing[axis]));
    let product = |a: [f64; 3], b: [f64; 3]| (0..3).map(|row| a[row] * b[row]).sum::<f64>();
    if ![(0, 1), (0, 2), (1, 2)].iter().all(|&(a, b)| product(axes[a], axes[b]).abs() < 1e-4) {
        return Err(error("axes that are not"));
    }
    let cross: [f64; 3] = std::array::from_fn(|row| {
        let (next, last) = ((row + 1) % 3, (row + 2) % 3);
        axes[0][next] * axes[1][last] - axes[0][last] * axes[1][next]
    });
    if product(cross, axes[2]) < 0.0 {
        // A box is the same box with an axis turned round, and an orientation has to be a rotation.
        axes[2] = axes[2].map(|part| -part);
    }
    let orientation: Vec<f64> = (0..9).map(|place| axes[place % 3][place / 3]).collect();
    let place = |middle: [f64; 3]| {
        let sum = |row: usize| (0..3).map(|axis| affine[row][axis] * middle[axis]).sum::<f64>() + affine[row][3];
        [0, 1, 2].map(|row| lps(row) * sum(row))
    };
    let markup = |(number, markup): (usize, Markup)| {
        let Markup { name, label, low, high } = markup;
        let center = place([0, 1, 2].map(|axis| (low[axis] + high[axis]) as f64 / 2.0));
        let size = [0, 1, 2].map(|axis| (high[axis] - low[axis] + 1) as f64 * spacing[axis]);
        json!({
            "type": "ROI", "name": name, "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": false,
            "roiType": "Box", "center": center, "orientation": orientation, "size": size, "insideOut": false,
            "controlPoints": [{
                "id": "1", "label": format!("{name}-{}", number + 1), "description": format!("{LABEL}{label}"), "position": center, "orientation": orientation,
                "selected": true, "locked": false, "visibility": true, "positionStatus": "defined",
            }],
        })
    };
    let boxes = targets.iter().flat_map(|target| Markup::of(target, grid)).enumerate();
    let file = json!({
        "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#",
        "markups": boxes.map(markup).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|_| error("numbers that JSON cannot hold"))
}
