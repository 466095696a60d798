//! Decoded instructions: what the machine executes. Operands are row numbers in a warp's register file; immediates,
//! special registers and symbol addresses are rows too, filled before the first instruction.

/// Row of 32 lanes of 32 bits; 16-bit values stand in the low half, the high half means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct R32(pub u32);

/// Row of 32 lanes of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct R64(pub u32);

/// Predicate: one bit a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pred(pub u32);

/// Any register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after what they hold")]
pub enum Reg {
    R32(R32),
    R64(R64),
    Pred(Pred),
}

/// A predicate as a source, possibly negated.
#[derive(Debug, Clone, Copy)]
pub struct PredSrc {
    /// The predicate.
    pub pred: Pred,
    /// Whether its complement is meant.
    pub negated: bool,
}

/// Declares an enum whose variants need no more explanation than the instruction of the same name.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are the instructions'")]
        pub enum $name { $($variant),* }
    };
}

named! {
    /// Integer instructions of two sources; shifts take their amount from 32 bits.
    IntOp { Add, Sub, MulLo, MulHi, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr }
}
named! {
    /// Integer instructions of one source.
    IntUnary { Not, Neg, Abs, Popc, Clz, Brev, Cnot }
}
named! {
    /// Width and sign of an integer instruction.
    IntTy { U16, S16, U32, S32, U64, S64 }
}
named! {
    /// Floating-point instructions of two sources.
    FloatOp { Add, Sub, Mul, Div, Min, Max, MinNan, MaxNan }
}
named! {
    /// Floating-point instructions of one source.
    FloatUnary { Neg, Abs, Rcp, Sqrt, Rsqrt, Ex2, Lg2, Tanh, Sin, Cos }
}
named! {
    /// The two 16-bit floating-point formats.
    Half { F16, BF16 }
}
named! {
    /// Comparisons; the `U` forms of floats are true for NaN.
    Cmp { Eq, Ne, Lt, Le, Gt, Ge, EqU, NeU, LtU, LeU, GtU, GeU, Num, Nan }
}
named! {
    /// How a compare instruction reads its sources.
    CmpTy { U16, S16, U32, S32, U64, S64, F16, BF16, F32, F64 }
}
named! {
    /// Boolean instructions on predicates.
    BoolOp { And, Or, Xor }
}
named! {
    /// Number formats of `cvt`.
    Num { U8, S8, U16, S16, U32, S32, U64, S64, F16, BF16, F32, F64 }
}
named! {
    /// Rounding of `cvt`; the `I` forms round to an integral value.
    Round { None, Rn, Rz, Rm, Rp, Rni, Rzi, Rmi, Rpi }
}
named! {
    /// State spaces of memory instructions.
    MemSpace { Global, Shared, Const, Param, Generic }
}
named! {
    /// Atomic operations.
    AtomOp { Add, Min, Max, And, Or, Xor, Exch, Cas, Inc, Dec }
}
named! {
    /// Number formats of atomics.
    AtomTy { U32, S32, B32, U64, S64, B64, F32, F16x2, BF16x2 }
}
named! {
    /// Shuffle modes.
    ShflMode { Up, Down, Bfly, Idx }
}
named! {
    /// Vote modes.
    VoteMode { All, Any, Uni, Ballot }
}
named! {
    /// `redux.sync` operations.
    ReduxOp { Add, MinU, MinS, MaxU, MaxS, And, Or, Xor }
}
named! {
    /// Classes of the counters.
    Class {
        Mma, Ldmatrix, CpAsync, LoadShared, StoreShared, LoadGlobal, StoreGlobal, Atomic, LoadOther, Float, Half, Integer,
        Mufu, Convert, Move, Compare, Shuffle, Branch, Barrier, Other,
    }
}

/// Base and offset of an address.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Base register, if any.
    pub base: Option<Reg>,
    /// Bytes added to it.
    pub offset: i64,
}

/// A load or a store.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where.
    pub space: MemSpace,
    /// Bytes of one element.
    pub size: u32,
    /// Whether a narrow load extends the sign.
    pub signed: bool,
    /// The elements' registers; `None` where a vector says `_`.
    pub regs: Vec<Option<Reg>>,
    /// The address.
    pub address: Address,
}

impl Access {
    /// Bytes that one thread touches.
    pub fn bytes(&self) -> u32 {
        self.size * self.regs.len() as u32
    }
}

/// `setp`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct Setp {
    pub cmp: Cmp,
    pub ty: CmpTy,
    pub ftz: bool,
    pub combine: Option<(BoolOp, PredSrc)>,
    pub p: Option<Pred>,
    pub q: Option<Pred>,
    pub a: Reg,
    pub b: Reg,
}

/// `cvt` of one value.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands and modifiers")]
pub struct Cvt {
    pub to: Num,
    pub from: Num,
    pub round: Round,
    pub ftz: bool,
    pub sat: bool,
    pub satfinite: bool,
    pub relu: bool,
    pub d: Reg,
    pub a: Reg,
}

/// `atom` and `red`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct Atom {
    pub space: MemSpace,
    pub op: AtomOp,
    pub ty: AtomTy,
    pub d: Option<Reg>,
    pub address: Address,
    pub b: Reg,
    pub c: Option<Reg>,
}

/// `cp.async`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct CpAsync {
    pub dst: Address,
    pub src: Address,
    pub size: u32,
    pub src_size: Option<R32>,
    pub ignore: Option<PredSrc>,
}

/// `ldmatrix` or `stmatrix` of one, two or four 8x8 matrices of 16-bit elements.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct Matrix {
    pub regs: Vec<R32>,
    pub address: Address,
    pub trans: bool,
}

/// `mma.sync.m16n8kK`, K 8 or 16.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct Mma {
    pub k: usize,
    pub half: Half,
    /// Accumulators in f16 (2 registers each for c and d) instead of f32 (4).
    pub acc_f16: bool,
    pub d: Vec<R32>,
    pub a: Vec<R32>,
    pub b: Vec<R32>,
    pub c: Vec<R32>,
}

/// `shfl.sync`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the instruction's operands")]
pub struct Shfl {
    pub mode: ShflMode,
    pub d: R32,
    pub p: Option<Pred>,
    pub a: R32,
    pub b: R32,
    pub c: R32,
    pub members: R32,
}

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
    Bar {
        id: R32,
        count: Option<R32>,
        arrive: bool,
    },
    BarWarp {
        members: R32,
    },
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
            Op::Mma(_) => Class::Mma,
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
            Op::Bar { .. } | Op::BarWarp { .. } => Class::Barrier,
            Op::Branch { .. } | Op::Exit => Class::Branch,
            Op::Nop | Op::Trap => Class::Other,
            _ => Class::Integer,
        }
    }
}
