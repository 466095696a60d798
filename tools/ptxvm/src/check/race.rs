//! Races on shared memory, found by happens-before clocks.
//!
//! Every warp lives in intervals that barriers separate; interval numbers ("ticks") grow over the whole CTA. A barrier
//! gives all its participants one new tick and tells each of them which intervals of the others are over. Two accesses
//! to one granule race when at least one writes, the threads differ, and neither is known to lie before the other.
//! Threads of one warp are ordered only by barriers too: lock-step is no guarantee that PTX gives.

use std::collections::HashMap;

/// Most warps of a CTA.
pub const MAX_WARPS: usize = 32;

/// For every warp, the last of its intervals that is over.
pub type Clock = [u32; MAX_WARPS];

/// `r_lane` when several lanes have read.
const MANY: u8 = 0xff;

/// An access that races with the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The other thread, linear in the CTA.
    pub thread: u32,
    /// Its instruction.
    pub pc: u32,
    /// Whether it wrote.
    pub wrote: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    w_tick: u32,
    w_pc: u32,
    /// Proxy fences of the writer's warp before the write.
    w_fences: u32,
    w_warp: u8,
    w_lane: u8,
    w_atomic: bool,
    r_lane: u8,
    r_more: bool,
    r_mask: u32,
    r_tick: u32,
    r_pc: u32,
}

/// Who touches memory, and how.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Warp in the CTA.
    pub warp: usize,
    /// Lane in the warp.
    pub lane: u8,
    /// Instruction.
    pub pc: u32,
    /// Whether it is an atomic, which races with no other atomic.
    pub atomic: bool,
}

/// Clocks of a CTA's warps and the last accesses to each granule of shared memory.
#[derive(Debug)]
pub struct RaceCheck {
    shift: u32,
    cells: Vec<Cell>,
    /// Readers that do not fit a cell: (warps, tick, pc), by granule.
    more: HashMap<u32, Vec<(u32, u32, u32)>>,
    /// `known[w][v]`: the last interval of warp v that is over for warp w; `known[w][w]` is w's own interval.
    known: Vec<Clock>,
    /// Of each warp, the interval of each of its proxy fences.
    fences: Vec<Vec<u32>>,
    tick: u32,
}

impl RaceCheck {
    /// For `bytes` of shared memory in granules of 1, 2 or 4 bytes.
    pub fn new(bytes: u32, granule: u32, warps: usize) -> Self {
        let shift = granule.trailing_zeros();
        let cells = vec![Cell::default(); (bytes >> shift) as usize + 1];
        RaceCheck {
            shift,
            cells,
            more: HashMap::new(),
            known: vec![[0; MAX_WARPS]; warps],
            fences: vec![Vec::new(); warps],
            tick: 0,
        }
    }

    /// Starts a new CTA: all that was recorded lies in the past of every warp.
    pub fn start(&mut self) {
        let over = self.tick;
        self.tick += 1;
        for (w, known) in self.known.iter_mut().enumerate() {
            *known = [over; MAX_WARPS];
            known[w] = self.tick;
        }
        self.more.clear();
        self.fences.iter_mut().for_each(Vec::clear);
    }

    /// A warp fences what it wrote for the asynchronous proxy.
    pub fn proxy_fence(&mut self, warp: usize) {
        self.fences[warp].push(self.known[warp][warp]);
    }

    /// Checks that the writers of `bytes` at `offset` have fenced them since, and that the reader knows of it.
    pub fn fenced(&self, offset: u32, bytes: u32, by: Access) -> Result<(), Conflict> {
        let known = &self.known[by.warp];
        for cell in &self.cells[(offset >> self.shift) as usize..((offset + bytes) >> self.shift) as usize] {
            let writer = usize::from(cell.w_warp);
            let fence = self.fences[writer].get(cell.w_fences as usize);
            if !fence.is_some_and(|&tick| writer == by.warp || tick <= known[writer]) {
                return Err(cell.writer());
            }
        }
        Ok(())
    }

    /// A warp arrives at a barrier: what it knows, its own interval included, joins what the barrier will tell.
    pub fn arrive(&mut self, warp: usize, joined: &mut Clock) {
        for (all, one) in joined.iter_mut().zip(&self.known[warp]) {
            *all = (*all).max(*one);
        }
        self.tick += 1;
        self.known[warp][warp] = self.tick;
    }

