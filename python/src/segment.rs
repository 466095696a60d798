//! One run over an image: a file as the command line opens it, or an array of the caller's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use medsegx::mask::MaskChoice;
use medsegx::prompt::{Grid, Point, RoughOptions, Target, fill_gaps, parse_boxes, read_boxes, rough_targets};
use medsegx::segment::report::{self, Described, describe, merge};
use medsegx::segment::volume::{Outcome, Request, segment_slices};
use medsegx::segment::{Capacity, Segmenter};
use medsegx::taxonomy::{Context, Query, resolve_for};
use medsegx::volume::{
    Affine, Form, Incoming, Intensity, Labels, Lent, OpenOptions, Opening, Orientation, SeriesChoice, SliceFrame,
    SliceSource, VolumeInfo,
};
use medsegx::weights::sha256_of;
use medsegx::{Result, segment};
use numpy::{IntoPyArray, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};

use crate::array::Array;
use crate::errors::{argument, raised};
use crate::model::Model;
use crate::run::{Cancel, Job, run};
use crate::tools::{Given, Source};

/// Boxes as `medsegx/_boxes.py` hands them over.
#[derive(FromPyObject)]
pub enum Boxes {
    /// The text of a boxes file.
    #[pyo3(transparent)]
    Text(Vec<u8>),
    #[pyo3(transparent)]
    File(PathBuf),
}

/// How `medsegx/_image.py` says that an array lies.
#[derive(FromPyObject)]
pub struct Layout {
    #[pyo3(attribute)]
    name: String,
    /// The array's axes that are x, y, z.
    #[pyo3(attribute)]
    axes: [Option<usize>; 3],
    #[pyo3(attribute)]
    channel: Option<usize>,
    #[pyo3(attribute)]
    affine: Option<Affine>,
    #[pyo3(attribute)]
    slope: f64,
    #[pyo3(attribute)]
    intercept: f64,
}

/// Where boxes come from.
enum Prompts {
    /// The text of a boxes file.
    Text(Vec<u8>),
    File(PathBuf),
    /// Around this mask.
    Rough(Source, RoughOptions),
}

/// What is asked for, whatever the image and the boxes.
pub struct Ask {
    query: Query,
    /// What a target without a name is called.
    name: String,
    /// Boxes on the slices between those that have one.
    interpolate: bool,
    axis: usize,
    orient: Orientation,
    intensity: Option<Intensity>,
    mask: MaskChoice,
    form: Option<Form>,
    nan: Option<f64>,
    choice: SeriesChoice,
    batch: Option<usize>,
}

/// A target and what the engine is asked for it.
struct Asked {
    name: String,
    request: Request,
    warnings: Vec<medsegx::codes::Warning>,
}

/// What a run comes to.
pub struct Done {
    labels: Labels,
    dims: [usize; 3],
    array_shape: Option<Vec<usize>>,
    affine: Option<Affine>,
    report: Value,
}

/// A query from the keywords of a call.
pub fn query(levels: &Bound<'_, PyDict>) -> PyResult<Query> {
    let level = |name: &str| levels.get_item(name)?.map(|text| text.extract::<String>()).transpose();
    Ok(Query {
        task: level("task")?,
        modality: level("modality")?,
        body_part: level("body_part")?,
        subregion: level("subregion")?,
        organ: level("organ")?,
        target: level("target")?,
    })
}

/// The rows of a query, for weights that are `steered` by them.
pub fn context(query: &Query, steered: bool, name: &str) -> Result<Option<Context>> {
    if steered && query.is_empty() {
        let expected = "a task as CT_Liver, or a modality and the organ's place in the tree, for these weights";
        return Err(argument("task", expected, format!("none for {name}")));
    }
    resolve_for(query, steered)
}

/// What a target is called in an error.
fn place(name: &str) -> String {
    format!("target '{}'", name.escape_debug())
}

fn parsed<T: std::str::FromStr<Err = medsegx::Error>>(text: Option<&str>) -> Result<Option<T>> {
    text.map(str::parse).transpose()
}

