//! A driver that passes everything on and counts it, and says so where it is not allowed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medsegx::Error;
use medsegx::backend::cuda::driver::{Arg, Driver, Memory, Queue};
use medsegx::backend::cuda::kernels::Kernel;

/// `D`, watched.
pub struct Watched<D> {
    inner: D,
    seen: Arc<Seen>,
    edit: Box<Edit>,
}

/// Makes other PTX of a kernel's.
type Edit = dyn Fn(&'static Kernel, &str) -> String + Send + Sync;

/// What happened so far.
#[derive(Default)]
pub struct Seen {
    allocations: AtomicUsize,
    launches: AtomicUsize,
    captured: AtomicUsize,
    replays: AtomicUsize,
    queued_writes: AtomicUsize,
    queued_reads: AtomicUsize,
    writes: AtomicUsize,
    reads: AtomicUsize,
    waits: AtomicUsize,
    events: AtomicUsize,
    /// Addresses that the captured launches use: of the capture under way, and of each recording by its number.
    capturing: Mutex<Vec<u64>>,
    recordings: Mutex<BTreeMap<usize, Vec<u64>>>,
    /// Buffers freed while a recording used them.
    freed_too_early: AtomicUsize,
}

/// [`Seen`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Device or pinned memory.
    pub allocations: usize,
    /// Kernels queued one by one.
    pub launches: usize,
    /// Kernels captured: nodes of recordings.
    pub captured: usize,
    pub replays: usize,
    pub queued_writes: usize,
    pub queued_reads: usize,
    pub writes: usize,
    pub reads: usize,
    pub waits: usize,
    /// Events that were made anew.
    pub events: usize,
}

impl Seen {
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Counts {
            allocations: get(&self.allocations),
            launches: get(&self.launches),
            captured: get(&self.captured),
            replays: get(&self.replays),
            queued_writes: get(&self.queued_writes),
            queued_reads: get(&self.queued_reads),
            writes: get(&self.writes),
            reads: get(&self.reads),
            waits: get(&self.waits),
            events: get(&self.events),
        }
    }

    /// What happened while `run` ran.
    pub fn during(&self, run: impl FnOnce()) -> Counts {
        let before = self.counts();
        run();
        let now = self.counts();
        Counts {
            allocations: now.allocations - before.allocations,
            launches: now.launches - before.launches,
            captured: now.captured - before.captured,
            replays: now.replays - before.replays,
            queued_writes: now.queued_writes - before.queued_writes,
            queued_reads: now.queued_reads - before.queued_reads,
            writes: now.writes - before.writes,
            reads: now.reads - before.reads,
            waits: now.waits - before.waits,
            events: now.events - before.events,
        }
    }

    /// Recordings that exist, and how many buffers were freed while one that uses them did.
    pub fn recordings(&self) -> (usize, usize) {
        (self.recordings.lock().unwrap().len(), self.freed_too_early.load(Ordering::Relaxed))
    }

    fn freed(&self, memory: Range<u64>) {
        let recordings = self.recordings.lock().unwrap();
        if recordings.values().flatten().any(|address| memory.contains(address)) {
            count(&self.freed_too_early);
        }
    }
}

impl<D> Watched<D> {
    pub fn new(inner: D) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Watched { inner, seen: seen.clone(), edit: Box::new(|_, ptx| ptx.into()) }, seen)
    }

    /// Loads what `edit` makes of the PTX.
    pub fn editing(self, edit: impl Fn(&'static Kernel, &str) -> String + Send + Sync + 'static) -> Self {
        Watched { edit: Box::new(edit), ..self }
    }
}

pub struct Buffer<B> {
    inner: B,
    memory: Range<u64>,
    seen: Arc<Seen>,
}

impl<B> Drop for Buffer<B> {
    fn drop(&mut self) {
        self.seen.freed(self.memory.clone());
    }
}

pub struct Recording<R> {
    inner: R,
    number: usize,
    seen: Arc<Seen>,
}

