//! The frames of a file: place, scale and whatever index tells one volume from another, looked for in the frame's own
//! functional groups, then in the shared ones, then at the root.

use std::sync::Arc;

use super::data_set::{DataSet, Flaw, Flawed};
use super::dose;

use super::tags::{self, Tag};
use super::value_map::Map;

/// More frames than any image has.
const MOST_FRAMES: u32 = 1 << 20;

/// One frame. Lengths are in mm, places in DICOM's patient coordinates.
#[derive(Clone, Debug)]
pub struct Frame {
    /// From 0, as stored.
    pub index: usize,
    /// Centre of the first pixel.
    pub position: Option<[f64; 3]>,
    /// The direction in which columns are counted, then that of rows.
    pub orientation: Option<[f64; 6]>,
    /// Between rows, between columns.
    pub spacing: Option<[f64; 2]>,
    pub thickness: Option<f64>,
    /// Slope and intercept.
    pub scale: (f64, f64),
    /// `stored` where there is none, `rescale`, `dose-grid-scaling` or `real-world`.
    pub scale_from: &'static str,
    /// Maps of real world values as the file has them: looked at only where they are asked for.
    pub maps: Arc<Vec<DataSet>>,
    /// The one of them that is the scale.
    pub map: Option<Arc<Map>>,
    /// Indices that are no positions, with their names, the surest first.
    pub keys: Vec<(&'static str, String)>,
    pub number: i64,
}

/// The groups that hold for one frame.
struct Groups<'a> {
    own: Option<&'a DataSet>,
    shared: Option<&'a DataSet>,
    root: &'a DataSet,
}

impl<'a> Groups<'a> {
    /// A functional group of the frame.
    fn group(&self, sequence: Tag) -> Option<&'a DataSet> {
        [self.own, self.shared].into_iter().flatten().find_map(|groups| groups.item(sequence))
    }

    /// Where a value stands that classic files have at the root.
    fn holder(&self, sequence: Tag) -> &'a DataSet {
        self.group(sequence).unwrap_or(self.root)
    }
}

/// All frames, and from where their spacing is if not from the patient's plane.
pub fn frames(root: &DataSet) -> Flawed<(Vec<Frame>, Option<&'static str>)> {
    let count = root.whole(tags::NUMBER_OF_FRAMES, 1..=MOST_FRAMES)?.unwrap_or(1) as usize;
    let per_frame = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if !per_frame.is_empty() && per_frame.len() != count {
        let what = tags::shown(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        return Err(Flaw::new(what, format!("{count} items, as frames"), per_frame.len()));
    }
    let shared = root.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let dimensions = other_dimensions(root)?;
    let (root_spacing, spacing_from) = spacing(root)?;
    let detector = detector(root, count)?;
    let planes = dose::offsets(root, count)?;
    let shared_maps = Arc::new(maps(shared.into_iter().chain([root])));
    let mut frames = Vec::new();
    for index in 0..count {
        let groups = Groups { own: per_frame.get(index), shared, root };
        let mut frame = frame(&groups, index, &dimensions)?;
        frame.spacing = frame.spacing.or(root_spacing);
        if let (Some(detector), None) = (&detector, frame.position) {
            frame.orientation = Some(detector.orientation);
            frame.position = Some(detector.position(index));
        }
        if let (Some(planes), Some(first), Some(orientation)) = (&planes, frame.position, frame.orientation) {
            let across = normal(&orientation);
            frame.position = Some(std::array::from_fn(|i| first[i] + across[i] * planes[index]));
        }
        let own_maps = maps(per_frame.get(index));
        frame.maps = if own_maps.is_empty() { Arc::clone(&shared_maps) } else { Arc::new(own_maps) };
        // A multi-frame file without groups has one position at most, which is that of its first frame.
        if count > 1 && per_frame.is_empty() && detector.is_none() && planes.is_none() {
            frame.position = None;
        }
        frames.push(frame);
    }
    Ok((frames, spacing_from))
}

/// Position, orientation and in-plane spacing of frame `index` as the file spells them, where it does.
pub fn spelled(root: &DataSet, index: usize) -> [Option<String>; 3] {
    let own = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(index);
    let groups = Groups { own, shared: root.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE), root };
    [
        (tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT),
        (tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT),
        (tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING),
    ]
    .map(|(sequence, tag)| groups.holder(sequence).text(tag))
}

