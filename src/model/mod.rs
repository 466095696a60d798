//! The network as graph-building functions: names and shapes, no arithmetic.

pub mod config;
pub mod conmoae;
pub mod image_encoder;
mod layers;
pub mod mask_decoder;
pub mod prompt_encoder;
pub mod tiny_vit;

pub use config::{Adapters, Config, Kind, Masks, Preset, Stage, TinyVit};
pub use mask_decoder::Prompts;
