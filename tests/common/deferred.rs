//! A driver whose queues run as early or as late as their order allows: whatever is not ordered by events or waits goes
//! wrong on one of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medsegx::Error;
use medsegx::backend::cuda::driver::{Arg, Driver, Memory, Queue};
use medsegx::backend::cuda::kernels::Kernel;

type Work<D> = Box<dyn FnOnce(&D) -> Result<(), Error> + Send>;

enum Op<D> {
    Do(Work<D>),
    /// Waits until so many operations of a queue are done.
    Hold(Queue, usize),
}

/// `D`, which does everything at once, behind queues.
pub struct Deferred<D> {
    shared: Arc<Shared<D>>,
    eager: Vec<Queue>,
    deaf: Option<Queue>,
}

struct Shared<D> {
    inner: D,
    queues: Mutex<[Ops<D>; 3]>,
}

struct Ops<D> {
    waiting: VecDeque<Op<D>>,
    pushed: usize,
    done: usize,
}

impl<D: Driver> Deferred<D> {
    /// Queues of `eager` run as soon as they are given something, the others only when somebody waits for them.
    pub fn new(inner: D, eager: &[Queue]) -> Self {
        let ops = || Ops { waiting: VecDeque::new(), pushed: 0, done: 0 };
        let queues = Mutex::new([ops(), ops(), ops()]);
        Deferred { shared: Arc::new(Shared { inner, queues }), eager: eager.to_vec(), deaf: None }
    }

    /// Lets `queue` go on where it should be held.
    pub fn without_holds(self, queue: Queue) -> Self {
        Deferred { deaf: Some(queue), ..self }
    }

    fn push(&self, queue: Queue, op: Op<D>) -> Result<(), Error> {
        {
            let ops = &mut self.shared.queues.lock().unwrap()[queue as usize];
            ops.waiting.push_back(op);
            ops.pushed += 1;
        }
        if self.eager.contains(&queue) { self.shared.finish(queue) } else { Ok(()) }
    }

    fn work(&self, queue: Queue, work: impl FnOnce(&D) -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
        self.push(queue, Op::Do(Box::new(work)))
    }
}

impl<D: Driver> Shared<D> {
    /// Runs a queue until so many of its operations are done.
    fn run(&self, queue: Queue, until: usize) -> Result<(), Error> {
        loop {
            let op = {
                let ops = &mut self.queues.lock().unwrap()[queue as usize];
                if ops.done >= until {
                    return Ok(());
                }
                ops.done += 1;
                ops.waiting.pop_front().expect("as many are waiting as are not done")
            };
            match op {
                Op::Do(work) => work(&self.inner)?,
                Op::Hold(other, until) => self.run(other, until)?,
            }
        }
    }

    fn finish(&self, queue: Queue) -> Result<(), Error> {
        let all = self.queues.lock().unwrap()[queue as usize].pushed;
        self.run(queue, all)
    }

    fn finish_all(&self) -> Result<(), Error> {
        [Queue::Up, Queue::Run, Queue::Down].into_iter().try_for_each(|queue| self.finish(queue))
    }
}

/// Host memory that queued copies point into.
pub struct Pinned<D: Driver> {
    bytes: Box<[u8]>,
    shared: Arc<Shared<D>>,
}

impl<D: Driver> Drop for Pinned<D> {
    fn drop(&mut self) {
        let _ = self.shared.finish_all();
    }
}

/// Start of host bytes that outlive the queue, by the promise of whoever queued the copy.
struct Place(*mut u8, usize);

// SAFETY: the promise holds for whichever thread runs the queue.
unsafe impl Send for Place {}

impl Place {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `Pinned` holds them until the queues have passed; nobody else touches them meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
    }
}

impl<D: Driver> Driver for Deferred<D> {
    type Buffer = Arc<D::Buffer>;
    type Pinned = Pinned<D>;
    type Function = Arc<D::Function>;
    type Event = (Queue, usize);
    type Capture = D::Capture;
    type Recording = Arc<Mutex<D::Recording>>;

