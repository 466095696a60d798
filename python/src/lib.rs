//! medsegx for Python: what of it has to be native. Images are recognised, boxes are put into one form and results are
//! given their classes in `medsegx/*.py`; `medsegx/_medsegx.pyi` says what crosses the border.

mod array;
mod errors;
mod model;
mod run;
mod segment;
mod session;
mod tools;
mod tune;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

#[pymodule]
fn _medsegx(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_subinterpreters()?;
    module.add("VERSION", medsegx::VERSION)?;
    module.add_class::<run::Cancel>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<session::Session>()?;
    module.add_function(wrap_pyfunction!(segment::segment_image, module)?)?;
    module.add_function(wrap_pyfunction!(tools::tasks, module)?)?;
    module.add_function(wrap_pyfunction!(tools::score, module)?)?;
    module.add_function(wrap_pyfunction!(tune::tune_decoder, module)?)?;
    module.add_function(wrap_pyfunction!(run::close, module)?)?;
    let py = module.py();
    py.import("atexit")?.call_method1("register", (module.getattr("close")?,))?;
    Ok(())
}

/// The models' threads and the hook at exit are the process's, not an interpreter's; CPython 3.11 would not say a word.
fn refuse_subinterpreters() -> PyResult<()> {
    // SAFETY: called with the interpreter attached, as module initialisation is.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if id == 0 { Ok(()) } else { Err(PyImportError::new_err("medsegx does not support loading in subinterpreters")) }
}
