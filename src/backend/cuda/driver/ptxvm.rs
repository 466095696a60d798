//! [`Driver`] over ptxvm: runs the PTX that ships, on the CPU, and checks it as it runs.
#![allow(unsafe_code, reason = "a launch trusts its caller for addresses and sizes; here every access is checked")]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use ptxvm::{Checks, Report};

use super::{Arg, Driver, Memory, Queue};
use crate::backend::Launches;
use crate::backend::cuda::kernels::Kernel;
use crate::error::{Error, Result};

/// A device that is an interpreter. It does everything at once, in the order of the calls.
pub struct Interpreter {
    state: Arc<Mutex<State>>,
    launches: Launches,
    wgmma: bool,
}

struct State {
    machine: ptxvm::Machine,
    /// Bytes that buffers may hold in all, where that is limited, and those that they hold.
    limit: Option<u64>,
    held: u64,
    /// What each launch cost, where that is asked for.
    reports: Option<Vec<(&'static str, Report)>>,
}

#[derive(Clone)]
struct Launch {
    kernel: &'static Kernel,
    module: ptxvm::Module,
    grid: [u32; 3],
    params: Vec<u8>,
}

/// Interpreter memory, given back when dropped.
pub struct Buffer {
    state: Arc<Mutex<State>>,
    address: u64,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Only an address that is no buffer's is refused.
        let _ = state.machine.free(self.address);
        state.held -= room(self.bytes);
    }
}

impl Buffer {
    /// Where a range that lies in the buffer starts.
    fn range(&self, offset: usize, bytes: usize) -> Result<u64> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(self.address + offset as u64),
            _ => Err(Error::Internal {
                place: NAME.into(),
                what: format!("copy of {bytes} bytes at {offset} of a buffer of {}", self.bytes),
            }),
        }
    }
}

/// A parsed kernel.
pub struct Function {
    kernel: &'static Kernel,
    module: ptxvm::Module,
}

/// Launches that are being captured.
pub struct Capture(RefCell<Vec<Launch>>);

/// Captured launches.
pub struct Recording(Vec<Launch>);

impl Interpreter {
    /// A device on `threads` host threads that checks as much as `checks` says.
    pub fn new(threads: usize, checks: Checks) -> Self {
        let machine = ptxvm::Machine::new().threads(threads).checks(checks);
        let state = State { machine, limit: None, held: 0, reports: None };
        Interpreter { state: Arc::new(Mutex::new(state)), launches: Launches::Ordered, wgmma: false }
    }

    /// Loads kernels for `launches`. It runs one after the other either way, but checks that each waits.
    #[must_use]
    pub fn with_launches(mut self, launches: Launches) -> Self {
        self.launches = launches;
        self
    }

    /// Runs the kernels of sm_90a where there are any, as an H100 does.
    #[must_use]
    pub fn with_wgmma(mut self) -> Self {
        self.wgmma = true;
        self
    }

    /// Has so many bytes of memory of its own, as a card has; otherwise its memory is the host's.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        self.state().limit = Some(bytes);
        self
    }

    /// Keeps what each launch costs, for [`Interpreter::take_reports`].
    #[must_use]
    pub fn counting(self) -> Self {
        self.state().reports = Some(Vec::new());
        self
    }

    /// Kernel and report of every launch since the last call.
    pub fn take_reports(&self) -> Vec<(&'static str, Report)> {
        self.state().reports.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of this device in reports and errors.
const NAME: &str = "ptxvm";

/// An error of the interpreter: of a fault in a kernel it names entry, PTX line, block and thread.
fn failure(operation: impl Into<String>, error: ptxvm::Error) -> Error {
    Error::Device { device: NAME.into(), operation: operation.into(), message: error.to_string() }
}

/// Bytes that a buffer takes: a card gives them out in units too.
fn room(bytes: usize) -> u64 {
    bytes.max(1).next_multiple_of(256) as u64
}

/// An error for a copy that is not inside pinned memory.
fn outside(range: &Range<usize>, held: usize) -> Error {
    Error::Internal { place: NAME.into(), what: format!("copy of {range:?} of {held} bytes of pinned memory") }
}

impl State {
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let kernel = launch.kernel;
        let size = ptxvm::Launch { grid: launch.grid, block: [kernel.threads, 1, 1], shared_bytes: kernel.shared };
        let report = self
            .machine
            .launch(&launch.module, kernel.entry, size, &launch.params)
            .map_err(|e| failure(format!("launch {}", kernel.entry), e))?;
        if let Some(reports) = &mut self.reports {
            reports.push((kernel.entry, report));
        }
        Ok(())
    }
}

