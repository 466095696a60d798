//! Passes over many values that end soon after they are asked to, and the values at given ranks found by such passes:
//! digit by digit from the highest on, so that no copy is put into order.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Voxel;
use crate::memory::reserve;
use crate::{Error, Result};

/// Set by who does not want the result any more; it is looked at between pieces of [`PIECE`] values.
pub(crate) type Cancel<'a> = Option<&'a AtomicBool>;

/// Values that a pass takes between two looks: about a millisecond's.
const PIECE: usize = 1 << 20;

/// Bits of a digit: as many counts as fit a core's own cache.
const DIGIT: u32 = 16;

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

/// A number with a key: an unsigned integer of its size that has the order of the numbers.
pub(crate) trait Ranked: Voxel {
    /// Of the key.
    const BITS: u32 = 8 * size_of::<Self>() as u32;
    fn key(self) -> u64;
    fn of_key(key: u64) -> Self;
}

macro_rules! ranked {
    ($($unsigned:ident)*; $($signed:ident as $bits:ident)*; $($float:ident of $word:ident)*) => {
        $(impl Ranked for $unsigned {
            fn key(self) -> u64 { self.into() }
            fn of_key(key: u64) -> Self { key as $unsigned }
        })*
        $(impl Ranked for $signed {
            fn key(self) -> u64 { (self.cast_unsigned() ^ (1 << ($bits::BITS - 1))).into() }
            fn of_key(key: u64) -> Self { (key as $bits ^ (1 << ($bits::BITS - 1))).cast_signed() }
        })*
        // Of a negative float all bits turn round, of others the sign's alone: the order of `total_cmp`.
        $(impl Ranked for $float {
            fn key(self) -> u64 {
                let (bits, sign) = (self.to_bits(), 1 << ($word::BITS - 1));
                (if bits & sign == 0 { bits | sign } else { !bits }).into()
            }
            fn of_key(key: u64) -> Self {
                let (bits, sign) = (key as $word, 1 << ($word::BITS - 1));
                Self::from_bits(if bits & sign == 0 { !bits } else { bits ^ sign })
            }
        })*
    };
}
ranked!(u8 u16 u32 u64; i8 as u8 i16 as u16 i32 as u32 i64 as u64; f32 of u32 f64 of u64);

/// The value below which `rank` of the values that `counts` lie, were they in order; `None` where there are no more
/// than `rank` of them.
///
/// # Errors
/// Memory for the counts of a digit; [`Error::Cancelled`].
pub(crate) fn at_rank<T: Ranked>(
    values: &[T],
    counts: impl Fn(T) -> bool,
    rank: u64,
    cancel: Cancel,
) -> Result<Option<T>> {
    let digit = DIGIT.min(T::BITS);
    let mut seen: Vec<u64> = reserve(1 << digit, "ranks")?;
    let (mut found, mut left, mut above) = (0, rank, T::BITS);
    while above > 0 {
        let shift = above - digit;
        seen.clear();
        seen.resize(1 << digit, 0);
        let higher = |key: u64| key.checked_shr(above).unwrap_or(0);
        pass(values, cancel, |piece| {
            for key in piece.iter().filter(|&&value| counts(value)).map(|value| value.key()) {
                if higher(key) == found {
                    seen[(key >> shift) as usize & ((1 << digit) - 1)] += 1;
                }
            }
        })?;
        let within = seen.iter().position(|&count| {
            let is_here = left < count;
            left -= if is_here { 0 } else { count };
            is_here
        });
        let Some(within) = within else { return Ok(None) };
        found = found << digit | within as u64;
        above = shift;
    }
    Ok(Some(T::of_key(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<T: Ranked + std::fmt::Debug>(values: &[T], counts: impl Fn(T) -> bool) {
        let mut expected: Vec<T> = values.iter().copied().filter(|&value| counts(value)).collect();
        expected.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
        for rank in 0..expected.len() + 2 {
            let found = at_rank(values, &counts, rank as u64, None).unwrap();
            assert_eq!(found, expected.get(rank).copied(), "rank {rank} of {}", expected.len());
        }
    }

    #[test]
    fn ranks_are_those_of_sorted_values() {
        let mut state = 7_u64;
        let mut bits = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 11
        };
        for count in [0, 1, 2, 300] {
            let drawn: Vec<u64> = (0..count).map(|_| bits()).collect();
            sorted(&drawn.iter().map(|&x| x as u8).collect::<Vec<_>>(), |x| x % 3 > 0);
            sorted(&drawn.iter().map(|&x| x as i8).collect::<Vec<_>>(), |x| x != -1);
            sorted(&drawn.iter().map(|&x| x as i16).collect::<Vec<_>>(), |x| x > -9000);
            sorted(&drawn.iter().map(|&x| x as u16).collect::<Vec<_>>(), |_| true);
            sorted(&drawn.iter().map(|&x| x as i32).collect::<Vec<_>>(), |x| x % 2 == 0);
            sorted(&drawn.iter().map(|&x| x as i64 - (1 << 52)).collect::<Vec<_>>(), |_| true);
            sorted(&drawn.iter().map(|&x| (x as i32 as f32) / 65_536.0).collect::<Vec<_>>(), |x| x != 0.0);
            sorted(&drawn.iter().map(|&x| 1e-300 * (x as i32 as f64)).collect::<Vec<_>>(), |_| true);
            sorted(&drawn.iter().map(|&x| (x % 3) as f32 - 1.0).collect::<Vec<_>>(), |_| true);
        }
    }

    #[test]
    fn a_pass_ends_when_it_is_asked_to() {
        let (cancel, values) = (AtomicBool::new(false), vec![1_u8; 3 * PIECE]);
        let mut pieces = 0;
        let ended = pass(&values, Some(&cancel), |_| {
            pieces += 1;
            cancel.store(pieces == 2, Ordering::Relaxed);
        });
        assert!(matches!(ended, Err(Error::Cancelled)) && pieces == 2, "{pieces} pieces");
        assert!(matches!(at_rank(&values, |_| true, 5, Some(&cancel)), Err(Error::Cancelled)));
    }
}
