//! Races between CTAs that hand data to each other: what atomics and fences order is no race.
//!
//! A thread's accesses fall into stretches, which end at its warp's fences and barriers. An access lies before one of
//! another CTA when a fence stands behind it, a strong write or an atomic behind that fence, a strong read or an atomic
//! of the other CTA that saw the written value, and a fence behind that: the release and acquire patterns of PTX's
//! memory model. The fence may be another thread's, with a barrier between, if it is a `fence.sc` or `membar`; one with
//! `.acq_rel` serves its own thread only, and until the next barrier. What is narrower than the device orders nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::cta_race::CtaConflict;
use crate::isa::Strong;
use crate::machine::warp::LANES;

/// Bytes that one page of cells covers.
const PAGE: u64 = 4096;
/// Barriers of a CTA.
const BARRIERS: usize = 16;
/// Stands for several CTAs or several threads of one.
const MANY: u32 = u32::MAX;

/// For each CTA, the last stretch of each of its threads that is over.
#[derive(Debug, Clone, Default)]
struct Past(Option<Arc<BTreeMap<u32, Arc<[u32]>>>>);

impl Past {
    fn join(&mut self, other: &Past) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (Some(mine), Some(theirs)) if Arc::ptr_eq(mine, theirs) => {}
            (Some(mine), Some(theirs)) => {
                let mine = Arc::make_mut(mine);
                theirs.iter().for_each(|(&cta, ticks)| add(mine, cta, ticks));
            }
            (mine, theirs) => mine.clone_from(theirs),
        }
    }

    fn with(mut self, cta: u32, ticks: &Arc<[u32]>) -> Past {
        if ticks.iter().any(|&tick| tick > 0) {
            add(Arc::make_mut(self.0.get_or_insert_default()), cta, ticks);
        }
        self
    }

    fn covers(&self, access: Seen) -> bool {
        let ticks = self.0.as_ref().and_then(|ctas| ctas.get(&(access.cta - 1)));
        ticks.is_some_and(|ticks| match access.thread {
            MANY => ticks.iter().all(|&tick| tick >= access.tick),
            thread => ticks.get(thread as usize).is_some_and(|&tick| tick >= access.tick),
        })
    }
}

fn add(ctas: &mut BTreeMap<u32, Arc<[u32]>>, cta: u32, ticks: &Arc<[u32]>) {
    let known = ctas.entry(cta).or_insert_with(|| Arc::clone(ticks));
    if !Arc::ptr_eq(known, ticks) {
        *known = known.iter().zip(ticks.iter()).map(|(&a, &b)| a.max(b)).collect();
    }
}

/// One access: CTA (one more than its number, 0 for nobody), thread, stretch and instruction.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    cta: u32,
    thread: u32,
    tick: u32,
    pc: u32,
}

impl Seen {
    fn conflict(self, wrote: bool) -> CtaConflict {
        CtaConflict { cta: (self.cta != MANY).then(|| self.cta - 1), pc: self.pc, wrote }
    }
}

/// The last write of a granule and the reads since.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    writer: Seen,
    reader: Seen,
}

type Page = OnceLock<Mutex<Box<[Cell]>>>;
/// A page, locked, and a range of granules in it.
type Cells<'a> = (MutexGuard<'a, Box<[Cell]>>, [usize; 2]);

/// What the CTAs of a launch share: accesses to global memory, and what was released through which address.
#[derive(Debug)]
pub struct Exchange {
    shift: u32,
    buffers: Vec<Vec<Page>>,
    released: Mutex<HashMap<u64, Past>>,
}

impl Exchange {
    /// For buffers of these lengths, in granules of 1, 2 or 4 bytes.
    pub fn new(lengths: impl Iterator<Item = u64>, granule: u32) -> Self {
        let pages = |len: u64| (0..len.div_ceil(PAGE)).map(|_| OnceLock::new()).collect();
        Exchange {
            shift: granule.trailing_zeros(),
            buffers: lengths.map(pages).collect(),
            released: Mutex::new(HashMap::new()),
        }
    }

    /// The page of `bytes` (within 32 aligned bytes) at `offset` of a buffer, and the granules in it.
    fn cells(&self, buffer: usize, offset: u64, bytes: u32) -> Option<Cells<'_>> {
        let page = self.buffers.get(buffer)?.get((offset / PAGE) as usize)?;
        let cells = page.get_or_init(|| Mutex::new((0..PAGE >> self.shift).map(|_| Cell::default()).collect()));
        let at = offset % PAGE;
        let range = [at, at + u64::from(bytes)].map(|at| (at >> self.shift) as usize);
        Some((cells.lock().unwrap_or_else(PoisonError::into_inner), range))
    }
}

