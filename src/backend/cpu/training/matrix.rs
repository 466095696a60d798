//! Products on all threads. A frozen weight is read as it is packed for inference, also where its transposed is
//! multiplied: a task turns the columns that it needs, once for all rows.

use std::ops::Range;
use std::sync::Arc;

use super::crew::Crew;
use super::product::turn;
use crate::Result;
use crate::backend::cpu::Level;
use crate::backend::cpu::math::{erf, exp, gelu};
use crate::backend::cpu::memory::Shared;
use crate::backend::cpu::packed::Packed;
use crate::backend::cpu::product::{Dense, MAX_PANEL, Panel, Single, panel_product};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::step::Param;
use crate::error::Error;
use crate::memory::fit;

/// Rows whose sums stay in the nearest cache.
const ROWS: usize = 256;

/// The first outputs and inputs of a weight `[outputs, inputs]` as inference packs it.
pub(crate) struct Frozen {
    param: Arc<Param>,
    pub outputs: usize,
}

impl Frozen {
    /// # Errors
    /// A parameter in another form, or a smaller one.
    pub fn new(param: Arc<Param>, [outputs, inputs]: [usize; 2]) -> Result<Frozen> {
        let large = matches!(&*param, Param::Packed(packed) if packed.outputs >= outputs && packed.inputs >= inputs);
        if large { Ok(Frozen { param, outputs }) } else { Err(Error::internal("tune", "no packed weight")) }
    }

    pub(super) fn packed(&self) -> &Packed {
        match &*self.param {
            Param::Packed(packed) => packed,
            _ => unreachable!("looked at when it was made"),
        }
    }
}

