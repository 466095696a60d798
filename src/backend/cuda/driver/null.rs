//! A driver of no device: nothing runs, what is read is zeros, and once its memory is made it allocates nothing. It can
//! note what would be launched.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Arg, Driver, Memory, Queue};
use crate::backend::cuda::kernels::Kernel;
use crate::error::Result;

/// One launch.
#[derive(Clone, Copy, Debug)]
pub struct Launched {
    /// Its row of the table.
    pub kernel: &'static Kernel,
    /// Blocks along each axis.
    pub grid: [u32; 3],
}

impl Launched {
    /// Blocks in all.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&n| u64::from(n)).product()
    }
}

/// Memory without bytes behind it, and launches that are noted or forgotten.
#[derive(Default)]
pub struct Null {
    /// End of the memory given out so far.
    end: AtomicU64,
    wgmma: bool,
    noted: Option<Mutex<Vec<Launched>>>,
}

impl Null {
    /// One that notes its launches, and has `wgmma` or not.
    pub fn noting(wgmma: bool) -> Null {
        Null { noted: Some(Mutex::default()), wgmma, ..Null::default() }
    }

    /// What was launched since the last call.
    pub fn take_launches(&self) -> Vec<Launched> {
        let noted = self.noted.as_ref();
        noted.map_or_else(Vec::new, |noted| std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Driver for Null {
    /// An address.
    type Buffer = u64;
    type Pinned = Vec<u8>;
    type Function = &'static Kernel;
    type Event = ();
    type Capture = ();
    type Recording = ();

    fn name(&self) -> String {
        "null".into()
    }

    fn wgmma(&self) -> bool {
        self.wgmma
    }

    fn memory(&self) -> Result<Option<Memory>> {
        Ok(None)
    }

    fn load(&self, kernel: &'static Kernel, _ptx: &str) -> Result<&'static Kernel> {
        Ok(kernel)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        Ok(self.end.fetch_add(bytes.max(1).next_multiple_of(256) as u64, Ordering::Relaxed))
    }

    fn address(&self, buffer: &u64) -> u64 {
        *buffer
    }

    fn write(&self, _buffer: &u64, _offset: usize, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _buffer: &u64, _offset: usize, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn pinned(&self, bytes: usize) -> Result<Vec<u8>> {
        Ok(vec![0; bytes])
    }

    fn host<'a>(&self, pinned: &'a mut Vec<u8>) -> &'a mut [u8] {
        pinned
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs and nothing is copied")]
    unsafe fn queue_write(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        _pinned: &Vec<u8>,
        _from: Range<usize>,
    ) -> Result<()> {
        Ok(())
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs and nothing is copied")]
    unsafe fn queue_read(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        pinned: &mut Vec<u8>,
        to: Range<usize>,
    ) -> Result<()> {
        pinned[to].fill(0);
        Ok(())
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs and nothing is copied")]
    unsafe fn launch(&self, _: Option<&()>, function: &&'static Kernel, grid: [u32; 3], _: &[Arg]) -> Result<()> {
        if let Some(noted) = &self.noted {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(Launched { kernel: function, grid });
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn record_event(&self, _queue: Queue, _spent: Option<()>) -> Result<()> {
        Ok(())
    }

    fn wait_event(&self, _queue: Queue, _event: &()) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _event: &()) -> Result<()> {
        Ok(())
    }

    fn elapsed(&self, _start: &(), _end: &()) -> Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn begin_capture(&self) -> Result<()> {
        Ok(())
    }

    fn end_capture(&self, _capture: ()) -> Result<()> {
        Ok(())
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs and nothing is copied")]
    unsafe fn replay(&self, _recording: &()) -> Result<()> {
        Ok(())
    }
}
