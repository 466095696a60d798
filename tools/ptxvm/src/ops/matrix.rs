//! Matrix instructions: `ldmatrix`, `stmatrix`, `mma.sync`.

use super::half_float::{f16_to_f32, f32_to_f16, widen};
use super::{Ctx, Done, fault, shared_fault};
use crate::check::cost;
use crate::error::FaultKind;
use crate::isa::{Half, Matrix, Mma};
use crate::machine::warp::{FULL, LANES, Row, Warp};

pub fn whole_warp(w: &Warp, mask: u32, instruction: &'static str) -> Done {
    if mask == FULL && w.lanes == FULL {
        return Ok(());
    }
    let lane = mask.trailing_zeros().min(31) as usize;
    Err(fault(lane, FaultKind::Divergent { instruction, mask, expected: FULL }))
}

/// Offsets of the rows of all matrices: lane 8 m + r gives row r of matrix m.
fn rows(
    w: &Warp,
    m: &Matrix,
    ctx: &mut Ctx<'_, '_>,
    access: &'static str,
) -> Result<[u32; LANES], Box<super::OpFault>> {
    let addresses = w.addresses(m.address);
    let mut offsets = [0; LANES];
    for l in 0..8 * m.regs.len() {
        offsets[l] = ctx.shared.offset(addresses[l], 16, 16, access).map_err(|k| fault(l, k))?;
    }
    if ctx.full {
        for eight in offsets.chunks(8).take(m.regs.len()) {
            ctx.tally.wavefronts_ideal += 1;
            ctx.tally.wavefronts += u64::from(cost::wavefronts(eight.iter().map(|&o| u64::from(o)), 16));
        }
    }
    Ok(offsets)
}

/// `ldmatrix`: lane l gets elements 2 (l % 4) and the next of row l / 4, transposed of column l / 4.
pub fn ldmatrix(w: &mut Warp, mask: u32, m: &Matrix, ctx: &mut Ctx<'_, '_>) -> Done {
    whole_warp(w, mask, "ldmatrix")?;
    let access = "ldmatrix from shared";
    let offsets = rows(w, m, ctx, access)?;
    for (i, (&d, eight)) in m.regs.iter().zip(offsets.chunks(8)).enumerate() {
        let mut words = [[0u32; 4]; 8];
        for (r, (&offset, row)) in eight.iter().zip(&mut words).enumerate() {
            if ctx.full {
                let by = ctx.thread(8 * i + r);
                ctx.shared.check_read(offset, 16, by, access).map_err(|e| shared_fault(8 * i + r, e))?;
            }
            for (k, word) in row.iter_mut().enumerate() {
                *word = ctx.shared.word(offset + 4 * k as u32);
            }
        }
        let mut v: Row = [0; LANES];
        if m.trans {
            for (l, v) in v.iter_mut().enumerate() {
                let (column, r) = (l / 4, 2 * (l % 4));
                let half = |r: usize| words[r][column / 2] >> (16 * (column % 2)) & 0xffff;
                *v = half(r) | half(r + 1) << 16;
            }
        } else {
            for (four, row) in v.chunks_exact_mut(4).zip(&words) {
                four.copy_from_slice(row);
            }
        }
        w.put(d, FULL, &v);
    }
    Ok(())
}

/// `stmatrix`, the inverse of `ldmatrix`.
pub fn stmatrix(w: &mut Warp, mask: u32, m: &Matrix, ctx: &mut Ctx<'_, '_>) -> Done {
    whole_warp(w, mask, "stmatrix")?;
    let access = "stmatrix to shared";
    let offsets = rows(w, m, ctx, access)?;
    for (i, (&s, eight)) in m.regs.iter().zip(offsets.chunks(8)).enumerate() {
        let v = w.get(s);
        let half = |r: usize, c: usize| v[4 * c + r / 2] >> (16 * (r % 2)) & 0xffff;
        for (r, &offset) in eight.iter().enumerate() {
            let row: [u32; 4] = std::array::from_fn(|t| match m.trans {
                true => half(r, 2 * t) | half(r, 2 * t + 1) << 16,
                false => v[4 * r + t],
            });
            if ctx.full {
                let by = ctx.thread(8 * i + r);
                let value = |k: u32| row[k as usize & 3];
                ctx.shared.check_write(offset, 16, by, access, value).map_err(|e| shared_fault(8 * i + r, e))?;
            }
            for (k, &word) in row.iter().enumerate() {
                ctx.shared.set_word(offset + 4 * k as u32, word);
            }
        }
    }
    Ok(())
}