/// What barriers have told a warp, or will tell those that wait.
#[derive(Debug, Clone, Default)]
struct Known {
    /// For each warp, the last stretch that is over.
    over: Vec<u32>,
    /// For each thread, the last stretch that a `fence.sc` covers.
    fenced: Vec<u32>,
    /// What strong reads saw, no fence behind them yet.
    read: Past,
    /// What strong reads with a fence behind them saw.
    acquired: Past,
}

impl Known {
    fn new(warps: usize) -> Self {
        Known { over: vec![0; warps], fenced: vec![0; warps * LANES], ..Known::default() }
    }

    fn join(&mut self, other: &Known) {
        let raise =
            |mine: &mut Vec<u32>, theirs: &[u32]| mine.iter_mut().zip(theirs).for_each(|(a, &b)| *a = (*a).max(b));
        raise(&mut self.over, &other.over);
        raise(&mut self.fenced, &other.fenced);
        self.read.join(&other.read);
        self.acquired.join(&other.acquired);
    }

    /// A fence covers all that earlier barriers put behind its warp.
    fn fence(&mut self, over: &[u32]) {
        self.fenced.iter_mut().enumerate().for_each(|(thread, tick)| *tick = (*tick).max(over[thread / LANES]));
    }
}

/// What a thread did itself.
#[derive(Debug, Clone, Default)]
struct Thread {
    /// Its stretch before its last fence since a barrier, 0 for none; and before its last `fence.sc`.
    fence: u32,
    fence_sc: u32,
    read: Past,
    acquired: Past,
}

/// One CTA's part in an [`Exchange`].
#[derive(Debug)]
pub struct CtaOrder<'a> {
    exchange: &'a Exchange,
    cta: u32,
    /// The running stretch of each warp.
    tick: Vec<u32>,
    known: Vec<Known>,
    threads: Vec<Thread>,
    /// One a barrier, and one for warps that wait for their own lanes.
    barriers: Vec<Known>,
}

impl<'a> CtaOrder<'a> {
    /// For CTAs of so many warps, one after another.
    pub fn new(exchange: &'a Exchange, warps: usize) -> Self {
        let (known, threads, tick) =
            (vec![Known::new(warps); warps], vec![Thread::default(); warps * LANES], vec![1; warps]);
        CtaOrder { exchange, cta: 0, tick, known, threads, barriers: vec![Known::new(warps); BARRIERS + 1] }
    }

    /// Starts a CTA, which knows of nothing.
    pub fn start(&mut self, cta: u32) {
        *self = CtaOrder { cta, ..CtaOrder::new(self.exchange, self.tick.len()) };
    }

    /// Lanes of a warp execute a fence of the device's scope.
    pub fn fence(&mut self, warp: usize, mask: u32, sc: bool) {
        for lane in crate::ops::lanes(mask) {
            let thread = &mut self.threads[warp * LANES + lane];
            thread.fence = self.tick[warp];
            thread.acquired.join(&std::mem::take(&mut thread.read));
            if sc {
                thread.fence_sc = self.tick[warp];
                thread.acquired.join(&self.known[warp].read);
            }
        }
        self.tick[warp] += 1;
    }

    /// A warp arrives at a barrier and says what it knows.
    pub fn arrive(&mut self, warp: usize, barrier: usize) {
        let (joined, known) = (&mut self.barriers[barrier], &self.known[warp]);
        joined.join(known);
        joined.over[warp] = self.tick[warp];
        for (lane, thread) in self.threads[warp * LANES..][..LANES].iter().enumerate() {
            if thread.fence_sc > 0 {
                joined.fence(&known.over);
                let own = &mut joined.fenced[warp * LANES + lane];
                *own = (*own).max(thread.fence_sc);
            }
            joined.read.join(&thread.read);
            joined.acquired.join(&thread.acquired);
        }
        self.tick[warp] += 1;
    }

    /// A barrier completes: the warps of `mask` that waited learn what all who arrived knew.
    pub fn release(&mut self, mask: u32, barrier: usize) {
        let joined = std::mem::replace(&mut self.barriers[barrier], Known::new(self.tick.len()));
        for warp in crate::ops::lanes(mask) {
            self.known[warp].join(&joined);
            for thread in &mut self.threads[warp * LANES..][..LANES] {
                (thread.fence, thread.fence_sc) = (0, 0);
            }
        }
    }

    /// The lanes of a warp wait for each other.
    pub fn sync_warp(&mut self, warp: usize) {
        self.arrive(warp, BARRIERS);
        self.release(1 << warp, BARRIERS);
    }

