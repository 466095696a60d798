//! Blocks a multiprocessor: the number that a kernel asks ptxas for (`.minnctapersm`) bounds the registers of a thread.
//! Each template has the one that registers and shared memory speak for; whoever measures may ask for more or fewer.

use std::borrow::Cow;

use super::kernels::Kernel;
use crate::error::{Error, Result};

/// In the text of every kernel, once.
const DIRECTIVE: &str = "\n.minnctapersm ";

/// The text of `kernel` that asks for `more` blocks a multiprocessor than its template does, for at least one. What a
/// device has no room for, ptxas leaves out of account.
///
/// # Errors
/// [`Error::Internal`] for a text that does not ask for a number once.
pub fn text<'a>(kernel: &Kernel, ptx: Cow<'a, str>, more: i8) -> Result<Cow<'a, str>> {
    if more == 0 {
        return Ok(ptx);
    }
    let asked = |at: usize| ptx[at + DIRECTIVE.len()..].lines().next().and_then(|number| number.trim().parse().ok());
    let one = ptx.find(DIRECTIVE).filter(|_| ptx.matches(DIRECTIVE).count() == 1);
    let Some(blocks) = one.and_then(asked).filter(|&blocks: &i32| (1..=32).contains(&blocks)) else {
        return Err(Error::Internal { place: kernel.entry.into(), what: format!("no single {DIRECTIVE:?}") });
    };
    let wanted = (blocks + i32::from(more)).max(1);
    Ok(ptx.replacen(&format!("{DIRECTIVE}{blocks}"), &format!("{DIRECTIVE}{wanted}"), 1).into())
}
