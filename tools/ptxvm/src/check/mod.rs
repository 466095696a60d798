//! Checks that need memory of their own.

pub mod cost;
pub mod cta_order;
pub mod cta_race;
pub mod race;