fn frame(groups: &Groups, index: usize, dimensions: &[usize]) -> Flawed<Frame> {
    let volume_position = groups.group(tags::PLANE_POSITION_VOLUME_SEQUENCE);
    let volume_orientation = groups.group(tags::PLANE_ORIENTATION_VOLUME_SEQUENCE);
    let position = match volume_position {
        Some(group) => group.exactly(tags::IMAGE_POSITION_VOLUME)?,
        None => groups.holder(tags::PLANE_POSITION_SEQUENCE).exactly(tags::IMAGE_POSITION_PATIENT)?,
    };
    let orientation = match volume_orientation {
        Some(group) => group.exactly(tags::IMAGE_ORIENTATION_VOLUME)?,
        None => groups.holder(tags::PLANE_ORIENTATION_SEQUENCE).exactly(tags::IMAGE_ORIENTATION_PATIENT)?,
    };
    if let Some(directions) = &orientation {
        check_orientation(directions)?;
    }
    let measures = groups.holder(tags::PIXEL_MEASURES_SEQUENCE);
    let between = measures.number(tags::SPACING_BETWEEN_SLICES)?.filter(|s| *s != 0.0);
    let thickness = match between {
        Some(between) => Some(between.abs()),
        None => measures.number(tags::SLICE_THICKNESS)?.filter(|t| *t > 0.0),
    };
    let (scale, scale_from) = scale(groups)?;
    Ok(Frame {
        index,
        position,
        orientation,
        spacing: spacing(measures)?.0,
        thickness,
        scale,
        scale_from,
        maps: Arc::default(),
        map: None,
        keys: keys(groups, dimensions)?,
        number: groups.root.number(tags::INSTANCE_NUMBER)?.map_or(0, |n| n as i64),
    })
}

/// Directions are unit vectors at a right angle, to what six decimals in a text leave of it.
fn check_orientation(directions: &[f64; 6]) -> Flawed<()> {
    let [a, b, c, d, e, f] = *directions;
    let (row, column, angle) = (a * a + b * b + c * c, d * d + e * e + f * f, a * d + b * e + c * f);
    if (row - 1.0).abs() > 1e-3 || (column - 1.0).abs() > 1e-3 || angle.abs() > 1e-3 {
        let what = tags::shown(tags::IMAGE_ORIENTATION_PATIENT);
        return Err(Flaw::new(what, "two unit vectors at a right angle", format!("{directions:?}")));
    }
    Ok(())
}

/// Rows, then columns. In the patient's plane (also where that is an estimate by calibration) before the detector's
/// plane.
fn spacing(set: &DataSet) -> Flawed<(Option<[f64; 2]>, Option<&'static str>)> {
    let sources = [
        (tags::PIXEL_SPACING, None),
        (tags::IMAGER_PIXEL_SPACING, Some("ImagerPixelSpacing, in the plane of the detector")),
        (tags::NOMINAL_SCANNED_PIXEL_SPACING, Some("NominalScannedPixelSpacing, on the film")),
    ];
    for (tag, from) in sources {
        if let Some(spacing) = set.exactly::<2>(tag)? {
            if spacing.iter().any(|&s| s <= 0.0) {
                return Err(Flaw::new(tags::shown(tag), "numbers above 0", format!("{spacing:?}")));
            }
            return Ok((Some(spacing), from));
        }
    }
    Ok((None, None))
}

/// The frame's own slope and intercept, and what they are; a map of real world values is not among them.
fn scale(groups: &Groups) -> Flawed<((f64, f64), &'static str)> {
    let holder = groups.holder(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE);
    let (slope, intercept) = (holder.number(tags::RESCALE_SLOPE)?, holder.number(tags::RESCALE_INTERCEPT)?);
    match (slope, intercept) {
        (Some(0.0), _) => Err(Flaw::new(tags::shown(tags::RESCALE_SLOPE), "a number that is not 0", 0)),
        (None, None) | (Some(1.0), Some(0.0)) if dose::is_dose(groups.root) => {
            Ok(((dose::scaling(groups.root)?, 0.0), "dose-grid-scaling"))
        }
        (Some(slope), Some(_)) if dose::is_dose(groups.root) => {
            Err(Flaw::new(tags::shown(tags::RESCALE_SLOPE), "none beside DoseGridScaling", slope))
        }
        (Some(slope), Some(intercept)) => Ok(((slope, intercept), "rescale")),
        (None, None) => Ok(((1.0, 0.0), "stored")),
        (slope, _) => {
            let missing = if slope.is_none() { tags::RESCALE_SLOPE } else { tags::RESCALE_INTERCEPT };
            Err(Flaw::new(tags::shown(missing), "a value beside the other", "none"))
        }
    }
}

/// The maps of real world values of the first of `groups` that has any.
fn maps<'a>(groups: impl IntoIterator<Item = &'a DataSet>) -> Vec<DataSet> {
    let of = groups.into_iter().map(|set| set.items(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE));
    of.into_iter().find(|items| !items.is_empty()).unwrap_or_default().to_vec()
}

/// Which dimension indices are neither positions nor stacks.
fn other_dimensions(root: &DataSet) -> Flawed<Vec<usize>> {
    let positional = [
        tags::IN_STACK_POSITION_NUMBER,
        tags::IMAGE_POSITION_PATIENT,
        tags::STACK_ID,
        tags::IMAGE_POSITION_VOLUME,
        tags::PLANE_POSITION_SEQUENCE,
    ];
    let mut others = Vec::new();
    for (at, dimension) in root.items(tags::DIMENSION_INDEX_SEQUENCE).iter().enumerate() {
        // An AT is two words, group first.
        let words = dimension.words(tags::DIMENSION_INDEX_POINTER).unwrap_or_default();
        if let [group, element] = *words {
            let tag = u32::from(group) << 16 | u32::from(element);
            if !positional.contains(&tag) {
                others.push(at);
            }
        }
    }
    Ok(others)
}

