//! Global memory: buffers with guard gaps, every byte either written or poison.
//!
//! CTAs run on several threads and may touch one buffer at once, as on a GPU, so the words are atomics with relaxed
//! order; a plain load or store of them costs nothing extra.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::{Error, Result};

/// Where the first buffer starts.
const FIRST: u64 = 0x7f00_0000_0000;
/// Alignment of buffers, as cudaMalloc gives it.
const ALIGN: u64 = 256;
/// Unmapped bytes between two buffers.
const GAP: u64 = 4096;
/// What unwritten words hold: NaN as f32, f16 and bf16.
const POISON: u32 = 0xffff_ffff;

/// One allocation.
#[derive(Debug)]
pub struct Buffer {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
    /// Whether kernels may only read it.
    pub read_only: bool,
    words: Vec<AtomicU32>,
    /// One bit a byte, one word every 32 bytes.
    written: Vec<AtomicU32>,
}

impl Buffer {
    /// The word at a byte offset that is a multiple of 4.
    #[inline]
    pub fn word(&self, offset: u64) -> u32 {
        self.words[(offset / 4) as usize].load(Relaxed)
    }

    /// Sets the word at a byte offset that is a multiple of 4.
    #[inline]
    pub fn set_word(&self, offset: u64, value: u32) {
        self.words[(offset / 4) as usize].store(value, Relaxed);
    }

    /// Sets the bits of `mask` in the word that holds `offset`.
    #[inline]
    pub fn set_bits(&self, offset: u64, mask: u32, value: u32) {
        let word = &self.words[(offset / 4) as usize];
        let mut old = word.load(Relaxed);
        while let Err(now) = word.compare_exchange_weak(old, (old & !mask) | (value & mask), Relaxed, Relaxed) {
            old = now;
        }
    }