/// Segments a file or an array that nobody changes meanwhile: (labels, x fastest; dims; shape of the file as an array
/// or None; affine or None; report as JSON). Boxes, or a rough mask among the options.
#[pyfunction(name = "segment")]
#[allow(clippy::too_many_arguments)]
pub fn segment_image<'py>(
    py: Python<'py>,
    model: &Bound<'py, Model>,
    image: Given<'py>,
    boxes: Option<Boxes>,
    levels: &Bound<'py, PyDict>,
    options: &Bound<'py, PyDict>,
    progress: Option<&Bound<'py, PyAny>>,
    cancel: Option<&Cancel>,
) -> PyResult<Answer<'py>> {
    let (model, ask) = (model.get().here()?, Ask::new(py, model.get(), levels, options)?);
    let mut prompts = Prompts::new(py, boxes, options)?;
    let image = Source::new(py, image)?;
    let rough = if let Prompts::Rough(rough, _) = &prompts { Some(rough) } else { None };
    let memory = Source::memory(std::iter::once(&image).chain(rough));
    let done = run(py, memory, cancel, progress, move |job| {
        timed(|| match image {
            Source::File(path) => of_file(&model, &path, &ask, &mut prompts, job),
            Source::Lent(lent) => of_array(&model, *lent, &ask, &mut prompts, job),
        })
    })?;
    answer(py, done)
}

impl Prompts {
    fn new(py: Python<'_>, boxes: Option<Boxes>, options: &Bound<'_, PyDict>) -> PyResult<Prompts> {
        let Some(rough) = options.get_item("rough")? else {
            return Ok(match boxes {
                Some(Boxes::Text(text)) => Prompts::Text(text),
                Some(Boxes::File(path)) => Prompts::File(path),
                None => return Err(raised(py, &argument("boxes, rough", "one of them", "neither"))),
            });
        };
        let rough = Source::new(py, rough.extract()?)?;
        let flag = |name: &str| options.get_item(name)?.map(|value| value.extract::<bool>()).transpose();
        let labels: Option<Vec<u32>> = options.get_item("rough_label")?.map(|value| value.extract()).transpose()?;
        let threshold = options.get_item("rough_threshold")?.map(|value| value.extract::<f64>()).transpose()?;
        let margin = options.get_item("margin")?.map(|value| value.extract::<u32>()).transpose()?;
        let options = RoughOptions {
            labels: labels.unwrap_or_default(),
            threshold,
            margin: margin.unwrap_or(0),
            parts: flag("rough_parts")?.unwrap_or(false),
            interpolate: flag("interpolate")?.unwrap_or(false),
        };
        Ok(Prompts::Rough(rough, options))
    }
}

impl Ask {
    fn new(py: Python<'_>, model: &Model, levels: &Bound<'_, PyDict>, options: &Bound<'_, PyDict>) -> PyResult<Ask> {
        let text = |name: &str| options.get_item(name)?.map(|value| value.extract::<String>()).transpose();
        let number = |name: &str| options.get_item(name)?.map(|value| value.extract::<usize>()).transpose();
        let (orient, intensity, mask, form) = (text("orient")?, text("intensity")?, text("mask")?, text("form")?);
        let nan = options.get_item("nan")?.map(|value| value.extract::<f64>()).transpose()?;
        let (series, volume, real_world) = (text("series")?, text("volume")?, text("real_world")?);
        let choice = SeriesChoice { series, volume, real_world, threads: model.threads };
        let interpolate = options.get_item("interpolate")?.map(|value| value.extract()).transpose()?.unwrap_or(false);
        let name = text("name")?.unwrap_or_else(|| "target".into());
        let (query, axis, batch) = (query(levels)?, number("axis")?.unwrap_or(2), number("batch")?);
        let ask = || {
            if let Some(batch) = batch.filter(|batch| !(1..=512).contains(batch)) {
                return Err(argument("batch", "1 to 512", batch.to_string()));
            }
            Ok(Ask {
                query,
                name,
                interpolate,
                axis,
                orient: parsed(orient.as_deref())?.unwrap_or_default(),
                intensity: parsed(intensity.as_deref())?,
                mask: parsed(mask.as_deref())?.unwrap_or(MaskChoice::Auto),
                form: parsed(form.as_deref())?,
                nan,
                choice,
                batch,
            })
        };
        ask().map_err(|error| raised(py, &error))
    }
}

