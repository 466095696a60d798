//! [`Driver`] over NVIDIA's driver, found at run time by cudarc. A machine without it gets an answer, never a panic.
#![allow(unsafe_code, reason = "the driver's interface is C")]

mod failure;
mod launch;

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::ops::Range;
use std::panic::catch_unwind;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{
    self, CUevent_flags, CUfunction_attribute_enum as FunctionAttribute, CUgraphInstantiate_flags, CUjit_option,
    CUstreamCaptureMode,
};
use cudarc::driver::{CudaContext, CudaEvent, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, result};

use self::failure::{describe, failure};
use self::launch::launch_dependent;
use super::{Arg, Driver, Memory, Queue};
use crate::backend::Launches;
use crate::backend::cuda::kernels::Kernel;
use crate::error::{Error, Result};

/// PTX 7.5, which the kernels are written in, came with CUDA 11.5.
const OLDEST_DRIVER: i32 = 11050;
/// mma.m16n8k16, ldmatrix and cp.async came with sm_80.
const OLDEST_DEVICE: i32 = 80;
/// `griddepcontrol` came with sm_90, its edges in graphs with CUDA 12.3.
const OLDEST_DEPENDENT: (i32, i32) = (90, 12030);
/// `wgmma` is of sm_90 alone, and its PTX 8.0 came with CUDA 12.0.
const WGMMA: (i32, i32) = (90, 12000);
/// Room for what the driver's PTX compiler has to say.
const LOG_BYTES: usize = 16 << 10;

/// One device of NVIDIA's driver, and a stream on it for each queue.
pub struct Nvidia {
    name: String,
    description: String,
    launches: Launches,
    wgmma: bool,
    context: Arc<CudaContext>,
    /// Of the launches. Not the default stream, which cannot be captured.
    stream: Arc<CudaStream>,
    up: Arc<CudaStream>,
    down: Arc<CudaStream>,
}

/// Device memory.
pub struct Buffer {
    /// Frees the memory when dropped.
    _memory: CudaSlice<u8>,
    address: u64,
    bytes: usize,
}

/// A kernel in a loaded module.
pub struct Function {
    context: Arc<CudaContext>,
    module: sys::CUmodule,
    function: sys::CUfunction,
    kernel: &'static Kernel,
}

// SAFETY: the handles are only passed to the driver, which may be called from any thread once a context is bound.
unsafe impl Send for Function {}
// SAFETY: as above; no call changes the handles.
unsafe impl Sync for Function {}

impl Drop for Function {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the module was loaded in this context, and its function goes with it.
            self.context.record_err(unsafe { result::module::unload(self.module) });
        }
    }
}

/// Page-locked host memory.
pub struct Pinned {
    start: NonNull<u8>,
    bytes: usize,
    context: Arc<CudaContext>,
}

// SAFETY: host memory of its own, which any thread may touch and give back.
unsafe impl Send for Pinned {}
// SAFETY: the bytes change only through an exclusive borrow; a shared one is good for queueing copies from them.
unsafe impl Sync for Pinned {}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A queued copy may still use it.
        self.context.record_err(self.context.synchronize());
        // SAFETY: it came from `malloc_host` and is given back once.
        self.context.record_err(unsafe { result::free_host(self.start.as_ptr().cast()) });
    }
}

/// A captured graph. It may move to another thread but is used by one at a time, since it is not `Sync`.
pub struct Recording(CudaGraph);

// SAFETY: the driver asks that calls on one graph do not overlap; `Recording` is not `Sync`, so they cannot.
unsafe impl Send for Recording {}

/// A stream that is being captured. Never the one that everything runs on: what other threads queue there meanwhile, or
/// free, is no part of the graph.
pub struct Capture {
    stream: Arc<CudaStream>,
    /// Whether it has a launch already, which the next one may depend on.
    begun: Cell<bool>,
}

impl Nvidia {
    /// Device `ordinal` of the driver.
    ///
    /// # Errors
    /// [`Error::Device`]: no driver, no such device, a device below sm_80, a driver older than CUDA 11.5, or a device
    /// that fails; for dependent launches also a device below sm_90 or a driver older than CUDA 12.3.
    pub fn open(ordinal: usize, launches: Launches) -> Result<Self> {
        let name = format!("cuda:{ordinal}");
        let refuse = |operation: &str, message: String| Error::Device {
            device: name.clone(),
            operation: operation.into(),
            message,
        };
        // SAFETY: looks for the library and loads it; nothing in it is called.
        if !unsafe { sys::is_culib_present() } {
            let message = "the NVIDIA driver's library (libcuda.so.1 or nvcuda.dll) is not on this machine";
            return Err(refuse("find the driver", message.into()));
        }
        // cudarc panics where a library lacks a symbol: one that is no driver, or a very old one.
        let opened = catch_unwind(|| Self::connect(ordinal, launches));
        opened.unwrap_or_else(|_| Err(refuse("find the driver", "the driver's library lacks a function".into())))
    }