/// The right side of a product, `[inputs, columns]`.
#[derive(Clone, Copy)]
pub(crate) enum Side<'a> {
    /// Row-major.
    Rows(&'a [f32]),
    /// `[columns, inputs]`, as a Linear keeps its weight.
    Columns(&'a [f32]),
    /// A weight's transposed, on the way forward.
    Forth(&'a Frozen),
    /// A weight, on the way back.
    Back(&'a Frozen),
}

/// What becomes of a sum.
pub(crate) enum Finish<'a> {
    /// It is the result.
    Set,
    /// The result gains it.
    Add,
    /// A row is added.
    Bias(&'a [f32]),
    /// A row is added, and a matrix as large as the result.
    Residual { bias: &'a [f32], residual: &'a [f32] },
    /// A row is added, the sum kept, and its GELU is the result.
    Gelu { bias: &'a [f32], before: &'a mut [f32] },
    /// Multiplied by the derivative of the GELU at these.
    Slope(&'a [f32]),
}

#[derive(Clone, Copy)]
enum End<'a> {
    Set,
    Add,
    Bias(&'a [f32]),
    Residual(&'a [f32], &'a [f32]),
    Gelu(&'a [f32], Shared<'a>),
    Slope(&'a [f32]),
}

/// f32 of scratch for products of at most so many inputs.
pub(crate) fn scratch(level: Level, inputs: usize) -> usize {
    (inputs.next_multiple_of(level.panel()) + ROWS) * level.panel()
}

impl Crew<'_> {
    /// `out = left right`, `[rows, columns]`, for `left` `[rows, inputs]`, and what `finish` says. An element is the
    /// sum of blocks of inputs in their order, whatever the number of rows, columns and threads.
    pub fn product(&self, left: &[f32], inputs: usize, right: Side<'_>, finish: Finish<'_>, out: &mut [f32]) {
        let rows = left.len() / inputs.max(1);
        let columns = out.len() / rows.max(1);
        let panels = columns.div_ceil(self.level.panel());
        // More than one part only where threads would stand idle: each turns or copies the right side for itself.
        let parts = (4 * self.threads()).div_ceil(panels.max(1)).clamp(1, rows.div_ceil(ROWS).max(1));
        let share = rows.div_ceil(parts).next_multiple_of(12);
        let end = match finish {
            Finish::Set => End::Set,
            Finish::Add => End::Add,
            Finish::Bias(bias) => End::Bias(bias),
            Finish::Residual { bias, residual } => End::Residual(bias, residual),
            Finish::Gelu { bias, before } => End::Gelu(bias, Shared::new(before)),
            Finish::Slope(at) => End::Slope(at),
        };
        let out = Shared::new(out);
        self.each(panels * parts, |task, scratch| {
            let (panel, part) = (task / parts, task % parts);
            let rows = (part * share).min(rows)..((part + 1) * share).min(rows);
            self.level.run(Task { left, inputs, right, columns, panel, rows, scratch, end, out });
        });
    }

    /// `out += left^T right` for `left` `[rows, m]` and `right` `[rows, n]`, rows in order; `turned` is memory.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn add_outer(
        &self,
        left: &[f32],
        right: &[f32],
        rows: usize,
        turned: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<()> {
        fit(turned, left.len(), "a product of training")?;
        self.level.run(super::product::Turn { from: left, rows, to: turned });
        self.product(turned, rows, Side::Rows(right), Finish::Add, out);
        Ok(())
    }
}

struct Task<'a> {
    left: &'a [f32],
    inputs: usize,
    right: Side<'a>,
    columns: usize,
    panel: usize,
    rows: Range<usize>,
    scratch: &'a mut [f32],
    end: End<'a>,
    out: Shared<'a>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { left, inputs, right, columns, panel, rows, scratch, end, out } = self;
        let width = S::VECTORS * S::LANES;
        let first = panel * width;
        let count = width.min(columns - first);
        let (copy, sums) = scratch.split_at_mut(inputs.next_multiple_of(width) * width);
        if count < width {
            copy.fill(0.0);
        }
        let right = match right {
            Side::Rows(data) => {
                for (to, from) in copy.chunks_exact_mut(width).zip(data.chunks_exact(columns)) {
                    super::product::copy(s, &from[first..first + count], to);
                }
                Panel::Single(&copy[..inputs * width])
            }
            Side::Columns(data) => {
                turn(s, &data[first * inputs..(first + count) * inputs], count, copy, width);
                Panel::Single(&copy[..inputs * width])
            }
            Side::Forth(frozen) => match frozen.packed().panel(panel) {
                Panel::Single(all) => Panel::Single(&all[..inputs * width]),
                Panel::Half(half, all) => Panel::Half(half, &all[..inputs * width]),
            },
            Side::Back(frozen) => {
                turned(s, frozen, first, count, copy);
                Panel::Single(&copy[..inputs * width])
            }
        };
        let left = Dense { data: left, stride: inputs };
        for start in rows.clone().step_by(ROWS) {
            let part = start..rows.end.min(start + ROWS);
            panel_product::<S, Single>(s, &left, part.clone(), right, sums);
            for (row, sums) in part.zip(sums.chunks_exact(width)) {
                finish(s, &end, row * columns + first, first, &sums[..count], &out);
            }
        }
    }
}

/// From the sums of a row, whose first is element `at` of the result and in column `column`, to the result.
#[inline(always)]
#[allow(unsafe_code, reason = "results that tasks write side by side")]
fn finish<S: Simd>(s: S, end: &End<'_>, at: usize, column: usize, sums: &[f32], out: &Shared<'_>) {
    // SAFETY: rows and columns of a task belong to no other.
    let to = unsafe { out.part(at, sums.len()) };
    for v in (0..sums.len()).step_by(S::LANES) {
        let lanes = v..sums.len().min(v + S::LANES);
        let mut x = s.read_any(&sums[lanes.clone()]);
        match end {
            End::Set => {}
            End::Add => x = s.add(s.read_any(&to[lanes.clone()]), x),
            End::Bias(bias) => x = s.add(x, s.read_any(&bias[column..][lanes.clone()])),
            End::Residual(bias, residual) => {
                x = s.add(x, s.read_any(&bias[column..][lanes.clone()]));
                x = s.add(x, s.read_any(&residual[at..][lanes.clone()]));
            }
            End::Gelu(bias, before) => {
                x = s.add(x, s.read_any(&bias[column..][lanes.clone()]));
                // SAFETY: as above.
                s.write_any(unsafe { before.part(at + v, lanes.len()) }, x);
                x = gelu(s, x);
            }
            End::Slope(before) => x = s.mul(x, slope(s, s.read_any(&before[at..][lanes.clone()]))),
        }
        s.write_any(&mut to[lanes], x);
    }
}

/// The derivative of the exact GELU: `Phi(x) + x phi(x)`.
#[inline(always)]
pub(super) fn slope<S: Simd>(s: S, x: S::V) -> S::V {
    let half = s.splat(0.5);
    let below = s.fma(erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half, half);
    // 1 / sqrt(2 pi)
    let density = s.mul(s.splat(0.398_942_3), exp(s, s.mul(s.mul(x, x), s.splat(-0.5))));
    s.fma(x, density, below)
}

/// Inputs `first..first + count` of a weight as columns of `to`: a row an output, as long as a panel is wide.
#[inline(always)]
#[allow(unsafe_code, reason = "the transposition of registers")]
pub(super) fn turned<S: Simd>(s: S, frozen: &Frozen, first: usize, count: usize, to: &mut [f32]) {
    let width = S::VECTORS * S::LANES;
    let mut wide = [0.0; MAX_PANEL * MAX_PANEL];
    for (index, to) in to.chunks_mut(width * width).take(frozen.outputs.div_ceil(width)).enumerate() {
        let numbers = first * width..(first + count) * width;
        let from = match frozen.packed().panel(index) {
            Panel::Single(all) => &all[numbers],
            Panel::Half(half, all) => {
                let all = &all[numbers];
                for at in (0..all.len()).step_by(S::LANES) {
                    // SAFETY: whole registers lie within `all`, whose rows are panels wide.
                    s.write(&mut wide[at..], unsafe { s.widen(half, all[at..].as_ptr()) });
                }
                &wide[..all.len()]
            }
        };
        let whole = if to.len() == width * width { count / S::LANES * S::LANES } else { 0 };
        for input in (0..whole).step_by(S::LANES) {
            for output in (0..width).step_by(S::LANES) {
                let (from, to) = (&from[input * width + output..], &mut to[output * width + input..]);
                let most = (S::LANES - 1) * width + S::LANES - 1;
                assert!(from.len() > most && to.len() > most);
                // SAFETY: `LANES` rows of `LANES` numbers lie within both, by the assertion and the whole registers.
                unsafe { s.transpose(from.as_ptr(), width, to.as_mut_ptr(), width) };
            }
        }
        for input in whole..count {
            for (output, to) in to.chunks_exact_mut(width).enumerate() {
                to[input] = from[input * width + output];
            }
        }
    }
}
