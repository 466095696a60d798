//! The C ABI: `include/medsegx.h` says what each function promises. Everything here is a thin, checked layer over
//! [`crate::segment`], which the command line calls too.
//!
//! Rules of this layer: every function runs inside [`boundary::guard`], so no panic crosses; every pointer is checked for
//! NULL; out-parameters are set before anything can fail; sizes of caller's structs are read from their `struct_size`.
#![allow(unsafe_code, reason = "raw pointers are what a C ABI is made of")]

mod boundary;
mod context;
mod model;
mod session;
mod slice;
mod status;
mod structs;
mod version;
mod volume;