    fn connect(ordinal: usize, launches: Launches) -> Result<Self> {
        let name = format!("cuda:{ordinal}");
        let check = |operation: &str, code: DriverError| failure(&name, operation, code);
        let refuse = |operation: &str, message: String| Error::Device {
            device: name.clone(),
            operation: operation.into(),
            message,
        };
        result::init().map_err(|e| check("start the driver", e))?;
        let mut version = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(|e| check("ask the driver's version", e))?;
        if version < OLDEST_DRIVER {
            let found =
                format!("the driver is for CUDA {}.{}, at least 11.5 is needed", version / 1000, version % 1000 / 10);
            return Err(refuse("check the driver", found));
        }
        let count = CudaContext::device_count().map_err(|e| check("count devices", e))?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            return Err(refuse("find the device", format!("the driver has {count} devices, numbered from 0")));
        }
        let context = CudaContext::new(ordinal).map_err(|e| check("open the device", e))?;
        let (major, minor) = context.compute_capability().map_err(|e| check("ask the device's kind", e))?;
        if 10 * major + minor < OLDEST_DEVICE {
            let model = context.name().unwrap_or_default();
            let found = format!("{model} is sm_{major}{minor}, at least sm_80 is needed");
            return Err(refuse("check the device", found));
        }
        let (kind, oldest) = OLDEST_DEPENDENT;
        if launches == Launches::Dependent && (10 * major + minor < kind || version < oldest) {
            let found = format!("sm_{major}{minor} and a driver for CUDA {}.{}", version / 1000, version % 1000 / 10);
            return Err(refuse("make launches dependent", format!("sm_90 and CUDA 12.3 are needed, found {found}")));
        }
        // SAFETY: the queues are ordered by this crate's own events; and with cudarc's no capture is clean.
        unsafe { context.disable_event_tracking() };
        let stream = || context.new_stream().map_err(|e| check("make a stream", e));
        let (stream, up, down) = (stream()?, stream()?, stream()?);
        let model = context.name().unwrap_or_else(|_| "a device without a name".into());
        let driver = format!("driver for CUDA {}.{}", version / 1000, version % 1000 / 10);
        let dependent = if launches == Launches::Dependent { ", dependent launches" } else { "" };
        let wgmma = 10 * major + minor == WGMMA.0 && version >= WGMMA.1;
        let description = format!("{model}, sm_{major}{minor}, {driver}{dependent}");
        Ok(Nvidia { name, description, launches, wgmma, context, stream, up, down })
    }

    /// Registers and bytes of local memory that the driver's compiler gave a kernel.
    ///
    /// # Errors
    /// A device that fails.
    pub fn resources(&self, function: &Function) -> Result<(i32, i32)> {
        let ask = |attribute| {
            // SAFETY: the function is loaded.
            let value = unsafe { result::function::get_function_attribute(function.function, attribute) };
            value.map_err(|e| self.failed("ask a kernel's resources", e))
        };
        Ok((
            ask(FunctionAttribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            ask(FunctionAttribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
        ))
    }

    fn stream_of(&self, queue: Queue) -> &Arc<CudaStream> {
        match queue {
            Queue::Up => &self.up,
            Queue::Run => &self.stream,
            Queue::Down => &self.down,
        }
    }

    /// Refuses a range that is not inside pinned memory; where it starts.
    fn pinned_range(&self, pinned: &Pinned, range: &Range<usize>) -> Result<*mut u8> {
        if range.start > range.end || range.end > pinned.bytes {
            let what = format!("copy of {range:?} of {} bytes of pinned memory", pinned.bytes);
            return Err(Error::Internal { place: self.name.clone(), what });
        }
        // SAFETY: inside of the memory, or one past its end.
        Ok(unsafe { pinned.start.as_ptr().add(range.start) })
    }

    fn failed(&self, operation: impl Into<String>, code: DriverError) -> Error {
        failure(&self.name, operation, code)
    }

    /// Refuses a range that is not inside the buffer.
    fn range(&self, buffer: &Buffer, offset: usize, bytes: usize) -> Result<u64> {
        match offset.checked_add(bytes) {
            Some(end) if end <= buffer.bytes => Ok(buffer.address + offset as u64),
            _ => Err(Error::Internal {
                place: self.name.clone(),
                what: format!("copy of {bytes} bytes at {offset} of a buffer of {}", buffer.bytes),
            }),
        }
    }

    /// Loads PTX; on failure the error holds the log of the driver's compiler.
    fn load_module(&self, kernel: &Kernel, ptx: &str) -> Result<sys::CUmodule> {
        let operation = format!("load kernel {}", kernel.entry);
        let text = CString::new(ptx)
            .map_err(|_| Error::Internal { place: kernel.entry.into(), what: "a zero byte in the PTX".into() })?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
        let mut module = std::ptr::null_mut();
        self.context.bind_to_thread().map_err(|e| self.failed(&*operation, e))?;
        // SAFETY: the text ends with a zero byte; both options have their value, and the log's buffer has the size
        // that the second one says and outlives the call.
        let loaded = unsafe {
            let image = text.as_ptr().cast();
            let count = options.len() as u32;
            sys::cuModuleLoadDataEx(&mut module, image, count, options.as_mut_ptr(), values.as_mut_ptr()).result()
        };
        loaded.map_err(|code| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let message = format!("{}\n{}", describe(code), String::from_utf8_lossy(&log[..end]));
            Error::Device { device: self.name.clone(), operation, message: message.trim_end().into() }
        })?;
        Ok(module)
    }
}

