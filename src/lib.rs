//! medsegx: a volume, a box and a name in, a mask out.
//!
//! The modules follow the way the data go:
//!
//! ```text
//! volume -> slices -> prompts + context -> graph -> plan -> executor -> backend -> logits -> chosen mask -> volume
//! ```
//!
//! Dimension letters, used everywhere: `B` slices or prompts in a batch, `H` `W` pixels, `S` side of the model's picture,
//! `N` image tokens, `D` encoder width, `h` heads, `d` head dim, `E` experts, `R` bottleneck, `e` embedding of the
//! context, `P` prompt width, `T` prompt-side tokens, `M` masks.
//!
//! The library never panics on bad input, never prints and touches no global state.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod atomic;
pub mod backend;
#[cfg(feature = "capi")]
pub mod capi;
pub mod codes;
#[cfg(feature = "dicom")]
pub mod dicom;
pub mod error;
pub mod eval;
pub mod executor;
pub mod graph;
pub mod image;
pub mod mask;
mod memory;
pub mod model;
pub mod params;
pub mod prompt;
pub mod score;
pub mod segment;
pub mod taxonomy;
pub mod tune;
pub mod volume;
pub mod weights;

pub use error::{Error, Result};

/// The version of this library, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
