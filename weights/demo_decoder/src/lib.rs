//! The mask decoder and the prompt encoder of the demo weights of medsegx, as the bytes of a part of its
//! safetensors file.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The second part of the file, as it is.
pub const BYTES: &[u8] = include_bytes!("../decoder.part");