impl Driver for Nvidia {
    type Buffer = Buffer;
    type Function = Function;
    type Pinned = Pinned;
    type Event = CudaEvent;
    type Capture = Capture;
    type Recording = Recording;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn wgmma(&self) -> bool {
        self.wgmma
    }

    fn launches(&self) -> Launches {
        self.launches
    }

    fn memory(&self) -> Result<Option<Memory>> {
        let (free, total) = self.context.mem_get_info().map_err(|e| self.failed("ask for free memory", e))?;
        Ok(Some(Memory { free: free as u64, total: total as u64 }))
    }

    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Function> {
        let fail = |e| self.failed(format!("load kernel {}", kernel.entry), e);
        let module = self.load_module(kernel, ptx)?;
        let mut loaded = Function { context: self.context.clone(), module, function: std::ptr::null_mut(), kernel };
        let entry = CString::new(kernel.entry)
            .map_err(|_| Error::Internal { place: kernel.entry.into(), what: "a zero byte in the name".into() })?;
        // SAFETY: the module is loaded.
        loaded.function = unsafe { result::module::get_function(module, entry) }.map_err(fail)?;
        if kernel.shared > 0 {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(kernel.shared).unwrap_or(i32::MAX);
            // SAFETY: the function was just found in the module.
            unsafe { result::function::set_function_attribute(loaded.function, attribute, bytes) }.map_err(fail)?;
        }
        Ok(loaded)
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        // SAFETY: the bytes are not read before they are written: by a copy, or by a kernel that the plan runs first.
        let memory = unsafe { self.stream.alloc::<u8>(bytes.max(1)) }.map_err(|code| {
            let mut error = self.failed(format!("allocate {bytes} bytes"), code);
            if let (Error::Device { message, .. }, Ok((free, total))) = (&mut error, self.context.mem_get_info()) {
                message.push_str(&format!("; {free} of {total} bytes are free"));
            }
            error
        })?;
        // It is there in the order of this one stream; the others use it too.
        for other in [&self.up, &self.down] {
            other.join(&self.stream).map_err(|e| self.failed("order the streams", e))?;
        }
        let (address, _) = memory.device_ptr(&self.stream);
        let address = address.to_owned();
        Ok(Buffer { _memory: memory, address, bytes })
    }

