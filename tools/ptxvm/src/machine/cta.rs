//! Runs the CTAs of a launch: the scheduler, barriers and control flow.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::memory::GlobalMemory;
use super::shared::Shared;
use super::warp::{LANES, State, Warp};
use super::{Checks, Launch};
use crate::check::cta_order::{CtaOrder, Exchange};
use crate::check::cta_race::{By, CtaRace};
use crate::check::race::{Clock, MAX_WARPS, RaceCheck};
use crate::counters::{Counters, Report, Tally};
use crate::decode::{Entry, Special};
use crate::error::{Error, Fault, FaultKind, Result};
use crate::isa::{Inst, Op, R32, Reg};
use crate::module::Inner;
use crate::ops::{self, OpFault};

/// Barriers of a CTA.
const BARRIERS: usize = 16;
/// Instructions a warp runs before another gets a turn, should it wait for one by spinning.
const TURN: u64 = 1 << 16;

/// A launch that was checked.
pub struct Grid<'a> {
    pub module: &'a Inner,
    pub entry: &'a Entry,
    pub launch: Launch,
    pub params: &'a [u8],
    pub variables: &'a [u64],
    pub memory: &'a GlobalMemory,
    pub checks: Checks,
    pub budget: u64,
}

impl Grid<'_> {
    /// Runs all CTAs on `threads` host threads. Of several faults the one with the lowest CTA is reported.
    pub fn run(&self, threads: usize) -> Result<Report> {
        let ctas = self.launch.grid.iter().fold(1u64, |n, &d| n.saturating_mul(u64::from(d)));
        let next = AtomicU64::new(0);
        let failed: Mutex<Option<(u64, Error)>> = Mutex::new(None);
        let total = Mutex::new(vec![Tally::default(); self.entry.code.len()]);
        let several = self.checks == Checks::Full && ctas > 1;
        let granule = self.entry.global_granule;
        let race = (several && !self.entry.orders_ctas).then(|| CtaRace::new(self.memory.lengths(), granule));
        let exchange = (several && self.entry.orders_ctas).then(|| Exchange::new(self.memory.lengths(), granule));
        let work = || {
            let mut worker = Worker::new(self, race.as_ref(), exchange.as_ref());
            loop {
                let index = next.fetch_add(1, Relaxed);
                if index >= ctas {
                    break;
                }
                if let Err(error) = worker.run(index) {
                    next.store(ctas, Relaxed);
                    let mut first = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if first.as_ref().is_none_or(|(at, _)| index < *at) {
                        *first = Some((index, error));
                    }
                }
            }
            let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            total.iter_mut().zip(&worker.tallies).for_each(|(all, one)| all.add(one));
        };
        let threads = threads.min(usize::try_from(ctas).unwrap_or(usize::MAX)).max(1);
        if threads == 1 {
            work();
        } else {
            std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        }
        if let Some((_, error)) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(error);
        }
        let tallies = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counters = Counters::collect(self.module, &self.entry.code, &tallies);
        Ok(Report { ctas, warps: self.warps() as u32, counters })
    }

    fn block_threads(&self) -> u32 {
        self.launch.block.iter().product()
    }

    fn warps(&self) -> usize {
        self.block_threads().div_ceil(LANES as u32) as usize
    }

    fn shared_bytes(&self) -> u32 {
        match self.entry.dynamic_shared {
            true => self.entry.dynamic_start + self.launch.shared_bytes,
            false => self.entry.static_shared,
        }
    }

    fn thread_index(&self, linear: u32) -> [u32; 3] {
        let [x, y, _] = self.launch.block;
        [linear % x, linear / x % y, linear / (x * y)]
    }
}

/// One of the 16 barriers.
#[derive(Debug, Clone, Copy, Default)]
struct Barrier {
    /// Threads it waits for; 0 while nobody has arrived.
    expected: u32,
    arrived: u32,
    /// Warps that wait.
    waiting: u32,
    joined: Clock,
}

/// A host thread's CTA.
struct Worker<'a> {
    grid: &'a Grid<'a>,
    warps: Vec<Warp>,
    shared: Shared,
    barriers: [Barrier; BARRIERS],
    tallies: Vec<Tally>,
    cta: [u32; 3],
    /// The CTA's linear number.
    index: u32,
    cta_race: Option<&'a CtaRace>,
    order: Option<CtaOrder<'a>>,
    full: bool,
}