    /// A barrier completes: the warps of `mask` that waited learn what all who arrived knew.
    pub fn release(&mut self, mask: u32, joined: &Clock) {
        self.tick += 1;
        for w in (0..MAX_WARPS).filter(|w| mask >> w & 1 == 1) {
            for (mine, all) in self.known[w].iter_mut().zip(joined) {
                *mine = (*mine).max(*all);
            }
            self.known[w][w] = self.tick;
        }
    }

    /// The lanes of a warp wait for each other.
    pub fn sync_warp(&mut self, warp: usize) {
        self.tick += 1;
        self.known[warp][warp] = self.tick;
    }

    /// Checks and records a read of `bytes` at `offset`.
    #[inline]
    pub fn read(&mut self, offset: u32, bytes: u32, by: Access) -> Result<(), Conflict> {
        let known = &self.known[by.warp];
        let tick = known[by.warp];
        for g in offset >> self.shift..(offset + bytes) >> self.shift {
            let cell = &mut self.cells[g as usize];
            if write_conflicts(cell, known, by) {
                return Err(cell.writer());
            }
            let bit = 1 << by.warp;
            if cell.r_tick == tick {
                cell.r_lane = if cell.r_mask == 0 || cell.r_lane == by.lane { by.lane } else { MANY };
                cell.r_mask |= bit;
                continue;
            }
            let past = |v: usize| v == by.warp || cell.r_tick <= known[v];
            if !(0..MAX_WARPS).all(|v| cell.r_mask >> v & 1 == 0 || past(v)) {
                self.more.entry(g).or_default().push((cell.r_mask, cell.r_tick, cell.r_pc));
                cell.r_more = true;
            }
            (cell.r_mask, cell.r_tick, cell.r_pc, cell.r_lane) = (bit, tick, by.pc, by.lane);
        }
        Ok(())
    }

    /// Checks and records a write of `bytes` at `offset`. `same(byte offset)` says whether the granule there already
    /// holds the value: threads that write equal values do no harm to each other.
    #[inline]
    pub fn write(&mut self, offset: u32, bytes: u32, by: Access, same: impl Fn(u32) -> bool) -> Result<(), Conflict> {
        let known = &self.known[by.warp];
        let tick = known[by.warp];
        for g in offset >> self.shift..(offset + bytes) >> self.shift {
            let cell = &mut self.cells[g as usize];
            if write_conflicts(cell, known, by) && !same(g << self.shift) {
                return Err(cell.writer());
            }
            if cell.r_mask != 0 {
                if let Some(warp) = read_conflicts(cell.r_mask, cell.r_tick, cell.r_lane, known, by) {
                    return Err(reader(warp, cell.r_lane, cell.r_pc));
                }
                if cell.r_more {
                    for &(mask, tick, pc) in self.more.get(&g).into_iter().flatten() {
                        if let Some(warp) = read_conflicts(mask, tick, by.lane, known, by) {
                            return Err(reader(warp, MANY, pc));
                        }
                    }
                    self.more.remove(&g);
                }
            }
            *cell = Cell {
                w_tick: tick,
                w_pc: by.pc,
                w_fences: self.fences[by.warp].len() as u32,
                w_warp: by.warp as u8,
                w_lane: by.lane,
                w_atomic: by.atomic,
                ..Cell::default()
            };
        }
        Ok(())
    }
}

impl Cell {
    fn writer(&self) -> Conflict {
        Conflict { thread: u32::from(self.w_warp) * 32 + u32::from(self.w_lane), pc: self.w_pc, wrote: true }
    }
}

fn reader(warp: usize, lane: u8, pc: u32) -> Conflict {
    let lane = if lane == MANY { 0 } else { u32::from(lane) };
    Conflict { thread: warp as u32 * 32 + lane, pc, wrote: false }
}

#[inline]
fn write_conflicts(cell: &Cell, known: &Clock, by: Access) -> bool {
    if cell.w_tick == 0 || (cell.w_atomic && by.atomic) {
        return false;
    }
    if usize::from(cell.w_warp) == by.warp {
        return cell.w_lane != by.lane && cell.w_tick == known[by.warp];
    }
    cell.w_tick > known[usize::from(cell.w_warp)]
}

/// The first warp of `mask` whose read races with a write.
#[inline]
fn read_conflicts(mask: u32, tick: u32, lane: u8, known: &Clock, by: Access) -> Option<usize> {
    let mut rest = mask;
    while rest != 0 {
        let v = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        let racing = if v == by.warp { tick == known[v] && lane != by.lane } else { tick > known[v] };
        if racing {
            return Some(v);
        }
    }
    None
}