impl<R> Drop for Recording<R> {
    fn drop(&mut self) {
        self.seen.recordings.lock().unwrap().remove(&self.number);
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<D: Driver> Driver for Watched<D> {
    type Buffer = Buffer<D::Buffer>;
    type Pinned = D::Pinned;
    type Function = D::Function;
    type Event = D::Event;
    type Capture = D::Capture;
    type Recording = Recording<D::Recording>;

    fn name(&self) -> String {
        self.inner.name()
    }

    fn memory(&self) -> Result<Option<Memory>, Error> {
        self.inner.memory()
    }

    fn wgmma(&self) -> bool {
        self.inner.wgmma()
    }

    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<D::Function, Error> {
        self.inner.load(kernel, &(self.edit)(kernel, ptx))
    }

    fn allocate(&self, bytes: usize) -> Result<Self::Buffer, Error> {
        count(&self.seen.allocations);
        let inner = self.inner.allocate(bytes)?;
        let start = self.inner.address(&inner);
        Ok(Buffer { inner, memory: start..start + bytes.max(1) as u64, seen: self.seen.clone() })
    }

    fn address(&self, buffer: &Self::Buffer) -> u64 {
        self.inner.address(&buffer.inner)
    }

    fn write(&self, buffer: &Self::Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        count(&self.seen.writes);
        self.inner.write(&buffer.inner, offset, bytes)
    }

    fn read(&self, buffer: &Self::Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        count(&self.seen.reads);
        self.inner.read(&buffer.inner, offset, bytes)
    }

    fn pinned(&self, bytes: usize) -> Result<D::Pinned, Error> {
        count(&self.seen.allocations);
        self.inner.pinned(bytes)
    }

    fn host<'a>(&self, pinned: &'a mut D::Pinned) -> &'a mut [u8] {
        self.inner.host(pinned)
    }

    unsafe fn queue_write(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &D::Pinned,
        from: Range<usize>,
    ) -> Result<(), Error> {
        count(&self.seen.queued_writes);
        // SAFETY: the caller's promise.
        unsafe { self.inner.queue_write(queue, &buffer.inner, offset, pinned, from) }
    }

    unsafe fn queue_read(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &mut D::Pinned,
        to: Range<usize>,
    ) -> Result<(), Error> {
        count(&self.seen.queued_reads);
        // SAFETY: the caller's promise.
        unsafe { self.inner.queue_read(queue, &buffer.inner, offset, pinned, to) }
    }

    unsafe fn launch(
        &self,
        capture: Option<&D::Capture>,
        function: &D::Function,
        grid: [u32; 3],
        args: &[Arg],
    ) -> Result<(), Error> {
        if capture.is_some() {
            count(&self.seen.captured);
            let address = |arg: &Arg| if let Arg::Pointer(address) = *arg { Some(address) } else { None };
            self.seen.capturing.lock().unwrap().extend(args.iter().filter_map(address));
        } else {
            count(&self.seen.launches);
        }
        // SAFETY: the caller's promise.
        unsafe { self.inner.launch(capture, function, grid, args) }
    }

    fn synchronize(&self) -> Result<(), Error> {
        count(&self.seen.waits);
        self.inner.synchronize()
    }

    fn record_event(&self, queue: Queue, spent: Option<D::Event>) -> Result<D::Event, Error> {
        if spent.is_none() {
            count(&self.seen.events);
        }
        self.inner.record_event(queue, spent)
    }

    fn wait_event(&self, queue: Queue, event: &D::Event) -> Result<(), Error> {
        self.inner.wait_event(queue, event)
    }

    fn wait(&self, event: &D::Event) -> Result<(), Error> {
        self.inner.wait(event)
    }

    fn elapsed(&self, start: &D::Event, end: &D::Event) -> Result<Duration, Error> {
        self.inner.elapsed(start, end)
    }

    fn begin_capture(&self) -> Result<D::Capture, Error> {
        self.inner.begin_capture()
    }

    fn end_capture(&self, capture: D::Capture) -> Result<Self::Recording, Error> {
        let inner = self.inner.end_capture(capture)?;
        let addresses = std::mem::take(&mut *self.seen.capturing.lock().unwrap());
        let mut recordings = self.seen.recordings.lock().unwrap();
        let number = recordings.last_key_value().map_or(0, |(last, _)| last + 1);
        recordings.insert(number, addresses);
        Ok(Recording { inner, number, seen: self.seen.clone() })
    }

    unsafe fn replay(&self, recording: &Self::Recording) -> Result<(), Error> {
        count(&self.seen.replays);
        // SAFETY: the caller's promise.
        unsafe { self.inner.replay(&recording.inner) }
    }
}