impl<'a> Worker<'a> {
    fn new(grid: &'a Grid<'a>, cta_race: Option<&'a CtaRace>, exchange: Option<&'a Exchange>) -> Self {
        let full = grid.checks == Checks::Full;
        let bytes = grid.shared_bytes();
        let race = full.then(|| RaceCheck::new(bytes, grid.entry.shared_granule, grid.warps()));
        let mut worker = Worker {
            grid,
            warps: (0..grid.warps()).map(|_| Warp::new(grid.entry.rows)).collect(),
            shared: Shared::new(bytes, race),
            barriers: [Barrier::default(); BARRIERS],
            tallies: vec![Tally::default(); grid.entry.code.len()],
            cta: [0; 3],
            index: 0,
            cta_race,
            order: exchange.map(|exchange| CtaOrder::new(exchange, grid.warps())),
            full,
        };
        for w in 0..worker.warps.len() {
            worker.fill_rows(w);
        }
        worker
    }

    /// Rows that stay the same over all CTAs: constants, addresses, thread numbers.
    fn fill_rows(&mut self, w: usize) {
        let grid = self.grid;
        let warp = &mut self.warps[w];
        for &(reg, value) in &grid.entry.constants {
            fill(warp, reg, |_| value);
        }
        for symbol in &grid.entry.symbols {
            let address = grid.variables.get(symbol.variable as usize).copied().unwrap_or(0);
            fill(warp, Reg::R64(symbol.row), |_| address);
        }
        let warps = grid.warps() as u64;
        for &(special, reg) in &grid.entry.specials {
            fill(warp, reg, |lane| {
                let below = (1u64 << lane) - 1;
                match special {
                    Special::Tid(axis) => u64::from(grid.thread_index((w * LANES + lane) as u32)[axis]),
                    Special::Ntid(axis) => u64::from(grid.launch.block[axis]),
                    Special::Nctaid(axis) => u64::from(grid.launch.grid[axis]),
                    Special::Laneid => lane as u64,
                    Special::Warpid => w as u64,
                    Special::Nwarpid => warps,
                    Special::LanemaskEq => 1 << lane,
                    Special::LanemaskLt => below,
                    Special::LanemaskLe => below | 1 << lane,
                    Special::LanemaskGt => u64::from(u32::MAX) & !(below | 1 << lane),
                    Special::LanemaskGe => u64::from(u32::MAX) & !below,
                    Special::DynamicSmemSize => u64::from(grid.launch.shared_bytes),
                    Special::TotalSmemSize => u64::from(grid.shared_bytes()),
                    Special::Ctaid(_) | Special::Zero32 | Special::Zero64 => 0,
                }
            });
        }
    }

    fn run(&mut self, index: u64) -> Result<()> {
        let [x, y, _] = self.grid.launch.grid.map(u64::from);
        self.cta = [index % x, index / x % y, index / (x * y)].map(|v| v as u32);
        self.index = (index % u64::from(u32::MAX - 1)) as u32;
        self.shared.start();
        self.barriers = [Barrier::default(); BARRIERS];
        if let Some(order) = &mut self.order {
            order.start(self.index);
        }
        let threads = self.grid.block_threads() as usize;
        for (w, warp) in self.warps.iter_mut().enumerate() {
            let lanes = (threads - w * LANES).min(LANES);
            let early = self.grid.entry.waits_for_grids;
            warp.start((u64::from(u32::MAX) >> (LANES - lanes)) as u32, early);
            for &(special, reg) in &self.grid.entry.specials {
                if let Special::Ctaid(axis) = special {
                    fill(warp, reg, |_| u64::from(self.cta[axis]));
                }
            }
        }
        loop {
            let mut ran = false;
            for w in 0..self.warps.len() {
                if self.warps[w].state == State::Ready {
                    ran = true;
                    self.turn(w)?;
                }
            }
            if self.warps.iter().all(|w| w.state == State::Done) {
                return self.warpgroups();
            }
            if !ran {
                return Err(self.hang());
            }
        }
    }

    /// The warps of a warpgroup must have issued the same products.
    fn warpgroups(&self) -> Result<()> {
        for (group, warps) in self.warps.chunks(ops::wgmma::WARPS).enumerate() {
            let whole = warps.len() == ops::wgmma::WARPS && warps.iter().all(|w| w.wgmma.log == warps[0].wgmma.log);
            if !whole && warps.iter().any(|w| w.wgmma.log != 0) {
                let what = "not all four warps of the warpgroup issued the same products".into();
                return Err(self.fault(group * ops::wgmma::WARPS, 0, 0, FaultKind::BadWgmma { what }));
            }
        }
        Ok(())
    }