impl Driver for Interpreter {
    type Buffer = Buffer;
    type Function = Function;
    type Pinned = Vec<u8>;
    type Event = Instant;
    type Capture = Capture;
    type Recording = Recording;

    fn name(&self) -> String {
        NAME.into()
    }

    fn launches(&self) -> Launches {
        self.launches
    }

    fn wgmma(&self) -> bool {
        self.wgmma
    }

    fn memory(&self) -> Result<Option<Memory>> {
        let state = self.state();
        Ok(state.limit.map(|total| Memory { free: total.saturating_sub(state.held), total }))
    }

    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Function> {
        let module = ptxvm::Module::parse(ptx).map_err(|e| failure(format!("load {}", kernel.entry), e))?;
        Ok(Function { kernel, module })
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        let mut state = self.state();
        let held = state.held.saturating_add(room(bytes));
        if let Some(total) = state.limit.filter(|&total| held > total) {
            let message = format!("out of memory; {} of {total} bytes are free", total.saturating_sub(state.held));
            return Err(Error::Device { device: NAME.into(), operation: format!("allocate {bytes} bytes"), message });
        }
        let address = state.machine.alloc(bytes.max(1) as u64).map_err(|e| failure("allocate", e))?;
        state.held = held;
        Ok(Buffer { state: self.state.clone(), address, bytes })
    }

    fn address(&self, buffer: &Buffer) -> u64 {
        buffer.address
    }

    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        let address = buffer.range(offset, bytes.len())?;
        self.state().machine.write(address, bytes).map_err(|e| failure("write", e))
    }

    fn read(&self, buffer: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let address = buffer.range(offset, bytes.len())?;
        self.state().machine.read(address, bytes).map_err(|e| failure("read", e))
    }

    fn pinned(&self, bytes: usize) -> Result<Vec<u8>> {
        Ok(vec![0; bytes])
    }

    fn host<'a>(&self, pinned: &'a mut Vec<u8>) -> &'a mut [u8] {
        pinned
    }

    unsafe fn queue_write(
        &self,
        _queue: Queue,
        buffer: &Buffer,
        offset: usize,
        pinned: &Vec<u8>,
        from: Range<usize>,
    ) -> Result<()> {
        let bytes = pinned.get(from.clone()).ok_or_else(|| outside(&from, pinned.len()))?;
        self.write(buffer, offset, bytes)
    }

    unsafe fn queue_read(
        &self,
        _queue: Queue,
        buffer: &Buffer,
        offset: usize,
        pinned: &mut Vec<u8>,
        to: Range<usize>,
    ) -> Result<()> {
        let held = pinned.len();
        let bytes = pinned.get_mut(to.clone()).ok_or_else(|| outside(&to, held))?;
        self.read(buffer, offset, bytes)
    }

    unsafe fn launch(
        &self,
        capture: Option<&Capture>,
        function: &Function,
        grid: [u32; 3],
        args: &[Arg],
    ) -> Result<()> {
        let kernel = function.kernel;
        let args: Vec<ptxvm::Arg> = args
            .iter()
            .map(|arg| match *arg {
                Arg::Pointer(address) => ptxvm::Arg::U64(address),
                Arg::U32(value) => ptxvm::Arg::U32(value),
                Arg::F32(value) => ptxvm::Arg::F32(value),
            })
            .collect();
        let params =
            function.module.pack(kernel.entry, &args).map_err(|e| failure(format!("launch {}", kernel.entry), e))?;
        let launch = Launch { kernel, module: function.module.clone(), grid, params };
        match capture {
            Some(capture) => capture.0.borrow_mut().push(launch),
            None => self.state().launch(&launch)?,
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn record_event(&self, _queue: Queue, _spent: Option<Instant>) -> Result<Instant> {
        Ok(Instant::now())
    }

    fn wait_event(&self, _queue: Queue, _event: &Instant) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _event: &Instant) -> Result<()> {
        Ok(())
    }

    fn elapsed(&self, start: &Instant, end: &Instant) -> Result<Duration> {
        Ok(*end - *start)
    }

    fn begin_capture(&self) -> Result<Capture> {
        Ok(Capture(RefCell::default()))
    }

    fn end_capture(&self, capture: Capture) -> Result<Recording> {
        Ok(Recording(capture.0.into_inner()))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<()> {
        let mut state = self.state();
        recording.0.iter().try_for_each(|launch| state.launch(launch))
    }
}
