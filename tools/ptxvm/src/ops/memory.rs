//! Loads, stores, atomics and asynchronous copies.

use super::float::fma;
use super::half_float::{narrow, widen};
use super::{Ctx, Done, OpFault, cta_fault, fault, lanes, shared_fault};
use crate::check::cost;
use crate::check::cta_order::{Exchanged, Tells};
use crate::error::FaultKind;
use crate::isa::{Access, Atom, AtomOp, AtomTy, Half, MemSpace, Reg};
use crate::machine::warp::{LANES, Row, Row64, Warp};
use crate::machine::{Buffer, SHARED_WINDOW};

/// Words of all lanes: `words[k][lane]`.
type Words = [Row; 4];

const LOAD_GLOBAL: &str = "load from global";
const STORE_GLOBAL: &str = "store to global";
const ATOMIC_GLOBAL: &str = "atomic on global";
const LOAD_SHARED: &str = "load from shared";
const STORE_SHARED: &str = "store to shared";

/// Splits generic addresses: the lanes in the shared window, with their addresses made shared ones.
fn split(space: MemSpace, mask: u32, addresses: &mut Row64) -> (u32, u32) {
    match space {
        MemSpace::Shared => (mask, 0),
        MemSpace::Generic => {
            let mut shared = 0;
            for l in lanes(mask) {
                if let Some(local) = addresses[l].checked_sub(SHARED_WINDOW).filter(|&a| a < 1 << 24) {
                    addresses[l] = local;
                    shared |= 1 << l;
                }
            }
            (shared, mask & !shared)
        }
        _ => (0, mask),
    }
}

/// `ld`
pub fn load(w: &mut Warp, mask: u32, a: &Access, ctx: &mut Ctx<'_, '_>) -> Done {
    let bytes = a.bytes();
    let mut addresses = w.addresses(a.address);
    let mut words: Words = [[0; LANES]; 4];
    if a.space == MemSpace::Param {
        load_param(mask, &addresses, bytes, ctx, &mut words)?;
    } else {
        let (shared, global) = split(a.space, mask, &mut addresses);
        if shared != 0 {
            load_shared(shared, &addresses, bytes, ctx, &mut words)?;
        }
        if global != 0 {
            load_global(w, global, &addresses, a, ctx, &mut words)?;
        }
    }
    distribute(w, mask, a, &words);
    Ok(())
}

fn load_param(mask: u32, addresses: &Row64, bytes: u32, ctx: &Ctx<'_, '_>, words: &mut Words) -> Done {
    let access = "load from param";
    for l in lanes(mask) {
        let address = addresses[l];
        let range = usize::try_from(address).ok().and_then(|at| ctx.params.get(at..at.checked_add(bytes as usize)?));
        let Some(data) = range else {
            let nearest = format!("the parameters have {} bytes", ctx.params.len());
            return Err(fault(l, FaultKind::OutOfBounds { access, address, bytes, nearest }));
        };
        check_align(l, address, bytes, access)?;
        for (row, part) in words.iter_mut().zip(data.chunks(4)) {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            row[l] = u32::from_le_bytes(word);
        }
    }
    Ok(())
}

#[inline(always)]
pub fn check_align(lane: usize, address: u64, align: u32, access: &'static str) -> Done {
    if address & u64::from(align - 1) == 0 {
        return Ok(());
    }
    Err(fault(lane, FaultKind::Misaligned { access, address, align }))
}

fn load_shared(mask: u32, addresses: &Row64, bytes: u32, ctx: &mut Ctx<'_, '_>, words: &mut Words) -> Done {
    for l in lanes(mask) {
        let offset = ctx.shared.offset(addresses[l], bytes, bytes, LOAD_SHARED).map_err(|k| fault(l, k))?;
        if ctx.full {
            let by = ctx.thread(l);
            ctx.shared.check_read(offset, bytes, by, LOAD_SHARED).map_err(|e| shared_fault(l, e))?;
        }
        match bytes {
            16 => {
                for (k, row) in words.iter_mut().enumerate() {
                    row[l] = ctx.shared.word(offset + 4 * k as u32);
                }
            }
            8 => {
                words[0][l] = ctx.shared.word(offset);
                words[1][l] = ctx.shared.word(offset + 4);
            }
            _ => words[0][l] = ctx.shared.get(offset, bytes),
        }
    }
    if ctx.full {
        cost::shared(ctx.tally, mask, addresses, bytes);
    }
    Ok(())
}

