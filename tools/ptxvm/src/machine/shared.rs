//! A CTA's shared memory, with what is known of every byte.

use super::SHARED_BASE;
use crate::check::race::{Access, Conflict, RaceCheck};
use crate::error::FaultKind;

/// What unwritten words hold: NaN as f32, f16 and bf16.
const POISON: u32 = 0xffff_ffff;

/// Shared memory of one CTA. Offsets are bytes from the start of the window.
#[derive(Debug)]
pub struct Shared {
    words: Vec<u32>,
    bytes: u32,
    /// One bit a byte: written.
    written: Vec<u32>,
    /// One bit a byte: a cp.async is in flight to it.
    in_flight: Vec<u32>,
    flights: u32,
    /// Clocks and last accesses; `None` without the full checks.
    pub race: Option<RaceCheck>,
}

/// A race before the other line is known.
pub type SharedFault = (FaultKind, Option<Conflict>);

impl Shared {
    /// `bytes` of shared memory; `race` turns the full checks on.
    pub fn new(bytes: u32, race: Option<RaceCheck>) -> Self {
        let blocks = bytes.div_ceil(32) as usize;
        Shared {
            words: vec![POISON; blocks * 8],
            bytes,
            written: vec![0; blocks],
            in_flight: vec![0; blocks],
            flights: 0,
            race,
        }
    }

    /// Starts a new CTA: everything is poison again.
    pub fn start(&mut self) {
        self.words.fill(POISON);
        self.written.fill(0);
        self.in_flight.fill(0);
        self.flights = 0;
        if let Some(race) = &mut self.race {
            race.start();
        }
    }

    /// The offset of an address in the window, when the whole access lies inside and is aligned.
    #[inline]
    pub fn offset(&self, address: u64, bytes: u32, align: u32, access: &'static str) -> Result<u32, FaultKind> {
        let offset = address.wrapping_sub(u64::from(SHARED_BASE));
        if offset > u64::from(self.bytes) || u64::from(self.bytes) - offset < u64::from(bytes) {
            return Err(self.out_of_bounds(address, bytes, access));
        }
        if !address.is_multiple_of(u64::from(align)) {
            return Err(FaultKind::Misaligned { access, address, align });
        }
        Ok(offset as u32)
    }

    #[cold]
    fn out_of_bounds(&self, address: u64, bytes: u32, access: &'static str) -> FaultKind {
        let nearest = format!("the CTA has {} bytes, from {SHARED_BASE:#x}", self.bytes);
        FaultKind::OutOfBounds { access, address, bytes, nearest }
    }

    /// The word at an offset that is a multiple of 4.
    #[inline]
    pub fn word(&self, offset: u32) -> u32 {
        self.words[(offset / 4) as usize]
    }

    /// Sets the word at an offset that is a multiple of 4.
    #[inline]
    pub fn set_word(&mut self, offset: u32, value: u32) {
        self.words[(offset / 4) as usize] = value;
    }

    /// A value of 1, 2 or 4 bytes.
    #[inline]
    pub fn get(&self, offset: u32, size: u32) -> u32 {
        let word = self.word(offset);
        match size {
            4 => word,
            2 => word >> (8 * (offset & 2)) & 0xffff,
            _ => word >> (8 * (offset & 3)) & 0xff,
        }
    }

    /// Sets a value of 1, 2 or 4 bytes.
    #[inline]
    pub fn set(&mut self, offset: u32, size: u32, value: u32) {
        let word = &mut self.words[(offset / 4) as usize];
        let (shift, mask) = match size {
            4 => (0, u32::MAX),
            2 => (8 * (offset & 2), 0xffff),
            _ => (8 * (offset & 3), 0xff),
        };
        *word = (*word & !(mask << shift)) | (value & mask) << shift;
    }

    /// Checks a read of up to 16 bytes within 32 aligned bytes.
    #[inline]
    pub fn check_read(&mut self, offset: u32, bytes: u32, by: Access, access: &'static str) -> Result<(), SharedFault> {
        let Some(race) = &mut self.race else { return Ok(()) };
        let (block, mask) = bits(offset, bytes);
        let address = u64::from(SHARED_BASE + offset);
        if self.flights > 0 && self.in_flight[block] & mask != 0 {
            return Err((FaultKind::AsyncInFlight { access, address }, None));
        }
        if self.written[block] & mask != mask {
            return Err((FaultKind::UninitialisedMemory { access, address, bytes }, None));
        }
        race.read(offset, bytes, by).map_err(|c| (race_fault(address, "read", c), Some(c)))
    }