/// Everything that may tell apart two frames at one place.
fn keys(groups: &Groups, dimensions: &[usize]) -> Flawed<Vec<(&'static str, String)>> {
    let root = groups.root;
    let content = groups.holder(tags::FRAME_CONTENT_SEQUENCE);
    let diffusion = groups.holder(tags::MR_DIFFUSION_SEQUENCE);
    let frame_type =
        [tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::PET_FRAME_TYPE_SEQUENCE];
    let frame_type = frame_type.into_iter().find_map(|sequence| groups.group(sequence)?.text(tags::FRAME_TYPE));
    let gradient = diffusion.item(tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE).unwrap_or(diffusion);
    let cardiac = groups.group(tags::CARDIAC_SYNCHRONIZATION_SEQUENCE);
    let number = |set: Option<&DataSet>, tag: Tag| -> Flawed<Option<String>> {
        let numbers = set.map(|set| set.numbers(tag)).transpose()?.unwrap_or_default();
        let text: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        Ok((!text.is_empty()).then(|| text.join("/")))
    };
    let indices = content.numbers(tags::DIMENSION_INDEX_VALUES)?;
    let others: Vec<String> = dimensions.iter().filter_map(|&at| indices.get(at)).map(ToString::to_string).collect();
    let echo = number(groups.group(tags::MR_ECHO_SEQUENCE), tags::EFFECTIVE_ECHO_TIME)?;
    let candidates = [
        ("stack", content.text(tags::STACK_ID)),
        ("echo", echo.or(number(Some(root), tags::ECHO_TIME)?)),
        ("echo-number", number(Some(root), tags::ECHO_NUMBERS)?),
        ("b", number(Some(diffusion), tags::DIFFUSION_B_VALUE)?),
        ("direction", diffusion.text(tags::DIFFUSION_DIRECTIONALITY)),
        ("gradient", number(Some(gradient), tags::DIFFUSION_GRADIENT_ORIENTATION)?),
        ("inversion", number(Some(root), tags::INVERSION_TIME)?),
        ("time", number(Some(root), tags::TEMPORAL_POSITION_IDENTIFIER)?),
        ("time", number(Some(content), tags::TEMPORAL_POSITION_INDEX)?),
        ("trigger", number(cardiac, tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME)?),
        ("trigger", number(Some(root), tags::TRIGGER_TIME)?),
        ("reference-time", number(Some(root), tags::FRAME_REFERENCE_TIME)?),
        ("type", frame_type.or_else(|| root.text(tags::IMAGE_TYPE))),
        ("acquisition", number(Some(root), tags::ACQUISITION_NUMBER)?),
        ("acquisition", number(Some(content), tags::FRAME_ACQUISITION_NUMBER)?),
        ("index", (!others.is_empty()).then(|| others.join("/"))),
        ("reference-time", content.text(tags::FRAME_REFERENCE_DATE_TIME)),
        ("acquisition-time", root.text(tags::ACQUISITION_TIME)),
    ];
    Ok(candidates.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Where a reconstructed NM volume lies: its detector's place, and slices a signed distance apart.
struct Detector {
    origin: [f64; 3],
    orientation: [f64; 6],
    between: f64,
}

impl Detector {
    fn position(&self, index: usize) -> [f64; 3] {
        let normal = normal(&self.orientation);
        std::array::from_fn(|i| self.origin[i] + normal[i] * self.between * index as f64)
    }
}

fn detector(root: &DataSet, frames: usize) -> Flawed<Option<Detector>> {
    let reconstructed =
        root.text(tags::IMAGE_TYPE).is_some_and(|kind| kind.split('\\').any(|v| v.trim() == "RECON TOMO"));
    let Some(item) = root.item(tags::DETECTOR_INFORMATION_SEQUENCE).filter(|_| reconstructed || frames == 1) else {
        return Ok(None);
    };
    let origin = item.exactly(tags::IMAGE_POSITION_PATIENT)?;
    let orientation = item.exactly(tags::IMAGE_ORIENTATION_PATIENT)?;
    let (Some(origin), Some(orientation)) = (origin, orientation) else { return Ok(None) };
    check_orientation(&orientation)?;
    let between = match root.number(tags::SPACING_BETWEEN_SLICES)? {
        Some(between) if between != 0.0 => between,
        _ if frames == 1 => 0.0,
        _ => return Err(Flaw::new(tags::shown(tags::SPACING_BETWEEN_SLICES), "a signed distance", "none")),
    };
    Ok(Some(Detector { origin, orientation, between }))
}

/// The unit vector across a frame: columns x rows.
pub fn normal(directions: &[f64; 6]) -> [f64; 3] {
    let [a, b, c, d, e, f] = *directions;
    let cross = [b * f - c * e, c * d - a * f, a * e - b * d];
    let length = cross.iter().map(|v| v * v).sum::<f64>().sqrt();
    cross.map(|v| v / length)
}
