//! Decoded instructions: what the machine executes. Operands are row numbers in a warp's register file; immediates,
//! special registers and symbol addresses are rows too, filled before the first instruction.

mod operands;

use std::sync::Arc;

pub use operands::*;

/// What an instruction does. `ftz` flushes subnormal inputs and outputs to zero, `sat` clamps to [0, 1].
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instructions' operands and modifiers")]
pub enum Op {
    Nop,
    Mov32 {
        d: R32,
        a: R32,
    },
    Mov64 {
        d: R64,
        a: R64,
    },
    MovPred {
        d: Pred,
        a: PredSrc,
    },
    /// Two 16-bit values into 32 bits.
    Pack32 {
        d: R32,
        lo: R32,
        hi: R32,
    },
    Unpack32 {
        lo: Option<R32>,
        hi: Option<R32>,
        a: R32,
    },
    Pack64 {
        d: R64,
        lo: R32,
        hi: R32,
    },
    Unpack64 {
        lo: Option<R32>,
        hi: Option<R32>,
        a: R64,
    },
    /// Four 16-bit values into 64 bits.
    PackQuad {
        d: R64,
        parts: [R32; 4],
    },
    UnpackQuad {
        parts: [Option<R32>; 4],
        a: R64,
    },
    Int {
        op: IntOp,
        ty: IntTy,
        d: R32,
        a: R32,
        b: R32,
    },
    Int64 {
        op: IntOp,
        signed: bool,
        d: R64,
        a: R64,
        b: R64,
    },
    Shift64 {
        op: IntOp,
        signed: bool,
        d: R64,
        a: R64,
        b: R32,
    },
    IntUn {
        op: IntUnary,
        ty: IntTy,
        d: R32,
        a: R32,
    },
    IntUn64 {
        op: IntUnary,
        d: R64,
        a: R64,
    },
    /// `popc` and `clz` of 64 bits.
    Count64 {
        op: IntUnary,
        d: R32,
        a: R64,
    },
    Mad {
        ty: IntTy,
        hi: bool,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    Mad64 {
        d: R64,
        a: R64,
        b: R64,
        c: R64,
    },
    /// 16 x 16 bits to 32.
    MulWide16 {
        signed: bool,
        d: R32,
        a: R32,
        b: R32,
        c: Option<R32>,
    },
    /// 32 x 32 bits to 64.
    MulWide {
        signed: bool,
        d: R64,
        a: R32,
        b: R32,
        c: Option<R64>,
    },
    Bfe {
        signed: bool,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    Bfi {
        d: R32,
        a: R32,
        b: R32,
        c: R32,
        e: R32,
    },
    Lop3 {
        lut: u8,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    Prmt {
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    Shf {
        left: bool,
        wrap: bool,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    F32 {
        op: FloatOp,
        ftz: bool,
        sat: bool,
        d: R32,
        a: R32,
        b: R32,
    },
    F32Fma {
        ftz: bool,
        sat: bool,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    F32Un {
        op: FloatUnary,
        ftz: bool,
        d: R32,
        a: R32,
    },
    F64 {
        op: FloatOp,
        d: R64,
        a: R64,
        b: R64,
    },
    F64Fma {
        d: R64,
        a: R64,
        b: R64,
        c: R64,
    },
    F64Un {
        op: FloatUnary,
        d: R64,
        a: R64,
    },
    /// f16, bf16 and their packed pairs.
    Half {
        op: FloatOp,
        half: Half,
        packed: bool,
        ftz: bool,
        sat: bool,
        d: R32,
        a: R32,
        b: R32,
    },
    HalfFma {
        half: Half,
        packed: bool,
        ftz: bool,
        sat: bool,
        relu: bool,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    HalfUn {
        op: FloatUnary,
        half: Half,
        packed: bool,
        ftz: bool,
        d: R32,
        a: R32,
    },
    Setp(Box<Setp>),
    /// `set`: all ones (or 1.0 for an f32 result) where the compare holds.
    Set {
        setp: Box<Setp>,
        float: bool,
        d: R32,
    },
    Selp32 {
        d: R32,
        a: R32,
        b: R32,
        p: PredSrc,
    },
    Selp64 {
        d: R64,
        a: R64,
        b: R64,
        p: PredSrc,
    },
    /// `slct`: a where c is not negative.
    Slct {
        d: R32,
        a: R32,
        b: R32,
        c: R32,
        float: bool,
    },
    Combine {
        op: BoolOp,
        d: Pred,
        a: PredSrc,
        b: PredSrc,
    },
    Cvt(Box<Cvt>),
    /// Two f32 to a packed pair; `hi` is the first source as written.
    CvtPack {
        half: Half,
        relu: bool,
        d: R32,
        hi: R32,
        lo: R32,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    Atom(Box<Atom>),
    CpAsync(Box<CpAsync>),
    CpCommit,
    /// Waits until at most this many groups are in flight; `wait_all` also takes uncommitted copies.
    CpWait {
        groups: u32,
        all: bool,
    },
    Ldmatrix(Box<Matrix>),
    Stmatrix(Box<Matrix>),
    Mma(Box<Mma>),
    Wgmma(Arc<Wgmma>),
    WgmmaFence,
    WgmmaCommit,
    /// Waits until at most this many groups are under way.
    WgmmaWait {
        groups: u32,
    },
    /// What this thread wrote to shared memory may be read by the asynchronous proxy, which `wgmma` reads by.
    ProxyFence,
    Bar {
        id: R32,
        count: Option<R32>,
        arrive: bool,
    },
    BarWarp {
        members: R32,
    },
    /// A fence whose scope reaches other CTAs.
    Fence {
        sc: bool,
    },
    /// Waits for the grids before: from here on their results are there.
    GridWait,
    Shfl(Box<Shfl>),
    Vote {
        mode: VoteMode,
        d: Reg,
        a: PredSrc,
        members: R32,
    },
    Redux {
        op: ReduxOp,
        d: R32,
        a: R32,
        members: R32,
    },
    ActiveMask {
        d: R32,
    },
    /// Generic addresses of shared memory lie in a window; `into` adds its start, else it is taken off.
    CvtaShared {
        into: bool,
        d: R64,
        a: R64,
    },
    Branch {
        target: u32,
        uniform: bool,
    },
    Exit,
    Trap,
}

/// A decoded instruction.
#[derive(Debug, Clone)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Its guard predicate.
    pub guard: Option<PredSrc>,
    /// Line in the PTX text.
    pub line: u32,
    /// Counter class.
    pub class: Class,
    /// Registers that must have been written, as rows of the initialisation table.
    pub uses: Box<[u32]>,
    /// Registers that it writes, likewise.
    pub defs: Box<[u32]>,
}

impl Op {
    /// The class under which the counters put this instruction.
    pub fn class(&self) -> Class {
        match self {
            Op::Mma(_) | Op::Wgmma(_) => Class::Mma,
            Op::Ldmatrix(_) => Class::Ldmatrix,
            Op::CpAsync(_) | Op::CpCommit | Op::CpWait { .. } => Class::CpAsync,
            Op::Load(a) => match a.space {
                MemSpace::Shared => Class::LoadShared,
                MemSpace::Global | MemSpace::Generic => Class::LoadGlobal,
                MemSpace::Const | MemSpace::Param => Class::LoadOther,
            },
            Op::Store(a) if a.space == MemSpace::Shared => Class::StoreShared,
            Op::Store(_) => Class::StoreGlobal,
            Op::Stmatrix(_) => Class::StoreShared,
            Op::Atom(_) => Class::Atomic,
            Op::F32Un { op, .. } | Op::F64Un { op, .. } | Op::HalfUn { op, .. } => match op {
                FloatUnary::Neg | FloatUnary::Abs => Class::Float,
                _ => Class::Mufu,
            },
            Op::F32 { op: FloatOp::Div, .. } | Op::F64 { op: FloatOp::Div, .. } => Class::Mufu,
            Op::F32 { .. } | Op::F32Fma { .. } | Op::F64 { .. } | Op::F64Fma { .. } => Class::Float,
            Op::Half { .. } | Op::HalfFma { .. } => Class::Half,
            Op::Setp(_) | Op::Set { .. } | Op::Selp32 { .. } | Op::Selp64 { .. } | Op::Slct { .. } => Class::Compare,
            Op::Combine { .. } => Class::Compare,
            Op::Cvt(_) | Op::CvtPack { .. } => Class::Convert,
            Op::Mov32 { .. } | Op::Mov64 { .. } | Op::MovPred { .. } => Class::Move,
            Op::Pack32 { .. } | Op::Unpack32 { .. } | Op::Pack64 { .. } | Op::Unpack64 { .. } => Class::Move,
            Op::PackQuad { .. } | Op::UnpackQuad { .. } | Op::CvtaShared { .. } => Class::Move,
            Op::Shfl(_) | Op::Vote { .. } | Op::Redux { .. } | Op::ActiveMask { .. } => Class::Shuffle,
            Op::Bar { .. } | Op::BarWarp { .. } | Op::Fence { .. } | Op::GridWait | Op::ProxyFence => Class::Barrier,
            Op::WgmmaFence | Op::WgmmaCommit | Op::WgmmaWait { .. } => Class::Barrier,
            Op::Branch { .. } | Op::Exit => Class::Branch,
            Op::Nop | Op::Trap => Class::Other,
            _ => Class::Integer,
        }
    }
}
