//! The values at given ranks, found by passes over all values: digit by digit from the highest on, so that no copy is
//! put into order.

use super::Voxel;
use super::pass::{Cancel, pass};
use crate::Result;
use crate::memory::zeros;

/// Bits of a digit: as many counts as fit a core's own cache.
const DIGIT: u32 = 16;

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

/// The values below which so many of those that are `taken` lie, were they in order, as `ranks` says of their number;
/// `None` where none is taken. Ranks are below that number.
///
/// # Errors
/// Memory for the counts of a digit; [`Error::Cancelled`](crate::Error::Cancelled) soon after `cancel` is set.
pub(crate) fn at_ranks<T: Ranked, const N: usize>(
    values: &[T],
    taken: impl Fn(T) -> bool,
    ranks: impl FnOnce(u64) -> [u64; N],
    cancel: Cancel,
) -> Result<Option<[T; N]>> {
    let digit = DIGIT.min(T::BITS);
    let mut above = T::BITS - digit;
    let counts = count(values, &taken, &[0], [T::BITS, above], cancel)?;
    let total = counts.iter().sum();
    if total == 0 {
        return Ok(None);
    }
    let mut places = ranks(total).map(|rank| Place { higher: 0, rank });
    places.iter_mut().for_each(|place| place.descend(&counts, digit));
    while above > 0 {
        let shift = above - digit;
        // Ranks beside each other share their higher digits, so there are seldom as many of these as ranks.
        let mut higher: Vec<u64> = places.iter().map(|place| place.higher).collect();
        higher.sort_unstable();
        higher.dedup();
        let counts = count(values, &taken, &higher, [above, shift], cancel)?;
        for place in &mut places {
            let which = higher.binary_search(&place.higher).unwrap_or(0);
            place.descend(&counts[which << digit..][..1 << digit], digit);
        }
        above = shift;
    }
    Ok(Some(places.map(|place| T::of_key(place.higher))))
}

/// How far a rank is found: the higher digits of its key, and its rank among the values that share them.
struct Place {
    higher: u64,
    rank: u64,
}

impl Place {
    /// Takes the next digit, of which each was seen so often behind the higher ones.
    fn descend(&mut self, counts: &[u64], digit: u32) {
        let mut found = 0;
        for (at, &count) in counts.iter().enumerate() {
            found = at;
            if self.rank < count {
                break;
            }
            self.rank -= count;
        }
        self.higher = self.higher << digit | found as u64;
    }
}

/// How often each digit, the bits from `shift` on, was seen behind each of the `higher` ones, the bits from `above` on.
fn count<T: Ranked>(
    values: &[T],
    taken: impl Fn(T) -> bool,
    higher: &[u64],
    [above, shift]: [u32; 2],
    cancel: Cancel,
) -> Result<Vec<u64>> {
    let digit = above - shift;
    let mut counts = zeros(higher.len() << digit, "ranks")?;
    pass(values, cancel, |piece| {
        for key in piece.iter().filter(|&&value| taken(value)).map(|value| value.key()) {
            let own = key.checked_shr(above).unwrap_or(0);
            if let Some(which) = higher.iter().position(|&higher| higher == own) {
                counts[which << digit | (key >> shift) as usize & ((1 << digit) - 1)] += 1;
            }
        }
    })?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn sorted<T: Ranked + std::fmt::Debug>(values: &[T], taken: impl Fn(T) -> bool) {
        let mut expected: Vec<T> = values.iter().copied().filter(|&value| taken(value)).collect();
        expected.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
        let last = expected.len().saturating_sub(1);
        for rank in 0..expected.len().max(1) {
            let ranks = [rank, (rank + 1).min(last), last / 2, last - rank];
            let of_total = |total| {
                assert_eq!(total, expected.len() as u64);
                ranks.map(|rank| rank as u64)
            };
            let found = at_ranks(values, &taken, of_total, None).unwrap();
            let wanted = (!expected.is_empty()).then(|| ranks.map(|rank| expected[rank]));
            assert_eq!(found, wanted, "ranks {ranks:?} of {}", expected.len());
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
    fn a_rank_is_not_looked_for_once_it_is_not_wanted() {
        let cancel = AtomicBool::new(true);
        assert!(matches!(at_ranks(&[1_u8, 2], |_| true, |_| [1], Some(&cancel)), Err(crate::Error::Cancelled)));
    }
}