    fn name(&self) -> String {
        self.shared.inner.name()
    }

    fn memory(&self) -> Result<Option<Memory>, Error> {
        self.shared.inner.memory()
    }

    fn load(&self, kernel: &'static Kernel, ptx: &str) -> Result<Self::Function, Error> {
        self.shared.inner.load(kernel, ptx).map(Arc::new)
    }

    fn allocate(&self, bytes: usize) -> Result<Self::Buffer, Error> {
        self.shared.inner.allocate(bytes).map(Arc::new)
    }

    fn address(&self, buffer: &Self::Buffer) -> u64 {
        self.shared.inner.address(buffer)
    }

    fn write(&self, buffer: &Self::Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.shared.finish(Queue::Run)?;
        self.shared.inner.write(buffer, offset, bytes)
    }

    fn read(&self, buffer: &Self::Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.shared.finish(Queue::Run)?;
        self.shared.inner.read(buffer, offset, bytes)
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned<D>, Error> {
        Ok(Pinned { bytes: vec![0; bytes].into(), shared: self.shared.clone() })
    }

    fn host<'a>(&self, pinned: &'a mut Pinned<D>) -> &'a mut [u8] {
        &mut pinned.bytes
    }

    unsafe fn queue_write(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &Pinned<D>,
        from: Range<usize>,
    ) -> Result<(), Error> {
        let bytes = &pinned.bytes[from];
        let (mut place, buffer) = (Place(bytes.as_ptr().cast_mut(), bytes.len()), buffer.clone());
        self.work(queue, move |inner| inner.write(&buffer, offset, place.bytes()))
    }

    unsafe fn queue_read(
        &self,
        queue: Queue,
        buffer: &Self::Buffer,
        offset: usize,
        pinned: &mut Pinned<D>,
        to: Range<usize>,
    ) -> Result<(), Error> {
        let bytes = &mut pinned.bytes[to];
        let (mut place, buffer) = (Place(bytes.as_mut_ptr(), bytes.len()), buffer.clone());
        self.work(queue, move |inner| inner.read(&buffer, offset, place.bytes()))
    }

    unsafe fn launch(
        &self,
        capture: Option<&D::Capture>,
        function: &Self::Function,
        grid: [u32; 3],
        args: &[Arg],
    ) -> Result<(), Error> {
        if capture.is_some() {
            // SAFETY: the caller's promise.
            return unsafe { self.shared.inner.launch(capture, function, grid, args) };
        }
        let (function, args) = (function.clone(), args.to_vec());
        // SAFETY: the caller's promise.
        self.work(Queue::Run, move |inner| unsafe { inner.launch(None, &function, grid, &args) })
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.shared.finish_all()
    }

    fn record_event(&self, queue: Queue, _spent: Option<Self::Event>) -> Result<Self::Event, Error> {
        Ok((queue, self.shared.queues.lock().unwrap()[queue as usize].pushed))
    }

    fn wait_event(&self, queue: Queue, &(other, until): &Self::Event) -> Result<(), Error> {
        if self.deaf == Some(queue) { Ok(()) } else { self.push(queue, Op::Hold(other, until)) }
    }

    fn wait(&self, &(queue, until): &Self::Event) -> Result<(), Error> {
        self.shared.run(queue, until)
    }

    fn elapsed(&self, _start: &Self::Event, _end: &Self::Event) -> Result<Duration, Error> {
        Ok(Duration::ZERO)
    }

    fn begin_capture(&self) -> Result<D::Capture, Error> {
        self.shared.inner.begin_capture()
    }

    fn end_capture(&self, capture: D::Capture) -> Result<Self::Recording, Error> {
        Ok(Arc::new(Mutex::new(self.shared.inner.end_capture(capture)?)))
    }

    unsafe fn replay(&self, recording: &Self::Recording) -> Result<(), Error> {
        let recording = recording.clone();
        // SAFETY: the caller's promise.
        self.work(Queue::Run, move |inner| unsafe { inner.replay(&recording.lock().unwrap()) })
    }
}
