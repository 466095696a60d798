//! Launches `kernels/window_attention.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::WindowAttention;
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// Channels of a head.
const HEAD: usize = 32;

impl Launch for WindowAttention {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &WindowAttention { qkv, padding, biases, heads, grid, window, out } = self;
        let width = step.shape(out)[1];
        if width != HEAD * heads {
            return Err(step.unsupported(format!("head dim {HEAD}"), width / heads.max(1)));
        }
        if [qkv, out].iter().any(|&id| step.storage(id) != Storage::F16) {
            return Err(step.unsupported("qkv and output in f16", "f32"));
        }
        let (entry, queries) = match window {
            1..=7 => ("window_attention_64", 64),
            8..=15 => ("window_attention_256", 128),
            _ => return Err(step.unsupported("windows of at most 15", window)),
        };
        let blocks = (window * window).div_ceil(queries);
        let args = [
            Arg::Pointer(step.value(qkv)),
            Arg::Pointer(step.param(padding)),
            Arg::Pointer(step.param(biases)),
            Arg::Pointer(step.value(out)),
            Arg::U32(step.u32(grid)?),
            Arg::U32(step.u32(window)?),
            Arg::U32(step.u32(width)?),
            Arg::U32(step.u32(blocks)?),
        ];
        step.launch(entry, [blocks * grid.div_ceil(window).pow(2), heads, step.active], &args)
    }

    fn takes_half(&self, _: ValueId) -> bool {
        true
    }

    fn gives_half(&self) -> bool {
        true
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if id == self.biases {
            (Storage::Native, Packing::Places { window: self.window, grid: self.grid })
        } else {
            (Storage::F16, Packing::Rows)
        }
    }
}