/// The buffer of one lane's access, checked for bounds and alignment.
#[inline(always)]
pub fn locate<'m>(
    ctx: &Ctx<'m, '_>,
    hint: &mut usize,
    lane: usize,
    address: u64,
    (bytes, align): (u32, u32),
    access: &'static str,
) -> Result<(&'m Buffer, u64), Box<OpFault>> {
    let Some(found) = ctx.memory.find(address, u64::from(bytes), hint) else {
        let nearest = ctx.memory.nearest(address);
        return Err(fault(lane, FaultKind::OutOfBounds { access, address, bytes, nearest }));
    };
    check_align(lane, address, align, access)?;
    Ok(found)
}

/// Refuses accesses to global memory of lanes that have not waited for the grids ahead.
#[inline(always)]
pub fn check_waited(w: &Warp, mask: u32, addresses: &Row64, access: &'static str) -> Done {
    match lanes(mask & w.early).next() {
        None => Ok(()),
        Some(l) => Err(fault(l, FaultKind::BeforeGridWait { access, address: addresses[l] })),
    }
}

pub fn check_written(
    ctx: &Ctx<'_, '_>,
    buffer: &Buffer,
    offset: u64,
    bytes: u32,
    lane: usize,
    access: &'static str,
) -> Done {
    if !ctx.full || buffer.is_written(offset, bytes) {
        return Ok(());
    }
    Err(fault(lane, FaultKind::UninitialisedMemory { access, address: buffer.base + offset, bytes }))
}

fn load_global(w: &mut Warp, mask: u32, at: &Row64, a: &Access, ctx: &mut Ctx<'_, '_>, words: &mut Words) -> Done {
    let bytes = a.bytes();
    check_waited(w, mask, at, LOAD_GLOBAL)?;
    for l in lanes(mask) {
        let (buffer, offset) = locate(ctx, &mut w.hint, l, at[l], (bytes, bytes), LOAD_GLOBAL)?;
        check_written(ctx, buffer, offset, bytes, l, LOAD_GLOBAL)?;
        let mut read = || match bytes {
            16 => {
                for (k, row) in words.iter_mut().enumerate() {
                    row[l] = buffer.word(offset + 4 * k as u64);
                }
            }
            8 => {
                words[0][l] = buffer.word(offset);
                words[1][l] = buffer.word(offset + 4);
            }
            4 => words[0][l] = buffer.word(offset),
            2 => words[0][l] = buffer.word(offset) >> (8 * (offset & 2)) & 0xffff,
            _ => words[0][l] = buffer.word(offset) >> (8 * (offset & 3)) & 0xff,
        };
        if let Some(strong) = a.strong {
            ctx.exchange(l, at[l], Exchanged { strong, learns: true, tells: Tells::Nothing }, read);
            continue;
        }
        read();
        ctx.check_read(l, (w.hint, offset), bytes, a.constant).map_err(|c| cta_fault(l, at[l], "read", c))?;
    }
    if ctx.full {
        cost::global(ctx.tally, mask, at, bytes);
    }
    Ok(())
}

/// Puts loaded words into the registers, extended to their width.
fn distribute(w: &mut Warp, mask: u32, a: &Access, words: &Words) {
    for (e, reg) in a.regs.iter().enumerate() {
        match (reg, a.size) {
            (None, _) => {}
            (Some(Reg::R32(d)), 4) => w.put(*d, mask, &words[e]),
            (Some(Reg::R64(d)), 8) => {
                let (lo, hi) = (&words[2 * e], &words[2 * e + 1]);
                let v = std::array::from_fn(|l| u64::from(hi[l]) << 32 | u64::from(lo[l]));
                w.put64(*d, mask, &v);
            }
            (Some(reg), size) => {
                let at = e as u32 * size;
                let row = &words[(at / 4) as usize];
                let v: Row64 = std::array::from_fn(|l| extend(row[l] >> (8 * (at % 4)), size, a.signed));
                match *reg {
                    Reg::R32(d) => w.put(d, mask, &v.map(|x| x as u32)),
                    Reg::R64(d) => w.put64(d, mask, &v),
                    Reg::Pred(_) => {}
                }
            }
        }
    }
}

fn extend(v: u32, size: u32, signed: bool) -> u64 {
    match (size, signed) {
        (1, false) => u64::from(v as u8),
        (1, true) => v as i8 as u64,
        (2, false) => u64::from(v as u16),
        (2, true) => v as i16 as u64,
        (_, false) => u64::from(v),
        (_, true) => v as i32 as u64,
    }
}

