//! What the instructions do, a warp at a time: 32 lanes in a row, written in the lanes of a mask.

mod convert;
mod copy;
mod float;
mod half_float;
mod int;
mod matrix;
mod memory;
mod sync;
pub mod wgmma;

use crate::check::cta_order::{At, CtaOrder, Exchanged};
use crate::check::cta_race::{By, CtaConflict, CtaRace};
use crate::check::race::Access;
use crate::counters::Tally;
use crate::error::FaultKind;
use crate::isa::Op;
use crate::machine::warp::{LANES, Row, Row64, Warp};
use crate::machine::{GlobalMemory, Shared, SharedFault};

/// What an instruction may touch besides its warp's registers.
pub struct Ctx<'a, 'g> {
    /// Global memory.
    pub memory: &'a GlobalMemory,
    /// The parameter block.
    pub params: &'a [u8],
    /// The CTA's shared memory.
    pub shared: &'a mut Shared,
    /// The instruction's counts.
    pub tally: &'a mut Tally,
    /// Whether everything is checked and counted.
    pub full: bool,
    /// Who touched global memory in this launch.
    pub cta_race: Option<&'a CtaRace>,
    /// Likewise where CTAs hand data to each other, and what orders them.
    pub order: Option<&'a mut CtaOrder<'g>>,
    /// CTA and instruction, for it.
    pub by: By,
    /// The warp's number in the CTA.
    pub warp: usize,
    /// The instruction.
    pub pc: u32,
}

/// A fault and the lane that caused it.
#[derive(Debug)]
pub struct OpFault {
    /// The lane.
    pub lane: u32,
    /// What it did.
    pub kind: FaultKind,
    /// The other instruction of a race.
    pub other: Option<u32>,
}

/// Result of an instruction.
pub type Done = Result<(), Box<OpFault>>;

/// A fault of one lane.
#[cold]
pub fn fault(lane: usize, kind: FaultKind) -> Box<OpFault> {
    Box::new(OpFault { lane: lane as u32, kind, other: None })
}

/// A fault on shared memory of one lane.
#[cold]
pub fn shared_fault(lane: usize, (kind, conflict): SharedFault) -> Box<OpFault> {
    Box::new(OpFault { lane: lane as u32, kind, other: conflict.map(|c| c.pc) })
}

/// A race with another CTA.
#[cold]
pub fn cta_fault(lane: usize, address: u64, this: &'static str, c: CtaConflict) -> Box<OpFault> {
    let other = if c.wrote { "write" } else { "read" };
    let by = c.cta.map_or("several CTAs".to_owned(), |cta| format!("CTA {cta}"));
    let kind = FaultKind::CtaRace { address, this, other, by, line: 0 };
    Box::new(OpFault { lane: lane as u32, kind, other: Some(c.pc) })
}

impl Ctx<'_, '_> {
    /// Checks a read of global memory against what other CTAs wrote.
    #[inline(always)]
    pub fn check_read(
        &mut self,
        lane: usize,
        (buffer, offset): (usize, u64),
        bytes: u32,
        constant: bool,
    ) -> Result<(), CtaConflict> {
        let at = At { buffer, offset, bytes, warp: self.warp, lane, pc: self.pc };
        match (&mut self.order, self.cta_race) {
            (Some(order), _) => order.read(at, constant),
            (None, Some(race)) => race.read(buffer, offset, bytes, self.by, constant),
            (None, None) => Ok(()),
        }
    }

    /// Checks a write of global memory against what other CTAs did; `same` says whether it changes nothing.
    #[inline(always)]
    pub fn check_write(
        &mut self,
        lane: usize,
        (buffer, offset): (usize, u64),
        bytes: u32,
        same: impl Fn() -> bool,
    ) -> Result<(), CtaConflict> {
        let at = At { buffer, offset, bytes, warp: self.warp, lane, pc: self.pc };
        match (&mut self.order, self.cta_race) {
            (Some(order), _) => order.write(at, same()),
            (None, Some(race)) => race.write(buffer, offset, bytes, self.by, same()),
            (None, None) => Ok(()),
        }
    }

    /// Runs a strong access to global memory with what it tells other CTAs and learns of them.
    #[inline(always)]
    pub fn exchange<R>(&mut self, lane: usize, address: u64, how: Exchanged, run: impl FnOnce() -> R) -> R {
        match &mut self.order {
            Some(order) => order.strong((self.warp, lane), address, how, run),
            None => run(),
        }
    }

