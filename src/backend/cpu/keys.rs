//! Keys and values of an attention in panels.
#![allow(unsafe_code)]

use super::simd::Simd;

/// What [`pack`] packs.
pub(super) struct Rows {
    /// Keys, and as many values.
    pub count: usize,
    /// Numbers of each.
    pub head_dim: usize,
    /// Numbers of each as it is packed, zeros behind its own.
    pub padded_dim: usize,
    /// Rows that a panel of values has room for.
    pub room: usize,
}

/// Keys as columns in panels, zeros behind them; values as rows in panels. `row` gives k (1) or v (2) of a key; rows
/// need not be equally far apart. `together` holds the keys of a register.
#[inline(always)]
pub(super) fn pack<'a, S: Simd>(
    s: S,
    rows: Rows,
    row: impl Fn(usize, usize) -> &'a [f32],
    keys: &mut [f32],
    values: &mut [f32],
    together: &mut [f32],
) {
    let Rows { count, head_dim, padded_dim: d, room } = rows;
    let panel = S::VECTORS * S::LANES;
    let padded = count.next_multiple_of(S::LANES);
    for i in (0..padded).step_by(S::LANES) {
        for (lane, to) in together.chunks_exact_mut(d).enumerate() {
            let known = if i + lane < count { head_dim } else { 0 };
            if known > 0 {
                to[..known].copy_from_slice(row(1, i + lane));
            }
            to[known..].fill(0.0);
        }
        let width = panel.min(padded - i / panel * panel);
        let to = &mut keys[i / panel * panel * d + i % panel..];
        assert!(together.len() >= S::LANES * d && to.len() >= (d - 1) * width + S::LANES);
        for c in (0..d).step_by(S::LANES) {
            // SAFETY: `LANES` numbers in each of `LANES` rows of both were just checked.
            unsafe { s.transpose(together[c..].as_ptr(), d, to[c * width..].as_mut_ptr(), width) };
        }
    }
    for i in 0..count {
        let value = row(2, i);
        for column in (0..d).step_by(panel) {
            let width = panel.min(d - column);
            let to = &mut values[column * room + i * width..][..width];
            let known = width.min(head_dim.saturating_sub(column));
            to[..known].copy_from_slice(&value[column..column + known]);
            to[known..].fill(0.0);
        }
    }
}