    /// Runs a strong access of a thread to `address` with what it tells or learns, as one step among all CTAs.
    pub fn strong<R>(
        &mut self,
        (warp, lane): (usize, usize),
        address: u64,
        how: Exchanged,
        run: impl FnOnce() -> R,
    ) -> R {
        let mut released = self.exchange.released.lock().unwrap_or_else(PoisonError::into_inner);
        let result = run();
        if !how.strong.device {
            return result;
        }
        let earlier = released.get(&address).cloned().unwrap_or_default();
        if how.learns {
            let thread = &mut self.threads[warp * LANES + lane];
            let learnt = if how.strong.acquire { &mut thread.acquired } else { &mut thread.read };
            learnt.join(&earlier);
        }
        if how.tells != Tells::Nothing {
            let mut tells = if how.tells == Tells::More { earlier } else { Past::default() };
            tells.join(&self.released(warp, lane, how.strong.release));
            released.insert(address, tells);
        }
        result
    }

    /// What a strong write of a thread tells: with `.release` all that came before it, else what fences cover.
    fn released(&mut self, warp: usize, lane: usize, release: bool) -> Past {
        let (known, thread) = (&self.known[warp], &self.threads[warp * LANES + lane]);
        let mut covered = known.clone();
        let own = if release { self.tick[warp] } else { thread.fence };
        if own > 0 {
            covered.fence(&known.over);
            let mine = &mut covered.fenced[warp * LANES + lane];
            *mine = (*mine).max(own);
        }
        self.tick[warp] += u32::from(release);
        covered.acquired.join(&thread.acquired);
        covered.acquired.with(self.cta, &covered.fenced.into())
    }

    fn ordered(&self, access: Seen, warp: usize, lane: usize) -> bool {
        self.known[warp].acquired.covers(access) || self.threads[warp * LANES + lane].acquired.covers(access)
    }

    /// Whether an access of another CTA does not lie before the one at hand.
    fn races(&self, access: Seen, warp: usize, lane: usize) -> bool {
        access.cta != 0 && access.cta != self.cta + 1 && (access.cta == MANY || !self.ordered(access, warp, lane))
    }

    /// Checks and records a read; with `constant` (`ld.global.nc`) nobody may have written, not even this CTA.
    pub fn read(&mut self, at: At, constant: bool) -> Result<(), CtaConflict> {
        let Some((mut cells, [first, end])) = self.exchange.cells(at.buffer, at.offset, at.bytes) else {
            return Ok(());
        };
        let me = self.seen(&at);
        for cell in &mut cells[first..end] {
            cell.reader = match cell.reader.cta {
                0 => me,
                cta if cta != me.cta => Seen { cta: MANY, ..cell.reader },
                _ if cell.reader.thread == me.thread => me,
                _ => Seen { thread: MANY, tick: cell.reader.tick.max(me.tick), ..me },
            };
            if cell.writer.cta != 0 && (constant || self.races(cell.writer, at.warp, at.lane)) {
                return Err(cell.writer.conflict(true));
            }
        }
        Ok(())
    }

    /// Checks and records a write. `same` says that the bytes hold the value already, which harms nobody.
    pub fn write(&mut self, at: At, same: bool) -> Result<(), CtaConflict> {
        let Some((mut cells, [first, end])) = self.exchange.cells(at.buffer, at.offset, at.bytes) else {
            return Ok(());
        };
        for cell in &mut cells[first..end] {
            if !same && self.races(cell.writer, at.warp, at.lane) {
                return Err(cell.writer.conflict(true));
            }
            if !same && self.races(cell.reader, at.warp, at.lane) {
                return Err(cell.reader.conflict(false));
            }
            *cell = Cell { writer: self.seen(&at), reader: Seen::default() };
        }
        Ok(())
    }

    fn seen(&self, at: &At) -> Seen {
        let thread = (at.warp * LANES + at.lane) as u32;
        Seen { cta: self.cta + 1, thread, tick: self.tick[at.warp], pc: at.pc }
    }
}

/// How a strong access takes part in an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Exchanged {
    /// Its memory order.
    pub strong: Strong,
    /// Whether the thread keeps what it read.
    pub learns: bool,
    /// What whoever reads the address later can learn.
    pub tells: Tells,
}

/// What an access leaves at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// A read: all as before.
    Nothing,
    /// A write: what this thread releases, alone.
    Alone,
    /// An atomic: what this thread releases, on top of what was released before.
    More,
}

/// Where and by whom global memory is accessed.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Index of the buffer.
    pub buffer: usize,
    /// Byte in it.
    pub offset: u64,
    /// Length.
    pub bytes: u32,
    /// Warp in the CTA.
    pub warp: usize,
    /// Lane in the warp.
    pub lane: usize,
    /// Instruction.
    pub pc: u32,
}