    /// Who accesses memory, for the race check.
    #[inline(always)]
    pub fn thread(&self, lane: usize) -> Access {
        Access { warp: self.warp, lane: lane as u8, pc: self.pc, atomic: false }
    }
}

/// The lanes of a mask, lowest first.
#[inline(always)]
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> + Clone {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros() as usize;
        (rest != 0).then(|| {
            rest &= rest - 1;
            lane
        })
    })
}

/// `f` in every lane.
#[inline(always)]
pub fn map1(a: Row, f: impl Fn(u32) -> u32) -> Row {
    let mut out = [0; LANES];
    for l in 0..LANES {
        out[l] = f(a[l]);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn map2(a: Row, b: Row, f: impl Fn(u32, u32) -> u32) -> Row {
    let mut out = [0; LANES];
    for l in 0..LANES {
        out[l] = f(a[l], b[l]);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn map3(a: Row, b: Row, c: Row, f: impl Fn(u32, u32, u32) -> u32) -> Row {
    let mut out = [0; LANES];
    for l in 0..LANES {
        out[l] = f(a[l], b[l], c[l]);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn wide1(a: Row64, f: impl Fn(u64) -> u64) -> Row64 {
    let mut out = [0; LANES];
    for l in 0..LANES {
        out[l] = f(a[l]);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn wide2(a: Row64, b: Row64, f: impl Fn(u64, u64) -> u64) -> Row64 {
    let mut out = [0; LANES];
    for l in 0..LANES {
        out[l] = f(a[l], b[l]);
    }
    out
}

/// Executes one instruction in the lanes of `mask`, which is not 0.
pub fn exec(op: &Op, w: &mut Warp, mask: u32, ctx: &mut Ctx<'_, '_>) -> Done {
    match *op {
        Op::Load(ref a) => return memory::load(w, mask, a, ctx),
        Op::Store(ref a) => return memory::store(w, mask, a, ctx),
        Op::Atom(ref a) => return memory::atom(w, mask, a, ctx),
        Op::CpAsync(ref c) => return copy::cp_async(w, mask, c, ctx),
        Op::CpCommit => copy::commit(w, mask),
        Op::CpWait { groups, all } => return copy::wait(w, mask, groups, all, ctx),
        Op::Ldmatrix(ref m) => return matrix::ldmatrix(w, mask, m, ctx),
        Op::Stmatrix(ref m) => return matrix::stmatrix(w, mask, m, ctx),
        Op::Mma(ref m) => return matrix::mma(w, mask, m),
        Op::Wgmma(ref m) => return wgmma::issue(w, mask, m, ctx),
        Op::WgmmaFence => return wgmma::fence(w, mask),
        Op::WgmmaCommit => return wgmma::commit(w, mask),
        Op::WgmmaWait { groups } => return wgmma::wait(w, mask, groups, ctx),
        Op::ProxyFence => {
            if let Some(race) = &mut ctx.shared.race
                && mask == w.lanes
            {
                race.proxy_fence(ctx.warp);
            }
        }
        Op::Shfl(ref s) => return sync::shfl(w, mask, s),
        Op::Vote { mode, d, a, members } => return sync::vote(w, mask, mode, d, a, members),
        Op::Redux { op, d, a, members } => return sync::redux(w, mask, op, d, a, members),
        Op::BarWarp { members } => return sync::bar_warp(w, mask, members, ctx),
        Op::ActiveMask { d } => w.put(d, mask, &[w.active; LANES]),
        Op::Fence { sc } => {
            if let Some(order) = &mut ctx.order {
                order.fence(ctx.warp, mask, sc);
            }
        }
        Op::GridWait => w.early &= !mask,
        Op::Trap => return Err(fault(mask.trailing_zeros() as usize, FaultKind::Trap)),
        Op::F32 { .. } | Op::F32Fma { .. } | Op::F32Un { .. } => float::exec32(op, w, mask),
        Op::F64 { .. } | Op::F64Fma { .. } | Op::F64Un { .. } => float::exec64(op, w, mask),
        Op::Half { .. } | Op::HalfFma { .. } | Op::HalfUn { .. } => half_float::exec(op, w, mask),
        Op::Setp(ref s) => convert::setp(w, mask, s),
        Op::Set { ref setp, float, d } => convert::set(w, mask, setp, float, d),
        Op::Cvt(ref c) => convert::cvt(w, mask, c),
        Op::CvtPack { half, relu, d, hi, lo } => convert::pack(w, mask, half, relu, d, hi, lo),
        _ => int::exec(op, w, mask),
    }
    Ok(())
}
