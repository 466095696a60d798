//! Registers, modifiers and the operands of the larger instructions.

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

/// Memory order of a strong access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strong {
    /// `.acquire` or `.acq_rel`.
    pub acquire: bool,
    /// `.release` or `.acq_rel`.
    pub release: bool,
    /// Whether the scope reaches other CTAs.
    pub device: bool,
}

/// A load or a store.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where.
    pub space: MemSpace,
    /// Bytes of one element.
    pub size: u32,
    /// Whether the load promises that nobody writes (`.nc`).
    pub constant: bool,
    /// The memory order that was asked for (`.acquire`, `.relaxed`, `.volatile`, ...).
    pub strong: Option<Strong>,
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
    pub strong: Strong,
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

/// `wgmma.mma_async.m64nNk16` of two matrices in shared memory, both with rows along k.
#[derive(Debug)]
pub struct Wgmma {
    /// Columns, a multiple of 8.
    pub n: usize,
    /// Type of both matrices.
    pub half: Half,
    /// Sums: `n / 2` f32 registers.
    pub d: Vec<R32>,
    /// Descriptor of 64 rows.
    pub a: R64,
    /// Descriptor of `n` rows.
    pub b: R64,
    /// Whether products are added to the sums, and do not take their place.
    pub adds: PredSrc,
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