    /// Replaces the word at `offset` by `f` of it, atomically; returns the old value.
    pub fn update(&self, offset: u64, f: impl Fn(u32) -> u32) -> u32 {
        let word = &self.words[(offset / 4) as usize];
        let mut old = word.load(Relaxed);
        loop {
            match word.compare_exchange_weak(old, f(old), Relaxed, Relaxed) {
                Ok(_) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Whether `bytes` (at most 16, within 32 aligned bytes) at `offset` were all written.
    #[inline]
    pub fn is_written(&self, offset: u64, bytes: u32) -> bool {
        let mask = ((1u64 << bytes) - 1) as u32;
        (self.written[(offset / 32) as usize].load(Relaxed) >> (offset % 32)) & mask == mask
    }

    /// Marks `bytes` (at most 16, within 32 aligned bytes) at `offset` as written.
    #[inline]
    pub fn mark(&self, offset: u64, bytes: u32) {
        let mask = (((1u64 << bytes) - 1) as u32) << (offset % 32);
        let word = &self.written[(offset / 32) as usize];
        if word.load(Relaxed) & mask != mask {
            word.fetch_or(mask, Relaxed);
        }
    }

    /// Byte offset of the first unwritten byte in a range, if any.
    fn first_unwritten(&self, offset: u64, bytes: u64) -> Option<u64> {
        (offset..offset + bytes).find(|&at| !self.is_written(at, 1))
    }
}

/// All buffers, sorted by address.
#[derive(Debug, Default)]
pub struct GlobalMemory {
    buffers: Vec<Buffer>,
    freed: Vec<(u64, u64)>,
    next: u64,
    /// Held over 64-bit atomics, which take two words.
    wide: std::sync::Mutex<()>,
}

impl GlobalMemory {
    /// A new buffer of `bytes` poison bytes.
    pub fn alloc(&mut self, bytes: u64) -> Result<u64> {
        let fail = |what: &str| Error::Memory { call: "alloc", address: 0, bytes, what: what.into() };
        if bytes == 0 {
            return Err(fail("a buffer has at least one byte"));
        }
        let words = usize::try_from(bytes.div_ceil(4)).map_err(|_| fail("too large"))?;
        let (mut data, mut written) = (Vec::new(), Vec::new());
        data.try_reserve_exact(words).map_err(|_| fail("out of memory"))?;
        written.try_reserve_exact(words.div_ceil(8)).map_err(|_| fail("out of memory"))?;
        data.resize_with(words, || AtomicU32::new(POISON));
        written.resize_with(words.div_ceil(8), || AtomicU32::new(0));
        let base = self.next.max(FIRST);
        self.next = (base + bytes + GAP).next_multiple_of(ALIGN);
        self.buffers.push(Buffer { base, len: bytes, read_only: false, words: data, written });
        Ok(base)
    }

    /// Gives back a whole buffer. Its addresses are not used again.
    pub fn free(&mut self, address: u64) -> Result<()> {
        match self.buffers.binary_search_by_key(&address, |b| b.base) {
            Ok(index) => {
                let buffer = self.buffers.remove(index);
                self.freed.push((buffer.base, buffer.len));
                Ok(())
            }
            Err(_) => Err(Error::Memory { call: "free", address, bytes: 0, what: self.nearest(address) }),
        }
    }

    /// Marks the buffer at `address` as read-only for kernels.
    pub fn protect(&mut self, address: u64) {
        if let Ok(index) = self.buffers.binary_search_by_key(&address, |b| b.base) {
            self.buffers[index].read_only = true;
        }
    }

    /// The buffers' lengths, in the order of their indexes.
    pub fn lengths(&self) -> impl Iterator<Item = u64> {
        self.buffers.iter().map(|b| b.len)
    }

    /// Index of the buffer that may hold `address`: the last that starts at or before it.
    #[inline]
    pub fn index(&self, address: u64) -> usize {
        self.buffers.partition_point(|b| b.base <= address).saturating_sub(1)
    }

    /// The buffer that holds the whole range, and the offset in it. `hint` is the index of the last hit.
    #[inline]
    pub fn find(&self, address: u64, bytes: u64, hint: &mut usize) -> Option<(&Buffer, u64)> {
        let inside = |b: &Buffer| address >= b.base && address - b.base < b.len && b.len - (address - b.base) >= bytes;
        if let Some(buffer) = self.buffers.get(*hint).filter(|b| inside(b)) {
            return Some((buffer, address - buffer.base));
        }
        *hint = self.index(address);
        self.buffers.get(*hint).filter(|b| inside(b)).map(|b| (b, address - b.base))
    }

    /// Replaces the two words at `offset` by `f` of them, atomically among 64-bit atomics; returns the old value.
    pub fn update64(&self, buffer: &Buffer, offset: u64, f: impl Fn(u64) -> u64) -> u64 {
        let _guard = self.wide.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = u64::from(buffer.word(offset)) | u64::from(buffer.word(offset + 4)) << 32;
        let new = f(old);
        buffer.set_word(offset, new as u32);
        buffer.set_word(offset + 4, (new >> 32) as u32);
        old
    }

    /// What lies near an address, for messages.
    pub fn nearest(&self, address: u64) -> String {
        if let Some((base, len)) = self.freed.iter().find(|(base, len)| address >= *base && address < base + len) {
            return format!("inside a freed buffer ({base:#x}, {len} bytes)");
        }
        match self.buffers.get(self.index(address)) {
            Some(b) if address >= b.base => {
                format!("{} bytes after the start of a buffer of {} bytes ({:#x})", address - b.base, b.len, b.base)
            }
            Some(b) => format!("{} bytes before the first buffer ({:#x})", b.base - address, b.base),
            None => "there are no buffers".into(),
        }
    }

    fn host(&self, call: &'static str, address: u64, bytes: u64) -> Result<(&Buffer, u64)> {
        let mut hint = 0;
        self.find(address, bytes, &mut hint).ok_or_else(|| Error::Memory {
            call,
            address,
            bytes,
            what: self.nearest(address),
        })
    }

    /// Copies host bytes to device memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (buffer, start) = self.host("write", address, bytes.len() as u64)?;
        for_words(start, bytes.len(), |offset, range| {
            let part = &bytes[range.clone()];
            if let Ok(word) = <[u8; 4]>::try_from(part) {
                buffer.set_word(offset, u32::from_le_bytes(word));
                buffer.mark(offset, 4);
            } else {
                for (i, &byte) in part.iter().enumerate() {
                    let at = start + (range.start + i) as u64;
                    let shift = 8 * (at % 4);
                    buffer.set_bits(at, 0xff << shift, u32::from(byte) << shift);
                    buffer.mark(at, 1);
                }
            }
        });
        Ok(())
    }

    /// Copies device memory to the host. Unwritten bytes read as 0xff, a NaN in every float format.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (buffer, start) = self.host("read", address, out.len() as u64)?;
        for_words(start, out.len(), |offset, range| {
            let word = buffer.word(offset).to_le_bytes();
            let skip = (start + range.start as u64 - offset) as usize;
            let n = range.len();
            out[range].copy_from_slice(&word[skip..skip + n]);
        });
        Ok(())
    }

    /// The first byte in a range that nobody wrote, as an offset from `address`.
    pub fn first_unwritten(&self, address: u64, bytes: u64) -> Result<Option<u64>> {
        let (buffer, start) = self.host("read", address, bytes)?;
        Ok(buffer.first_unwritten(start, bytes).map(|at| at - start))
    }

    /// Poisons a range again, as if nobody had written it.
    pub fn forget(&self, address: u64, bytes: u64) -> Result<()> {
        let (buffer, start) = self.host("write", address, bytes)?;
        for at in start..start + bytes {
            let shift = 8 * (at % 4);
            buffer.set_bits(at, 0xff << shift, POISON);
            buffer.written[(at / 32) as usize].fetch_and(!(1 << (at % 32)), Relaxed);
        }
        Ok(())
    }
}

/// Splits a byte range that starts at `start` in a buffer into words: the word's offset and the range of host bytes.
fn for_words(start: u64, len: usize, mut f: impl FnMut(u64, std::ops::Range<usize>)) {
    let mut at = 0;
    while at < len {
        let offset = start + at as u64;
        let n = (4 - (offset % 4) as usize).min(len - at);
        f(offset / 4 * 4, at..at + n);
        at += n;
    }
}
