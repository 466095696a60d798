//! `wgmma`: products of a warpgroup, whose operands lie in shared memory. A product is done at the wait that covers its
//! group and not before, so that whoever overwrites an operand too early is found.

use std::sync::Arc;

use super::half_float::widen;
use super::matrix::{multiply, whole_warp};
use super::{Ctx, Done, fault, shared_fault};
use crate::error::FaultKind;
use crate::isa::Wgmma;
use crate::machine::warp::{FULL, LANES, Product, Row64, Warp};

/// Warps of a warpgroup.
pub const WARPS: usize = 4;
/// f16 or bf16 numbers of a product's depth, and their bytes.
const DEPTH: usize = 16;
const ROW_BYTES: u32 = 2 * DEPTH as u32;
const ACCESS: &str = "wgmma from shared";

/// Start and distance of eight rows of a matrix in shared memory.
#[derive(Clone, Copy)]
struct Descriptor {
    start: u32,
    eight_rows: u32,
}

fn bad(what: impl Into<String>) -> Box<super::OpFault> {
    fault(0, FaultKind::BadWgmma { what: what.into() })
}

impl Descriptor {
    /// A matrix whose rows lie along k, in the 128-byte swizzle, whose pattern begins at a multiple of 1024.
    fn parse(bits: u64) -> Result<Descriptor, Box<super::OpFault>> {
        let field = |at: u32| ((bits >> at) as u32 & 0x3fff) << 4;
        if bits >> 62 != 1 || bits >> 49 & 7 != 0 {
            return Err(bad(format!("descriptor {bits:#x} is not of the 128-byte swizzle with base offset 0")));
        }
        Ok(Descriptor { start: field(0), eight_rows: field(32) })
    }

    /// Address of the 16 bytes `chunk` of `row`: swizzled by the address that it would have otherwise.
    fn address(self, row: usize, chunk: u32) -> u64 {
        let row = row as u32;
        let plain = self.start + row / 8 * self.eight_rows + row % 8 * 128 + 16 * chunk;
        u64::from(plain ^ (plain >> 3 & 0x70))
    }
}

/// `wgmma.fence`
pub fn fence(w: &mut Warp, mask: u32) -> Done {
    whole_warp(w, mask, "wgmma.fence")?;
    w.wgmma.fenced = true;
    Ok(())
}

/// `wgmma.mma_async`
pub fn issue(w: &mut Warp, mask: u32, op: &Arc<Wgmma>, ctx: &mut Ctx<'_, '_>) -> Done {
    whole_warp(w, mask, "wgmma.mma_async")?;
    if !w.wgmma.fenced {
        return Err(bad("no wgmma.fence since the start or the last wgmma.wait_group"));
    }
    let same =
        |row: Row64| if row == [row[0]; LANES] { Ok(row[0]) } else { Err(bad("descriptors differ among lanes")) };
    let (a, b) = (same(w.get64(op.a))?, same(w.get64(op.b))?);
    let adds = w.pred(op.adds);
    if adds != 0 && adds != FULL {
        return Err(bad("scale-d differs among lanes"));
    }
    if let Some(d) = op.d.iter().find(|d| adds != 0 && w.init[d.0 as usize] != FULL).filter(|_| ctx.full) {
        return Err(bad(format!(
            "sum {} is added to before it is written",
            op.d.iter().take_while(|r| *r != d).count()
        )));
    }
    for bits in [a, b] {
        w.wgmma.log = (w.wgmma.log ^ bits ^ u64::from(ctx.pc)).wrapping_mul(0x0100_0000_01b3);
    }
    if ctx.full {
        // A warp's part of what its warpgroup reads: its own 16 rows of A, and a fourth of B.
        let bytes = 16 * ROW_BYTES + op.n as u32 * ROW_BYTES / WARPS as u32;
        ctx.tally.wavefronts += u64::from(bytes.div_ceil(128));
        ctx.tally.wavefronts_ideal += u64::from(bytes.div_ceil(128));
    }
    w.wgmma.open.push(Product { op: Arc::clone(op), pc: ctx.pc, a, b, adds: adds != 0 });
    Ok(())
}

