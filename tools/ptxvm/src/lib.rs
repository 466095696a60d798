//! Runs PTX on the CPU, checks it as a sanitizer would and counts what it costs.
//!
//! ```
//! # fn main() -> Result<(), ptxvm::Error> {
//! let text = "
//! .version 7.5
//! .target sm_80
//! .address_size 64
//! .visible .entry twice(.param .u64 x) {
//!     .reg .b64 %p;
//!     .reg .u32 %i;
//!     .reg .f32 %v;
//!     ld.param.u64 %p, [x];
//!     mov.u32 %i, %tid.x;
//!     mad.wide.u32 %p, %i, 4, %p;
//!     ld.global.f32 %v, [%p];
//!     add.rn.f32 %v, %v, %v;
//!     st.global.f32 [%p], %v;
//!     ret;
//! }";
//! let module = ptxvm::Module::parse(text)?;
//! let mut gpu = ptxvm::Machine::new();
//! let x = gpu.alloc(4 * 64)?;
//! let values: Vec<u8> = (0..64).flat_map(|i| (i as f32).to_le_bytes()).collect();
//! gpu.write(x, &values)?;
//! let launch = ptxvm::Launch { grid: [1, 1, 1], block: [64, 1, 1], shared_bytes: 0 };
//! let report = gpu.launch(&module, "twice", launch, &x.to_le_bytes())?;
//! let mut last = [0; 4];
//! gpu.read(x + 4 * 63, &mut last)?;
//! assert_eq!(f32::from_le_bytes(last), 126.0);
//! assert_eq!(report.counters.sectors, report.counters.sectors_ideal);
//! # Ok(())
//! # }
//! ```
//!
//! The text goes through `parse` (tokens, statements), `decode` (registers become rows of a warp's register file) and
//! is run by `machine` (launches, CTAs, warps) with the instructions of `ops`; `check` and `counters` look on.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![warn(missing_docs)]

mod check;
mod counters;
mod decode;
mod error;
mod isa;
mod machine;
mod module;
mod ops;
mod parse;

pub use counters::{Counters, Line, Report};
pub use decode::{Entry, Param};
pub use error::{Error, Fault, FaultKind, Result};
pub use isa::Class;
pub use machine::{Checks, Launch, Machine, SHARED_BASE};
pub use module::{Arg, Module};
