//! The kernels and their PTX, exactly as the driver loads it.

pub use super::table::{Kernel, Type};
use crate::error::{Error, Result};

/// PTX texts in the order of the table, expanded by build.rs.
const PTX: &[&str] = include!(concat!(env!("OUT_DIR"), "/ptx/list.rs"));

/// The tables that tests compute, see [`registers`].
const README: &str = include_str!("../../../kernels/README.md");

/// All kernels, in the order of their index.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    super::table::KERNELS.iter().copied().flatten()
}

/// Number of kernels.
pub fn count() -> usize {
    PTX.len()
}

/// Index, row and PTX of the kernel `entry`.
///
/// # Errors
/// No kernel has this name.
pub fn find(entry: &str) -> Result<(usize, &'static Kernel, &'static str)> {
    let found = all().zip(PTX).enumerate().find(|(_, (kernel, _))| kernel.entry == entry);
    let (index, (kernel, ptx)) =
        found.ok_or_else(|| Error::Internal { place: "kernels".into(), what: format!("no kernel {entry}") })?;
    Ok((index, kernel, ptx))
}

/// The PTX text of every kernel.
pub fn texts() -> impl Iterator<Item = (&'static Kernel, &'static str)> {
    all().zip(PTX.iter().copied())
}

/// Registers of a thread and bytes of shared memory of a block of the kernel `entry` on sm_80, as ptxas gives them:
/// columns of the table in kernels/README.md, which a test compares with a fresh run.
pub fn resources(entry: &str) -> Option<(u32, u32)> {
    let row = README.lines().find(|line| line.starts_with(&format!("| {entry} |")))?;
    let mut cells = row.split('|').map(str::trim).skip(4);
    let shared = cells.next()?.parse().ok()?;
    Some((cells.next()?.parse().ok()?, shared))
}

/// Warp instructions of a kernel, as ptxvm counted them in the launch that kernels/README.md names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instructions {
    /// Of a launch for each of its `mma`; `None` without any.
    pub per_mma: Option<f64>,
    /// Of a launch for each of its blocks.
    pub per_block: f64,
}

/// Instructions of the kernel `entry`: columns of a table in kernels/README.md, which a test compares with a fresh count.
pub fn instructions(entry: &str) -> Option<Instructions> {
    let (_, costs) = README.split_once("<!-- costs -->")?;
    let row = costs.lines().find(|line| line.starts_with(&format!("| {entry} |")))?;
    let mut cells = row.split('|').map(str::trim).skip(3);
    let per_mma = cells.next()?.parse().ok();
    Some(Instructions { per_mma, per_block: cells.next()?.parse().ok()? })
}
