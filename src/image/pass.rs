//! Passes over many values that end soon after they are asked to.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Set by who does not want the result any more; it is looked at between pieces of [`PIECE`] values.
pub(crate) type Cancel<'a> = Option<&'a AtomicBool>;

/// Values that a pass takes between two looks: about a millisecond's.
const PIECE: usize = 1 << 20;

/// Hands out `values` in pieces, one behind the other.
///
/// # Errors
/// [`Error::Cancelled`] soon after `cancel` is set.
pub(crate) fn pass<T>(values: &[T], cancel: Cancel, mut take: impl FnMut(&[T])) -> Result<()> {
    values.chunks(PIECE).try_for_each(|piece| look(cancel).map(|()| take(piece)))
}

/// As [`pass`], over values that change.
///
/// # Errors
/// [`Error::Cancelled`] soon after `cancel` is set.
pub(crate) fn pass_mut<T>(values: &mut [T], cancel: Cancel, mut take: impl FnMut(&mut [T])) -> Result<()> {
    values.chunks_mut(PIECE).try_for_each(|piece| look(cancel).map(|()| take(piece)))
}

fn look(cancel: Cancel) -> Result<()> {
    if cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) { Err(Error::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_ends_when_it_is_asked_to() {
        let (cancel, values) = (AtomicBool::new(false), vec![1_u8; 3 * PIECE]);
        let mut pieces = 0;
        let ended = pass(&values, Some(&cancel), |_| {
            pieces += 1;
            cancel.store(pieces == 2, Ordering::Relaxed);
        });
        assert!(matches!(ended, Err(Error::Cancelled)) && pieces == 2, "{pieces} pieces");
    }
}
