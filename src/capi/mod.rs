//! The C ABI. What this module says in doc comments is what `include/medsegx.h` says: cbindgen makes the header from it,
//! and `tests/capi/run.sh` compares. Everything here is a thin, checked layer over [`crate::segment`], which the command
//! line calls too.
//!
//! Rules of this layer: every function that can fail runs inside [`boundary::guard`], so no panic crosses; every pointer
//! is checked for NULL; out-parameters are set before anything can fail; sizes of caller's structs are read from their
//! `struct_size`.
#![allow(unsafe_code, reason = "raw pointers are what a C ABI is made of")]
#![allow(non_camel_case_types, reason = "types have the names that C programs use")]

// In the order of the header.
mod status;

mod codes;

mod structs;

mod version;

mod model;

mod session;

mod context;

mod slice;

mod prompted;

mod volume;

mod tune;

// Not in the header.
mod asked;
mod boundary;
mod panics;
mod versioned;

#[cfg(test)]
mod tests;
