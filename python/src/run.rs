//! Long calls: work on a thread of the engine's, while the calling thread has let go of the interpreter, passes
//! progress on and listens for Ctrl-C.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use medsegx::segment::volume::Observer;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::errors;

/// How long the main thread waits between two looks at its signals. A stop takes effect within a task of a step, so
/// that this is most of what passes between Ctrl-C and KeyboardInterrupt.
const POLL: Duration = Duration::from_millis(10);

/// How long work that has its own memory may take to see that it was stopped. Then it is left to end by itself.
const PATIENCE: Duration = Duration::from_millis(15);

/// Stop flags of the runs of this process, and whether the interpreter is on its way out.
static RUNS: Mutex<Runs> = Mutex::new(Runs { stops: Vec::new(), closing: false });

struct Runs {
    stops: Vec<Arc<AtomicBool>>,
    closing: bool,
}

fn runs() -> MutexGuard<'static, Runs> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A way to stop calls from elsewhere: another thread, a button, a task.
///
/// Give it as `cancel=` to any number of calls. Once `set()`, those that run raise CancelledError soon, later ones at
/// once.
#[pyclass(frozen, module = "medsegx")]
#[derive(Default)]
pub struct Cancel {
    set: AtomicBool,
    stops: Mutex<Vec<Weak<AtomicBool>>>,
}

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Cancel {
        Cancel::default()
    }

    /// Stops the calls that have this object, now and later. Any thread may call it.
    fn set(&self) {
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        self.set.store(true, Ordering::SeqCst);
        stops.iter().filter_map(Weak::upgrade).for_each(|stop| stop.store(true, Ordering::SeqCst));
    }

    /// Whether `set()` was called.
    fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }
}

impl Cancel {
    /// Makes `stop` follow this object.
    fn watch(&self, stop: &Arc<AtomicBool>) {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.retain(|stop| stop.strong_count() > 0);
        stops.push(Arc::downgrade(stop));
        if self.is_set() {
            stop.store(true, Ordering::SeqCst);
        }
    }
}

