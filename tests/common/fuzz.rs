//! Deterministic damage to files.

/// The generator splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// One to four changes within the first `reach` bytes: a bit flipped, a byte or a number replaced, a stretch removed,
/// doubled or moved, the end cut off.
pub fn damage(file: &[u8], reach: usize, random: &mut Random) -> Vec<u8> {
    const NUMBERS: [u64; 10] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, u64::MAX / 2, 1 << 61];
    let mut file = file.to_vec();
    for _ in 0..=random.below(4) {
        if file.is_empty() {
            break;
        }
        let place = random.below(file.len().min(reach));
        let end = place + random.below((file.len() - place).min(64)) + 1;
        match random.below(8) {
            0 | 1 => file[place] ^= 1 << random.below(8),
            2 | 3 => file[place] = random.next() as u8,
            4 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let size = [1, 2, 4, 8][random.below(4)].min(file.len() - place);
                file[place..place + size].copy_from_slice(&number[..size]);
            }
            5 => drop(file.drain(place..end)),
            6 => {
                let stretch = file[place..end].to_vec();
                let target = random.below(file.len().min(reach));
                file.splice(target..target, stretch);
            }
            _ => file.truncate(place),
        }
    }
    file
}

/// Calls `check` with `count` damaged copies of `file`; a panic names the copy that caused it.
pub fn survive(what: &str, file: &[u8], reach: usize, count: u64, check: impl Fn(Vec<u8>)) {
    for seed in 0..count {
        let damaged = damage(file, reach, &mut Random(seed));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(damaged)));
        assert!(caught.is_ok(), "{what}: damaged with seed {seed}");
    }
}
