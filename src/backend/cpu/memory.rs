//! Memory: cache-line aligned buffers, the arena of a session, and views of its values.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::simd::bf16;
use crate::error::{Error, Result};
use crate::graph::plan::Place;
use crate::graph::{Plan, Storage, ValueId};

/// A cache line. Buffers are made of them, so that vector loads never straddle two.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zeroed memory, aligned to a cache line.
pub(super) struct Buffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Lines(Vec<Line>),
    /// Pages of its own, which go back to the system at once, with no holes left behind.
    Pages(memmap2::MmapMut),
    /// A part of a [`Pool`], from this byte on.
    Part(Arc<memmap2::MmapRaw>, usize),
}

/// Bytes from which a buffer gets pages of its own.
const PAGES: usize = 1 << 20;

impl Buffer {
    /// Room for `len` f32.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(what: &str, len: usize) -> Result<Buffer> {
        let count = len.div_ceil(16);
        let refused = || Error::Memory { what: what.to_string(), bytes: (count as u64).saturating_mul(64) };
        let bytes = count.checked_mul(size_of::<Line>()).ok_or_else(refused)?;
        if bytes >= PAGES {
            let map = memmap2::MmapMut::map_anon(bytes).map_err(|_| refused())?;
            // The first run finds an arena untouched. A system without large pages refuses, and small ones do.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Ok(Buffer { memory: Memory::Pages(map), len });
        }
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).map_err(|_| refused())?;
        lines.resize(count, Line([0.0; 16]));
        Ok(Buffer { memory: Memory::Lines(lines), len })
    }

    pub fn as_slice(&self) -> &[f32] {
        let all: &[f32] = match &self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(map) => bytemuck::cast_slice(map),
            // SAFETY: `Pool::buffer` gave these bytes, inside the mapping and aligned, to this buffer alone.
            Memory::Part(map, first) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().add(*first).cast::<f32>(), self.len)
            },
        };
        &all[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let all: &mut [f32] = match &mut self.memory {
            Memory::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(map) => bytemuck::cast_slice_mut(map),
            // SAFETY: as in `as_slice`; the buffer is mutably borrowed.
            Memory::Part(map, first) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().add(*first).cast::<f32>(), self.len)
            },
        };
        &mut all[..self.len]
    }
}

/// Buffers side by side in large pages, for parameters: a fault for 2 MiB instead of one for 4 KiB while they are
/// written, and fewer translations to look up in every run. Buffers with pages of their own would end in small pages,
/// each of them. What buffers held goes back to the system when the last one of its mapping is dropped.
#[derive(Default)]
pub(super) struct Pool {
    /// The mapping that is being filled, and how many bytes of it are given away.
    current: Mutex<Option<(Arc<memmap2::MmapRaw>, usize)>>,
}

/// Bytes of a pool's mapping, but at least one buffer. What is never written takes no memory.
const MAPPING: usize = 32 << 20;

impl Pool {
    /// Room for `len` f32, zeroed.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn buffer(&self, what: &str, len: usize) -> Result<Buffer> {
        let refused = || Error::Memory { what: what.to_string(), bytes: (len as u64).saturating_mul(4) };
        let bytes = len.checked_next_multiple_of(16).and_then(|len| len.checked_mul(4)).ok_or_else(refused)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, first) = match current.take() {
            Some((map, used)) if bytes <= map.len() - used => (map, used),
            _ => {
                let map =
                    memmap2::MmapRaw::from(memmap2::MmapMut::map_anon(bytes.max(MAPPING)).map_err(|_| refused())?);
                // A system without large pages refuses, and small ones do.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                (Arc::new(map), 0)
            }
        };
        *current = Some((map.clone(), first + bytes));
        Ok(Buffer { memory: Memory::Part(map, first), len })
    }
}

/// Memory of one session.
pub struct Arena {
    values: Buffer,
    embedding: Buffer,
    scratch: Scratch,
    /// Set by whoever wants the run to end early.
    pub(super) stop: Option<Arc<AtomicBool>>,
}

impl Arena {
    /// For plans of at most `bytes` and `embedding_bytes`, with scratch for each of `threads`.
    pub(super) fn new(bytes: usize, embedding_bytes: usize, scratch: usize, threads: usize) -> Result<Arena> {
        Ok(Arena {
            values: Buffer::new("arena", bytes.div_ceil(4))?,
            embedding: Buffer::new("embeddings", embedding_bytes.div_ceil(4))?,
            scratch: Scratch::new(scratch, threads)?,
            stop: None,
        })
    }

    /// The values of one step, and scratch.
    pub(super) fn views<'a>(&'a mut self, plan: &'a Plan) -> (Views<'a>, &'a Scratch) {
        let bytes = |buffer: &'a mut Buffer| -> &'a mut [u8] { bytemuck::cast_slice_mut(buffer.as_mut_slice()) };
        let (values, embedding) = (bytes(&mut self.values), bytes(&mut self.embedding));
        let bases = [(values.as_mut_ptr(), values.len()), (embedding.as_mut_ptr(), embedding.len())];
        (Views { bases, plan, memory: PhantomData }, &self.scratch)
    }

    /// The bytes of a value.
    pub(super) fn bytes_mut(&mut self, plan: &Plan, id: ValueId) -> Result<&mut [u8]> {
        let (buffer, range) = match plan.places[id.0] {
            Place::Arena(offset) => (&mut self.values, offset..offset + plan.graph[id].bytes()),
            Place::Embedding => (&mut self.embedding, 0..plan.graph[id].bytes()),
        };
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(buffer.as_mut_slice());
        bytes.get_mut(range).ok_or_else(|| wrong("a value lies outside the arena"))
    }
}

