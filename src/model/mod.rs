//! The network as graph-building functions: names and shapes, no arithmetic.

pub mod config;

pub use config::{Adapters, Config, Kind};
