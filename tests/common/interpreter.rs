//! [`Driver`] over ptxvm: runs the PTX that ships, on the CPU, with full checks, and keeps what each launch cost.
#![allow(dead_code, reason = "each test binary compiles its own copy and uses a part")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use medsegx::Error;
use medsegx::backend::cuda::driver::{Arg, Driver};
use medsegx::backend::cuda::kernels::Kernel;

/// A device that is an interpreter.
pub struct Interpreter {
    state: Arc<Mutex<State>>,
}

struct State {
    machine: ptxvm::Machine,
    reports: Vec<(&'static str, ptxvm::Report)>,
    /// Launches captured so far, while a capture is on.
    capture: Option<Vec<Launch>>,
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
        if let Ok(mut state) = self.state.lock() {
            let _ = state.machine.free(self.address);
        }
    }
}

/// A parsed kernel.
pub struct Function {
    kernel: &'static Kernel,
    module: ptxvm::Module,
}

/// Captured launches.
pub struct Recording(Vec<Launch>);

impl Interpreter {
    /// A device on `threads` host threads that checks as much as `checks` says.
    pub fn new(threads: usize, checks: ptxvm::Checks) -> Self {
        let machine = ptxvm::Machine::new().threads(threads).checks(checks);
        Interpreter { state: Arc::new(Mutex::new(State { machine, reports: Vec::new(), capture: None })) }
    }

    /// Kernel and report of every launch since the last call.
    pub fn take_reports(&self) -> Vec<(&'static str, ptxvm::Report)> {
        std::mem::take(&mut self.state().reports)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn failure(operation: impl Into<String>, error: ptxvm::Error) -> Error {
    Error::Device { device: "ptxvm".into(), operation: operation.into(), message: error.to_string() }
}

impl State {
    fn launch(&mut self, launch: &Launch) -> Result<(), Error> {
        if let Some(capture) = &mut self.capture {
            capture.push(launch.clone());
            return Ok(());
        }
        let kernel = launch.kernel;
        let size = ptxvm::Launch { grid: launch.grid, block: [kernel.threads, 1, 1], shared_bytes: kernel.shared };
        let report = self
            .machine
            .launch(&launch.module, kernel.entry, size, &launch.params)
            .map_err(|e| failure(format!("launch {}", kernel.entry), e))?;
        self.reports.push((kernel.entry, report));
        Ok(())
    }
}

impl Driver for Interpreter {
    type Buffer = Buffer;
    type Function = Function;
    type Event = Instant;
    type Recording = Recording;

    fn name(&self) -> String {
        "ptxvm".into()
    }

    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Function, Error> {
        let module = ptxvm::Module::parse(ptx).map_err(|e| failure(format!("load {}", kernel.entry), e))?;
        Ok(Function { kernel, module })
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer, Error> {
        let address = self.state().machine.alloc(bytes.max(1) as u64).map_err(|e| failure("allocate", e))?;
        Ok(Buffer { state: self.state.clone(), address, bytes })
    }

    fn address(&self, buffer: &Buffer) -> u64 {
        buffer.address
    }

    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        assert!(offset + bytes.len() <= buffer.bytes, "write past the end of a buffer");
        self.state().machine.write(buffer.address + offset as u64, bytes).map_err(|e| failure("write", e))
    }

    fn read(&self, buffer: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        assert!(offset + bytes.len() <= buffer.bytes, "read past the end of a buffer");
        self.state().machine.read(buffer.address + offset as u64, bytes).map_err(|e| failure("read", e))
    }

    unsafe fn launch(&self, function: &Function, grid: [u32; 3], args: &[Arg]) -> Result<(), Error> {
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
        self.state().launch(&Launch { kernel, module: function.module.clone(), grid, params })
    }

    fn synchronize(&self) -> Result<(), Error> {
        Ok(())
    }

    fn record(&self) -> Result<Instant, Error> {
        Ok(Instant::now())
    }

    fn elapsed(&self, start: &Instant, end: &Instant) -> Result<Duration, Error> {
        Ok(*end - *start)
    }

    fn begin_capture(&self) -> Result<(), Error> {
        self.state().capture = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&self) -> Result<Recording, Error> {
        Ok(Recording(self.state().capture.take().unwrap_or_default()))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<(), Error> {
        let mut state = self.state();
        recording.0.iter().try_for_each(|launch| state.launch(launch))
    }
}