fn wrong(what: &str) -> Error {
    Error::Internal { place: "backend::cpu::memory".into(), what: what.into() }
}

/// The bytes of what a step reads and of what it writes.
pub(super) type Taken<'a, const R: usize, const W: usize> = ([&'a [u8]; R], [&'a mut [u8]; W]);

/// Hands out the values of one step. Values that a step reads may overlap, those that it writes may not overlap
/// anything.
pub(super) struct Views<'a> {
    bases: [(*mut u8, usize); 2],
    plan: &'a Plan,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Views<'a> {
    fn range(&self, id: ValueId) -> Result<(usize, Range<usize>)> {
        let (buffer, offset) = match self.plan.places[id.0] {
            Place::Arena(offset) => (0, offset),
            Place::Embedding => (1, 0),
        };
        let range = offset..offset + self.plan.graph[id].bytes();
        if range.end > self.bases[buffer].1 {
            return Err(wrong("a value lies outside the arena"));
        }
        Ok((buffer, range))
    }

    /// Slices of the values that a step reads and of those it writes.
    pub fn take<const R: usize, const W: usize>(
        self,
        reads: [ValueId; R],
        writes: [ValueId; W],
    ) -> Result<Taken<'a, R, W>> {
        for (i, &write) in writes.iter().enumerate() {
            let (buffer, range) = self.range(write)?;
            for &other in reads.iter().chain(&writes[..i]) {
                let (other_buffer, other) = self.range(other)?;
                if buffer == other_buffer && range.start < other.end && other.start < range.end {
                    return Err(wrong("a step writes what it reads"));
                }
            }
        }
        let mut read_slices: [&[u8]; R] = [&[]; R];
        for (slice, id) in read_slices.iter_mut().zip(reads) {
            let (buffer, range) = self.range(id)?;
            // SAFETY: inside the buffer, which is borrowed for 'a; no write overlaps it.
            *slice = unsafe { std::slice::from_raw_parts(self.bases[buffer].0.add(range.start), range.len()) };
        }
        let mut write_slices: [&mut [u8]; W] = std::array::from_fn(|_| <&mut [u8]>::default());
        for (slice, id) in write_slices.iter_mut().zip(writes) {
            let (buffer, range) = self.range(id)?;
            // SAFETY: inside the buffer, which is mutably borrowed for 'a; nothing else overlaps it, and `self` is
            // consumed.
            *slice = unsafe { std::slice::from_raw_parts_mut(self.bases[buffer].0.add(range.start), range.len()) };
        }
        Ok((read_slices, write_slices))
    }

    /// The same views for an operation that is a part of the step's.
    pub fn again(&mut self) -> Views<'_> {
        Views { bases: self.bases, plan: self.plan, memory: PhantomData }
    }

    /// True where the value is stored in bf16.
    pub fn is_half(&self, id: ValueId) -> bool {
        self.plan.graph[id].storage == Storage::Bf16
    }

    /// True where both values are the same memory.
    pub fn same(&self, a: ValueId, b: ValueId) -> bool {
        self.plan.places[a.0] == self.plan.places[b.0]
    }
}

/// Bytes as f32: buffers and offsets are aligned.
pub(super) fn floats(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

/// Bytes as f32: buffers and offsets are aligned.
pub(super) fn floats_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

/// Memory that a task may use while it runs, one piece a thread.
pub(super) struct Scratch {
    pieces: Vec<Mutex<Buffer>>,
}

impl Scratch {
    pub fn new(len: usize, threads: usize) -> Result<Scratch> {
        let piece = |_| Ok(Mutex::new(Buffer::new("scratch", len)?));
        Ok(Scratch { pieces: (0..threads).map(piece).collect::<Result<_>>()? })
    }

    /// The piece of thread `index`.
    pub fn piece(&self, index: usize) -> MutexGuard<'_, Buffer> {
        // A poisoned piece holds only numbers that the next task overwrites.
        self.pieces[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Output that tasks write side by side: each element by one task only.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: the methods' contract gives every element to one task.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Shared<'a, T> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), memory: PhantomData }
    }

    /// Where element `at` lies or would lie: to ask for its cache line, not to read it.
    #[inline(always)]
    pub fn address(&self, at: usize) -> *const T {
        self.start.wrapping_add(at)
    }

    /// `len` elements from `first`.
    ///
    /// # Safety
    /// No other slice of these elements exists while this one does.
    #[allow(clippy::mut_from_ref, reason = "the contract above")]
    pub unsafe fn part(&self, first: usize, len: usize) -> &'a mut [T] {
        assert!(first.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside the borrowed slice; exclusive by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

/// Output in f32 or bf16.
#[derive(Clone, Copy)]
pub(super) enum Out<'a> {
    Single(Shared<'a>),
    Half(Shared<'a, u16>),
}

impl<'a> Out<'a> {
    pub fn new(bytes: &'a mut [u8], half: bool) -> Out<'a> {
        if half {
            Out::Half(Shared::new(bytemuck::cast_slice_mut(bytes)))
        } else {
            Out::Single(Shared::new(floats_mut(bytes)))
        }
    }

    /// Stores `data` from element `first` on.
    ///
    /// # Safety
    /// No other task touches these elements.
    #[inline(always)]
    pub unsafe fn write(&self, first: usize, data: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Out::Single(out) => out.part(first, data.len()).copy_from_slice(data),
                Out::Half(out) => {
                    out.part(first, data.len()).iter_mut().zip(data).for_each(|(to, &x)| *to = bf16(x));
                }
            }
        }
    }
}
