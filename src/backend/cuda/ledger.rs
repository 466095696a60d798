//! What a run would launch, on machines without a device: a [`Driver`] that runs nothing and notes every launch.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::driver::{Arg, Driver, Memory, Queue};
use super::kernels::Kernel;
use super::{Cuda, Param};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::graph::{Graph, Plan};

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

/// The plan that the CUDA backend makes of `graph`, and the launches of each of its steps for a full batch.
///
/// # Errors
/// A shape that the kernels do not have.
pub fn launches(graph: Graph) -> Result<(Plan, Vec<Vec<Launched>>)> {
    let cuda = Cuda::new(Ledger::default())?;
    let plan = Plan::new(cuda.lower(graph));
    let param = |_| Ok(Arc::new(Param { buffer: cuda.driver().allocate(0)? }));
    let params: Vec<_> = plan.graph.params.iter().map(param).collect::<Result<_>>()?;
    let mut arena = cuda.arena(&[&plan])?;
    let steps = (0..plan.graph.nodes.len()).map(|step| {
        cuda.run(&mut arena, &plan, &params, step, plan.graph.batch)?;
        Ok(std::mem::take(&mut *cuda.driver().noted.lock().unwrap_or_else(PoisonError::into_inner)))
    });
    let steps = steps.collect::<Result<_>>()?;
    Ok((plan, steps))
}

/// Memory without bytes behind it, and launches that are noted.
#[derive(Default)]
struct Ledger {
    /// End of the memory given out so far.
    end: AtomicU64,
    noted: Mutex<Vec<Launched>>,
}

impl Ledger {
    fn refused<T>(&self, operation: &str) -> Result<T> {
        let message = "it has no memory".into();
        Err(Error::Device { device: self.name(), operation: operation.into(), message })
    }
}

impl Driver for Ledger {
    /// An address.
    type Buffer = u64;
    type Pinned = Vec<u8>;
    type Function = &'static Kernel;
    type Event = ();
    type Capture = ();
    type Recording = ();

    fn name(&self) -> String {
        "ledger".into()
    }

    fn memory(&self) -> Result<Option<Memory>> {
        Ok(None)
    }

    fn load(&self, kernel: &'static Kernel, _ptx: &str) -> Result<&'static Kernel> {
        Ok(kernel)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        Ok(self.end.fetch_add(bytes.next_multiple_of(256) as u64, Ordering::Relaxed))
    }

    fn address(&self, buffer: &u64) -> u64 {
        *buffer
    }

    fn write(&self, _buffer: &u64, _offset: usize, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _buffer: &u64, _offset: usize, _bytes: &mut [u8]) -> Result<()> {
        self.refused("read")
    }

    fn pinned(&self, _bytes: usize) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn host<'a>(&self, pinned: &'a mut Vec<u8>) -> &'a mut [u8] {
        pinned
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing is copied")]
    unsafe fn queue_write(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        _pinned: &Vec<u8>,
        _from: Range<usize>,
    ) -> Result<()> {
        self.refused("write")
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing is copied")]
    unsafe fn queue_read(
        &self,
        _queue: Queue,
        _buffer: &u64,
        _offset: usize,
        _pinned: &mut Vec<u8>,
        _to: Range<usize>,
    ) -> Result<()> {
        self.refused("read")
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs")]
    unsafe fn launch(
        &self,
        _capture: Option<&()>,
        function: &&'static Kernel,
        grid: [u32; 3],
        _args: &[Arg],
    ) -> Result<()> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(Launched { kernel: function, grid });
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn record(&self, _queue: Queue, _spent: Option<()>) -> Result<()> {
        Ok(())
    }

    fn hold(&self, _queue: Queue, _event: &()) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _event: &()) -> Result<()> {
        Ok(())
    }

    fn elapsed(&self, _start: &(), _end: &()) -> Result<Duration> {
        self.refused("time")
    }

    fn begin_capture(&self) -> Result<()> {
        self.refused("capture")
    }

    fn end_capture(&self, _capture: ()) -> Result<()> {
        self.refused("capture")
    }

    #[allow(unsafe_code, reason = "the trait's promise; nothing runs")]
    unsafe fn replay(&self, _recording: &()) -> Result<()> {
        self.refused("replay")
    }
}
