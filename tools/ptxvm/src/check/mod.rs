//! Checks that need memory of their own.

pub mod cost;
pub mod race;
