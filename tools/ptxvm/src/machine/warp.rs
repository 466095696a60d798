//! A warp: its registers, its lanes' control flow and its copies in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::isa::{Address, Pred, PredSrc, R32, R64, Reg, Wgmma};

/// Lanes of a warp.
pub const LANES: usize = 32;
/// All lanes.
pub const FULL: u32 = u32::MAX;

/// A row of 32-bit values.
pub type Row = [u32; LANES];
/// A row of 64-bit values.
pub type Row64 = [u64; LANES];

/// One thread's asynchronous copy.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// Offset in shared memory.
    pub dst: u32,
    /// Address in global memory.
    pub src: u64,
    /// Bytes written.
    pub size: u32,
    /// Bytes read; the rest is zero.
    pub src_size: u32,
    /// The thread's lane.
    pub lane: u8,
}

/// Copies that were committed together, by the lanes of `mask`.
#[derive(Debug, Clone, Default)]
pub struct CopyGroup {
    /// Lanes that committed.
    pub mask: u32,
    /// Their copies.
    pub copies: Vec<Copy>,
}

/// A `wgmma` that was issued and not waited for.
#[derive(Debug, Clone)]
pub struct Product {
    /// The instruction.
    pub op: Arc<Wgmma>,
    /// Where it stands.
    pub pc: u32,
    /// Descriptors of both matrices.
    pub a: u64,
    /// As `a`.
    pub b: u64,
    /// Whether products are added to the sums.
    pub adds: bool,
}

/// A warp's part of the products of its warpgroup.
#[derive(Debug, Default)]
pub struct WgmmaState {
    /// Whether a `wgmma.fence` was executed since the start or the last wait.
    pub fenced: bool,
    /// Products not committed so far.
    pub open: Vec<Product>,
    /// Committed groups, oldest first.
    pub committed: VecDeque<Vec<Product>>,
    /// Says which products were issued: the same in all warps of a warpgroup.
    pub log: u64,
}

impl WgmmaState {
    /// Products whose sums are not there yet.
    pub fn under_way(&self) -> impl Iterator<Item = &Product> {
        self.committed.iter().flatten().chain(&self.open)
    }
}

/// What a warp is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can run.
    Ready,
    /// It waits at a barrier; the instruction is kept for messages.
    Waiting {
        /// Barrier number.
        barrier: u32,
        /// The `bar` instruction.
        pc: u32,
    },
    /// All its threads have exited.
    Done,
}

/// Lanes that wait at another instruction while the others run.
#[derive(Debug, Clone, Copy)]
struct Group {
    pc: u32,
    mask: u32,
}

/// A warp.
#[derive(Debug)]
pub struct Warp {
    /// 32-bit registers.
    pub r32: Vec<Row>,
    /// 64-bit registers.
    pub r64: Vec<Row64>,
    /// Predicates, a bit a lane.
    pub preds: Vec<u32>,
    /// Lanes that have written each register; see `Inst::uses`.
    pub init: Vec<u32>,
    /// Lanes that must not touch global memory: grids ahead, which they have not waited for, may still write it.
    pub early: u32,
    /// Lanes of the block: fewer than 32 in a last, partial warp.
    pub lanes: u32,
    /// Next instruction of the running lanes.
    pub pc: u32,
    /// Lanes that run.
    pub active: u32,
    groups: Vec<Group>,
    /// Smallest pc of the lanes that wait: the running ones must not pass it.
    pub next_stop: u32,
    /// What it is doing.
    pub state: State,
    /// Copies not committed so far.
    pub uncommitted: Vec<Copy>,
    /// Committed groups, oldest first.
    pub committed: VecDeque<CopyGroup>,
    /// Emptied groups, kept for their allocation.
    pub spare: Vec<CopyGroup>,
    /// Its products.
    pub wgmma: WgmmaState,
    /// Instructions run.
    pub steps: u64,
    /// Global buffer of the last access.
    pub hint: usize,
}

impl Warp {
    /// A warp with that many rows of each kind.
    pub fn new(rows: [u32; 3]) -> Self {
        Warp {
            r32: vec![[0; LANES]; rows[0] as usize],
            r64: vec![[0; LANES]; rows[1] as usize],
            preds: vec![0; rows[2] as usize],
            init: vec![0; rows.iter().sum::<u32>() as usize],
            early: 0,
            lanes: 0,
            pc: 0,
            active: 0,
            groups: Vec::new(),
            next_stop: u32::MAX,
            state: State::Ready,
            uncommitted: Vec::new(),
            committed: VecDeque::new(),
            spare: Vec::new(),
            wgmma: WgmmaState::default(),
            steps: 0,
            hint: 0,
        }
    }

