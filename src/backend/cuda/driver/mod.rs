//! What the CUDA backend needs of a device. cudarc implements it over the real driver, `ptxvm` over an interpreter.
#![allow(unsafe_code, reason = "a launch trusts its caller for addresses and sizes")]

pub mod null;
pub mod nvidia;
#[cfg(feature = "ptxvm")]
pub mod ptxvm;

use std::ops::Range;
use std::time::Duration;

use crate::backend::Launches;
use crate::backend::cuda::kernels::{Kernel, Type};
use crate::error::Result;

/// One argument of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// Address in device memory; 0 where the kernel allows it to be absent.
    Pointer(u64),
    /// Size, stride or flag.
    U32(u32),
    /// Scalar.
    F32(f32),
}

impl Arg {
    /// The type it must have in the PTX.
    pub fn kind(&self) -> Type {
        match self {
            Arg::Pointer(_) => Type::Pointer,
            Arg::U32(_) => Type::U32,
            Arg::F32(_) => Type::F32,
        }
    }
}

/// How much memory a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that nobody holds.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The queues of a device. What one of them holds happens in the order of the calls; two know of each other by events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Copies to the device that go ahead of the runs that read them.
    Up,
    /// Launches, and what has to happen between them.
    Run,
    /// Copies to the host of what runs have left.
    Down,
}

/// A device. Everything is queued in [`Queue::Run`] that does not name another queue.
pub trait Driver: Send + Sync + 'static {
    /// Device memory, freed when dropped.
    type Buffer: Send + Sync;
    /// Host memory that the device copies from and to while the host goes on; freed when dropped, after every copy
    /// queued so far, so that device memory dropped later is free of copies too.
    type Pinned: Send + Sync;
    /// A loaded kernel.
    type Function: Send + Sync;
    /// A point in a queue.
    type Event: Send;
    /// A queue of its own, in which launches are captured and not run.
    type Capture;
    /// Launches captured once, to be replayed at the cost of one.
    type Recording: Send;

    /// The word for reports and errors: `cuda:0`.
    fn name(&self) -> String;

    /// The device in words, for whoever reads its numbers: model, architecture, driver.
    fn describe(&self) -> String {
        self.name()
    }

    /// How the launches of its recordings follow each other, and so which text [`Driver::load`] gets.
    fn launches(&self) -> Launches {
        Launches::Ordered
    }

    /// Whether it runs kernels whose target is sm_90a: what `wgmma` computes.
    fn wgmma(&self) -> bool {
        false
    }

    /// Memory of the device by now; `None` where it has no memory of its own.
    ///
    /// # Errors
    /// A device that fails.
    fn memory(&self) -> Result<Option<Memory>>;

    /// Loads PTX text and finds the kernel's entry in it.
    ///
    /// # Errors
    /// PTX that the device refuses, with the log of its compiler.
    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Self::Function>;

    /// Device memory, not initialised, for all queues.
    ///
    /// # Errors
    /// Memory that cannot be had.
    fn allocate(&self, bytes: usize) -> Result<Self::Buffer>;

    /// Where a buffer starts in device memory.
    fn address(&self, buffer: &Self::Buffer) -> u64;

    /// Copies host bytes to `buffer` from byte `offset` on.
    ///
    /// # Errors
    /// A range outside the buffer; a device that fails.
    fn write(&self, buffer: &Self::Buffer, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Copies from byte `offset` of `buffer` to the host, after everything queued so far.
    ///
    /// # Errors
    /// A range outside the buffer; a device that fails, also in an earlier launch.
    fn read(&self, buffer: &Self::Buffer, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Pinned memory, zeroed.
    ///
    /// # Errors
    /// Memory that cannot be had.
    fn pinned(&self, bytes: usize) -> Result<Self::Pinned>;

    /// The bytes of pinned memory.
    fn host<'a>(&self, pinned: &'a mut Self::Pinned) -> &'a mut [u8];

    /// Queues a copy of the bytes `from` of pinned memory to `buffer` from byte `offset` on.
    ///
    /// # Safety
    /// The bytes must not change until the queue has passed this copy, and the buffer must live as long.
    ///
    /// # Errors
    /// A range outside either; a device that fails.
    unsafe fn queue_write(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &Self::Pinned,
        from: Range<usize>,
    ) -> Result<()>;

    /// Queues a copy from byte `offset` of `buffer` on to the bytes `to` of pinned memory.
    ///
    /// # Safety
    /// The bytes must not be touched until the queue has passed this copy, and the buffer must live as long.
    ///
    /// # Errors
    /// A range outside either; a device that fails.
    unsafe fn queue_read(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &mut Self::Pinned,
        to: Range<usize>,
    ) -> Result<()>;

    /// Queues one launch with the threads and shared memory of the kernel's row; into `capture`, where there is one.
    ///
    /// # Safety
    /// `args` must have the kernel's types, its pointers must be alive in device memory until the launch has ended,
    /// and its sizes must describe the memory behind them.
    ///
    /// # Errors
    /// A launch that the device refuses.
    unsafe fn launch(
        &self,
        capture: Option<&Self::Capture>,
        function: &Self::Function,
        grid: [u32; 3],
        args: &[Arg],
    ) -> Result<()>;

    /// Waits for everything queued so far, in all queues.
    ///
    /// # Errors
    /// A device that failed meanwhile.
    fn synchronize(&self) -> Result<()>;

    /// Marks this point of a queue, by an event that nobody asks for any more where there is one: making one is a call
    /// of its own. Who was told to hold for what `reused` meant still does.
    ///
    /// # Errors
    /// A device that fails.
    fn record_event(&self, queue: Queue, reused: Option<Self::Event>) -> Result<Self::Event>;

    /// Holds back what `queue` is given from here on until `event` has happened.
    ///
    /// # Errors
    /// A device that fails.
    fn wait_event(&self, queue: Queue, event: &Self::Event) -> Result<()>;

    /// Waits until `event` has happened.
    ///
    /// # Errors
    /// A device that failed before it.
    fn wait(&self, event: &Self::Event) -> Result<()>;

    /// Device time between two marks, after waiting for the later one.
    ///
    /// # Errors
    /// A device that fails.
    fn elapsed(&self, start: &Self::Event, end: &Self::Event) -> Result<Duration>;

    /// A queue to capture launches in, used by one thread. What happens on the device meanwhile is not captured.
    ///
    /// # Errors
    /// A device that fails.
    fn begin_capture(&self) -> Result<Self::Capture>;

    /// Ends the capture.
    ///
    /// # Errors
    /// Something that cannot be captured.
    fn end_capture(&self, capture: Self::Capture) -> Result<Self::Recording>;

    /// Queues the captured launches.
    ///
    /// # Safety
    /// All memory that the captured launches use must still be alive.
    ///
    /// # Errors
    /// A device that fails.
    unsafe fn replay(&self, recording: &Self::Recording) -> Result<()>;
}