/// `wgmma.commit_group`
pub fn commit(w: &mut Warp, mask: u32) -> Done {
    whole_warp(w, mask, "wgmma.commit_group")?;
    let group = std::mem::take(&mut w.wgmma.open);
    w.wgmma.committed.push_back(group);
    Ok(())
}

/// `wgmma.wait_group`: all but the youngest `keep` groups are done.
pub fn wait(w: &mut Warp, mask: u32, keep: u32, ctx: &mut Ctx<'_, '_>) -> Done {
    whole_warp(w, mask, "wgmma.wait_group")?;
    while w.wgmma.committed.len() > keep as usize {
        for product in w.wgmma.committed.pop_front().into_iter().flatten() {
            multiply_rows(w, &product, ctx)?;
        }
    }
    w.wgmma.fenced = false;
    Ok(())
}

/// 16 numbers of a row of a matrix.
fn row(
    at: Descriptor,
    row: usize,
    op: &Wgmma,
    ctx: &mut Ctx<'_, '_>,
    pc: u32,
) -> Result<[f32; DEPTH], Box<super::OpFault>> {
    let mut numbers = [0f32; DEPTH];
    for (chunk, eight) in numbers.chunks_exact_mut(8).enumerate() {
        let offset = ctx.shared.offset(at.address(row, chunk as u32), 16, 16, ACCESS).map_err(|k| fault(0, k))?;
        if ctx.full {
            let lane = row % LANES;
            let by = crate::check::race::Access { pc, ..ctx.thread(lane) };
            ctx.shared.check_async_read(offset, 16, by, ACCESS).map_err(|e| shared_fault(lane, e))?;
        }
        for (k, pair) in eight.chunks_exact_mut(2).enumerate() {
            let word = ctx.shared.word(offset + 4 * k as u32);
            pair[0] = widen(op.half, word & 0xffff);
            pair[1] = widen(op.half, word >> 16);
        }
    }
    Ok(numbers)
}

/// The warp's own 16 of the 64 rows. Sums as `mma` makes them, k ascending, rounded to nearest: hardware adds several
/// products at once and truncates.
fn multiply_rows(w: &mut Warp, product: &Product, ctx: &mut Ctx<'_, '_>) -> Done {
    let (op, pc) = (&product.op, product.pc);
    let (of_a, of_b) = (Descriptor::parse(product.a)?, Descriptor::parse(product.b)?);
    let mut a = [[0f32; DEPTH]; 16];
    for (r, numbers) in a.iter_mut().enumerate() {
        *numbers = row(of_a, 16 * (ctx.warp % WARPS) + r, op, ctx, pc)?;
    }
    for (tile, d) in op.d.chunks_exact(4).enumerate() {
        let mut b = [[0f32; 8]; DEPTH];
        for column in 0..8 {
            let numbers = row(of_b, 8 * tile + column, op, ctx, pc)?;
            b.iter_mut().zip(numbers).for_each(|(b, number)| b[column] = number);
        }
        let mut c = [[0f32; 8]; 16];
        let place = |i: usize, l: usize| (i / 2 * 8 + l / 4, 2 * (l % 4) + i % 2);
        if product.adds {
            for (i, &d) in d.iter().enumerate() {
                for (l, bits) in w.get(d).into_iter().enumerate() {
                    let (row, column) = place(i, l);
                    c[row][column] = f32::from_bits(bits);
                }
            }
        }
        multiply(&a, &b, &mut c, DEPTH);
        for (i, &d) in d.iter().enumerate() {
            let sums = std::array::from_fn(|l| {
                let (row, column) = place(i, l);
                c[row][column].to_bits()
            });
            w.put(d, FULL, &sums);
        }
    }
    Ok(())
}