/// Adds to the report how long the engine's part took, from the opened file or the array to the labels.
fn timed(work: impl FnOnce() -> Result<Done>) -> Result<Done> {
    let start = Instant::now();
    let mut done = work()?;
    merge(&mut done.report, json!({ "seconds": { "total": start.elapsed().as_secs_f64() } }));
    Ok(done)
}

/// A volume of the caller's voxels.
pub fn lent(py: Python<'_>, array: &Bound<'_, PyUntypedArray>, layout: Layout) -> PyResult<LentArray> {
    let picture = layout.axes[2].is_none();
    let voxels = Array::new(array, layout.axes, layout.channel)?;
    let info = || {
        let info = VolumeInfo::of_array(&layout.name, voxels.dims, voxels.channels, voxels.data_type(), picture)?;
        let info = info.scaled(layout.slope, layout.intercept)?;
        layout.affine.map_or(Ok(info.clone()), |affine| info.placed(affine))
    };
    let info = info().map_err(|error| raised(py, &error))?;
    Ok(LentArray { volume: Lent::new(info, voxels) })
}

/// A volume of an array that its caller keeps alive until the run with it has ended.
pub struct LentArray {
    pub volume: Lent<Array>,
}

fn of_file(model: &Arc<segment::Model>, path: &Path, ask: &Ask, prompts: &mut Prompts, job: &mut Job) -> Result<Done> {
    let options = OpenOptions { form: ask.form, nan: ask.nan, ..OpenOptions::default() };
    let opening = Opening::open_chosen(path, &options, &ask.choice)?;
    let info = opening.info().clone();
    let frame = info.frame(ask.axis, ask.orient)?;
    let incoming = Incoming::start(opening, ask.intensity, &frame, false)?;
    let targets = ask.targets(prompts, &info, &frame, model, job)?;
    let mut segmenter = ask.segmenter(model, &targets, job)?;
    let mut image = incoming.wait_unless(&job.stop)?;
    let requests: Vec<Request> = targets.iter().map(|target| target.request.clone()).collect();
    let (source, map) = image.parts();
    let outcome = segment_slices(&mut segmenter, source, &frame, &map, &requests, job)?;
    image.finish()?;
    let set_aside = image.set_aside;
    let run = Described { image: image.info(), intensity: &map, set_aside, frame: &frame, model, choice: ask.mask };
    let mut done = ask.done(&run, &targets, outcome, Some(path));
    if let Some(tuned) = model.tuned_on()
        && let Some(warning) = tuned.elsewhere(path, || sha256_of(path))?
    {
        let entry = json!({ "code": warning.code, "message": warning.message, "target": null });
        done.report["warnings"].as_array_mut().into_iter().for_each(|all| all.push(entry.clone()));
    }
    Ok(done)
}

fn of_array(
    model: &Arc<segment::Model>,
    lent: LentArray,
    ask: &Ask,
    prompts: &mut Prompts,
    job: &mut Job,
) -> Result<Done> {
    let mut volume = lent.volume;
    volume.lender_mut().follow(&job.stop);
    let frame = volume.info().frame(ask.axis, ask.orient)?;
    let targets = ask.targets(prompts, volume.info(), &frame, model, job)?;
    let (map, set_aside) = volume.examine(ask.intensity)?;
    let mut segmenter = ask.segmenter(model, &targets, job)?;
    let requests: Vec<Request> = targets.iter().map(|target| target.request.clone()).collect();
    let outcome = segment_slices(&mut segmenter, &mut volume, &frame, &map, &requests, job)?;
    let run = Described { image: volume.info(), intensity: &map, set_aside, frame: &frame, model, choice: ask.mask };
    Ok(ask.done(&run, &targets, outcome, None))
}