/// The words that a store writes, from its registers.
fn collect(w: &Warp, a: &Access) -> Words {
    let mut words: Words = [[0; LANES]; 4];
    for (e, reg) in a.regs.iter().enumerate() {
        match (reg, a.size) {
            (Some(Reg::R32(r)), 4) => words[e] = w.get(*r),
            (Some(Reg::R64(r)), 8) => {
                let v = w.get64(*r);
                words[2 * e] = v.map(|x| x as u32);
                words[2 * e + 1] = v.map(|x| (x >> 32) as u32);
            }
            (Some(reg), size) => {
                let v = match *reg {
                    Reg::R32(r) => w.get(r),
                    Reg::R64(r) => w.get64(r).map(|x| x as u32),
                    Reg::Pred(_) => [0; LANES],
                };
                let at = e as u32 * size;
                let keep = ((1u64 << (8 * size)) - 1) as u32;
                for (word, v) in words[(at / 4) as usize].iter_mut().zip(v) {
                    *word |= (v & keep) << (8 * (at % 4));
                }
            }
            (None, _) => {}
        }
    }
    words
}

/// `st`
pub fn store(w: &mut Warp, mask: u32, a: &Access, ctx: &mut Ctx<'_, '_>) -> Done {
    let bytes = a.bytes();
    let mut addresses = w.addresses(a.address);
    let words = collect(w, a);
    let (shared, global) = split(a.space, mask, &mut addresses);
    if shared != 0 {
        store_shared(shared, &addresses, bytes, &words, ctx)?;
    }
    if global != 0 {
        store_global(w, global, &addresses, a, &words, ctx)?;
    }
    Ok(())
}

fn store_shared(mask: u32, addresses: &Row64, bytes: u32, words: &Words, ctx: &mut Ctx<'_, '_>) -> Done {
    for l in lanes(mask) {
        let offset = ctx.shared.offset(addresses[l], bytes, bytes, STORE_SHARED).map_err(|k| fault(l, k))?;
        if ctx.full {
            let by = ctx.thread(l);
            let value = |k: u32| words[k as usize & 3][l];
            ctx.shared.check_write(offset, bytes, by, STORE_SHARED, value).map_err(|e| shared_fault(l, e))?;
        }
        match bytes {
            8 | 16 => {
                for k in 0..bytes / 4 {
                    ctx.shared.set_word(offset + 4 * k, words[k as usize][l]);
                }
            }
            _ => ctx.shared.set(offset, bytes, words[0][l]),
        }
    }
    if ctx.full {
        cost::shared(ctx.tally, mask, addresses, bytes);
    }
    Ok(())
}

fn store_global(w: &mut Warp, mask: u32, at: &Row64, a: &Access, words: &Words, ctx: &mut Ctx<'_, '_>) -> Done {
    let bytes = a.bytes();
    check_waited(w, mask, at, STORE_GLOBAL)?;
    for l in lanes(mask) {
        let (buffer, offset) = locate(ctx, &mut w.hint, l, at[l], (bytes, bytes), STORE_GLOBAL)?;
        if buffer.read_only {
            return Err(fault(l, FaultKind::ReadOnly { address: at[l] }));
        }
        let write = || match bytes {
            4 | 8 | 16 => {
                for k in 0..bytes / 4 {
                    buffer.set_word(offset + 4 * u64::from(k), words[k as usize][l]);
                }
            }
            _ => {
                let shift = 8 * (offset & 3);
                buffer.set_bits(offset, ((1u32 << (8 * bytes)) - 1) << shift, words[0][l] << shift);
            }
        };
        if let Some(strong) = a.strong {
            ctx.exchange(l, at[l], Exchanged { strong, learns: false, tells: Tells::Alone }, write);
        } else {
            let same = || holds(buffer, offset, bytes, words, l);
            ctx.check_write(l, (w.hint, offset), bytes, same).map_err(|c| cta_fault(l, at[l], "write", c))?;
            write();
        }
        buffer.mark(offset, bytes);
    }
    if ctx.full {
        cost::global(ctx.tally, mask, at, bytes);
    }
    Ok(())
}

/// Whether memory already holds what a store would write.
fn holds(buffer: &Buffer, offset: u64, bytes: u32, words: &Words, lane: usize) -> bool {
    if bytes < 4 {
        let mask = (1u32 << (8 * bytes)) - 1;
        return (buffer.word(offset) >> (8 * (offset & 3)) ^ words[0][lane]) & mask == 0;
    }
    (0..bytes / 4).all(|k| buffer.word(offset + 4 * u64::from(k)) == words[k as usize][lane])
}

