//! What the CUDA backend needs of a device. cudarc implements it over the real driver, `ptxvm` over an interpreter.
#![allow(unsafe_code, reason = "a launch trusts its caller for addresses and sizes")]

use std::time::Duration;

use super::kernels::{Kernel, Type};
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

/// A device with one queue: copies, launches and events happen in the order of the calls.
pub trait Driver: Send + Sync + 'static {
    /// Device memory, freed when dropped.
    type Buffer: Send + Sync;
    /// A loaded kernel.
    type Function: Send + Sync;
    /// A point in the queue.
    type Event: Send;
    /// Launches captured once, to be replayed at the cost of one.
    type Recording: Send;

    /// The word for reports and errors: `cuda:0`.
    fn name(&self) -> String;

    /// Loads PTX text and finds the kernel's entry in it.
    ///
    /// # Errors
    /// PTX that the device refuses, with the log of its compiler.
    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Self::Function>;

    /// Device memory, not initialised.
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

    /// Queues one launch with the threads and shared memory of the kernel's row.
    ///
    /// # Safety
    /// `args` must have the kernel's types, its pointers must be alive in device memory until the launch has ended,
    /// and its sizes must describe the memory behind them.
    ///
    /// # Errors
    /// A launch that the device refuses.
    unsafe fn launch(&self, function: &Self::Function, grid: [u32; 3], args: &[Arg]) -> Result<()>;

    /// Waits for everything queued so far.
    ///
    /// # Errors
    /// A device that failed meanwhile.
    fn synchronize(&self) -> Result<()>;

    /// Marks this point of the queue.
    ///
    /// # Errors
    /// A device that fails.
    fn record(&self) -> Result<Self::Event>;

    /// Device time between two marks, after waiting for the later one.
    ///
    /// # Errors
    /// A device that fails.
    fn elapsed(&self, start: &Self::Event, end: &Self::Event) -> Result<Duration>;

    /// Launches from here on are captured, not run. No allocation, copy or wait may happen until `end_capture`.
    ///
    /// # Errors
    /// A device that fails.
    fn begin_capture(&self) -> Result<()>;

    /// Ends the capture.
    ///
    /// # Errors
    /// Something that cannot be captured.
    fn end_capture(&self) -> Result<Self::Recording>;

    /// Queues the captured launches.
    ///
    /// # Safety
    /// All memory that the captured launches use must still be alive.
    ///
    /// # Errors
    /// A device that fails.
    unsafe fn replay(&self, recording: &Self::Recording) -> Result<()>;
}
