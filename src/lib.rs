//! medsegx: a volume, a box and a name in, a mask out.
//!
//! The modules follow the way the data go:
//!
//! ```text
//! volume -> slices -> prompts + context -> graph -> plan -> executor -> backend -> logits -> chosen mask -> volume
//! ```
//!
//! Dimension letters, used everywhere: `B` slices or prompts in a batch, `H` `W` pixels, `S` side of the model's
//! picture, `N` image tokens, `D` encoder width, `h` heads, `d` head dim, `E` experts, `R` bottleneck, `e` embedding of
//! the context, `P` prompt width, `T` prompt-side tokens, `M` masks.
//!
//! A volume and a box in, a mask out ([`segment`] is the whole path on one page):
//!
//! ```
//! # #[cfg(all(feature = "demo-weights", feature = "cli"))]
//! # fn main() -> medsegx::Result<()> {
//! use std::sync::Arc;
//! use medsegx::mask::MaskChoice;
//! use medsegx::segment::{Capacity, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
//! use medsegx::taxonomy::{Query, resolve};
//!
//! let model = Arc::new(Model::load(&medsegx::weights::demo::open()?, &ModelOptions::default())?);
//! let mut session = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto)?;
//! let context = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() })?;
//!
//! // A bright disc on a dark slice of 64 x 64 pixels.
//! let disc = |i: usize| if (i % 64).abs_diff(32).pow(2) + (i / 64).abs_diff(32).pow(2) < 256 { 200 } else { 40 };
//! let pixels: Vec<u8> = (0..64 * 64).map(disc).collect();
//! let picture = Picture { pixels: &pixels, height: 64, width: 64, channels: 1 };
//! let frame = session.set_slice(&picture, Some(&context))?;
//!
//! let (mut points, mut mask) = (Vec::new(), vec![0; 64 * 64]);
//! prompt_points(&frame, &[], Some([16.0, 16.0, 48.0, 48.0]), &mut points);
//! let mut answers = session.answer(&[Prompt { slot: 0, points: &points, mask: None }])?;
//! answers.mask(0, answers.verdict(0).chosen, &mut mask)?;
//! assert_eq!((mask[32 * 64 + 32], mask[0]), (1, 0));
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "demo-weights", feature = "cli")))]
//! # fn main() {}
//! ```
//!
//! The library never panics on bad input, never prints and touches no global state.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[doc(hidden)]
pub mod atomic;
#[doc(hidden)]
pub mod backend;
#[cfg(feature = "capi")]
#[doc(hidden)]
pub mod capi;
#[doc(hidden)]
pub mod codes;
#[cfg(feature = "dicom")]
#[doc(hidden)]
pub mod dicom;
pub mod error;
#[doc(hidden)]
pub mod eval;
#[doc(hidden)]
pub mod executor;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod image;
pub mod mask;
#[doc(hidden)]
pub mod medsegdb;
mod memory;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod params;
#[doc(hidden)]
pub mod preview;
pub mod prompt;
#[doc(hidden)]
pub mod score;
pub mod segment;
#[doc(hidden)]
pub mod stats;
pub mod taxonomy;
#[cfg(test)]
#[allow(dead_code, reason = "the suite's table, of which unit tests use a part")]
#[path = "../tests/common/tolerance.rs"]
mod tolerance;
pub mod tune;
pub mod volume;
pub mod weights;
mod zip;

pub use error::{Error, Result};

/// The README's Rust is compiled and run.
#[cfg(all(doctest, feature = "demo-weights", feature = "cli"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The version of this library, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
