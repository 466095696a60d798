//! Programmatic dependent launch (sm_90 and later): within a recording a kernel's blocks are brought to the
//! multiprocessors while the kernel before still runs, and wait there for its results. What that saves is the gap
//! between two launches.
//!
//! Every kernel waits before it touches global memory, so the order of the launches stays the order of their effects;
//! the interpreter refuses a kernel that does not. Only the start of the text differs from that of an ordinary launch.

use std::borrow::Cow;

use super::kernels::Kernel;
use crate::backend::Launches;
use crate::error::{Error, Result};

/// What kernels are written for.
const HEADER: &str = ".version 7.5\n.target sm_80\n";
/// But for those of `wgmma`, whose header already has what dependent launches need.
const WGMMA_HEADER: &str = ".version 8.0\n.target sm_90a\n";
/// `griddepcontrol` came with PTX 7.8 and sm_90.
const DEPENDENT_HEADER: &str = ".version 7.8\n.target sm_90\n";
/// The start of a kernel's body: the only line of its own brace.
const BODY: &str = "\n{\n";
/// The next kernel comes only once this one's wait is over, so that one kernel at a time stands in line and none takes
/// room from blocks that have work.
const DEPENDENT_BODY: &str = "
{
    griddepcontrol.wait;              // what the kernel before wrote is there, and what it read may be overwritten
    griddepcontrol.launch_dependents; // the next kernel's blocks may come when all of this one's are here
";

/// The text of `kernel` that the driver loads for such launches.
///
/// # Errors
/// [`Error::Internal`] for a text that does not begin as every kernel does.
pub fn text<'a>(kernel: &Kernel, ptx: &'a str, launches: Launches) -> Result<Cow<'a, str>> {
    if launches == Launches::Ordered {
        return Ok(ptx.into());
    }
    let (header, dependent) =
        if kernel.target() == "sm_90a" { (WGMMA_HEADER, WGMMA_HEADER) } else { (HEADER, DEPENDENT_HEADER) };
    if ptx.matches(header).count() != 1 || ptx.matches(BODY).count() != 1 {
        let what = format!("no single {header:?} and {BODY:?}");
        return Err(Error::Internal { place: kernel.entry.into(), what });
    }
    Ok(ptx.replace(header, dependent).replace(BODY, DEPENDENT_BODY).into())
}
