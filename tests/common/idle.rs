//! A driver that does nothing, and allocates nothing once its memory is made.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use medsegx::Error;
use medsegx::backend::cuda::driver::{Arg, Driver, Memory, Queue};
use medsegx::backend::cuda::kernels::Kernel;

/// The end of what was given out as memory.
#[derive(Default)]
pub struct Idle(AtomicU64);

impl Driver for Idle {
    /// An address.
    type Buffer = u64;
    type Pinned = Vec<u8>;
    type Function = ();
    type Event = ();
    type Capture = ();
    type Recording = ();

    fn name(&self) -> String {
        "idle".into()
    }

    fn memory(&self) -> Result<Option<Memory>, Error> {
        Ok(None)
    }

    fn load(&self, _kernel: &'static Kernel, _ptx: &str) -> Result<(), Error> {
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        Ok(self.0.fetch_add(bytes.max(1).next_multiple_of(256) as u64, Ordering::Relaxed))
    }

    fn address(&self, buffer: &u64) -> u64 {
        *buffer
    }

    fn write(&self, _buffer: &u64, _offset: usize, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, _buffer: &u64, _offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(0);
        Ok(())
    }

    fn pinned(&self, bytes: usize) -> Result<Vec<u8>, Error> {
        Ok(vec![0; bytes])
    }

    fn host<'a>(&self, pinned: &'a mut Vec<u8>) -> &'a mut [u8] {
        pinned
    }

    unsafe fn queue_write(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        _pinned: &Vec<u8>,
        _from: Range<usize>,
    ) -> Result<(), Error> {
        Ok(())
    }

    unsafe fn queue_read(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        pinned: &mut Vec<u8>,
        to: Range<usize>,
    ) -> Result<(), Error> {
        pinned[to].fill(0);
        Ok(())
    }

    unsafe fn launch(&self, _: Option<&()>, _: &(), _grid: [u32; 3], _args: &[Arg]) -> Result<(), Error> {
        Ok(())
    }

    fn synchronize(&self) -> Result<(), Error> {
        Ok(())
    }

    fn record(&self, _queue: Queue, _spent: Option<()>) -> Result<(), Error> {
        Ok(())
    }

    fn hold(&self, _queue: Queue, _event: &()) -> Result<(), Error> {
        Ok(())
    }

    fn wait(&self, _event: &()) -> Result<(), Error> {
        Ok(())
    }

    fn elapsed(&self, _start: &(), _end: &()) -> Result<Duration, Error> {
        Ok(Duration::ZERO)
    }

    fn begin_capture(&self) -> Result<(), Error> {
        Ok(())
    }

    fn end_capture(&self, _capture: ()) -> Result<(), Error> {
        Ok(())
    }

    unsafe fn replay(&self, _recording: &()) -> Result<(), Error> {
        Ok(())
    }
}
