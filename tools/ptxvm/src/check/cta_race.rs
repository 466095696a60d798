//! Races between CTAs on global memory: within a launch nothing orders one CTA against another.
//!
//! For every granule the last CTA that wrote it and the CTAs that read it are kept. Entries that can hand data from CTA
//! to CTA, through atomics with a result or ordered loads, are checked by `cta_order` instead.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Bytes that one page of cells covers.
const PAGE: u64 = 4096;
/// Stands for several readers.
const MANY: u32 = u32::MAX;

/// An access of another CTA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtaConflict {
    /// Its linear number; `None` for one of several.
    pub cta: Option<u32>,
    /// Its instruction.
    pub pc: u32,
    /// Whether it wrote.
    pub wrote: bool,
}

/// CTA (one more than its number, 0 for nobody) and instruction in one word.
#[derive(Debug, Default)]
struct Cell {
    writer: AtomicU64,
    reader: AtomicU64,
}

type Pages = Vec<OnceLock<Box<[Cell]>>>;

/// Who touched global memory in this launch, buffer by buffer.
#[derive(Debug)]
pub struct CtaRace {
    shift: u32,
    buffers: Vec<Pages>,
}

/// Who accesses.
#[derive(Debug, Clone, Copy)]
pub struct By {
    /// Linear number of the CTA.
    pub cta: u32,
    /// Instruction.
    pub pc: u32,
}

impl By {
    fn word(self) -> u64 {
        u64::from(self.cta + 1) << 32 | u64::from(self.pc)
    }
}

impl CtaRace {
    /// For buffers of these lengths, in granules of 1, 2 or 4 bytes.
    pub fn new(lengths: impl Iterator<Item = u64>, granule: u32) -> Self {
        let pages = |len: u64| (0..len.div_ceil(PAGE)).map(|_| OnceLock::new()).collect();
        CtaRace { shift: granule.trailing_zeros(), buffers: lengths.map(pages).collect() }
    }

    /// The cells of `bytes` (within 32 aligned bytes) at `offset` of a buffer.
    #[inline]
    fn cells(&self, buffer: usize, offset: u64, bytes: u32) -> &[Cell] {
        let Some(page) = self.buffers.get(buffer).and_then(|pages| pages.get((offset / PAGE) as usize)) else {
            return &[];
        };
        let cells = page.get_or_init(|| (0..PAGE >> self.shift).map(|_| Cell::default()).collect());
        let at = offset % PAGE;
        &cells[(at >> self.shift) as usize..((at + u64::from(bytes)) >> self.shift) as usize]
    }

    /// Checks and records a read; with `constant` (`ld.global.nc`) nobody may have written, not even this CTA.
    #[inline]
    pub fn read(&self, buffer: usize, offset: u64, bytes: u32, by: By, constant: bool) -> Result<(), CtaConflict> {
        let me = by.word();
        for cell in self.cells(buffer, offset, bytes) {
            let reader = cell.reader.load(SeqCst);
            let (known, mine) = ((reader >> 32) as u32, (me >> 32) as u32);
            if known == 0 {
                cell.reader.store(me, SeqCst);
            } else if known != mine && known != MANY {
                cell.reader.store(u64::from(MANY) << 32 | reader & u64::from(u32::MAX), SeqCst);
            }
            let writer = cell.writer.load(SeqCst);
            if writer != 0 && (constant || (writer ^ me) >> 32 != 0) {
                return Err(conflict(writer, true));
            }
        }
        Ok(())
    }

    /// Checks and records a write. `same` says that the bytes hold the value already, which harms nobody.
    #[inline]
    pub fn write(&self, buffer: usize, offset: u64, bytes: u32, by: By, same: bool) -> Result<(), CtaConflict> {
        let me = by.word();
        for cell in self.cells(buffer, offset, bytes) {
            let writer = cell.writer.load(SeqCst);
            if (writer ^ me) >> 32 != 0 {
                cell.writer.store(me, SeqCst);
            }
            let reader = cell.reader.load(SeqCst);
            let other = |word: u64| word != 0 && (word ^ me) >> 32 != 0;
            if other(writer) && !same {
                return Err(conflict(writer, true));
            }
            if other(reader) && !same {
                return Err(conflict(reader, false));
            }
        }
        Ok(())
    }
}

#[cold]
fn conflict(word: u64, wrote: bool) -> CtaConflict {
    let cta = (word >> 32) as u32;
    CtaConflict { cta: (cta != MANY).then(|| cta - 1), pc: word as u32, wrote }
}
