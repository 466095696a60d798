//! Launches `kernels/attention.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::Step;
use super::storage::Storage;
use crate::error::Result;
use crate::graph::{ParamId, ValueId};

/// What [`crate::graph::Op::Attention`] says of its shapes and operands.
pub(super) struct Attention {
    pub qkv: ValueId,
    pub qkv_bias: ParamId,
    pub rel_pos: [ParamId; 2],
    pub heads: usize,
    pub grid: usize,
    pub window: Option<usize>,
    pub out: ValueId,
}

/// Attention over the grid or its windows.
pub(super) fn attention<D: Driver>(step: &Step<D>, op: &Attention) -> Result<()> {
    let width = step.shape(op.out)[1];
    let window = op.window.unwrap_or(op.grid);
    let rest = op.grid % window;
    // A row of 16 key slots needs one beside the real columns for the padded ones.
    let small = window <= 16 && (rest == 0 || window < 16);
    let (entry, queries) = match (width / op.heads, small) {
        (64, true) => ("attention_d64_row16", 64),
        (80, true) => ("attention_d80_row16", 64),
        (64, false) => ("attention_d64_row64", 128),
        (80, false) => ("attention_d80_row64", 128),
        (d, _) => return Err(step.unsupported("head dim 64 or 80", d)),
    };
    if !small && (rest != 0 || window > 64) {
        return Err(step.unsupported("windows of at most 15 tokens or a grid of at most 64", window));
    }
    let table = 2 * window - 1;
    for rel_pos in op.rel_pos {
        if step.param_shape(rel_pos)[0] != table {
            return Err(step.unsupported(format!("{table} relative positions"), step.param_shape(rel_pos)[0]));
        }
    }
    if [op.qkv, op.out].iter().any(|&id| step.storage(id) != Storage::Half) {
        return Err(step.unsupported("qkv and output in f16", "f32"));
    }
    let full = op.grid / window;
    let blocks = |tokens: usize| tokens.div_ceil(queries);
    let count = full * full * blocks(window * window) + 2 * full * blocks(window * rest) + blocks(rest * rest);
    let args = [
        Arg::Pointer(step.value(op.qkv)),
        Arg::Pointer(step.param(op.qkv_bias)),
        Arg::Pointer(step.param(op.rel_pos[0])),
        Arg::Pointer(step.param(op.rel_pos[1])),
        Arg::Pointer(step.value(op.out)),
        Arg::U32(step.u32(op.grid)?),
        Arg::U32(step.u32(window)?),
        Arg::U32(step.u32(width)?),
    ];
    step.launch(entry, [count, op.heads, step.active], &args)
}
