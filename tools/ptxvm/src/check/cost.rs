//! Bank conflicts and sectors of one warp access.

use crate::counters::Tally;
use crate::machine::warp::{LANES, Row64};
use crate::ops::lanes;

/// Banks of shared memory, 4 bytes wide.
const BANKS: usize = 32;

/// Counts a shared access of `bytes` a lane: 8-byte accesses go by half warps, 16-byte ones by quarters.
pub fn shared(tally: &mut Tally, mask: u32, addresses: &Row64, bytes: u32) {
    let group = match bytes {
        16 => 8,
        8 => 16,
        _ => LANES,
    };
    for start in (0..LANES).step_by(group) {
        let part = mask & ((((1u64 << group) - 1) << start) as u32);
        if part != 0 {
            tally.wavefronts_ideal += 1;
            tally.wavefronts += u64::from(wavefronts(lanes(part).map(|l| addresses[l]), bytes));
        }
    }
}

/// Passes that the words at `addresses` need: the most different words in one bank.
pub fn wavefronts(addresses: impl Iterator<Item = u64> + Clone, bytes: u32) -> u32 {
    let words = bytes.div_ceil(4);
    let mut taken = 0u32;
    let mut word_of = [0u64; BANKS];
    let mut conflict = false;
    for address in addresses.clone() {
        for k in 0..u64::from(words) {
            let word = address / 4 + k;
            let bank = word as usize % BANKS;
            if taken >> bank & 1 == 0 {
                taken |= 1 << bank;
                word_of[bank] = word;
            } else {
                conflict |= word_of[bank] != word;
            }
        }
    }
    if !conflict {
        return 1;
    }
    let mut all: Vec<u64> = addresses.flat_map(|a| (0..u64::from(words)).map(move |k| a / 4 + k)).collect();
    all.sort_unstable();
    all.dedup();
    let mut count = [0u32; BANKS];
    all.iter().for_each(|word| count[*word as usize % BANKS] += 1);
    count.into_iter().max().unwrap_or(1)
}

/// Counts a global access of `bytes` a lane: the 32-byte sectors it touches, and those that its distinct bytes would
/// fill if they lay together.
pub fn global(tally: &mut Tally, mask: u32, addresses: &Row64, bytes: u32) {
    if mask == 0 {
        return;
    }
    let mut sorted = [0u64; LANES];
    let mut n = 0;
    for l in lanes(mask) {
        sorted[n] = addresses[l];
        n += 1;
    }
    let sorted = &mut sorted[..n];
    if !sorted.is_sorted() {
        sorted.sort_unstable();
    }
    let (mut sectors, mut distinct) = (1, 1);
    for pair in sorted.windows(2) {
        distinct += u64::from(pair[0] != pair[1]);
        sectors += u64::from(pair[0] / 32 != pair[1] / 32);
    }
    tally.sectors += sectors;
    tally.sectors_ideal += (distinct * u64::from(bytes)).div_ceil(32);
}
