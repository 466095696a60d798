//! Launches `kernels/attention.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::Attention;
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// Attention over the grid or its windows.
impl Launch for Attention {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let width = step.shape(self.out)[1];
        let window = self.window.unwrap_or(self.grid);
        let rest = self.grid % window;
        // A row of 16 key slots needs one beside the real columns for the padded ones.
        let small = window <= 16 && (rest == 0 || window < 16);
        let (entry, queries) = match (width / self.heads, small) {
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
        for rel_pos in [self.rel_pos_h, self.rel_pos_w] {
            if step.param_shape(rel_pos)[0] != table {
                return Err(step.unsupported(format!("{table} relative positions"), step.param_shape(rel_pos)[0]));
            }
        }
        if [self.qkv, self.out].iter().any(|&id| step.storage(id) != Storage::F16) {
            return Err(step.unsupported("qkv and output in f16", "f32"));
        }
        let full = self.grid / window;
        let blocks = |tokens: usize| tokens.div_ceil(queries);
        let count = full * full * blocks(window * window) + 2 * full * blocks(window * rest) + blocks(rest * rest);
        let args = [
            Arg::Pointer(step.value(self.qkv)),
            Arg::Pointer(step.param(self.qkv_bias)),
            Arg::Pointer(step.param(self.rel_pos_h)),
            Arg::Pointer(step.param(self.rel_pos_w)),
            Arg::Pointer(step.value(self.out)),
            Arg::U32(step.u32(self.grid)?),
            Arg::U32(step.u32(window)?),
            Arg::U32(step.u32(width)?),
        ];
        step.launch(entry, [count, self.heads, step.active], &args)
    }

    fn takes_half(&self, _: ValueId) -> bool {
        true
    }

    fn gives_half(&self) -> bool {
        true
    }

    fn param(&self, _: &Graph, _: ParamId) -> (Storage, Packing) {
        (Storage::F16, Packing::Rows)
    }
}
