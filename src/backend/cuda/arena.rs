//! Memory of a session on the device, and the pinned memory through which the host fills it.

use std::ops::Range;
use std::sync::Arc;

use super::driver::{Driver, Queue};
use super::recording::Runs;
use crate::error::Result;
use crate::graph::plan::{ALIGNMENT, Place};
use crate::graph::{Plan, Role, Value, ValueId};

/// What the steps of a session read and write. Shared with the recordings of its runs.
pub(super) struct Memory<D: Driver> {
    pub values: D::Buffer,
    pub embedding: D::Buffer,
}

impl<D: Driver> Memory<D> {
    /// Device address of a value.
    pub fn address(&self, driver: &D, plan: &Plan, id: ValueId) -> u64 {
        let (buffer, offset) = self.place(plan, id);
        driver.address(buffer) + offset as u64
    }

    /// Buffer and byte offset of a value.
    pub fn place(&self, plan: &Plan, id: ValueId) -> (&D::Buffer, usize) {
        match plan.places[id.0] {
            Place::Arena(offset) => (&self.values, offset),
            Place::Embedding => (&self.embedding, 0),
        }
    }
}

/// Memory of one session.
pub struct Arena<D: Driver> {
    pub(super) memory: Arc<Memory<D>>,
    /// By the address of a plan's nodes and the number of slices or prompts.
    pub(super) runs: Runs<D, (usize, usize)>,
    upload: Upload<D>,
}

/// Inputs on their way to the device: they are gathered in pinned memory, neighbours become one copy, and the copies
/// are queued before the run that reads them.
struct Upload<D: Driver> {
    pinned: D::Pinned,
    bytes: usize,
    /// Bytes that copies may still read, from the start.
    used: usize,
    waiting: Vec<Copy>,
}

struct Copy {
    to_embedding: bool,
    offset: usize,
    from: Range<usize>,
}

impl<D: Driver> Arena<D> {
    /// Memory for any one of `plans` at a time.
    pub(super) fn new(driver: &D, plans: &[&Plan]) -> Result<Self> {
        let [values, embedding] = sizes(plans);
        let memory = Memory { values: driver.allocate(values)?, embedding: driver.allocate(embedding)? };
        // A run's inputs are uploaded once, and the encoder's may still be under way when the decoder's follow.
        let bytes = plans.iter().map(|plan| input_bytes(plan)).sum::<usize>().max(ALIGNMENT);
        let upload = Upload { pinned: driver.pinned(bytes)?, bytes, used: 0, waiting: Vec::with_capacity(16) };
        Ok(Arena { memory: Arc::new(memory), runs: Vec::new(), upload })
    }

    /// Takes bytes for byte `offset` of the value `id`; they are on the device when what is queued next runs.
    pub(super) fn take(&mut self, driver: &D, plan: &Plan, id: ValueId, offset: usize, bytes: &[u8]) -> Result<()> {
        let (to_embedding, start) = match plan.places[id.0] {
            Place::Arena(start) => (false, start),
            Place::Embedding => (true, 0),
        };
        let mut offset = start + offset;
        for part in bytes.chunks(self.upload.bytes) {
            if self.upload.used + part.len() > self.upload.bytes {
                self.flush(driver)?;
                driver.synchronize()?;
                self.upload.used = 0;
            }
            self.upload.add(driver, to_embedding, offset, part);
            offset += part.len();
        }
        Ok(())
    }

    /// Queues the copies that wait.
    #[allow(unsafe_code, reason = "a queued copy trusts its caller to leave the bytes alone")]
    pub(super) fn flush(&mut self, driver: &D) -> Result<()> {
        for Copy { to_embedding, offset, from } in self.upload.waiting.drain(..) {
            let buffer = if to_embedding { &self.memory.embedding } else { &self.memory.values };
            // SAFETY: bytes below `used` are written again only after `used` went back to 0, behind a wait.
            unsafe { driver.queue_write(Queue::Run, buffer, offset, &self.upload.pinned, from) }?;
        }
        Ok(())
    }

    /// To be called behind a wait for everything queued: pinned memory may be filled anew.
    pub(super) fn waited(&mut self) {
        if self.upload.waiting.is_empty() {
            self.upload.used = 0;
        }
    }
}

impl<D: Driver> Upload<D> {
    fn add(&mut self, driver: &D, to_embedding: bool, offset: usize, bytes: &[u8]) {
        let from = self.used..self.used + bytes.len();
        driver.host(&mut self.pinned)[from.clone()].copy_from_slice(bytes);
        self.used = from.end;
        match self.waiting.last_mut() {
            Some(last) if last.to_embedding == to_embedding && last.offset + last.from.len() == offset => {
                last.from.end = from.end;
            }
            _ => self.waiting.push(Copy { to_embedding, offset, from }),
        }
    }
}

/// Bytes of the arena and of the embedding buffer.
pub(super) fn sizes(plans: &[&Plan]) -> [usize; 2] {
    let most = |bytes: &dyn Fn(&Plan) -> usize| plans.iter().map(|plan| bytes(plan)).max().unwrap_or(0);
    [most(&|plan| plan.arena_bytes), most(&|plan| plan.embedding_bytes())]
}

fn input_bytes(plan: &Plan) -> usize {
    plan.graph.values.iter().filter(|value| value.role == Role::Input).map(Value::bytes).sum()
}
