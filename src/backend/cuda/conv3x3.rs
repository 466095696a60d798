//! Launches `kernels/conv3x3.ptx.j2`.

use super::driver::{Arg, Driver};
use super::gemm::Product;
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::Conv3x3;
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// 3x3 convolution over the token grid, padding 1, no bias.
impl Launch for Conv3x3 {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &Conv3x3 { input, weight, grid, out } = self;
        let [tokens, channels] = [step.shape(input)[0], step.shape(input)[1]];
        if step.storage(input) != Storage::F16 || step.storage(out) != Storage::Native || !channels.is_multiple_of(8) {
            return Err(step.unsupported("f16 input with a multiple of 8 channels, f32 output", channels));
        }
        let product = Product {
            input: step.value(input),
            weight: step.param(weight),
            out: step.value(out),
            rows: tokens,
            columns: step.shape(out)[1],
            depth: 9 * channels,
            tokens,
            ..Product::default()
        };
        let extra = [Arg::U32(step.u32(grid)?), Arg::U32(step.u32(channels)?)];
        product.launch(step, "conv3x3", "", step.active, &extra)
    }

    fn takes_half(&self, _: ValueId) -> bool {
        true
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.weight == id { (Storage::F16, Packing::Rows) } else { (Storage::Native, Packing::Rows) }
    }
}