impl Ask {
    fn targets(
        &self,
        prompts: &mut Prompts,
        image: &VolumeInfo,
        frame: &SliceFrame,
        model: &segment::Model,
        job: &Job,
    ) -> Result<Vec<Asked>> {
        let (grid, steered) = (Grid::of(image, frame.axis()), model.config().adapters.is_some());
        resolve_for(&self.query, false)?; // the call's own names, before those of the boxes
        let around_mask = matches!(prompts, Prompts::Rough(..));
        let (mut targets, file) = match prompts {
            Prompts::Text(text) => (parse_boxes(text, Path::new("boxes"), &grid)?, None),
            Prompts::File(path) => (read_boxes(path, &grid)?, Some(path.as_path())),
            Prompts::Rough(rough, options) => {
                context(&self.query, steered, &place(&self.name))?;
                let rough = rough.labels(job, Some(image), &options.labels)?;
                (rough_targets(&self.name, &self.query, &rough, options, &grid, image)?, None)
            }
        };
        if self.interpolate && !around_mask {
            targets.iter_mut().for_each(|target| fill_gaps(&mut target.boxes));
        }
        let asked = |target: Target| {
            let Target { name, label, query, boxes, points, warnings } = target;
            let clicks = |points: Vec<Point>| points.iter().map(|p| (p.x, p.y, p.inside)).collect();
            let points = points.into_iter().map(|(slice, points)| (slice, clicks(points))).collect();
            let context =
                context(&query.or(&self.query), steered, &place(&name)).map_err(|error| match (error, file) {
                    (error @ (medsegx::Error::Taxonomy { .. } | medsegx::Error::Argument { .. }), Some(file)) => {
                        error.in_file(file, &place(&name))
                    }
                    (error, _) => error,
                })?;
            Ok(Asked { name, request: Request { label, context, boxes, points }, warnings })
        };
        let mut targets: Vec<Asked> = targets.into_iter().map(asked).collect::<Result<_>>()?;
        let differs = |target: &Asked| target.request.context?.contradicts(image.dicom_modality()?);
        if let Some((target, warning)) = targets.iter_mut().find_map(|one| differs(one).map(|found| (one, found))) {
            target.warnings.push(warning);
        }
        Ok(targets)
    }

    fn segmenter(&self, model: &Arc<segment::Model>, targets: &[Asked], job: &Job) -> Result<Segmenter> {
        let prompts = targets.iter().map(|target| target.request.boxes.len() + target.request.points.len()).sum();
        let clicks = targets.iter().flat_map(|target| target.request.points.values()).map(|points| points.len() + 1);
        let whole = Capacity { points: clicks.max().unwrap_or(2).max(2), ..Capacity::default() };
        let capacity = match self.batch {
            Some(batch) => Capacity { batch, ..whole },
            None => whole.with_batch_for(model, self.mask, prompts)?,
        };
        let mut segmenter = Segmenter::new(model, capacity, self.mask)?;
        segmenter.set_stop(Some(Arc::clone(&job.stop)));
        Ok(segmenter)
    }

    fn done(&self, run: &Described<'_>, targets: &[Asked], outcome: Outcome, path: Option<&Path>) -> Done {
        let described: Vec<_> = targets
            .iter()
            .map(|Asked { name, request, warnings }| report::Target {
                name,
                label: request.label,
                context: request.context,
                warnings,
            })
            .collect();
        let mut report = describe(run, &described, &outcome);
        let own = json!({
            "input": { "file": path.map(|path| path.display().to_string()) },
            "slices": { "orient": format!("{:?}", self.orient).to_lowercase() },
        });
        merge(&mut report, own);
        Done {
            dims: outcome.labels.dims(),
            labels: outcome.labels.into_labels(),
            array_shape: run.image.array_shape(),
            affine: run.image.affine(),
            report,
        }
    }
}

type Answer<'py> = (Bound<'py, PyAny>, [usize; 3], Option<Vec<usize>>, Option<Affine>, String);

fn answer(py: Python<'_>, done: Done) -> PyResult<Answer<'_>> {
    let labels = match done.labels {
        Labels::U8(labels) => labels.into_pyarray(py).into_any(),
        Labels::U16(labels) => labels.into_pyarray(py).into_any(),
    };
    Ok((labels, done.dims, done.array_shape, done.affine, done.report.to_string()))
}