    /// As `check_read`, of `wgmma`: whoever wrote the bytes must have fenced them for it.
    pub fn check_async_read(
        &mut self,
        offset: u32,
        bytes: u32,
        by: Access,
        access: &'static str,
    ) -> Result<(), SharedFault> {
        self.check_read(offset, bytes, by, access)?;
        let Some(race) = &self.race else { return Ok(()) };
        race.fenced(offset, bytes, by).map_err(|c| {
            let (address, thread) = (u64::from(SHARED_BASE + offset), c.thread);
            (FaultKind::NoProxyFence { access, address, thread, line: 0 }, Some(c))
        })
    }

    /// Checks a write of up to 16 bytes within 32 aligned bytes; `value(i)` is its i-th word or, below 4 bytes, the
    /// value.
    #[inline]
    pub fn check_write(
        &mut self,
        offset: u32,
        bytes: u32,
        by: Access,
        access: &'static str,
        value: impl Fn(u32) -> u32,
    ) -> Result<(), SharedFault> {
        let Some(race) = &mut self.race else { return Ok(()) };
        let (block, mask) = bits(offset, bytes);
        let address = u64::from(SHARED_BASE + offset);
        if self.flights > 0 && self.in_flight[block] & mask != 0 {
            return Err((FaultKind::AsyncInFlight { access, address }, None));
        }
        self.written[block] |= mask;
        let words = &self.words;
        let same = |at: u32| {
            let index = (at / 4 * 4).saturating_sub(offset / 4 * 4) / 4;
            if bytes >= 4 {
                return words[(at / 4) as usize] == value(index);
            }
            let shift = 8 * (offset & 3);
            (words[(at / 4) as usize] >> shift ^ value(0)) & ((1u32 << (8 * bytes)) - 1) == 0
        };
        race.write(offset, bytes, by, same).map_err(|c| (race_fault(address, "write", c), Some(c)))
    }

    /// Checks an atomic of 4 or 8 bytes: its bytes must be written, and only other atomics may come near it.
    pub fn check_atomic(
        &mut self,
        offset: u32,
        bytes: u32,
        by: Access,
        access: &'static str,
    ) -> Result<(), SharedFault> {
        let Some(race) = &mut self.race else { return Ok(()) };
        let (block, mask) = bits(offset, bytes);
        let address = u64::from(SHARED_BASE + offset);
        if self.in_flight[block] & mask != 0 {
            return Err((FaultKind::AsyncInFlight { access, address }, None));
        }
        if self.written[block] & mask != mask {
            return Err((FaultKind::UninitialisedMemory { access, address, bytes }, None));
        }
        race.write(offset, bytes, by, |_| false).map_err(|c| (race_fault(address, "write", c), Some(c)))
    }

    /// Records that a copy to these bytes is in flight, after checking it as a write.
    pub fn take_off(&mut self, offset: u32, bytes: u32, by: Access) -> Result<(), SharedFault> {
        let Some(race) = &mut self.race else { return Ok(()) };
        let (block, mask) = bits(offset, bytes);
        let address = u64::from(SHARED_BASE + offset);
        let access = "cp.async to shared";
        if self.in_flight[block] & mask != 0 {
            return Err((FaultKind::AsyncInFlight { access, address }, None));
        }
        race.write(offset, bytes, by, |_| false).map_err(|c| (race_fault(address, "write", c), Some(c)))?;
        self.in_flight[block] |= mask;
        self.flights += 1;
        Ok(())
    }

    /// A copy arrives: its bytes count as written now by the thread that waited.
    pub fn land(&mut self, offset: u32, bytes: u32, by: Access) {
        let Some(race) = &mut self.race else { return };
        let (block, mask) = bits(offset, bytes);
        self.in_flight[block] &= !mask;
        self.flights -= 1;
        self.written[block] |= mask;
        // In flight nobody could touch the bytes, so this write cannot race with anything new.
        let _ = race.write(offset, bytes, by, |_| true);
    }
}

#[inline]
fn bits(offset: u32, bytes: u32) -> (usize, u32) {
    ((offset / 32) as usize, (((1u64 << bytes) - 1) as u32) << (offset % 32))
}

#[cold]
fn race_fault(address: u64, this: &'static str, c: Conflict) -> FaultKind {
    let other = if c.wrote { "write" } else { "read" };
    FaultKind::Race { space: "shared", address, this, other, thread: c.thread, line: 0 }
}