/// Stops all runs, waits until they have ended, and refuses new ones. Registered with `atexit`: a thread that came back
/// to an interpreter that shuts down would be ended in the middle of native code.
#[pyfunction]
pub fn close(py: Python<'_>) {
    {
        let mut runs = runs();
        runs.closing = true;
        runs.stops.iter().for_each(|stop| stop.store(true, Ordering::SeqCst));
    }
    py.detach(|| {
        while !runs().stops.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// A run that [`close`] knows of, until its work has ended and its caller is back with the interpreter attached.
struct Registered(Arc<AtomicBool>);

impl Registered {
    fn new() -> PyResult<Registered> {
        let mut runs = runs();
        if runs.closing {
            return Err(PyRuntimeError::new_err("medsegx: the interpreter is shutting down"));
        }
        let stop = Arc::new(AtomicBool::new(false));
        runs.stops.push(Arc::clone(&stop));
        Ok(Registered(stop))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        runs().stops.retain(|stop| !Arc::ptr_eq(stop, &self.0));
    }
}

/// What work sees of its caller.
pub struct Job {
    /// Set when nobody wants the result any more.
    pub stop: Arc<AtomicBool>,
    progress: Option<Box<dyn Fn(usize, usize) + Send>>,
}

impl Job {
    /// Goes on, or ends the work.
    pub fn check(&self) -> medsegx::Result<()> {
        if self.stop.load(Ordering::SeqCst) { Err(medsegx::Error::Cancelled) } else { Ok(()) }
    }
}

impl Observer for Job {
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        if let Some(progress) = &self.progress {
            progress(done, total);
        }
        if self.stop.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn logits(&mut self, _index: usize, _logits: &[f32]) -> medsegx::Result<()> {
        Ok(())
    }
}

/// Whose memory work reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What it owns. After Ctrl-C it need not be waited for.
    Own,
    /// An array of the caller's, who goes on when it has ended.
    Lent,
}

enum Event<T> {
    Progress(usize, usize),
    Done(std::thread::Result<medsegx::Result<T>>),
}

/// Does `work` on a thread of its own and waits for it without the interpreter. `progress` is called with how much is
/// done, of how much; what it raises stops the run and comes through.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    memory: Memory,
    cancel: Option<&Cancel>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&mut Job) -> medsegx::Result<T> + Send + 'static,
) -> PyResult<T> {
    let registered = Arc::new(Registered::new()?);
    let stop = &registered.0;
    if let Some(cancel) = cancel {
        cancel.watch(stop);
    }
    let in_main_thread = in_main_thread(py)?;
    let _sigint = if in_main_thread { Sigint::raising(py)? } else { None };
    let (sender, mut events) = channel::<Event<T>>();
    let told = progress.map(|_| {
        let sender: Sender<Event<T>> = sender.clone();
        Box::new(move |done, total| drop(sender.send(Event::Progress(done, total)))) as Box<_>
    });
    let mut job = Job { stop: Arc::clone(stop), progress: told };
    let working = Arc::clone(&registered);
    let thread = std::thread::Builder::new().name("medsegx-run".into()).spawn(move || {
        let _working = working;
        let outcome = catch_unwind(AssertUnwindSafe(|| job.check().and_then(|()| work(&mut job))));
        drop(sender.send(Event::Done(outcome)));
    });
    let thread = thread.map_err(|error| PyRuntimeError::new_err(format!("medsegx: no thread can be had: {error}")))?;
    let (mut raised, mut since) = (None, Instant::now());
    let outcome = loop {
        let happened = match py.detach(|| next(&mut events, in_main_thread)) {
            Ok(Event::Done(outcome)) => break outcome,
            Ok(Event::Progress(done, total)) => match (progress, &raised) {
                (Some(progress), None) => progress.call1((done, total)).map(drop),
                _ => Ok(()),
            },
            Err(RecvTimeoutError::Timeout) => py.check_signals(),
            Err(RecvTimeoutError::Disconnected) => break Err(Box::new("its thread is lost")),
        };
        if let Err(error) = happened {
            stop.store(true, Ordering::SeqCst);
            if raised.is_none() {
                (raised, since) = (Some(error), Instant::now());
            }
        }
        if let Some(error) = raised.take_if(|_| memory == Memory::Own && in_main_thread && since.elapsed() > PATIENCE) {
            return Err(error);
        }
    };
    let joined = py.detach(|| thread.join());
    if let Some(error) = raised {
        return Err(error);
    }
    match outcome {
        Ok(outcome) if joined.is_ok() => outcome.map_err(|error| errors::raised(py, &error)),
        Ok(_) => Err(errors::of_class(py, "InternalError", "internal error: a thread is lost".into())),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(errors::of_class(py, "InternalError", format!("internal error: {text}")))
        }
    }
}

/// The next event. Only the main thread looks up in between: no other one has signals, and it must not come back to the
/// interpreter before its run has ended.
fn next<T>(events: &mut Receiver<T>, in_main_thread: bool) -> Result<T, RecvTimeoutError> {
    match in_main_thread {
        true => events.recv_timeout(POLL),
        false => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn in_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let ident = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(ident)
}

/// A handler of SIGINT for the length of a call, where the one found only takes note of the signal, as asyncio's does:
/// the one found is called, then KeyboardInterrupt is raised.
struct Sigint {
    found: Py<PyAny>,
}

impl Sigint {
    fn raising(py: Python<'_>) -> PyResult<Option<Sigint>> {
        let signal = py.import("signal")?;
        let (number, found) =
            (signal.getattr("SIGINT")?, signal.call_method1("getsignal", (signal.getattr("SIGINT")?,))?);
        if !found.is_callable() || found.is(&signal.getattr("default_int_handler")?) {
            return Ok(None);
        }
        let before = found.clone().unbind();
        let handler = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
            before.bind(args.py()).call1(args)?;
            Err(PyKeyboardInterrupt::new_err(()))
        };
        let handler = PyCFunction::new_closure(py, None, None, handler)?;
        signal.call_method1("signal", (number, handler))?;
        Ok(Some(Sigint { found: found.unbind() }))
    }
}

impl Drop for Sigint {
    fn drop(&mut self) {
        Python::attach(|py| {
            let put_back = || {
                let signal = py.import("signal")?;
                signal.call_method1("signal", (signal.getattr("SIGINT")?, self.found.bind(py)))
            };
            if let Err(error) = put_back() {
                error.write_unraisable(py, None);
            }
        });
    }
}