    fn address(&self, buffer: &Buffer) -> u64 {
        buffer.address
    }

    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        let fail = |e| self.failed("copy to the device", e);
        let address = self.range(buffer, offset, bytes.len())?;
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: the range lies in the buffer; the host bytes outlive the copy, which is waited for.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) }.map_err(fail)?;
        self.stream.synchronize().map_err(fail)
    }

    fn read(&self, buffer: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let fail = |e| self.failed("copy from the device", e);
        let address = self.range(buffer, offset, bytes.len())?;
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: the range lies in the buffer; the host bytes outlive the copy, which is waited for.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }.map_err(fail)?;
        self.stream.synchronize().map_err(fail)
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned> {
        let fail = |e| self.failed(format!("allocate {bytes} bytes of pinned memory"), e);
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: zeroed just below, before anything reads it.
        let start = unsafe { result::malloc_host(bytes.max(1), 0) }.map_err(fail)?.cast::<u8>();
        let start = NonNull::new(start)
            .ok_or_else(|| Error::Internal { place: self.name.clone(), what: "pinned memory at address 0".into() })?;
        // SAFETY: so many bytes were allocated.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Pinned { start, bytes, context: self.context.clone() })
    }

    fn host<'a>(&self, pinned: &'a mut Pinned) -> &'a mut [u8] {
        // SAFETY: allocated with this size, zeroed, and borrowed as `pinned` is.
        unsafe { std::slice::from_raw_parts_mut(pinned.start.as_ptr(), pinned.bytes) }
    }

    unsafe fn queue_write(
        &self,
        queue: Queue,
        buffer: &Buffer,
        offset: usize,
        pinned: &Pinned,
        from: Range<usize>,
    ) -> Result<()> {
        let fail = |e| self.failed("copy to the device", e);
        let address = self.range(buffer, offset, from.len())?;
        let start = self.pinned_range(pinned, &from)?;
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: both ranges were checked; the bytes stay as they are (the caller's promise), and their memory is
        // given back only behind the queues.
        unsafe {
            let source = std::slice::from_raw_parts(start, from.len());
            result::memcpy_htod_async(address, source, self.stream_of(queue).cu_stream())
        }
        .map_err(fail)
    }

    unsafe fn queue_read(
        &self,
        queue: Queue,
        buffer: &Buffer,
        offset: usize,
        pinned: &mut Pinned,
        to: Range<usize>,
    ) -> Result<()> {
        let fail = |e| self.failed("copy from the device", e);
        let address = self.range(buffer, offset, to.len())?;
        let start = self.pinned_range(pinned, &to)?;
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: both ranges were checked; nobody touches the bytes meanwhile (the caller's promise), and their memory
        // is given back only behind the queues.
        unsafe {
            let target = std::slice::from_raw_parts_mut(start, to.len());
            result::memcpy_dtoh_async(target, address, self.stream_of(queue).cu_stream())
        }
        .map_err(fail)
    }

    unsafe fn launch(
        &self,
        capture: Option<&Capture>,
        function: &Function,
        grid: [u32; 3],
        args: &[Arg],
    ) -> Result<()> {
        let fail = |e| self.failed(format!("launch {}", function.kernel.entry), e);
        let mut pointers: Vec<*mut c_void> = args
            .iter()
            .map(|arg| match arg {
                Arg::Pointer(value) => std::ptr::from_ref(value).cast_mut().cast(),
                Arg::U32(value) => std::ptr::from_ref(value).cast_mut().cast(),
                Arg::F32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            })
            .collect();
        let [x, y, z] = grid;
        let block = (function.kernel.threads, 1, 1);
        let stream = capture.map_or(&self.stream, |capture| &capture.stream).cu_stream();
        // Outside of a recording the launch before is not known, and the first of a recording follows none.
        let follows = capture.is_some_and(|capture| capture.begun.replace(true));
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: one pointer a parameter, to a value of its type (the caller's promise), read during the call; what
        // the arguments point to is the caller's promise too.
        unsafe {
            if self.launches == Launches::Dependent && follows {
                return launch_dependent(function.function, function.kernel, grid, stream, &mut pointers).map_err(fail);
            }
            result::launch_kernel(function.function, (x, y, z), block, function.kernel.shared, stream, &mut pointers)
        }
        .map_err(fail)
    }

    fn synchronize(&self) -> Result<()> {
        [&self.up, &self.stream, &self.down]
            .into_iter()
            .try_for_each(|stream| stream.synchronize())
            .map_err(|e| self.failed("wait", e))
    }

    fn record_event(&self, queue: Queue, reused: Option<CudaEvent>) -> Result<CudaEvent> {
        let stream = self.stream_of(queue);
        let recorded = match reused {
            Some(event) => event.record(stream).map(|()| event),
            None => stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)),
        };
        recorded.map_err(|e| self.failed("record an event", e))
    }

    fn wait_event(&self, queue: Queue, event: &CudaEvent) -> Result<()> {
        self.stream_of(queue).wait(event).map_err(|e| self.failed("order the streams", e))
    }

    fn wait(&self, event: &CudaEvent) -> Result<()> {
        event.synchronize().map_err(|e| self.failed("wait", e))
    }

    fn elapsed(&self, start: &CudaEvent, end: &CudaEvent) -> Result<Duration> {
        let milliseconds = start.elapsed_ms(end).map_err(|e| self.failed("time two events", e))?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) * 1e-3))
    }

    fn begin_capture(&self) -> Result<Capture> {
        let fail = |e| self.failed("begin a capture", e);
        let stream = self.context.new_stream().map_err(fail)?;
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(fail)?;
        Ok(Capture { stream, begun: Cell::new(false) })
    }

    fn end_capture(&self, capture: Capture) -> Result<Recording> {
        let graph =
            capture.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(|e| self.failed("end a capture", e))?;
        graph.map(Recording).ok_or_else(|| Error::Device {
            device: self.name.clone(),
            operation: "end a capture".into(),
            message: "nothing was captured".into(),
        })
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<()> {
        let fail = |e| self.failed("replay a capture", e);
        self.context.bind_to_thread().map_err(fail)?;
        // SAFETY: the graph is instantiated and alive; what its launches use is the caller's promise. It runs in the
        // one stream, not in that of the capture.
        unsafe { result::graph::launch(recording.0.cu_graph_exec(), self.stream.cu_stream()) }.map_err(fail)
    }
}
