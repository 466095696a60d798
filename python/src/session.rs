//! A slice that is encoded once and prompted many times.

use std::sync::{Arc, Mutex, PoisonError};

use medsegx::executor::{Point, Prompt};
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Frame, Segmenter, prompt_points};
use medsegx::volume::{Intensity, SliceSource};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{argument, raised};
use crate::model::Model;
use crate::run::{Cancel, Memory, run};
use crate::segment::{Layout, context, lent, query};

/// What `medsegx.Session` is made around.
#[pyclass(frozen, module = "medsegx._medsegx", name = "Session")]
pub struct Session {
    state: Arc<Mutex<State>>,
    process: u32,
}

struct State {
    segmenter: Segmenter,
    frame: Option<Frame>,
    points: Vec<Point>,
}

/// A prompt's mask `[height, width]`, which of the masks it is, the scores of all, and how far they agree.
struct Found {
    mask: Array2<bool>,
    chosen: usize,
    scores: Vec<f64>,
    agreement: f64,
}

#[pymethods]
impl Session {
    #[new]
    fn new(py: Python<'_>, model: &Model, mask: &str, points: usize) -> PyResult<Session> {
        let model = model.here()?;
        let choice: MaskChoice = mask.parse().map_err(|error| raised(py, &error))?;
        let state = run(py, Memory::Own, None, None, move |_| {
            let capacity = Capacity { batch: 1, points: points + 2, mask_prompt: false };
            let segmenter = Segmenter::new(&model, capacity, choice)?;
            Ok(State { segmenter, frame: None, points: Vec::new() })
        })?;
        Ok(Session { state: Arc::new(Mutex::new(state)), process: std::process::id() })
    }

    /// Encodes a slice; returns its height and width, and code and message of what looks wrong with it.
    fn set_slice(
        &self,
        py: Python<'_>,
        array: &Bound<'_, PyUntypedArray>,
        layout: Layout,
        levels: &Bound<'_, PyDict>,
        intensity: Option<&str>,
        cancel: Option<&Cancel>,
    ) -> PyResult<([usize; 2], Vec<(&'static str, String)>)> {
        let state = self.here()?;
        let query = query(levels)?;
        let rule: Option<Intensity> = intensity.map(str::parse).transpose().map_err(|error| raised(py, &error))?;
        let mut volume = lent(py, array, layout)?.volume;
        run(py, Memory::Lent, cancel, None, move |job| {
            volume.lender_mut().follow(&job.stop);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.frame = None;
            let steered = state.segmenter.model().config().adapters.is_some();
            let context = context(&query, steered, "the slice")?;
            let slices = volume.info().frame(2, medsegx::volume::Orientation::Stored)?;
            let (map, _) = volume.examine(rule)?;
            let (held, cut, index) = volume.holding(&slices, 0)?;
            let stored = held.stored_slice(&cut, index, &map)?;
            state.segmenter.set_stop(Some(Arc::clone(&job.stop)));
            let frame = state.segmenter.place_stored(0, &stored, context.as_ref())?;
            state.segmenter.encode()?;
            state.frame = Some(frame);
            let tuned = state.segmenter.model().tuned_on().and_then(|tuned| tuned.other_rule(map.rule));
            let warnings = volume.info().warnings().iter().chain(&tuned);
            Ok((frame.slice, warnings.map(|warning| (warning.code.name(), warning.message.clone())).collect()))
        })
    }

    /// Decodes a box `x0, y0, x1, y1`, points `(x, y, inside)`, or both, on the slice.
    fn prompt<'py>(
        &self,
        py: Python<'py>,
        region: Option<[f64; 4]>,
        points: Vec<(f64, f64, bool)>,
        cancel: Option<&Cancel>,
    ) -> PyResult<(Bound<'py, PyAny>, usize, Vec<f64>, f64)> {
        let state = self.here()?;
        let found = run(py, Memory::Lent, cancel, None, move |job| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.segmenter.set_stop(Some(Arc::clone(&job.stop)));
            state.prompt(region, &points)
        })?;
        Ok((found.mask.into_pyarray(py).into_any(), found.chosen, found.scores, found.agreement))
    }
}

impl Session {
    fn here(&self) -> PyResult<Arc<Mutex<State>>> {
        if self.process == std::process::id() {
            return Ok(Arc::clone(&self.state));
        }
        let text = "medsegx: this process is a fork of the one that made the session; start processes with the method \
                    'spawn' or 'forkserver'";
        Err(pyo3::exceptions::PyRuntimeError::new_err(text))
    }
}

impl State {
    fn prompt(&mut self, region: Option<[f64; 4]>, points: &[(f64, f64, bool)]) -> medsegx::Result<Found> {
        let State { segmenter, frame, points: corners } = self;
        let frame = frame.ok_or_else(|| argument("slice", "one, by set_slice", "none"))?;
        let [height, width] = frame.slice;
        let wrong = |what: &str, expected: String, found: String| {
            Err(medsegx::Error::Prompt { what: what.into(), expected, found })
        };
        if region.is_none() && points.is_empty() {
            return wrong("prompt", "a box or points".into(), "neither".into());
        }
        if let Some(region @ [x0, y0, x1, y1]) = region
            && !(0.0 <= x0 && x0 <= x1 && x1 < width as f64 && 0.0 <= y0 && y0 <= y1 && y1 < height as f64)
        {
            return wrong("box", format!("0 <= x0 <= x1 < {width}, 0 <= y0 <= y1 < {height}"), format!("{region:?}"));
        }
        let inside = |at: f64, length: usize| at >= -0.5 && at < length as f64 - 0.5;
        if let Some((x, y, _)) = points.iter().find(|(x, y, _)| !inside(*x, width) || !inside(*y, height)) {
            return wrong("point", "a point inside the slice".into(), format!("({x}, {y})"));
        }
        if !points.is_empty() {
            segmenter.check_takes_points()?;
        }
        prompt_points(&frame, points, region, corners);
        let mut answers = segmenter.answer(&[Prompt { slot: 0, points: corners, mask: None }])?;
        let verdict = answers.verdict(0);
        let mut mask = vec![0; height * width];
        answers.mask(0, verdict.chosen, &mut mask)?;
        let mask = mask.into_iter().map(|inside| inside != 0).collect();
        let mask = Array2::from_shape_vec((height, width), mask);
        let mask = mask.map_err(|error| medsegx::Error::internal("a session's mask", error.to_string()))?;
        let count = verdict.measures.count;
        let scores = verdict.scores[..count].to_vec();
        Ok(Found { mask, chosen: verdict.chosen, scores, agreement: verdict.measures.agreement() })
    }
}
