//! The kernels and their PTX, exactly as the driver loads it.

pub use super::table::Kernel;
use crate::error::{Error, Result};

/// PTX texts in the order of the table, expanded by build.rs.
const PTX: &[&str] = include!(concat!(env!("OUT_DIR"), "/ptx/list.rs"));

/// Parameters of each, as its PTX declares them.
const PARAMS: &[&[(&str, Type)]] = include!(concat!(env!("OUT_DIR"), "/ptx/params.rs"));

/// Name, registers on the oldest architecture that it is for and shared memory of each, as ptxas gives them: from
/// kernels/README.md, which a test compares with a fresh run.
const RESOURCES: &[(&str, u32, u32)] = include!(concat!(env!("OUT_DIR"), "/ptx/resources.rs"));

/// Type of a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Address in global memory, `.u64`.
    Pointer,
    /// Size, stride or flag, `.u32`.
    U32,
    /// `.f32`.
    F32,
}

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

/// The parameters of the kernel of index `index`, in order.
pub fn params(index: usize) -> &'static [(&'static str, Type)] {
    PARAMS[index]
}

/// Registers of a thread and bytes of shared memory of a block of the kernel `entry` on the oldest architecture that it
/// is for.
pub fn resources(entry: &str) -> Option<(u32, u32)> {
    RESOURCES.iter().find(|(name, ..)| *name == entry).map(|&(_, registers, shared)| (registers, shared))
}
