//! Every way in which parsing, memory calls and launches fail.

use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A closed list of failures, with their context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The PTX text is malformed or uses something this machine does not know.
    #[error("line {line}: {what}: `{text}`")]
    Parse {
        /// Line of the PTX text, from 1.
        line: u32,
        /// That line, trimmed.
        text: String,
        /// What is wrong with it.
        what: String,
    },
    /// The launch does not fit the entry, before any thread ran.
    #[error("entry {entry}: {what}: expected {expected}, found {found}")]
    Launch {
        /// The entry's name.
        entry: String,
        /// What was checked.
        what: &'static str,
        /// What the PTX asks for.
        expected: String,
        /// What the launch gave.
        found: String,
    },
    /// A host call on device memory was refused.
    #[error("{call} of {bytes} bytes at {address:#x}: {what}")]
    Memory {
        /// `alloc`, `free`, `read` or `write`.
        call: &'static str,
        /// Device address.
        address: u64,
        /// Length of the request.
        bytes: u64,
        /// Why it was refused.
        what: String,
    },
    /// A thread did something wrong while the kernel ran.
    #[error(transparent)]
    Fault(Box<Fault>),
}

/// A fault of a running kernel, and where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the entry.
    pub entry: String,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// That line, trimmed.
    pub text: String,
    /// `%ctaid`.
    pub cta: [u32; 3],
    /// `%tid` of the first thread concerned.
    pub thread: [u32; 3],
    /// What went wrong.
    pub kind: FaultKind,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([x, y, z], [i, j, k]) = (self.cta, self.thread);
        let (entry, line, kind, text) = (&self.entry, self.line, &self.kind, &self.text);
        write!(f, "{entry}, line {line}, CTA ({x},{y},{z}), thread ({i},{j},{k}): {kind}: `{text}`")
    }
}

/// What a thread did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// No buffer, or not the whole access inside one.
    #[error("{access} of {bytes} bytes at {address:#x} is out of bounds: {nearest}")]
    OutOfBounds {
        /// The kind of access: `load from global` and the like.
        access: &'static str,
        /// The address in its space.
        address: u64,
        /// Bytes of one thread's access.
        bytes: u32,
        /// What lies near, in words.
        nearest: String,
    },
    /// The address is no multiple of what the instruction needs.
    #[error("{access} at {address:#x} is misaligned: needs {align} bytes")]
    Misaligned {
        /// The kind of access.
        access: &'static str,
        /// The address in its space.
        address: u64,
        /// Alignment in bytes.
        align: u32,
    },
    /// Bytes that nobody wrote were read.
    #[error("{access} of {bytes} bytes at {address:#x} reads uninitialised memory")]
    UninitialisedMemory {
        /// The kind of access.
        access: &'static str,
        /// The address in its space.
        address: u64,
        /// Bytes of one thread's access.
        bytes: u32,
    },
    /// A register was read before it was written.
    #[error("register {register} is read before it is written")]
    UninitialisedRegister {
        /// Its name in the PTX.
        register: String,
    },
    /// A write to read-only memory.
    #[error("write to read-only memory at {address:#x}")]
    ReadOnly {
        /// The address.
        address: u64,
    },
    /// Two threads touched the same bytes without a barrier between them.
    #[error(
        "race on {space} memory at {address:#x}: {this} here, {other} by thread {thread} at line {line} without a barrier between"
    )]
    Race {
        /// `shared` or `global`.
        space: &'static str,
        /// The address in its space.
        address: u64,
        /// `read` or `write`.
        this: &'static str,
        /// `read` or `write`.
        other: &'static str,
        /// The other thread, counted linearly in its CTA.
        thread: u32,
        /// Line of the other access.
        line: u32,
    },
    /// Two CTAs touched the same bytes of global memory, and nothing orders them: no atomics with the fences they need.
    #[error(
        "race on global memory at {address:#x}: {this} here, {other} by {by} at line {line}; nothing orders these CTAs"
    )]
    CtaRace {
        /// Device address.
        address: u64,
        /// `read` or `write`.
        this: &'static str,
        /// `read` or `write`.
        other: &'static str,
        /// The other CTA, counted linearly, in words.
        by: String,
        /// Line of the other access.
        line: u32,
    },
    /// Shared memory with a `cp.async` in flight was touched before its wait.
    #[error("{access} at {address:#x} touches bytes of a cp.async that was not waited for")]
    AsyncInFlight {
        /// The kind of access.
        access: &'static str,
        /// The address in shared memory.
        address: u64,
    },
    /// `wgmma` read what was written by another way, and no fence lies between.
    #[error(
        "{access} at {address:#x} of what thread {thread} wrote at line {line}, without fence.proxy.async and a barrier between"
    )]
    NoProxyFence {
        /// The kind of access.
        access: &'static str,
        /// The address in shared memory.
        address: u64,
        /// The thread that wrote, counted linearly in its CTA.
        thread: u32,
        /// Line of the write.
        line: u32,
    },
    /// A register was touched whose `wgmma` was not waited for.
    #[error("register {register} is touched before the wait of the wgmma that it belongs to")]
    WgmmaInFlight {
        /// Its name in the PTX.
        register: String,
    },
    /// A `wgmma` that hardware would not do, or not as it is meant.
    #[error("bad wgmma: {what}")]
    BadWgmma {
        /// What is wrong.
        what: String,
    },
    /// Global memory was touched before the thread's `griddepcontrol.wait`, in an entry that has one.
    #[error("{access} at {address:#x} before griddepcontrol.wait: grids ahead may still write or read it")]
    BeforeGridWait {
        /// The kind of access.
        access: &'static str,
        /// The address.
        address: u64,
    },
    /// A barrier or an `.aligned` instruction was not executed by the whole warp.
    #[error("{instruction} needs the whole warp, but only lanes {mask:#010x} of {expected:#010x} are here")]
    Divergent {
        /// The instruction's name.
        instruction: &'static str,
        /// Lanes that execute it.
        mask: u32,
        /// Lanes that must.
        expected: u32,
    },
    /// A `.sync` instruction names lanes that do not execute it, or leaves out one that does.
    #[error("{instruction}: member mask {members:#010x}, but lanes {mask:#010x} are here")]
    MemberMask {
        /// The instruction's name.
        instruction: &'static str,
        /// The mask operand.
        members: u32,
        /// Lanes that execute it.
        mask: u32,
    },
    /// A shuffle reads from a lane that does not take part.
    #[error("shfl reads from lane {source_lane}, which does not take part")]
    ShuffleSource {
        /// The lane that is read.
        source_lane: u32,
    },
    /// Threads wait for others that never come.
    #[error("barrier {barrier} waits for {expected} threads, only {arrived} can arrive: {why}")]
    BarrierHang {
        /// Barrier number.
        barrier: u32,
        /// Threads it waits for.
        expected: u32,
        /// Threads that arrived.
        arrived: u32,
        /// Where the others are.
        why: String,
    },
    /// A barrier's number, count or use is wrong.
    #[error("bad barrier: {what}")]
    BadBarrier {
        /// What is wrong.
        what: String,
    },
    /// A warp ran more instructions than the budget allows.
    #[error("the warp ran {budget} instructions without an end: an infinite loop")]
    Budget {
        /// The limit.
        budget: u64,
    },
    /// The end of the entry was reached without `ret` or `exit`.
    #[error("control runs past the end of the entry")]
    NoReturn,
    /// `trap` was executed.
    #[error("trap")]
    Trap,
}