/// `atom` and `red`: lanes in order.
pub fn atom(w: &mut Warp, mask: u32, a: &Atom, ctx: &mut Ctx<'_, '_>) -> Done {
    let bytes = if matches!(a.ty, AtomTy::U64 | AtomTy::S64 | AtomTy::B64) { 8 } else { 4 };
    let mut addresses = w.addresses(a.address);
    let (shared, global) = split(a.space, mask, &mut addresses);
    check_waited(w, global, &addresses, ATOMIC_GLOBAL)?;
    let source = |r: Reg| match r {
        Reg::R32(r) => w.get(r).map(u64::from),
        Reg::R64(r) => w.get64(r),
        Reg::Pred(_) => [0; LANES],
    };
    let b = source(a.b);
    let c = a.c.map_or([0; LANES], source);
    let mut old = [0u64; LANES];
    for l in lanes(mask) {
        let f = |x: u64| apply(a.op, a.ty, x, b[l], c[l]);
        old[l] = if shared >> l & 1 == 1 {
            atom_shared(l, addresses[l], bytes, ctx, f)?
        } else {
            let (buffer, offset) = locate(ctx, &mut w.hint, l, addresses[l], (bytes, bytes), ATOMIC_GLOBAL)?;
            if buffer.read_only {
                return Err(fault(l, FaultKind::ReadOnly { address: addresses[l] }));
            }
            check_written(ctx, buffer, offset, bytes, l, ATOMIC_GLOBAL)?;
            let how = Exchanged { strong: a.strong, learns: a.d.is_some(), tells: Tells::More };
            let memory = ctx.memory;
            ctx.exchange(l, addresses[l], how, || match bytes {
                4 => u64::from(buffer.update(offset, |x| f(u64::from(x)) as u32)),
                _ => memory.update64(buffer, offset, f),
            })
        };
    }
    if ctx.full {
        cost::global(ctx.tally, global, &addresses, bytes);
    }
    match a.d {
        Some(Reg::R32(d)) => w.put(d, mask, &old.map(|v| v as u32)),
        Some(Reg::R64(d)) => w.put64(d, mask, &old),
        _ => {}
    }
    Ok(())
}

fn atom_shared(
    l: usize,
    address: u64,
    bytes: u32,
    ctx: &mut Ctx<'_, '_>,
    f: impl Fn(u64) -> u64,
) -> Result<u64, Box<OpFault>> {
    let access = "atomic on shared";
    let offset = ctx.shared.offset(address, bytes, bytes, access).map_err(|k| fault(l, k))?;
    if ctx.full {
        let by = crate::check::race::Access { atomic: true, ..ctx.thread(l) };
        ctx.shared.check_atomic(offset, bytes, by, access).map_err(|e| shared_fault(l, e))?;
    }
    let high = if bytes == 8 { u64::from(ctx.shared.word(offset + 4)) << 32 } else { 0 };
    let old = u64::from(ctx.shared.word(offset)) | high;
    let new = f(old);
    ctx.shared.set_word(offset, new as u32);
    if bytes == 8 {
        ctx.shared.set_word(offset + 4, (new >> 32) as u32);
    }
    Ok(old)
}

fn apply(op: AtomOp, ty: AtomTy, x: u64, b: u64, c: u64) -> u64 {
    let (p, q) = (x as u32, b as u32);
    let signed = |f: fn(i64, i64) -> i64| match ty {
        AtomTy::S32 => f(i64::from(p as i32), i64::from(q as i32)) as u64,
        _ => f(x as i64, b as i64) as u64,
    };
    let is_signed = matches!(ty, AtomTy::S32 | AtomTy::S64);
    match op {
        AtomOp::Add => add(ty, x, b),
        AtomOp::Min if is_signed => signed(i64::min),
        AtomOp::Max if is_signed => signed(i64::max),
        AtomOp::Min => x.min(b),
        AtomOp::Max => x.max(b),
        AtomOp::And => x & b,
        AtomOp::Or => x | b,
        AtomOp::Xor => x ^ b,
        AtomOp::Exch => b,
        AtomOp::Cas => {
            if x == b {
                c
            } else {
                x
            }
        }
        AtomOp::Inc => u64::from(if p >= q { 0 } else { p + 1 }),
        AtomOp::Dec => u64::from(if p == 0 || p > q { q } else { p - 1 }),
    }
}

fn add(ty: AtomTy, x: u64, b: u64) -> u64 {
    let (p, q) = (x as u32, b as u32);
    let packed = |half: Half| {
        let one = |s: u32| narrow(half, widen(half, p >> s & 0xffff) + widen(half, q >> s & 0xffff)) << s;
        u64::from(one(0) | one(16))
    };
    match ty {
        AtomTy::F32 => u64::from(fma(f32::from_bits(p), 1.0, f32::from_bits(q)).to_bits()),
        AtomTy::F16x2 => packed(Half::F16),
        AtomTy::BF16x2 => packed(Half::BF16),
        AtomTy::U64 | AtomTy::S64 | AtomTy::B64 => x.wrapping_add(b),
        _ => u64::from(p.wrapping_add(q)),
    }
}