/// `mma.sync.m16n8k16` and `m16n8k8`. Products are exact in f32; each is added to the f32 accumulator in the order of
/// k, rounded to nearest. Hardware adds several products at once and truncates: the last bits differ there.
pub fn mma(w: &mut Warp, mask: u32, m: &Mma) -> Done {
    whole_warp(w, mask, "mma")?;
    let mut a = [[0f32; 16]; 16];
    let mut b = [[0f32; 8]; 16];
    let mut c = [[0f32; 8]; 16];
    for (i, &r) in m.a.iter().enumerate() {
        let (lo, hi) = widen_row(w, m, r);
        let (row, column) = (i % 2 * 8, i / 2 * 8);
        for l in 0..LANES {
            let (g, t) = (l / 4, l % 4);
            a[row + g][column + 2 * t] = lo[l];
            a[row + g][column + 2 * t + 1] = hi[l];
        }
    }
    for (i, &r) in m.b.iter().enumerate() {
        let (lo, hi) = widen_row(w, m, r);
        for l in 0..LANES {
            let (g, t) = (l / 4, l % 4);
            b[8 * i + 2 * t][g] = lo[l];
            b[8 * i + 2 * t + 1][g] = hi[l];
        }
    }
    load_accumulator(w, m, &mut c);
    multiply(&a, &b, &mut c, m.k);
    store_accumulator(w, m, &c);
    Ok(())
}

/// c += a b over the first `k` numbers of the depth, each product added by itself.
pub fn multiply(a: &[[f32; 16]; 16], b: &[[f32; 8]; 16], c: &mut [[f32; 8]; 16], k: usize) {
    // Four rows at a time: their sums stay in registers and do not wait for one another.
    for (acc, a) in c.chunks_exact_mut(4).zip(a.chunks_exact(4)) {
        let mut sums = [acc[0], acc[1], acc[2], acc[3]];
        for (k, b) in b.iter().enumerate().take(k) {
            for (sum, a) in sums.iter_mut().zip(a) {
                for (s, y) in sum.iter_mut().zip(b) {
                    *s += a[k] * y;
                }
            }
        }
        acc.copy_from_slice(&sums);
    }
}

fn widen_row(w: &Warp, m: &Mma, r: crate::isa::R32) -> ([f32; LANES], [f32; LANES]) {
    let v = w.get(r);
    match m.half {
        Half::F16 => (v.map(|x| f16_to_f32(x & 0xffff)), v.map(|x| f16_to_f32(x >> 16))),
        Half::BF16 => (v.map(|x| f32::from_bits(x << 16)), v.map(|x| f32::from_bits(x & 0xffff_0000))),
    }
}

fn load_accumulator(w: &Warp, m: &Mma, c: &mut [[f32; 8]; 16]) {
    for (i, &r) in m.c.iter().enumerate() {
        let v = w.get(r);
        for (l, &x) in v.iter().enumerate() {
            let (g, t) = (l / 4, l % 4);
            if m.acc_f16 {
                c[8 * i + g][2 * t] = widen(m.half, x & 0xffff);
                c[8 * i + g][2 * t + 1] = widen(m.half, x >> 16);
            } else {
                c[i / 2 * 8 + g][2 * t + i % 2] = f32::from_bits(x);
            }
        }
    }
}

fn store_accumulator(w: &mut Warp, m: &Mma, c: &[[f32; 8]; 16]) {
    for (i, &d) in m.d.iter().enumerate() {
        let mut v = [0; LANES];
        if m.acc_f16 {
            for (l, v) in v.iter_mut().enumerate() {
                let (row, t) = (&c[8 * i + l / 4], l % 4);
                *v = f32_to_f16(row[2 * t]) | f32_to_f16(row[2 * t + 1]) << 16;
            }
        } else {
            for (four, row) in v.chunks_exact_mut(4).zip(&c[i / 2 * 8..]) {
                for (v, pair) in four.iter_mut().zip(row.chunks_exact(2)) {
                    *v = pair[i % 2].to_bits();
                }
            }
        }
        w.put(d, FULL, &v);
    }
}