    /// Runs a warp until it waits, ends or has had its turn.
    fn turn(&mut self, w: usize) -> Result<()> {
        let grid = self.grid;
        for _ in 0..TURN {
            let warp = &mut self.warps[w];
            let (pc, active) = (warp.pc, warp.active);
            let Some(inst) = grid.entry.code.get(pc as usize) else {
                let last = grid.entry.code.len().saturating_sub(1) as u32;
                return Err(self.fault(w, last, 0, FaultKind::NoReturn));
            };
            warp.steps += 1;
            if warp.steps > grid.budget {
                return Err(self.fault(w, pc, 0, FaultKind::Budget { budget: grid.budget }));
            }
            let mask = inst.guard.map_or(active, |g| active & warp.pred(g));
            let tally = &mut self.tallies[pc as usize];
            tally.issued += 1;
            tally.threads += u64::from(mask.count_ones());
            if self.full
                && let Err((lane, register)) = written(warp, inst, active, mask)
            {
                let register = grid.entry.row_names.get(register as usize).cloned().unwrap_or_default();
                return Err(self.fault(w, pc, lane, FaultKind::UninitialisedRegister { register }));
            }
            if self.full
                && let Some(row) = under_way(warp, inst)
            {
                let register = grid.entry.row_names.get(row as usize).cloned().unwrap_or_default();
                return Err(self.fault(w, pc, lane_of(mask), FaultKind::WgmmaInFlight { register }));
            }
            if mask == 0 {
                warp.pc += 1;
                warp.reconverge();
                continue;
            }
            match &inst.op {
                Op::Branch { target, uniform } => {
                    if *uniform && mask != active {
                        let kind = FaultKind::Divergent { instruction: "bra.uni", mask, expected: active };
                        return Err(self.fault(w, pc, lane_of(mask), kind));
                    }
                    warp.branch(mask, *target);
                    continue;
                }
                Op::Exit => {
                    warp.exit(mask);
                    if warp.wgmma.under_way().next().is_some() {
                        let what = "a thread ends before it has waited for its products".into();
                        return Err(self.fault(w, pc, lane_of(mask), FaultKind::BadWgmma { what }));
                    }
                    if warp.state == State::Done {
                        return Ok(());
                    }
                    continue;
                }
                Op::Bar { id, count, arrive, .. } => {
                    warp.pc += 1;
                    self.arrive(w, pc, mask, *id, *count, *arrive)?;
                    if self.warps[w].state != State::Ready {
                        return Ok(());
                    }
                    continue;
                }
                op => {
                    let mut ctx = ops::Ctx {
                        memory: grid.memory,
                        params: grid.params,
                        shared: &mut self.shared,
                        tally,
                        full: self.full,
                        cta_race: self.cta_race,
                        order: self.order.as_mut(),
                        by: By { cta: self.index, pc },
                        warp: w,
                        pc,
                    };
                    if let Err(fault) = ops::exec(op, warp, mask, &mut ctx) {
                        return Err(self.op_fault(w, pc, *fault));
                    }
                }
            }
            if self.full {
                for &row in &inst.defs {
                    warp.init[row as usize] |= mask;
                }
            }
            warp.pc += 1;
            warp.reconverge();
        }
        Ok(())
    }

    fn arrive(&mut self, w: usize, pc: u32, mask: u32, id: R32, count: Option<R32>, only_arrive: bool) -> Result<()> {
        let lane = lane_of(mask);
        let warp = &self.warps[w];
        if mask != warp.lanes {
            let kind = FaultKind::Divergent { instruction: "bar", mask, expected: warp.lanes };
            return Err(self.fault(w, pc, lane, kind));
        }
        let bad = |what: String| self.fault(w, pc, lane, FaultKind::BadBarrier { what });
        let Some(number) = uniform(warp, id, mask).filter(|&n| (n as usize) < BARRIERS) else {
            return Err(bad("the number must be the same for all threads and below 16".into()));
        };
        let all = (self.warps.len() * LANES) as u32;
        let expected = match count {
            None => all,
            Some(count) => match uniform(warp, count, mask) {
                Some(n) if n > 0 && n % LANES as u32 == 0 => n,
                _ => return Err(bad("the count must be a multiple of 32, the same for all threads".into())),
            },
        };
        let barrier = self.barriers[number as usize];
        if barrier.arrived > 0 && barrier.expected != expected {
            return Err(bad(format!("threads expect {} and {expected} at barrier {number}", barrier.expected)));
        }
        if barrier.arrived + LANES as u32 > expected {
            return Err(bad(format!("more than {expected} threads arrive at barrier {number}")));
        }
        let barrier = &mut self.barriers[number as usize];
        barrier.expected = expected;
        barrier.arrived += LANES as u32;
        if let Some(race) = &mut self.shared.race {
            race.arrive(w, &mut barrier.joined);
        }
        if let Some(order) = &mut self.order {
            order.arrive(w, number as usize);
        }
        if !only_arrive {
            barrier.waiting |= 1 << w;
            self.warps[w].state = State::Waiting { barrier: number, pc };
        }
        if barrier.arrived == expected {
            let done = std::mem::take(barrier);
            if let Some(race) = &mut self.shared.race {
                race.release(done.waiting, &done.joined);
            }
            if let Some(order) = &mut self.order {
                order.release(done.waiting, number as usize);
            }
            for v in (0..MAX_WARPS).filter(|v| done.waiting >> v & 1 == 1) {
                self.warps[v].state = State::Ready;
                self.warps[v].reconverge();
            }
        }
        Ok(())
    }

