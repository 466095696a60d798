//! The loaded model, which threads share.

use std::path::PathBuf;
use std::sync::Arc;

use medsegx::backend::cpu::{CpuOptions, Precision};
use medsegx::segment::{self, ModelOptions};
use medsegx::weights::tuned::Tuned;
use medsegx::weights::{Access, Weights};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::{argument, raised};
use crate::run::{Memory, run};

/// What `medsegx.Model` is made around.
#[pyclass(frozen, module = "medsegx._medsegx", name = "Model")]
pub struct Model {
    inner: Arc<segment::Model>,
    /// Threads that were asked for.
    pub threads: Option<usize>,
    /// The process that the model's threads are in.
    process: u32,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, tuned, device, threads, precision))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        tuned: Option<PathBuf>,
        device: &str,
        threads: Option<usize>,
        precision: &str,
    ) -> PyResult<Model> {
        let options = options(device, threads, precision).map_err(|error| raised(py, &error))?;
        let inner = run(py, Memory::Own, None, None, move |job| {
            let mut weights = Weights::open(&path, Access::Map)?;
            weights.set_stop(Some(Arc::clone(&job.stop)));
            if let Some(tuned) = tuned {
                weights.tune(Tuned::open(&tuned)?)?;
            }
            segment::Model::load(&weights, &options)
        })?;
        Ok(Model { inner: Arc::new(inner), threads, process: std::process::id() })
    }

    /// What it runs on: "cpu ...", "cuda:0".
    #[getter]
    fn device(&self) -> &str {
        self.inner.device()
    }

    /// "medsegx", "sam", "medsam" or "litemedsam".
    #[getter]
    fn kind(&self) -> String {
        format!("{:?}", self.inner.config().kind).to_lowercase()
    }

    /// Why device="auto" did not take a GPU, if it did not.
    #[getter]
    fn fallback(&self) -> Option<&str> {
        self.inner.fallback()
    }
}

impl Model {
    /// The engine's model, in the process that loaded it.
    pub fn here(&self) -> PyResult<Arc<segment::Model>> {
        if self.process == std::process::id() {
            return Ok(Arc::clone(&self.inner));
        }
        let text = "medsegx: this process is a fork of the one that loaded the model, whose threads are not here; start \
                    processes with the method 'spawn' or 'forkserver', or load the model in the child";
        Err(PyRuntimeError::new_err(text))
    }
}

/// How a model is loaded.
pub fn options(device: &str, threads: Option<usize>, precision: &str) -> medsegx::Result<ModelOptions> {
    if let Some(threads) = threads.filter(|threads| !(1..=1024).contains(threads)) {
        return Err(argument("threads", "1 to 1024", threads.to_string()));
    }
    let precision = match precision {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(argument("precision", "f32 or bf16", format!("'{other}'"))),
    };
    Ok(ModelOptions { device: device.parse()?, cpu: CpuOptions { threads, precision, ..CpuOptions::default() } })
}