    /// Starts a CTA with the warp's lanes at the first instruction. Registers keep their values but count as unwritten.
    /// `early` says that grids ahead may still run.
    pub fn start(&mut self, lanes: u32, early: bool) {
        self.init.fill(0);
        self.lanes = lanes;
        self.early = if early { lanes } else { 0 };
        self.pc = 0;
        self.active = lanes;
        self.groups.clear();
        self.next_stop = u32::MAX;
        self.state = State::Ready;
        self.uncommitted.clear();
        self.committed.clear();
        self.wgmma = WgmmaState::default();
        self.steps = 0;
    }

    /// A 32-bit source.
    #[inline(always)]
    pub fn get(&self, r: R32) -> Row {
        self.r32[r.0 as usize]
    }

    /// A 64-bit source.
    #[inline(always)]
    pub fn get64(&self, r: R64) -> Row64 {
        self.r64[r.0 as usize]
    }

    /// The lanes where a predicate holds.
    #[inline(always)]
    pub fn pred(&self, p: PredSrc) -> u32 {
        let bits = self.preds[p.pred.0 as usize];
        if p.negated { !bits } else { bits }
    }

    /// Writes a row in the lanes of `mask`.
    #[inline(always)]
    pub fn put(&mut self, d: R32, mask: u32, v: &Row) {
        let row = &mut self.r32[d.0 as usize];
        if mask == FULL {
            *row = *v;
            return;
        }
        for (l, (old, new)) in row.iter_mut().zip(v).enumerate() {
            *old = if mask >> l & 1 == 1 { *new } else { *old };
        }
    }

    /// Writes a 64-bit row in the lanes of `mask`.
    #[inline(always)]
    pub fn put64(&mut self, d: R64, mask: u32, v: &Row64) {
        let row = &mut self.r64[d.0 as usize];
        if mask == FULL {
            *row = *v;
            return;
        }
        for (l, (old, new)) in row.iter_mut().zip(v).enumerate() {
            *old = if mask >> l & 1 == 1 { *new } else { *old };
        }
    }

    /// Writes a predicate in the lanes of `mask`.
    #[inline(always)]
    pub fn put_pred(&mut self, d: Pred, mask: u32, bits: u32) {
        let p = &mut self.preds[d.0 as usize];
        *p = (*p & !mask) | (bits & mask);
    }

    /// The effective addresses of all lanes.
    #[inline(always)]
    pub fn addresses(&self, a: Address) -> Row64 {
        let offset = a.offset as u64;
        let mut out = [offset; LANES];
        match a.base {
            None => {}
            Some(Reg::R64(r)) => {
                for (o, v) in out.iter_mut().zip(&self.r64[r.0 as usize]) {
                    *o = v.wrapping_add(offset);
                }
            }
            Some(Reg::R32(r)) => {
                for (o, v) in out.iter_mut().zip(&self.r32[r.0 as usize]) {
                    *o = u64::from(v.wrapping_add(offset as u32));
                }
            }
            Some(Reg::Pred(_)) => {}
        }
        out
    }

    /// Sends the lanes of `taken` to `target`; the others of the running ones go on at the next instruction.
    pub fn branch(&mut self, taken: u32, target: u32) {
        let stay = self.active & !taken;
        if stay == 0 {
            self.pc = target;
        } else {
            self.pc += 1;
            if taken != 0 {
                self.active = stay;
                self.groups.push(Group { pc: target, mask: taken });
                self.next_stop = self.next_stop.min(target);
            }
        }
        self.reconverge();
    }

    /// Ends the threads of `mask`.
    pub fn exit(&mut self, mask: u32) {
        self.active &= !mask;
        self.pc += 1;
        if self.active == 0 && self.groups.is_empty() {
            self.state = State::Done;
            return;
        }
        self.reconverge();
    }

    /// Lets the lanes with the smallest pc run, joined with all that stand there too. Blocks are laid out so that code
    /// after an `if` or a loop follows it, so lanes wait at the place where control flow joins.
    #[inline]
    pub fn reconverge(&mut self) {
        if self.active != 0 && self.pc < self.next_stop {
            return;
        }
        self.switch();
    }

    #[cold]
    fn switch(&mut self) {
        if self.active != 0 {
            self.groups.push(Group { pc: self.pc, mask: self.active });
        }
        let pc = self.groups.iter().map(|g| g.pc).min().unwrap_or(u32::MAX);
        self.active = 0;
        let active = &mut self.active;
        self.groups.retain(|g| {
            if g.pc == pc {
                *active |= g.mask;
            }
            g.pc != pc
        });
        self.pc = pc;
        self.next_stop = self.groups.iter().map(|g| g.pc).min().unwrap_or(u32::MAX);
    }
}