    /// No warp can run, but some wait.
    fn hang(&self) -> Error {
        let mut exited = Vec::new();
        let mut waiting = None;
        for (w, warp) in self.warps.iter().enumerate() {
            match warp.state {
                State::Done => exited.push(w.to_string()),
                State::Waiting { barrier, pc } => waiting = waiting.or(Some((w, barrier, pc))),
                State::Ready => {}
            }
        }
        let (w, number, pc) = waiting.unwrap_or((0, 0, 0));
        let barrier = &self.barriers[number as usize];
        let why = match exited.is_empty() {
            true => "the others wait at other barriers".to_owned(),
            false => format!("warps {} have exited", exited.join(", ")),
        };
        let (expected, arrived) = (barrier.expected, barrier.arrived);
        self.fault(w, pc, 0, FaultKind::BarrierHang { barrier: number, expected, arrived, why })
    }

    #[cold]
    fn op_fault(&self, w: usize, pc: u32, fault: OpFault) -> Error {
        let mut kind = fault.kind;
        if let (
            FaultKind::Race { line, .. } | FaultKind::CtaRace { line, .. } | FaultKind::NoProxyFence { line, .. },
            Some(other),
        ) = (&mut kind, fault.other)
        {
            *line = self.grid.entry.code.get(other as usize).map_or(0, |inst| inst.line);
        }
        self.fault(w, pc, fault.lane, kind)
    }

    #[cold]
    fn fault(&self, w: usize, pc: u32, lane: u32, kind: FaultKind) -> Error {
        let line = self.grid.entry.code.get(pc as usize).map_or(self.grid.entry.line, |inst| inst.line);
        Error::Fault(Box::new(Fault {
            entry: self.grid.entry.name.clone(),
            line,
            text: self.grid.module.line(line).to_owned(),
            cta: self.cta,
            thread: self.grid.thread_index((w * LANES) as u32 + lane),
            kind,
        }))
    }
}

fn fill(warp: &mut Warp, reg: Reg, value: impl Fn(usize) -> u64) {
    match reg {
        Reg::R32(r) => warp.r32[r.0 as usize] = std::array::from_fn(|lane| value(lane) as u32),
        Reg::R64(r) => warp.r64[r.0 as usize] = std::array::from_fn(value),
        Reg::Pred(_) => {}
    }
}

/// The value that all lanes of `mask` agree on.
fn uniform(warp: &Warp, r: R32, mask: u32) -> Option<u32> {
    let row = warp.get(r);
    let first = row[lane_of(mask) as usize];
    row.iter().enumerate().all(|(l, &v)| mask >> l & 1 == 0 || v == first).then_some(first)
}

fn lane_of(mask: u32) -> u32 {
    mask.trailing_zeros().min(31)
}

/// A register of the instruction whose `wgmma` was not waited for. Products of one shape may follow each other on the
/// same sums.
fn under_way(warp: &Warp, inst: &Inst) -> Option<u32> {
    let touched = |rows: &[R32]| inst.uses.iter().chain(&*inst.defs).copied().find(|&row| rows.contains(&R32(row)));
    warp.wgmma.under_way().find_map(|product| match &inst.op {
        Op::Wgmma(next) if next.d == product.op.d => None,
        _ => touched(&product.op.d),
    })
}

/// Whether the lanes that run have written all registers that the instruction reads; else a lane and the register.
#[inline]
fn written(warp: &Warp, inst: &Inst, active: u32, mask: u32) -> std::result::Result<(), (u32, u32)> {
    let mut uses = &inst.uses[..];
    if let (Some(_), [guard, rest @ ..]) = (inst.guard, uses) {
        uses = rest;
        let missing = active & !warp.init[*guard as usize];
        if missing != 0 {
            return Err((lane_of(missing), *guard));
        }
    }
    for &row in uses {
        let missing = mask & !warp.init[row as usize];
        if missing != 0 {
            return Err((lane_of(missing), row));
        }
    }
    Ok(())
}
